"""A full disk that costs no disk: real ENOSPC below one folder, for every process of the node.

Filling the file system itself is no way: the nodes of a local testbed share the disk of their host. A small
tmpfs over the folder would be full, but would also hide what is there. So an overlay is put over the
folder: the folder is its lower layer, and a tmpfs of `leave_kib` its upper one. What was there stays
readable; whatever is written, also into an existing file, needs room in the tmpfs. The file system says
that it is full (statfs), and nothing else is touched.

Undoing takes the overlay away and then does to the folder what was done in the upper layer: files that
found room are kept, deleted ones are deleted. As on a real disk that got room again, nothing is lost that
was written.

What differs from a real full disk: a file that is already open for writing goes on below the overlay; and
renaming a file from before the fault fails too, as it would have to be copied up.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from xdc_testbed.errors import WrongUsage
from xdc_testbed.faults import namespaces
from xdc_testbed.faults.shell import Run

STAGING = Path("/run/xdc-testbed/faults")
_PAGE = 4096


def add(run: Run, fault_id: str, path: Path, leave_kib: int, *, staging: Path = STAGING) -> None:
    """Put the overlay in place. Raises WrongUsage when there is no such folder."""
    if not path.is_dir():
        raise WrongUsage(
            f"no such folder on this node: {path}", remedy="give the folder below which the service writes"
        )
    if present(fault_id, path):
        return
    tag, layers = f"xdc-{fault_id}", staging / fault_id
    seen_by = [
        pid for pid in namespaces.others() if namespaces.identity(str(path), pid) == namespaces.identity(str(path))
    ]
    layers.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not namespaces.mounted(tag, str(layers)):
        # A tmpfs of size 0 has no limit at all: with nothing left, its one page is taken by ourselves.
        run("mount", "-t", "tmpfs", "-o", f"size={max(leave_kib, 4)}k,mode=0700", tag, str(layers))
    if leave_kib == 0:
        (layers / "filling").write_bytes(bytes(_PAGE))
    upper, work = layers / "upper", layers / "work"
    for layer in (upper, work):
        layer.mkdir(exist_ok=True)
    _same_access(path, upper)
    options = f"lowerdir={path},upperdir={upper},workdir={work},index=off,metacopy=off,redirect_dir=nofollow"
    run(
        "mount",
        "-t",
        "overlay",
        "-o",
        options + (",userxattr" if _in_user_namespace() else ""),
        tag,
        str(path),
    )
    # Where the root is shared (a virtual machine), the kernel has carried the mount over by itself.
    namespaces.attach(str(path), [pid for pid in seen_by if not namespaces.mounted(tag, str(path), pid)])


def present(fault_id: str, path: Path) -> bool:
    """Whether the overlay is in place."""
    return namespaces.mounted(f"xdc-{fault_id}", str(path))


def remove(run: Run, fault_id: str, path: Path, *, staging: Path = STAGING) -> None:
    """Take the overlay away everywhere, and carry over what was written meanwhile."""
    tag, layers = f"xdc-{fault_id}", staging / fault_id
    if namespaces.mounted(tag, str(layers)):  # the first thing that `add` mounts
        others = [pid for pid in namespaces.others() if namespaces.mounted(tag, str(path), pid)]
        namespaces.detach(str(path), others)
        if present(fault_id, path):
            run("umount", "--lazy", str(path))
        if (layers / "upper").is_dir():
            carry_over(layers / "upper", path)
        run("umount", "--lazy", str(layers))
    if layers.is_dir():
        layers.rmdir()


def carry_over(upper: Path, lower: Path) -> None:
    """Do to `lower` what an overlay's upper layer says: new and changed files, removed ones, replaced
    folders.

    Source: Documentation/filesystems/overlayfs.rst (whiteouts are character devices 0/0; opaque folders
    have an attribute).
    """
    for entry in sorted(os.scandir(upper), key=lambda entry: entry.name):
        target = lower / entry.name
        if _is_whiteout(entry):
            _delete(target)
        elif entry.is_dir(follow_symlinks=False):
            if _is_opaque(entry.path) or target.is_symlink() or not target.is_dir():
                _delete(target)
            target.mkdir(exist_ok=True)
            carry_over(Path(entry.path), target)
            like(Path(entry.path), target)
        else:
            _replace(Path(entry.path), target)


def like(model: Path, target: Path) -> None:
    """Give `target` owner, mode, user attributes and times of `model`, but no attribute of the overlay."""
    found = model.lstat()
    os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        target.chmod(stat.S_IMODE(found.st_mode))
        for name in os.listxattr(model):
            if name.startswith("user.") and not name.startswith("user.overlay."):
                os.setxattr(target, name, os.getxattr(model, name))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)


def _same_access(model: Path, target: Path) -> None:
    found = model.stat()
    os.chown(target, found.st_uid, found.st_gid)
    target.chmod(stat.S_IMODE(found.st_mode))


def _replace(source: Path, target: Path) -> None:
    fresh = target.with_name(f".{target.name}.carried-over")
    shutil.copyfile(source, fresh, follow_symlinks=False)
    like(source, fresh)
    if target.is_dir() and not target.is_symlink():
        _delete(target)
    fresh.replace(target)


def _delete(target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def _is_whiteout(entry: os.DirEntry[str]) -> bool:
    found = entry.stat(follow_symlinks=False)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _is_opaque(path: str) -> bool:
    return any(
        name.endswith("overlay.opaque") and os.getxattr(path, name, follow_symlinks=False) == b"y"
        for name in os.listxattr(path, follow_symlinks=False)
    )


def _in_user_namespace() -> bool:
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]
