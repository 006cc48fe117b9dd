"""Corrected data against the photons that the demonstration put in: within half an ADU, everywhere."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest
from corrected_run import Corrected

from xdc_testbed.demo.detector_response import GAINS

KEYS = {"JUNGFRAU": ("data", "adc"), "AGIPD": ("image", "data")}


def read(corrected: Corrected, name: str, kind: str) -> dict[str, Any]:
    group, image = KEYS[kind]
    with h5py.File(corrected.proc / name) as file:
        (detector,) = file["INSTRUMENT"]
        (source,) = file[f"INSTRUMENT/{detector}/CORR"]
        data = file[f"INSTRUMENT/{detector}/CORR/{source}/{group}"]
        return {key: data[key][...] for key in (image, "gain", "mask", "trainId")} | {"energy": data[image][...]}


def test_energy_is_that_of_the_photons_within_half_an_adu(corrected: Corrected) -> None:
    compared = 0
    for file in corrected.run.files:
        if file.truth is None:
            continue
        have = read(corrected, file.path.rsplit("/", 1)[1].replace("RAW-", "CORR-"), file.kind)
        with h5py.File(corrected.folder / file.truth) as truth:
            want = truth["photons"][...].astype(np.float64) * truth.attrs["photon_energy_kev"]
            stage = truth["stage"][...]
        energy = have["energy"].reshape(want.shape)
        good = have["mask"].reshape(want.shape) == 0
        half = 0.5 / np.abs(np.array(GAINS[file.kind]))[stage[good]] * 1.15  # gains differ by some per cent
        assert (np.abs(energy[good] - want[good]) <= half + 1e-5 * want[good]).all(), file.path
        compared += int(good.sum())
    assert compared > 2_000_000


def test_stages_and_masks_are_exactly_the_expected_ones(corrected: Corrected) -> None:
    seen: set[int] = set()
    for file in corrected.run.files:
        if file.truth is None:
            continue
        have = read(corrected, file.path.rsplit("/", 1)[1].replace("RAW-", "CORR-"), file.kind)
        with h5py.File(corrected.folder / file.truth) as truth:
            assert np.array_equal(have["gain"].reshape(truth["stage"].shape), truth["stage"][...])
            assert np.array_equal(have["mask"].reshape(truth["mask"].shape), truth["mask"][...])
            seen |= set(np.unique(truth["stage"][...]).tolist())
    assert seen == {0, 1, 2, 255}


@pytest.mark.parametrize("kind", ["JUNGFRAU", "AGIPD"])
def test_the_manifest_counts_what_is_in_the_files(corrected: Corrected, kind: str) -> None:
    for file, outcome in zip(sorted(corrected.run.files, key=lambda f: f.path), corrected.manifest.files, strict=True):
        assert file.path.endswith(outcome.input.name)
        assert (file.expected, file.reason) == (outcome.outcome, outcome.reason)
        assert (file.size, file.adler32) == (outcome.input.size, outcome.input.adler32)
        if outcome.outcome == "corrected" and file.kind == kind:
            assert outcome.frames == file.frames
            assert outcome.trains - outcome.trains_without_data == file.trains
            pixels = 512 * (1024 if kind == "JUNGFRAU" else 128)
            assert sum(outcome.pixels_by_stage.values()) == outcome.frames * pixels
            assert outcome.pixels_by_reason["NON_SENSITIVE"] == outcome.frames * 256
