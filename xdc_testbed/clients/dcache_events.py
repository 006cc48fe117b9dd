"""Storage events of dCache's frontend: channels, subscriptions to directories, and the stream of notices (SSE).

dCache's rules, which a reader must know (facts of 11.2 and 12.0): watches are not recursive; what happens before the
first connection is told only to a client that sends Last-Event-ID; a channel whose client is gone lives for its
timeout, and none lives longer than the frontend; after EVENT_LOSS or IN_Q_OVERFLOW something is missing; a second
reader ends the first one's stream (COMPETING_CLIENT) and leaves its connection open.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2

from xdc_testbed.clients.dcache import Dcache, unreachable
from xdc_testbed.clients.dcache_answers import refusal
from xdc_testbed.clients.errors import StorageError

CHANNELS = "events/channels"
GARBAGE = "garbage"
"""The kind of a notice that cannot be read; `what` is its text."""
_LARGEST_NOTICE = 1 << 20  # bytes


@dataclass(frozen=True)
class Notice:
    """One thing that the stream told.

    kind: `inotify`, `SYSTEM` or the name of another event type; id: number in its channel, None for SYSTEM; what: for
    SYSTEM its type (NEW_SUBSCRIPTION, EVENT_LOSS, ...); subscription: path part of its URL; mask, name, cookie: of an
    inotify event, name None when it concerns the watched thing itself.
    """

    kind: str
    id: int | None
    what: str = ""
    subscription: str = ""
    mask: frozenset[str] = frozenset()
    name: str | None = None
    cookie: str | None = None

    @classmethod
    def parse(cls, kind: str, number: str, data: str) -> Notice:
        """Read one event of the stream. Raises ValueError."""
        told: Any = json.loads(data)
        if not isinstance(told, dict):
            raise ValueError(f"not a notice: {data[:200]!r}")  # noqa: TRY004 - bad data, not a bad call
        subscription = _path(str(told.get("subscription", "")))
        if kind == "SYSTEM":
            return cls(kind, None, what=str(told.get("type", "")), subscription=subscription)
        event, position = told.get("event"), int(number) if number.isdigit() else None
        if kind != "inotify":
            return cls(kind, position, subscription=subscription)
        if not isinstance(event, dict) or not isinstance(event.get("mask"), list):
            raise ValueError(f"not an inotify event: {data[:200]!r}")  # noqa: TRY004 - bad data, not a bad call
        return cls(
            kind,
            position,
            subscription=subscription,
            mask=frozenset(str(flag) for flag in event["mask"]),
            name=None if event.get("name") is None else str(event["name"]),
            cookie=None if event.get("cookie") is None else str(event["cookie"]),
        )


class EventChannels:
    """The channels of one user of a frontend. Channels and subscriptions are named by the path part of their URL.

    Raises what Dcache raises: NotFound for a channel that is gone, StorageDenied for another user's, Busy for one
    channel too many.
    """

    def __init__(self, dcache: Dcache) -> None:
        self._dcache = dcache

    def create(self, client_id: str, *, timeout: int) -> str:
        """A new channel. timeout: whole seconds that it outlives its client, at most a day in the product."""
        answer = self._dcache.send("POST", CHANNELS, json={"client-id": client_id})
        channel = _location(answer)
        self._dcache.send("PATCH", channel, json={"timeout": timeout})
        return channel

    def find(self, client_id: str) -> list[str]:
        """Channels that this user made under a client id."""
        told = self._dcache.call("GET", CHANNELS, params={"client-id": client_id})
        return [_path(str(url)) for url in told]

    def delete(self, channel: str) -> None:
        """Remove a channel with its subscriptions."""
        self._dcache.send("DELETE", channel)

    def subscribe(self, channel: str, path: str, flags: Iterable[str]) -> str:
        """Watch a directory or file; the subscription. One that is there for this path has the new flags now."""
        wish = {"path": path, "flags": sorted(flags)}
        return _location(self._dcache.send("POST", f"{channel}/subscriptions/inotify", json=wish))

    def unsubscribe(self, subscription: str) -> None:
        """Watch it no more."""
        self._dcache.send("DELETE", subscription)

    def watched(self, channel: str) -> list[str]:
        """The subscriptions of a channel to folders and files."""
        told = self._dcache.call("GET", f"{channel}/subscriptions")
        return [_path(str(url)) for url in told if "/subscriptions/inotify/" in str(url)]

    def target(self, subscription: str) -> str:
        """What a subscription watches: an absolute path."""
        return "/" + str(self._dcache.call("GET", subscription).get("path", "")).strip("/")

    @contextmanager
    def stream(self, channel: str, last: int | None, *, silence: float) -> Iterator[Iterator[Notice]]:
        """The notices of a channel as they come.

        last: number of the last notice dealt with; what came after it is told again. silence: seconds without any byte
        after which Unreachable is raised: the product sends no signs of life, so a connection that broke unseen shows
        in no other way. The iteration ends when the frontend ends it.
        """
        url = self._dcache.url(channel)
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store", **self._dcache.headers()}
        if last is not None:
            headers["Last-Event-ID"] = str(last)
        try:
            with self._dcache.http.stream(
                "GET", url, headers=headers, timeout=httpx2.Timeout(silence, connect=10.0)
            ) as answer:
                if answer.status_code >= 400:
                    text = answer.read().decode(errors="replace")
                    sent = answer.request.headers.get("Authorization")
                    raise refusal(f"GET {url}", answer.status_code, answer.headers, text, authorization=sent)
                yield _notices(answer)
        except httpx2.HTTPError as error:
            raise unreachable("GET", url, error) from error


def _location(answer: httpx2.Response) -> str:
    if not (location := answer.headers.get("Location", "")):
        raise StorageError(f"POST {answer.request.url}: no Location in the answer", status=answer.status_code)
    return _path(location)


def _path(url: str) -> str:
    """The path part, kept as it is written: subscription ids may hold a raw `+` or a quoted `/`."""
    _, separator, rest = url.partition("://")
    return quote("/" + rest.partition("/")[2] if separator else url, safe="/%+~:@")


def _notices(answer: httpx2.Response) -> Iterator[Notice]:
    for event in httpx2.EventSource(answer, max_event_size=_LARGEST_NOTICE):
        try:
            yield Notice.parse(event.event, event.id, event.data)
        except ValueError:
            yield Notice(GARBAGE, int(event.id) if event.id.isdigit() else None, what=event.data[:4096])
