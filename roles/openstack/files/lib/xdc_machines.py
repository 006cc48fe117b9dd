"""Virtual machines as instances, each one process of QEMU on the networks of xdc_instances.

    machine ── tap ── bridge ── veth ── the network, as with a container

The kernel is given to QEMU beside a disk without partitions: no boot loader is waited for. Runs as root; knows nothing
of nova.
"""

import contextlib
import json
import os
import socket
import stat
import tempfile
import time
from pathlib import Path

import xdc_instances as instances

DISKS = Path("/var/lib/xdc-openstack/disks")
_TUN = Path("/dev/net/tun")
_SHUTDOWN = 60.0


def make(uuid, distro, files, ports, *, disk_gib):
    """The folder of a machine: a layer over the disk of its distribution, its configuration drive and its ports.

    distro, files, ports: as in xdc_instances.make; disk_gib: GiB, 0 for the size that the disk has.
    """
    base = instances.of_distro(DISKS, distro)
    folder = instances.FOLDER / uuid
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with tempfile.TemporaryDirectory() as drive:
        for name, data in files.items():
            instances.write(Path(drive), name, data)
        instances.do("mke2fs", "-q", "-F", "-L", "config-2", "-d", drive, folder / "drive", "16M")
    size = [f"{disk_gib}G"] if disk_gib else []
    instances.do("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base / "disk", folder / "disk", *size)
    (folder / "base").symlink_to(base)
    (folder / "ports.json").write_text(json.dumps(ports))


def start(uuid, *, memory_mib, processors):
    """Boot a machine; nothing happens when it runs. memory_mib: MiB."""
    if instances.runs(uuid):
        return
    connect(uuid)
    folder, cards = instances.FOLDER / uuid, []
    processor, words = _processor()
    for index, port in enumerate(instances.ports_of(uuid)):
        cards += ["-netdev", f"tap,id=n{index},ifname=tap{index},script=no,downscript=no"]
        cards += ["-device", f"virtio-net-pci,netdev=n{index},mac={port['mac']},host_mtu={port['mtu']},romfile="]
    instances.run(
        uuid,
        *("-p", f"NetworkNamespacePath={instances.namespace(uuid)}", "qemu-system-x86_64", *processor),
        *("-name", f"i-{uuid[:8]}", "-machine", "pc", "-smp", processors, "-m", memory_mib),
        *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"),
        *("-monitor", f"unix:{_monitor(uuid)},server=on,wait=off"),
        *("-kernel", folder / "base/vmlinuz", "-initrd", folder / "base/initrd"),
        *("-append", f"root=/dev/vda rw rootfstype=ext4 fsck.mode=skip console=ttyS0 net.ifnames=0 {words}"),
        *("-drive", f"file={folder}/disk,if=virtio,cache=unsafe"),
        *("-drive", f"file={folder}/drive,if=virtio,format=raw,readonly=on"),
        *("-device", "virtio-rng-pci", *cards),
    )


def connect(uuid):
    """Lead its networks to a machine, as in xdc_instances.connect."""
    for index, port in enumerate(instances.ports_of(uuid)):
        if instances.plug(uuid, index, port):
            _tap(uuid, index, port)


def stop(uuid, *, kindly):
    """Press the machine's button and give it a minute, or end it at once; nothing happens when it does not run."""
    if kindly and instances.runs(uuid):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as monitor:  # it may be ending already
            monitor.settimeout(10)
            monitor.connect(str(_monitor(uuid)))
            monitor.recv(4096)  # its greeting: what comes before that is lost
            monitor.sendall(b"system_powerdown\n")
            until = time.monotonic() + _SHUTDOWN
            while instances.runs(uuid) and time.monotonic() < until:
                time.sleep(0.5)
    instances.stop(uuid, kindly=False)


def _processor():
    """What runs a machine's instructions: options of QEMU, and words for the kernel.

    A /dev/kvm alone says little: only the drivers of Intel's and AMD's virtualisation run a kernel as it comes.
    """
    if os.access("/dev/kvm", os.W_OK) and any(Path("/sys/module", name).is_dir() for name in ("kvm_intel", "kvm_amd")):
        return ("-accel", "kvm", "-cpu", "host"), ""
    # 96 MiB of translated code, not 1 GiB; a processor that today's packages run on. Nothing is executed speculatively,
    # and what guards against that would have the translations looked up anew at each call of the kernel.
    return ("-accel", "tcg,thread=multi,tb-size=96", "-cpu", "Nehalem"), "mitigations=off"


def _tap(uuid, index, port):
    """A tap beside the interface that the network was led to."""
    if not _TUN.exists():  # a node that is a container may use it, and has to make it
        _TUN.parent.mkdir(exist_ok=True)
        os.mknod(_TUN, stat.S_IFCHR | 0o600, os.makedev(10, 200))
    inside = ("ip", "-n", instances.namespace(uuid).name)
    bridge, tap = f"bridge{index}", f"tap{index}"
    instances.do(*inside, "link", "add", bridge, "type", "bridge")
    instances.do(*inside, "tuntap", "add", tap, "mode", "tap")
    for member in (f"eth{index}", tap):
        instances.do(*inside, "link", "set", member, "mtu", port["mtu"], "master", bridge, "up")
    instances.do(*inside, "link", "set", bridge, "up")


def _monitor(uuid):
    return instances.FOLDER / uuid / "monitor"
