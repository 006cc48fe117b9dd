"""The catalogue action: one record per product, only of a product that is what its manifest says."""

from __future__ import annotations

from typing import Any

import pytest
from memory_storage import Store, Stores

from xdc_testbed.actions import calibrate
from xdc_testbed.actions.catalogue import CatalogueRecord, main

RAW = "/data/raw/r0001/RAW-R0001-AGIPD00-S00000.h5"
PRODUCT = "/data/proc/r0001/CORR-R0001-AGIPD00-S00000.h5"
MANIFEST = f"{PRODUCT}.manifest.json"
RECORD = "/data/catalogue/r0001/CORR-R0001-AGIPD00-S00000.h5.json"


@pytest.fixture
def desy(stores: Stores, arguments: Any) -> Store:
    """The storage with a corrected file and its manifest."""
    assert calibrate.main(arguments(RAW))["status"] == "done"
    return stores.by_url["https://desy-storage.xdc.test:8443"]


def test_a_product_is_recorded_with_where_it_comes_from(arguments: Any, desy: Store) -> None:
    result = main(arguments(MANIFEST))
    assert (result["status"], result["record"]["path"]) == ("done", RECORD)
    record = CatalogueRecord.model_validate_json(desy.files[RECORD])
    assert record.id == result["record"]["id"]
    assert (record.file.name, record.file.size) == ("CORR-R0001-AGIPD00-S00000.h5", len(desy.files[PRODUCT]))
    assert (record.made_from.name, record.made_from.size) == ("RAW-R0001-AGIPD00-S00000.h5", len(desy.files[RAW]))
    assert [(replica.endpoint, replica.path) for replica in record.replicas] == [("desy-storage", PRODUCT)]
    assert record.provenance.files[0].constants is not None


def test_the_second_time_nothing_is_written(arguments: Any, desy: Store) -> None:
    main(arguments(MANIFEST))
    written = desy.files[RECORD]
    desy.calls.clear()
    assert main(arguments(MANIFEST))["status"] == "already-done"
    assert desy.files[RECORD] == written
    assert {method for method, _ in desy.calls} == {"GET", "HEAD"}


def test_the_catalogue_may_lie_elsewhere(arguments: Any, desy: Store, stores: Stores) -> None:
    main(arguments(MANIFEST, at="remote-storage", catalogue="/data/records"))
    remote = stores.by_url["https://remote-storage.xdc.test:8443"]
    assert list(remote.files) == ["/data/records/r0001/CORR-R0001-AGIPD00-S00000.h5.json"]


def test_a_product_that_has_changed_is_not_recorded(arguments: Any, desy: Store) -> None:
    desy.files[PRODUCT] = b"\0" * len(desy.files[PRODUCT])
    error = main(arguments(MANIFEST))["error"]
    assert error["retry"]
    assert error["reason"].startswith(f"adler32 of {PRODUCT} is ")
    assert RECORD not in desy.files


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        (PRODUCT, None, "is no manifest: its name"),
        (MANIFEST, b"{}", "is no manifest: "),
        ("/data/proc/r0001/CORR-OTHER.h5.manifest.json", b"", "does not name a corrected file CORR-OTHER.h5"),
        ("/data/pub/x.h5.manifest.json", b"{}", "is not below /data/proc"),
        ("/data/proc/gone.h5.manifest.json", None, "manifest has vanished"),
    ],
)
def test_what_is_no_manifest_fails_for_good(
    arguments: Any, desy: Store, path: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        desy.files[path] = content or desy.files[MANIFEST]
    error = main(arguments(path))["error"]
    assert not error["retry"]
    assert reason in error["reason"]
    assert not [name for name in desy.files if name.startswith("/data/catalogue")]
