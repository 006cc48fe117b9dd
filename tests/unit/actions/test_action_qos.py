"""The qos action: raw data changes class only when its product is safe at the other site."""

from __future__ import annotations

from typing import Any

import pytest
from memory_storage import Store, Stores

from xdc_testbed.actions import calibrate, qos
from xdc_testbed.clients.dcache import FileInfo
from xdc_testbed.clients.digests import adler32
from xdc_testbed.errors import DeadlineExceeded, WrongUsage

RAW = "/data/raw/r0001/RAW-R0001-AGIPD00-S00000.h5"
PRODUCT = "/data/proc/r0001/CORR-R0001-AGIPD00-S00000.h5"
MANIFEST = f"{PRODUCT}.manifest.json"
FRONTEND = "https://desy-storage.xdc.test:3880"


class Frontend:
    """What dCache's frontend does with one class of one file. stuck: transitions never end."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.classes: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.stuck = False

    def stat(self, path: str, *, checksum: bool, qos: bool) -> FileInfo:
        assert checksum
        assert qos
        return self._info(path)

    def request_qos(self, path: str, target: str) -> None:
        if target not in ("disk", "tape", "disk+tape", "volatile"):
            raise WrongUsage(f"no QoS class {target!r}")
        self.asked.append((path, target))
        if not self.stuck:
            self.classes[path] = target

    def await_qos(self, path: str, target: str, *, timeout: float) -> FileInfo:
        info = self._info(path)
        if info.qos != target:
            raise DeadlineExceeded(f"{path}: QoS {target} was not reached within {timeout:g} s")
        return info

    def _info(self, path: str) -> FileInfo:
        data, now = self.store.files[path], self.classes.get(path, "disk")
        locality = "ONLINE_AND_NEARLINE" if "tape" in now else "ONLINE"
        return FileInfo(path, "0" * 36, False, len(data), 1.0, 1.0, {"adler32": adler32(data)}, locality, now, None)


@pytest.fixture
def frontend(stores: Stores, arguments: Any, monkeypatch: pytest.MonkeyPatch) -> Frontend:
    """desy has raw file, product and manifest; remote has product and manifest."""
    assert calibrate.main(arguments(RAW))["status"] == "done"
    desy = stores.by_url["https://desy-storage.xdc.test:8443"]
    remote = stores.by_url["https://remote-storage.xdc.test:8443"]
    remote.files |= {path: desy.files[path] for path in (PRODUCT, MANIFEST)}
    frontend = Frontend(desy)
    monkeypatch.setattr(qos, "_frontend", lambda url, _: {FRONTEND: frontend}[url])
    return frontend


@pytest.fixture
def given(arguments: Any) -> Any:
    """The arguments for the event at the remote site."""

    def make(**more: Any) -> dict[str, Any]:
        made: dict[str, Any] = arguments(MANIFEST, **{"origin": "desy-storage", **more})
        made["event"]["data"]["endpoint"] = "remote-storage"
        made["endpoints"]["desy-storage"]["frontend"] = FRONTEND
        return made

    return make


def test_raw_data_goes_to_tape_when_the_product_is_safe(given: Any, frontend: Frontend) -> None:
    result = qos.main(given())
    assert (result["status"], frontend.asked) == ("done", [(RAW, "tape")])
    assert result["qos"] == {"from": "disk", "to": "tape", "locality": "ONLINE_AND_NEARLINE"}
    assert (result["file"]["endpoint"], result["file"]["path"]) == ("desy-storage", RAW)
    assert result["product"] == {"endpoint": "remote-storage", "path": PRODUCT}
    times = result["times"]
    assert times["started"] <= times["verified"] <= times["requested"] <= times["reached"]


def test_the_second_time_nothing_is_asked_for(given: Any, frontend: Frontend) -> None:
    qos.main(given())
    assert qos.main(given())["status"] == "already-done"
    assert len(frontend.asked) == 1


@pytest.mark.parametrize(("which", "what"), [("remote", PRODUCT), ("desy", RAW)])
def test_nothing_moves_when_a_file_is_not_what_the_manifest_says(
    given: Any, frontend: Frontend, stores: Stores, which: str, what: str
) -> None:
    store = stores.by_url[f"https://{which}-storage.xdc.test:8443"]
    store.files[what] = b"\0" * len(store.files[what])
    error = qos.main(given())["error"]
    assert error["retry"]
    assert error["reason"].startswith(f"adler32 of {what}")
    assert frontend.asked == []


def test_a_transition_that_does_not_end_is_tried_again(given: Any, frontend: Frontend) -> None:
    frontend.stuck = True
    error = qos.main(given(patience=1))["error"]
    assert error == {"retry": True, "reason": f"transition not ended: {RAW}: QoS tape was not reached within 1 s"}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"target": "glacier"}, "no QoS class 'glacier'"),
        ({"patience": "long"}, "parameter patience is 'long', not a number of seconds"),
        ({"origin": "remote-storage"}, "endpoint remote-storage has no frontend URL for the actions"),
    ],
)
def test_wrong_parameters_fail_for_good(given: Any, frontend: Frontend, more: dict[str, Any], reason: str) -> None:
    assert qos.main(given(**more))["error"] == {"retry": False, "reason": reason}
    assert frontend.asked == []
