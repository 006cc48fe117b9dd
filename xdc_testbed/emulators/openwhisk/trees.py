"""Processes below a process: found in /proc, measured and ended, daemons that left their session included."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_PAGE = os.sysconf("SC_PAGE_SIZE")
proxies: set[int] = set()
"""Process ids of all action proxies that are started and not yet removed."""


def adopt_orphans() -> None:
    """Make this process the parent of what its containers leave behind, so that `end_strays` finds it."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_strays() -> None:
    """End what actions left: children of this process in other sessions, which are no container."""
    session = os.getsid(0)
    for pid in _children(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError, ChildProcessError):
            if pid not in proxies and os.getsid(pid) != session:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)


def kill(pid: int) -> int:
    """End a process and all below it; returns how many were there to be ended."""
    found = 0
    for one in [*descendants(pid), pid]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(one, signal.SIGKILL)
            found += 1
    return found


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents first."""
    children = list(_children(pid))
    return children + [below for child in children for below in descendants(child)]


def start_time(pid: int) -> str:
    """Clock ticks since boot when a process started, which with its id names it; empty without process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def private_bytes(pid: int) -> int:
    """Bytes that a process has for itself: resident, without what it shares with files."""
    try:
        resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
    except OSError:
        return 0
    return (int(resident) - int(shared)) * _PAGE


def _children(pid: int) -> Iterator[int]:
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            yield from map(int, thread.read_text().split())
