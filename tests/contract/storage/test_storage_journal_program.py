"""The program that keeps XRootD's change notifications, as a process with a pipe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from storage_rig import ROOT, until

from xdc_testbed.events.journal import Journal

PROGRAM = ROOT / "roles/xrootd/files/xdc_xrootd_journal.py"


def journal(folder: Path, *chunks: bytes) -> list[dict[str, Any]]:
    """What is in the journal after the program has been fed and has ended."""
    path = folder / "journal"
    with subprocess.Popen([sys.executable, PROGRAM, path], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for chunk in chunks:
            process.stdin.write(chunk)
            process.stdin.flush()
    assert process.returncode == 0
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_notice_is_kept_with_the_time_it_came(tmp_path: Path) -> None:
    (line,) = journal(tmp_path, b'{"ev":"closew","tid":"a.1:2@h","lfn":"/data/f","size":"5"}\n')
    assert line.pop("at") > 1_000_000_000
    assert line == {"ev": "closew", "tid": "a.1:2@h", "lfn": "/data/f", "size": "5"}


def test_a_line_in_two_pieces_is_one_line(tmp_path: Path) -> None:
    lines = journal(tmp_path, b'{"ev":"rm","lfn":"/da', b'ta/f"}\n{"ev":"rm"', b',"lfn":"/data/g"}\n')
    assert [line["lfn"] for line in lines] == ["/data/f", "/data/g"]


def test_a_rename_becomes_json(tmp_path: Path) -> None:
    (line,) = journal(tmp_path, b"u.1:2@h mv /data/old name /data/new name\n")
    assert (line["ev"], line["tid"]) == ("mv", "u.1:2@h")
    assert (line["lfn"], line["lfn2"]) == ("/data/old name", "/data/new name")


def test_a_rename_over_https_has_its_new_name_unquoted(tmp_path: Path) -> None:
    first, second = journal(tmp_path, b"u mv /a /data/b%20c%C3%A9\n", b"u mv /a /data/100% sure\n")
    assert (first["lfn2"], second["lfn2"]) == ("/data/b cé", "/data/100% sure")


def test_a_full_file_is_set_aside_and_no_line_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with subprocess.Popen([sys.executable, PROGRAM, path, "200"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for number in range(60):
            process.stdin.write(b'{"ev":"rm","lfn":"/data/%d"}\n' % number)
            process.stdin.flush()
            until(lambda number=number: f'/data/{number}"' in _youngest(tmp_path), "the line")
    kept = sorted(file.name for file in tmp_path.glob("journal*"))
    assert kept == ["journal", *(f"journal.{number}" for number in range(1, 8))]
    with Journal(path) as lines:
        names = [json.loads(line.text)["lfn"] for line in lines.lines(0)]
    assert names == [f"/data/{number}" for number in range(60 - len(names), 60)]
    assert len(names) > 7 * 200 // 60


def _youngest(folder: Path) -> str:
    """What is in the two youngest files, in whichever the last line has come to be."""
    files = [folder / name for name in ("journal", "journal.1")]
    return "".join(file.read_text() for file in files if file.exists())


def test_a_restarted_program_goes_on_at_the_end(tmp_path: Path) -> None:
    journal(tmp_path, b'{"ev":"rm","lfn":"/data/f"}\n')
    assert len(journal(tmp_path, b'{"ev":"rm","lfn":"/data/g"}\n')) == 2
