"""The parts of the emulator, put together once: what a request handler may use; start and stop."""

from __future__ import annotations

import gc
import logging
import os

from .balancer import Balancer, Here
from .catalogue import Catalogue
from .config import Config
from .containers import Runtime, end_leftovers
from .invoker import Invoker
from .lives import Lives
from .pool import Pool
from .records import Records
from .remote import Invokers
from .resolve import Resolver
from .store import Store
from .throttle import Throttle
from .trees import adopt_orphans

_log = logging.getLogger(__name__)


class Controller:
    """Config, catalogue, resolver, records, throttle, invokers and lives of one emulator. Made inside the event
    loop."""

    def __init__(self, config: Config) -> None:
        limits, pool = config.limits, config.pool
        runtime = _runtime(config)
        if ended := end_leftovers(runtime):
            _log.warning("ended %d processes that an earlier run of the emulator left", ended)
        adopt_orphans()
        self.config = config
        self._store = Store(config.state / "openwhisk.sqlite")
        self.catalogue = Catalogue(self._store)
        self.resolver = Resolver(self.catalogue)
        self.records = Records(self._store, pool.records, pool.record_bytes)
        self.throttle = Throttle(limits.invocations_per_minute, limits.concurrent_invocations, limits.fires_per_minute)
        self.pool = Pool(runtime, pool)
        invoker = Invoker(self.pool, config.python, config.images, rerun_lost=pool.rerun_lost)
        self.balancer = Balancer(Here(invoker, pool.memory, pool.processes))
        self._door = Invokers(config, self.balancer) if config.invokers is not None else None
        self.lives = Lives(config, self.catalogue, self.resolver, self.balancer, self.records, self.throttle)

    async def start(self) -> None:
        """Read what earlier runs have kept."""
        await self.catalogue.load()
        await self.records.load()
        if self._door is not None:
            await self._door.start()
        # Collections of the garbage that never was cost milliseconds in the middle of a request.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 50, 100)

    async def stop(self) -> None:
        """Let what runs end, for `pool.stop` seconds; end all containers; write the rest of the records."""
        await self.lives.finish(self.config.pool.stop)
        self.balancer.close()
        if self._door is not None:
            await self._door.stop()
        await self.pool.close()
        await self.records.close()
        await self._store.close()


def _runtime(config: Config) -> Runtime:
    environment = {"__OW_API_HOST": config.api_host}
    if image := os.environ.get("__OW_EXECUTION_ENV"):
        environment["__OW_EXECUTION_ENV"] = image
    runtime = Runtime(config.state, config.python, config.action_user, environment)
    runtime.prepare()
    return runtime
