"""The rules file while the router runs: a right one is taken, a wrong one changes nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.reload import RulesFile
from xdc_testbed.events.rules import Rules

RULE = """
[[rule]]
name = "one"
match = { types = ["written"], paths = ["/data/*"] }
action = [{ name = "/_/xdc/noop" }]
"""


def replaced(path: Path, text: str) -> None:
    """Written as Ansible writes: another file takes the name."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(RULE)
    return path


def test_a_changed_file_is_taken_with_its_version(file: Path) -> None:
    counters = Counters("event-router")
    rules = RulesFile(file, counters)
    before = rules.rules.version
    replaced(file, RULE.replace("one", "two"))
    assert rules.poll()
    assert [rule.name for rule in rules.rules.rule] == ["two"]
    assert rules.rules.version != before
    assert counters.health()["rules"] == rules.rules.version


def test_a_wrong_file_changes_nothing_and_is_said_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters("event-router")
    rules = RulesFile(file, counters)
    before = rules.rules
    replaced(file, RULE.replace("written", "wrtten"))
    with caplog.at_level(logging.ERROR):
        assert [rules.poll(), rules.poll()] == [False, False]
    assert rules.rules is before
    assert (counters.get("rules_refused"), counters.get("rules_stale")) == (1, 1)
    assert [record.getMessage() for record in caplog.records if "wrtten" in record.getMessage()] != []
    replaced(file, RULE.replace("one", "two"))
    assert rules.poll()
    assert counters.get("rules_stale") == 0


def test_a_file_that_is_gone_changes_nothing(file: Path) -> None:
    rules = RulesFile(file, Counters("event-router"))
    before = rules.rules
    file.unlink()
    assert not rules.poll()
    assert rules.rules is before


def test_rules_that_this_service_cannot_follow_are_refused(file: Path) -> None:
    def check(rules: Rules) -> None:
        if rules.rule[0].name == "two":
            raise WrongUsage("not two")

    rules = RulesFile(file, Counters("event-router"), check)
    replaced(file, RULE.replace("one", "two"))
    assert not rules.poll()
    assert rules.rules.rule[0].name == "one"


def test_a_wrong_file_at_the_start_is_refused(file: Path) -> None:
    file.write_text("[[rule]]\n")
    with pytest.raises(WrongUsage, match="name"):
        RulesFile(file, Counters("event-router"))
