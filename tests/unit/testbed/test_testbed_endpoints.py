"""What a testbed offers, computed from its nodes."""

from __future__ import annotations

from demo_nodes import demo, node

from xdc_testbed.endpoints import Endpoint
from xdc_testbed.testbed.description import Description
from xdc_testbed.testbed.endpoints import of_testbed


def by_id() -> dict[str, Endpoint]:
    """The endpoints of the demo."""
    return {endpoint.id: endpoint for endpoint in of_testbed(demo(), Description())}


def test_storage_and_caches_have_the_id_of_their_node_and_services_that_of_node_and_group() -> None:
    assert list(by_id()) == [
        "desy-storage",
        "desy-stream:token_issuer",
        "desy-stream:kafka",
        "desy-stream:event_router",
        "desy-functions:openwhisk",
        "remote-storage",
        "remote-cache",
    ]


def test_every_endpoint_says_whether_it_is_real() -> None:
    kinds = {endpoint.product: endpoint.kind for endpoint in by_id().values()}
    assert kinds["xrootd"] == kinds["xcache"] == kinds["kafka"] == "real"
    assert kinds["openwhisk"] == kinds["oidc-issuer"] == "emulator"


def test_storage_is_reached_by_both_protocols_on_its_own_name() -> None:
    assert by_id()["remote-storage"].urls == {
        "https": "https://remote-storage.xdc.test:8443",
        "root": "root://remote-storage.xdc.test:1094",
    }


def test_a_cache_stands_in_front_of_the_storage_of_another_site() -> None:
    assert by_id()["remote-cache"].origin == "desy-storage"
    assert by_id()["desy-storage"].origin is None


def test_a_cache_without_another_site_has_no_origin() -> None:
    alone = of_testbed([node("a-storage", "xrootd"), node("a-cache", "xcache")], Description())
    assert alone[1].origin is None


def test_the_broker_is_reached_from_outside_on_the_port_that_was_published() -> None:
    assert by_id()["desy-stream:kafka"].urls == {
        "kafka": "desy-stream.xdc.test:9093",
        "kafka-external": "127.0.0.1:31092",
    }


def test_credentials_name_the_issuer_and_are_references_to_files() -> None:
    credentials = by_id()["desy-storage"].credentials
    assert credentials.issuer == "https://desy-stream.xdc.test:8444"
    assert str(credentials.client_secret_file) == "/etc/xdc-testbed/credentials/interop.secret"


def test_without_a_token_issuer_there_is_none_to_name() -> None:
    assert of_testbed([node("a-storage", "xrootd")], Description())[0].credentials.issuer is None
