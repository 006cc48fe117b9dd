"""Containers and machines as instances of the cloud: what is done for each, on a node that only keeps count."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from xdc_testbed import content

UUID = "11111111-2222-3333-4444-555555555555"
OTHER = "66666666-7777-8888-9999-000000000000"
LIB = content.root() / "roles" / "openstack" / "files" / "lib"


@dataclass
class Machine:
    """What the commands of the module do to a node, as far as they are asked about it afterwards."""

    units: set[str] = field(default_factory=set)
    namespaces: list[str] = field(default_factory=list)
    links: set[str] = field(default_factory=set)
    said: list[str] = field(default_factory=list)
    transit: dict[str, str] = field(default_factory=dict)
    routes: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    rules: dict[str, list[str]] = field(default_factory=dict)

    def __call__(self, *command: Any, check: bool = True, said: str | None = None) -> subprocess.CompletedProcess[str]:
        """Carry out one command."""
        words = [str(word) for word in command]
        self.said.append(" ".join(words))
        code, out = 0, ""
        match words:
            case ["systemd-run", *rest]:
                self.units.add(next(word.removeprefix("--unit=") for word in rest if word.startswith("--unit=")))
            case ["systemctl", "stop", unit]:
                self.units.discard(unit)
            case ["systemctl", "is-active", "-q", unit]:
                code = 0 if unit in self.units else 3
            case ["ip", "netns", "list"]:
                out = "\n".join(f"{name} (id: 1)" for name in self.namespaces)
            case ["ip", "netns", "add", name]:
                self.namespaces.append(name)
            case ["ip", "netns", "del", name]:
                self.namespaces = [one for one in self.namespaces if one != name]
            case ["ip", "-j", "link", "show"]:
                out = json.dumps([{"ifname": name} for name in self.links])
            case ["ip", "link", "add", name, *_]:
                self.links.add(name)
            case ["ip", "-n", net, "route", "add", "default", "via", gateway]:
                self.transit[net] = gateway
            case ["ip", "-n", net, "-j", "route", "show", "default"]:
                out = json.dumps([{"gateway": self.transit[net]}])
            case ["ip", "-n", net, "route", "replace", to, "dev", link, *rest]:
                self.routes.setdefault(net, {})[to] = {"dst": to, "dev": link, "protocol": "static" if rest else "boot"}
            case ["ip", "-n", net, "route", "del", to, "proto", "static"]:
                del self.routes[net][to]
            case ["ip", "-n", net, "-j", "route", "show"]:
                out = json.dumps(list(self.routes.get(net, {}).values()))
            case ["ip", "netns", "exec", net, "nft", "-f", "-"]:
                assert said is not None
                self.rules.setdefault(net, []).append(said)
            case ["ip", "-n", _, "link", "show", _]:
                code = 1
            case ["qemu-img", "info", *_, disk]:
                out = json.dumps({"virtual-size": Path(disk).stat().st_size})
        assert not check or code == 0, self.said[-1]
        return subprocess.CompletedProcess(words, code, out, "")

    def of(self, word: str) -> list[str]:
        """The commands that hold a word."""
        return [one for one in self.said if word in one]


def port(name: str, address: str, network: str = "lan") -> dict[str, Any]:
    """A port as the driver describes it."""
    return {
        "id": f"port-{name}-of-the-instance",
        "network": network,
        "mac": "fa:16:3e:00:00:01",
        "mtu": 1400,
        "addresses": [f"{address}/24"],
        "gateways": ["10.77.0.1/24"],
    }


@pytest.fixture
def machine() -> Machine:
    """An empty node."""
    return Machine()


@pytest.fixture
def instances(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with folders of its own and a root file system of Debian."""
    monkeypatch.setitem(sys.modules, "xdc_security", loaded("xdc_security", LIB / "xdc_security.py"))
    module = loaded("xdc_instances", LIB / "xdc_instances.py")
    (tmp_path / "roots" / "debian-12").mkdir(parents=True)
    (tmp_path / "instances").mkdir()
    for name, value in (
        ("FOLDER", tmp_path / "instances"),
        ("ROOTS", tmp_path / "roots"),
        ("FLOATING", tmp_path / "floating.json"),
        ("do", machine),
    ):
        monkeypatch.setattr(module, name, value)
    return module


def loaded(name: str, path: Path) -> ModuleType:
    """A module of the role, which no package holds."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_instance_has_its_drive_and_the_address_and_mac_of_its_port(instances: ModuleType, machine: Machine) -> None:
    root = instances.of_kit(instances.ROOTS, "debian-12")
    instances.make(UUID, root, {"openstack/latest/user_data": b"#cloud-config\n"}, [port("a", "10.77.0.10")])
    instances.start(UUID, memory_mib=512)
    seed = instances.FOLDER / UUID / "upper" / "var/lib/cloud/seed/config_drive"
    assert (seed / "openstack/latest/user_data").read_bytes() == b"#cloud-config\n"
    assert (instances.FOLDER / UUID).stat().st_mode & 0o777 == 0o700
    assert machine.of(f"ip -n i-{UUID} link set eth0 mtu 1400 up")
    assert machine.of(f"ip -n i-{UUID} link set eth0 address fa:16:3e:00:00:01")
    assert machine.of(f"ip -n i-{UUID} address replace 10.77.0.10/24 dev eth0")
    assert machine.of(f"ip -n i-{UUID} route replace default via 10.77.0.1")
    assert "MemoryMax=512M" in machine.of("systemd-run")[0]
    assert instances.known() == [UUID]
    assert instances.runs(UUID)


@pytest.mark.parametrize("name", ["windows", "../roots/debian-12", "debian-12.lock"])
def test_what_the_kit_has_not_made_is_refused_in_one_line(instances: ModuleType, name: str) -> None:
    (instances.ROOTS / "debian-12.lock").touch()
    with pytest.raises(RuntimeError, match=f"nothing of the name '{name}'"):
        instances.of_kit(instances.ROOTS, name)


def test_an_instance_that_runs_is_not_started_twice(instances: ModuleType, machine: Machine) -> None:
    instances.make(UUID, instances.ROOTS / "debian-12", {}, [port("a", "10.77.0.10")])
    instances.start(UUID, memory_mib=512)
    instances.start(UUID, memory_mib=512)
    assert len(machine.of("systemd-run")) == 1


def test_a_network_goes_with_its_last_instance(instances: ModuleType, machine: Machine) -> None:
    for uuid, name, address in ((UUID, "a", "10.77.0.10"), (OTHER, "b", "10.77.0.11")):
        instances.make(uuid, instances.ROOTS / "debian-12", {}, [port(name, address)])
        instances.start(uuid, memory_mib=512)
    instances.remove(UUID)
    assert set(machine.namespaces) == {"n-lan", f"i-{OTHER}"}
    instances.remove(OTHER)
    instances.remove(OTHER)
    assert (machine.namespaces, machine.units, instances.known()) == ([], set(), [])


def test_two_networks_may_have_the_same_addresses(instances: ModuleType, machine: Machine) -> None:
    for uuid, network in ((UUID, "one"), (OTHER, "two")):
        instances.make(uuid, instances.ROOTS / "debian-12", {}, [port(network, "10.77.0.10", network)])
        instances.start(uuid, memory_mib=512)
    assert len({machine.transit["n-one"], machine.transit["n-two"]}) == 2
    instances.float_addresses({"10.89.0.200": "port-one-of-the-instance", "10.89.0.201": "port-two-of-the-instance"})
    assert machine.of("ip netns exec n-one iptables -w -t nat -A xdc-to -d 10.89.0.200 -j DNAT --to-destination 10.77")
    assert machine.of("ip netns exec n-two iptables -w -t nat -A xdc-to -d 10.89.0.201 -j DNAT --to-destination 10.77")


def test_a_floating_address_is_written_once_and_taken_back(instances: ModuleType, machine: Machine) -> None:
    instances.make(UUID, instances.ROOTS / "debian-12", {}, [port("a", "10.77.0.10")])
    instances.start(UUID, memory_mib=512)
    wanted = {"10.89.0.200": "port-a-of-the-instance", "10.89.0.201": "port-of-nobody-here"}
    instances.float_addresses(wanted)
    count = len(machine.of("iptables"))
    instances.float_addresses(wanted)
    assert len(machine.of("iptables")) == count
    assert not machine.of("10.89.0.201")
    instances.float_addresses({})
    assert machine.of("ip neigh del proxy 10.89.0.200 dev eth0")
    assert machine.of("ip route del 10.89.0.200/32")
    assert machine.said[-1] == "ip netns exec n-lan iptables -w -t nat -F xdc-from"


def test_a_floating_address_is_written_anew_for_a_network_that_was_gone(
    instances: ModuleType, machine: Machine
) -> None:
    wanted = {"10.89.0.200": "port-a-of-the-instance"}
    for _ in range(2):  # a server that is replaced: its port and its floating address stay
        instances.make(UUID, instances.ROOTS / "debian-12", {}, [port("a", "10.77.0.10")])
        instances.start(UUID, memory_mib=512)
        instances.float_addresses(wanted)
        instances.remove(UUID)
    assert len(machine.of("-A xdc-to -d 10.89.0.200")) == 2
    assert len(machine.of("ip neigh del proxy 10.89.0.200")) == 2


def open_to(*addresses: str) -> dict[str, Any]:
    """What is said of a port whose instance may be asked anything, under these addresses."""
    return {"own": [["fa:16:3e:00:00:01", one] for one in addresses], "leaving": [], "entering": ["accept"]}


def test_a_network_is_closed_before_the_first_instance_is_led_to_it(instances: ModuleType, machine: Machine) -> None:
    instances.make(UUID, instances.ROOTS / "debian-12", {}, [port("a", "10.77.0.10")])
    instances.connect(UUID)
    loaded, plugged = "ip netns exec n-lan nft -f -", "ip -n n-lan link set pport-a-of-t up"
    assert machine.said.index(loaded) < machine.said.index(plugged)
    assert len(machine.rules["n-lan"]) == 1
    assert "accept" not in machine.rules["n-lan"][0].replace("policy accept", "")


def test_a_network_that_cannot_be_closed_is_not_made(
    instances: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_net: str, _text: str) -> None:
        raise RuntimeError("nft: no")

    monkeypatch.setattr(instances, "_load", fails)
    instances.make(UUID, instances.ROOTS / "debian-12", {}, [port("a", "10.77.0.10")])
    with pytest.raises(RuntimeError, match="nft: no"):
        instances.connect(UUID)
    assert machine.namespaces == [f"i-{UUID}"]


def test_rules_are_loaded_when_they_change_and_when_a_network_was_made_anew(
    instances: ModuleType, machine: Machine
) -> None:
    filters = {"port-a-of-the-instance": open_to("10.77.0.10"), "port-of-nobody-here": open_to("10.77.0.11")}
    for _ in range(2):
        instances.make(UUID, instances.ROOTS / "debian-12", {}, [port("a", "10.77.0.10")])
        instances.connect(UUID)
        instances.filter_ports(filters)
        instances.filter_ports(filters)
        instances.remove(UUID)
    assert ["goto pport-a-of-t-entering" in text for text in machine.rules["n-lan"]] == [False, True, False, True]


def test_the_rules_of_an_instance_go_with_it(instances: ModuleType, machine: Machine) -> None:
    for uuid, name, address in ((UUID, "a", "10.77.0.10"), (OTHER, "b", "10.77.0.11")):
        instances.make(uuid, instances.ROOTS / "debian-12", {}, [port(name, address)])
        instances.connect(uuid)
    filters = {f"port-{name}-of-the-instance": open_to(f"10.77.0.1{nth}") for nth, name in enumerate("ab")}
    instances.filter_ports(filters)
    instances.remove(UUID)
    instances.filter_ports(filters)
    assert ["pport-a-of-t-entering" in text for text in machine.rules["n-lan"]][-2:] == [True, False]


def test_rules_that_could_not_be_loaded_are_tried_again(
    instances: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_net: str, _text: str) -> None:
        raise RuntimeError("nft: no")

    instances.make(UUID, instances.ROOTS / "debian-12", {}, [port("a", "10.77.0.10")])
    instances.connect(UUID)
    filters = {"port-a-of-the-instance": open_to("10.77.0.10")}
    with monkeypatch.context() as patch:
        patch.setattr(instances, "_load", fails)
        with pytest.raises(RuntimeError, match="nft: no"):
            instances.filter_ports(filters)
    instances.filter_ports(filters)
    assert "goto pport-a-of-t-entering" in machine.rules["n-lan"][-1]


def test_an_allowed_address_leads_to_the_first_port_that_may_have_it_and_to_no_own_address(
    instances: ModuleType, machine: Machine
) -> None:
    for uuid, name, address in ((UUID, "a", "10.77.0.10"), (OTHER, "b", "10.77.0.11")):
        instances.make(uuid, instances.ROOTS / "debian-12", {}, [port(name, address)])
        instances.connect(uuid)
    both = ["10.77.0.10", "10.77.0.100", "10.9.0.0/16"]
    instances.filter_ports({f"port-{name}-of-the-instance": open_to(*both) for name in "ab"})
    leads = {to: one["dev"] for to, one in machine.routes["n-lan"].items()}
    assert leads == {
        "10.77.0.10": "pport-a-of-t",
        "10.77.0.11": "pport-b-of-t",
        "10.77.0.100/32": "pport-a-of-t",
        "10.9.0.0/16": "pport-a-of-t",
    }
    instances.filter_ports({"port-b-of-the-instance": open_to("10.77.0.11", "10.77.0.100")})
    leads = {to: one["dev"] for to, one in machine.routes["n-lan"].items()}
    assert (leads["10.77.0.100/32"], "10.9.0.0/16" in leads) == ("pport-b-of-t", False)


def test_the_console_is_that_of_all_boots_and_empty_before_the_first(instances: ModuleType) -> None:
    assert instances.console(UUID) == b""
    instances.make(UUID, instances.ROOTS / "debian-12", {}, [])
    (instances.FOLDER / UUID / "console.log").write_bytes(b"login:\xff")
    assert instances.console(UUID) == b"login:\xff"


# -- in nova's words --------------------------------------------------------------------------------------------------


class FakeDriver:
    """nova's fake driver, as far as ours builds on it."""

    capabilities: dict[str, bool] = {}  # noqa: RUF012 - as nova has it

    def __init__(self) -> None:
        self.instances: dict[str, Any] = {}

    def init_host(self, host: str) -> None:
        """Nothing."""

    def spawn(self, context: Any, instance: Any, *rest: Any, **more: Any) -> None:
        """Keep it."""
        self.instances[instance.uuid] = instance

    def destroy(self, context: Any, instance: Any, *rest: Any, **more: Any) -> None:
        """Forget it."""
        self.instances.pop(instance.uuid, None)

    def power_off(self, instance: Any, timeout: int = 0, retry_interval: int = 0) -> None:
        """Nothing."""

    def power_on(self, context: Any, instance: Any, network_info: Any, **more: Any) -> None:
        """Nothing."""


@pytest.fixture
def machines(instances: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of virtual machines, on the node of the other, with a disk of Debian."""
    monkeypatch.setitem(sys.modules, "xdc_instances", instances)
    module = loaded("xdc_machines", LIB / "xdc_machines.py")
    (tmp_path / "disks" / "debian-12").mkdir(parents=True)
    (tmp_path / "disks" / "debian-12" / "disk").write_bytes(bytes(4096))
    (tmp_path / "tun").touch()
    monkeypatch.setattr(module, "DISKS", tmp_path / "disks")
    monkeypatch.setattr(module, "_TUN", tmp_path / "tun")
    return module


def test_a_machine_has_a_layer_over_the_disk_and_a_card_with_the_mac_of_its_port(
    machines: ModuleType, instances: ModuleType, machine: Machine, tmp_path: Path
) -> None:
    boot, files = machines.of_kit("debian-12"), {"openstack/latest/user_data": b""}
    machines.make(UUID, boot, files, [port("a", "10.77.0.10")], [], disk_gib=5)
    machines.start(UUID, memory_mib=512, processors=2)
    assert machine.of("mke2fs -q -F -L config-2")
    assert machine.of(f"qemu-img create -q -f qcow2 -F raw -b {tmp_path}/disks/debian-12/disk")[0].endswith(" 5G")
    (started,) = machine.of("qemu-system-x86_64")
    assert f"NetworkNamespacePath=/run/netns/i-{UUID}" in started
    assert "-smp 2 -m 512" in started
    assert f"-kernel {tmp_path}/disks/debian-12/vmlinuz -append root=/dev/vda" in started
    assert "virtio-net-pci,netdev=n0,mac=fa:16:3e:00:00:01,host_mtu=1400" in started
    assert machine.of(f"ip -n i-{UUID} link set tap0 mtu 1400 master bridge0 up")
    assert not machine.of("address replace 10.77.0.10")
    assert (instances.known(), instances.runs(UUID)) == ([UUID], True)
    instances.remove(UUID)
    assert (instances.known(), instances.runs(UUID)) == ([], False)


def test_an_uploaded_disk_is_booted_by_the_firmware_or_by_its_own_kernel(
    machines: ModuleType, machine: Machine, tmp_path: Path
) -> None:
    disk, kernel = tmp_path / "disk", tmp_path / "kernel"
    machines.make(UUID, machines.Boot(disk, "qcow2"), {}, [], [], disk_gib=0)
    machines.make(OTHER, machines.Boot(disk, "raw", kernel, None, "root=/dev/vda one=$HOME"), {}, [], [], disk_gib=0)
    for uuid in (UUID, OTHER):
        machines.start(uuid, memory_mib=512, processors=1)
    firmware, direct = machine.of("qemu-system-x86_64")
    assert machine.of(f"qemu-img create -q -f qcow2 -F qcow2 -b {disk}")
    assert "drive=disk,bootindex=1" in firmware
    assert "-kernel" not in firmware
    assert f"-kernel {kernel} -append root=/dev/vda one=$$HOME -drive" in direct  # systemd makes one $ of it
    assert machines.used() == {disk, kernel}


VOLUME = {"id": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "path": "/volumes/a"}
ROOT = {"id": "00000000-bbbb-cccc-dddd-eeeeeeeeeeee", "path": "/volumes/root", "boot": True}
NAME = "volume-aaaaaaaa-bbbb-cccc-d"


class Monitor(socketserver.StreamRequestHandler):
    """QEMU, as far as one that asks by its machine protocol notices."""

    def handle(self) -> None:
        """One client."""
        qemu: Any = self.server
        self._say({"QMP": {}})
        for line in self.rfile:
            asked = json.loads(line)
            name, given = asked["execute"], asked.get("arguments", {})
            answer: dict[str, Any] = {"return": {}}
            match name:
                case "qom-list":
                    answer = {"return": [{"name": one} for one in [*qemu.devices, "type"]]}
                case "device_add" if qemu.refuses:
                    answer = {"error": {"class": "GenericError", "desc": "no slot is free"}}
                case "device_add":
                    qemu.devices.append(given["id"])
                case "device_del" if name not in qemu.asked:
                    pass  # a machine that boots does not listen
                case "device_del":
                    qemu.devices.remove(given["id"])
                case "system_powerdown":
                    qemu.machine.units.clear()
            self._say({"event": "SOMETHING"})
            qemu.asked.append(name)
            self._say(answer)

    def _say(self, what: Any) -> None:
        self.wfile.write(json.dumps(what).encode() + b"\n")


@pytest.fixture
def qemu(machines: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The QEMU of every machine."""
    with tempfile.TemporaryDirectory() as folder:  # the path of a socket is short
        path = Path(folder, "monitor")
        with socketserver.ThreadingUnixStreamServer(str(path), Monitor) as server:
            server.__dict__ |= {"machine": machine, "asked": [], "devices": [], "refuses": False}
            monkeypatch.setattr(machines, "_monitor", lambda _: path)
            monkeypatch.setattr(machines.time, "sleep", lambda _: None)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            yield server
            server.shutdown()


def said_to(qemu: Any) -> list[str]:
    """What QEMU was asked to do."""
    return [one for one in qemu.asked if one not in ("qmp_capabilities", "qom-list")]


def test_a_machine_is_told_to_shut_down_before_it_is_ended(machines: ModuleType, machine: Machine, qemu: Any) -> None:
    machines.make(UUID, machines.of_kit("debian-12"), {}, [], [], disk_gib=0)
    machines.start(UUID, memory_mib=512, processors=1)
    machines.stop(UUID, kindly=True)
    machines.stop(UUID, kindly=True)
    assert said_to(qemu) == ["system_powerdown"]


def test_a_volume_is_a_disk_with_the_serial_that_it_is_looked_for_by(machines: ModuleType, machine: Machine) -> None:
    machines.make(UUID, machines.of_kit("debian-12"), {}, [], [{**VOLUME, "boot": False}], disk_gib=0)
    machines.start(UUID, memory_mib=512, processors=1)
    (started,) = machine.of("qemu-system-x86_64")
    assert '"filename": "/volumes/a"' in started
    assert "serial=aaaaaaaa-bbbb-cccc-d" in started
    assert started.index("drive=disk") < started.index("drive=drive") < started.index(NAME)  # vda is what is booted


def test_a_machine_boots_a_volume_and_has_no_disk_beside_it(machines: ModuleType, machine: Machine) -> None:
    machines.make(UUID, machines.Boot(None), {}, [], [{**VOLUME, "boot": False}, ROOT], disk_gib=5)
    machines.start(UUID, memory_mib=512, processors=1)
    (started,) = machine.of("qemu-system-x86_64")
    assert not machine.of("qemu-img create")
    assert "bootindex=1" in started
    assert started.index("/volumes/root") < started.index("drive=drive") < started.index("/volumes/a")


def test_a_volume_comes_and_goes_while_a_machine_runs(machines: ModuleType, machine: Machine, qemu: Any) -> None:
    machines.make(UUID, machines.of_kit("debian-12"), {}, [], [], disk_gib=0)
    machines.start(UUID, memory_mib=512, processors=1)
    machines.attach(UUID, VOLUME)
    machines.grow(UUID, VOLUME["id"], 2 << 30)
    assert qemu.devices == [NAME]
    machines.detach(UUID, VOLUME["id"])
    machines.detach(UUID, VOLUME["id"])
    assert qemu.devices == []
    changes = ["blockdev-add", "device_add", "block_resize", "device_del", "device_del", "blockdev-del"]
    assert said_to(qemu) == changes
    machines.stop(UUID, kindly=False)
    machines.attach(UUID, VOLUME)
    machines.start(UUID, memory_mib=512, processors=1)
    assert NAME in machine.of("qemu-system-x86_64")[1]
    assert said_to(qemu) == changes


def test_a_volume_that_a_machine_does_not_take_or_keeps_is_told(machines: ModuleType, qemu: Any) -> None:
    machines.make(UUID, machines.of_kit("debian-12"), {}, [], [], disk_gib=0)
    machines.start(UUID, memory_mib=512, processors=1)
    qemu.refuses = True
    with pytest.raises(RuntimeError, match="device_add: no slot is free"):
        machines.attach(UUID, VOLUME)
    assert said_to(qemu)[-1] == "blockdev-del"
    qemu.refuses = False
    machines.attach(UUID, VOLUME)
    machines._DETACH = 0
    with pytest.raises(RuntimeError, match="has not let go of the volume"):
        machines.detach(UUID, VOLUME["id"])
    assert qemu.devices == [NAME]


def test_an_image_is_fetched_once_whole_or_not_at_all_and_forgotten_when_nobody_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = loaded("xdc_images", LIB / "xdc_images.py")
    monkeypatch.setattr(images, "FOLDER", tmp_path / "images")

    def broken(path: Path) -> None:
        path.write_bytes(b"ha")
        raise OSError("corrupt image download")

    with pytest.raises(OSError, match="corrupt"):
        images.kept("one", broken)
    assert list(images.FOLDER.iterdir()) == []
    for name in ("one", "two"):
        path = images.kept(name, lambda path: path.write_bytes(b"whole"))
        assert images.kept(name, broken) == path
    images.forget({images.FOLDER / "one"}, seconds=60)
    assert len(list(images.FOLDER.iterdir())) == 2
    images.forget({images.FOLDER / "one"}, seconds=-60)
    assert [path.read_bytes() for path in images.FOLDER.iterdir()] == [b"whole"]


@pytest.mark.parametrize(("modules", "chosen"), [(["kvm_intel"], "kvm"), (["kvm_pvm"], "tcg,thread=multi,tb-size=96")])
def test_the_processor_runs_machines_itself_only_where_a_kernel_as_it_comes_would_run(
    machines: ModuleType, monkeypatch: pytest.MonkeyPatch, modules: list[str], chosen: str
) -> None:
    monkeypatch.setattr(machines.os, "access", lambda *_: True)
    monkeypatch.setattr(machines.Path, "is_dir", lambda path: path.name in modules)
    options, _ = machines._processor()
    assert options[:2] == ("-accel", chosen)


class Named:
    """Anything with attributes."""

    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)


class NovaError(Exception):
    """Any of nova's words for what is wrong, with what it is told."""

    def __init__(self, **told: Any) -> None:
        super().__init__(told)


class NotFound(NovaError):
    """An instance is not there."""


class Unacceptable(NovaError):
    """An image cannot be booted."""


class Refused(NovaError):
    """A volume, or anything else that was asked for, cannot be had."""


class TooSmall(NovaError):
    """The flavor's disk is."""


class Corrupt(Exception):
    """nova's word for a file that is not of a format."""


class Drive:
    """nova's metadata of an instance."""

    def __init__(self, instance: Any, **_: Any) -> None:
        self.instance = instance

    def metadata_for_config_drive(self) -> Iterator[tuple[str, bytes]]:
        """Two files of it."""
        yield "openstack/latest/meta_data.json", b"{}"
        yield "openstack/latest/network_data.json", b"{}"


class Neutron:
    """neutron with one port, one rule and no floating address."""

    def list_ports(self, fields: list[str]) -> dict[str, Any]:
        """Its port."""
        one = {"id": "port-a-of-the-instance", "mac_address": "fa:16:3e:00:00:01", "allowed_address_pairs": []}
        one |= {"fixed_ips": [{"ip_address": "10.77.0.10"}], "port_security_enabled": True, "security_groups": ["web"]}
        return {"ports": [{name: one[name] for name in fields}]}

    def list_security_group_rules(self) -> dict[str, Any]:
        """Its rule."""
        rule = {"security_group_id": "web", "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp"}
        rule |= {"port_range_min": 443, "port_range_max": 443, "remote_ip_prefix": None}
        return {"security_group_rules": [{**rule, "remote_group_id": None}]}

    def list_floatingips(self, fields: list[str]) -> dict[str, Any]:
        """None."""
        return {"floatingips": []}


@pytest.fixture
def driver(instances: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The driver, with as much of nova as it names."""
    errors = Named(
        InstanceNotFound=NotFound,
        ImageUnacceptable=Unacceptable,
        InvalidInput=Refused,
        InvalidVolume=Refused,
        VolumeAttachFailed=Refused,
        DeviceDetachFailed=Refused,
        FlavorDiskSmallerThanImage=TooSmall,
    )
    modules: dict[str, Any] = {
        "eventlet": Named(spawn=lambda _: None, sleep=lambda _: None),
        "xdc_instances": instances,
        "xdc_security": instances.xdc_security,
        "nova": Named(context=Named(get_admin_context=lambda: None), conf=None, exception=errors),
        "nova.api.metadata": Named(base=Named(InstanceMetadata=Drive)),
        "nova.compute": Named(power_state=Named(RUNNING=1, SHUTDOWN=4), vm_states=Named(BUILDING="building")),
        "nova.network": Named(neutron=Named(get_client=lambda _context, **_: Neutron())),
        "nova.virt": Named(
            fake=Named(FakeDriver=FakeDriver, FakeInstance=lambda _name, _state, uuid: Named(uuid=uuid)),
            driver=Named(block_device_info_get_mapping=lambda info: (info or {}).get("block_device_mapping") or []),
            hardware=Named(InstanceInfo=lambda state: state),
        ),
        "oslo_log": Named(log=Named(getLogger=lambda _: None)),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    containers = loaded("xdc_container", LIB / "nova_virt" / "xdc_container.py")
    modules["nova.virt"].xdc_container = containers
    return containers.Containers()


class Network(dict[str, Any]):
    """A network as nova describes it."""

    def get_meta(self, key: str) -> Any:
        """Its MTU."""
        return self["meta"].get(key)


def server(**given: Any) -> Any:
    """A server as nova knows it, of the kit's own image."""
    known = {"uuid": UUID, "image_ref": "own", "vm_state": "building", "kernel_id": "", "ramdisk_id": ""}
    known["system_metadata"] = {"image_xdc_testbed_root": "debian-12"}
    known["image_meta"], known["flavor"] = Named(properties={}), Named(memory_mb=1024, vcpus=2, root_gb=5)
    return Named(**known | given)


def card() -> dict[str, Any]:
    """Its network card."""
    gateway = {"address": "10.77.0.1"}
    subnet = {"cidr": "10.77.0.0/24", "ips": [{"address": "10.77.0.10"}], "gateway": gateway}
    subnet |= {"meta": {"dhcp_server": "10.77.0.1"}}
    network = Network(id="lan", subnets=[subnet], meta={"mtu": 1400})
    return {"id": "port-a-of-the-instance", "address": "fa:16:3e:00:00:01", "network": network}


def test_a_server_becomes_a_container_with_its_port_and_without_network_data(
    driver: Any, instances: ModuleType, machine: Machine
) -> None:
    driver.spawn(None, server(), None, [], None, {}, network_info=[card()])
    assert json.loads((instances.FOLDER / UUID / "ports.json").read_text()) == [port("a", "10.77.0.10")]
    seed = instances.FOLDER / UUID / "upper" / "var/lib/cloud/seed/config_drive/openstack/latest"
    assert [path.name for path in seed.iterdir()] == ["meta_data.json"]
    assert driver.get_info(server()) == 1
    driver.destroy(None, server(), [card()])
    assert (instances.known(), machine.units) == ([], set())
    with pytest.raises(NotFound):
        driver.get_info(server())


def test_the_rules_of_a_port_are_there_before_its_server_starts(driver: Any, machine: Machine) -> None:
    driver.spawn(None, server(), None, [], None, {}, network_info=[card()])
    assert "th dport 443-443 accept" in machine.rules["n-lan"][-1]
    loads = [nth for nth, said in enumerate(machine.said) if "nft -f -" in said]
    starts = [nth for nth, said in enumerate(machine.said) if said.startswith("systemd-run")]
    assert max(loads) < min(starts)


def test_power_is_that_of_the_unit(driver: Any, machine: Machine) -> None:
    driver.spawn(None, server(), None, [], None, {}, network_info=[card()])
    driver.power_off(server(), timeout=60)
    assert driver.get_info(server()) == 4
    assert not machine.of("systemctl kill")
    driver.power_on(None, server(), [card()], {}, [])  # as nova says it
    assert driver.get_info(server()) == 1
    driver.reboot(None, server(), [card()], "HARD")
    assert machine.of("systemctl kill -s KILL")
    assert driver.get_info(server()) == 1


def test_a_compute_service_that_starts_again_knows_its_instances(driver: Any, instances: ModuleType) -> None:
    instances.make(UUID, instances.ROOTS / "debian-12", {}, [port("a", "10.77.0.10")])
    driver.init_host("cloud")
    assert driver.get_info(server()) == 4


@pytest.mark.parametrize(("metadata", "why"), [({}, "no property"), ({"image_xdc_testbed_root": "no"}, "nothing of")])
def test_a_container_of_an_image_with_data_of_its_own_is_refused(
    driver: Any, instances: ModuleType, metadata: dict[str, str], why: str
) -> None:
    with pytest.raises(Unacceptable, match=why):
        driver.spawn(None, server(system_metadata=metadata), None, [], None, {}, network_info=[card()])
    assert instances.known() == []


def test_a_container_with_a_volume_is_refused_from_the_start_and_later(driver: Any, instances: ModuleType) -> None:
    volumes = {"block_device_mapping": [{"connection_info": {}, "boot_index": None}]}
    with pytest.raises(Refused, match="containers have no volumes"):
        driver.spawn(None, server(), None, [], None, {}, network_info=[card()], block_device_info=volumes)
    assert instances.known() == []
    with pytest.raises(Refused, match="containers have no volumes"):
        driver.get_device_name_for_instance(server(vm_state="active"), [], None)


@dataclass
class Glance:
    """Images by id, and how often one was asked for."""

    images: dict[str, bytes] = field(default_factory=dict)
    asked: int = 0

    def download(self, context: Any, image_id: str, dest_path: str) -> None:
        """Write one to a file."""
        self.asked += 1
        if image_id not in self.images:
            raise OSError("corrupt image download")
        Path(dest_path).write_bytes(self.images[image_id])


class Qcow:
    """nova's look at a qcow2 file: one that begins with the letters, and is not safe with `backing` in it."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @classmethod
    def from_file(cls, path: str) -> Qcow:
        """Look at a file."""
        if not (data := Path(path).read_bytes()).startswith(b"QFI"):
            raise Corrupt
        return cls(data)

    def safety_check(self) -> bool:
        """Whether it refers to no other file."""
        return b"backing" not in self.data


@pytest.fixture
def glance() -> Glance:
    """An empty image service."""
    return Glance()


@pytest.fixture
def machine_driver(
    driver: Any, machines: ModuleType, glance: Glance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The driver of virtual machines."""
    images = loaded("xdc_images", LIB / "xdc_images.py")
    monkeypatch.setattr(images, "FOLDER", tmp_path / "images")
    inspector = Named(ImageFormatError=Corrupt, QcowInspector=Qcow)
    modules: dict[str, Any] = {
        "xdc_images": images,
        "xdc_machines": machines,
        "nova.image": Named(format_inspector=inspector, glance=Named(API=lambda: glance)),
        "oslo_concurrency": Named(lockutils=Named(lock=lambda _: contextlib.nullcontext())),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return loaded("xdc_machine", LIB / "nova_virt" / "xdc_machine.py").Machines()


def test_a_server_becomes_a_machine_of_its_flavor(machine_driver: Any, machine: Machine) -> None:
    driver, one = machine_driver, card()
    driver.spawn(None, server(), None, [], None, {}, network_info=[one])
    assert "dhcp_server" not in one["network"]["subnets"][0]["meta"]
    assert "-smp 2 -m 1024" in machine.of("qemu-system-x86_64")[0]
    assert machine.of("qemu-img create")[0].endswith(" 5G")
    assert driver.get_info(server()) == 1
    driver.reboot(None, server(), [card()], "HARD")
    assert len(machine.of("qemu-system-x86_64")) == 2
    driver.destroy(None, server(), [card()])
    assert machine.units == set()


def image(image_id: str, form: str = "raw", container: str = "bare") -> Any:
    """An image as nova describes it."""
    return Named(id=image_id, disk_format=form, container_format=container)


def test_what_was_uploaded_is_what_is_booted_and_is_fetched_once(
    machine_driver: Any, glance: Glance, machine: Machine, tmp_path: Path
) -> None:
    glance.images |= {"mine": b"disk", "its-kernel": b"kernel"}
    mine = server(system_metadata={}, kernel_id="its-kernel")
    for _ in range(2):
        machine_driver.spawn(None, mine, image("mine"), [], None, {}, network_info=[])
        machine_driver.destroy(None, mine, [])
    assert machine.of(f"-F raw -b {tmp_path}/images/mine ")
    assert f"-kernel {tmp_path}/images/its-kernel -append root=/dev/vda console=ttyS0" in machine.of("qemu-system")[0]
    assert glance.asked == 2


@pytest.mark.parametrize(
    ("given", "data", "why"),
    [
        (image("mine", "vmdk"), b"KDMV", "not vmdk in bare"),
        (image("mine", "raw", "ova"), b"disk", "not raw in ova"),
        (image("mine", "qcow2"), b"disk", "its data is not"),
        (image("mine", "raw"), b"QFI", "its data is qcow2"),
        (image("mine", "qcow2"), b"QFI backing", "refers to other files"),
        (image("other"), b"", "could not be fetched: corrupt"),
    ],
    ids=["format", "container", "not-qcow2", "not-raw", "backing-file", "corrupt"],
)
def test_an_image_that_no_machine_can_boot_is_refused_with_the_reason(
    machine_driver: Any, glance: Glance, instances: ModuleType, tmp_path: Path, given: Any, data: bytes, why: str
) -> None:
    glance.images["mine"] = data
    with pytest.raises(Unacceptable, match=why):
        machine_driver.spawn(None, server(system_metadata={}), given, [], None, {}, network_info=[])
    assert instances.known() == []
    assert list(tmp_path.glob("images/*")) == []


def test_a_flavor_whose_disk_is_smaller_than_the_image_is_refused(machine_driver: Any, tmp_path: Path) -> None:
    with (tmp_path / "disks" / "debian-12" / "disk").open("wb") as disk:
        disk.truncate(6 << 30)
    with pytest.raises(TooSmall):
        machine_driver.spawn(None, server(), None, [], None, {}, network_info=[])


def test_volumes_are_there_at_the_first_boot_and_one_of_them_may_be_what_is_booted(
    machine_driver: Any, machine: Machine
) -> None:
    root, data = ({"serial": one["id"], "data": {"device_path": one["path"]}} for one in (ROOT, VOLUME))
    volumes = {
        "block_device_mapping": [
            {"connection_info": data, "boot_index": None},
            {"connection_info": root, "boot_index": 0},
        ]
    }
    machine_driver.spawn(None, server(), None, [], None, {}, network_info=[], block_device_info=volumes)
    (started,) = machine.of("qemu-system-x86_64")
    assert started.index("/volumes/root") < started.index("/volumes/a")
    assert "debian-12/vmlinuz" in started
    assert not machine.of("qemu-img create")
