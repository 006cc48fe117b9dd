"""The reference pages say what the sources say."""

from __future__ import annotations

import importlib.util
import json
import re
from types import ModuleType

import pytest

from xdc_testbed import content
from xdc_testbed.testbed.description import groups
from xdc_testbed.testbed.variables import options

FOLDER = content.root() / "docs" / "reference"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """scripts/reference.py."""
    spec = importlib.util.spec_from_file_location("reference", content.root() / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_page_is_stale(reference: ModuleType) -> None:
    made = reference.pages()
    there = {path.name: path.read_text() for path in FOLDER.glob("*")}
    stale = sorted(name for name in {*made, *there} if made.get(name) != there.get(name))
    assert stale == [], "write them anew: .venv/bin/python scripts/reference.py"


def test_every_service_and_every_variable_has_its_place(reference: ModuleType) -> None:
    page = reference.roles()
    assert re.findall(r"^## (\S+)$", page, re.MULTILINE) == list(groups())
    assert [name for name in options() if f"| `{name}` |" not in page] == []


def test_every_verb_has_its_place_with_its_options(reference: ModuleType) -> None:
    page = reference.verbs()
    assert re.findall(r"^## (\S+)$", page, re.MULTILINE) == list(reference.app.VERBS)
    assert "| `--name`, `-n` |" in page
    assert "exit 130" in page


def test_tables_are_as_wide_as_their_heads(reference: ModuleType) -> None:
    for name, page in reference.pages().items():
        width = 0
        for line in page.splitlines() if name.endswith(".md") else []:
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
            assert not (cells and width and cells != width), f"{name}: {line}"
            width = cells


@pytest.mark.parametrize("name", ["endpoints", "storage-event", "work-item", "case-record", "calibration-manifest"])
def test_a_schema_is_one_of_json_schema(reference: ModuleType, name: str) -> None:
    made = json.loads(reference.schema(name))
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert made["type"] in ("object", "array")


def test_a_description_may_leave_out_what_has_a_default(reference: ModuleType) -> None:
    assert "required" not in json.loads(reference.schema("description"))
