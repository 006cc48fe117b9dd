"""From an upload that has been answered to the action that starts, by way of different sources, stage by stage.

Files of 1 KiB are uploaded at a fixed rate to real storage servers on loopback: the dCache emulator, told by its
billing records and, for comparison, listed every second; and XRootD, told by its change notification. Router,
dispatcher, broker and the OpenWhisk emulator with its action proxies are the same for all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dcache_source_rig import DcacheSource, door, kafka_source, storage
from event_rig import BILLING, Broker, Results, Source
from storage_rig import Authority, TokenIssuer, folder, running
from storage_servers import Site

from shared.figures import show
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.events.model import Times
from xdc_testbed.events.probe import percentiles

_RATE = 20.0  # files per second
_WARM = 20
_CONTENT = b"x" * 1024


@dataclass(frozen=True)
class Passage:
    """One file on its way; times in epoch seconds. begun, answered: its upload, as the client saw it."""

    begun: float
    answered: float
    times: Times

    @property
    def started(self) -> float:
        """When the action's code began."""
        assert self.times.action_started is not None
        return self.times.action_started


_STAGES: dict[str, Callable[[Passage], float]] = {
    "upload begun to answered": lambda each: each.answered - each.begun,
    "answered to notification seen by the source": lambda each: each.times.closed - each.answered,
    "seen to routed (look-up, event, router)": lambda each: each.times.routed - each.times.closed,
    "routed to invoked (work item, dispatcher)": lambda each: (each.times.invoked or 0) - each.times.routed,
    "invoked to action started (OpenWhisk)": lambda each: each.started - (each.times.invoked or 0),
}


def latencies(broker: Broker, results: Results, count: int) -> None:
    """Measure each way and print the figures. A router with a rule for /data/** and a dispatcher must run."""
    with folder("pki") as pki, folder("sources") as home:
        authority = Authority.make(pki)
        with storage(broker, authority) as dcache, door(dcache) as webdav:
            source = kafka_source(broker, dcache, home, "latency")
            told = _passages("/data/told", webdav, results, count)
            source.process.stop()
            settings = f'folders = ["/data/polled"]\nstate_file = "{home}/names.sqlite"\nevery = 1\ngrace = 0\n'
            settings += "announce_existing = true"
            webdav.mkcol("/data/polled")
            poller = DcacheSource("reconcile", broker, dcache, home, settings, more=f'[billing]\ntopic = "{BILLING}"\n')
            polled = _passages("/data/polled", webdav, results, count)
            poller.process.stop()
        with _xrootd(broker, authority) as webdav:
            noticed = _passages("/data/noticed", webdav, results, count)
    _show("dCache, its billing records", told, p50=15, p95=40)
    _show("dCache, listed every second", polled)
    _show("XRootD, its change notification", noticed)
    ratio = _milliseconds(polled)["p50"] / _milliseconds(told)["p50"]
    show("upload answered to action started: listing every second / events, medians", ratio, "1")


def _passages(place: str, webdav: WebDav, results: Results, count: int) -> list[Passage]:
    """Upload files at the rate, after some that warm up, and wait for their actions."""
    _upload(f"{place}/warm-", webdav, _WARM)
    results.wait(f"{place}/warm-", _WARM)
    uploads = _upload(f"{place}/file-", webdav, count)
    found = {each.subject: each.times for each in results.wait(f"{place}/file-", count)}
    return [Passage(*uploads[path], times) for path, times in found.items()]


def _upload(start: str, webdav: WebDav, count: int) -> dict[str, tuple[float, float]]:
    """Path to when its upload began and was answered."""
    first, times = time.time(), {}
    for number in range(count):
        time.sleep(max(0.0, first + number / _RATE - time.time()))
        begun = time.time()
        webdav.put(f"{start}{number}", _CONTENT)
        times[f"{start}{number}"] = (begun, time.time())
    return times


@contextmanager
def _xrootd(broker: Broker, authority: Authority) -> Iterator[WebDav]:
    """An XRootD site whose changes are told to the broker."""
    with (
        folder("issuer") as issuer_home,
        folder("site") as home,
        running(TokenIssuer(issuer_home, authority)) as issuer,
        running(Site(home, authority, issuer, "BENCH")) as site,
        site.webdav(token=issuer.source().token()) as webdav,
    ):
        source = Source(broker, home)
        try:
            yield webdav
        finally:
            source.process.stop()


def _milliseconds(passages: list[Passage]) -> dict[str, float]:
    """From answered to action started: p50, p95, max."""
    return percentiles(tuple((each.started - each.answered) * 1000 for each in passages))


def _show(way: str, passages: list[Passage], *, p50: float | None = None, p95: float | None = None) -> None:
    for stage, seconds in _STAGES.items():
        found = percentiles(tuple(seconds(each) * 1000 for each in passages))
        show(f"{way}: {stage}, median", found["p50"], "ms")
    total = _milliseconds(passages)
    show(f"{way}: upload answered to action started, median", total["p50"], "ms", at_most=p50)
    show(f"{way}: upload answered to action started, p95", total["p95"], "ms", at_most=p95)
