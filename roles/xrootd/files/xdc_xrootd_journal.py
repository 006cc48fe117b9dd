#!/usr/bin/python3
"""Append the change notifications that XRootD writes to standard input to a journal, one JSON line each.

XRootD starts this program (`ofs.notify |program journal`) and starts it again when it ends. It adds the time
at which the line came ("at", epoch seconds), and mends two oddities of renames in XRootD 5.5:
ofs.notifymsg does not know the variable $LFN2, so that they come in the built-in form `<tid> mv <old> <new>`
and get their JSON here; and a rename over https gives the new name as it was in the URL, percent-encoded.
"""

import os
import re
import sys
import time
from pathlib import Path
from urllib.parse import unquote_to_bytes

_RENAME = re.compile(rb"([^ {]*) mv (/.*) (/.*)")  # a blank before a slash ends the old name
# What a quoting client leaves in a URL: with another character, or a lone percent sign, the name is not quoted.
_QUOTED = re.compile(rb"(?:[A-Za-z0-9/._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+")
_READ = 64 * 1024  # bytes: what a pipe holds
_LARGEST = 64 * 1024 * 1024  # bytes of one file of the journal
_KEPT = 7  # older files: journal.1, the older journal.2, ...


def entry(line: bytes, at: float) -> bytes:
    """The journal's line for a notification; at: epoch seconds."""
    rename = _RENAME.fullmatch(line)
    if rename is not None:
        tid, old, new = rename.groups()
        if _QUOTED.fullmatch(new):
            new = unquote_to_bytes(new)
        line = b'{"ev":"mv","tid":"%s","lfn":"%s","lfn2":"%s"}' % (tid, old, new)
    if line.endswith(b"}"):
        line = b'%s,"at":%.6f}' % (line[:-1], at)
    return line + b"\n"


def opened(path: str) -> int:
    """The journal, for appending."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def rotate(path: str, kept: int) -> None:
    """Give the journal's name free; the oldest file goes once there are more than `kept`."""
    for number in range(kept - 1, 0, -1):
        older = Path(f"{path}.{number}")
        if older.exists():
            older.replace(f"{path}.{number + 1}")
    Path(path).replace(f"{path}.1")


def follow(source: int, path: str, largest: int, kept: int) -> None:
    """Copy lines until the source ends. A write takes whole lines, so that a reader seldom meets half of one.

    largest: bytes after which a new file is begun; kept: how many older ones stay.
    """
    journal = opened(path)
    rest = b""
    while chunk := os.read(source, _READ):
        at = time.time()
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            os.write(journal, b"".join(entry(line, at) for line in lines))
            if os.fstat(journal).st_size >= largest:
                rotate(path, kept)
                os.close(journal)
                journal = opened(path)


if __name__ == "__main__":
    os.umask(0o027)  # the event source reads the journal by its group
    follow(0, sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else _LARGEST, _KEPT)
