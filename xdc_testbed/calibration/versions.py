"""Which versions of constants a correction may take, and in which order: by time, then by condition.

    <folder>/{detector}/{module}/cal.{begin of validity}.h5      cal.20260301T080000Z.h5, or seconds since 1970

A file holds one physical module, and one or more constants of it, as the facility stores them:

    /{PDU}/{Name}/0/data                    the values
    /{PDU}/{Name}/0/operating_condition     attributes: name -> number or text, or (number, allowed deviation)

Each constant is looked for by itself, so that new darks go together with an older gain. Conditions are compared where
the constant and the choice both name them. The facility finds the unit of a place in its database; here the folder is
the place, and the unit is in the file: constants of two units never go together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h5py
import numpy as np

from xdc_testbed.calibration.detector import Module
from xdc_testbed.calibration.failures import ConstantsMissing, ConstantsOutdated
from xdc_testbed.calibration.manifest import Choice, Condition, Constants

TIME_FORMAT = "%Y%m%dT%H%M%SZ"
CONDITIONS = "operating_condition"


@dataclass(frozen=True)
class Version:
    """One file of constants. name: relative to the folder of constants."""

    name: str
    path: Path
    begin: datetime


def file_name(begin: datetime) -> str:
    """Of the constants that are valid from this time on."""
    return f"cal.{begin.astimezone(UTC).strftime(TIME_FORMAT)}.h5"


def begin_of(file: str) -> datetime | None:
    """The begin of validity in the name of a file, None when it is no file of constants."""
    if not (file.startswith("cal.") and file.endswith(".h5")):
        return None
    text = file[len("cal.") : -len(".h5")]
    try:
        if "T" in text:
            return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC)
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def candidates(folder: Path, module: Module, at: datetime | None, choice: Choice) -> tuple[Version, ...]:
    """The versions of a module's constants below `folder`, the preferred one first.

    at: the time of the data, None when it is not known; then the newest comes first. Raises ConstantsMissing.
    """
    place = folder / module.constants_folder
    files = sorted(place.iterdir()) if place.is_dir() else []
    found = [
        Version(f"{module.constants_folder}/{file.name}", file, begin)
        for file in files
        if (begin := begin_of(file.name)) is not None
    ]
    if not found:
        raise ConstantsMissing(
            f"no constants for {module.detector_id} {module.name}",
            remedy=f"put them at {module.constants_folder}/cal.<begin of validity>.h5 in the folder of constants",
        )
    if at is None:
        return tuple(sorted(found, key=lambda version: version.begin, reverse=True))
    if choice.strategy == "closest":
        return tuple(sorted(found, key=lambda version: (abs(version.begin - at), version.begin)))
    before = [version for version in found if version.begin <= at]
    if not before:
        first = min(version.begin for version in found)
        raise ConstantsMissing(
            f"no constants for {module.detector_id} {module.name} before {at:%Y-%m-%d %H:%M:%S}, "
            f"the first ones begin {first:%Y-%m-%d %H:%M:%S}",
            remedy="give older constants, or take the closest ones",
        )
    return tuple(sorted(before, key=lambda version: version.begin, reverse=True))


def conditions_of(constant: h5py.Group) -> dict[str, Condition]:
    """Under which conditions a constant was taken, {} when it does not say. constant: `/{PDU}/{Name}/0`."""
    stored = constant.get(CONDITIONS)
    return {name: _plain(value) for name, value in sorted(stored.attrs.items())} if stored is not None else {}


def contradiction(constant: Mapping[str, Condition], wanted: Mapping[str, Condition]) -> str | None:
    """The first condition in which the two differ, None when all that both name agree."""
    for name in sorted(constant.keys() & wanted.keys()):
        have, want = constant[name], wanted[name]
        allowed = max(have[1] if isinstance(have, tuple) else 0, want[1] if isinstance(want, tuple) else 0)
        is_, other = (value[0] if isinstance(value, tuple) else value for value in (have, want))
        numbers = not isinstance(is_, str) and not isinstance(other, str)
        if is_ != other and not (numbers and abs(is_ - other) <= allowed):  # type: ignore[operator]
            return f"{name} is {is_}, not {other}"
    return None


def require_recent(constants: Constants, at: datetime | None, choice: Choice) -> None:
    """Raise ConstantsOutdated when a part is further away from the data than the choice allows."""
    if choice.within_days is None or at is None:
        return
    for part in constants.parts:
        if abs(at - part.begin) > timedelta(days=choice.within_days):
            raise ConstantsOutdated(
                f"constant {part.name} of {part.pdu} is {abs(at - part.begin).days} days away from the data, "
                f"allowed are {choice.within_days:g}",
                remedy="take new darks (xdc-testbed darks), or allow more days",
            )


def _plain(value: object) -> Condition:
    if isinstance(value, bytes | str | np.bytes_):
        return value.decode() if isinstance(value, bytes) else str(value)
    numbers: Sequence[float] = np.ravel(np.asarray(value, float)).tolist()
    return (numbers[0], numbers[1]) if len(numbers) > 1 else numbers[0]
