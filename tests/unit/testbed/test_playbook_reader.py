"""Playbooks: how they are started, and how their events are judged."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from xdc_testbed import content
from xdc_testbed.errors import RequirementMissing, VerifyFailed
from xdc_testbed.processes import Completed
from xdc_testbed.progress import Event, silent
from xdc_testbed.testbed import ansible
from xdc_testbed.testbed.ansible import Outcome, PlaybookFailed

# -- the command ------------------------------------------------------------------------------------------------------


def test_a_run_is_the_playbook_the_inventory_and_files_of_variables() -> None:
    words = ansible.arguments(
        Path("site.yml"), Path("hosts.json"), extra_vars=[Path("secrets.json")], check=False, limit=None
    )
    assert words == [
        *(sys.executable, "-m", "ansible", "playbook", "site.yml"),
        *("-i", "hosts.json", "-e", "@secrets.json"),
    ]


def test_check_and_limit_become_options() -> None:
    words = ansible.arguments(Path("site.yml"), Path("hosts.json"), extra_vars=[], check=True, limit="desy-stream")
    assert words[7:] == ["--check", "--diff", "--limit", "desy-stream"]


def test_nothing_of_the_users_own_ansible_reaches_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_ROLES_PATH", "/home/user/roles")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", "/home/user/vault")
    monkeypatch.setenv("ANSIBLE_CONFIG", "/home/user/ansible.cfg")
    given = ansible.environment(tmp_path, strategy="linear", forks=4)
    assert "/home/user" not in " ".join(value for key, value in given.items() if key.startswith("ANSIBLE_"))
    assert "ANSIBLE_VAULT_PASSWORD_FILE" not in given
    assert given["ANSIBLE_CONFIG"] == str(content.root() / "ansible.cfg")


def test_the_rest_of_the_users_environment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    assert ansible.environment(tmp_path, strategy="linear", forks=4)["SSH_AUTH_SOCK"] == "/run/agent"


def test_an_inventory_that_cannot_be_read_fails_the_run(tmp_path: Path) -> None:
    given = ansible.environment(tmp_path, strategy="linear", forks=4)
    assert given["ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED"] == "true"


def test_mitogens_strategies_are_found_where_the_package_is(tmp_path: Path) -> None:
    given = ansible.environment(tmp_path, strategy="mitogen_linear", forks=4)
    assert Path(given["ANSIBLE_STRATEGY_PLUGINS"], "mitogen_linear.py").is_file()


def test_a_missing_mitogen_is_told_with_both_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RequirementMissing) as caught:
        ansible.environment(tmp_path, strategy="mitogen_linear", forks=4)
    assert "pip install" in (caught.value.remedy or "")
    assert 'strategy = "linear"' in (caught.value.remedy or "")


# -- the events -------------------------------------------------------------------------------------------------------


def result(status: str, host: str = "a", task: str = "Broker answers", **more: Any) -> dict[str, Any]:
    """A result event of the callback."""
    return {"event": "result", "host": host, "status": status, "task": task, "role": "kafka", "seconds": 0.1, **more}


def play(group: str) -> dict[str, Any]:
    """A play event; Ansible writes the hosts of a play as a list."""
    return {"event": "play", "name": f"Play of {group}", "pattern": f"['{group}']"}


def stats(**hosts: int) -> dict[str, Any]:
    """The last event: changed tasks by host."""
    return {"event": "stats", "hosts": {host: {"ok": 1, "changed": changed} for host, changed in hosts.items()}}


TASK = {"event": "task", "name": "Broker answers", "role": "kafka"}


def read(*events: dict[str, Any] | str, expected: Mapping[str, Sequence[str]] | None = None) -> Outcome:
    """The outcome of these events."""
    outcome = Outcome("site")
    reader = ansible._Reader(outcome, expected or {}, silent, "site")
    for event in events:
        reader.line(event if isinstance(event, str) else json.dumps(event))
    return outcome


def test_changed_tasks_are_counted_by_host() -> None:
    outcome = read(play("all"), TASK, result("changed"), result("ok", "b"), stats(a=1, b=0))
    assert outcome.changed == {"a": 1, "b": 0}
    assert outcome.diffs == [("site", "a", "kafka: Broker answers")]
    assert outcome.hosts == {"a", "b"}


@pytest.mark.parametrize("status", ["failed", "unreachable"])
def test_a_failure_has_host_task_and_message(status: str) -> None:
    assert read(TASK, result(status, message="no route")).failures == [("a", "Broker answers", "no route")]


def test_a_play_without_hosts_is_noted_only_when_its_group_has_members() -> None:
    events = (play("kafka"), {"event": "no-hosts"})
    assert read(*events, expected={"kafka": ["a"]}).unmatched == ["Play of kafka"]
    assert read(*events, expected={"kafka": []}).unmatched == []


def test_each_task_has_its_time() -> None:
    outcome = read(TASK, result("ok"), {**TASK, "name": "Topics exist"}, result("ok"), stats(a=0))
    assert [name for _, name in outcome.tasks] == ["kafka: Broker answers", "kafka: Topics exist"]


def test_lines_that_are_no_events_are_passed_over() -> None:
    assert read("[WARNING]: something", "", "{", TASK, result("changed"), stats(a=1)).changed == {"a": 1}


def test_progress_tells_each_task_and_each_result() -> None:
    told: list[Event] = []
    reader = ansible._Reader(Outcome("site"), {}, told.append, "site")
    for event in (TASK, result("failed", message="why")):
        reader.line(json.dumps(event))
    assert [(e.kind, e.text, e.host, e.status, e.detail) for e in told] == [
        ("task-start", "Broker answers", None, None, None),
        ("task-result", "Broker answers", "a", "failed", "why"),
    ]


# -- the judgement ----------------------------------------------------------------------------------------------------


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Judges a run of `site` that gave these events and this exit code."""

    def judge(*events: dict[str, Any], code: int = 0, **more: Any) -> Outcome:
        def follow(args: Sequence[str], *, on_line: Callable[[str], None], **rest: Any) -> Completed:
            for event in events:
                on_line(json.dumps(event))
            return Completed(tuple(args), code, b"", b"the last word", 1.0)

        monkeypatch.setattr(ansible, "follow", follow)
        arguments: dict[str, Any] = {
            "inventory": tmp_path / "hosts.json",
            "state_dir": tmp_path,
            "log_dir": tmp_path,
            "extra_vars": [],
            "expected": {"all": ["a"], "kafka": ["a"]},
            "report": silent,
            "phase": "site",
            "strategy": "linear",
            "timeout": 10,
        }
        return ansible.run_playbook("site", **(arguments | more))

    return judge


def test_a_run_in_which_every_host_appeared_is_good(judged: Callable[..., Outcome]) -> None:
    assert judged(play("all"), TASK, result("ok"), stats(a=0)).changed == {"a": 0}


def test_a_failed_task_is_told_with_host_task_and_first_lines(judged: Callable[..., Outcome]) -> None:
    with pytest.raises(PlaybookFailed) as caught:
        judged(TASK, result("failed", message="first\n\nsecond\nthird\nfourth"), stats(a=0), code=2)
    assert caught.value.message == "a: 'Broker answers' failed: first | second | third"
    assert "ansible-site.log" in (caught.value.remedy or "")


def test_a_play_that_should_have_had_hosts_fails_a_run_that_ended_with_0(judged: Callable[..., Outcome]) -> None:
    with pytest.raises(PlaybookFailed, match="Play of kafka' matched no host"):
        judged(play("kafka"), {"event": "no-hosts"}, play("all"), TASK, result("ok"), stats(a=0))


def test_a_host_on_which_nothing_was_done_fails_a_run_that_ended_with_0(judged: Callable[..., Outcome]) -> None:
    with pytest.raises(VerifyFailed, match="did nothing on b"):
        judged(TASK, result("ok"), stats(a=0), expected={"all": ["a", "b"]})


def test_a_run_that_is_limited_need_not_reach_every_host(judged: Callable[..., Outcome]) -> None:
    assert judged(TASK, result("ok"), stats(a=0), expected={"all": ["a", "b"]}, limit="a").hosts == {"a"}


def test_a_run_that_broke_before_any_task_is_told_with_its_last_word(judged: Callable[..., Outcome]) -> None:
    with pytest.raises(PlaybookFailed, match="ended with 4: the last word"):
        judged(code=4)


def test_a_run_that_did_nothing_at_all_is_not_good(judged: Callable[..., Outcome]) -> None:
    with pytest.raises(PlaybookFailed):
        judged(stats(), code=0)


def test_every_line_of_a_run_is_kept(judged: Callable[..., Outcome], tmp_path: Path) -> None:
    judged(TASK, result("ok"), stats(a=0))
    kept = [json.loads(line) for line in (tmp_path / "ansible-site.jsonl").read_text().splitlines()]
    assert kept == [TASK, result("ok"), stats(a=0)]


def test_a_function_tells_the_phase_from_the_play_that_begins() -> None:
    outcome = Outcome("up")
    reader = ansible._Reader(outcome, {}, silent, lambda name: "verify" if name.startswith("Verify") else "site")
    for event in (play("all"), TASK, result("changed"), play("all") | {"name": "Verify all"}, TASK, result("changed")):
        reader.line(json.dumps(event))
    assert [name for name, _, _ in outcome.diffs] == ["site", "verify"]
