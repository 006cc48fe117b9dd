"""Rules: what they match, and how a wrong rules file is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.globs import glob_to_regex
from xdc_testbed.events.model import EventType, StorageData, StorageEvent
from xdc_testbed.events.rules import Match, parse

RULES = """
[[rule]]
name = "calibrate-raw"
[rule.match]
types = ["written", "moved"]
paths = ["/data/raw/**/RAW-*.h5"]
min_size = 1
[[rule.action]]
name = "/_/xdc/calibrate"
[[rule]]
name = "ship-corrected"
[rule.match]
types = ["moved"]
endpoints = ["desy-storage"]
paths = ["/data/proc/**/CORR-*"]
[[rule.action]]
name = "/_/xdc/transfer"
parameters = { destination = "remote-storage" }
[[rule.action]]
name = "/_/xdc/noop"
"""


def event(
    path: str, kind: EventType = EventType.WRITTEN, *, endpoint: str = "desy-storage", size: int | None = 10
) -> StorageEvent:
    data = StorageData(endpoint=endpoint, size=size, closed_at=1)
    return StorageEvent.make(kind, path, data, testbed="t", session="s")


def actions(subject: StorageEvent) -> list[str]:
    return [item.action for item in parse(RULES).work(subject, now=2)]


def test_a_raw_file_is_calibrated() -> None:
    assert actions(event("/data/raw/r0001/RAW-R0001-JNGFR01-S00000.h5")) == ["/_/xdc/calibrate"]


def test_one_rule_may_have_several_actions() -> None:
    moved = event("/data/proc/r0001/CORR-1.h5", EventType.MOVED)
    assert actions(moved) == ["/_/xdc/transfer", "/_/xdc/noop"]


def test_parameters_of_the_rule_reach_the_work_item() -> None:
    moved = event("/data/proc/r0001/CORR-1.h5", EventType.MOVED)
    assert next(parse(RULES).work(moved, now=2)).parameters == {"destination": "remote-storage"}


@pytest.mark.parametrize(
    "other",
    [
        event("/data/raw/r0001/RAW-1.h5", EventType.DELETED),
        event("/data/raw/r0001/RAW-1.h5.part-77"),
        event("/data/raw/r0001/other.h5"),
        event("/data/raw/r0001/RAW-1.h5", size=0),
        event("/data/raw/r0001/RAW-1.h5", size=None),
        event("/data/proc/r0001/CORR-1.h5", EventType.MOVED, endpoint="remote-storage"),
    ],
    ids=["deleted", "temporary", "other name", "empty", "size unknown", "other endpoint"],
)
def test_what_no_rule_means_leads_to_nothing(other: StorageEvent) -> None:
    assert actions(other) == []


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("/data/**/RAW-*.h5", "/data/RAW-1.h5", True),
        ("/data/**/RAW-*.h5", "/data/a/b/c/RAW-1.h5", True),
        ("/data/*/RAW-*.h5", "/data/a/b/RAW-1.h5", False),
        ("/data/**", "/data/a/b", True),
        ("/data/**", "/database", False),
        ("/data/?", "/data/x", True),
        ("/data/?", "/data//", False),
        ("/data/[a].h5", "/data/[a].h5", True),
        ("/data/*.h5", "/data/a.h5\n", False),
    ],
)
def test_globs(glob: str, path: str, matches: bool) -> None:
    assert Match(types=(EventType.WRITTEN,), paths=(glob,)).accepts(event(path)) is matches


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="*?"), max_size=30))
def test_a_glob_without_wildcards_matches_itself_only(name: str) -> None:
    match = Match(types=(EventType.WRITTEN,), paths=(f"/{name}",))
    assert match.accepts(event(f"/{name}"))
    assert not match.accepts(event(f"/{name}x"))


@given(st.text(max_size=40))
def test_every_glob_is_a_regular_expression(glob: str) -> None:
    import re

    re.compile(glob_to_regex(glob))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('types = ["moved"]', 'types = ["mved"]'), r"rule\[1\]\.match\.types.*unknown event type 'mved'"),
        (('paths = ["/data/proc/**/CORR-*"]', 'paths = ["data"]'), r"rule\[1\]\.match\.paths.*absolute"),
        (("min_size = 1", "min_size = -1"), r"rule\[0\]\.match\.min_size"),
        (("min_size = 1", "min_size = 5\nmax_size = 4"), r"rule\[0\]\.match.*above max_size"),
        (("min_size = 1", "minsize = 1"), r"rule\[0\]\.match\.minsize"),
        (('name = "ship-corrected"', 'name = "calibrate-raw"'), "two rules are named 'calibrate-raw'"),
        (('name = "/_/xdc/noop"', 'name = "noop"'), r"rule\[1\]\.action\[1\]\.name"),
        (('name = "calibrate-raw"', 'name = "calibrate-raw'), "line 3"),
        (
            ('name = "/_/xdc/noop"', f'name = "/_/xdc/noop"\nparameters = {{ geometry = "{"x" * 65_536}" }}'),
            r"rule\[1\]\.action\[1\]\.parameters.*65551 bytes, more than 65536: put them into a file",
        ),
    ],
)
def test_a_wrong_rules_file_is_refused_in_one_line_that_names_the_key(change: tuple[str, str], message: str) -> None:
    with pytest.raises(WrongUsage, match=message) as caught:
        parse(RULES.replace(*change, 1))
    assert "\n" not in caught.value.message
