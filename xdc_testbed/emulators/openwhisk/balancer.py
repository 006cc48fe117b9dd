"""Which invoker runs an activation: one that holds a warm container, else the least used; and who waits.

As OpenWhisk does, invokers are filled by the memory that actions ask for. There is one queue, here: a new
invoker takes from it at once, and nothing waits on an invoker that is about to leave.
"""

from __future__ import annotations

import asyncio
from collections import deque

from .invoker import Invoker
from .jobs import Answered, Code, Job, Key


class PlaceLost(Exception):
    """An invoker went away. sent: whether it had been given the job, and may have run it."""

    def __init__(self, name: str, *, sent: bool) -> None:
        super().__init__(name)
        self.sent = sent


class Place:
    """An invoker as the balancer sees it: its room (memory in MB), and what of that is in use."""

    def __init__(self, name: str, memory: int, processes: int) -> None:
        self.name, self.memory, self.processes = name, memory, processes
        self.used = self.running = 0

    @property
    def state(self) -> str:
        """`up` while it takes activations; else what it is instead."""
        return "up"

    def fits(self, memory: int) -> bool:
        """Whether an action of this memory has room now."""
        room = self.used + memory <= self.memory and self.running < self.processes
        return room and self.state == "up"

    def warm(self, key: Key) -> bool:
        """Whether it holds a free container for this action."""
        raise NotImplementedError

    async def run(self, job: Job, code: Code, answered: Answered) -> list[str]:
        """Run a job, see Invoker.run. Raises PlaceLost."""
        raise NotImplementedError


class Here(Place):
    """The invoker of the controller's own process."""

    def __init__(self, invoker: Invoker, memory: int, processes: int) -> None:
        super().__init__("invoker0", memory, processes)
        self._invoker = invoker

    def warm(self, key: Key) -> bool:
        """Whether it holds a free container for this action."""
        return self._invoker.pool.has_warm(key)

    async def run(self, job: Job, code: Code, answered: Answered) -> list[str]:
        """Run a job, see Invoker.run."""
        return await self._invoker.run(job, code, answered)


class Balancer:
    """All invokers, and the activations that have none yet, in order of arrival."""

    def __init__(self, here: Here) -> None:
        self.places: list[Place] = [here]
        self._waiting: deque[tuple[Job, asyncio.Future[Place]]] = deque()

    def now(self, job: Job) -> Place | None:
        """The place for a job, taken for it; None when it has to wait. `give_back` follows."""
        if self._waiting:
            return None
        place = self._choose(job)
        if place is not None:
            place.used += job.memory
            place.running += 1
        return place

    async def later(self, job: Job) -> Place:
        """The same, when there is room and nobody came before."""
        ready: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, ready))
        return await ready

    def give_back(self, place: Place, job: Job) -> None:
        """A job is over."""
        place.used -= job.memory
        place.running -= 1
        if self._waiting:
            self.serve()

    def join(self, place: Place) -> None:
        """An invoker has come."""
        self.places.append(place)

    def leave(self, place: Place) -> None:
        """An invoker has gone."""
        if place in self.places:
            self.places.remove(place)

    def serve(self) -> None:
        """Give room to those who wait. The first one holds back the others, so that large actions get their turn."""
        while self._waiting:
            job, ready = self._waiting[0]
            if not ready.done():
                place = self._choose(job)
                if place is None:
                    return
                place.used += job.memory
                place.running += 1
                ready.set_result(place)
            self._waiting.popleft()

    def close(self) -> None:
        """Whoever waits is not served any more."""
        for _, ready in self._waiting:
            ready.cancel()
        self._waiting.clear()

    def _choose(self, job: Job) -> Place | None:
        best: Place | None = None
        for place in self.places:
            if place.fits(job.memory):
                if place.warm(job.key):
                    return place
                if best is None or place.used * best.memory < best.used * place.memory:
                    best = place
        return best
