"""What a PUT may say, and the words of its refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xdc_testbed.emulators.openwhisk import bodies
from xdc_testbed.emulators.openwhisk.config import Config, Limits
from xdc_testbed.emulators.openwhisk.entities import ActionLimits
from xdc_testbed.emulators.openwhisk.web import Refused

_CONFIG = Config("127.0.0.1", 3233, Path("state"), "python", ())
_SOURCE = "def main(a): return a"


def refused(body: Any) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        bodies.action(body, _CONFIG, "guest")
    return caught.value.status, caught.value.text.removeprefix("The request content was malformed:\n")


def test_source_is_no_archive() -> None:
    said = bodies.action({"exec": {"kind": "python:3.11", "code": _SOURCE}}, _CONFIG, "guest")
    assert said.exec is not None
    assert (said.exec.binary, said.code) == (False, _SOURCE)


@pytest.mark.parametrize(("code", "binary"), [("UEsDBA==", True), ("UEsDB", False), ("", False), ("x = 1", False)])
def test_archive_is_known_by_its_letters(code: str, binary: bool) -> None:
    assert bodies.is_binary(code) is binary


def test_default_kind_of_python_is_3_10_as_in_the_products_manifest() -> None:
    said = bodies.action({"exec": {"kind": "python:default", "code": _SOURCE}}, _CONFIG, "guest")
    assert said.exec is not None
    assert said.exec.kind == "python:3.10"


def test_components_of_a_sequence_get_the_callers_namespace() -> None:
    said = bodies.action({"exec": {"kind": "sequence", "components": ["/_/a", "/other/p/b"]}}, _CONFIG, "guest")
    assert said.exec is not None
    assert said.exec.components == ("guest/a", "other/p/b")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ([1], 400, "Object expected in field 'exec'"),
        ({"exec": {"kind": "python:3.11"}}, 400, "'code' must be a string or attachment object"),
        ({"exec": {"kind": "nodejs:20", "code": "x"}}, 400, "The specified runtime 'nodejs:20' is not supported"),
        ({"exec": {"kind": "blackbox"}}, 400, "'image' must be a string"),
        ({"exec": {"kind": "sequence", "components": ["a"]}}, 400, "requirement failed: The fully qualified name"),
        ({"parameters": {"a": 1}}, 400, "parameters malformed!"),
        ({"parameters": [{"value": 1}]}, 400, "parameters malformed!"),
        ({"limits": {"timeout": "x"}}, 400, "time limit malformed"),
        ({"limits": {"memory": True}}, 400, "memory limit malformed"),
        ({"publish": "yes"}, 400, "Expected JsTrue or JsFalse"),
        (
            {"parameters": [{"key": "a", "value": "x" * 1_100_000}]},
            413,
            "parameters larger than allowed: 1100003 > 1048576 bytes.",
        ),
        (
            {"exec": {"kind": "python:3.11", "code": "#" * 50_331_659}},
            413,
            "exec larger than allowed: 50331659 > 50331648 bytes.",
        ),
    ],
)
def test_wrong_bodies_are_refused_in_openwhisks_words(body: Any, status: int, text: str) -> None:
    found = refused(body)
    assert found[0] == status
    assert found[1].startswith(text)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"timeout": 50}, "requirement failed: duration 50 milliseconds below allowed threshold of 100 milliseconds"),
        ({"memory": 1024}, "requirement failed: memory size 1024 MB exceeds allowed threshold of 512 MB"),
        ({"logs": 11}, "requirement failed: log size 11 MB exceeds allowed threshold of 10 MB"),
    ],
)
def test_limits_out_of_bounds_are_refused(given: dict[str, int], text: str) -> None:
    with pytest.raises(Refused, match=text):
        bodies.limits(given, None, Limits())


def test_update_keeps_the_limits_that_it_does_not_name() -> None:
    old = ActionLimits(4000, 128, 5)
    assert bodies.limits({"memory": 256}, old, Limits()) == ActionLimits(4000, 256, 5)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "key not found: status"),
        ({"status": "foo"}, "requirement failed: foo is not a recognized rule state"),
        ([], "JSON object expected"),
    ],
)
def test_wrong_status_of_a_rule_is_refused(body: Any, text: str) -> None:
    with pytest.raises(Refused, match=text):
        bodies.rule_status(body)


def test_empty_binding_is_not_the_absence_of_one() -> None:
    assert bodies.package({"binding": {}}, _CONFIG, "guest").binding == ()
    assert bodies.package({}, _CONFIG, "guest").binding is None
    bound = bodies.package({"binding": {"namespace": "_", "name": "p"}}, _CONFIG, "guest")
    assert bound.binding == ("guest", "p")
