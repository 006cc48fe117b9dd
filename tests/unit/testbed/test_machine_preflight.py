"""What this machine must have: every missing thing is told with the way to get it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from xdc_testbed.drivers.base import Finding
from xdc_testbed.errors import RequirementMissing
from xdc_testbed.testbed import preflight
from xdc_testbed.testbed.description import load


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Finding]:
    """Findings of a machine that has Python and nothing else, by name."""
    monkeypatch.setattr(preflight.shutil, "which", lambda _: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    def find(wanted: str, folder: Path) -> None:
        raise RequirementMissing("no container engine is installed", remedy="make setup")

    monkeypatch.setattr(preflight.Engine, "find", find)
    description = load(profile="demo", environ={}).description
    return {finding.what: finding for finding in preflight.findings(description, state_dir=tmp_path)}


def test_programs_and_packages_that_are_missing_are_told_one_by_one(bare: dict[str, Finding]) -> None:
    missing = {what for what, finding in bare.items() if not finding.ok}
    assert missing >= {"ssh", "ssh-keygen", "tar", "mvn", "java", "ansible", "ansible_mitogen", "container engine"}


def test_each_missing_requirement_comes_with_what_is_needed_and_how_to_get_it(bare: dict[str, Finding]) -> None:
    speechless = [what for what, finding in bare.items() if not finding.ok and not (finding.needed and finding.remedy)]
    assert speechless == []


def test_this_python_and_the_kits_content_are_found(bare: dict[str, Finding]) -> None:
    assert bare["Python"].ok
    assert bare["content"].ok
