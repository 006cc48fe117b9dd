"""Where each service comes from: `<group>_source` of a node, and what it names outside of the testbed.

package, url: a release of the product, by a file of this machine or by URL, with its checksum. external: a service that
exists; the kit uses it, and leaves it as it was found. Which variables say so is in the roles' argument specs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xdc_testbed.endpoints import Kind
from xdc_testbed.errors import RequirementMissing, WrongUsage
from xdc_testbed.testbed.variables import options

if TYPE_CHECKING:
    from xdc_testbed.testbed.description import Description, Group

Source = Literal["package", "url", "emulator", "external"]

RELEASES = ("package", "url")
DCACHE_SERVICES = ("core", "door", "frontend", "pool")
"""What a node of a dCache can have: the central services, a WebDAV door, a frontend, a pool."""

_CHOOSING = ("dcache", "openwhisk")
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
_ENDINGS = {"dcache": (".deb", ".tar.gz"), "openwhisk": (".jar",)}
_FILES = {
    "dcache_external": ("ca_file", "client_secret_file"),
    "openwhisk_external": ("ca_file", "auth_file"),
}
_CREDENTIAL = ("issuer", "client_id", "client_secret_file")


@dataclass(frozen=True)
class Chosen:
    """What a description says of one group on one node. values: its variables, those of the node first."""

    node: str
    group: str
    source: Source
    values: Mapping[str, Any]

    @property
    def external(self) -> Mapping[str, Any]:
        """What is said of the existing service; empty unless there is one."""
        return self.values.get(f"{self.group}_external", {}) if self.source == "external" else {}

    @property
    def services(self) -> tuple[str, ...]:
        """Of a dCache release: what this node has of it."""
        return tuple(self.values.get("dcache_services", DCACHE_SERVICES))

    @property
    def files(self) -> list[tuple[str, Path]]:
        """Files of this machine that are needed, with the keys that name them."""
        found = [
            (f"{table}.{key}", Path(self.external[key]))
            for table, keys in _FILES.items()
            for key in keys
            if table == f"{self.group}_external" and key in self.external
        ]
        if self.source == "package":
            found += [(key, Path(self.values[key])) for key in _archives(self) if key in self.values]
        return found


def of_node(description: Description, node: str) -> dict[str, Chosen]:
    """What is chosen on a node, for each of its groups that has a choice."""
    described = description.nodes.get(node)
    values = {**description.vars, **(described.vars if described else {})}
    known = options()
    return {
        group: Chosen(node, group, values.get(f"{group}_source", known[f"{group}_source"]["default"]), values)
        for group in (described.groups if described else ())
        if group in _CHOOSING
    }


def all_of(description: Description) -> Iterator[Chosen]:
    """Every choice, node by node."""
    for node in description.nodes:
        yield from of_node(description, node).values()


def kind(group: Group, chosen: Chosen | None) -> Kind:
    """Whether a service is real, emulated, or was there before."""
    if chosen is None:
        return group.kind or "real"
    return "external" if chosen.source == "external" else "emulator" if chosen.source == "emulator" else "real"


def units(
    described: Mapping[str, Group], groups: Sequence[str], chosen: Mapping[str, Chosen], *, broker: bool
) -> list[str]:
    """systemd units of a node: of its services, and where there is a broker of the sources of storage events."""
    found: list[str] = []
    for group in groups:
        choice = chosen.get(group)
        external = choice is not None and choice.source == "external"
        if not external:
            found += described[group].units
        if not broker or (choice is not None and choice.source in RELEASES and "door" not in choice.services):
            continue
        told = not external or bool(choice and choice.values.get("dcache_kafka"))
        found += [unit for unit in described[group].sources if told or unit != "event-source"]
    return found


def authorities(description: Description) -> list[Path]:
    """Certificates of authorities that the testbed trusts beside its own: those of external services."""
    return list(
        dict.fromkeys(path for one in all_of(description) for key, path in one.files if key.endswith("ca_file"))
    )


def secrets(description: Description) -> dict[str, Any]:
    """Secrets of external services, read from the files that the description names: over those of the testbed.

    external: by node, the client of the issuer that its storage trusts; openwhisk_auth: of the external OpenWhisk.
    """
    found: dict[str, Any] = {"external": {}}
    for one in all_of(description):
        if "auth_file" in one.external:
            found["openwhisk_auth"] = _read(one, "auth_file")
        if "client_secret_file" in one.external:
            found["external"][one.node] = {
                "issuer": one.external["issuer"],
                "client_id": one.external["client_id"],
                "client_secret": _read(one, "client_secret_file"),
            }
    return found


def require_files(description: Description) -> None:
    """Raise RequirementMissing for the first file of this machine that the description names and that is not there."""
    for one in all_of(description):
        for key, path in one.files:
            if not path.is_file():
                raise RequirementMissing(
                    f"{key} of node {one.node}: there is no file {path}", remedy="name the file by its absolute path"
                )


def check(description: Description) -> None:
    """Hold the choices to what they need. Raises WrongUsage with one line that names the key."""
    for one in all_of(description):
        if one.source in RELEASES:
            _check_release(one)
        if one.source == "external":
            _check_external(one)
    for site, members in dcache_sites(description).items():
        _check_site(site, members)


def dcache_sites(description: Description) -> dict[str, list[Chosen]]:
    """The nodes of each dCache that is installed from a release: those of one site are one dCache."""
    sites: dict[str, list[Chosen]] = {}
    for one in all_of(description):
        if one.group == "dcache" and one.source in RELEASES:
            sites.setdefault(description.nodes[one.node].site, []).append(one)
    return sites


def _check_release(one: Chosen) -> None:
    where = f"nodes.{one.node}.vars"
    for key in _archives(one):
        for wanted in (key, f"{key}_checksum"):
            if wanted not in one.values:
                raise WrongUsage(
                    f"missing key '{where}.{wanted}', which {one.group}_source = \"{one.source}\" needs",
                    remedy="see docs/howto/existing-systems.md",
                )
        place, checksum = str(one.values[key]), str(one.values[f"{key}_checksum"])
        if not _CHECKSUM.fullmatch(checksum):
            raise WrongUsage(f"{where}.{key}_checksum: '{checksum}' is not sha256:<64 hexadecimal digits>")
        if one.source == "url" and not re.match(r"https?://", place):
            raise WrongUsage(f"{where}.{key}: '{place}' is no URL", remedy='a file of this machine is source "package"')
        if one.source == "package" and not place.startswith("/"):
            raise WrongUsage(f"{where}.{key}: '{place}' is not an absolute path", remedy='a URL is source "url"')
        endings = _ENDINGS[one.group] if key.endswith("_archive") and "hsqldb" not in key else (".tar.gz",)
        if not place.endswith(endings):
            raise WrongUsage(f"{where}.{key}: '{place}' ends in none of {', '.join(endings)}")


def _archives(one: Chosen) -> list[str]:
    embedded = one.group == "dcache" and one.values.get("dcache_database") == "embedded"
    return [f"{one.group}_archive", *(["dcache_hsqldb_archive"] if embedded else [])]


def _check_external(one: Chosen) -> None:
    where = f"nodes.{one.node}.vars.{one.group}_external"
    if not one.external:
        raise WrongUsage(
            f"missing key '{where}', which {one.group}_source = \"external\" needs",
            remedy="see docs/howto/existing-systems.md",
        )
    for key in ("url", "webdav", "frontend"):
        if key in one.external and not str(one.external[key]).startswith("https://"):
            raise WrongUsage(f"{where}.{key}: '{one.external[key]}' does not begin with https://")
    for key, path in one.files:
        if not path.is_absolute():
            raise WrongUsage(f"nodes.{one.node}.vars.{key}: '{path}' is not an absolute path")
    given = [key for key in _CREDENTIAL if key in one.external]
    if one.group == "dcache" and given and len(given) < len(_CREDENTIAL):
        lost = next(key for key in _CREDENTIAL if key not in one.external)
        raise WrongUsage(f"missing key '{where}.{lost}': a credential has {', '.join(_CREDENTIAL)}")


def _check_site(site: str, members: Sequence[Chosen]) -> None:
    for service in DCACHE_SERVICES:
        having = [one.node for one in members if service in one.services]
        if not having:
            raise WrongUsage(
                f"the dCache of site {site} has no {service}: no node of it has that in dcache_services",
                remedy=f"nodes: {', '.join(one.node for one in members)}",
            )
        if service == "core" and len(having) > 1:
            raise WrongUsage(
                f"the dCache of site {site} has {len(having)} cores: {', '.join(having)}",
                remedy="give dcache_services to each node, core to one of them",
            )
    if len(members) > 1 and any(one.values.get("dcache_database") == "embedded" for one in members):
        raise WrongUsage(
            f"the dCache of site {site} has {len(members)} nodes, which an embedded database does not serve",
            remedy='set dcache_database = "postgresql"',
        )


def _read(one: Chosen, key: str) -> str:
    try:
        return Path(one.external[key]).read_text().strip()
    except OSError as error:
        raise RequirementMissing(f"{one.group}_external.{key} of node {one.node}: {error}") from error
