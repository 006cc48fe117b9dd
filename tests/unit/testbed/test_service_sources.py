"""Where services come from: what the description must say, and what follows for endpoints, units and secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from demo_nodes import node

from xdc_testbed.errors import RequirementMissing, WrongUsage
from xdc_testbed.testbed import inventory, sources
from xdc_testbed.testbed.description import Description, groups, load
from xdc_testbed.testbed.endpoints import of_testbed

SUM = f'"sha256:{"a" * 64}"'
OPENWHISK = 'url = "https://functions.example.org", auth_file = "/etc/x/auth"'
DCACHE = 'webdav = "https://door.example.org:2880", frontend = "https://door.example.org:3880"'


@pytest.fixture
def described(tmp_path: Path) -> Any:
    """Loads the profile demo with more text."""

    def load_text(text: str) -> Description:
        file = tmp_path / "testbed.toml"
        file.write_text(f'profile = "demo"\n{text}')
        return load(file, environ={}).description

    return load_text


def functions(text: str) -> str:
    """Variables of the node with OpenWhisk."""
    return f"[nodes.desy-functions.vars]\n{text}"


def storage(text: str) -> str:
    """Variables of the node with dCache."""
    return f"[nodes.desy-storage.vars]\n{text}"


WRONG = [
    (functions('openwhisk_source = "extern"'), "unknown value 'extern'; did you mean 'external'?"),
    (
        functions('openwhisk_surce = "external"'),
        "unknown key 'nodes.desy-functions.vars.openwhisk_surce'; did you mean",
    ),
    (functions('openwhisk_source = "external"'), "missing key 'nodes.desy-functions.vars.openwhisk_external'"),
    (
        functions('openwhisk_external = { auth_file = "/a" }'),
        "missing key 'nodes.desy-functions.vars.openwhisk_external.url'",
    ),
    (functions(f'openwhisk_external = {{ {OPENWHISK}, auth_fil = "/a" }}'), "'auth_file'?"),
    (
        functions('openwhisk_source = "external"\nopenwhisk_external = { url = "http://a", auth_file = "/a" }'),
        "openwhisk_external.url: 'http://a' does not begin with https://",
    ),
    (
        functions('openwhisk_source = "external"\nopenwhisk_external = { url = "https://a", auth_file = "a" }'),
        "openwhisk_external.auth_file: 'a' is not an absolute path",
    ),
    (functions("openwhisk_heap_mb = true"), "openwhisk_heap_mb: True is no int"),
    (storage('dcache_source = "url"'), "missing key 'nodes.desy-storage.vars.dcache_archive'"),
    (
        storage('dcache_source = "url"\ndcache_archive = "https://a/dcache.tar.gz"\ndcache_archive_checksum = "md5:1"'),
        "'md5:1' is not sha256:<64 hexadecimal digits>",
    ),
    (
        storage(f'dcache_source = "url"\ndcache_archive = "/a/dcache.tar.gz"\ndcache_archive_checksum = {SUM}'),
        "dcache_archive: '/a/dcache.tar.gz' is no URL",
    ),
    (
        storage(f'dcache_source = "package"\ndcache_archive = "dcache.deb"\ndcache_archive_checksum = {SUM}'),
        "dcache_archive: 'dcache.deb' is not an absolute path",
    ),
    (
        storage(f'dcache_source = "package"\ndcache_archive = "/a/dcache.rpm"\ndcache_archive_checksum = {SUM}'),
        "ends in none of .deb, .tar.gz",
    ),
    (storage('dcache_services = ["core", "dor"]'), "dcache_services[1]: unknown value 'dor'; did you mean 'door'?"),
    (
        storage(
            f'dcache_source = "url"\ndcache_archive = "https://a/d.deb"\ndcache_archive_checksum = {SUM}\n'
            'dcache_services = ["core", "door", "pool"]'
        ),
        "the dCache of site desy has no frontend",
    ),
    (
        storage(f'dcache_source = "external"\ndcache_external = {{ {DCACHE}, issuer = "https://iam" }}'),
        "missing key 'nodes.desy-storage.vars.dcache_external.client_id'",
    ),
]


@pytest.mark.parametrize(("text", "reason"), WRONG, ids=[reason for _, reason in WRONG])
def test_a_fault_is_one_line_that_names_the_key(described: Any, text: str, reason: str) -> None:
    with pytest.raises(WrongUsage) as caught:
        described(text)
    assert reason in caught.value.message
    assert "\n" not in caught.value.message


def test_two_cores_at_one_site_are_refused(described: Any) -> None:
    release = f'dcache_source = "url"\ndcache_archive = "https://a/d.deb"\ndcache_archive_checksum = {SUM}\n'
    second = '[nodes.desy-second]\nsite = "desy"\ngroups = ["dcache"]\n'
    with pytest.raises(WrongUsage, match="has 2 cores: desy-storage, desy-second"):
        described(f"[vars]\n{release}{second}")


def test_a_file_that_is_not_there_is_told_before_anything_is_made(described: Any, tmp_path: Path) -> None:
    key = tmp_path / "auth"
    text = f'openwhisk_source = "external"\nopenwhisk_external = {{ url = "https://a", auth_file = "{key}" }}'
    with pytest.raises(RequirementMissing, match=f"openwhisk_external.auth_file of node desy-functions: .*{key}"):
        sources.require_files(described(functions(text)))
    key.write_text("uuid:key")
    sources.require_files(described(functions(text)))


# -- what follows -----------------------------------------------------------------------------------------------------


@pytest.fixture
def external(described: Any, tmp_path: Path) -> Description:
    """The demo, whose dCache and OpenWhisk exist elsewhere."""
    (tmp_path / "auth").write_text("uuid:key\n")
    (tmp_path / "client").write_text("s3cr3t\n")
    credential = f'issuer = "https://iam.example.org", client_id = "beam", client_secret_file = "{tmp_path}/client"'
    whisk = f'url = "https://functions.example.org/", auth_file = "{tmp_path}/auth", version = "2.1"'
    return described(
        functions(f'openwhisk_source = "external"\nopenwhisk_external = {{ {whisk} }}\n')
        + storage(
            'dcache_source = "external"\n'
            f'dcache_external = {{ {DCACHE}, {credential}, ca_file = "{tmp_path}/ca.pem", version = "10.2" }}'
        )
    )


NODES = [
    node("desy-storage", "dcache"),
    node("desy-stream", "token_issuer", "kafka", "event_router"),
    node("desy-functions", "openwhisk"),
    node("desy-client", "client"),
    node("remote-storage", "xrootd"),
]


def test_external_services_are_endpoints_of_that_kind_with_their_own_addresses(external: Description) -> None:
    found = {endpoint.id: endpoint for endpoint in of_testbed(NODES, external)}
    whisk, dcache = found["desy-functions:openwhisk"], found["desy-storage"]
    assert (whisk.kind, whisk.version, whisk.urls) == (
        "external",
        "2.1",
        {"https": "https://functions.example.org/api/v1"},
    )
    assert (dcache.kind, dcache.version) == ("external", "10.2")
    assert dcache.urls == {"https": "https://door.example.org:2880", "frontend": "https://door.example.org:3880"}
    assert {found["remote-storage"].kind, found["desy-stream:kafka"].kind} == {"real"}


def test_the_credential_of_an_external_storage_is_named_and_its_secret_is_not_said(external: Description) -> None:
    held = next(e for e in of_testbed(NODES, external) if e.id == "desy-storage").credentials
    assert (held.issuer, held.client_id) == ("https://iam.example.org", "beam")
    assert str(held.client_secret_file) == "/etc/xdc-testbed/credentials/desy-storage.secret"
    rendered = inventory.render(external, NODES, testbed_id="0", known_hosts=Path("/k"), pki=Path("/p"), extra={})
    assert "s3cr3t" not in str(rendered)
    assert rendered["all"]["vars"]["openwhisk_url"] == "https://functions.example.org"


def test_secrets_come_from_the_files_that_are_named(external: Description) -> None:
    found = sources.secrets(external)
    assert found["openwhisk_auth"] == "uuid:key"
    assert found["external"]["desy-storage"]["client_secret"] == "s3cr3t"


def test_authorities_of_external_services_are_trusted(external: Description, tmp_path: Path) -> None:
    assert sources.authorities(external) == [tmp_path / "ca.pem"]


def test_an_external_service_has_no_unit_but_its_events_are_watched(external: Description) -> None:
    def units(name: str, *names: str) -> list[str]:
        return sources.units(groups(), names, sources.of_node(external, name), broker=True)

    assert units("desy-functions", "openwhisk") == []
    assert units("desy-storage", "dcache") == ["event-source-sse", "event-reconcile"]
    assert units("desy-stream", "kafka") == ["kafka"]


RELEASE = f"""
[vars]
dcache_source = "package"
dcache_archive = "/a/dcache_11.2.5-1_all.deb"
dcache_archive_checksum = {SUM}
[nodes.desy-storage]
vars = {{ dcache_services = ["core", "frontend"] }}
[nodes.desy-door]
site = "desy"
groups = ["dcache"]
vars = {{ dcache_services = ["door", "pool"] }}
"""


def test_a_dcache_of_several_nodes_is_one_real_endpoint_at_its_door(described: Any) -> None:
    nodes = [*NODES, node("desy-door", "dcache")]
    kept = [e for e in of_testbed(nodes, described(RELEASE)) if e.product == "dcache"]
    assert [(e.id, e.kind, e.version) for e in kept] == [("desy-door", "real", "11.2.5")]
    assert kept[0].urls == {
        "https": "https://desy-door.xdc.test:2880",
        "frontend": "https://desy-storage.xdc.test:3880",
    }


def test_events_of_a_dcache_of_several_nodes_are_watched_at_its_door(described: Any) -> None:
    release = described(RELEASE)
    by_node = {
        name: sources.units(groups(), ["dcache"], sources.of_node(release, name), broker=True)
        for name in ("desy-storage", "desy-door")
    }
    assert by_node == {
        "desy-storage": ["xdc-dcache"],
        "desy-door": ["xdc-dcache", "event-source", "event-source-sse", "event-reconcile"],
    }


def test_variables_of_a_node_are_its_own(described: Any) -> None:
    rendered = inventory.render(
        described(storage("dcache_flush_seconds = 7")),
        NODES,
        testbed_id="0",
        known_hosts=Path("/k"),
        pki=Path("/p"),
        extra={},
    )["all"]
    assert rendered["hosts"]["desy-storage"]["dcache_flush_seconds"] == 7
    assert "dcache_flush_seconds" not in rendered["vars"]
