"""Virtual machines as instances, each one process of QEMU on the networks of xdc_instances.

    machine ── tap ── bridge ── veth ── the network, as with a container

The kit's own kernel is given to QEMU beside a disk without partitions: no boot loader is waited for. Any other disk is
booted by the firmware, unless it comes with a kernel, too. Runs as root; knows nothing of nova.
"""

import contextlib
import json
import os
import socket
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import xdc_instances as instances

DISKS = Path("/var/lib/xdc-openstack/disks")
_TUN = Path("/dev/net/tun")
_SHUTDOWN = 60.0
_DETACH = 60.0


@dataclass(frozen=True)
class Boot:
    """What a machine starts from.

    disk: what its own disk is a layer over, None when it boots a volume; form: raw or qcow2;
    kernel, initrd, words: what QEMU starts beside the disk; without a kernel the firmware boots what is on it.
    """

    disk: Path | None
    form: str = "raw"
    kernel: Path | None = None
    initrd: Path | None = None
    words: str = ""


def of_kit(name):
    """The kit's own disk of this name, with its kernel. Raises RuntimeError when it is not there."""
    base = instances.of_kit(DISKS, name)
    words = f"root=/dev/vda rw rootfstype=ext4 fsck.mode=skip console=ttyS0 net.ifnames=0 {_processor()[1]}"
    return Boot(base / "disk", "raw", base / "vmlinuz", base / "initrd", words)


def size(boot):
    """Bytes that a machine sees of the disk that its own is a layer over."""
    said = instances.do("qemu-img", "info", "--output=json", "-f", boot.form, boot.disk)
    return json.loads(said.stdout)["virtual-size"]


def make(uuid, boot, files, ports, volumes, *, disk_gib):
    """The folder of a machine: its disk, its configuration drive, its ports, and what it starts from.

    files, ports: as in xdc_instances.make; volumes: [{id, path, boot}], one of them with boot where there is no disk;
    disk_gib: GiB, 0 for the size that the disk has.
    """
    folder = instances.FOLDER / uuid
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with tempfile.TemporaryDirectory() as drive:
        for name, data in files.items():
            instances.write(Path(drive), name, data)
        instances.do("mke2fs", "-q", "-F", "-L", "config-2", "-d", drive, folder / "drive", "16M")
    if boot.disk:
        size = [f"{disk_gib}G"] if disk_gib else []
        layer = ("qemu-img", "create", "-q", "-f", "qcow2", "-F", boot.form, "-b", boot.disk, folder / "disk")
        instances.do(*layer, *size)
    start_from = {name: str(path) for name in ("disk", "kernel", "initrd") if (path := getattr(boot, name))}
    (folder / "boot.json").write_text(json.dumps({**start_from, "words": boot.words}))
    _note(uuid, volumes)
    (folder / "ports.json").write_text(json.dumps(ports))


def used():
    """Files that machines are made from."""
    boots = [json.loads(path.read_text()) for path in instances.FOLDER.glob("*/boot.json")]
    return {Path(boot[name]) for boot in boots for name in ("disk", "kernel", "initrd") if name in boot}


def start(uuid, *, memory_mib, processors):
    """Boot a machine; nothing happens when it runs. memory_mib: MiB."""
    if instances.runs(uuid):
        return
    connect(uuid)
    folder, cards = instances.FOLDER / uuid, []
    processor, _ = _processor()
    for index, port in enumerate(instances.ports_of(uuid)):
        cards += ["-netdev", f"tap,id=n{index},ifname=tap{index},script=no,downscript=no"]
        cards += ["-device", f"virtio-net-pci,netdev=n{index},mac={port['mac']},host_mtu={port['mtu']},romfile="]
    instances.run(
        uuid,
        *("-p", f"NetworkNamespacePath={instances.namespace(uuid)}", "qemu-system-x86_64", *processor),
        # Without graphics the firmware, and a boot loader by it, speak on the serial line.
        *("-name", f"i-{uuid[:8]}", "-machine", "pc,graphics=off", "-smp", processors, "-m", memory_mib),
        *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"),
        *("-qmp", f"unix:{_monitor(uuid)},server=on,wait=off"),
        *_disks(folder, json.loads((folder / "boot.json").read_text()), _volumes(uuid)),
        *("-device", "virtio-rng-pci", *cards),
    )


def _disks(folder, boot, volumes):
    """Options of QEMU: what a machine boots, its configuration drive and its volumes, in the order it finds them in."""
    words = []
    if "kernel" in boot:
        # systemd puts the value of a variable where $ is.
        words += ["-kernel", boot["kernel"], "-append", boot["words"].replace("$", "$$")]
        words += ["-initrd", boot["initrd"]] if "initrd" in boot else []
    if "disk" in boot:
        words += ["-drive", f"file={folder}/disk,if=none,id=disk,format=qcow2,cache=unsafe"]
        words += ["-device", "virtio-blk-pci,drive=disk,bootindex=1"]  # 0 is the kernel
    drive = ["-drive", f"file={folder}/drive,if=none,id=drive,format=raw,readonly=on"]
    drive += ["-device", "virtio-blk-pci,drive=drive"]
    for first in (True, False):
        for volume in volumes:
            if volume["boot"] is first:
                # Devices as JSON would be found behind all others.
                card = ",".join(f"{key}={value}" for key, value in _card(volume).items())
                words += ["-blockdev", json.dumps(_node(volume)), "-device", card]
        words += drive if first else []
    return words


def connect(uuid):
    """Lead its networks to a machine, as in xdc_instances.connect."""
    instances.isolate(uuid)
    for index, port in enumerate(instances.ports_of(uuid)):
        if instances.plug(uuid, index, port):
            _tap(uuid, index, port)


def stop(uuid, *, kindly):
    """Press the machine's button and give it a minute, or end it at once; nothing happens when it does not run."""
    if kindly and instances.runs(uuid):
        with contextlib.suppress(OSError):  # it may be ending already
            _ask(uuid, "system_powerdown")
            _wait(lambda: not instances.runs(uuid), _SHUTDOWN)
    instances.stop(uuid, kindly=False)


# -- volumes ----------------------------------------------------------------------------------------------------------


def attach(uuid, volume):
    """Give a machine a volume, at once when it runs: {id, path}."""
    if instances.runs(uuid):
        _ask(uuid, "blockdev-add", **_node(volume))
        try:
            _ask(uuid, "device_add", **_card(volume))
        except RuntimeError:
            _ask(uuid, "blockdev-del", **{"node-name": _name(volume)})
            raise
    _note(uuid, [*_volumes(uuid), {**volume, "boot": False}])


def detach(uuid, volume_id):
    """Take a volume from a machine. Raises RuntimeError when the machine keeps it."""
    volume = next((one for one in _volumes(uuid) if one["id"] == volume_id), None)
    if volume is None:
        return
    if instances.runs(uuid):
        name = _name(volume)
        if not _wait(lambda: _is_free(uuid, name), _DETACH):
            raise RuntimeError(f"the machine has not let go of the volume within {_DETACH:.0f} s")
        _ask(uuid, "blockdev-del", **{"node-name": name})
    _note(uuid, [one for one in _volumes(uuid) if one["id"] != volume_id])


def grow(uuid, volume_id, size):
    """Let a running machine see how large a volume is now. size: bytes."""
    volume = next((one for one in _volumes(uuid) if one["id"] == volume_id), None)
    if volume is not None and instances.runs(uuid):
        _ask(uuid, "block_resize", **{"node-name": _name(volume), "size": size})


def _is_free(uuid, name):
    """Whether a machine has no such device; else it is asked once more to let it go: one that boots does not listen."""
    if all(one["name"] != name for one in _ask(uuid, "qom-list", path="/machine/peripheral")):
        return True
    with contextlib.suppress(RuntimeError):  # it is asked already
        _ask(uuid, "device_del", id=name)
    return False


def _name(volume):
    """Name of a volume in QEMU, where 31 letters are the most, and what a machine finds it by: virtio-<20 letters>."""
    return f"volume-{volume['id'][:20]}"


def _node(volume):
    file = {"driver": "file", "filename": volume["path"]}
    return {"driver": "raw", "node-name": _name(volume), "discard": "unmap", "file": file}


def _card(volume):
    card = {"driver": "virtio-blk-pci", "id": _name(volume), "drive": _name(volume), "serial": volume["id"][:20]}
    return {**card, "bootindex": 1} if volume.get("boot") else card


def _volumes(uuid):
    return json.loads((instances.FOLDER / uuid / "volumes.json").read_text())


def _note(uuid, volumes):
    (instances.FOLDER / uuid / "volumes.json").write_text(json.dumps(volumes))


# -- small words ------------------------------------------------------------------------------------------------------


def _ask(uuid, command, **given):
    """One command of QEMU's machine protocol, and its answer. Raises RuntimeError with what QEMU says against it."""
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.settimeout(10)
        monitor.connect(str(_monitor(uuid)))
        with monitor.makefile("rw") as lines:
            lines.readline()  # its greeting: what comes before that is lost
            for one in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": given}):
                lines.write(json.dumps(one) + "\n")
                lines.flush()
                answer = next((said for said in map(json.loads, lines) if "event" not in said), {})
    if "error" in answer:
        raise RuntimeError(f"{command}: {answer['error']['desc']}")
    return answer.get("return")


def _wait(condition, seconds):
    """Whether this has come true in time."""
    until = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < until:
        time.sleep(0.5)
    return true


def _processor():
    """What runs a machine's instructions: options of QEMU, and words for the kernel.

    A /dev/kvm alone says little: only the drivers of Intel's and AMD's virtualisation run a kernel as it comes.
    """
    if os.access("/dev/kvm", os.W_OK) and any(Path("/sys/module", name).is_dir() for name in ("kvm_intel", "kvm_amd")):
        return ("-accel", "kvm", "-cpu", "host"), ""
    # 96 MiB of translated code, not 1 GiB; a processor that today's packages run on. Nothing is executed speculatively,
    # and what guards against that would have the translations looked up anew at each call of the kernel.
    # A thread for each processor: with one for all, three machines boot faster on two processors, but the one that has
    # the broker stands still.
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
