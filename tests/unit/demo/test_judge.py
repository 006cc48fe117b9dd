"""The judge finds what is wrong, and the report says it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from pretend import Told

from xdc_testbed.demo import report, words
from xdc_testbed.demo.facts import Phase, Story
from xdc_testbed.demo.judge import Verdict, judge


@pytest.fixture(scope="session")
def verdict(told: Told) -> Verdict:
    return judge(told[1])


@pytest.fixture(scope="session")
def page(told: Told, verdict: Verdict) -> str:
    phases = [Phase(name="up", said="creating nodes", seconds=41.2)]
    return report.render(told[1], verdict, testbed="mine", phases=phases, links={"matrix": "interop.html"})


@pytest.fixture
def folder(told: Told, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(told[1], tmp_path / "out"))


def failing(folder: Path) -> list[str]:
    return [check.title for check in judge(folder).checks if not check.ok]


def corrected(folder: Path) -> Path:
    return folder / "proc" / "r0001" / "CORR-R0001-AGIPD00-S00000.h5"


def test_a_demonstration_that_went_well_holds_in_every_check(verdict: Verdict) -> None:
    assert [check.said for check in verdict.checks if not check.ok] == []
    assert verdict.ok


def test_the_pixels_of_all_gain_stages_are_compared(verdict: Verdict) -> None:
    assert all(min(found.pixels) > 0 for found in verdict.compared.values())


def spoil_pixel(folder: Path) -> None:
    with h5py.File(corrected(folder), "r+") as file:
        mask = file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/0CH0:output/image/mask"][0]
        row, column = next(zip(*(mask == 0).nonzero(), strict=True))
        file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/0CH0:output/image/data"][0, row, column] += 0.2


def spoil_mask(folder: Path) -> None:
    with h5py.File(corrected(folder), "r+") as file:
        file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/0CH0:output/image/mask"][0, 5, 5] ^= 1 << 30


def spoil_index(folder: Path) -> None:
    with h5py.File(corrected(folder), "r+") as file:
        file["INDEX/SPB_DET_AGIPD1M-1/CORR/0CH0:output/image/count"][0] = 100


def spoil_manifest(folder: Path) -> None:
    manifest = corrected(folder).with_name(corrected(folder).name + ".manifest.json")
    manifest.write_text(re.sub(r'"adler32": "\w+"', '"adler32": "00000000"', manifest.read_text()))


@pytest.mark.parametrize(
    ("spoil", "title"),
    [
        (spoil_pixel, "Corrected energies are the true ones"),
        (spoil_mask, "Bad pixels are masked, and no others"),
        (spoil_index, "extra-data-validate finds no problem"),
        (spoil_manifest, "A manifest beside each file says how to repeat it"),
    ],
)
def test_one_wrong_thing_is_found(folder: Path, spoil: Callable[[Path], None], title: str) -> None:
    spoil(folder)
    assert title in failing(folder)


def test_a_corrected_file_that_is_cut_off_does_not_hide_the_other_checks(folder: Path) -> None:
    with corrected(folder).open("r+b") as file:
        file.truncate(1000)
    verdict = judge(folder)
    assert len(verdict.checks) == 11
    assert not verdict.ok


def test_a_lost_file_fails_the_counts(folder: Path) -> None:
    story = Story.read(folder)
    lost = story.files[0].model_copy(update={"outcome": "missing", "corrected": None, "said": "missing: nothing"})
    story.model_copy(update={"files": (lost, *story.files[1:])}).write(folder)
    assert "Every raw file is accounted for" in failing(folder)


def test_the_report_needs_nothing_from_outside(page: str) -> None:
    assert re.findall(r'(?:src|href)="(?!data:|interop\.html)([^"]*)"', page) == []
    assert "@import" not in page
    assert "<script" not in page


def test_the_report_shows_each_detector_and_each_file(page: str, verdict: Verdict) -> None:
    assert page.count("data:image/png;base64,") == len(verdict.manifest.plan.detectors)
    assert all(page.count(file.name) >= 2 for file in verdict.story.files)


def test_the_report_says_which_service_is_an_emulator(page: str) -> None:
    row = page[page.index("<td>desy-functions</td>") :].split("</tr>")[0]
    assert '<span class="badge emulator">emulator</span>' in row


def test_the_report_names_the_reason_of_the_failure(page: str, verdict: Verdict) -> None:
    (failed,) = [file for file in verdict.story.files if file.outcome == "failed"]
    assert str(failed.dead_letter) in page


def test_the_story_in_sentences_has_the_numbers(verdict: Verdict) -> None:
    told = words.sentences(verdict)
    assert len(told) == 5
    assert "uploaded its 5 files" in told[0]
    assert "all 5 are accounted for" in told[2]


def test_a_testbed_of_one_site_claims_no_copies(verdict: Verdict) -> None:
    files = tuple(file.model_copy(update={"copies": file.copies[:1], "cached": ()}) for file in verdict.story.files)
    alone = verdict.story.model_copy(update={"remote": None, "cache": None, "files": files})
    assert words.sentences(replace(verdict, story=alone))[-1] == "This testbed has one site: nothing was shipped."


@pytest.mark.parametrize(("seconds", "said"), [(0.0123, "12.3 ms"), (0.3, "300 ms"), (2.04, "2.0 s"), (300, "5.0 min")])
def test_durations_are_for_people(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(("count", "said"), [(12, "12 B"), (66_600_000, "66.6 MB"), (2 * 10**9, "2.0 GB")])
def test_sizes_are_for_people(count: int, said: str) -> None:
    assert words.size(count) == said
