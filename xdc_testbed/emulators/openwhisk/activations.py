"""`/namespaces/{ns}/activations`: the records of what ran."""

from __future__ import annotations

import re
import sys

import orjson

from . import messages, names, queries
from .controller import Controller
from .records import summary
from .web import Refused, Reply, Request, document

_ID_LENGTH = 32
_HEX = re.compile(r"[0-9a-f]+", re.IGNORECASE)
_NAME_PARTS = (1, 2)


def list_(controller: Controller, request: Request, namespace: str) -> Reply:
    """GET of the collection: by name and time, newest first; `docs=true` in full."""
    page = queries.page(request, "activations")
    full = request.flag("docs")
    if full and page.only_count:
        raise Refused(400, messages.DOCS_WITH_COUNT)
    since, upto = _time(request, "since", 0), _time(request, "upto", sys.maxsize)
    found = controller.records.select(namespace, _name(request), since, upto)
    if page.only_count:
        return page.counted(len(found), "activations")
    wanted = found[page.skip : page.skip + page.limit]
    return document([orjson.loads(kept.body) if full else summary(kept.body) for kept in wanted])


def get(controller: Controller, namespace: str, activation: str, part: str) -> Reply:
    """GET of one record, or of its `result` or `logs`."""
    if part not in {"", "result", "logs"}:
        raise Refused(404, messages.NO_ROUTE, routed=False)
    if len(activation) != _ID_LENGTH:
        text = f"Activation id length is {len(activation)} but must be {_ID_LENGTH}."
        raise Refused(400, text, routed=False)
    if not _HEX.fullmatch(activation):
        raise Refused(400, messages.ACTIVATION_ID, routed=False)
    body = controller.records.get(namespace, activation)
    if body is None:
        raise Refused(404, messages.NOT_FOUND)
    if part == "":
        return Reply(200, body)
    record = orjson.loads(body)
    return document(record["response"] if part == "result" else {"logs": record["logs"]})


def _name(request: Request) -> str | None:
    text = request.query.get("name")
    if not text:
        return None
    parts = text.split("/")
    if len(parts) not in _NAME_PARTS or not all(names.is_name(part) for part in parts):
        detail = f"Parameter may be a 'simple' name or 'package-name/simple' name: {text}"
        raise Refused(400, messages.malformed_query("name", detail), routed=False)
    return text


def _time(request: Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        detail = f"Parameter is not a valid value for epoch seconds: {text}"
        raise Refused(400, messages.malformed_query(name, detail), routed=False) from None
