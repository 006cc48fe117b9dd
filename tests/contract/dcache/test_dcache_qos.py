"""What a client of the storage classes relies on, against the emulator or a real dCache with a tape behind it."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator

import pytest
from dcache_rig import DcacheUnderTest, emulated, until
from frontend_client import Client
from storage_rig import Authority

_SHOWN = {"qos": "true", "locality": "true", "optional": "true"}
pytestmark = pytest.mark.needs("frontend")


@pytest.fixture
def client(dcache: DcacheUnderTest) -> Client:
    """The user who owns the directory of the cases."""
    return Client.of(dcache)


@pytest.fixture
def file(client: Client) -> Iterator[str]:
    """A file of the case's own."""
    path = f"{client.dcache.directory}/qos-{secrets.token_hex(6)}.h5"
    client.put(path)
    yield path
    client.ask("DELETE", f"/namespace{path}")


def _becomes(client: Client, path: str, qos: str) -> None:
    patience = 30.0 if client.dcache.kind == "emulator" else 900.0

    def there() -> bool:
        found = client.names(path, qos="true")
        return found["currentQos"] == qos and "targetQos" not in found

    until(there, f"{path} is not {qos}", patience)


def test_file_goes_to_tape_and_stays_readable(client: Client, file: str) -> None:
    assert client.act(file, "qos", target="tape").code == 201
    _becomes(client, file, "tape")
    found = client.names(file, **_SHOWN)
    assert (found["fileLocality"], found["accessLatency"]) == ("ONLINE_AND_NEARLINE", "NEARLINE")
    assert found["suris"][0].endswith(found["pnfsId"])
    assert len(client.read(file)) == 1000


def test_target_is_shown_until_the_tape_has_the_file(client: Client, file: str) -> None:
    assert client.act(file, "qos", target="disk+tape").code == 201
    found = client.names(file, **_SHOWN)
    assert (found["currentQos"], found.get("targetQos")) in (("disk", "disk+tape"), ("disk+tape", None))
    _becomes(client, file, "disk+tape")


def test_tape_is_not_given_up_again(client: Client, file: str) -> None:
    assert client.act(file, "qos", target="tape").code == 201
    _becomes(client, file, "tape")
    answer = client.act(file, "qos", target="disk")
    assert answer.code == 400
    assert b"QoS currently does not support removal of tape locations." in answer.body
    assert client.names(file, qos="true")["currentQos"] == "tape"


def test_new_files_have_the_class_of_their_directory(client: Client) -> None:
    name = f"qos-{secrets.token_hex(6)}"
    path = f"{client.dcache.directory}/{name}"
    assert client.act(client.dcache.directory, "mkdir", name=name).code == 201
    assert client.act(path, "qos", target="tape").code == 201
    until(lambda: client.names(path, qos="true")["currentQos"] == "tape", f"{path} is not tape")
    client.put(f"{path}/a.h5")
    _becomes(client, f"{path}/a.h5", "tape")
    client.webdav("DELETE", path)


@pytest.mark.needs("administrator")
def test_a_policy_is_given_by_an_administrator_and_read_by_all(dcache: DcacheUnderTest, client: Client) -> None:
    admin = Client.administrator(dcache)
    policy = {"name": f"contract-{secrets.token_hex(4)}", "states": [{"media": [{"storageMedium": "HSM"}]}]}
    assert client.ask("POST", "/qos-policy", policy).code == 403
    assert admin.ask("POST", "/qos-policy", policy).code == 200
    assert policy["name"] in client.json("GET", "/qos-policy")
    assert admin.ask("DELETE", f"/qos-policy/{policy['name']}").code == 200
    assert policy["name"] not in client.json("GET", "/qos-policy")


def test_what_was_pending_is_done_after_a_kill(authority: Authority) -> None:
    slow = {"transition_s": 0.2, "flush_s": 3.0}
    with emulated(authority, tables={"qos": slow}) as dcache:
        client = Client(dcache, "tester")
        client.put("/data/a.h5")
        client.put("/tape/b.h5")
        assert client.act("/data/a.h5", "qos", target="disk+tape").code == 201
        assert client.names("/data/a.h5", qos="true")["targetQos"] == "disk+tape"
        assert dcache.restart is not None
        dcache.restart(signal.SIGKILL)
        assert client.names("/data/a.h5", qos="true")["targetQos"] == "disk+tape"
        _becomes(client, "/data/a.h5", "disk+tape")
        _becomes(client, "/tape/b.h5", "tape")
        assert dcache.root is not None
        assert {path.name for path in (dcache.root / "tape").iterdir()} == {
            client.names(path)["pnfsId"] for path in ("/data/a.h5", "/tape/b.h5")
        }


def test_policy_is_kept_and_puts_a_file_on_tape(own_dcache: DcacheUnderTest) -> None:
    client, admin = Client(own_dcache, "tester"), Client(own_dcache, "admin", "admin")
    states = [
        {"duration": "P10D", "media": [{"storageMedium": "DISK", "numberOfCopies": 1}]},
        {"media": [{"storageMedium": "HSM"}]},
    ]
    assert client.ask("POST", "/qos-policy", {"name": "raw", "states": states}).code == 403
    assert admin.ask("POST", "/qos-policy", {"name": "raw", "states": states}).code == 200
    again = admin.ask("POST", "/qos-policy", {"name": "raw", "states": states})
    assert (again.code, b"rc=10017" in again.body) == (400, True)
    assert own_dcache.restart is not None
    own_dcache.restart(signal.SIGKILL)
    assert client.json("GET", "/qos-policy") == ["raw"]
    assert client.json("GET", "/qos-policy/raw")["states"][1]["media"][0]["numberOfCopies"] == 1
    client.put("/data/a.h5")
    assert client.act("/data/a.h5", "qos", policy="raw", state=0).code == 201
    assert client.names("/data/a.h5", qos="true")["currentQos"] == "volatile"
    assert client.act("/data/a.h5", "qos", policy="raw", state=1).code == 201
    _becomes(client, "/data/a.h5", "tape")
    found = client.names("/data/a.h5", **_SHOWN)
    assert (found["qosPolicy"], found["qosState"], found["retentionPolicy"]) == ("raw", 1, "REPLICA")
    assert client.act("/data/a.h5", "qos", policy="none").code == 400


def test_a_policy_copies_a_file_to_a_second_pool_and_goes_on_by_itself_also_after_kill_9(
    own_dcache: DcacheUnderTest,
) -> None:
    client, admin = Client(own_dcache, "tester"), Client.administrator(own_dcache)
    states = [
        {"duration": "PT4S", "media": [{"storageMedium": "DISK", "numberOfCopies": 2}]},
        {"media": [{"storageMedium": "HSM"}]},
    ]
    assert admin.ask("POST", "/qos-policy", {"name": "safe", "states": states}).code == 200
    client.put("/data/a.h5")
    pnfsid = str(client.names("/data/a.h5")["pnfsId"])
    assert client.act("/data/a.h5", "qos", policy="safe", state=0).code == 201
    assert own_dcache.root is not None
    assert own_dcache.restart is not None
    assert own_dcache.emulator is not None
    pools = own_dcache.root / "pools"
    until(lambda: (pools / "pool2" / "data" / pnfsid).exists(), "it is on one pool only")
    copied = until(lambda: [each for each in own_dcache.emulator.billing() if each.get("isP2p")], "no record")
    assert [(each["pnfsid"], each["cellName"], each["billingPath"]) for each in copied] == [
        (pnfsid, "pool1", "Unknown")
    ]
    assert client.names("/data/a.h5", optional="true", locality="true", qos="true")["qosState"] == 0
    own_dcache.restart(signal.SIGKILL)
    until(lambda: client.names("/data/a.h5", optional="true", qos="true").get("qosState") == 1, "it does not go on")
    _becomes(client, "/data/a.h5", "tape")
    assert client.read("/data/a.h5") == b"x" * 1000
    assert client.ask("DELETE", "/namespace/data/a.h5").code == 200
    assert not list(pools.rglob(pnfsid))
