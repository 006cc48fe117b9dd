"""The suite as one call: endpoints in, records and report files out. What the command line and the client
node use.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from xdc_testbed.endpoints import Endpoint
from xdc_testbed.errors import WrongUsage, XdcError
from xdc_testbed.interop import deviations, html, registry, report, runner, terminal
from xdc_testbed.interop.capabilities import of as capabilities_of
from xdc_testbed.interop.credentials import Wallet
from xdc_testbed.interop.matrix import Cell, plan
from xdc_testbed.interop.place import Place
from xdc_testbed.interop.record import CaseRecord

Told = Callable[[CaseRecord], None]


@dataclass(frozen=True)
class Options:
    """What to ask and where. cases: glob patterns of case ids, empty for all; timeout: seconds for one
    request.

    private, public: folders of the suite on every storage; workers: cells asked at a time;
    stranger: certificate and key of a user unknown to every storage, by default `stranger.pem` beside the
    user's.
    """

    cases: tuple[str, ...] = ()
    private: str = "/data/interop"
    public: str = "/pub/interop"
    workers: int = 6
    timeout: float = 30.0
    stranger: tuple[Path, Path] | None = None
    deviations_file: Path | None = None
    title: str = "endpoints"
    run_id: str = field(default_factory=lambda: new_run_id())


def new_run_id() -> str:
    """Unique and sortable: `20261125-230148-1f3a`."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def cells(endpoints: Sequence[Endpoint], options: Options) -> list[Cell]:
    """What would be asked. Raises WrongUsage when that is nothing."""
    planned = plan(registry.matching(options.cases), endpoints)
    if not planned:
        raise WrongUsage(
            "no endpoint offers what these cases need",
            remedy="give storage endpoints with https URLs and credentials, or other cases",
        )
    return planned


def run(endpoints: Sequence[Endpoint], planned: Sequence[Cell], options: Options, told: Told) -> list[CaseRecord]:
    """Ask the planned cells and return the records; told gets each as it comes. Raises XdcError before the
    first one.
    """
    known = deviations.load(options.deviations_file)
    places = _places(endpoints, options)
    ground = runner.Ground(options.run_id, options.private, options.public)
    try:
        return runner.run(planned, places, ground, known, told, workers=options.workers)
    finally:
        for place in places.values():
            place.close()


def write(records: Sequence[CaseRecord], options: Options, folder: Path) -> dict[str, Path]:
    """Write records.jsonl, junit.xml, matrix.txt and report.html into a folder; returns where they are."""
    known = deviations.load(options.deviations_file)
    texts = {
        report.RECORDS: report.json_lines(records),
        report.JUNIT: report.junit(records),
        report.MATRIX: terminal.as_text(records),
        report.HTML: html.render(records, known, registry.all_cases(), options.title),
    }
    return report.write(texts, folder)


def _places(endpoints: Sequence[Endpoint], options: Options) -> Mapping[str, Place]:
    """Every storage endpoint by its id, caches with their origins. Raises WrongUsage for a cache without
    one.
    """
    places: dict[str, Place] = {}
    for endpoint in sorted(endpoints, key=lambda one: one.origin is not None):
        has = capabilities_of(endpoint)
        if not has:
            continue
        origin = None
        if endpoint.origin is not None:
            origin = places.get(endpoint.origin)
            if origin is None:
                raise WrongUsage(
                    f"the cache {endpoint.id} has no known origin",
                    remedy="set `origin` to the id of a storage endpoint",
                )
        wallet = Wallet(endpoint.credentials, options.stranger or _stranger(endpoint))
        with suppress(XdcError):  # the cases that need this token will tell
            wallet.prepare()
        places[endpoint.id] = Place(endpoint, wallet, timeout=options.timeout, origin=origin)
    return places


def _stranger(endpoint: Endpoint) -> tuple[Path, Path] | None:
    """`stranger.pem` and `stranger.key` beside the user's certificate, where they are."""
    certificate = endpoint.credentials.certificate
    if certificate is None:
        return None
    pair = certificate.with_name("stranger.pem"), certificate.with_name("stranger.key")
    return pair if all(path.exists() for path in pair) else None
