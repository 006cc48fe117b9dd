"""Ask dCache's frontend about files from an event loop: many at a time, each with a patience of its own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from xdc_testbed.clients.dcache import Busy, Dcache, FileInfo
from xdc_testbed.clients.errors import NotFound, StorageDenied
from xdc_testbed.errors import XdcError
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.sources.frontend import FrontendTable

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.05  # seconds, doubled up to
_LONGEST_PAUSE = 2.0


@dataclass(frozen=True)
class Found:
    """What a look-up brought. info: None when nothing; reason: why; unanswered: the frontend did not say."""

    info: FileInfo | None
    reason: str | None = None
    unanswered: bool = False


class Lookup:
    """One frontend. Counts `lookups` and `lookup_errors`."""

    def __init__(self, table: FrontendTable, counters: Counters, client: Dcache | None = None) -> None:
        self._client = client or table.open()
        self._patience = None if table.required else table.patience
        self._counters = counters
        self._threads = ThreadPoolExecutor(table.parallel, thread_name_prefix="lookup")

    def close(self) -> None:
        """Give threads and connections back."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def file(self, path: str, *, qos: bool = False) -> Found:
        """A file by its path: id, size and checksums, with class and locality when wanted."""
        return await self._ask(lambda: self._client.stat(path, checksum=True, qos=qos), path)

    async def by_id(self, pnfsid: str) -> Found:
        """A file by its id."""
        return await self._ask(lambda: self._client.by_id(pnfsid), pnfsid)

    async def _ask(self, ask: Callable[[], FileInfo], what: str) -> Found:
        """The patience runs from here, not from the moment at which a thread is free: a burst does not queue up."""
        deadline = None if self._patience is None else time.monotonic() + self._patience
        pause = _FIRST_PAUSE
        while True:
            self._counters.add("lookups")
            try:
                return Found(await asyncio.get_running_loop().run_in_executor(self._threads, ask))
            except NotFound:
                return Found(None, "no longer there")
            except XdcError as error:
                self._counters.add("lookup_errors")
                if deadline is not None and time.monotonic() + pause > deadline:
                    log.warning("no look-up of %s: %s", what, error.message)
                    return Found(None, f"not looked up: {error.message}", unanswered=True)
                if isinstance(error, StorageDenied) and deadline is not None:
                    log.warning("look-up of %s refused: %s", what, error.message)
                    return Found(None, f"not looked up: {error.message}", unanswered=True)
                await asyncio.sleep(max(pause, error.retry_after) if isinstance(error, Busy) else pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
