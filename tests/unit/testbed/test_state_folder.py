"""The state folder: whole or not at all, one command at a time, and damage that is told."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from xdc_testbed.errors import WrongUsage, XdcError
from xdc_testbed.testbed.state import SCHEMA, StateFolder, base_dir, names, write_private


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    """The folder of a testbed that has been begun."""
    made = StateFolder(tmp_path, "demo")
    made.open("podman")
    return made


def test_a_testbed_keeps_its_id(folder: StateFolder) -> None:
    assert folder.open("podman") == folder.read()
    assert StateFolder(folder.path.parent, "other").open("podman").id != folder.read().id


def test_what_is_written_is_read(folder: StateFolder) -> None:
    state = folder.read()
    state.nodes = [{"name": "a"}]
    folder.write(state)
    assert folder.read() == state


def test_the_folder_and_the_state_are_for_their_owner_alone(folder: StateFolder) -> None:
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder.path / "state.json").stat().st_mode) == 0o600


def test_a_write_that_is_interrupted_leaves_the_last_whole_state(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = folder.read()

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    changed = before.model_copy(update={"nodes": [{"name": "a"}]})
    with pytest.raises(OSError, match="No space"):
        folder.write(changed)
    assert folder.read() == before
    assert [path.name for path in folder.path.iterdir()] == ["state.json"]


def test_a_file_that_was_open_to_others_is_private_after_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secret"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)


def test_a_state_of_another_schema_is_refused_with_both_numbers(folder: StateFolder) -> None:
    path = folder.path / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_number": SCHEMA + 1}))
    with pytest.raises(XdcError, match=f"has schema {SCHEMA + 1}, this kit writes {SCHEMA}"):
        folder.read()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"schema_number": 1}', '{"schema_number": 1, "id": "a", "surprise": 1}', "\x00\x00"],
)
def test_a_damaged_state_is_told_with_its_file_and_the_way_out(folder: StateFolder, text: str) -> None:
    (folder.path / "state.json").write_text(text)
    with pytest.raises(XdcError) as caught:
        folder.read()
    assert "state.json" in caught.value.message
    assert "\n" not in caught.value.message
    assert "xdc-testbed down --name demo" in (caught.value.remedy or "")


def test_a_second_command_is_told_who_holds_the_testbed(folder: StateFolder) -> None:
    with folder.locked("up"), pytest.raises(XdcError) as caught, StateFolder(folder.path.parent, "demo").locked("down"):
        pass
    assert caught.value.message == f"testbed 'demo' is in use by `xdc-testbed up` (process {os.getpid()})"


def test_a_lock_ends_with_its_command_also_when_that_failed(folder: StateFolder) -> None:
    with pytest.raises(XdcError, match="broken"), folder.locked("up"):
        raise XdcError("broken")
    with folder.locked("down"):
        assert "xdc-testbed down" in (folder.path / "lock").read_text()


def test_only_testbeds_that_were_begun_have_a_name(folder: StateFolder) -> None:
    (folder.path.parent / "demo.reports").mkdir()
    (folder.path.parent / ".image").mkdir()
    assert names(folder.path.parent) == ["demo"]


def test_nothing_is_left_of_a_folder_that_was_removed(folder: StateFolder) -> None:
    folder.run_dir("logs", "run-1").joinpath("a.log").write_text("x")
    folder.remove()
    assert not folder.path.exists()
    assert not folder.exists


@pytest.mark.parametrize("name", ["", "..", "a/b", "Upper", "-a", "a-", "a" * 41, "a\n"])
def test_a_name_that_could_be_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WrongUsage, match="is not a name"):
        StateFolder(tmp_path, name)


def test_states_are_where_the_user_wants_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDC_STATE_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert base_dir() == tmp_path / "xdg" / "xdc-testbed"
    monkeypatch.setenv("XDC_STATE_DIR", str(tmp_path / "env"))
    assert base_dir() == tmp_path / "env"
    assert base_dir(tmp_path / "flag") == tmp_path / "flag"
