"""Invokers on other nodes, as the controller sees them: who comes, whether it lives, and what it runs.

An invoker runs a test action before it gets others, as the product's does. One that is not heard of for a
few seconds gets no new activations; one that stays silent, or whose connection ends, is gone, and what it
ran ends as an internal error.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import ssl
from collections import Counter
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

from .balancer import Balancer, Place, PlaceLost
from .config import Config, InvokersConfig
from .jobs import Answered, Code, Job, Key, Outcome
from .responses import SUCCESS
from .wire import HEARTBEAT, UNHEARD, Broken, Wire

_log = logging.getLogger(__name__)
_HELLO_PATIENCE = 5.0
_TEST = "def main(args):\n    return {}\n"
_TEST_MEMORY = 128
_TEST_TIMEOUT = 30_000


@dataclass(slots=True)
class _Open:
    code: Code
    answered: Answered
    done: asyncio.Future[list[str]]
    key: Key


class Remote(Place):
    """One connected invoker."""

    def __init__(self, name: str, memory: int, processes: int, wire: Wire) -> None:
        super().__init__(name, memory, processes)
        self._wire = wire
        self._open: dict[str, _Open] = {}
        self._idle: Counter[Key] = Counter()
        self._heard = monotonic()
        self._tested = self.leaving = self.lost = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> str:
        """As the product names them; `draining` is this emulator's own."""
        if self.leaving:
            return "draining"
        if self.silence > UNHEARD:
            return "unresponsive"
        return "up" if self._tested else "unhealthy"

    @property
    def silence(self) -> float:
        """Seconds since it was last heard of."""
        return monotonic() - self._heard

    @property
    def unfinished(self) -> int:
        """How many jobs it has not yet told the end of."""
        return sum(not open_.done.done() for open_ in self._open.values())

    def warm(self, key: Key) -> bool:
        """Whether it holds a free container for this action, by what it has last said."""
        return self._idle[key] > 0

    async def run(self, job: Job, code: Code, answered: Answered) -> list[str]:
        """Run a job there. Raises PlaceLost."""
        if self.lost:
            raise PlaceLost(self.name, sent=False)
        done: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._open[job.id] = _Open(code, answered, done, job.key)
        if self._idle[job.key] > 0:
            self._idle[job.key] -= 1
        try:
            self._wire.send("run", job=job.document())
            return await done
        finally:
            self._open.pop(job.id, None)

    async def listen(self) -> None:
        """Take what it says, until the connection ends. Raises OSError, EOFError."""
        while True:
            message = await self._wire.receive()
            self._heard = monotonic()
            self._take(message)

    async def test(self) -> bool:
        """Run the test action. False when it fails; then the invoker is of no use."""
        found: list[Outcome] = []
        key = ("whisk.system:whisk.system/invokerHealthTestAction0", "0.0.1")
        about = {
            "action_name": f"/{key[0].partition(':')[2]}",
            "action_version": key[1],
            "activation_id": os.urandom(16).hex(),
            "namespace": "whisk.system",
            "transaction_id": "sid_invokerHealth",
        }
        job = Job(
            about["activation_id"],
            key,
            "invokerHealthTestAction0",
            "main",
            binary=False,
            image=None,
            memory=_TEST_MEMORY,
            timeout=_TEST_TIMEOUT,
            logs=0,
            most=1 << 20,
            about=about,
            arguments={},
            environment={},
            arrived=time(),
        )
        await self.run(job, _test_code, found.append)
        if found and found[0].response.code == SUCCESS:
            self._tested = True
            self._wire.send("up")
        elif found:
            _log.error("invoker %s does not run the test action: %s", self.name, found[0].response.result)
        return self._tested

    def ping(self) -> None:
        """Say that the controller lives."""
        self._wire.send("ping")

    def refuse(self, why: str) -> None:
        """Tell it why it may not stay."""
        self._wire.send("refused", why=why)

    def lose(self) -> None:
        """The connection is over: whatever runs there is lost."""
        self.lost = True
        self._wire.close()
        for open_ in list(self._open.values()):
            if not open_.done.done():
                open_.done.set_exception(PlaceLost(self.name, sent=True))

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        try:
            if kind == "ping":
                self._idle = Counter({(name, version): count for name, version, count in message["idle"]})
            elif kind == "leaving":
                self.leaving = True
                self._wire.send("released")
                _log.info("invoker %s leaves; %d activations run there", self.name, self.unfinished)
            elif (open_ := self._open.get(message["id"])) is None:
                return
            elif kind == "answer":
                open_.answered(Outcome.restored(message["outcome"]))
            elif kind == "done":
                if message["warm"]:
                    self._idle[open_.key] += 1
                open_.done.set_result([str(line) for line in message["logs"]])
            elif kind == "code":
                task = asyncio.get_running_loop().create_task(self._give_code(message["id"], open_.code))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (KeyError, TypeError, ValueError) as error:
            raise Broken(f"{kind}: {error!r}") from error

    async def _give_code(self, job: str, code: Code) -> None:
        self._wire.send("code", id=job, code=await code())


class Invokers:
    """The door for invokers of other nodes."""

    def __init__(self, config: Config, balancer: Balancer) -> None:
        """config: must have `invokers`."""
        assert config.invokers is not None  # noqa: S101 - the controller opens no door without it
        self._config, self._invokers = config, config.invokers
        self._balancer = balancer
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises OSError."""
        context = None
        if self._config.certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._config.certificate, self._config.key)
        where: InvokersConfig = self._invokers
        self._server = await asyncio.start_server(self._serve, where.host, where.port, ssl=context)

    async def stop(self) -> None:
        """Close the door, and all connections."""
        if self._server is not None:
            self._server.close()
        for place in list(self._balancer.places):
            if isinstance(place, Remote):
                place.lose()
        for task in list(self._tasks):
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        try:
            place = await self._admit(wire)
        except (OSError, EOFError, TimeoutError) as error:
            _log.warning("refused an invoker: %s", error)
            wire.close()
            return
        for other in list(self._balancer.places):
            if isinstance(other, Remote) and other.name == place.name:
                _log.warning("invoker %s comes again; its earlier connection is over", place.name)
                self._gone(other)
        watching = asyncio.get_running_loop().create_task(self._watch(place))
        self._tasks.add(watching)
        try:
            await place.listen()
        except (OSError, EOFError) as error:
            if place.unfinished or not place.leaving:
                _log.error("invoker %s is gone with %d activations: %s", place.name, place.unfinished, error)
        finally:
            watching.cancel()
            self._tasks.discard(watching)
            self._gone(place)

    async def _admit(self, wire: Wire) -> Remote:
        """Who it is. Raises ConnectionError when it may not come."""
        hello = await wire.first(_HELLO_PATIENCE)
        token = str(hello.get("token", "")).encode()
        if hello["kind"] != "hello" or not hmac.compare_digest(token, self._invokers.token.encode()):
            wire.send("refused", why="wrong token")
            raise Broken("wrong token")
        try:
            place = Remote(str(hello["name"]), int(hello["memory"]), int(hello["processes"]), wire)
        except (KeyError, ValueError, TypeError) as error:
            raise Broken(f"hello: {error!r}") from None
        wire.send("welcome")
        return place

    async def _watch(self, place: Remote) -> None:
        """Test it, let it join, and look whether it lives."""
        testing = asyncio.get_running_loop().create_task(self._join(place))
        try:
            while place.silence < self._invokers.patience and not place.lost:
                await asyncio.sleep(HEARTBEAT)
                place.ping()
                self._balancer.serve()  # one that was silent for a while may be back
        finally:
            testing.cancel()
            self._gone(place)

    async def _join(self, place: Remote) -> None:
        self._balancer.join(place)  # it is listed while it is tested, but takes nothing
        try:
            healthy = await place.test()
        except PlaceLost:
            return
        if healthy:
            _log.info("invoker %s is up: %d MB, %d processes", place.name, place.memory, place.processes)
            self._balancer.serve()
        else:
            place.refuse("the test action fails, see the controller's log")
            self._gone(place)

    def _gone(self, place: Remote) -> None:
        self._balancer.leave(place)
        place.lose()


async def _test_code() -> str:
    return _TEST
