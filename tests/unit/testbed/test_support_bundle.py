"""The support archive: bounded, private, and without any secret."""

from __future__ import annotations

import json
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_nodes import node

from xdc_testbed.errors import DeadlineExceeded, RequirementMissing, XdcError
from xdc_testbed.processes import Completed
from xdc_testbed.progress import Event, silent
from xdc_testbed.testbed import secrets, support
from xdc_testbed.testbed.lifecycle import Testbed


@pytest.fixture
def bed(tmp_path: Path) -> Testbed:
    """A testbed that has been begun, with secrets and no nodes."""
    testbed = Testbed(tmp_path, "demo")
    testbed.folder.open("podman")
    secrets.ensure(testbed.folder.secrets_file, ["a", "b"])
    return testbed


def every_secret(bed: Testbed) -> list[str]:
    """All that must not be in an archive, also in parts."""
    return list(_words(secrets.ensure(bed.folder.secrets_file, ["a", "b"])))


def _words(tree: Any) -> Iterator[str]:
    for value in tree.values():
        if isinstance(value, dict):
            yield from _words(value)
        else:
            yield from value.replace(":", "\n").splitlines()


def unpacked(archive: Path) -> dict[str, str]:
    """Text of each file in an archive."""
    with tarfile.open(archive) as opened:
        return {entry.name: _text(opened, entry) for entry in opened.getmembers()}


def _text(opened: tarfile.TarFile, entry: tarfile.TarInfo) -> str:
    file = opened.extractfile(entry)
    assert file is not None
    return file.read().decode()


def test_no_secret_is_in_a_bundle_however_it_was_written(bed: Testbed) -> None:
    tree = secrets.ensure(bed.folder.secrets_file, ["a", "b"])
    logs = bed.folder.run_dir("logs", "run-1")
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZW1vIn0.c2lnbmF0dXJl"  # of no file of the testbed: given by its issuer
    (logs / "plain.log").write_text("\n".join(f"password={word}!" for word in (*every_secret(bed), token)))
    (logs / "tree.json").write_text(json.dumps(tree))
    (logs / "repr.log").write_text(repr(tree))
    whole = "\n".join(unpacked(support.bundle(bed)).values())
    assert [word for word in (*every_secret(bed), token) if word in whole] == []
    assert "password=(hidden)" in whole


def test_a_secret_at_the_cut_of_a_long_file_does_not_leave_its_end_behind(bed: Testbed) -> None:
    secret = every_secret(bed)[0]
    logs = bed.folder.run_dir("logs", "run-1")
    (logs / "long.log").write_text("x" + secret + "y" * (support.LIMIT - len(secret) // 2))
    text = unpacked(support.bundle(bed))["logs/run-1/long.log"]
    assert secret[len(secret) // 2 :] not in text


def test_of_a_long_file_the_end_is_kept(bed: Testbed) -> None:
    logs = bed.folder.run_dir("logs", "run-1")
    (logs / "long.log").write_text("begin\n" + "x" * support.LIMIT + "\nend\n")
    text = unpacked(support.bundle(bed))["logs/run-1/long.log"]
    assert len(text) <= support.LIMIT
    assert text.endswith("\nend\n")


def test_only_the_last_three_runs_are_in_a_bundle(bed: Testbed) -> None:
    for number in range(5):
        (bed.folder.run_dir("logs", f"run-{number}") / "a.log").write_text("x")
    assert {name for name in unpacked(support.bundle(bed)) if name.startswith("logs")} == {
        f"logs/run-{number}/a.log" for number in (2, 3, 4)
    }


def test_a_bundle_is_for_its_owner_alone_and_outlives_the_testbed(bed: Testbed) -> None:
    path = support.bundle(bed)
    bed.folder.remove()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_node_that_does_not_answer_is_told_in_the_bundle(bed: Testbed, monkeypatch: pytest.MonkeyPatch) -> None:
    state = bed.folder.read()
    state.nodes = [node("a-silent").to_json(), node("b-well").to_json()]
    bed.folder.write(state)

    def execute(one: Any, known_hosts: Path, *command: str, **rest: Any) -> Completed:
        if one.name == "a-silent":
            raise DeadlineExceeded("ssh did not end within 20 s")
        return Completed(command, 0, f"{command[0]} of {one.name}".encode(), b"", 0.0)

    monkeypatch.setattr(support.ssh, "execute", execute)
    parts = unpacked(support.bundle(bed))
    assert "did not end within 20 s" in parts["nodes/a-silent/journal.txt"]
    assert parts["nodes/b-well/journal.txt"] == "journalctl of b-well"


def test_a_failure_makes_a_bundle_and_goes_on(bed: Testbed) -> None:
    told: list[Event] = []
    with pytest.raises(XdcError, match="broken"), support.bundle_on_failure(bed, told.append):
        raise XdcError("broken")
    assert Path(told[0].text.removeprefix("support bundle: ")).is_file()


def test_a_missing_requirement_makes_no_bundle(bed: Testbed) -> None:
    with pytest.raises(RequirementMissing), support.bundle_on_failure(bed, silent):
        raise RequirementMissing("no engine")
    assert not list(bed.base.glob("*.reports/*"))
