"""What a client of the namespace over REST relies on, against the emulator or a real dCache."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from dcache_rig import DcacheUnderTest
from frontend_client import Client

pytestmark = pytest.mark.needs("frontend")


@pytest.fixture
def client(dcache: DcacheUnderTest) -> Client:
    """The user who owns the directory of the cases."""
    return Client.of(dcache)


@pytest.fixture
def folder(client: Client) -> Iterator[str]:
    """A directory of the case's own."""
    name = f"names-{secrets.token_hex(6)}"
    assert client.act(client.dcache.directory, "mkdir", name=name).code == 201
    path = f"{client.dcache.directory}/{name}"
    yield path
    client.webdav("DELETE", path)


def test_listing_is_paged_by_name(client: Client, folder: str) -> None:
    for number in range(5):
        client.put(f"{folder}/{number}.h5")
    page = client.names(folder, children="true", offset="1", limit="2")["children"]
    assert [child["fileName"] for child in page] == ["1.h5", "2.h5"]
    assert "children" not in client.names(folder, children="false")
    assert client.ask("GET", f"/namespace{folder}?children=true&limit=x").code == 400
    assert client.ask("GET", f"/namespace{folder}?children=true&offset=-1").code == 400


def test_names_may_have_any_character(client: Client, folder: str) -> None:
    name = "ä b#c%d+e?.h5"
    path = f"{folder}/{quote(name)}"
    client.put(path)
    assert client.names(folder, children="true")["children"][0]["fileName"] == name
    found = client.names(path, locality="true", checksum="true")
    assert (found["size"], found["fileLocality"]) == (1000, "ONLINE")
    assert found["checksums"][0]["type"] == "ADLER32"
    assert client.ask("DELETE", f"/namespace{path}").code == 200


def test_labels_and_attributes_stay_with_a_file_that_is_renamed(client: Client, folder: str) -> None:
    client.put(f"{folder}/a.h5")
    assert client.act(f"{folder}/a.h5", "set-label", label="raw").code == 201
    assert client.act(f"{folder}/a.h5", "set-xattr", attributes={"run": "12", "gone": "x"}).code == 201
    assert client.act(f"{folder}/a.h5", "rm-xattr", names=["gone"]).code == 201
    assert client.act(f"{folder}/a.h5", "mv", destination="../b.h5").code == 201
    found = client.names(f"{folder}/b.h5", xattr="true")
    assert (found["labels"], found["extendedAttributes"]) == (["raw"], {"run": "12"})
    assert client.act(f"{folder}/b.h5", "rm-label", label="raw").code == 201
    assert client.names(f"{folder}/b.h5")["labels"] == []


def test_attribute_that_is_there_is_not_created_again(client: Client, folder: str) -> None:
    client.put(f"{folder}/a.h5")
    assert client.act(f"{folder}/a.h5", "set-xattr", attributes={"k": "1"}, mode="CREATE").code == 201
    assert client.act(f"{folder}/a.h5", "set-xattr", attributes={"k": "2"}, mode="CREATE").code == 400
    assert client.act(f"{folder}/a.h5", "set-xattr", attributes={"k": "3"}, mode="MODIFY").code == 201
    assert client.names(f"{folder}/a.h5", xattr="true")["extendedAttributes"] == {"k": "3"}


def test_rename_puts_a_file_in_the_place_of_another(client: Client, folder: str) -> None:
    client.put(f"{folder}/a.h5", b"new")
    client.put(f"{folder}/b.h5", b"older")
    assert client.act(f"{folder}/a.h5", "mv", destination=f"{folder}/b.h5").code == 201
    assert client.names(f"{folder}/b.h5")["size"] == 3
    assert client.ask("GET", f"/namespace{folder}/a.h5").code == 404


@pytest.mark.needs("another user")
def test_other_users_change_nothing(dcache: DcacheUnderTest, client: Client, folder: str) -> None:
    client.put(f"{folder}/a.h5")
    other = Client.of(dcache, 1)
    assert other.names(f"{folder}/a.h5")["size"] == 1000
    for action, arguments in (
        ("chmod", {"mode": 0o777}),
        ("mv", {"destination": f"{folder}/b.h5"}),
        ("set-label", {"label": "x"}),
        ("set-xattr", {"attributes": {"k": "v"}}),
        ("qos", {"target": "tape"}),
    ):
        assert other.act(f"{folder}/a.h5", action, **arguments).code == 403, action
    assert other.act(folder, "mkdir", name="x").code == 403
    assert other.ask("DELETE", f"/namespace{folder}/a.h5").code == 403


@pytest.mark.needs("another user")
def test_directory_that_may_not_be_read_is_not_listed(dcache: DcacheUnderTest, client: Client, folder: str) -> None:
    client.put(f"{folder}/a.h5")
    assert client.act(folder, "chmod", mode=0o711).code == 201
    other = Client.of(dcache, 1)
    assert other.ask("GET", f"/namespace{folder}?children=true").code == 403
    assert other.names(f"{folder}/a.h5")["size"] == 1000


def test_what_stays_is_named_when_something_cannot_be_removed(client: Client, folder: str) -> None:
    client.put(f"{folder}/a.h5")
    answer = client.ask("DELETE", f"/namespace{folder}")
    assert answer.code == 400
    assert f"Directory is not empty: {folder}".encode() in answer.body
