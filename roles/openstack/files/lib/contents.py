"""Make the cloud hold what is described, and say what was changed.

contents.py CLOUD: read the description from standard input as JSON, print {"changed": [...]}. CLOUD is an
administrator's in /etc/openstack/clouds.yaml. Every service is waited for until it answers.
"""

import json
import os
import sys
import time

import openstack
from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException

_DEADLINE = 300.0


def main():
    """Make it so."""
    wanted = json.load(sys.stdin)
    contents = Contents(openstack.connect(cloud=sys.argv[1]), wanted["region"])
    for what in ("services", "users", "flavors", "images", "networks", "quotas", "compute", "volume"):
        if what in wanted:
            getattr(contents, what)(wanted[what])
    print(json.dumps({"changed": contents.changed}))


def answer(question, what):
    """Ask until there is an answer that is not empty. Exits with the last problem at the deadline."""
    until = time.monotonic() + _DEADLINE
    while True:
        try:
            if found := question():
                return found
            problem = "nothing found"
        except (SDKException, ClientException) as error:
            problem = f"{type(error).__name__}: {error}"
        if time.monotonic() > until:
            sys.exit(f"{what}: no answer within {_DEADLINE:.0f} s: {problem}")
        time.sleep(0.5)


class Contents:
    """What a cloud holds. changed: what was made or altered."""

    def __init__(self, cloud, region):
        self.cloud, self.region, self.changed = cloud, region, []

    def services(self, wanted):
        """Services with their public and internal endpoints: [{name, type, public, internal}]."""
        identity = self.cloud.identity
        there = {one.type: one for one in answer(lambda: list(identity.services()), "identity")}
        endpoints = {(one.service_id, one.interface): one for one in identity.endpoints()}
        for one in wanted:
            service = there.get(one["type"])
            if service is None:
                service = identity.create_service(name=one["name"], type=one["type"])
                self.changed.append(f"service {one['name']}")
            for interface in ("public", "internal"):
                endpoint = endpoints.get((service.id, interface))
                if endpoint is None:
                    identity.create_endpoint(
                        service_id=service.id, interface=interface, url=one[interface], region_id=self.region
                    )
                elif endpoint.url != one[interface]:
                    identity.update_endpoint(endpoint, url=one[interface])
                else:
                    continue
                self.changed.append(f"{interface} endpoint of {one['name']}")

    def users(self, wanted):
        """Users, each in a project with roles: [{name, password, project, roles}]."""
        identity = self.cloud.identity
        projects = {one.name: one for one in answer(lambda: list(identity.projects()), "identity")}
        users = {one.name: one for one in identity.users()}
        roles = {one.name: one for one in identity.roles()}
        held = {
            (one.user["id"], one.scope["project"]["id"], one.role["id"])
            for one in identity.role_assignments()
            if one.user and "project" in (one.scope or {})
        }
        for one in wanted:
            name = one["project"]
            if name not in projects:
                projects[name] = identity.create_project(name=name, domain_id="default")
                self.changed.append(f"project {name}")
            if (user := users.get(one["name"])) is None:
                user = identity.create_user(
                    name=one["name"],
                    password=one["password"],
                    domain_id="default",
                    default_project_id=projects[name].id,
                )
                self.changed.append(f"user {one['name']}")
            for role in one["roles"]:
                if role not in roles:
                    roles[role] = identity.create_role(name=role)
                if (user.id, projects[name].id, roles[role].id) not in held:
                    identity.assign_project_role_to_user(projects[name], user, roles[role])
                    self.changed.append(f"role {role} of {one['name']}")

    def flavors(self, wanted):
        """Flavors: [{name, vcpus, ram, disk}]."""
        # An empty list is an answer, too: wrapped.
        (there,) = answer(lambda: [{one.name for one in self.cloud.compute.flavors()}], "compute")
        for one in wanted:
            if one["name"] not in there:
                self.cloud.compute.create_flavor(**one)
                self.changed.append(f"flavor {one['name']}")

    def images(self, wanted):
        """Public images from files: [{name, file, format, properties}]; without a file, 64 KiB of nothing."""
        (there,) = answer(lambda: [{one.name for one in self.cloud.image.images()}], "image")
        for one in wanted:
            if one["name"] in there:
                continue
            content = {"filename": one["file"]} if one.get("file") else {"data": bytes(65536)}
            self.cloud.image.create_image(
                name=one["name"],
                disk_format=one["format"],
                container_format="bare",
                visibility="public",
                allow_duplicates=True,
                **content,
                **one.get("properties", {}),
            )
            answer(
                lambda name=one["name"]: [i for i in self.cloud.image.images(name=name) if i.status == "active"],
                f"image {one['name']}",
            )
            self.changed.append(f"image {one['name']}")

    def networks(self, wanted):
        """External networks on the physical network `provider`: [{name, cidr, gateway, first, last}]."""
        network = self.cloud.network
        (there,) = answer(lambda: [{one.name: one for one in network.networks()}], "network")
        for one in wanted:
            made = there.get(one["name"])
            if made is None:
                made = network.create_network(
                    name=one["name"],
                    is_router_external=True,
                    provider_network_type="flat",
                    provider_physical_network="provider",
                )
                self.changed.append(f"network {one['name']}")
            if not made.subnet_ids:
                network.create_subnet(
                    name=one["name"],
                    network_id=made.id,
                    ip_version=4,
                    cidr=one["cidr"],
                    gateway_ip=one["gateway"],
                    is_dhcp_enabled=False,
                    allocation_pools=[{"start": one["first"], "end": one["last"]}],
                )
                self.changed.append(f"subnet of {one['name']}")

    def quotas(self, wanted):
        """Limits that are still those of a new project are raised: [{project, of_a_new_one, compute, volume}]."""
        for one in wanted:
            project = self.cloud.identity.find_project(one["project"], ignore_missing=False).id
            for kind, service in (("compute", self.cloud.compute), ("volume", self.cloud.block_storage)):
                path = f"/os-quota-sets/{project}"
                current = answer(lambda service=service, path=path: service.get(path).json().get("quota_set"), kind)
                # A limit that is no longer that of a new project was set by somebody: it stays.
                raised = {key: value for key, value in one[kind].items() if current[key] == one["of_a_new_one"][key]}
                if raised:
                    done = service.put(path, json={"quota_set": raised})
                    if done.status_code != 200:
                        sys.exit(f"quota of {kind}: {done.status_code} {done.text[:300]}")
                    self.changed.append(f"quota of {kind}")

    def compute(self, hosts):
        """Wait until these hosts take instances."""
        for host in hosts:
            answer(
                lambda host=host: [one for one in self.cloud.compute.hypervisors(details=True) if one.name == host],
                f"compute host {host}",
            )

    def volume(self, hosts):
        """Wait until the scheduler has heard of these back ends, which tell it now and then what they have room for."""
        for host in hosts:
            answer(
                lambda host=host: [one for one in self._pools() if one["name"].startswith(f"{host}#")],
                f"volume back end {host}",
            )

    def _pools(self):
        return self.cloud.block_storage.get("/scheduler-stats/get_pools").json().get("pools", [])


if __name__ == "__main__":
    os.environ.setdefault("OS_CLIENT_CONFIG_FILE", "/etc/openstack/clouds.yaml")
    main()
