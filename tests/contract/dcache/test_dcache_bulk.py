"""What a client of bulk requests relies on, against the emulator or a real dCache."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from dcache_rig import DcacheUnderTest, emulated, until
from frontend_client import Client
from storage_rig import Authority

pytestmark = pytest.mark.needs("frontend")


@pytest.fixture
def client(dcache: DcacheUnderTest) -> Client:
    """The user who owns the directory of the cases."""
    return Client.of(dcache)


@pytest.fixture
def folder(client: Client) -> Iterator[str]:
    """A directory of the case's own, with three files."""
    name = f"bulk-{secrets.token_hex(6)}"
    assert client.act(client.dcache.directory, "mkdir", name=name).code == 201
    path = f"{client.dcache.directory}/{name}"
    for number in range(3):
        client.put(f"{path}/{number}.h5")
    yield path
    client.webdav("DELETE", path)


def submit(client: Client, **document: Any) -> str:
    """Submit a request; its URL."""
    answer = client.ask("POST", "/bulk-requests", document)
    assert (answer.code, answer.body) == (201, b""), answer
    return answer.header("request-url")


def finished(client: Client, url: str) -> dict[str, Any]:
    """The state of a request once it has ended."""

    def ended() -> Any:
        found = client.json("GET", url)
        return found if found["status"] in ("COMPLETED", "CANCELLED") else None

    found: dict[str, Any] = until(ended, f"{url} did not end", 30 if client.dcache.kind == "emulator" else 600)
    return found


def test_every_target_has_its_own_end(client: Client, folder: str) -> None:
    url = submit(client, activity="DELETE", target=[f"{folder}/0.h5", f"{folder}/none.h5", f"{folder}/1.h5"])
    states = {target["target"]: target["state"] for target in finished(client, url)["targets"]}
    assert states == {f"{folder}/0.h5": "COMPLETED", f"{folder}/none.h5": "FAILED", f"{folder}/1.h5": "COMPLETED"}
    names = [child["fileName"] for child in client.names(folder, children="true")["children"]]
    assert names == ["2.h5"]
    assert client.ask("DELETE", url).code == 204
    assert client.ask("GET", url).code == 404


def test_prefix_and_all_spellings_of_options_are_understood(client: Client, folder: str) -> None:
    for key in ("targetPrefix", "target_prefix", "target-prefix"):
        url = submit(client, **{"activity": "LOG_TARGET", "target": ["0.h5"], key: folder, "clearOnFailure": "true"})
        found = finished(client, url)
        assert (found["targetPrefix"], found["targets"][0]["state"]) == (folder, "COMPLETED")


def test_directory_is_expanded_to_its_files(client: Client, folder: str) -> None:
    url = submit(client, activity="PIN", target=[folder], expand_directories="TARGETS", arguments={"lifetime": "5"})
    done = [target for target in finished(client, url)["targets"] if target["state"] == "COMPLETED"]
    assert {target["target"] for target in done} >= {f"{folder}/{number}.h5" for number in range(3)}


def test_targets_are_paged(client: Client, folder: str) -> None:
    targets = [f"{folder}/{number}.h5" for number in range(3)]
    url = submit(client, activity="LOG_TARGET", target=targets)
    found = finished(client, url)
    second = found["targets"][1]["id"]
    assert [target["target"] for target in client.json("GET", f"{url}?offset={second}")["targets"]] == targets[1:]
    assert found["nextId"] == -1


def test_request_is_cleared_by_itself_when_that_is_asked_for(client: Client, folder: str) -> None:
    url = submit(client, activity="LOG_TARGET", target=[f"{folder}/0.h5"], clear_on_success=True)
    until(lambda: client.ask("GET", url).code == 404, f"{url} was not cleared")


@pytest.mark.needs("another user")
def test_others_see_nothing_of_a_request(dcache: DcacheUnderTest, client: Client, folder: str) -> None:
    url = submit(client, activity="LOG_TARGET", target=[f"{folder}/0.h5"])
    other = Client.of(dcache, 1)
    assert other.ask("GET", url).code == 403
    assert other.ask("PATCH", url, {"action": "cancel"}).code == 403
    assert other.ask("DELETE", url).code == 403


@pytest.mark.needs("another user")
def test_other_users_files_are_not_deleted(dcache: DcacheUnderTest, client: Client, folder: str) -> None:
    other = Client.of(dcache, 1)
    found = finished(other, submit(other, activity="DELETE", target=[f"{folder}/0.h5"]))
    assert found["targets"][0]["state"] == "FAILED"
    assert "Permission" in found["targets"][0]["errorType"]
    assert client.names(f"{folder}/0.h5")["size"] == 1000


def test_running_request_is_cancelled(authority: Authority) -> None:
    with emulated(authority, tables={"qos": {"evict_s": 0.0, "stage_s": 60.0}}) as dcache:
        client = Client(dcache, "tester")
        client.put("/tape/a.h5")
        until(lambda: client.names("/tape/a.h5", locality="true")["fileLocality"] == "NEARLINE", "not evicted")
        url = submit(client, activity="PIN", target=["/tape/a.h5"], arguments={"lifetime": "60"})
        until(lambda: client.json("GET", url)["targets"][0]["state"] == "RUNNING", "it does not run")
        assert client.ask("DELETE", url).code == 400
        assert client.ask("PATCH", url, {"action": "cancel"}).code == 200
        found = client.json("GET", url)
        assert (found["status"], found["targets"][0]["state"]) == ("CANCELLED", "CANCELLED")


def test_requests_survive_kill_9_in_all_states_and_numbers_are_not_given_again(own_dcache: DcacheUnderTest) -> None:
    client = Client(own_dcache, "tester")
    assert own_dcache.restart is not None
    for name in ("a", "b"):
        client.put(f"/data/{name}")
    done = submit(client, activity="LOG_TARGET", target=["/data/a", "/data/none", "/data/b"])
    cleared = submit(client, activity="LOG_TARGET", target=["/data/a"])
    cancelled = submit(client, activity="PIN", target=["/data/a"], arguments={"nonsense": 1})
    for url in (done, cleared, cancelled):
        finished(client, url)
    before = [client.json("GET", url) for url in (done, cancelled)]
    assert client.ask("DELETE", cleared).code == 204
    own_dcache.restart(signal.SIGKILL)
    assert [client.json("GET", url) for url in (done, cancelled)] == before
    assert client.ask("GET", cleared).code == 404
    known = client.json("GET", "/bulk-requests")
    later = submit(client, activity="LOG_TARGET", target=["/data/a"])
    finished(client, later)
    numbers = [each["id"] for each in client.json("GET", "/bulk-requests")]
    assert (numbers, len(known)) == ([1, 3, 4], 2)
    last = max(target["id"] for found in before for target in found["targets"])
    assert client.json("GET", later)["targets"][0]["id"] > last
