"""The second way to run Terraform: python-terraform 0.10.1, behind the same interface as the kit's own.

Of the package only `cmd` is used: its `apply` and `destroy` fail with every Terraform since 1.0 (decision 012). It
keeps what a command says until its end, so that events come late, and it holds a pipe, so that a Terraform whose caller
is killed is ended, too.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from xdc_testbed.errors import DeadlineExceeded, RequirementMissing
from xdc_testbed.processes import Completed, end_session


def run_by_library(
    launcher: Path,
    words: Sequence[str],
    *,
    timeout: float,
    record: Path,
    log: Path,
    on_line: Callable[[str], None],
) -> Completed:
    """Run one command by the package, in a session of its own. Raises DeadlineExceeded, RequirementMissing."""
    if importlib.util.find_spec("python_terraform") is None:
        raise RequirementMissing(
            "python-terraform is not installed", remedy="pip install 'xdc-testbed[python-terraform]'"
        )
    from python_terraform import Terraform

    library = Terraform(working_dir=str(launcher.parent), terraform_bin_path="setsid")
    hit = threading.Event()

    def end() -> None:
        hit.set()
        _end(launcher)

    deadline = threading.Timer(timeout, end)
    deadline.daemon = True
    started = time.monotonic()
    deadline.start()
    try:
        status, out, err = library.cmd("--wait", str(launcher), *words)
    except KeyboardInterrupt:
        _end(launcher)
        raise
    finally:
        deadline.cancel()
    if hit.is_set():
        raise DeadlineExceeded(f"{launcher.name} did not end within {timeout:g} s")
    with record.open("a") as lines, log.open("a") as errors:
        lines.write(out)
        errors.write(err)
    for line in out.splitlines():
        on_line(line)
    return Completed((str(launcher), *words), status, b"", err.encode(errors="replace"), time.monotonic() - started)


def _end(launcher: Path) -> None:
    """The launcher has written down which process it became."""
    end_session(int((launcher.parent / "process").read_text()))
