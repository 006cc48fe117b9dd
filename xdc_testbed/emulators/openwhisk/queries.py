"""Query parameters of lists: `limit`, `skip`, `count`, with the texts of their refusals."""

from __future__ import annotations

from typing import NamedTuple

from . import messages
from .web import Refused, Reply, Request, document

_MOST = 200
_DEFAULT = 30


class Page(NamedTuple):
    """Which part of a list is wanted; or only its length."""

    skip: int
    limit: int
    only_count: bool

    def cut(self, items: list[dict[str, object]], collection: str) -> Reply:
        """The answer for a list of summaries."""
        if self.only_count:
            return self.counted(len(items), collection)
        return document(items[self.skip : self.skip + self.limit])

    def counted(self, length: int, collection: str) -> Reply:
        """The answer for a number of entries."""
        return document({collection: max(0, length - self.skip)})


def page(request: Request, collection: str) -> Page:
    """Read the parameters. Raises Refused 400."""
    query = request.query
    limit = _integer(query.get("limit"), "limit", collection, _DEFAULT)
    if not 0 <= limit <= _MOST:
        detail = f"The value '{limit}' is not in the range of 0 to {_MOST} for {collection}."
        raise Refused(400, messages.malformed_query("limit", detail), routed=False)
    skip = _integer(query.get("skip"), "skip", collection, 0)
    if skip < 0:
        detail = f"The value '{skip}' is not greater than or equal to 0 for {collection}."
        raise Refused(400, messages.malformed_query("skip", detail), routed=False)
    return Page(skip, limit or _MOST, request.flag("count"))


def _integer(text: str | None, name: str, collection: str, default: int) -> int:
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        detail = f"The value '{text}' is not an integer for {collection}."
        raise Refused(400, messages.malformed_query(name, detail), routed=False) from None
