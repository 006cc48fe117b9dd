"""Change the quality of service of raw data once its product is safe: disk to tape, when the calibrated file is
at the other site.

Acts on the event of a manifest, at the site that got the product. The product there is compared with its
manifest, the raw file at its own site with what went into the product; only then the transition is asked for,
awaited, and reported. Rule parameters: origin (endpoint id with the raw data, required), target (class, `tape`
by default), proc, raw (folders), patience (seconds to wait for the transition, 240 by default).
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from xdc_testbed.actions.outcome import ActionFailed, Arguments, Result, run
from xdc_testbed.actions.products import Product, verified
from xdc_testbed.actions.storage import Access, require_same
from xdc_testbed.actions.work import Work, seconds_left
from xdc_testbed.clients.dcache import Credential, Dcache, FileInfo
from xdc_testbed.clients.digests import Content
from xdc_testbed.errors import DeadlineExceeded

_PATIENCE = 240.0  # seconds


def main(arguments: Arguments, started_at: float | None = None) -> Result:
    """Move the raw file of the product whose manifest is `arguments["event"]` to another class.

    Gives status "done" or "already-done", file (endpoint, path, size, adler32), qos (from, to, locality), product
    (endpoint, path), and times (epoch seconds: started, verified, requested, reached); or `error`.
    """
    return run(_qos, arguments, started_at)


def _qos(arguments: Arguments) -> Result:
    times = {"started": time.time()}
    work = Work.read(arguments)
    origin, target = work.parameter("origin"), work.parameter("target", "tape")
    product = verified(
        work.storage(),
        work.path,
        proc=work.parameter("proc", "/data/proc"),
        raw=work.parameter("raw", "/data/raw"),
    )
    frontend = _frontend(work.url(origin, "frontend"), work.access(origin))
    before = _source(frontend, product, origin)
    times["verified"] = time.time()
    settled = before.has_class(target)
    after = before if settled else _move(frontend, product.raw, target, times, _patience(arguments))
    return {
        "status": "already-done" if settled else "done",
        "file": {
            "endpoint": origin,
            "path": product.raw,
            "size": product.source.size,
            "adler32": product.source.adler32,
        },
        "qos": {"from": before.qos, "to": after.qos, "locality": after.locality},
        "product": {"endpoint": work.endpoint, "path": product.path},
        "times": times,
    }


def _source(frontend: Dcache, product: Product, origin: str) -> FileInfo:
    """The raw file with its class. Raises ActionFailed when it is not the one that the product was made from."""
    info = frontend.stat(product.raw, checksum=True, qos=True)
    found = Content(info.size or 0, info.checksums.get("adler32", ""))
    require_same(f"{product.raw} on {origin}", found, Content(product.source.size, product.source.adler32))
    return info


def _move(frontend: Dcache, path: str, target: str, times: dict[str, float], patience: float) -> FileInfo:
    frontend.request_qos(path, target)
    times["requested"] = time.time()
    try:
        after = frontend.await_qos(path, target, timeout=seconds_left(patience))
    except DeadlineExceeded as error:
        # Asking again is harmless: the class is the same, and dCache has been seen to forget early wishes.
        raise ActionFailed(f"transition not ended: {error.message}", retry=True) from error
    times["reached"] = time.time()
    return after


def _patience(arguments: Arguments) -> float:
    given: Any = arguments.get("patience", _PATIENCE)
    if isinstance(given, bool) or not isinstance(given, int | float) or given <= 0:
        raise ActionFailed(f"parameter patience is {given!r}, not a number of seconds", retry=False)
    return float(given)


@cache
def _frontend(url: str, access: Access) -> Dcache:
    """A client, kept between the runs of a warm container."""
    return Dcache(url, ca_file=access.ca_file, credential=Credential(token=access.token))
