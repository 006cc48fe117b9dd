"""Names of entities: which characters they have, and how `/_/package/action` is read."""

from __future__ import annotations

import re

from . import messages

DEFAULT = "_"
MAX_LENGTH = 256
_NAME = re.compile(r"\w|\w[\w@ .&-]*[\w@.&-]", re.ASCII)
_PARTS = (2, 3)


class BadNameError(ValueError):
    """The text names nothing; the message is OpenWhisk's."""


def check(name: str) -> str:
    """Return the name of an entity, package or namespace. Raises BadNameError."""
    if len(name) > MAX_LENGTH:
        raise BadNameError(f"Name segement longer than allowed: {len(name)} > {MAX_LENGTH}.")
    if not is_name(name):
        raise BadNameError(messages.ILLEGAL_NAME)
    return name


def is_name(text: str) -> bool:
    """Whether the text has the characters of a name."""
    return _NAME.fullmatch(text) is not None


def qualified(text: str, namespace: str) -> str:
    """`/_/package/action` -> `guest/package/action`, `_` being the caller's namespace. Raises
    BadNameError."""
    parts = text.strip("/").split("/")
    if len(parts) not in _PARTS:
        raise BadNameError(messages.NOT_QUALIFIED)
    if parts[0] == DEFAULT:
        parts[0] = namespace
    return "/".join(check(part) for part in parts)


def split(full_name: str) -> tuple[str, str]:
    """`guest/package/action` -> (`guest/package`, `action`)."""
    path, _, name = full_name.rpartition("/")
    return path, name
