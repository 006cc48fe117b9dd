"""A file of control data with what a lit frame finder tells, laid out by the mock data of EXtra-data."""

from __future__ import annotations

from pathlib import Path

import h5py
from detector_runs import FIRST_TRAIN
from extra_data.tests.mockdata import write_file
from extra_data.tests.mockdata.base import DeviceBase

FINDER = "SPB_IRU_AGIPD1M1/REDU/LITFRM"
CONTROL = "RAW-R0001-DA01-S00000.h5"
LIT = {FIRST_TRAIN: (0, 2), FIRST_TRAIN + 1: (1,)}
"""Memory cells that hold data, by train."""


class Finder(DeviceBase):
    output_channels = ("output/data",)
    instrument_keys = (
        ("nFrame", "u2", ()), ("dataFramePattern", "u1", (352,)), ("nPulsePerFrame", "u2", (352,)),
        ("detectorPulseId", "u2", (352,)), ("energyPerFrame", "f4", (352,)), ("energySigma", "f4", (352,)),
        ("masterPulseId", "u2", (352,)), ("xgmPulseId", "u2", (352,)),
    )  # fmt: skip


def write_finder(
    folder: Path, lit: dict[int, tuple[int, ...]] = LIT, name: str = CONTROL, device: str = FINDER
) -> Path:
    """A file of control data in which the finder tells of these trains, four frames each. Memory cell 0 got 100 uJ,
    1 got 200, and so on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / name, [Finder(device)], len(lit), min(lit), chunksize=1, format_version="1.2")
    with h5py.File(folder / name, "r+") as file:
        data = file[f"INSTRUMENT/{device}:output/data"]
        file["INDEX/trainId"][: len(lit)] = list(lit)
        data["nFrame"][:] = 4
        for row, cells in enumerate(lit.values()):
            data["dataFramePattern"][row, list(cells)] = 1
            data["energyPerFrame"][row, list(cells)] = [100 * (cell + 1) for cell in cells]
    return folder / name
