"""POST with `Content-Type: application/macaroon-request`: a macaroon for the path of the URL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..http1 import Response
from ..macaroons import BadRequest
from ..web import answer, plain
from .access import Call, Refused

if TYPE_CHECKING:
    from .door import Door

_LARGEST = 64 * 1024
_GSON = "See https://github.com/google/gson/blob/main/Troubleshooting.md#malformed-json"


def post(door: Door, call: Call) -> bool:
    """Give a macaroon, in the product's words also where it does not."""
    kind = (call.header("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/macaroon-request":
        raise Refused(plain(501, "Method POST is not implemented."))
    if not call.request.connection.secure:
        raise Refused(Response(400, reason="Not secure transport"))
    if call.subject.anonymous:
        raise Refused(door.access.login_needed())
    macaroons = door.identity.macaroons
    if macaroons is None:
        raise Refused(plain(501, "Method POST is not implemented."))
    caveats, validity = _wish(_body(call))
    limits = call.subject.limits
    if limits is not None or call.subject.scopes is not None:
        raise Refused(Response(400, reason="Cannot serialise user with a restriction"))
    try:
        macaroon = macaroons.give(call.subject, call.path, caveats, validity)
    except BadRequest as error:
        raise Refused(Response(400, reason=str(error))) from error
    target, base = f"{call.base}{call.request.target.partition('?')[0]}", f"{call.base}/"
    document = {
        "macaroon": macaroon,
        "uri": {
            "targetWithMacaroon": f"{target}?authz={macaroon}",
            "baseWithMacaroon": f"{base}?authz={macaroon}",
            "target": target,
            "base": base,
        },
    }
    body = json.dumps(document, indent=4).encode() + b"\n"
    return answer(call.request, Response(200, body, [("Content-Type", "application/json")]), door.server)


def _body(call: Call) -> bytes:
    body = b""
    for chunk in call.request.connection.body():
        body += chunk
        if len(body) > _LARGEST:
            raise Refused(Response(413))
    return body


def _wish(body: bytes) -> tuple[list[str], str | None]:
    """Caveats and validity of a request. Raises Refused."""
    if not body.strip():
        return [], None
    try:
        wish = json.loads(body)
    except ValueError as error:
        column = len(body) + 1 if "Unterminated" in str(error) else getattr(error, "colno", 0) + 1
        what = "Unterminated string" if "Unterminated" in str(error) else "Malformed JSON"
        reason = (
            f"Unable to parse JSON: com.google.gson.stream.MalformedJsonException: {what} at line 1 column {column} "
            f"path $.?{_GSON}"
        )
        raise Refused(Response(400, reason=reason)) from None
    if not isinstance(wish, dict):
        raise Refused(Response(400, reason="Unable to parse JSON: Expected BEGIN_OBJECT"))
    caveats, validity = wish.get("caveats") or [], wish.get("validity")
    if not isinstance(caveats, list) or not all(isinstance(caveat, str) for caveat in caveats):
        raise Refused(Response(400, reason="Unable to parse JSON: Expected BEGIN_ARRAY"))
    if validity is not None and not isinstance(validity, str):
        raise Refused(Response(400, reason="Bad validity value: Text cannot be parsed to a Duration"))
    return caveats, validity
