"""A bounded, redacted archive of what is needed to understand a failure; made by itself when `up` fails."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from xdc_testbed import redaction
from xdc_testbed.errors import XdcError
from xdc_testbed.progress import Event, Reporter
from xdc_testbed.testbed import ssh
from xdc_testbed.testbed.lifecycle import Testbed

LIMIT = 400_000
"""Bytes of one file in the archive; the end is kept, where failures are."""


def bundle(testbed: Testbed) -> Path:
    """Collect state, logs of the last three runs, and each node's failed units and journal.

    Returns the path of the archive, which is 0600.
    """
    folder = testbed.base / f"{testbed.name}.reports"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"bundle-{time.strftime('%Y%m%dT%H%M%S')}.tar.gz"
    words = _secrets(testbed)
    with (
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
        tarfile.open(fileobj=file, mode="w:gz") as archive,
    ):
        for name, text in _parts(testbed):
            _add(archive, name, redaction.text(text, words))
    return target


@contextmanager
def bundle_on_failure(testbed: Testbed, report: Reporter) -> Iterator[None]:
    """When the work inside fails, make a bundle and say where it is; the failure goes on."""
    try:
        yield
    except XdcError as error:
        if error.exit_code == 1 and testbed.folder.exists:
            try:
                report(Event("note", f"support bundle: {bundle(testbed)}"))
            except (OSError, XdcError) as problem:
                report(Event("warning", f"no support bundle: {problem}"))
        raise


def _secrets(testbed: Testbed) -> list[str]:
    path = Path(testbed.folder.secrets_file)
    found: list[str] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for inner in value.values():
                walk(inner)
        elif isinstance(value, str):
            found.extend([value, *value.split(":"), *value.split()])

    if path.is_file():
        walk(yaml.safe_load(path.read_text()))
    return sorted({word for word in found if len(word) >= 8})


def _parts(testbed: Testbed) -> Iterator[tuple[str, str]]:
    path = testbed.folder.path
    if testbed.folder.exists:
        yield "state.json", (path / "state.json").read_text()
    for run in sorted((path / "logs").glob("*"))[-3:]:
        for file in sorted(run.glob("*")):
            yield f"logs/{run.name}/{file.name}", file.read_text(errors="replace")
    for node in testbed.nodes() if testbed.folder.exists else []:
        for title, command in {
            "units": ("systemctl", "--failed", "--no-pager", "--plain"),
            "journal": ("journalctl", "-b", "-n", "600", "--no-pager", "-o", "short-iso"),
            "processes": ("ps", "-eo", "pid,ppid,user,rss,etime,comm"),
        }.items():
            try:
                text = ssh.execute(node, testbed.known_hosts, *command, timeout=20, check=False).text
            except XdcError as error:
                text = json.dumps({"not collected": error.message})
            yield f"nodes/{node.name}/{title}.txt", text


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    """Add the end of a text; it is cut after it was redacted, since half a secret would not be found."""
    data = text.encode()[-LIMIT:]
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
    archive.addfile(entry, io.BytesIO(data))
