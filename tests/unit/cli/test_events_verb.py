"""`events`: what the rules would do, and what the client node says of dead letters and probes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from xdc_testbed.cli import app
from xdc_testbed.events.model import EventType, StorageData, StorageEvent
from xdc_testbed.testbed import remote

RULES = """
[[rule]]
name = "calibrate-raw"
[rule.match]
types = ["written"]
paths = ["/data/raw/**"]
[[rule.action]]
name = "/_/xdc/calibrate"
parameters = {detector = "jungfrau"}
"""


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `events` with these words. Returns exit code, output and error output."""
    monkeypatch.setenv("XDC_STATE_DIR", str(tmp_path / "state"))

    def run_words(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["xdc-testbed", "events", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            app.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run_words


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A rules file."""
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return path


def written(folder: Path, path: str) -> Path:
    """The file of an event that says that `path` was written."""
    data = StorageData(endpoint="desy-storage", size=1, closed_at=1.0)
    event = StorageEvent.make(EventType.WRITTEN, path, data, testbed="demo", session="1")
    file = folder / "event.json"
    file.write_bytes(event.to_json())
    return file


def test_explain_shows_the_work_that_an_event_would_lead_to(events: Any, rules: Path, tmp_path: Path) -> None:
    code, out, _ = events("explain", written(tmp_path, "/data/raw/r0001/a.h5"), "--rules", rules)
    assert code == 0
    assert "  rule calibrate-raw: matches\n" in out
    assert "    runs /_/xdc/calibrate {'detector': 'jungfrau'}\n" in out


def test_explain_says_which_condition_does_not_hold(events: Any, rules: Path, tmp_path: Path) -> None:
    code, out, _ = events("explain", written(tmp_path, "/data/proc/a.h5"), "--rules", rules)
    assert code == 0
    assert "  rule calibrate-raw: does not match\n" in out
    assert "    NO  paths: wanted " in out
    assert "runs" not in out


@pytest.mark.parametrize("text", ["", "{", "[]", '{"specversion": "1.0"}'])
def test_explain_refuses_what_is_no_event_in_one_line(events: Any, rules: Path, tmp_path: Path, text: str) -> None:
    file = tmp_path / "event.json"
    file.write_text(text)
    code, _, err = events("explain", file, "--rules", rules)
    assert code == 2
    assert "event.json is not a storage event: " in err
    assert len(err.splitlines()) == 2


def test_explain_names_a_file_that_is_not_there(events: Any, rules: Path, tmp_path: Path) -> None:
    code, _, err = events("explain", tmp_path / "absent.json", "--rules", rules)
    assert (code, "absent.json: No such file" in err) == (2, True)


def test_dead_letters_are_one_line_each(events: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    letter = {"id": "abcdef0123456789", "at": 0.0, "endpoint": "desy-storage", "subject": "/a", "reason": "truncated"}
    garbage = letter | {"endpoint": None, "subject": None, "reason": "not JSON"}
    monkeypatch.setattr(remote, "dead_letters", lambda *_: [letter, garbage])
    first, second = events("dead", "list")[1].splitlines()
    assert first.startswith("  abcdef012345  ")
    assert first.endswith("  desy-storage:/a  truncated")
    assert second.endswith("  -:-  not JSON")
    assert json.loads(events("dead", "list", "--output", "json")[1]) == [letter, garbage]


def test_no_dead_letter_is_said_so(events: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "dead_letters", lambda *_: [])
    assert events("dead", "list")[:2] == (0, "  no dead letter\n")


@pytest.mark.parametrize(
    ("more", "code"), [({}, 0), ({"ok": 1, "missing": 1}, 1), ({"ok": 1, "failed": 1}, 1), ({"repeated": 1}, 1)]
)
def test_a_probe_fails_when_a_file_was_not_acted_on_exactly_once(
    events: Any, monkeypatch: pytest.MonkeyPatch, more: dict[str, int], code: int
) -> None:
    summary = {"count": 2, "ok": 2, "failed": 0, "missing": 0, "repeated": 0, "close_to_action_ms": {"p50": 9}, **more}
    monkeypatch.setattr(remote, "event_probe", lambda *_, **__: summary)
    assert events("probe")[0] == code


def test_what_happens_is_one_line_a_second_where_nobody_looks(events: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = {"at": 0.0, "events": 3, "events_per_second": 1.5, "work_items": 2, "results": 1, "dead_letters": 0}
    monkeypatch.setattr(remote, "watch_events", lambda *_, show, **__: show(picture))
    assert events("watch")[1].split(" ", 1)[1] == (
        "events=3 events-per-second=1.5 work-items=2 results=1 dead-letters=0\n"
    )


def test_explain_names_the_events_that_would_follow(events: Any, rules: Path, tmp_path: Path) -> None:
    _, out, _ = events("explain", written(tmp_path, "/data/raw/r0001/a.h5"), "--rules", rules)
    assert "      then written, moved: /data/proc/**/CORR-*\n" in out
