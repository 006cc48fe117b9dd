"""Which container runs an activation: a warm one of the same action version, a new one, or the next that
becomes free.

Memory of all containers stays within the pool's; idle ones make room, least recently used first; who finds
no room waits in order of arrival.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from time import monotonic

from .config import PoolLimits
from .containers import Container, Runtime
from .trees import end_strays

_log = logging.getLogger(__name__)
_WATCH_SECONDS = 0.1
_SWEEP_SECONDS = 1.0

Key = tuple[str, str]


@dataclass(slots=True)
class _Waiter:
    key: Key
    python: str
    memory: int
    ready: asyncio.Future[Container] = field(repr=False)


class Pool:
    """All containers of the emulator."""

    def __init__(self, runtime: Runtime, limits: PoolLimits) -> None:
        self._runtime, self._limits = runtime, limits
        self._idle: dict[Key, list[Container]] = {}
        self._busy: set[Container] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._removing: set[asyncio.Future[None]] = set()
        self._memory = 0
        self._count = 0
        self._waiters: deque[_Waiter] = deque()
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    def warm(self, key: Key) -> Container | None:
        """A free container that is initialised for this action version, at once."""
        free = self._idle.get(key)
        while free:
            container = free.pop()
            if container.alive:
                container.since = monotonic()
                self._busy.add(container)
                return container
            self._forget(container)
        return None

    async def take(self, key: Key, python: str, memory: int) -> Container:
        """A container for this action version: warm, or new and to be initialised. Raises OSError if none
        starts."""
        if not self._waiters and (container := self.warm(key)) is not None:
            return container
        waiter = _Waiter(key, python, memory, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._serve()
        return await waiter.ready

    def give_back(self, container: Container) -> None:
        """The activation is over and the container is good for the next."""
        self._busy.discard(container)
        if not container.alive:
            self._forget(container)
        else:
            container.since = monotonic()
            self._idle.setdefault(container.key, []).append(container)
        if self._waiters:
            self._serve()

    def discard(self, container: Container) -> None:
        """The activation is over and so is the container."""
        self._busy.discard(container)
        self._forget(container)
        self._serve()

    async def close(self) -> None:
        """End all containers and wait until nothing of them is left."""
        self._sweeper.cancel()
        for waiter in self._waiters:
            waiter.ready.cancel()
        if self._starting:
            await asyncio.wait(self._starting)
        for container in [*self._busy, *(one for free in self._idle.values() for one in free)]:
            self._forget(container)
        if self._removing:
            await asyncio.wait(self._removing)
        end_strays()

    def _serve(self) -> None:
        """Give containers to waiters, in order; one that has to wait for room holds back later cold starts
        only."""
        full = False
        for waiter in list(self._waiters):
            if waiter.ready.done():
                self._waiters.remove(waiter)
            elif (container := self.warm(waiter.key)) is not None:
                self._waiters.remove(waiter)
                waiter.ready.set_result(container)
            elif not full and self._make_room(waiter.memory):
                self._waiters.remove(waiter)
                self._memory += waiter.memory
                self._count += 1
                task = asyncio.get_running_loop().create_task(self._start(waiter))
                self._starting.add(task)
                task.add_done_callback(self._starting.discard)
            else:
                full = True

    def _make_room(self, memory: int) -> bool:
        while self._memory + memory > self._limits.memory or self._count >= self._limits.processes:
            idle = [container for free in self._idle.values() for container in free]
            if not idle:
                return False
            oldest = min(idle, key=lambda container: container.since)
            self._idle[oldest.key].remove(oldest)
            self._forget(oldest)
        return True

    async def _start(self, waiter: _Waiter) -> None:
        try:
            container = await Container.start(self._runtime, waiter.python, waiter.memory)
        except Exception as error:
            _log.exception("a container could not be started")
            self._memory -= waiter.memory
            self._count -= 1
            if not waiter.ready.done():
                waiter.ready.set_exception(OSError(str(error)))
            self._serve()
            return
        container.key = waiter.key
        if waiter.ready.done():
            self._forget(container)
        else:
            container.since = monotonic()
            self._busy.add(container)
            waiter.ready.set_result(container)

    def _forget(self, container: Container) -> None:
        """End a container that is in no list any more."""
        container.kill()
        self._memory -= container.memory
        self._count -= 1
        removal = asyncio.get_running_loop().run_in_executor(None, container.remove)
        self._removing.add(removal)
        removal.add_done_callback(self._removing.discard)

    async def _sweep(self) -> None:
        """End containers that have been idle for too long or use too much memory."""
        swept = 0.0
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            now = monotonic()
            long_running = [one for one in self._busy if one.alive and now - one.since > _WATCH_SECONDS]
            for container in long_running:
                if container.used_memory() > container.memory << 20:
                    _log.warning("container of %s is over %d MB", container.key[0], container.memory)
                    container.exhausted = True
                    container.kill()
            if now - swept < _SWEEP_SECONDS:
                continue
            swept = now
            for key, free in list(self._idle.items()):
                gone = [one for one in free if not one.alive or now - one.since > self._limits.idle]
                for container in gone:
                    free.remove(container)
                    self._forget(container)
                if not free:
                    del self._idle[key]
            end_strays()
