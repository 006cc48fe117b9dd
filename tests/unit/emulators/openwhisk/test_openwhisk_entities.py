"""Names, parameters, versions, and the way of an entity through the store."""

from __future__ import annotations

import orjson
import pytest

from xdc_testbed.emulators.openwhisk import names
from xdc_testbed.emulators.openwhisk.entities import (
    COLLECTION,
    Action,
    ActionLimits,
    Entity,
    Exec,
    Link,
    Package,
    Parameter,
    Rule,
    Trigger,
    merge,
    next_version,
    restored,
    stored,
    value_of,
)

_HEAD = {"publish": False, "version": "0.0.1", "updated": 1, "annotations": (Parameter("note", {"a": [1]}),)}


@pytest.mark.parametrize("name", ["a", "a b", "a.b-c@d&e", "_x", "7", "n" * 256])
def test_names_that_openwhisk_takes(name: str) -> None:
    assert names.check(name) == name


@pytest.mark.parametrize("name", ["", "@x$", " a", "a ", "a/b", "-a", "é"])
def test_names_that_openwhisk_refuses(name: str) -> None:
    with pytest.raises(names.BadNameError, match="illegal characters"):
        names.check(name)


def test_long_name_is_refused_with_its_length() -> None:
    with pytest.raises(names.BadNameError, match="Name segement longer than allowed: 257 > 256"):
        names.check("n" * 257)


@pytest.mark.parametrize("text", ["/_/a", "/guest/a", "_/a"])
def test_default_namespace_is_the_callers(text: str) -> None:
    assert names.qualified(text, "guest") == "guest/a"


@pytest.mark.parametrize("text", ["a", "/a", "/_/a/b/c", ""])
def test_short_and_long_names_are_not_qualified(text: str) -> None:
    with pytest.raises(names.BadNameError, match="fully qualified name"):
        names.qualified(text, "guest")


def test_later_parameters_win_and_keep_their_place() -> None:
    package = (Parameter("a", "package"), Parameter("b", "package"))
    action = (Parameter("b", "action"), Parameter("c", "action"))
    merged = merge(package, action)
    assert [(one.key, one.value) for one in merged] == [("a", "package"), ("b", "action"), ("c", "action")]
    assert value_of(merged, "b") == "action"
    assert value_of(merged, "d") is None


def test_version_counts_up() -> None:
    assert next_version("0.0.9") == "0.0.10"


@pytest.mark.parametrize(
    "entity",
    [
        Action(
            path="guest/pk",
            name="a",
            exec=Exec("python:3.11", binary=True, main="run"),
            parameters=(Parameter("p", None, init=True),),
            limits=ActionLimits(1000, 256, 10, instances=3),
            **_HEAD,
        ),
        Action(
            path="guest",
            name="s",
            exec=Exec("sequence", components=("guest/a", "guest/b")),
            parameters=(),
            limits=ActionLimits(1000, 256, 10),
            **_HEAD,
        ),
        Package(path="guest", name="p", parameters=(), binding=("other", "q"), **_HEAD),
        Package(path="guest", name="p", parameters=(Parameter("x", 1),), binding=None, **_HEAD),
        Trigger(path="guest", name="t", parameters=(), links=(Link("guest/r", "guest/a", True),), **_HEAD),
        Rule(path="guest", name="r", trigger="guest/t", action="guest/a", **_HEAD),
    ],
    ids=lambda entity: type(entity).__name__,
)
def test_entity_comes_back_from_the_store_as_it_was(entity: Entity) -> None:
    kept = orjson.loads(orjson.dumps(stored(entity)))
    assert restored(COLLECTION[type(entity)], kept) == entity


def test_change_of_a_rule_moves_it_to_the_end_of_its_trigger() -> None:
    links = (Link("guest/r1", "guest/a", True), Link("guest/r2", "guest/a", True))
    trigger = Trigger(path="guest", name="t", parameters=(), links=links, **_HEAD)
    changed = trigger.with_link(Link("guest/r1", "guest/a", False))
    assert [(link.rule, link.active) for link in changed.links] == [("guest/r2", True), ("guest/r1", False)]
    assert changed.without("guest/r1").link("guest/r1") is None
