"""The life of one activation: a place to run, response, record; and sequences of them."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, field
from functools import partial
from time import time
from typing import Any

from . import messages
from .balancer import Balancer, PlaceLost
from .catalogue import Catalogue
from .config import Config, User
from .entities import Action, value_of
from .invoker import ms
from .jobs import Code, Job, Outcome, Times
from .records import Records
from .resolve import Resolver, Runnable
from .responses import DEVELOPER_ERROR, SUCCESS, WHISK_ERROR, Response
from .throttle import Throttle
from .web import Refused

_log = logging.getLogger(__name__)


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


class Lives:
    """Starts activations and sees them to their records; knows nothing of HTTP and of containers."""

    def __init__(
        self,
        config: Config,
        catalogue: Catalogue,
        resolver: Resolver,
        balancer: Balancer,
        records: Records,
        throttle: Throttle,
    ) -> None:
        self._config, self._catalogue, self._resolver = config, catalogue, resolver
        self._balancer, self._records, self._throttle = balancer, records, throttle
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
            self._fail(activation, answered, messages.INTERNAL)

    async def _sequence(self, activation: Activation, answered: asyncio.Future[None]) -> None:
        times = Times(ms(time() - activation.arrived), ms(time()))
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
        times.end = ms(time())
        self._conclude(activation, answered, Outcome(response, times), components, duration)
        self._records.add(activation.record)

    async def _single(self, activation: Activation, answered: asyncio.Future[None]) -> None:
        action = activation.runnable.action
        if (refusal := self._unprovided(action)) is not None:
            now = ms(time())
            times = Times(ms(time() - activation.arrived), now, now)
            self._conclude(activation, answered, Outcome(refusal, times))
            self._records.add(activation.record)
            return
        job = self._job(activation)
        try:
            lines = await self._run(job, partial(self._catalogue.code, action), activation, answered)
        except PlaceLost as lost:
            _log.error("activation %s is lost with invoker %s", activation.id, lost)
            self._fail(activation, answered, messages.INVOKER_LOST)
            return
        record = activation.record
        self._records.add(record | {"logs": lines} if lines else record)

    async def _run(self, job: Job, code: Code, activation: Activation, answered: asyncio.Future[None]) -> list[str]:
        """Run it where there is room; somewhere else when that has gone before it was told. Raises PlaceLost."""
        while True:
            place = self._balancer.now(job) or await self._balancer.later(job)
            try:
                return await place.run(job, code, partial(self._conclude, activation, answered))
            except PlaceLost as lost:
                if lost.sent:
                    raise
            finally:
                self._balancer.give_back(place, job)

    def _job(self, activation: Activation) -> Job:
        action, user = activation.runnable.action, activation.user
        about = {
            "action_name": f"/{action.full_name}",
            "action_version": action.version,
            "activation_id": activation.id,
            "namespace": user.namespace,
            "transaction_id": activation.transaction,
        }
        if value_of(action.annotations, "provide-api-key") is True:
            about["api_key"] = f"{user.uuid}:{user.key}"
        return Job(
            id=activation.id,
            key=(f"{user.namespace}:{action.full_name}", f"{action.version}-{action.updated}"),
            name=action.name,
            main=action.exec.main or "main",
            binary=action.exec.binary,
            image=action.exec.image,
            memory=action.limits.memory,
            timeout=action.limits.timeout,
            logs=action.limits.logs << 20,
            most=self._config.limits.payload,
            about=about,
            arguments=activation.arguments,
            environment=activation.runnable.environment,
            arrived=activation.arrived,
        )

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

    def _fail(self, activation: Activation, answered: asyncio.Future[None], text: str) -> None:
        """The platform's own failure; an answer that has gone out stands."""
        if activation.response is None:
            now = ms(time())
            self._conclude(activation, answered, Outcome(Response(WHISK_ERROR, {"error": text}), Times(0, now, now)))
        self._records.add(activation.record)

    def _conclude(
        self,
        activation: Activation,
        answered: asyncio.Future[None],
        outcome: Outcome,
        components: list[str] | None = None,
        duration: int | None = None,
    ) -> None:
        """Make the record, and let the caller have its answer."""
        response, times = outcome.response, outcome.times
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
