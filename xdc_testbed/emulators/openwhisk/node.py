"""An invoker on a node of its own: `python -m xdc_testbed.emulators.openwhisk.node --config FILE`.

It connects to the controller, so that a function node needs no open port. SIGTERM drains it: nothing new
comes, what runs ends and is answered, then it ends with 0. Without its controller it ends what it runs,
since nobody would get the answers, and comes back.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import ssl
import sys
from pathlib import Path

import uvloop

from xdc_testbed.errors import XdcError

from .config import NodeConfig, load_node
from .containers import Runtime, check_user, end_leftovers
from .invoker import Invoker
from .jobs import Job, Outcome
from .pool import Pool
from .responses import APPLICATION_ERROR
from .systemd import tell
from .trees import adopt_orphans
from .wire import HEARTBEAT, Broken, Wire

_log = logging.getLogger("xdc_testbed.emulators.openwhisk.node")
_PATIENCE = 10.0
_BACK_OFF = (0.2, 2.0)


class Refused(Exception):
    """The controller does not want this invoker."""


class Node:
    """One connection to the controller at a time, and what runs for it."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._invoker: Invoker
        self._wire: Wire | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._codes: dict[str, asyncio.Future[str]] = {}
        self._leaving = False
        self._released = asyncio.Event()
        self._stopped = asyncio.Event()

    async def serve(self) -> int:
        """Until SIGTERM. Returns the exit code: 0 when nothing was cut short."""
        config = self._config
        runtime = Runtime(config.state, config.python, config.action_user, {"__OW_API_HOST": config.api_host})
        runtime.prepare()
        if ended := end_leftovers(runtime):
            _log.warning("ended %d processes that an earlier run left", ended)
        adopt_orphans()
        pool = Pool(runtime, config.pool)
        self._invoker = Invoker(pool, config.python, config.images, rerun_lost=config.pool.rerun_lost)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._leave)
        try:
            return await self._stay()
        finally:
            self._end_running()
            await pool.close()

    async def _stay(self) -> int:
        pause, longest = _BACK_OFF
        while not self._leaving:
            try:
                connecting = asyncio.create_task(self._session())
                leaving = asyncio.create_task(self._stopped.wait())
                await asyncio.wait({connecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if self._leaving and self._wire is not None:
                    return await self._drain(connecting)
                leaving.cancel()
                if self._leaving:
                    connecting.cancel()
                await connecting
            except Refused as refused:
                _log.error("the controller refuses this invoker: %s", refused)
                return 1
            except asyncio.CancelledError:
                return 0  # it was about to connect when it was told to leave
            except (OSError, EOFError) as error:
                _log.warning("no controller at %s:%d: %s", self._config.host, self._config.port, error)
            self._end_running()
            pause = min(pause * 2, longest)
            try:
                async with asyncio.timeout(pause):
                    await self._stopped.wait()
            except TimeoutError:
                continue
        return 0

    async def _session(self) -> None:
        """Connect, and run what is sent, until the connection ends. Raises OSError, EOFError, Refused."""
        config = self._config
        context = ssl.create_default_context(cafile=config.ca) if config.ca is not None else None
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(config.host, config.port, ssl=context)
        wire = Wire(reader, writer)
        beating: asyncio.Task[None] | None = None
        try:
            room = {"memory": config.pool.memory, "processes": config.pool.processes}
            wire.send("hello", name=config.name, token=config.token, **room)
            first = await wire.first(_PATIENCE)
            if first["kind"] != "welcome":
                raise Refused(first.get("why", first["kind"]))
            self._wire = wire
            beating = asyncio.create_task(self._beat(wire))
            while True:
                async with asyncio.timeout(_PATIENCE):
                    message = await wire.receive()
                self._take(message, wire)
        finally:
            self._wire = None
            if beating is not None:
                beating.cancel()
            wire.close()

    async def _drain(self, connection: asyncio.Task[None]) -> int:
        """Let what runs end. Returns 1 when it does not within the time, or the controller goes away."""
        assert self._wire is not None  # noqa: S101 - the caller has looked
        self._wire.send("leaving")
        _log.info("leaving; %d activations run", len(self._running))
        released = asyncio.create_task(self._released.wait())
        try:
            async with asyncio.timeout(self._config.pool.stop):
                await asyncio.wait({released, connection}, return_when=asyncio.FIRST_COMPLETED)
                while self._running and not connection.done():
                    await asyncio.wait({*self._running, connection}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            _log.error("%d activations did not end in time and are lost", len(self._running))
        whole = not self._running and not connection.done()
        if whole:
            await self._flush()
        connection.cancel()
        await asyncio.gather(connection, return_exceptions=True)
        return 0 if whole else 1

    async def _flush(self) -> None:
        if self._wire is not None:
            await self._wire.flush()

    async def _beat(self, wire: Wire) -> None:
        while True:
            idle = self._invoker.pool.idle()
            wire.send("ping", idle=[[*key, count] for key, count in idle.items()])
            await asyncio.sleep(HEARTBEAT)

    def _take(self, message: dict[str, object], wire: Wire) -> None:
        match message:
            case {"kind": "run", "job": dict(job)}:
                task = asyncio.create_task(self._run(Job.restored(job), wire))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            case {"kind": "code", "id": str(job), "code": str(code)}:
                if (wanted := self._codes.pop(job, None)) is not None and not wanted.done():
                    wanted.set_result(code)
            case {"kind": "up"}:
                _log.info("up as invoker %s of %s:%d", self._config.name, self._config.host, self._config.port)
                tell("READY=1")
            case {"kind": "released"}:
                self._released.set()
            case {"kind": "refused"}:
                raise Refused(str(message.get("why")))
            case {"kind": "ping"}:
                pass
            case _:
                raise Broken(f"what is {message['kind']}?")

    async def _run(self, job: Job, wire: Wire) -> None:
        outcomes: list[Outcome] = []

        def answered(outcome: Outcome) -> None:
            outcomes.append(outcome)
            wire.send("answer", id=job.id, outcome=outcome.document())

        async def code() -> str:
            wanted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._codes[job.id] = wanted
            wire.send("code", id=job.id)
            return await wanted

        lines = await self._invoker.run(job, code, answered)
        warm = outcomes[0].response.code <= APPLICATION_ERROR
        wire.send("done", id=job.id, logs=lines, warm=warm)

    def _end_running(self) -> None:
        for task in self._running:
            task.cancel()
        self._codes.clear()

    def _leave(self) -> None:
        self._leaving = True
        self._stopped.set()


def main() -> int:
    """Read the configuration and serve. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="openwhisk-invoker", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        config = load_node(arguments.config)
        if config.action_user is not None:
            check_user(config.action_user)
    except XdcError as error:
        _log.error("%s%s", error.message, f" ({error.remedy})" if error.remedy else "")
        return error.exit_code
    _log.info("EMULATOR of an invoker of Apache OpenWhisk (xdc-testbed), not the product: %s", config.name)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Node(config).serve())


if __name__ == "__main__":
    sys.exit(main())
