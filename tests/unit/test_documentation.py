"""The documentation: links lead somewhere, and the commands shown are commands of the kit."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from xdc_testbed import content
from xdc_testbed.cli import app

ROOT = content.root()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name(page: Path) -> str:
    """A page as people call it."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))
    files = [link.partition("#")[0] for link in links if "://" not in link and not link.startswith("#")]
    assert [link for link in files if not (page.parent / link).exists()] == []


def test_every_page_that_the_kit_names_is_there() -> None:
    """In messages and docstrings; emulators also name pages of the products that they stand for."""
    sources = [path for path in (ROOT / "xdc_testbed").rglob("*.py") if "emulators" not in path.parts]
    named = {page for path in sources for page in re.findall(r"\bdocs/[\w/.-]+\.(?:md|json)", path.read_text())}
    assert [page for page in sorted(named) if not (ROOT / page).exists()] == []


def shown(page: Path) -> Iterator[list[str]]:
    """Words of each command line of the kit in the page's blocks of code."""
    for block in re.findall(r"^```(?:console|bash|sh|text)?\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"\s*(?:\$ )?(?:sudo )?(?:\.venv/bin/)?xdc-testbed (.*)", line)
            if found and page.parent.name != "reference":
                yield shlex.split(found[1], comments=True)


def wrong(words: list[str]) -> str | None:
    """What is wrong with a command line, or None. Values are not looked at."""
    words = words[: words.index("--")] if "--" in words else words
    while words and words[0] == "--debug":
        words = words[1:]
    if not words or words[0].startswith("-"):
        return None
    verb, *rest = words
    if verb not in app.VERBS:
        return f"no verb '{verb}'"
    command: Any = get_command(app.build([verb])).commands[verb]  # type: ignore[attr-defined]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            return f"no '{rest[0]}' below '{verb}'"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    unknown = [word for word in rest if word.startswith("-") and word.partition("=")[0] not in known]
    return f"no option {unknown[0]}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_shown_is_one_of_the_kit(page: Path) -> None:
    assert {" ".join(words): fault for words in shown(page) if (fault := wrong(words))} == {}


def test_the_readme_shows_commands() -> None:
    assert len(list(shown(ROOT / "README.md"))) >= 5
