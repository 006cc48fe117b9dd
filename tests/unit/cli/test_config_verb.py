"""`config`: the description and where each value came from, without any testbed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from xdc_testbed.cli import app


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `config` with these words in an empty folder. Returns what it printed."""
    for name in ("XDC_NAME", "XDC_PROFILE", "XDC_DRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run_words(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["xdc-testbed", "config", *words])
        with pytest.raises(SystemExit) as ended:
            app.main()
        assert not ended.value.code
        return capsys.readouterr().out

    return run_words


def test_explain_gives_programs_each_value_with_its_origin(config: Any) -> None:
    Path("testbed.toml").write_text("nodes.desy-stream.memory = 2000")
    told = json.loads(config("explain", "--name", "mine", "--output", "json"))
    assert told["name"] == {"value": "mine", "origin": "command line"}
    assert told["nodes.desy-stream.memory"] == {"value": 2000, "origin": "testbed.toml"}
    assert told["nodes.desy-stream.site"] == {"value": "desy", "origin": "profile demo"}
    assert told["strategy"]["origin"] == "default"


def test_explain_gives_people_one_line_for_each_value(config: Any) -> None:
    lines = config("explain").splitlines()
    assert len(lines) == len(json.loads(config("explain", "--output", "json")))
    assert next(line.split()[-2:] for line in lines if "desy-stream.site" in line) == ["profile", "demo"]


def test_profiles_are_listed_with_their_nodes(config: Any) -> None:
    lines = {line.split()[0]: line for line in config("profiles").splitlines()}
    assert set(lines) >= {"demo", "minimal"}
    assert "6 nodes" in lines["demo"]
    assert "remote-cache" in lines["demo"]
