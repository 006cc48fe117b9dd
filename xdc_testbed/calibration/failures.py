"""Why a calibration did not happen. Each is final for the same input: trying again changes nothing.

CalibrationError
├── InputTruncated     the file ends before its own description of itself does
├── InputInvalid       not HDF5, no detector in it, or an index that contradicts itself
│   └── NoDetector     a whole file of other data: of a run, it is left out
├── NothingSelected    the trains that were asked for are not in this file
├── InputChanged       the raw file was replaced or written while it was read
├── DarksInvalid       dark runs that do not go together with the detector
├── OutputFailed       the corrected file could not be written: no room, no permission
├── ConstantsMissing   no constants for this module or for a memory cell of it
├── ConstantsMismatch  there are constants, but taken under other conditions or of another unit
├── ConstantsOutdated  the constants are further away in time than allowed
└── ConstantsInvalid   constants of another shape, or without a part that the correction needs
"""

from __future__ import annotations

import re

from xdc_testbed.errors import RequirementMissing, XdcError


class CalibrationError(XdcError):
    """A raw file could not be corrected; the message is one line and names the reason."""

    @property
    def name(self) -> str:
        """As the manifest calls it: InputTruncated is `input-truncated`."""
        return re.sub(r"(?<=.)([A-Z])", r"-\1", type(self).__name__).lower()


class InputTruncated(CalibrationError):
    """The raw file is shorter than its superblock or its index says."""


class InputInvalid(CalibrationError):
    """The raw file is not what its name promises."""


class NoDetector(InputInvalid):
    """There is no module of a known detector in the raw file."""


class NothingSelected(CalibrationError):
    """No train of the raw file is among those that the user chose."""


class InputChanged(CalibrationError):
    """The raw file is not the one that was opened any more."""


class DarksInvalid(CalibrationError):
    """Dark runs and detector do not go together, or nobody knows when the runs were taken."""


class OutputFailed(CalibrationError):
    """The corrected file could not be written; nothing is left under its name."""


class ConstantsMissing(CalibrationError):
    """There are no constants for the module, or for a memory cell that the data uses."""


class ConstantsMismatch(CalibrationError):
    """Every version of a constant was taken under other conditions than the data, or is of another physical module."""


class ConstantsOutdated(CalibrationError):
    """The constants that would be taken are further away from the data in time than the parameters allow."""


class ConstantsInvalid(CalibrationError):
    """The constants do not fit the detector."""


class KernelUnavailable(RequirementMissing):
    """The implementation that the environment asks for is not here."""
