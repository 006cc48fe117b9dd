"""What every role promises on a node: a dry run tells the truth, removal is complete and repeatable, all comes back.

One testbed of profile minimal and a cloud, made by the library, with the same playbooks as `up`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playbook_bed import Bed

from xdc_testbed.progress import silent
from xdc_testbed.testbed.description import load
from xdc_testbed.testbed.lifecycle import Testbed

_DESCRIBED = """\
profile = "minimal"
[nodes.cloud]
site = "desy"
groups = ["openstack"]
memory = 4096
"""


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    testbed = Testbed(tmp_path_factory.mktemp("state"), "roles")
    described = tmp_path_factory.mktemp("described") / "testbed.toml"
    described.write_text(_DESCRIBED)
    try:
        testbed.up(load(described, name="roles", environ={}), silent)
        yield Bed(testbed)
    finally:
        testbed.down(silent)


def test_a_dry_run_on_configured_nodes_would_change_nothing(bed: Bed) -> None:
    assert bed.run("site", check=True).diffs == []


def test_removal_leaves_no_unit_no_file_and_no_trust_and_may_be_repeated(bed: Bed) -> None:
    bed.run("remove")
    for node in ("desy-storage", "desy-stream", "cloud"):
        ours = "'xdc-*' 'kafka*' 'openwhisk*' 'event-*' 'token-issuer*'"
        units = bed.on(node, f"systemctl list-unit-files --no-legend {ours}")
        assert units == ""
        gone = (
            "/opt/xdc-testbed",
            "/etc/xdc-testbed",
            "/etc/grid-security/hostkey.pem",
            "/etc/ssl/certs/xdc-testbed.pem",
            "/opt/xdc-openstack",
            "/var/lib/xdc-openstack",
        )
        assert bed.on(node, f"ls -d {' '.join(gone)} 2>/dev/null") == ""
    masked = "find /etc/systemd/system -lname /dev/null | sort"
    assert bed.on("cloud", masked) == bed.on("desy-stream", masked)
    of_debian = "'nova*' 'neutron*' rabbitmq-server.service haproxy.service"
    assert bed.on("cloud", f"systemctl list-unit-files --no-legend --state=enabled {of_debian}") == ""
    again = bed.run("remove")
    assert [entry for entry in again.diffs if "Names of the nodes" not in entry[2]] == []


def test_after_removal_everything_comes_back_and_works(bed: Bed) -> None:
    inventory = Path(bed.testbed.folder.inventory) / "hosts.json"
    inventory.write_text(inventory.read_text().replace('"testbed_install": false', '"testbed_install": true'))
    bed.run("up")
    assert set(bed.run("site").changed.values()) == {0}
