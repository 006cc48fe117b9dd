"""The test source of events: a message at a fixed rate."""

from __future__ import annotations

import asyncio
import json
import uuid

from .channels import Channel
from .selectors import Metronome


class Beat:
    """One metronome subscription, ticking from the moment at which it is made."""

    kind = "metronome"

    def __init__(self, channel: Channel, selector: Metronome) -> None:
        self.sid = str(uuid.uuid4())
        self.waiting = 0
        self._channel = channel
        self._selector = selector
        self._sent = 0
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.time() + selector.delay
        self._suffix = f',"subscription":{json.dumps(channel.subscription_url(self.kind, self.sid))}}}'
        channel.add(self)
        self._timer = self._loop.call_at(self._next, self._tick)

    def selector(self) -> dict[str, object]:
        """As the client gave it."""
        return self._selector.given

    def caught_up(self) -> None:
        """Nothing was dropped: a metronome has no queue of its own."""

    def cancel(self) -> None:
        """Stop ticking."""
        self._timer.cancel()

    def close(self) -> None:
        """Stop ticking, and tell the client."""
        self.cancel()
        self._channel.closed_subscription(self)

    def _tick(self) -> None:
        self._sent += 1
        text = self._selector.message.replace("${username}", self._channel.owner.username)
        text = text.replace("${count}", str(self._sent))
        self._channel.publish(self.kind, json.dumps(text, ensure_ascii=False), self._suffix, self)
        if self._selector.count is not None and self._sent >= self._selector.count:
            self.close()
            return
        self._next = max(self._next + self._selector.delay, self._loop.time())
        self._timer = self._loop.call_at(self._next, self._tick)
