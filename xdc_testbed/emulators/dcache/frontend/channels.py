"""Channels: what one client subscribed to, the ring of its events, and the one stream that it may read them from.

Everything here runs in the event loop. Source: dCache user guide, "Storage Events"; the sharp edges are those that a
running 11.2.5 and 12.0.1 showed:

* events are replayed only for a numeric Last-Event-ID that is still in the ring; for any other number the ring is
  emptied and the client is told EVENT_LOSS;
* a second stream on a channel ends the first one, with COMPETING_CLIENT;
* that a client has gone is noticed at the next event, so a silent channel outlives its client;
* SYSTEM events have no id and are not kept.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Protocol
from urllib.parse import quote

from ..config import Frontend
from ..subject import Subject
from .answers import Problem

_INT = re.compile(r"-?[0-9]{1,10}$")
_LARGEST_BATCH = 64 * 1024
WATCH_QUEUE = 1000
"""Events of one watch that wait for a slow client before IN_Q_OVERFLOW takes the place of all further ones."""


class Subscription(Protocol):
    """What a channel needs to know of one subscription."""

    kind: str
    sid: str
    waiting: int

    def selector(self) -> dict[str, object]:
        """The selector as a client sees it."""

    def cancel(self) -> None:
        """Stop making events."""

    def caught_up(self) -> None:
        """The client has taken the last event that waited."""


class Stream:
    """The events on their way to one connection."""

    def __init__(self) -> None:
        self._items: deque[tuple[bytes, Subscription | None]] = deque()
        self._awake = asyncio.Event()
        self.closed = False
        self.gone = False
        self.cut = False

    def put(self, text: bytes, subscription: Subscription | None = None) -> None:
        """Add one event."""
        if subscription is not None:
            subscription.waiting += 1
        self._items.append((text, subscription))
        self._awake.set()

    def end(self, *, cut: bool = False) -> None:
        """Nothing follows. cut: the connection ends without the last chunk, as when the server stops."""
        self.closed, self.cut = True, cut
        self._awake.set()

    def vanish(self) -> None:
        """The client has closed the connection."""
        self.gone = True
        self._awake.set()

    async def take(self) -> bytes | None:
        """The events that wait, as many as fit into one write; None at the end."""
        while not self._items:
            if self.closed or self.gone:
                return None
            self._awake.clear()
            await self._awake.wait()
        batch: list[bytes] = []
        size = 0
        while self._items and size < _LARGEST_BATCH:
            text, subscription = self._items.popleft()
            batch.append(text)
            size += len(text)
            if subscription is not None:
                subscription.waiting -= 1
                if not subscription.waiting:
                    subscription.caught_up()
        return b"".join(batch)

    def abandon(self) -> None:
        """Drop what waits: the connection has ended."""
        for _, subscription in self._items:
            if subscription is not None:
                subscription.waiting -= 1
        self._items.clear()


class Channel:
    """One channel of one user. url: without a trailing slash; timeout: seconds that it lives without a client."""

    def __init__(
        self, url: str, owner: Subject, client: str | None, config: Frontend, ended: Callable[[], None]
    ) -> None:
        self.url = url
        self.id = url.rpartition("/")[2]
        self.owner = owner
        self.client = client
        self.timeout = config.disconnect_default
        self.closed = False
        self.subscriptions: dict[tuple[str, str], Subscription] = {}
        self._ended = ended
        self._ring: deque[tuple[int, bytes]] = deque(maxlen=config.max_backlog + 1)
        self._next = 0
        self._stream: Stream | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wait_for_client()

    def subscription_url(self, kind: str, sid: str) -> str:
        """Where a subscription of this channel is managed."""
        return f"{self.url}/subscriptions/{kind}/{quote(sid, safe='+=')}"

    def publish(self, kind: str, payload: str, suffix: str, subscription: Subscription) -> None:
        """Send one event. payload, suffix: the JSON text of the event, and of its subscription with the rest."""
        number = self._next
        self._next += 1
        text = f'event: {kind}\nid: {number}\ndata: {{"event":{payload}{suffix}\n\n'.encode()
        self._ring.append((number, text))
        stream = self._live()
        if stream is not None:
            stream.put(text, subscription)

    def system(self, name: str, subscription: str | None = None) -> None:
        """Send a SYSTEM event to the client that listens now; nobody else gets it."""
        stream = self._live()
        if stream is not None:
            stream.put(_system(name, subscription))

    def add(self, subscription: Subscription) -> None:
        """A new subscription."""
        self.subscriptions[subscription.kind, subscription.sid] = subscription
        self.system("NEW_SUBSCRIPTION", self.subscription_url(subscription.kind, subscription.sid))

    def closed_subscription(self, subscription: Subscription) -> None:
        """A subscription has ended, for whatever reason."""
        if self.subscriptions.pop((subscription.kind, subscription.sid), None) is not None:
            self.system("SUBSCRIPTION_CLOSED", self.subscription_url(subscription.kind, subscription.sid))

    def connect(self, last_id: str | None) -> Stream:
        """A client comes to read. last_id: of the last event that it knows, as it stands in its header."""
        stream = Stream()
        if self._stream is not None:
            self._stream.put(_system("COMPETING_CLIENT"))
            self._stream.end()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stream = stream
        if last_id is None or not _INT.match(last_id):
            return stream
        number = int(last_id)
        while self._ring and self._ring[0][0] != number:
            self._ring.popleft()
        if not self._ring:
            stream.put(_system("EVENT_LOSS"))
        else:
            for _, text in islice(self._ring, 1, None):
                stream.put(text)
        return stream

    def set_timeout(self, seconds: int) -> None:
        """Change how long the channel lives without a client; starts anew when there is none."""
        self.timeout = seconds
        if self._timer is not None:
            self._timer.cancel()
            self._wait_for_client()

    def close(self, *, shutdown: bool = False) -> None:
        """End the channel, its subscriptions and its stream. shutdown: because the server stops."""
        if self.closed:
            return
        if shutdown:
            self.system("SHUTDOWN")
        for subscription in list(self.subscriptions.values()):
            subscription.cancel()
            if not shutdown:
                self.closed_subscription(subscription)
        self.closed = True
        self.subscriptions.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stream is not None:
            self._stream.end(cut=shutdown)
            self._stream = None
        self._ring.clear()
        self._ended()

    def _live(self) -> Stream | None:
        """The stream that a client reads. One whose client has gone is noticed, and dropped, here."""
        if self._stream is not None and self._stream.gone:
            self._stream = None
            self._wait_for_client()
        return self._stream

    def _wait_for_client(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.timeout, self.close)


class Registrar:
    """All channels."""

    def __init__(self, config: Frontend) -> None:
        self._config = config
        self._channels: dict[str, Channel] = {}

    def open(self, base: str, owner: Subject, client: str | None) -> Channel:
        """Make a channel; base: the URL of the collection. Raises Problem 429 when the user has too many."""
        if len(self.of(owner)) >= self._config.channels_per_user:
            raise Problem(429)
        name = secrets.token_urlsafe(16)
        channel = Channel(f"{base}/{name}", owner, client, self._config, lambda: self._forget(name))
        self._channels[name] = channel
        return channel

    def of(self, owner: Subject) -> list[Channel]:
        """The channels of a user, the oldest first."""
        return [channel for channel in self._channels.values() if channel.owner.uid == owner.uid]

    def get(self, name: str, user: Subject, *, media: str = "application/json") -> Channel:
        """A channel of the user. Raises Problem 404, or 403 for somebody else's; media: of that answer."""
        channel = self._channels.get(name)
        if channel is None:
            raise Problem(404, "No such channel", media=media)
        if channel.owner.uid != user.uid:
            raise Problem(403, media=media)
        return channel

    def shutdown(self) -> None:
        """Tell every client that the server stops, and end all streams."""
        for channel in list(self._channels.values()):
            channel.close(shutdown=True)

    def _forget(self, name: str) -> None:
        self._channels.pop(name, None)


def _system(name: str, subscription: str | None = None) -> bytes:
    document = {"type": name} | ({"subscription": subscription} if subscription else {})
    return f"event: SYSTEM\ndata: {json.dumps(document, separators=(',', ':'))}\n\n".encode()
