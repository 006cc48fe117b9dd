"""The life of one activation: container, /init, /run, response, logs, record; and sequences of them.

Follows the invoker of OpenWhisk: the answer goes out before the logs are collected, a container survives
an application error and no other, a warm container that turns out dead is replaced silently, and one that
dies during a run is an error of the action (or, as the standalone product does, a second run:
`pool.rerun_lost`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, field
from time import time
from typing import Any

from . import jsontext, messages
from .catalogue import Catalogue
from .config import Config, User
from .containers import Container, Lost
from .entities import Action, value_of
from .pool import Key, Pool
from .records import Records
from .resolve import Resolver, Runnable
from .responses import APPLICATION_ERROR, DEVELOPER_ERROR, OK, SUCCESS, WHISK_ERROR, Response, init_failure, interpret
from .throttle import Throttle
from .web import Refused

_log = logging.getLogger(__name__)
_LOG_PATIENCE = 10.0


@dataclass(slots=True)
class Activation:
    """What is to be run, for whom. arrived: epoch seconds of the request; cause: id of the sequence it is
    part of."""

    user: User
    transaction: str
    arrived: float
    runnable: Runnable
    arguments: dict[str, Any]
    cause: str | None = None
    id: str = field(default_factory=lambda: os.urandom(16).hex())
    response: Response | None = None
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Times:
    """Of one activation, in epoch ms; init_ms is None on a warm container."""

    wait: int = 0
    start: int = 0
    end: int = 0
    init: int | None = None
    timed_out: bool = False


class Invoker:
    """Runs activations; knows containers and records, and nothing of HTTP."""

    def __init__(
        self,
        config: Config,
        catalogue: Catalogue,
        resolver: Resolver,
        pool: Pool,
        records: Records,
        throttle: Throttle,
    ) -> None:
        self._config, self._catalogue, self._resolver = config, catalogue, resolver
        self._pool, self._records, self._throttle = pool, records, throttle
        self._running: set[asyncio.Task[None]] = set()

    def start(self, activation: Activation) -> asyncio.Future[None]:
        """Run it. The future ends when `response` and `record` are there; logs and storing come after
        that."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()
        namespace = activation.user.namespace
        self._throttle.in_flight[namespace] += 1

        def ended(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            self._throttle.in_flight[namespace] -= 1

        task = loop.create_task(self._live(activation, answered))
        self._running.add(task)
        task.add_done_callback(ended)
        return answered

    async def finish(self, patience: float) -> None:
        """Wait for what runs, at most `patience` seconds; the rest is lost with its containers."""
        if self._running:
            await asyncio.wait(self._running, timeout=patience)

    async def _live(self, activation: Activation, answered: asyncio.Future[None]) -> None:
        try:
            if activation.runnable.action.exec.kind == "sequence":
                await self._sequence(activation, answered)
            else:
                await self._single(activation, answered)
        except Exception:
            _log.exception("activation %s failed inside the emulator", activation.id)
            now = _ms(time())
            response = Response(WHISK_ERROR, {"error": messages.INTERNAL})
            self._conclude(activation, answered, response, _Times(0, now, now))
            self._records.add(activation.record)

    async def _sequence(self, activation: Activation, answered: asyncio.Future[None]) -> None:
        times = _Times(_ms(time() - activation.arrived), _ms(time()))
        response = Response(SUCCESS, activation.arguments)
        components: list[str] = []
        duration = 0
        for name in activation.runnable.action.exec.components:
            try:
                runnable = self._resolver.runnable(activation.user, name)
            except Refused:
                response = Response(DEVELOPER_ERROR, {"error": messages.SEQUENCE_COMPONENT})
                break
            arguments = response.result
            if isinstance(arguments, dict):
                arguments = runnable.arguments | arguments
            part = Activation(activation.user, activation.transaction, time(), runnable, arguments, activation.id)
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            await self._live(part, done)
            components.append(part.id)
            response = part.response or Response(WHISK_ERROR, {})
            duration += part.record.get("duration", 0)
            if response.code != SUCCESS:
                break
        times.end = _ms(time())
        self._conclude(activation, answered, response, times, components, duration)
        self._records.add(activation.record)

    async def _single(self, activation: Activation, answered: asyncio.Future[None]) -> None:
        action = activation.runnable.action
        times = _Times()
        container, response = None, self._unprovided(action)
        if response is None:
            container, response = await self._attempt(activation, times)
        times.end = _ms(time())
        if not times.start:
            times.wait, times.start = _ms(time() - activation.arrived), times.end
        self._conclude(activation, answered, response, times)
        record = activation.record
        if container is not None:
            lines = await container.logs.finish(_LOG_PATIENCE)
            if lines:
                record = record | {"logs": lines}
            if response.code in (SUCCESS, APPLICATION_ERROR) and container.alive:
                self._pool.give_back(container)
            else:
                self._pool.discard(container)
        self._records.add(record)

    def _unprovided(self, action: Action) -> Response | None:
        """The failure of a blackbox image that no interpreter stands for; as docker's, by whether it has a
        tag."""
        image = action.exec.image
        if action.exec.kind != "blackbox" or image in self._config.images:
            return None
        name = str(image)
        if ":" in name.rpartition("/")[2] and not name.endswith(":latest"):
            return Response(WHISK_ERROR, {"error": messages.NO_RESOURCES})
        return Response(DEVELOPER_ERROR, {"error": messages.pull_failed(name)})

    async def _attempt(self, activation: Activation, times: _Times) -> tuple[Container | None, Response]:
        """Run in a container; again in another one when a warm one proves dead."""
        action = activation.runnable.action
        key: Key = f"{activation.user.namespace}:{action.full_name}", f"{action.version}-{action.updated}"
        python = self._config.images.get(action.exec.image or "", self._config.python)
        while True:
            container = self._pool.warm(key)
            if container is None:
                try:
                    container = await self._pool.take(key, python, action.limits.memory)
                except OSError as error:
                    _log.error("no container for %s: %s", key[0], error)
                    return None, Response(WHISK_ERROR, {"error": messages.NO_RESOURCES})
            try:
                response = await self._use(activation, container, times)
            except BaseException:
                self._pool.discard(container)
                raise
            if response is not None:
                return container, response
            self._pool.discard(container)

    async def _use(self, activation: Activation, container: Container, times: _Times) -> Response | None:
        """Initialise the container, if it is new, and run. None: a warm one died, and another one may try."""
        was_warm = container.initialised
        container.logs.begin(activation.runnable.action.limits.logs << 20)
        began = time()
        times.wait, times.start, times.init = _ms(began - activation.arrived), _ms(began), None
        if not was_warm and (failure := await self._init(activation, container, times)) is not None:
            return failure
        try:
            return await self._run(activation, container, times)
        except Lost:
            if container.exhausted:
                return Response(DEVELOPER_ERROR, {"error": messages.MEMORY})
            if was_warm and self._config.pool.rerun_lost:
                return None
            return Response(DEVELOPER_ERROR, {"error": messages.ABNORMAL_RUN})

    async def _init(self, activation: Activation, container: Container, times: _Times) -> Response | None:
        """POST /init. Returns the failure, if it is one."""
        action = activation.runnable.action
        timeout = action.limits.timeout
        about = {f"__OW_{key.upper()}": text for key, text in self._about(activation).items()}
        value = {
            "name": action.name,
            "binary": action.exec.binary,
            "main": action.exec.main or "main",
            "code": await self._catalogue.code(action),
            "env": activation.runnable.environment | about,
        }
        try:
            async with asyncio.timeout(timeout / 1000):
                answer = await container.connection.request("/init", jsontext.dumps({"value": value}), self._most)
        except TimeoutError:
            times.init, times.timed_out = _ms(time()) - times.start, True
            container.kill()
            return Response(DEVELOPER_ERROR, {"error": messages.timed_out(timeout, during_init=True)})
        except Lost:
            times.init = _ms(time()) - times.start
            text = messages.MEMORY if container.exhausted else messages.ABNORMAL_INIT
            return Response(DEVELOPER_ERROR, {"error": text})
        times.init = _ms(time()) - times.start
        if answer.status == OK:
            container.initialised = True
            return None
        return init_failure(answer)

    async def _run(self, activation: Activation, container: Container, times: _Times) -> Response:
        """POST /run. Raises Lost when the container ends during it."""
        timeout = activation.runnable.action.limits.timeout
        body = jsontext.dumps(self._about(activation) | {"value": activation.arguments})
        try:
            async with asyncio.timeout(timeout / 1000):
                answer = await container.connection.request("/run", body, self._most)
        except TimeoutError:
            times.timed_out = True
            container.kill()
            return Response(DEVELOPER_ERROR, {"error": messages.timed_out(timeout, during_init=False)})
        return interpret(answer, self._most)

    @property
    def _most(self) -> int:
        return self._config.limits.payload

    def _about(self, activation: Activation) -> dict[str, str]:
        """What the contract tells an action about its activation; all values are strings, `deadline` too."""
        action = activation.runnable.action
        about = {
            "action_name": f"/{action.full_name}",
            "action_version": action.version,
            "activation_id": activation.id,
            "deadline": str(_ms(time()) + action.limits.timeout),
            "namespace": activation.user.namespace,
            "transaction_id": activation.transaction,
        }
        if value_of(action.annotations, "provide-api-key") is True:
            about["api_key"] = f"{activation.user.uuid}:{activation.user.key}"
        return about

    def _conclude(
        self,
        activation: Activation,
        answered: asyncio.Future[None],
        response: Response,
        times: _Times,
        components: list[str] | None = None,
        duration: int | None = None,
    ) -> None:
        """Make the record, and let the caller have its answer."""
        action, binding = activation.runnable.action, activation.runnable.binding
        notes: list[tuple[str, Any]] = [("binding", binding)] if binding else []
        if components is not None and activation.cause is None:
            notes.append(("topmost", True))
        notes += [("path", action.full_name), ("waitTime", times.wait), ("kind", action.exec.kind)]
        if components is None:
            notes.append(("timeout", times.timed_out))
        notes.append(("limits", action.limits.document()))
        if activation.cause is not None:
            notes.append(("causedBy", "sequence"))
        if times.init is not None:
            notes.append(("initTime", times.init))
        activation.record = {
            "activationId": activation.id,
            "annotations": [{"key": key, "value": value} for key, value in notes],
            "duration": times.end - times.start if duration is None else duration,
            "end": times.end,
            "logs": components or [],
            "name": action.name,
            "namespace": activation.user.namespace,
            "publish": False,
            "response": response.document(),
            "start": times.start,
            "subject": activation.user.namespace,
            "version": action.version,
        }
        if activation.cause is not None:
            activation.record["cause"] = activation.cause
        activation.response = response
        if not answered.done():
            answered.set_result(None)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
