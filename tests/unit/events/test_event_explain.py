"""Explaining: which rules match an event, and which condition does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from xdc_testbed.cli.events import app
from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.explain import event_of, lines, read_event, verdicts
from xdc_testbed.events.model import DeadLetter, StorageEvent, WorkItem
from xdc_testbed.events.rules import parse

RULES = """
[[rule]]
name = "calibrate-raw"
match = { types = ["written"], endpoints = ["desy-storage"], paths = ["/data/raw/**"], min_size = 5, checksum = true }
action = [{ name = "/_/xdc/calibrate" }]
[[rule]]
name = "tool"
match = { types = ["written"], paths = ["/data/raw/*"] }
action = [{ name = "/_/my/tool" }]
[[run]]
name = "raw-run"
paths = ["/data/raw/{run}/*.h5"]
expect = { count = 2 }
"""


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"kind": "deleted"}, "types"),
        ({"endpoint": "remote-storage"}, "endpoints"),
        ({"path": "/data/proc/x"}, "paths"),
        ({"size": 4}, "size"),
        ({"size": None}, "size"),
        ({"checksum": False}, "checksum"),
    ],
)
def test_the_condition_that_does_not_hold_is_named(change: dict[str, object], key: str) -> None:
    asked = {"path": "/data/raw/a", "endpoint": "desy-storage", "kind": "written", "size": 5, "checksum": True} | change
    verdict = verdicts(parse(RULES), event_of(**asked))[0]  # type: ignore[arg-type]
    assert [condition.key for condition in verdict.conditions if not condition.fits] == [key]
    assert not verdict.matches


def test_a_person_reads_what_matches_what_is_run_and_what_is_not_known_of_it() -> None:
    text = "\n".join(
        lines(parse(RULES), event_of("/data/raw/a", endpoint="desy-storage", kind="written", size=5, checksum=True))
    )
    assert "rule calibrate-raw: matches" in text
    assert "runs /_/xdc/calibrate" in text
    assert "/data/proc/**/CORR-*" in text
    assert "writes what nobody has declared" in text
    assert "run raw-run: not of it" in text


def test_a_file_of_a_run_is_told() -> None:
    event = event_of("/data/raw/r0001/a.h5", endpoint="desy-storage", kind="written", size=5)
    assert "  run raw-run: file of /data/raw/r0001, expected by count" in list(lines(parse(RULES), event))


def test_an_unknown_kind_of_event_is_refused_with_the_known_ones() -> None:
    with pytest.raises(WrongUsage, match="run-complete"):
        event_of("/x", endpoint="e", kind="wrtten", size=None)


def test_a_file_that_is_no_event_is_refused_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text("{}")
    with pytest.raises(WrongUsage, match="is not a storage event: id"):
        read_event(tmp_path / "event.json")


def test_the_verb_explains_an_event_from_a_file_and_a_plain_path(tmp_path: Path, written: StorageEvent) -> None:
    (tmp_path / "rules.toml").write_text(RULES)
    (tmp_path / "event.json").write_bytes(written.to_json())
    for asked in (str(tmp_path / "event.json"), "/data/raw/r0001/a.h5"):
        done = CliRunner().invoke(app, ["explain", asked, "--rules", str(tmp_path / "rules.toml")])
        assert done.exit_code == 0, done.output
        assert "rule calibrate-raw:" in done.output


def test_dead_letters_are_chosen_by_reason_and_rule_one_for_each_work(written: StorageEvent) -> None:
    from xdc_testbed.events.dead_letters import chosen

    def letter(rule: str, reason: str, at: float) -> DeadLetter:
        item = WorkItem.make(written, rule, "/_/xdc/noop", {}, created_at=1)
        return DeadLetter(id=item.id, reason=reason, at=at, item=item)

    found = [
        letter("a", "no answer within 900 s", 1),
        letter("a", "no answer within 900 s", 2),
        letter("b", "input is no raw file", 3),
        DeadLetter.of_garbage(b"x", "not a storage event", at=4),
    ]
    assert [each.at for each in chosen(found)] == [2, 3]
    assert [each.at for each in chosen(found, reason="raw file")] == [3]
    assert [each.at for each in chosen(found, rule="a")] == [2]
    assert chosen(found, reason="raw file", rule="a") == []
