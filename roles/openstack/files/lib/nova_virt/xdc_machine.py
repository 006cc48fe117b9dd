"""nova driver whose instances are virtual machines, each a process of QEMU; all but that is as with containers."""

import xdc_machines
from nova.virt import xdc_container


class Machines(xdc_container.Containers):
    """Instances with a kernel of their own."""

    def _make(self, instance, distro, drive, ports):
        xdc_machines.make(instance.uuid, distro, drive, ports, disk_gib=instance.flavor.root_gb)

    def _connect(self, instance):
        xdc_machines.connect(instance.uuid)

    def _start(self, instance):
        xdc_machines.start(instance.uuid, memory_mib=instance.flavor.memory_mb, processors=instance.flavor.vcpus)

    def _stop(self, instance, *, kindly):
        xdc_machines.stop(instance.uuid, kindly=kindly)
