"""A small run with known truth, written once, and its correction."""

from __future__ import annotations

import pytest
from corrected_run import Corrected

from xdc_testbed.calibration import calibrate_run
from xdc_testbed.demo.detector_data import RunPlan, write_run


@pytest.fixture(scope="session")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Corrected:
    """The tiny run, corrected; not to be changed."""
    folder = tmp_path_factory.mktemp("run")
    run = write_run(folder, RunPlan.tiny())
    manifest = calibrate_run(folder / "raw" / "r0001", folder / "proc", folder / "cal")
    return Corrected(folder, run, manifest)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed constants of tests are not those of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
