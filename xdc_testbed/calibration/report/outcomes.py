"""What becomes of each kind of bad input: its name in the manifest, and what to do.

The reference page is made of this.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """name: `failure` of a file that is not corrected, or the field of the manifest that counts what was met in one
    that is.
    """

    met: str
    name: str
    remedy: str


AGAIN = "transfer the file again from where it was written"
LOOK = "nothing, when the number is what the shift knows of; else look at the data acquisition"

FAILED = (
    Outcome("file cut off", "input-truncated", AGAIN),
    Outcome("file empty, or not HDF5", "input-invalid", "look at what wrote it; it is no raw file"),
    Outcome("no detector in a file named as a module's", "no-detector", "look at what wrote it"),
    Outcome("damaged structure", "input-invalid", AGAIN),
    Outcome("unreadable chunk", "input-invalid", AGAIN),
    Outcome("index beyond the data", "input-truncated", AGAIN),
    Outcome("zero train ID before the last train", "input-invalid", "look at the data acquisition"),
    Outcome("pixels of another shape or type", "input-invalid", "give raw data; corrected data is not corrected again"),
    Outcome("input replaced or written while it is read", "input-changed", "correct it again"),
    Outcome("memory cell outside the table", "constants-missing", "give constants taken with as many memory cells"),
    Outcome("no constants for the module", "constants-missing", "put them into the module's folder, or make darks"),
    Outcome("a constant is in no file", "constants-missing", "add a version that holds it"),
    Outcome("only later constants, prior ones wanted", "constants-missing", "give older ones, or take the closest"),
    Outcome("constants of other conditions", "constants-mismatch", "give those of these conditions"),
    Outcome("constants too far away in time", "constants-outdated", "make darks, or allow more days"),
    Outcome("constant of another shape", "constants-invalid", "look at what wrote it"),
    Outcome("constant of another type", "constants-invalid", "look at what wrote it"),
    Outcome("file of constants damaged", "constants-invalid", "copy it again from where it was made"),
    Outcome("disk full while writing", "output-failed", "make room, and correct the file again"),
)
"""The file is not corrected, the others of the run are, and the command ends with exit code 1."""

COUNTED = (
    Outcome("train IDs zero-padded at the end", "trains", "nothing: the padding is no train"),
    Outcome("duplicate train ID", "trains_dropped", LOOK),
    Outcome("train ID that does not increase", "trains_dropped", LOOK),
    Outcome("train flagged invalid", "trains_dropped", LOOK),
    Outcome("train flagged invalid, format 1.1", "trains_dropped", LOOK),
    Outcome("train with count 0", "trains_without_data", LOOK),
    Outcome("old index: first, last, status", "trains_without_data", "nothing: it is read as it was meant"),
    Outcome("missing module", "gaps", "transfer the file of that module"),
    Outcome("trains missing in one module", "gaps", LOOK),
    Outcome("invalid gain bits", "pixels_by_reason.WRONG_GAIN_VALUE", "nothing: the pixel is in the mask"),
    Outcome("saturation and error words", "pixels_by_reason.VALUE_OUT_OF_RANGE", "nothing: the pixel is in the mask"),
    Outcome("constant that is not a number", "pixels_by_reason.VALUE_IS_NAN", "nothing, or make darks again"),
    Outcome("older constants taken", "constants.parts.begin", "nothing, or limit it by --within-days"),
)
"""The file is corrected; the manifest says what was met."""

KILLED = (
    "A process that is killed while it writes leaves nothing under a final name: what is unfinished has a name that "
    "begins with a dot and ends with `.part-<process>`, and may be removed."
)

ENDLESS = (
    "HDF5 2.0 loops without end over some damaged heaps of texts of variable length (the names of the sources in "
    "`METADATA`). Nothing in the same process can end that: give the process a time limit, as an action has."
)
