"""One real run of Ansible on this machine: callback, reader and judgement together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.waiting import wait
from xdc_testbed import content
from xdc_testbed.progress import silent
from xdc_testbed.testbed import ansible
from xdc_testbed.testbed.ansible import PlaybookFailed

SECRET = "swordfish-in-a-task"


def play(hosts: str, *tasks: dict[str, Any]) -> dict[str, Any]:
    """A play without facts."""
    return {"name": f"Play of {hosts}", "hosts": hosts, "gather_facts": False, "tasks": list(tasks)}


def command(name: str, *words: str, **more: Any) -> dict[str, Any]:
    """A task that runs a command."""
    return {"name": name, "ansible.builtin.command": {"argv": list(words)}, **more}


PLAYS = [
    play("all", command("Change", "true"), command("Look", "false", changed_when=False, ignore_errors=True)),
    play("empty", command("Change", "true")),
    play("first", command("Change again", "true")),
    play("first", command("Log in", "sh", "-c", f"echo {SECRET}; echo {SECRET} >&2; exit 1", no_log=True)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State and logs of the run, with its playbook."""
    path = tmp_path_factory.mktemp("run")
    _prepare(path, *PLAYS)
    return path


@pytest.fixture(scope="module")
def failed(folder: Path) -> PlaybookFailed:
    """How the run ended; the user's own settings of Ansible are in its way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "root", lambda: folder)
        patch.setenv("ANSIBLE_STDOUT_CALLBACK", "minimal")
        with pytest.raises(PlaybookFailed) as caught:
            ansible.run_playbook(
                "site",
                inventory=folder / "hosts.json",
                state_dir=folder,
                log_dir=folder,
                extra_vars=[],
                expected={"all": ["a", "b"], "first": ["a"], "empty": ["missing"]},
                report=silent,
                phase="site",
                strategy="linear",
                timeout=300,
            )
    return caught.value


def test_a_failure_is_told_with_host_and_task_and_without_what_the_task_hides(failed: PlaybookFailed) -> None:
    assert failed.message == "a: 'Log in' failed: the task failed; its output holds secrets and is not shown"


def test_changes_are_counted_by_host(failed: PlaybookFailed) -> None:
    assert failed.outcome.changed == {"a": 2, "b": 1}


def test_failures_that_a_task_allows_are_none(failed: PlaybookFailed) -> None:
    assert [task for _, task, _ in failed.outcome.failures] == ["Log in"]


def test_a_play_whose_group_lost_its_hosts_is_noted(failed: PlaybookFailed) -> None:
    assert failed.outcome.unmatched == ["Play of empty"]


def test_no_log_holds_the_secret(failed: PlaybookFailed, folder: Path) -> None:
    logs = {path.name: path.read_text() for path in folder.glob("ansible-site.*")}
    assert set(logs) == {"ansible-site.log", "ansible-site.jsonl"}
    assert [name for name, text in logs.items() if SECRET in text] == []


@pytest.mark.parametrize("strategy", ["linear", "mitogen_linear"])
def test_no_task_begins_once_the_command_is_killed(strategy: str, tmp_path: Path) -> None:
    """kill -9 of `up`: what it has started may hold a lock of the node that the next `up` needs."""
    begun, more = tmp_path / "begun", tmp_path / "more"
    _prepare(
        tmp_path,
        play(
            "a",
            command("Begin", "touch", str(begun)),
            command("Wait", "sleep", "3"),
            command("More", "touch", str(more)),
        ),
    )
    killed = subprocess.Popen([sys.executable, "-c", _RUN, str(tmp_path), strategy])
    try:
        wait(begun.exists, 60)
        killed.kill()
        wait(lambda: _started_for(tmp_path) == [], 60)
    finally:
        for pid in _started_for(tmp_path):
            os.kill(pid, signal.SIGKILL)
        killed.wait()
    assert not more.exists()


_RUN = """\
import sys
from pathlib import Path
from xdc_testbed import content
from xdc_testbed.progress import silent
from xdc_testbed.testbed import ansible
folder = Path(sys.argv[1])
content.root = lambda: folder
given = dict(extra_vars=[], expected={}, report=silent, phase="site", strategy=sys.argv[2], timeout=60)
ansible.run_playbook("site", inventory=folder / "hosts.json", state_dir=folder, log_dir=folder, **given)
"""


def _started_for(folder: Path) -> list[int]:
    """Processes that have the folder in their command line, but for this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(folder) in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def _prepare(folder: Path, *plays: dict[str, Any]) -> None:
    """A playbook, and two hosts that are this machine, without SSH."""
    (folder / "playbooks").mkdir()
    (folder / "playbooks" / "site.yml").write_text(yaml.safe_dump(list(plays)))
    (folder / "ansible.cfg").write_text("[defaults]\n")
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {"all": {"hosts": {"a": host, "b": host}, "children": {"first": {"hosts": {"a": {}}}, "empty": {}}}}
    (folder / "hosts.json").write_text(json.dumps(hosts))
