"""One real run of Ansible on this machine: callback, reader and judgement together."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from xdc_testbed import content
from xdc_testbed.progress import silent
from xdc_testbed.testbed import ansible
from xdc_testbed.testbed.ansible import Outcome, PlaybookFailed

SECRET = "swordfish-in-a-task"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs plays against two hosts that are this machine, without SSH."""

    def run_plays(*plays: dict[str, Any]) -> Outcome:
        (tmp_path / "playbooks").mkdir()
        (tmp_path / "playbooks" / "site.yml").write_text(yaml.safe_dump(list(plays)))
        (tmp_path / "ansible.cfg").write_text("[defaults]\n")
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {"all": {"hosts": {"a": host, "b": host}, "children": {"first": {"hosts": {"a": {}}}, "empty": {}}}}
        (tmp_path / "hosts.json").write_text(json.dumps(hosts))
        monkeypatch.setattr(content, "root", lambda: tmp_path)
        monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "minimal")
        return ansible.run_playbook(
            "site",
            inventory=tmp_path / "hosts.json",
            state_dir=tmp_path,
            log_dir=tmp_path,
            extra_vars=[],
            expected={"all": ["a", "b"], "first": ["a"], "empty": ["missing"]},
            report=silent,
            phase="site",
            strategy="linear",
            timeout=120,
        )

    return run_plays


def play(hosts: str, *tasks: dict[str, Any]) -> dict[str, Any]:
    """A play without facts."""
    return {"name": f"Play of {hosts}", "hosts": hosts, "gather_facts": False, "tasks": list(tasks)}


def command(name: str, *words: str, **more: Any) -> dict[str, Any]:
    """A task that runs a command."""
    return {"name": name, "ansible.builtin.command": {"argv": list(words)}, **more}


def test_changes_are_counted_and_expected_failures_are_none(run: Any) -> None:
    outcome = run(
        play("all", command("Change", "true"), command("Look", "false", changed_when=False, ignore_errors=True)),
        play("first", command("Change again", "true")),
    )
    assert outcome.changed == {"a": 2, "b": 1}
    assert outcome.failures == []


def test_a_failure_names_its_task_and_never_shows_a_task_that_holds_secrets(run: Any, tmp_path: Path) -> None:
    loud = command("Log in", "sh", "-c", f"echo {SECRET}; echo {SECRET} >&2; exit 1", no_log=True)
    with pytest.raises(PlaybookFailed, match="'Log in' failed: the task failed; its output holds secrets") as caught:
        run(play("first", loud))
    assert caught.value.outcome.failures[0][0] == "a"
    kept = [path for path in tmp_path.glob("ansible-site.*") if SECRET in path.read_text()]
    assert kept == []


def test_a_play_whose_group_lost_its_hosts_fails_the_run(run: Any) -> None:
    with pytest.raises(PlaybookFailed, match="'Play of empty' matched no host"):
        run(play("empty", command("Change", "true")), play("all", command("Look", "true", changed_when=False)))
