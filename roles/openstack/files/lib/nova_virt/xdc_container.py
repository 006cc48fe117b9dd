"""nova driver whose instances are containers that boot systemd, as the kit's own nodes are.

An instance is a systemd-nspawn unit on a layer over one root file system, in a network namespace of its own with the
address and MAC of its port; cloud-init finds its data as on a configuration drive. What makes and removes it is in
xdc_instances; here it is put into nova's words. Everything else is the fake driver's: claims, volumes, migration.
"""

from typing import ClassVar

import eventlet
import xdc_instances
import xdc_security
from nova import context as nova_context
from nova import exception
from nova.api.metadata import base as metadata
from nova.compute import power_state
from nova.network import neutron
from nova.virt import fake, hardware
from oslo_log import log as logging

LOG = logging.getLogger(__name__)


class Containers(fake.FakeDriver):
    """Instances that can be logged in to."""

    capabilities: ClassVar = {
        **fake.FakeDriver.capabilities,
        "supports_evacuate": False,
        "supports_attach_interface": False,
        "supports_tagged_attach_interface": False,
    }

    vcpus = 64
    memory_mb = 65536
    local_gb = 1000

    def init_host(self, host):
        """Know the instances that are there, and follow neutron from now on."""
        super().init_host(host)
        for uuid in xdc_instances.known():
            self.instances[uuid] = fake.FakeInstance(uuid, self._state(uuid), uuid)
        eventlet.spawn(self._follow)

    def spawn(self, context, instance, image_meta, injected_files, admin_password, allocations, **more):
        """Make it, and start it when its ports have their rules."""
        network_info = more.get("network_info") or []
        super().spawn(context, instance, image_meta, injected_files, admin_password, allocations, **more)
        _addresses_are_told(network_info)
        drive = metadata.InstanceMetadata(instance, content=injected_files, network_info=network_info)
        distro = instance.image_meta.properties.get("os_distro", "")
        self._make(instance, distro, dict(drive.metadata_for_config_drive()), [_port(vif) for vif in network_info])
        self._connect(instance)
        _filter_ports(_neutron())
        self._start(instance)

    def destroy(self, context, instance, network_info, block_device_info=None, **more):
        """Stop it and take away all that was made for it."""
        xdc_instances.remove(instance.uuid)
        super().destroy(context, instance, network_info, block_device_info, **more)

    def reboot(self, context, instance, network_info, reboot_type, **more):
        """Stop and start."""
        self._stop(instance, kindly=reboot_type.lower() != "hard")
        self._start(instance)

    def power_off(self, instance, timeout=0, retry_interval=0):
        """Stop."""
        super().power_off(instance, timeout, retry_interval)
        self._stop(instance, kindly=timeout != 0)

    def power_on(self, context, instance, network_info, block_device_info=None, accel_info=None):
        """Start."""
        super().power_on(context, instance, network_info)
        self._start(instance)

    def resume_state_on_host_boot(self, context, instance, network_info, block_device_info=None):
        """Start what ran when the node was stopped."""
        self.power_on(context, instance, network_info)

    def get_info(self, instance, use_cache=True):
        """Whether it runs, asked of systemd."""
        if instance.uuid not in self.instances:
            raise exception.InstanceNotFound(instance_id=instance.uuid)
        return hardware.InstanceInfo(state=self._state(instance.uuid))

    def get_console_output(self, context, instance):
        """What it has said."""
        return xdc_instances.console(instance.uuid)

    def _make(self, instance, distro, drive, ports):
        # The network is there already, and cloud-init takes no veth for the card that it looks for by its MAC.
        files = {name: data for name, data in drive.items() if "network_data" not in name}
        xdc_instances.make(instance.uuid, distro, files, ports)

    def _connect(self, instance):
        xdc_instances.connect(instance.uuid)

    def _start(self, instance):
        xdc_instances.start(instance.uuid, memory_mib=instance.flavor.memory_mb)

    def _stop(self, instance, *, kindly):
        xdc_instances.stop(instance.uuid, kindly=kindly)

    @staticmethod
    def _state(uuid):
        return power_state.RUNNING if xdc_instances.runs(uuid) else power_state.SHUTDOWN

    def _follow(self):
        """Ask neutron once a second: there is no agent that it could tell."""
        said = None
        while True:
            try:
                client = _neutron()
                while True:
                    _filter_ports(client)
                    _float_addresses(client)
                    said = None
                    eventlet.sleep(1)
            except Exception as error:  # the loop must outlive whatever neutron or a rule says
                if str(error) != said:
                    LOG.warning("security groups and floating addresses are not followed: %s", error)
                said = str(error)
                eventlet.sleep(2)


def _neutron():
    return neutron.get_client(nova_context.get_admin_context(), admin=True)


def _filter_ports(client):
    """Ports let pass what the rules of their security groups say now."""
    ports = client.list_ports(fields=_OF_PORTS)["ports"]
    rules = client.list_security_group_rules()["security_group_rules"]
    named = any(rule.get("remote_address_group_id") for rule in rules)
    groups = client.list_address_groups()["address_groups"] if named else []
    xdc_instances.filter_ports(xdc_security.filters(ports, rules, groups))


def _float_addresses(client):
    """Floating addresses lead where neutron says now."""
    found = client.list_floatingips(fields=["floating_ip_address", "port_id"])["floatingips"]
    xdc_instances.float_addresses({f["floating_ip_address"]: f["port_id"] for f in found if f["port_id"]})


_OF_PORTS = ["id", "mac_address", "fixed_ips", "allowed_address_pairs", "port_security_enabled", "security_groups"]


def _addresses_are_told(network_info):
    """The drive shall say the addresses: where a subnet has DHCP it would name that, and nobody answers it."""
    for vif in network_info:
        for subnet in vif["network"]["subnets"]:
            subnet["meta"].pop("dhcp_server", None)


def _port(vif):
    """A port as xdc_instances wants it."""
    subnets = [subnet for subnet in vif["network"]["subnets"] if subnet["ips"]]
    return {
        "id": vif["id"],
        "network": vif["network"]["id"],
        "mac": vif["address"],
        "mtu": vif["network"].get_meta("mtu") or 1500,
        "addresses": [f"{ip['address']}/{subnet['cidr'].split('/')[1]}" for subnet in subnets for ip in subnet["ips"]],
        "gateways": [
            f"{subnet['gateway']['address']}/{subnet['cidr'].split('/')[1]}"
            for subnet in subnets
            if subnet["gateway"] and subnet["gateway"]["address"]
        ],
    }
