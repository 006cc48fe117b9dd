"""Judges what the demonstration brought back, with eyes of its own: EXtra-data reads, the truth is compared.

Works on the folder that `story` filled (story.json, run.json, proc/, truth/), anywhere, without the
testbed. Every check is a sentence with numbers, and all are made, also after one that failed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from extra_data import RunDirectory
from extra_data.components import AGIPD1M, JUNGFRAU
from extra_data.validation import RunValidator

from xdc_testbed.demo.accounting import MANIFEST
from xdc_testbed.demo.detector_data import DetectorPlan, RunManifest
from xdc_testbed.demo.facts import RUN_FILE, FileStory, Story
from xdc_testbed.demo.truth import Comparison, compare

_COMPONENTS = {"JUNGFRAU": JUNGFRAU, "AGIPD": AGIPD1M}
_SHOWN = 3  # names in a sentence


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. title: what has to hold; said: what was found, in numbers."""

    title: str
    ok: bool
    said: str


@dataclass(frozen=True)
class Verdict:
    """All checks of one demonstration. compared: by detector id; size: bytes of the corrected files."""

    story: Story
    manifest: RunManifest
    checks: tuple[Check, ...]
    compared: dict[str, Comparison]
    size: int

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return all(check.ok for check in self.checks)


def judge(folder: Path) -> Verdict:
    """Look at everything in a folder. Raises FileNotFoundError, ValidationError for another one."""
    story = Story.read(folder)
    manifest = RunManifest.model_validate_json((folder / RUN_FILE).read_bytes())
    corrected = [file for file in story.files if file.outcome == "corrected"]
    compared, unreadable = _compare(folder, corrected)
    proc = folder / "proc" / f"r{story.run:04d}"
    checks = (
        _counts(story),
        _named_failures(story),
        _opened(proc, manifest, unreadable),
        _validated(proc),
        _frames(corrected, compared),
        _pixels(compared),
        _masks(compared),
        _manifests(proc, corrected),
        _copies(corrected),
        *([_recorded(corrected)] if story.remote else []),
        *([_archived(corrected)] if story.archived else []),
        Check("Nothing else is left at the sites", not story.residue, _list(story.residue) or "no stray file"),
    )
    size = sum((proc / _kept(file)).stat().st_size for file in corrected if (proc / _kept(file)).is_file())
    return Verdict(story, manifest, checks, compared, size)


def _compare(folder: Path, corrected: Sequence[FileStory]) -> tuple[dict[str, Comparison], list[str]]:
    """Comparisons by detector, and a line for each file that could not be read."""
    compared: dict[str, Comparison] = {}
    unreadable = []
    for file in corrected:
        path = folder / "proc" / f"r{_run(file)}" / _kept(file)
        try:
            found = compare(path, folder / str(file.raw.truth), file.raw.kind)
        except (OSError, KeyError, TypeError, ValueError, StopIteration) as error:
            unreadable.append(f"{path.name}: {error}")
            continue
        compared[file.raw.detector_id] = compared.get(file.raw.detector_id, Comparison()) + found
    return compared, unreadable


def _counts(story: Story) -> Check:
    outcomes = [file.outcome for file in story.files]
    corrected, failed, missing = (outcomes.count(word) for word in ("corrected", "failed", "missing"))
    said = f"{len(outcomes)} raw files in = {corrected} corrected + {failed} failed with a reason"
    names = _list([f"{file.name}: {file.said}" for file in story.files if file.outcome == "missing"])
    return Check(
        "Every raw file is accounted for",
        not missing,
        said + (f"; {missing} missing: {names}" if missing else ""),
    )


def _named_failures(story: Story) -> Check:
    expected = [file for file in story.files if file.raw.expected == "failed"]
    good = [file for file in story.files if file.raw.expected == "corrected" and file.outcome == "failed"]
    wrong = [file for file in expected if not file.as_expected] + good
    said = "; ".join(f"{file.name}: {file.dead_letter or file.said}" for file in [*expected, *good])
    return Check(
        "What cannot be corrected fails with its reason, and nothing else fails",
        not wrong,
        said or "no such file",
    )


def _opened(proc: Path, manifest: RunManifest, unreadable: Sequence[str]) -> Check:
    problems, said = list(unreadable), []
    for detector in manifest.plan.detectors:
        try:
            said.append(_open(proc, detector))
        except (OSError, KeyError, ValueError) as error:
            problems.append(f"{detector.detector_id}: {' '.join(str(error).split())}")
    return Check("EXtra-data opens the corrected run as detectors", not problems, _list(problems) or "; ".join(said))


def _open(proc: Path, detector: DetectorPlan) -> str:
    """Open one detector by its component class, as an analysis does."""
    run = RunDirectory(str(proc))
    try:
        data = _COMPONENTS[detector.kind](run, detector.detector_id, raw=False, min_modules=1)
        return f"{detector.detector_id}: {len(data.modno_to_source)} module(s), {len(data.train_ids)} train(s)"
    finally:
        for file in run.files:
            file.close()


def _validated(proc: Path) -> Check:
    found = RunValidator(str(proc)).run_checks() if proc.is_dir() else [{"msg": "no corrected file"}]
    files = len(list(proc.glob("*.h5")))
    problems = [" ".join(str(value) for value in problem.values()) for problem in found]
    return Check("extra-data-validate finds no problem", not problems, _list(problems) or f"{files} files, no problem")


def _frames(corrected: Sequence[FileStory], compared: dict[str, Comparison]) -> Check:
    expected = sum(file.raw.frames for file in corrected)
    found = sum(one.frames for one in compared.values())
    return Check("As many frames come out as went in", expected == found, f"{expected} frames in, {found} frames out")


def _pixels(compared: dict[str, Comparison]) -> Check:
    total = sum(compared.values(), Comparison())
    said = f"{sum(total.pixels):,} pixels compared, {total.wrong:,} off by more than half an ADU"
    return Check("Corrected energies are the true ones", sum(total.pixels) > 0 and total.wrong == 0, said)


def _masks(compared: dict[str, Comparison]) -> Check:
    total = sum(compared.values(), Comparison())
    said = f"{total.masked:,} bad pixels masked, {total.mask_differs:,} pixels with another mask than expected"
    return Check("Bad pixels are masked, and no others", total.masked > 0 and total.mask_differs == 0, said)


def _manifests(proc: Path, corrected: Sequence[FileStory]) -> Check:
    """Whether each manifest names the raw file that was uploaded, by size and checksum."""
    wrong = []
    for file in corrected:
        path = proc / (_kept(file) + MANIFEST)
        try:
            inputs = [one["input"] for one in json.loads(path.read_text())["files"]]
            matches = [(one["size"], one["adler32"]) for one in inputs] == [(file.raw.size, file.raw.adler32)]
        except (OSError, ValueError, KeyError, TypeError):
            matches = False
        if not matches:
            wrong.append(path.name)
    said = f"{len(corrected)} manifests, each with size and checksum of its raw file"
    return Check(
        "A manifest beside each file says how to repeat it",
        not wrong,
        f"not so: {_list(wrong)}" if wrong else said,
    )


def _copies(corrected: Sequence[FileStory]) -> Check:
    copies = [copy for file in corrected for copy in (*file.copies[1:], *file.cached)]
    different = [file.name for file in corrected if not all(copy.equal for copy in (*file.copies, *file.cached))]
    size = sum(copy.size for copy in copies)
    said = f"{len(copies)} reads, {size:,} bytes compared, all equal"
    return Check(
        "Every copy has the same bytes",
        not different,
        f"different: {_list(different)}" if different else said,
    )


def _recorded(corrected: Sequence[FileStory]) -> Check:
    missing = [file.name for file in corrected if file.catalogue is None or file.catalogue.status != "ok"]
    said = f"{len(corrected) - len(missing)} records, each with checksums and the way back to the raw file"
    return Check("Every product is in the catalogue", not missing, f"not so: {_list(missing)}" if missing else said)


def _archived(corrected: Sequence[FileStory]) -> Check:
    wrong = [file.name for file in corrected if file.tape is None or not file.tape.safe]
    said = f"{len(corrected) - len(wrong)} raw files changed from disk to tape, each with a copy there"
    return Check(
        "Raw data whose product is safe at the other site is on tape",
        not wrong,
        f"not so: {_list(wrong)}" if wrong else said,
    )


def _kept(file: FileStory) -> str:
    return str(file.corrected).rsplit("/", 1)[-1]


def _run(file: FileStory) -> str:
    return str(file.corrected).split("/")[-2].removeprefix("r")


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more
