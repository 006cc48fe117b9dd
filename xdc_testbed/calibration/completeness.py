"""What a corrected run lacks: modules without a file, and trains that only other modules of a detector have.

Which modules a detector has is known from the folder of constants.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import h5py

from xdc_testbed.calibration.manifest import FileOutcome, Gap


def gaps(out: Path, constants: Path, files: Iterable[FileOutcome]) -> tuple[Gap, ...]:
    """The gaps of a run that was corrected into `out`."""
    trains: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for file in files:
        if file.detector and file.module and file.output:
            trains[file.detector][file.module] |= _trains_with_data(out / file.output.name)
    found = []
    for detector, modules in sorted(trains.items()):
        known = {folder.name for folder in (constants / detector).iterdir() if folder.is_dir()}
        every = set().union(*modules.values())
        for module in sorted(known | modules.keys()):
            lacking = len(every - modules.get(module, set()))
            if lacking:
                found.append(Gap(detector=detector, module=module, trains=lacking, of_trains=len(every)))
    return tuple(found)


def _trains_with_data(path: Path) -> set[int]:
    with h5py.File(path) as file:
        ids, index = file["INDEX/trainId"][:], file["INDEX"]
        (count,) = {
            index[f"{detector}/CORR/{source}/{group}/count"]
            for detector in index
            if isinstance(index[detector], h5py.Group) and "CORR" in index[detector]
            for source in index[f"{detector}/CORR"]
            for group in index[f"{detector}/CORR/{source}"]
        }
        return set(ids[count[:] > 0].tolist())
