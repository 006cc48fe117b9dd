"""Instances: make, start, stop and remove containers; networks and floating addresses, also of virtual machines.

One folder per instance (FOLDER/<uuid>) holds its layer, its ports and its console. Two namespaces carry a network:

    instance ── veth ── network n-<id>: the gateway, for all that is not the instance ── veth ── the node, and the world

A network hands on between its instances as a router, so that all that leaves or enters one is filtered in one place,
which no instance reaches. A floating address is answered by the node and translated in the namespace of its network, so
that networks of two projects may have the same addresses. Runs as root; knows nothing of nova.
"""

import ipaddress
import json
import shutil
import subprocess
import threading
from pathlib import Path

import xdc_security

FOLDER = Path("/var/lib/xdc-instances")
ROOTS = Path("/var/lib/xdc-openstack/roots")
FLOATING = Path("/run/xdc-floating.json")
_OUTSIDE = "eth0"
_TRANSIT = "169.254.{high}.{low}"


# -- instances --------------------------------------------------------------------------------------------------------


def known():
    """Ids of the instances that are there."""
    return sorted(path.parent.name for path in FOLDER.glob("*/ports.json"))


def make(uuid, root, files, ports):
    """The folder of an instance: its layer over a root of the kit, its configuration drive and its ports.

    files: path on the drive -> bytes; ports: [{id, network, mac, mtu, addresses, gateways}].
    """
    folder = FOLDER / uuid
    for name in ("upper", "work", "root"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    write(folder / "upper", "etc/machine-id", b"")
    write(folder / "upper", "etc/resolv.conf", Path("/etc/resolv.conf").read_bytes())
    for name, data in files.items():
        write(folder / "upper", f"var/lib/cloud/seed/config_drive/{name}", data)
    (folder / "lower").write_text(str(root))
    (folder / "ports.json").write_text(json.dumps(ports))


def of_kit(folder, name):
    """What the kit has made of this name below a folder. Raises RuntimeError when it is not there."""
    found = next((path for path in folder.iterdir() if path.name == name and path.is_dir()), None)
    if found is None:
        raise RuntimeError(f"the kit has made nothing of the name '{name}' below {folder}")
    return found


def start(uuid, *, memory_mib):
    """Boot an instance; nothing happens when it runs."""
    if runs(uuid):
        return
    folder = FOLDER / uuid
    root = folder / "root"
    if not root.is_mount():
        lower = (folder / "lower").read_text()
        do(
            "mount",
            "-t",
            "overlay",
            "overlay",
            "-o",
            f"lowerdir={lower},upperdir={folder}/upper,workdir={folder}/work",
            root,
        )
    connect(uuid)
    run(
        uuid,
        *("-p", "Delegate=yes", "-p", "KillMode=mixed", "-p", "TimeoutStopSec=15", "-p", f"MemoryMax={memory_mib}M"),
        *("systemd-nspawn", "-q", "-b", "--register=no", "--keep-unit"),
        *("-M", f"i-{uuid[:8]}", "-D", root, f"--network-namespace-path={namespace(uuid)}"),
        *("--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe", "--kill-signal=SIGRTMIN+3"),
        "--capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_SYS_PTRACE",
    )


def connect(uuid):
    """Lead its networks to an instance; nothing passes yet at a port that filter_ports knows nothing of."""
    isolate(uuid)
    for index, port in enumerate(ports_of(uuid)):
        if plug(uuid, index, port):
            _address(_own(uuid), index, port)


def run(uuid, *command):
    """Run what an instance is as its unit, with options of systemd-run before it; what it says goes to its console."""
    console = FOLDER / uuid / "console.log"
    do(
        *("systemd-run", "-q", "--collect", f"--unit={unit(uuid)}"),
        *("-p", f"StandardOutput=append:{console}", "-p", f"StandardError=append:{console}", *command),
    )


def stop(uuid, *, kindly):
    """Shut an instance down, or end it at once; nothing happens when it does not run."""
    if not kindly:
        do("systemctl", "kill", "-s", "KILL", unit(uuid), check=False)
    do("systemctl", "stop", unit(uuid), check=False)


def remove(uuid):
    """Everything that was made for an instance; idempotent."""
    stop(uuid, kindly=False)
    do("ip", "netns", "del", _own(uuid), check=False)
    folder = FOLDER / uuid
    if (folder / "root").is_mount():
        do("umount", "-l", folder / "root")
    networks = {port["network"] for port in ports_of(uuid)} if (folder / "ports.json").is_file() else set()
    shutil.rmtree(folder, ignore_errors=True)
    for network in networks - {port["network"] for other in known() for port in ports_of(other)}:
        _remove_network(network)


def runs(uuid):
    """Whether an instance runs."""
    return do("systemctl", "is-active", "-q", unit(uuid), check=False).returncode == 0


def console(uuid):
    """What an instance has said since it was made, the last 100,000 bytes."""
    path = FOLDER / uuid / "console.log"
    return path.read_bytes()[-100_000:] if path.is_file() else b""


# -- networks ---------------------------------------------------------------------------------------------------------


def isolate(uuid):
    """The namespace of an instance is there."""
    do("ip", "netns", "add", _own(uuid), check=False)
    do("ip", "-n", _own(uuid), "link", "set", "lo", "up")


def plug(uuid, index, port):
    """Lead the network of a port to the namespace of an instance, as ethN. Returns whether it was not there yet."""
    own, net = _own(uuid), _network(port)
    name, outer = f"eth{index}", _interface(port)
    if do("ip", "-n", own, "link", "show", name, check=False).returncode == 0:
        return False
    do("ip", "-n", net, "link", "del", outer, check=False)
    do("ip", "-n", net, "link", "add", outer, "mtu", port["mtu"], "type", "veth", "peer", "name", name, "netns", own)
    for gateway in port["gateways"]:
        do("ip", "-n", net, "address", "add", gateway.split("/")[0], "dev", outer)
    do("ip", "-n", net, "ntable", "change", "name", "arp_cache", "dev", outer, "proxy_delay", 0)
    do("ip", "-n", net, "link", "set", outer, "up")
    do("ip", "-n", own, "link", "set", name, "mtu", port["mtu"], "up")
    for address in [ipaddress.ip_interface(one) for one in port["addresses"] if ":" not in one]:
        do("ip", "-n", net, "route", "replace", address.ip, "dev", outer)
        # An address that nobody has is not looked for outside.
        do("ip", "-n", net, "route", "replace", "unreachable", address.network)
    _filtered.pop(port["network"], None)
    return True


def _address(own, index, port):
    """The interface has the addresses of its port, and the first one the way out."""
    name = f"eth{index}"
    do("ip", "-n", own, "link", "set", name, "address", port["mac"])
    for address in port["addresses"]:
        do("ip", "-n", own, "address", "replace", address, "dev", name)
    for gateway in port["gateways"][:1] if index == 0 else []:
        do("ip", "-n", own, "route", "replace", "default", "via", gateway.split("/")[0])


def _network(port):
    """The namespace of a network, made when it is not there, as a whole or not at all."""
    net = _net(port["network"])
    with _making:  # of two instances that start at once, the second finds all of it
        if net not in _namespaces():
            try:
                _make_network(net)
            except RuntimeError:
                do("ip", "netns", "del", net, check=False)
                raise
    return net


def _make_network(net):
    """A router that is closed to all instances, and its way out."""
    index = _free_index()
    inner, outer = _transit(index)
    do("ip", "netns", "add", net)
    do("ip", "-n", net, "link", "set", "lo", "up")
    _load(net, xdc_security.rule_set({}))
    do("ip", "link", "add", f"t{index}", "type", "veth", "peer", "name", "out", "netns", net)
    do("ip", "address", "add", f"{outer}/31", "dev", f"t{index}")
    do("ip", "link", "set", f"t{index}", "up")
    do("ip", "-n", net, "address", "add", f"{inner}/31", "dev", "out")
    do("ip", "-n", net, "link", "set", "out", "up")
    do("ip", "-n", net, "route", "add", "default", "via", outer)
    do("ip", "netns", "exec", net, "sh", "-c", _ANSWER)
    for chain, hook in (("xdc-to", "PREROUTING"), ("xdc-from", "POSTROUTING")):
        _nat(net, "-N", chain)  # of their own, so that they can be written anew as a whole
        _nat(net, "-A", hook, "-j", chain)
    _nat(net, "-A", "POSTROUTING", "-o", "out", "-j", "MASQUERADE")
    if do("iptables", "-w", "-t", "nat", "-C", *_MASQUERADE, check=False).returncode != 0:
        do("iptables", "-w", "-t", "nat", "-A", *_MASQUERADE)


_making = threading.Lock()

# An instance asks for its neighbours on the wire, and is answered by the network. Its settings are read-only in a node
# that is a container, and a command in a namespace sees them in a mount of its own.
_ANSWER = """
setting=/proc/sys/net/ipv4/conf/default/proxy_arp
[ -w $setting ] || mount -o remount,rw /proc/sys
echo 1 > $setting
"""
_MASQUERADE = ("POSTROUTING", "-s", "169.254.0.0/16", "-o", _OUTSIDE, "-j", "MASQUERADE")


def _remove_network(network):
    do("ip", "netns", "del", _net(network), check=False)
    _filtered.pop(network, None)
    # What led there is forgotten, so that it is written anew when the network comes back before anybody has looked.
    written = _written()
    for address in [address for address, (where, _) in written.items() if where == network]:
        _withdraw(address)
        del written[address]
    _note(written)


def filter_ports(filters):
    """Let pass at each port what xdc_security.filters says of it, and nothing at a port of which it says nothing."""
    there, networks = _namespaces(), {}
    for port in (port for uuid in known() for port in ports_of(uuid)):
        networks.setdefault(port["network"], []).append(port)
    for network, ports in networks.items():
        net, said = _net(network), {_interface(port): filters[port["id"]] for port in ports if port["id"] in filters}
        text = xdc_security.rule_set(said)
        if net not in there or _filtered.get(network) == text:
            continue
        _filtered[network] = text  # first: who makes the network anew meanwhile forgets it, and it is loaded again
        try:
            _load(net, text)
            _lead(net, said)
        except RuntimeError:
            _filtered.pop(network, None)
            if net in _namespaces():  # else it went meanwhile, and its rules with it
                raise


_filtered = {}
"""What was loaded for each network."""


def _load(net, text):
    do("ip", "netns", "exec", net, "nft", "-f", "-", said=text)


def _lead(net, filters):
    """Each address that is allowed at a port beside its own leads there; where two ports may have it, to the first."""
    routes = json.loads(do("ip", "-n", net, "-j", "route", "show").stdout)
    own = {_destination(route["dst"]) for route in routes if route.get("protocol") != "static"}
    there = {_destination(route["dst"]): route["dev"] for route in routes if route.get("protocol") == "static"}
    wanted = {}
    for interface, one in sorted(filters.items()):
        for _, address in one["own"] if one else []:
            if _destination(address) not in own:
                wanted.setdefault(_destination(address), interface)
    for address in there.keys() - wanted.keys():
        do("ip", "-n", net, "route", "del", address, "proto", "static")
    for address, interface in wanted.items():
        if there.get(address) != interface:  # it may be yet to come: who plugs it has all written again
            do("ip", "-n", net, "route", "replace", address, "dev", interface, "proto", "static", check=False)


def _destination(address):
    """As a network, however it is said."""
    return str(ipaddress.ip_network("0.0.0.0/0" if address == "default" else address, strict=False))


def float_addresses(wanted):
    """Let these floating addresses reach their ports, and no others: {address: id of the port}."""
    ports = {port["id"]: port for uuid in known() for port in ports_of(uuid)}
    there = _namespaces()
    placed = {
        address: ports[port_id]
        for address, port_id in wanted.items()
        if port_id in ports and _net(ports[port_id]["network"]) in there
    }
    made = {address: [port["network"], port["addresses"]] for address, port in placed.items()}
    old = _written()
    if old == made:
        return
    for address in old.keys() - placed.keys():
        _withdraw(address)
    networks = {network for network, _ in old.values()} | {port["network"] for port in placed.values()}
    for net in {_net(network) for network in networks} & there:
        for chain in ("xdc-to", "xdc-from"):
            _nat(net, "-F", chain)
    for address, port in placed.items():
        net, fixed = _net(port["network"]), port["addresses"][0].split("/")[0]
        out = do("ip", "-n", net, "-j", "route", "show", "default").stdout
        gateway = json.loads(out)[0]["gateway"]
        inner = f"{gateway.rsplit('.', 1)[0]}.{int(gateway.rsplit('.', 1)[1]) - 1}"
        _nat(net, "-A", "xdc-to", "-d", address, "-j", "DNAT", "--to-destination", fixed)
        _nat(net, "-A", "xdc-from", "-s", fixed, "-o", "out", "-j", "SNAT", "--to-source", address)
        do("ip", "route", "replace", f"{address}/32", "via", inner)
        do("ip", "neigh", "replace", "proxy", address, "dev", _OUTSIDE)
    _note(made)


def _withdraw(address):
    """The node answers for a floating address no longer."""
    do("ip", "neigh", "del", "proxy", address, "dev", _OUTSIDE, check=False)
    do("ip", "route", "del", f"{address}/32", check=False)


def _written():
    """Which floating addresses lead where: address -> [network, addresses of the port]."""
    return json.loads(FLOATING.read_text()) if FLOATING.is_file() else {}


def _note(written):
    FLOATING.write_text(json.dumps(written, sort_keys=True))


def _namespaces():
    return {line.split()[0] for line in do("ip", "netns", "list").stdout.splitlines() if line}


def _free_index():
    links = json.loads(do("ip", "-j", "link", "show").stdout)
    taken = {link["ifname"] for link in links}
    return next(index for index in range(8192) if f"t{index}" not in taken)


def _transit(index):
    """The two ends of a network's way out: inside, outside."""
    high, low = divmod(index * 2, 256)
    return _TRANSIT.format(high=high, low=low), _TRANSIT.format(high=high, low=low + 1)


def _nat(net, *rule):
    do("ip", "netns", "exec", net, "iptables", "-w", "-t", "nat", *rule)


# -- small words ------------------------------------------------------------------------------------------------------


def ports_of(uuid):
    """The ports that an instance was made with."""
    return json.loads((FOLDER / uuid / "ports.json").read_text())


def unit(uuid):
    """Name of the unit that runs an instance."""
    return f"instance-{uuid}.service"


def _own(uuid):
    return f"i-{uuid}"


def namespace(uuid):
    """Path of the namespace that an instance has for its interfaces."""
    return Path("/run/netns", _own(uuid))


def _net(network):
    return f"n-{network}"


def _interface(port):
    return f"{xdc_security.PREFIX}{port['id'][:11]}"


def write(root, name, data):
    """Write a file below a folder, with the folders on the way."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def do(*command, check=True, said=None):
    """Run a command. said: its standard input. Raises RuntimeError with what it answers."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=said, capture_output=True, text=True, check=False, timeout=60)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done
