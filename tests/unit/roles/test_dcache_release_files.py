"""Configuration of a dCache release: what was measured on a running 11.2.5, on one node and on several.

The files are Ansible's; a real dCache reads none of them here.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rendered_files import Rendered, rendered

from xdc_testbed.testbed.variables import service_variables

FILES = "_dcache_release_files + _dcache_first_files"
ARCHIVE = f"""
dcache_source = "url"
dcache_archive = "https://dcache.example.org/dcache-11.2.5.tar.gz"
dcache_archive_checksum = "sha256:{"0" * 64}"
"""
ONE = f"""
profile = "minimal"
[vars]
{ARCHIVE}
[nodes.desy-storage]
groups = ["dcache", "client"]
"""
SEVERAL = f"""
profile = "minimal"
[vars]
{ARCHIVE}
[nodes.desy-storage]
groups = ["dcache", "client"]
vars = {{ dcache_services = ["core"] }}
[nodes.desy-door]
site = "desy"
groups = ["dcache"]
vars = {{ dcache_services = ["door", "frontend"] }}
[nodes.desy-pool]
site = "desy"
groups = ["dcache"]
vars = {{ dcache_services = ["pool"] }}
[nodes.far-storage]
site = "far"
groups = ["dcache"]
[nodes.far-storage.vars]
dcache_database = "embedded"
dcache_hsqldb_archive = "https://dcache.example.org/hsqldb.tar.gz"
dcache_hsqldb_archive_checksum = "sha256:{"0" * 64}"
"""
CENTRAL = {"zookeeper", "admin", "pnfsmanager", "cleaner-disk", "cleaner-hsm", "poolmanager", "billing", "gplazma"}
CENTRAL |= {"pinmanager", "transfermanagers", "bulk", "qos-engine", "qos-verifier", "qos-adjuster", "qos-scanner"}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    return rendered(tmp_path_factory.mktemp("dcache"), "dcache", FILES, ONE)["desy-storage"]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rendered]:
    return rendered(tmp_path_factory.mktemp("dcache"), "dcache", FILES, SEVERAL)


def services(node: Rendered) -> set[str]:
    """Services in the layout of a node."""
    return {section.partition("/")[2] for section in node.properties("layout.conf") if "/" in section}


def documented() -> set[str]:
    """Properties that dCache has."""
    lines = (Path(__file__).parent / "dcache-properties.txt").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def test_every_property_is_one_that_dcache_documents(one: Rendered, several: dict[str, Rendered]) -> None:
    known = documented()
    for node in (one, *several.values()):
        for values in [*node.properties("layout.conf").values(), *node.properties("dcache.conf").values()]:
            assert {re.sub(r"!.*", "!", key) for key in values} <= known


def test_one_node_has_every_service_in_one_domain_without_a_broker(one: Rendered) -> None:
    layout = one.properties("layout.conf")
    assert {section.partition("/")[0] for section in layout if section} == {"dCacheDomain"}
    assert services(one) == CENTRAL | {"webdav", "frontend", "pool"}
    assert layout["dCacheDomain"] == {"dcache.broker.scheme": "none"}
    assert "dcache.zookeeper.connection" not in layout[""]


def test_the_settings_that_were_measured_are_there(one: Rendered) -> None:
    common = one.properties("layout.conf")[""]
    wanted = {
        "dcache.enable.space-reservation": "false",
        "dcache.authn.crl-mode": "IF_VALID",
        "dcache.default-access-latency": "ONLINE",
        "dcache.default-retention-policy": "REPLICA",
        "dcache.enable.kafka": "false",
        "dcache.billing.enable.kafka": "true",
        "dcache.db.password.file": "/etc/dcache/pgpass",
    }
    assert {key: common.get(key) for key in wanted} == wanted
    assert "-Djava.net.preferIPv4Stack=true" in common["dcache.java.options.extra"]


def test_records_go_to_the_broker_of_the_testbed_with_a_password_and_tls(one: Rendered) -> None:
    layout = one.properties("layout.conf")
    assert layout[""]["dcache.kafka.bootstrap-servers"] == "desy-stream.xdc.test:9093"
    billing = layout["dCacheDomain/billing"]
    assert billing["billing.kafka.topic"] == service_variables()["dcache_billing_topic"]
    assert billing["billing.kafka.producer.configs!security.protocol"] == "SASL_SSL"
    assert 'username="dcache"' in billing["billing.kafka.producer.configs!sasl.jaas.config"]


def test_ports_are_those_of_the_inventory(one: Rendered) -> None:
    layout, ports = one.properties("layout.conf"), service_variables()
    assert layout["dCacheDomain/webdav"]["webdav.net.port"] == str(ports["dcache_webdav_port"])
    assert layout["dCacheDomain/frontend"]["frontend.net.port"] == str(ports["dcache_frontend_port"])
    assert layout["dCacheDomain/zookeeper"]["zookeeper.net.port"] == str(ports["dcache_zookeeper_port"])
    assert layout[""]["pool.mover.http.port.min"] == str(ports["dcache_mover_ports"][0])
    given = {int(value) for values in layout.values() for key, value in values.items() if ".port" in key}
    known: set[int] = set()
    for name, value in ports.items():
        if name.startswith("dcache_") and "port" in name:
            known |= set(value if isinstance(value, list) else [value])
    assert given <= known


def test_doors_take_no_credential_in_the_clear(one: Rendered) -> None:
    layout = one.properties("layout.conf")
    assert layout["dCacheDomain/webdav"]["webdav.authn.protocol"] == "https"
    assert layout["dCacheDomain/frontend"]["frontend.authn.protocol"] == "https"


def test_tokens_of_the_testbeds_issuer_are_a_user_that_is_mapped(one: Rendered) -> None:
    gplazma = one.properties("layout.conf")["dCacheDomain/gplazma"]
    provider = gplazma["gplazma.oidc.provider!testbed"]
    assert provider.startswith("https://desy-stream.xdc.test:8444 -profile=wlcg -prefix=/ ")
    assert '-authz-id="uid:1000 gid:1000 username:tester"' in provider
    assert one.texts["multi-mapfile"].splitlines()[:2] == [
        "username:tester uid:1000 gid:1000,true roles:qos-user",
        'dn:"/DC=test/DC=xdc/CN=tester" username:tester uid:1000 gid:1000,true roles:qos-user',
    ]
    assert one.texts["omnisession.conf"] == "DEFAULT root:/ home:/\n"


def test_a_directory_is_the_tape(one: Rendered) -> None:
    first = one.texts["pool.setup"].splitlines()[0]
    assert first.startswith("hsm create osm osm copy -directory=/srv/dcache/tape/ -hsmInstance=osm")
    assert one.placed["pool.setup"]["dest"] == "/srv/dcache/desy-storage-pool/setup"


def test_services_are_where_the_description_puts_them(several: dict[str, Rendered]) -> None:
    assert services(several["desy-storage"]) == CENTRAL
    assert services(several["desy-door"]) == {"webdav", "frontend"}
    assert services(several["desy-pool"]) == {"pool"}


def test_nodes_of_one_site_meet_at_its_core(several: dict[str, Rendered]) -> None:
    schemes = {}
    for name in ("desy-storage", "desy-door", "desy-pool"):
        layout = several[name].properties("layout.conf")
        assert layout[""]["dcache.zookeeper.connection"] == "desy-storage.xdc.test:2181"
        domains = {section: values for section, values in layout.items() if section and "/" not in section}
        schemes |= {domain: values["dcache.broker.scheme"] for domain, values in domains.items()}
    assert schemes == {"dCacheDomain": "core", "desy-doorDomain": "satellite", "desy-poolDomain": "satellite"}


def test_only_the_core_has_a_database_and_knows_the_pools(several: dict[str, Rendered]) -> None:
    having = {name for name, node in several.items() if "pgpass" in node.texts}
    assert having == {"desy-storage"}
    assert "dcache.db.host" not in several["desy-door"].properties("layout.conf")[""]
    manager = several["desy-storage"].texts["poolmanager.conf"]
    assert re.findall("psu create pool (.*)", manager) == ["desy-pool-pool"]
    assert "poolmanager.conf" not in several["desy-pool"].texts


def test_another_site_is_another_dcache_and_an_embedded_database_leaves_bulk_out(several: dict[str, Rendered]) -> None:
    layout = several["far-storage"].properties("layout.conf")
    assert layout["dCacheDomain"] == {"dcache.broker.scheme": "none"}
    assert services(several["far-storage"]) == (CENTRAL - {"bulk"}) | {"webdav", "frontend", "pool"}
    assert layout[""]["hsqldb.path"] == "/var/lib/dcache/hsqldb"
    assert "dcache.db.host" not in layout[""]


def test_secrets_are_in_files_of_dcache_alone_and_on_no_command_line(one: Rendered) -> None:
    secret = one.texts["pgpass"].strip().rpartition(":")[2]
    password = re.findall('password="([^"]+)"', one.texts["layout.conf"])[0]
    assert len(secret) > 20
    assert len(password) > 20
    holding = {name for name, text in one.texts.items() if secret in text or password in text}
    assert holding == {"pgpass", "layout.conf"}
    assert {(one.placed[name]["owner"], one.placed[name]["mode"]) for name in holding} == {
        ("dcache", "0600"),  # what dCache wants of its password file, exactly
        ("dcache", "0400"),
    }


def test_what_an_administrator_may_have_saved_is_not_written_again(one: Rendered) -> None:
    always = {entry["dest"] for entry in one.placed.values() if "mode" in entry or "owner" in entry}
    assert not [dest for dest in always if dest.endswith(("/setup", "/poolmanager.conf"))]


def test_the_unit_runs_the_domain_in_the_foreground_as_its_own_user(one: Rendered) -> None:
    unit = one.texts["domain.service"]
    assert "ExecStart=/usr/local/sbin/xdc-dcache-domain dCacheDomain\n" in unit
    assert "User=dcache\n" in unit
    assert "Wants=network-online.target postgresql.service\n" in unit
    assert one.texts["domain.sh"].rstrip().splitlines()[-1].startswith('exec "$JAVA" ')
    assert "DCACHE_HOME=/opt/dcache-11.2.5\n" in one.texts["domain.sh"]
