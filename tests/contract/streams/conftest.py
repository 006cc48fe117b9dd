"""A real XRootD and the dCache emulator, each as the storage that streams come from and go to."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "dcache"))  # which brings what is in storage
sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "calibration"))
sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from dcache_rig import emulated
from shared.calibration_files import write_jungfrau
from storage_rig import Authority, TokenIssuer, folder, running
from storage_servers import Site
from stream_rig import Server

from xdc_testbed.calibration import calibrate_file
from xdc_testbed.demo.detector_data import RunPlan, write_run


@pytest.fixture(scope="session", params=["xrootd", "dcache"])
def server(request: pytest.FixtureRequest, authority: Authority, issuer: TokenIssuer) -> Iterator[Server]:
    if request.param == "xrootd":
        with folder("streams") as home, running(Site(home, authority, issuer, "SITE-S")) as site:
            yield Server("xrootd", site.https, authority.ca, issuer, site.stop, site.start)
        return
    with emulated(authority, issuer) as dcache:
        assert dcache.emulator
        yield Server("dcache", dcache.webdav, authority.ca, issuer, dcache.emulator.stop, dcache.emulator.start)


@pytest.fixture
def place() -> str:
    """A folder below /data that no other test uses."""
    return f"/data/{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run with its constants, and what calibrating its files here gives, in `proc`."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, RunPlan.tiny().model_copy(update={"truncated": None}))
    (folder / "proc").mkdir()
    for raw in (folder / "raw" / "r0001").glob("*.h5"):
        calibrate_file(raw, folder / "proc" / raw.name.replace("RAW", "CORR"), folder / "cal")
    return folder


@pytest.fixture
def write_frames() -> Callable[[Path, int], Path]:
    """Writes a raw file of so many frames of JUNGFRAU to a folder, with its constants in `cal` beside it."""
    return lambda folder, frames: write_jungfrau(folder, frames, chunked=True)[0]
