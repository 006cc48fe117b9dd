"""The calibrate action: what it publishes, when it does nothing, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from memory_storage import Store, Stores, failing

from xdc_testbed.actions.calibrate import main
from xdc_testbed.calibration import CalibrationManifest, calibrate_file
from xdc_testbed.clients.digests import adler32

RAW = "/data/raw/r0001/RAW-R0001-AGIPD00-S00000.h5"
CUT = "/data/raw/r0001/RAW-R0001-AGIPD00-S00001.h5"
OUT = "/data/proc/r0001/CORR-R0001-AGIPD00-S00000.h5"
CAL = "/data/cal/SPB_DET_AGIPD1M-1/AGIPD00/cal.20260301T000000Z.h5"
PART = f".part-{'w' * 32}"


@pytest.fixture
def desy(stores: Stores) -> Store:
    return stores.by_url["https://desy-storage.xdc.test:8443"]


def proc(store: Store) -> list[str]:
    return sorted(path for path in store.files if path.startswith("/data/proc"))


def test_the_corrected_file_and_then_its_manifest_are_published(
    arguments: Any, desy: Store, run_folder: Path, tmp_path: Path
) -> None:
    result = main(arguments(RAW), started_at=12.5)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["status"], result["started_at"], result["frames"]) == ("done", 12.5, 1)
    assert proc(desy) == [OUT, f"{OUT}.manifest.json"]
    assert result["output"] == {
        "endpoint": "desy-storage",
        "path": OUT,
        "size": len(desy.files[OUT]),
        "adler32": adler32(desy.files[OUT]),
    }
    times = result["times"]
    assert times["started"] <= times["opened"] <= times["calibrated"] <= times["uploaded"] <= times["published"]
    manifest = CalibrationManifest.model_validate_json(desy.files[f"{OUT}.manifest.json"])
    again = calibrate_file(
        run_folder / RAW.removeprefix("/data/"), tmp_path / OUT.rsplit("/", 1)[1], run_folder / "cal", streamed=True
    )
    assert manifest == again
    written = [path for method, path in desy.calls if method in {"PUT", "MOVE"}]
    assert written == [OUT + PART, OUT, f"{OUT}.manifest.json{PART}", f"{OUT}.manifest.json"]


def test_the_same_work_a_second_time_writes_and_downloads_nothing(arguments: Any, desy: Store) -> None:
    first = main(arguments(RAW))
    desy.calls.clear()
    second = main(arguments(RAW, work_id="other"))
    assert second["status"] == "already-done"
    assert second["output"] == first["output"]
    assert {method for method, _ in desy.calls} == {"HEAD", "GET"}
    assert [path for method, path in desy.calls if method == "GET"] == [f"{OUT}.manifest.json"]


@pytest.mark.parametrize("what", ["output", "constants", "parameters", "manifest"])
def test_changed_output_constants_parameters_or_manifest_are_work_again(arguments: Any, desy: Store, what: str) -> None:
    main(arguments(RAW))
    more: dict[str, Any] = {}
    match what:
        case "output":
            desy.files[OUT] = b"something else"
        case "constants":
            desy.files[CAL] += b"a byte behind the end of HDF5"
        case "parameters":
            more = {"correction": {"common_mode": True}}
        case "manifest":
            desy.files[f"{OUT}.manifest.json"] = b"{}"
    result = main(arguments(RAW, **more))
    assert result["status"] == "done"
    assert result["output"]["size"] == len(desy.files[OUT])


def test_constants_are_downloaded_once(arguments: Any, desy: Store) -> None:
    main(arguments(RAW))
    main(arguments(RAW, correction={"common_mode": True}))
    assert desy.calls.count(("GET", CAL)) == 1


def test_of_several_versions_the_one_that_is_nearest_to_the_data_is_taken(arguments: Any, desy: Store) -> None:
    for name in ("cal.20250301T000000Z.h5", "cal.20270301T000000Z.h5", "README", "cal.h5"):
        desy.files[f"{CAL.rpartition('/')[0]}/{name}"] = b"another version, not even HDF5"
    main(arguments(RAW))
    manifest = CalibrationManifest.model_validate_json(desy.files[f"{OUT}.manifest.json"])
    assert manifest.files[0].constants is not None
    assert {part.file for part in manifest.files[0].constants.parts} == {CAL.removeprefix("/data/cal/")}


def test_a_storage_that_does_not_replace_by_move_is_served(arguments: Any, desy: Store) -> None:
    desy.replaces = False
    desy.files[OUT] = b"from an older version"
    assert main(arguments(RAW))["status"] == "done"
    assert len(desy.files[OUT]) > 100_000


def test_a_storage_without_checksums_is_served(arguments: Any, desy: Store) -> None:
    desy.digests = False
    assert main(arguments(RAW))["status"] == "done"
    assert main(arguments(RAW))["status"] == "done"


def test_the_file_that_is_cut_off_is_a_named_and_final_failure(arguments: Any, desy: Store) -> None:
    result = main(arguments(CUT))
    assert result["error"]["retry"] is False
    assert result["error"]["reason"].startswith("input is truncated: file has ")
    assert result["started_at"] > 0
    assert proc(desy) == []


@pytest.mark.parametrize(
    ("path", "more", "reason"),
    [
        ("/data/raw/r0001/RAW-R0009-AGIPD00-S00000.h5", {}, "source has vanished"),
        ("/data/other/RAW-R0001-AGIPD00-S00000.h5", {}, "is not below /data/raw"),
        (RAW, {"endpoints": {}}, "endpoint desy-storage is not among those of the actions"),
        (RAW, {"event": None}, "no object 'event'"),
        (RAW, {"work_id": ""}, "no text 'work_id'"),
        (RAW, {"correction": {"cm_dark_rang": 1}}, "parameter correction.cm_dark_rang"),
        (RAW, {"cal": "/data/nothing"}, "constants are missing: /data/nothing/SPB_DET_AGIPD1M-1/AGIPD00/cal."),
    ],
)
def test_what_no_other_try_can_change_is_final(
    arguments: Any, desy: Store, path: str, more: dict[str, Any], reason: str
) -> None:
    result = main(arguments(path, **more))
    assert reason in result["error"]["reason"]
    assert result["error"]["retry"] is False
    assert proc(desy) == []


def test_a_file_that_changed_since_its_event_is_tried_again(arguments: Any, desy: Store) -> None:
    given = arguments(RAW)
    given["event"]["data"]["size"] -= 1
    result = main(given)
    assert f"size of {RAW} on desy-storage is" in result["error"]["reason"]
    assert result["error"]["retry"] is True
    given = arguments(RAW)
    given["event"]["data"]["checksums"]["adler32"] = "00000001"
    result = main(given)
    assert "adler32 of" in result["error"]["reason"]
    assert result["error"]["retry"] is True


@pytest.mark.parametrize(
    ("fault", "retry", "reason"),
    [
        (failing("PUT", "CORR", 507), True, "destination is full"),
        (failing("PUT-ended", "CORR", 500, "write failed: No space left on device"), True, "destination is full"),
        (failing("PUT", "CORR", 403), False, "denied"),
        (failing("PUT", "CORR", 401), True, "denied"),
        (failing("MOVE", "CORR", 503), True, "HTTP 503"),
        (failing("MOVE", "manifest", 503), True, "HTTP 503"),
        (failing("HEAD", "RAW", 403), False, "denied"),
    ],
)
def test_a_storage_that_fails_gets_no_half_written_file(
    arguments: Any, desy: Store, fault: Any, retry: bool, reason: str
) -> None:
    desy.fault = fault
    result = main(arguments(RAW))
    assert reason in result["error"]["reason"]
    assert result["error"]["retry"] is retry
    assert not [path for path in proc(desy) if ".part-" in path or path.endswith(".json")]


def test_a_try_after_a_failure_completes_the_work(arguments: Any, desy: Store) -> None:
    desy.fault = failing("MOVE", "manifest", 503, times=1)
    assert "error" in main(arguments(RAW))
    assert proc(desy) == [OUT]
    assert main(arguments(RAW))["status"] == "done"
    assert proc(desy) == [OUT, f"{OUT}.manifest.json"]


def test_an_upload_that_arrives_changed_is_not_published(arguments: Any, desy: Store) -> None:
    def corrupt(method: str, path: str) -> None:
        if method == "PUT-ended":
            desy.files[path] = desy.files[path][:-1] + b"?"

    desy.fault = corrupt
    result = main(arguments(RAW))
    assert "as stored" in result["error"]["reason"]
    assert result["error"]["retry"] is True
    assert proc(desy) == []


def test_a_raw_file_that_is_replaced_while_it_is_read_is_tried_again(arguments: Any, desy: Store) -> None:
    def replace(method: str, path: str) -> None:
        if method == "PUT-ended":
            desy.files[RAW] = desy.files[RAW][:-1] + b"?"

    desy.fault = replace
    result = main(arguments(RAW))
    assert result["error"] == {"reason": "input was replaced or written while it was read", "retry": True}
    assert proc(desy) == []


def test_each_activation_has_its_own_part_name(arguments: Any, desy: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("__OW_ACTIVATION_ID", "0123456789abcdef")
    main(arguments(RAW))
    assert ("PUT", f"{OUT}{PART}-01234567") in desy.calls
