"""Takes credentials out of what actions and platforms say, before it is written down where many may read. Pure.

No expression here looks at a character more than a few times: what is searched may be a megabyte of anything.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any

HIDDEN = "(hidden)"

_NAMES = r"(?:access_token|refresh_token|id_token|client_secret|password|passwd|secret|api_?key|authz|authorization)"
_SECRET_KEY = re.compile(rf"^{_NAMES}$", re.IGNORECASE)
_WORD = re.compile(r"[\w.-]{20,}")  # what a JSON web token (RFC 7519) is part of: three words, the first begins so:
_FIRST_WORD = "eyJ"
_OF_SECRETS = string.ascii_letters + string.digits + "._~+/=%-"
_SHAPES = (
    re.compile(r"(?<![\w-])MDA[\w-]{40,}={0,2}"),  # macaroon: its first packet is the location
    re.compile(r"(?<=bearer )[\w.~+/=-]{8,}", re.IGNORECASE),
    re.compile(r"(?<=basic )[\w+/=]{8,}", re.IGNORECASE),
    re.compile(r"(?<=//)[^/\s:@]+:[^/\s@]+(?=@)"),  # user and password in a URL
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(rf"(?<![a-z]){_NAMES}[\"']?\s*[=:]\s*[\"']?(?!bearer |basic )([^\s\"'&,;}}]+)", re.IGNORECASE),
)


def text(said: str, known: Sequence[str] = ()) -> str:
    """The text with everything that looks like a credential taken out. known: secrets that need not look like one."""
    for secret in sorted(filter(None, known), key=len, reverse=True):
        said = said.replace(secret, HIDDEN)
    said = _WORD.sub(_hide_token, said)
    for shape in _SHAPES:
        said = shape.sub(_hide, said)
    return said


def shortened(said: str, most: int) -> str:
    """The beginning of the text without credentials. It is searched before it is cut: half a secret is not found."""
    start = said[: 4 * most]
    if len(start) < len(said):  # its last word may be half of one
        start = start.rstrip(_OF_SECRETS) or f"({len(said)} characters without a break)"
    return text(start)[:most]


def value(said: Any, known: Sequence[str] = ()) -> Any:
    """The same for what JSON can hold; what stands under the name of a secret is taken out whole."""
    if isinstance(said, str):
        return text(said, known)
    if isinstance(said, dict):
        return {key: HIDDEN if _SECRET_KEY.match(str(key)) else value(inside, known) for key, inside in said.items()}
    if isinstance(said, list | tuple):
        return [value(inside, known) for inside in said]
    return said


def _hide_token(found: re.Match[str]) -> str:
    before, token, rest = found[0].partition(_FIRST_WORD)
    return before + HIDDEN if token and rest.count(".") >= 2 else found[0]


def _hide(found: re.Match[str]) -> str:
    if found.re.groups:
        return found[0][: found.start(1) - found.start()] + HIDDEN
    return HIDDEN
