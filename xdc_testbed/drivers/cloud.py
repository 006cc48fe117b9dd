"""One project of an OpenStack, through openstacksdk: what there is, what may be made, and what went wrong with it.

Every call of the SDK is here, and every failure of it leaves as one line with what to do.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from xdc_testbed.drivers.ownership import Thing
from xdc_testbed.drivers.quota import Limit
from xdc_testbed.errors import RequirementMissing, XdcError


@dataclass(frozen=True)
class Flavor:
    """A size of servers. ram: MiB; disk: GB."""

    id: str
    name: str
    vcpus: int
    ram: int
    disk: int


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Turn a failure of the SDK into one line."""
    import keystoneauth1.exceptions as auth
    import openstack.exceptions as sdk

    def refused(error: Exception) -> RequirementMissing:
        return RequirementMissing(
            f"{what}: the cloud does not accept these credentials ({_line(error)})",
            remedy="see name, password and project of this entry in clouds.yaml, or whether the token has expired",
        )

    try:
        yield
    except (auth.Unauthorized, auth.MissingRequiredOptions) as error:
        raise refused(error) from None
    except (auth.EndpointNotFound, auth.catalog.CatalogException) as error:
        raise RequirementMissing(
            f"{what}: the cloud's catalogue has no such service ({_line(error)})",
            remedy="see region_name of this entry in clouds.yaml",
        ) from None
    except (auth.ConnectFailure, auth.DiscoveryFailure, auth.RetriableConnectionFailure) as error:
        raise XdcError(
            f"{what}: the cloud cannot be reached ({_line(error)})",
            remedy="see auth_url of this entry in clouds.yaml, and the network; then run the same command again",
        ) from None
    except sdk.ConfigException as error:
        remedy = "see region_name of this entry in clouds.yaml" if "region" in str(error) else "see clouds.yaml"
        raise RequirementMissing(f"{what}: {_line(error)}", remedy=f"{remedy}, or set openstack.cloud") from None
    except (sdk.SDKException, auth.ClientException) as error:
        if isinstance(error, auth.NotFound) and "token" in str(error):
            raise refused(error) from None  # so says keystone of a token that is not, or no longer, its own
        raise XdcError(f"{what}: {_line(error)}", remedy="run the same command again") from None
    except OSError as error:  # of requests: a file of authorities that is not there
        remedy = "see cacert, cert and key of this entry in clouds.yaml"
        raise RequirementMissing(f"{what}: {_line(error)}", remedy=remedy) from None


def _line(error: Exception) -> str:
    text = " ".join(str(getattr(error, "message", None) or error).split())
    return re.sub(r": HTTPS?ConnectionPool\(.*?(?=Errno|SSLError|timed out|$)", ": ", text)[:300]


class Cloud:
    """One entry of clouds.yaml."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._types = frozenset[str]()

    @cached_property
    def _sdk(self) -> Any:
        try:
            import openstack
        except ImportError:
            raise RequirementMissing(
                "openstacksdk is not installed", remedy="pip install 'xdc-testbed[openstack]'"
            ) from None
        with told(f"cloud {self.name}"):
            for source in ("keystoneauth", "openstack"):  # what they warn of comes as an error, said once
                logging.getLogger(source).addHandler(logging.NullHandler())
            connection = openstack.connect(cloud=self.name, app_name="xdc-testbed")
            connection.session.get_project_id()  # not authorize(), which hides why it was refused
            return connection

    @property
    def project(self) -> str:
        """Id of the project; asking for it is the proof that the credentials are good."""
        return str(self._sdk.current_project_id)

    def has(self, service: str) -> bool:
        """Whether the catalogue has a service such as `block-storage`."""
        with told(f"cloud {self.name}"):
            return bool(self._sdk.has_service(service))

    # -- what nodes are made of ---------------------------------------------------------------------------------------

    def image(self, wanted: str) -> str:
        """Id of an active image by name or id. Raises RequirementMissing with near names, or the ids of many."""
        with told("images"):
            images = [one for one in self._sdk.image.images() if one.status == "active"]
        return _only("image", wanted, [(one.id, one.name or "") for one in images])

    def external_network(self, wanted: str) -> tuple[str, str] | None:
        """Id and name of the network that leads out; `auto` takes the only one, or None when there is none."""
        networks = self._external_networks
        if wanted == "auto":
            if len(networks) > 1:
                names = ", ".join(sorted(name for _, name in networks))
                raise RequirementMissing(
                    f"the cloud has {len(networks)} external networks: {names}",
                    remedy="set openstack.external_network to one of them, or to none",
                )
            return networks[0] if networks else None
        if wanted == "none":
            return None
        found = _only("external network", wanted, networks)
        return found, next(name for one, name in networks if one == found)

    @cached_property
    def _external_networks(self) -> list[tuple[str, str]]:
        with told("networks"):
            return [(one.id, one.name or "") for one in self._sdk.network.networks(is_router_external=True)]

    @cached_property
    def flavors(self) -> list[Flavor]:
        """Sizes, smallest first."""
        with told("flavors"):
            found = [Flavor(f.id, f.name, f.vcpus, f.ram, f.disk) for f in self._sdk.compute.flavors()]
        return sorted(found, key=lambda flavor: (flavor.ram, flavor.vcpus, flavor.disk))

    def flavor(self, wanted: str, *, ram: int) -> Flavor:
        """A flavor by name or id; `auto` takes the smallest with that much memory (MiB)."""
        if wanted == "auto":
            enough = [flavor for flavor in self.flavors if flavor.ram >= ram]
            if not enough:
                most = self.flavors[-1].ram if self.flavors else 0
                raise RequirementMissing(
                    f"no flavor has {ram} MiB of memory, the largest has {most}",
                    remedy="lower memory of the node, or set openstack.flavor",
                )
            return enough[0]
        found = _only("flavor", wanted, [(flavor.id, flavor.name) for flavor in self.flavors])
        return next(flavor for flavor in self.flavors if flavor.id == found)

    def limits(self) -> dict[str, Limit]:
        """What the project may have and has, by the words of quota.WORDS; what a service does not tell is left out."""
        found: dict[str, Limit] = {}
        with told("quota of servers"):
            compute = self._sdk.compute.get_limits().absolute
        for word, limit, used in (
            ("instances", compute.instances, compute.instances_used),
            ("cores", compute.total_cores, compute.total_cores_used),
            ("ram", compute.total_ram, compute.total_ram_used),
            ("server_groups", compute.server_groups, compute.server_groups_used),
            ("server_group_members", compute.server_group_members, 0),
        ):
            if limit is not None:
                found[word] = Limit(int(limit), int(used or 0))
        with told("quota of networks"):
            details = self._sdk.network.get_quota(self.project, details=True)
        for word in ("networks", "subnets", "routers", "ports", "floating_ips", "security_groups"):
            found |= _detail(word, getattr(details, word, None))
        found |= _detail("security_group_rules", getattr(details, "security_group_rules", None))
        if self.has("block-storage"):
            with told("quota of volumes"):
                volumes = self._sdk.block_storage.get_limits().absolute
            found["volumes"] = Limit(int(volumes.max_total_volumes), int(volumes.total_volumes_used))
            found["gigabytes"] = Limit(int(volumes.max_total_volume_gigabytes), int(volumes.total_gigabytes_used))
        return found

    # -- what there is ------------------------------------------------------------------------------------------------

    def things(self) -> list[Thing]:
        """Everything in the project that a testbed could own."""
        with told("things of the project"):
            return [*self.servers(), *self._compute_things(), *self._network_things(), *self._volumes()]

    def servers(self) -> list[Thing]:
        """The servers of the project, and nothing else: one call where `things` makes a dozen."""
        with told("servers"):
            return [
                Thing("server", one.id, one.name, "", tuple(one.tags or ()), dict(one.metadata or {}), one.status or "")
                for one in self._sdk.compute.servers(details=True)
            ]

    def _compute_things(self) -> Iterator[Thing]:
        for one in self._sdk.compute.server_groups():
            yield Thing("server group", one.id, one.name)
        for one in self._sdk.compute.keypairs():
            yield Thing("key pair", one.name, one.name)

    def _network_things(self) -> Iterator[Thing]:
        network, project = self._sdk.network, self.project
        for kind, listed in (
            ("floating address", network.ips(project_id=project)),
            ("router", network.routers(project_id=project)),
            ("network", network.networks(project_id=project)),
            ("subnet", network.subnets(project_id=project)),
            ("security group", network.security_groups(project_id=project)),
        ):
            for one in listed:
                name = one.floating_ip_address if kind == "floating address" else one.name or ""
                yield Thing(
                    kind, one.id, name, one.description or "", tuple(one.tags or ()), status=one.get("status") or ""
                )
        for one in network.security_group_rules(project_id=project):
            yield Thing("security group rule", one.id, "", one.description or "", inside=(one.security_group_id,))
        for one in network.ports(project_id=project):
            owner = one.device_owner or ""
            if owner.startswith("network:router_interface"):
                yield Thing("router interface", one.id, one.name or "", inside=(one.device_id, one.network_id))
            elif not owner.startswith("network:"):
                yield Thing(
                    "port",
                    one.id,
                    one.name or "",
                    one.description or "",
                    tuple(one.tags or ()),
                    status=one.status or "",
                    inside=(one.network_id, one.device_id or ""),
                )

    def _volumes(self) -> Iterator[Thing]:
        if self.has("block-storage"):
            for one in self._sdk.block_storage.volumes(details=True):
                yield Thing(
                    "volume", one.id, one.name or "", one.description or "", (), dict(one.metadata or {}), one.status
                )

    def remove(self, thing: Thing) -> None:
        """Ask for the removal of one thing. Raises XdcError with the cloud's reason."""
        compute, network = self._sdk.compute, self._sdk.network
        with told(f"{thing.kind} {thing.name or thing.id}"):
            match thing.kind:
                case "server":
                    compute.delete_server(thing.id)
                case "floating address":
                    network.delete_ip(thing.id)
                case "router interface":
                    network.remove_interface_from_router(thing.inside[0], port_id=thing.id)
                case "router":
                    network.delete_router(thing.id)
                case "port":
                    network.delete_port(thing.id)
                case "subnet":
                    network.delete_subnet(thing.id)
                case "network":
                    network.delete_network(thing.id)
                case "security group rule":
                    network.delete_security_group_rule(thing.id)
                case "security group":
                    network.delete_security_group(thing.id)
                case "volume":
                    self._sdk.block_storage.delete_volume(thing.id)
                case "server group":
                    compute.delete_server_group(thing.id)
                case "key pair":
                    compute.delete_keypair(thing.id)

    # -- what went wrong ----------------------------------------------------------------------------------------------

    def fault(self, server: str) -> str | None:
        """Why a server is in ERROR, in nova's words: only the single server tells it, lists do not."""
        with told(f"server {server}"):
            found = self._sdk.compute.find_server(server, ignore_missing=True)
            if found is None:
                return None
            fault: Mapping[str, Any] | None = self._sdk.compute.get_server(found.id).fault
        return str(fault["message"]) if fault and "message" in fault else None

    def console(self, server: str) -> str:
        """The last lines of a server's console."""
        with told(f"console of server {server}"):
            return str(self._sdk.compute.get_server_console_output(server, length=300).get("output", ""))

    def state_of(self, server: str) -> str:
        """A server, its fault and its ports, in lines for a support bundle."""
        with told(f"server {server}"):
            one = self._sdk.compute.get_server(server)
            lines = [f"server {one.name} {one.status} task={one.task_state} power={one.power_state} fault={one.fault}"]
            for port in self._sdk.network.ports(device_id=server):
                fixed = ", ".join(ip["ip_address"] for ip in port.fixed_ips or [])
                lines.append(
                    f"port {port.name} {port.status} {fixed} mac={port.mac_address} host={port.binding_host_id}"
                )
                ips = self._sdk.network.ips(port_id=port.id)
                lines += [f"  floating address {ip.floating_ip_address} {ip.status}" for ip in ips]
        return "\n".join(lines) + "\n"


def _detail(word: str, said: Any) -> dict[str, Limit]:
    if not isinstance(said, Mapping) or said.get("limit") is None:
        return {}
    return {word: Limit(int(said["limit"]), int(said.get("used") or 0) + int(said.get("reserved") or 0))}


def _only(kind: str, wanted: str, there: Sequence[tuple[str, str]]) -> str:
    """The id of the one thing with this id or name."""
    found = [one for one, name in there if wanted in (one, name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise RequirementMissing(
            f"{len(found)} things of kind {kind} are called '{wanted}'",
            remedy=f"give an id: {', '.join(sorted(found))}",
        )
    names = sorted({name for _, name in there if name})
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4) or names[:5]
    raise RequirementMissing(
        f"the cloud has no {kind} '{wanted}'", remedy=f"near names: {', '.join(near)}" if near else "it has none at all"
    )
