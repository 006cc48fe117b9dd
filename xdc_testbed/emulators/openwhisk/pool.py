"""Which container runs a job: a warm one of the same action version, or a new one.

Memory of all containers stays within the pool's; idle ones make room, least recently used first. The
balancer gives no more jobs than there is room for.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from .config import PoolLimits
from .containers import Container, Runtime
from .jobs import Key
from .trees import end_strays

_log = logging.getLogger(__name__)
_WATCH_SECONDS = 0.1
_SWEEP_SECONDS = 1.0


class Pool:
    """All containers of one node."""

    def __init__(self, runtime: Runtime, limits: PoolLimits) -> None:
        self._runtime, self._limits = runtime, limits
        self._idle: dict[Key, list[Container]] = {}
        self._busy: set[Container] = set()
        self._removing: set[asyncio.Future[None]] = set()
        self._memory = 0
        self._count = 0
        self._closed = False
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

    def has_warm(self, key: Key) -> bool:
        """Whether `warm` would find one."""
        return bool(self._idle.get(key))

    def idle(self) -> dict[Key, int]:
        """How many free containers there are, by what they are initialised for."""
        return {key: len(free) for key, free in self._idle.items() if free}

    async def take(self, key: Key, python: str, memory: int) -> Container:
        """A new container, to be initialised for this action version. Raises OSError if none starts."""
        if self._closed or not self._make_room(memory):
            raise OSError("no room for another container")
        self._memory += memory
        self._count += 1
        try:
            container = await Container.start(self._runtime, python, memory)
        except BaseException as error:
            self._memory -= memory
            self._count -= 1
            if not isinstance(error, Exception):
                raise
            _log.exception("a container could not be started")
            raise OSError(str(error)) from error
        container.key, container.since = key, monotonic()
        if self._closed:
            self._forget(container)
            raise OSError("the emulator ends")
        self._busy.add(container)
        return container

    def give_back(self, container: Container) -> None:
        """The activation is over and the container is good for the next."""
        self._busy.discard(container)
        if not container.alive:
            self._forget(container)
        else:
            container.since = monotonic()
            self._idle.setdefault(container.key, []).append(container)

    def discard(self, container: Container) -> None:
        """The activation is over and so is the container."""
        self._busy.discard(container)
        self._forget(container)

    async def close(self) -> None:
        """End all containers and wait until nothing of them is left."""
        self._sweeper.cancel()
        self._closed = True
        for container in [*self._busy, *(one for free in self._idle.values() for one in free)]:
            self._forget(container)
        if self._removing:
            await asyncio.wait(self._removing)
        end_strays()

    def _make_room(self, memory: int) -> bool:
        while self._memory + memory > self._limits.memory or self._count >= self._limits.processes:
            idle = [container for free in self._idle.values() for container in free]
            if not idle:
                return False
            oldest = min(idle, key=lambda container: container.since)
            self._idle[oldest.key].remove(oldest)
            self._forget(oldest)
        return True

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
