"""JSON as OpenWhisk's parser takes and refuses it; the messages are those of the captures."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.emulators.openwhisk.jsontext import MalformedError, dumps, loads

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_VALUES)
def test_every_json_text_is_read(value: Any) -> None:
    assert loads(json.dumps(value).encode()) == value


@given(_VALUES)
def test_what_is_written_is_read_again(value: Any) -> None:
    assert loads(dumps(value)) == value


@given(st.text())
def test_text_is_read_or_refused_with_a_place(text: str) -> None:
    message = ""
    try:
        loads(text.encode())
    except MalformedError as error:
        message = str(error)
    assert not message or " at input index " in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{not json", "character 'n' at input index 1 (line 1, position 2), expected '\"':\n{not json\n ^\n"),
        ("", "end-of-input at input index 0 (line 1, position 1), expected JSON Value:\n\n^\n"),
        ('{"a":', 'end-of-input at input index 5 (line 1, position 6), expected JSON Value:\n{"a":\n     ^\n'),
        ('{"a":NaN}', "character 'N' at input index 5 (line 1, position 6), expected JSON Value:"),
        ("{}x", "character 'x' at input index 2 (line 1, position 3), expected end-of-input:"),
        ("[1,\n 2 3]", "character '3' at input index 7 (line 2, position 4), expected ']':\n 2 3]\n   ^\n"),
        ("[01]", "character '1' at input index 2 (line 1, position 3), expected ']'"),
        ('{"a" 1}', "character '1' at input index 5 (line 1, position 6), expected ':'"),
        ("tru", "end-of-input at input index 0 (line 1, position 1), expected JSON Value"),
        ('"\\x"', "character 'x' at input index 2 (line 1, position 3), expected JSON escape sequence"),
        ('"a\tb"', "character '\\u0009' at input index 2 (line 1, position 3), expected '\"':\n\"a?b\"\n  ^\n"),
    ],
)
def test_fault_is_named_where_it_is(text: str, message: str) -> None:
    with pytest.raises(MalformedError) as caught:
        loads(text.encode())
    assert str(caught.value).startswith(f"Unexpected {message}")


def test_keys_are_written_in_order() -> None:
    assert dumps({"b": 1, "a": {"d": 1, "c": 2}}) == b'{"a":{"c":2,"d":1},"b":1}'


def test_numbers_beyond_64_bits_survive() -> None:
    assert loads(dumps({"n": 10**30})) == {"n": 10**30}
