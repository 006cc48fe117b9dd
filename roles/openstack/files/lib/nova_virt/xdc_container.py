"""nova driver whose instances are containers that boot systemd, as the kit's own nodes are.

An instance is a systemd-nspawn unit on a layer over one root file system, in a network namespace of its own with the
address and MAC of its port; cloud-init finds its data as on a configuration drive. What makes and removes it is in
xdc_instances; here it is put into nova's words. Everything else is the fake driver's: claims, migration.

Of an image a container takes nothing but the name of a root of the kit. An image without one is refused, and so are
volumes.
"""

import contextlib
from typing import ClassVar

import eventlet
import xdc_instances
import xdc_security
from nova import context as nova_context
from nova import exception
from nova.api.metadata import base as metadata
from nova.compute import power_state, vm_states
from nova.network import neutron
from nova.virt import driver, fake, hardware
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

# An image with this property stands for what the kit has made of that name; its data is not looked at.
PROPERTY = "xdc_testbed_root"


class Containers(fake.FakeDriver):
    """Instances that can be logged in to."""

    capabilities: ClassVar = {
        **fake.FakeDriver.capabilities,
        "supports_evacuate": False,
        "supports_attach_interface": False,
        "supports_tagged_attach_interface": False,
        "supports_tagged_attach_volume": False,
        "supports_multiattach": False,
        "supports_trusted_certs": False,
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
        source = self._source(context, instance, image_meta, more.get("block_device_info"))
        super().spawn(context, instance, image_meta, injected_files, admin_password, allocations, **more)
        _addresses_are_told(network_info)
        drive = metadata.InstanceMetadata(instance, content=injected_files, network_info=network_info)
        self._make(instance, source, dict(drive.metadata_for_config_drive()), [_port(vif) for vif in network_info])
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
        """What it has said, as bytes: nova takes text for Latin-1, and fails with any other."""
        return xdc_instances.console(instance.uuid)

    def snapshot(self, context, instance, image_id, update_task_state):
        """Refused; nova takes the empty image away again."""
        raise NotImplementedError("no image can be made of an instance here")

    def get_device_name_for_instance(self, instance, bdms, block_device_obj):
        """Refuse a volume while its user still listens; one that a server shall be made with is refused by spawn."""
        if instance.vm_state != vm_states.BUILDING:
            raise exception.InvalidVolume(reason=_NO_VOLUMES)
        raise NotImplementedError

    def _source(self, context, instance, image_meta, block_device_info):
        """What it is made from: a root of the kit."""
        if driver.block_device_info_get_mapping(block_device_info):
            raise exception.InvalidInput(reason=_NO_VOLUMES)
        if (name := kit_root(instance)) is None:
            why = f"it has no property {PROPERTY}, and containers boot no other; machines do (openstack_compute: qemu)"
            raise exception.ImageUnacceptable(image_id=instance.image_ref, reason=why)
        with kit_is_asked(instance):
            return xdc_instances.of_kit(xdc_instances.ROOTS, name)

    def _make(self, instance, source, drive, ports):
        # The network is there already, and cloud-init takes no veth for the card that it looks for by its MAC.
        files = {name: data for name, data in drive.items() if "network_data" not in name}
        xdc_instances.make(instance.uuid, source, files, ports)

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

_NO_VOLUMES = "containers have no volumes; machines do (openstack_compute: qemu)"


def kit_root(instance):
    """Which root of the kit the image of an instance stands for; None when it is what was uploaded."""
    return instance.system_metadata.get(f"image_{PROPERTY}")


@contextlib.contextmanager
def kit_is_asked(instance):
    """What the kit does not have is the image's fault: nova tells its user so, and tries no other host."""
    try:
        yield
    except RuntimeError as error:
        raise exception.ImageUnacceptable(image_id=instance.image_ref, reason=str(error)) from error


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
