"""Mounts that every process of the node sees, also services in mount namespaces of their own.

A mount made later does not reach such a namespace when the root is not shared, as in containers. So the
mount is cloned and put in place inside each of them: open_tree(2), setns(2), move_mount(2); Linux 5.2 or
newer.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from xdc_testbed.errors import XdcError

_SYS_OPEN_TREE, _SYS_MOVE_MOUNT = 428, 429  # the same on every architecture that Debian supports but alpha
_AT_FDCWD = -100
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_CLONE_NEWNS = 0x20000
_MNT_DETACH = 2


def others() -> Iterator[int]:
    """One process of each mount namespace of the node that is not ours."""
    seen = {(Path("/proc/self/ns/mnt")).stat().st_ino}
    for pid in sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        try:
            number = Path(f"/proc/{pid}/ns/mnt").stat().st_ino
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or belongs to another user namespace
        if number not in seen:
            seen.add(number)
            yield pid


def identity(path: str, pid: int | None = None) -> tuple[int, int] | None:
    """Device and inode of a folder as a process sees it, or None when it does not see it."""
    root = f"/proc/{pid}/root" if pid else ""
    try:
        found = os.stat(root + path)  # noqa: PTH116 - the path crosses a magic link that pathlib would normalise
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError, PermissionError):
        return None
    return found.st_dev, found.st_ino


def mounted(source: str, path: str, pid: int | None = None) -> bool:
    """Whether the topmost mount at `path` in a process's namespace is the one with this source."""
    try:
        table = Path(f"/proc/{pid or 'self'}/mountinfo").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    sources = [
        line.split(" - ", 1)[1].split()[1]
        for line in table.splitlines()
        if line.split()[4].replace("\\040", " ") == path
    ]
    return bool(sources) and sources[-1] == source


def attach(path: str, pids: list[int]) -> None:
    """Put a clone of our mount at `path` to the same place in the namespaces of these processes."""
    libc = ctypes.CDLL(None, use_errno=True)
    for pid in pids:
        tree = libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, path.encode(), _OPEN_TREE_CLONE | os.O_CLOEXEC)
        if tree < 0:
            raise _failed("clone the mount", path)
        arguments = (tree, b"", _AT_FDCWD, path.encode(), _MOVE_MOUNT_F_EMPTY_PATH)
        try:
            _inside(pid, partial(libc.syscall, _SYS_MOVE_MOUNT, *arguments), path)
        finally:
            os.close(tree)


def detach(path: str, pids: list[int]) -> None:
    """Take the topmost mount at `path` away in the namespaces of these processes; open files stay open."""
    libc = ctypes.CDLL(None, use_errno=True)
    for pid in pids:
        _inside(pid, partial(libc.umount2, path.encode(), _MNT_DETACH), path)


def _inside(pid: int, call: Callable[[], int], path: str) -> None:
    """Do one call in the mount namespace of a process, in a child of ours; that it has ended is no error."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        with _opened(f"/proc/{pid}/ns/mnt") as namespace, _opened(f"/proc/{pid}/root") as root:
            child = os.fork()
            if child == 0:
                failed = libc.setns(namespace, _CLONE_NEWNS) < 0
                # setns leads to the root of the namespace, which is not the process's own where chroot was used.
                failed = failed or libc.fchdir(root) < 0 or libc.chroot(b".") < 0 or call() < 0
                os._exit(ctypes.get_errno() if failed else 0)
            error = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except (FileNotFoundError, ProcessLookupError):
        return
    if error:
        raise _failed(f"change the mounts of process {pid}", path, error)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _failed(what: str, path: str, error: int | None = None) -> XdcError:
    number = error if error is not None else ctypes.get_errno()
    return XdcError(
        f"cannot {what} at {path}: {os.strerror(number)}",
        remedy="the agent needs root with SYS_ADMIN, and Linux 5.2",
    )
