"""Storages in memory, raw data of one AGIPD module, and the arguments an action gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from memory_storage import Stores

from xdc_testbed.actions import storage
from xdc_testbed.clients.digests import adler32
from xdc_testbed.demo.detector_data import DetectorPlan, FileId, RunPlan, write_run

DESY, REMOTE = "https://desy-storage.xdc.test:8443", "https://remote-storage.xdc.test:8443"

Arguments = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One AGIPD module, a file that is whole and one that is cut off; not to be changed."""
    folder = tmp_path_factory.mktemp("run")
    agipd = DetectorPlan(kind="AGIPD", detector_id="SPB_DET_AGIPD1M-1", modules=(0,), sequences=2, trains=1)
    write_run(folder, RunPlan(detectors=(agipd,), truncated=FileId(module="AGIPD00", sequence=1)))
    return folder


@pytest.fixture
def stores(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Stores:
    """Storages desy, with raw data and constants, and remote, empty; opened in place of real ones."""
    stores = Stores()
    for top in ("raw", "cal"):
        for path in (run_folder / top).rglob("*.h5"):
            stores.add(DESY).files[f"/data/{path.relative_to(run_folder)}"] = path.read_bytes()
    stores.add(REMOTE)
    monkeypatch.setattr(storage, "_storage", lambda url, _: storage.Storage(stores.open(url)))  # type: ignore[arg-type]
    monkeypatch.setattr(storage.Access, "token", lambda _: "a-token")
    return stores


@pytest.fixture
def arguments(stores: Stores, tmp_path: Path) -> Arguments:
    """Arguments for a file on desy; keywords add to them or replace."""

    def make(path: str, **more: Any) -> dict[str, Any]:
        content = stores.by_url[DESY].files.get(path, b"gone")
        return {
            "event": {
                "id": "e1",
                "type": "org.xdc.storage.file.written.v1",
                "subject": path,
                "data": {
                    "endpoint": "desy-storage",
                    "size": len(content),
                    "checksums": {"adler32": adler32(content)},
                    "closed_at": 1.5,
                },
            },
            "work_id": "w" * 32,
            "issuer": "https://desy-stream.xdc.test:8444",
            "client_id": "actions",
            "client_secret": "not-a-secret",
            "ca_pem": "a certificate",
            "endpoints": {"desy-storage": {"https": DESY}, "remote-storage": {"https": REMOTE}},
            "cache": str(tmp_path / "cache"),
            **more,
        }

    return make
