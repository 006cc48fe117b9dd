"""Run a job in a container of this node: /init, /run, response, logs.

Follows the invoker of OpenWhisk: the answer goes out before the logs are collected, a container survives
an application error and no other, a warm container that turns out dead is replaced silently, and one that
dies during a run is an error of the action (or, as the standalone product does, a second run:
`pool.rerun_lost`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from time import time

from . import jsontext, messages
from .containers import Container, Lost
from .jobs import Answered, Code, Job, Outcome, Times
from .pool import Pool
from .responses import APPLICATION_ERROR, DEVELOPER_ERROR, OK, SUCCESS, WHISK_ERROR, Response, init_failure, interpret

_log = logging.getLogger(__name__)
_LOG_PATIENCE = 10.0


class Invoker:
    """Runs jobs; knows containers, and nothing of HTTP, names and records."""

    def __init__(self, pool: Pool, python: str, images: Mapping[str, str], *, rerun_lost: bool) -> None:
        """python: interpreter of the python kinds; images: image of a blackbox action -> its interpreter."""
        self.pool = pool
        self._python, self._images, self._rerun_lost = python, images, rerun_lost

    async def run(self, job: Job, code: Code, answered: Answered) -> list[str]:
        """Run it; `answered` is told the outcome. Returns the lines of its logs; its container is free then."""
        times = Times()
        container, response = await self._attempt(job, code, times)
        times.end = ms(time())
        if not times.start:
            times.wait, times.start = ms(time() - job.arrived), times.end
        answered(Outcome(response, times))
        if container is None:
            return []
        try:
            lines = await container.logs.finish(_LOG_PATIENCE)
        except BaseException:
            self.pool.discard(container)
            raise
        if response.code in (SUCCESS, APPLICATION_ERROR) and container.alive:
            self.pool.give_back(container)
        else:
            self.pool.discard(container)
        return lines

    async def _attempt(self, job: Job, code: Code, times: Times) -> tuple[Container | None, Response]:
        """Run in a container; again in another one when a warm one proves dead."""
        while True:
            container = self.pool.warm(job.key)
            if container is None:
                python = self._images.get(job.image or "", self._python)
                try:
                    container = await self.pool.take(job.key, python, job.memory)
                except OSError as error:
                    _log.error("no container for %s: %s", job.key[0], error)
                    return None, Response(WHISK_ERROR, {"error": messages.NO_RESOURCES})
            try:
                response = await self._use(job, code, container, times)
            except BaseException:
                self.pool.discard(container)
                raise
            if response is not None:
                return container, response
            self.pool.discard(container)

    async def _use(self, job: Job, code: Code, container: Container, times: Times) -> Response | None:
        """Initialise the container, if it is new, and run. None: a warm one died, and another one may try."""
        was_warm = container.initialised
        container.logs.begin(job.logs)
        began = time()
        times.wait, times.start, times.init = ms(began - job.arrived), ms(began), None
        if not was_warm and (failure := await self._init(job, code, container, times)) is not None:
            return failure
        try:
            return await self._run(job, container, times)
        except Lost:
            if container.exhausted:
                return Response(DEVELOPER_ERROR, {"error": messages.MEMORY})
            if was_warm and self._rerun_lost:
                return None
            return Response(DEVELOPER_ERROR, {"error": messages.ABNORMAL_RUN})

    async def _init(self, job: Job, code: Code, container: Container, times: Times) -> Response | None:
        """POST /init. Returns the failure, if it is one."""
        about = {f"__OW_{key.upper()}": text for key, text in _about(job).items()}
        value = {
            "name": job.name,
            "binary": job.binary,
            "main": job.main,
            "code": await code(),
            "env": job.environment | about,
        }
        try:
            async with asyncio.timeout(job.timeout / 1000):
                answer = await container.connection.request("/init", jsontext.dumps({"value": value}), job.most)
        except TimeoutError:
            times.init, times.timed_out = ms(time()) - times.start, True
            container.kill()
            return Response(DEVELOPER_ERROR, {"error": messages.timed_out(job.timeout, during_init=True)})
        except Lost:
            times.init = ms(time()) - times.start
            text = messages.MEMORY if container.exhausted else messages.ABNORMAL_INIT
            return Response(DEVELOPER_ERROR, {"error": text})
        times.init = ms(time()) - times.start
        if answer.status == OK:
            container.initialised = True
            return None
        return init_failure(answer)

    async def _run(self, job: Job, container: Container, times: Times) -> Response:
        """POST /run. Raises Lost when the container ends during it."""
        body = jsontext.dumps(_about(job) | {"value": job.arguments})
        try:
            async with asyncio.timeout(job.timeout / 1000):
                answer = await container.connection.request("/run", body, job.most)
        except TimeoutError:
            times.timed_out = True
            container.kill()
            return Response(DEVELOPER_ERROR, {"error": messages.timed_out(job.timeout, during_init=False)})
        return interpret(answer, job.most)


def _about(job: Job) -> dict[str, str]:
    """What the contract tells an action about its activation; all values are strings, `deadline` too."""
    return job.about | {"deadline": str(ms(time()) + job.timeout)}


def ms(seconds: float) -> int:
    """Whole milliseconds."""
    return int(seconds * 1000)
