"""A dCache from a release on two nodes: fetched, compared, unpacked, configured, started, and removed.

The release is made up: it has the shape of dCache's tarball, and does nothing but stay there. That the configuration
makes a dCache do its work is not shown here.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from playbook_bed import Bed

from xdc_testbed.errors import XdcError
from xdc_testbed.progress import silent
from xdc_testbed.testbed.description import Explained, load
from xdc_testbed.testbed.lifecycle import Testbed

_DOMAIN = '#!/bin/sh\necho "$@" > /var/lib/dcache/started-with\nexec sleep infinity\n'
_CHECK = '#!/bin/sh\ntest "$1" = check-config && test -r /etc/dcache/layouts/xdc-testbed.conf\n'
_CHIMERA = """\
#!/bin/sh
names=/var/lib/dcache/names
touch $names
if [ "$1" = ls ]; then [ "$2" = / ] || grep -qx "$2" $names; exit $?; fi
while read -r verb path rest; do [ "$verb" != mkdir ] || echo "$path" >> $names; done
"""
_LOAD = 'JAVA=$DCACHE_HOME/bin/stand-in\nprintClassPath() { echo "$1"; }\ngetProperty() { echo -Dof="$2"; }\n'
_FILES = {
    "bin/dcache": _CHECK,
    "bin/chimera": _CHIMERA,
    "bin/stand-in": _DOMAIN,
    "share/lib/loadConfig.sh": _LOAD,
    "share/defaults/dcache.properties": "",
    "share/classes/dcache.jar": "",
    "etc/dcache.conf": "# comments only\n",
    "etc/logback.xml": "<configuration/>\n",
    "var/config/.keep": "",
    "var/log/.keep": "",
}


def release(path: Path) -> str:
    """Write an archive of the shape of dCache's tarball. Returns its checksum."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in _FILES.items():
            member = tarfile.TarInfo(f"dcache-11.2.5/{name}")
            member.size, member.mode = len(text.encode()), 0o755 if name.startswith("bin/") else 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@dataclass(frozen=True)
class ReleaseBed(Bed):
    """refused: what was said when dCache had a wrong checksum; silent_door: when nothing answered at its door."""

    refused: str
    silent_door: str

    @property
    def secrets(self) -> list[str]:
        """Passwords that dCache is given."""
        known = yaml.safe_load(Path(self.testbed.folder.secrets_file).read_text())
        return [known["kafka"]["dcache"], known["dcache_database"]["desy-storage"]]


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReleaseBed]:
    folder = tmp_path_factory.mktemp("release")
    checksum = release(folder / "dcache-11.2.5.tar.gz")

    def described(checksum: str) -> Explained:
        file = folder / "testbed.toml"
        file.write_text(f"""
profile = "minimal"
name = "releases"
[vars]
dcache_source = "package"
dcache_archive = "{folder}/dcache-11.2.5.tar.gz"
dcache_archive_checksum = "{checksum}"
dcache_verify_tries = 0
[nodes.desy-storage]
groups = ["dcache"]
vars = {{ dcache_services = ["core", "door"] }}
[nodes.desy-pool]
site = "desy"
groups = ["dcache"]
vars = {{ dcache_services = ["frontend", "pool"] }}
[nodes.desy-stream]
groups = ["token_issuer", "kafka"]
""")
        return load(file, environ={})

    def attempt(checksum: str) -> str:
        with pytest.raises(XdcError) as caught:
            testbed.up(described(checksum), silent)
        return caught.value.message

    testbed = Testbed(tmp_path_factory.mktemp("state"), "releases")
    try:
        yield ReleaseBed(testbed, attempt(f"sha256:{'0' * 64}"), attempt(checksum))
    finally:
        testbed.down(silent)


def test_a_wrong_checksum_is_one_line_with_both(bed: ReleaseBed) -> None:
    assert "\n" not in bed.refused
    assert "has checksum sha256:" in bed.refused
    assert f"dcache_archive_checksum says sha256:{'0' * 64}" in bed.refused


def test_a_storage_that_does_not_answer_is_not_taken_for_one_that_does(bed: ReleaseBed) -> None:
    assert "PUT over https with a token" in bed.silent_door


def test_one_domain_runs_on_each_node_as_its_own_user(bed: ReleaseBed) -> None:
    for node, domain in (("desy-storage", "dCacheDomain"), ("desy-pool", "desy-poolDomain")):
        assert bed.on(node, "systemctl is-active xdc-dcache") == "active"
        assert bed.on(node, "systemctl show -P User xdc-dcache") == "dcache"
        assert bed.on(node, "cat /var/lib/dcache/started-with").endswith(f"org.dcache.boot.BootLoader start {domain}")


def test_the_program_is_roots_and_what_it_writes_is_outside_of_it(bed: ReleaseBed) -> None:
    assert bed.on("desy-storage", "stat -c %U /opt/dcache-11.2.5/bin/dcache") == "root"
    links = "readlink /opt/dcache-11.2.5/etc /opt/dcache-11.2.5/var /var/lib/dcache/log"
    assert bed.on("desy-storage", links).split() == ["/etc/dcache", "/var/lib/dcache", "/var/log/dcache"]


def test_the_core_has_the_databases_and_the_directories(bed: ReleaseBed) -> None:
    listed = bed.on("desy-storage", "runuser -u postgres -- psql -At -c 'SELECT datname FROM pg_database'")
    assert {"chimera", "pinmanager", "qos", "bulk"} <= set(listed.split())
    question = "PGPASSFILE=/etc/dcache/pgpass psql -h 127.0.0.1 -U dcache -At -c 'SELECT 1' chimera"
    assert bed.on("desy-storage", question) == "1"
    assert bed.on("desy-storage", "cat /var/lib/dcache/names").split() == ["/data", "/pub"]
    assert bed.on("desy-pool", "command -v psql") == ""


def test_its_topic_is_there_before_it_starts(bed: ReleaseBed) -> None:
    began = 'date -d "$(systemctl show -P ExecMainStartTimestamp xdc-dcache)" +%s'
    made = "stat -c %Y /var/lib/xdc-testbed/kafka-admin.json"
    assert int(bed.on("desy-stream", made)) <= int(bed.on("desy-storage", began))


def test_passwords_are_in_files_of_dcache_alone_and_on_no_command_line(bed: ReleaseBed) -> None:
    for secret in bed.secrets:
        holding = bed.on("desy-storage", f"grep -rlF -e '{secret}' /etc/dcache /etc/systemd /usr/local/sbin").split()
        assert holding
        modes = {bed.on("desy-storage", f"stat -c '%U %a' {path}") for path in holding}
        assert modes <= {"dcache 400", "dcache 600"}
        words = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
        assert secret not in bed.on("desy-storage", words)


def test_a_second_run_changes_nothing_and_a_dry_run_says_so(bed: ReleaseBed) -> None:
    assert set(bed.run("site").changed.values()) == {0}
    assert bed.run("site", check=True).diffs == []


def test_removal_takes_everything_away_and_may_be_repeated(bed: ReleaseBed) -> None:
    bed.run("remove")
    for node in ("desy-storage", "desy-pool"):
        gone = "/opt/dcache-11.2.5 /etc/dcache /var/lib/dcache /var/log/dcache /srv/dcache /usr/local/bin/dcache"
        assert bed.on(node, f"ls -d {gone} /usr/local/sbin/xdc-dcache-domain 2>/dev/null") == ""
        assert bed.on(node, "systemctl list-unit-files --no-legend 'xdc-*'; getent passwd dcache") == ""
    listed = bed.on("desy-storage", "runuser -u postgres -- psql -At -c 'SELECT datname FROM pg_database'")
    assert not {"chimera", "pinmanager", "qos", "bulk"} & set(listed.split())
    assert [entry for entry in bed.run("remove").diffs if "Names of the nodes" not in entry[2]] == []
