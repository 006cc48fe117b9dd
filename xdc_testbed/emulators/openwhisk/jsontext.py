"""Read JSON as OpenWhisk's parser (spray-json) does: strict, and with its words when the text is wrong.

A correct text is read by orjson. A wrong one is walked again by a small copy of spray-json's grammar,
only to find the place and the expectation that its message names.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import orjson

_END = ""
_LONG_NUMBER = re.compile(rb"\d{19}")
_CONTROL = 32


class MalformedError(ValueError):
    """The text is not JSON; the message is spray-json's."""


def loads(text: bytes) -> Any:
    """Parse, without NaN, Infinity and trailing text. Raises MalformedError."""
    try:
        value = orjson.loads(text)
    except ValueError:
        _Walk(text.decode("utf-8", "replace")).document()
        return _exact(text)
    return _exact(text) if _LONG_NUMBER.search(text) else value


def dumps(value: Any) -> bytes:
    """Compact text with sorted keys, as everything that OpenWhisk has once parsed."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _exact(text: bytes) -> Any:
    """Texts that orjson refuses or rounds, and spray-json takes: lone surrogates, integers beyond 64 bits."""

    def refuse(constant: str) -> NoReturn:
        raise MalformedError(constant)

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise MalformedError(str(error)) from error


class _Walk:
    """Recursive descent over the text; raises MalformedError at the first fault."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def document(self) -> None:
        self._space()
        self._value()
        if self._here() != _END:
            self._fail("end-of-input")

    def _here(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else _END

    def _space(self) -> None:
        while self._here() and self._here() in " \n\r\t":
            self._at += 1

    def _take(self, character: str) -> bool:
        if self._here() != character:
            return False
        self._at += 1
        return True

    def _require(self, character: str) -> None:
        if not self._take(character):
            self._fail(f"'{character}'")

    def _value(self) -> None:
        start = self._at
        match self._here():
            case "{":
                self._at += 1
                self._members("}")
            case "[":
                self._at += 1
                self._members("]")
            case '"':
                self._string()
            case "f" | "n" | "t" as first:
                for character in {"f": "false", "n": "null", "t": "true"}[first]:
                    if not self._take(character):
                        self._fail("JSON Value", start)
                self._space()
            case character if character and character in "-0123456789":
                self._number()
            case _:
                self._fail("JSON Value")

    def _members(self, end: str) -> None:
        self._space()
        if not self._take(end):
            while True:
                if end == "}":
                    self._string()
                    self._require(":")
                    self._space()
                self._value()
                if not self._take(","):
                    break
                self._space()
            self._require(end)
        self._space()

    def _string(self) -> None:
        self._require('"')
        while (character := self._here()) and character != '"' and character >= " ":
            self._at += 1
            if character == "\\":
                self._escape()
        self._require('"')
        self._space()

    def _escape(self) -> None:
        if self._here() == "u":
            self._at += 1
            for _ in range(4):
                if not self._here() or self._here() not in "0123456789abcdefABCDEF":
                    self._fail("hex digit")
                self._at += 1
        elif self._here() and self._here() in '"/\\bfnrt':
            self._at += 1
        else:
            self._fail("JSON escape sequence")

    def _number(self) -> None:
        self._take("-")
        if not self._take("0"):
            self._digits()
        if self._take("."):
            self._digits()
        if self._take("e") or self._take("E"):
            _ = self._take("-") or self._take("+")
            self._digits()
        self._space()

    def _digits(self) -> None:
        if not self._here().isdecimal():
            self._fail("DIGIT")
        while self._here().isdecimal():
            self._at += 1

    def _fail(self, expected: str, at: int | None = None) -> NoReturn:
        found, index = self._here(), self._at if at is None else at
        before = self._text[:index]
        line, column = before.count("\n") + 1, index - (before.rfind("\n") + 1)
        shown = self._text[index - column :].partition("\n")[0]
        shown = "".join("?" if ord(character) < _CONTROL else character for character in shown)
        if not found:
            what = "end-of-input"
        else:
            what = f"character '{found}'" if found >= " " else f"character '\\u{ord(found):04x}'"
        raise MalformedError(
            f"Unexpected {what} at input index {index} (line {line}, position {column + 1}), "
            f"expected {expected}:\n{shown}\n{' ' * column}^\n"
        )
