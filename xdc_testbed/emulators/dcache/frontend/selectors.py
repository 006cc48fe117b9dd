"""What a client may select, and the texts with which the product refuses a selector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .answers import Problem, internal

EVENTS = (
    "IN_ACCESS", "IN_ATTRIB", "IN_CLOSE_WRITE", "IN_CLOSE_NOWRITE", "IN_CREATE", "IN_DELETE", "IN_DELETE_SELF",
    "IN_MODIFY", "IN_MOVE_SELF", "IN_MOVED_FROM", "IN_MOVED_TO", "IN_OPEN",
)  # fmt: skip
MACROS = {
    "IN_ALL_EVENTS": frozenset(EVENTS),
    "IN_CLOSE": frozenset({"IN_CLOSE_WRITE", "IN_CLOSE_NOWRITE"}),
    "IN_MOVE": frozenset({"IN_MOVED_FROM", "IN_MOVED_TO"}),
}
UNSUPPORTED = ("IN_DONT_FOLLOW", "IN_EXCL_UNLINK")
FLAGS = (*EVENTS, *MACROS, *UNSUPPORTED, "IN_MASK_ADD", "IN_ONESHOT", "IN_ONLYDIR")
_AS_JAVA_LISTS_THEM = (
    "IN_MOVE_SELF", "IN_MOVED_TO", "IN_OPEN", "IN_DELETE", "IN_DELETE_SELF", "IN_ONLYDIR", "IN_MASK_ADD", "IN_MOVE",
    "IN_MOVED_FROM", "IN_ALL_EVENTS", "IN_MODIFY", "IN_CREATE", "IN_EXCL_UNLINK", "IN_CLOSE_NOWRITE",
    "IN_CLOSE_WRITE", "IN_ATTRIB", "IN_ONESHOT", "IN_CLOSE", "IN_ACCESS", "IN_DONT_FOLLOW",
)  # fmt: skip
_PACKAGE = "org.dcache.restful.events.streams"

SHORTEST_DELAY = 1e-6
LONGEST_DELAY = 300.0


@dataclass(frozen=True)
class Inotify:
    """A selector of the namespace's events. flags: None when the client gave none."""

    path: str
    flags: tuple[str, ...] | None

    @property
    def events(self) -> frozenset[str]:
        """The masks that it selects: all of them when it names modifiers only."""
        found: set[str] = set()
        for flag in self.flags or ():
            found |= MACROS.get(flag) or ({flag} if flag in EVENTS else set())
        return frozenset(found) or frozenset(EVENTS)

    def has(self, modifier: str) -> bool:
        """Whether a modifier was given."""
        return modifier in (self.flags or ())

    def added_to(self, earlier: Inotify) -> Inotify:
        """What the product shows after IN_MASK_ADD: the flags of both, without the modifier."""
        both = {*(self.flags or ()), *(earlier.flags or ("IN_ALL_EVENTS",))} - {"IN_MASK_ADD"}
        return Inotify(self.path, tuple(flag for flag in FLAGS if flag in both))

    def document(self) -> dict[str, object]:
        """As the client sees it."""
        return {"path": self.path} | ({} if self.flags is None else {"flags": list(self.flags)})


@dataclass(frozen=True)
class Metronome:
    """A selector of the test source. delay: seconds between two messages; count: of messages, None without end."""

    delay: float
    message: str
    count: int | None
    given: dict[str, object]


def inotify(value: Any) -> Inotify:
    """Read a selector. Raises Problem 400, and 500 without a path, as the product does."""
    document = _object(value)
    for key in document:
        if key not in ("path", "flags"):
            raise _bad_value(
                f'Unrecognized field "{key}" (class {_PACKAGE}.inotify.InotifySelector), not marked as ignorable '
                '(2 known properties: "path", "flags"])'
            )
    flags = document.get("flags")
    if flags is not None and not isinstance(flags, list):
        raise _bad_value(f"Cannot deserialize value of type `java.util.ArrayList<{_PACKAGE}.inotify.AddWatchFlag>`")
    for flag in flags or ():
        if flag not in FLAGS:
            raise _bad_value(
                f"Cannot deserialize value of type `{_PACKAGE}.inotify.AddWatchFlag` from String "
                f'"{flag}": not one of the values accepted for Enum class: [{", ".join(_AS_JAVA_LISTS_THEM)}]'
            )
    refused = [flag for flag in UNSUPPORTED if flag in (flags or ())]
    if refused:
        raise Problem(400, f"Bad selector: Unsupported flags: [{', '.join(refused)}]")
    path = document.get("path")
    if path is None:
        raise internal("java.lang.IllegalStateException", "path was not specified")
    if not isinstance(path, str):
        raise _bad_value("Cannot deserialize value of type `java.lang.String`")
    return Inotify(path, None if flags is None else tuple(flag for flag in FLAGS if flag in flags))


def metronome(value: Any) -> Metronome:
    """Read a selector. Raises Problem 400."""
    document = _object(value)
    for key in document:
        if key not in ("frequency", "delay", "message", "count"):
            raise _bad_value(
                f'Unrecognized field "{key}" (class {_PACKAGE}.metronome.MetronomeSelector), not marked as ignorable'
            )
    numbers = {key: document[key] for key in ("frequency", "delay", "count") if document.get(key) is not None}
    for key, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise _bad_value(f'Cannot deserialize value of "{key}"')
    if "frequency" in numbers and "delay" in numbers:
        raise Problem(400, 'Bad selector: "frequency" and "delay" cannot both be specified')
    if "frequency" in numbers:
        delay = 1 / float(numbers["frequency"]) if numbers["frequency"] > 0 else -1.0
        name = "frequency"
        small, large = delay > LONGEST_DELAY or delay < 0, 0 < delay < SHORTEST_DELAY
        limits = (1 / LONGEST_DELAY, 1 / SHORTEST_DELAY)
    elif "delay" in numbers:
        delay, name = float(numbers["delay"]), "delay"
        small, large, limits = delay < SHORTEST_DELAY, delay > LONGEST_DELAY, (SHORTEST_DELAY, LONGEST_DELAY)
    else:
        raise Problem(400, 'Bad selector: either "frequency" or "delay" must be specified')
    if small:
        raise Problem(400, f'Bad selector: "{name}" is too small (less than {limits[0]:.5e})')
    if large:
        raise Problem(400, f'Bad selector: "{name}" is too large (greater than {limits[1]:.5e})')
    message = document.get("message")
    if message is not None and not (isinstance(message, str) and message):
        raise Problem(400, 'Bad selector: "message" is empty')
    count = numbers.get("count")
    return Metronome(delay, message or "tick", None if count is None else int(count), document)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _bad_value("Cannot deserialize value from this JSON")
    return value


def _bad_value(text: str) -> Problem:
    return Problem(400, f"Bad selector: Bad selector value: {text}")
