"""Security groups as rules of nftables: what neutron says of ports and rules in, the text for `nft -f` out.

A port is closed until something is said of it. What goes out of an instance is looked at where it comes in from its
interface, before any address is translated; what goes to an instance, where it is handed on to its interface. Each
packet in the direction in which a connection was opened is held against the rules, so a rule that goes ends what it
let in. IPv6 does not pass. Knows nothing of nova; loads nothing.
"""

import ipaddress

PREFIX = "p"
"""What the names of all filtered interfaces begin with, and those of no others in their namespace."""

# Neutron takes numbers, and these names of them.
_PROTOCOLS = {
    "ah": 51,
    "dccp": 33,
    "egp": 8,
    "esp": 50,
    "gre": 47,
    "icmp": 1,
    "igmp": 2,
    "ipip": 4,
    "ospf": 89,
    "pgm": 113,
    "rsvp": 46,
    "sctp": 132,
    "tcp": 6,
    "udp": 17,
    "udplite": 136,
    "vrrp": 112,
}
_ICMP = _PROTOCOLS["icmp"]
_WITH_PORTS = {_PROTOCOLS[name] for name in ("dccp", "sctp", "tcp", "udp", "udplite")}


def filters(ports, rules, address_groups=()):
    """What may pass at each port: {id: {own, leaving, entering}}, or None for a port without port security.

    ports, rules, address_groups: as neutron lists them. own: [[mac, addresses]] that the instance may use;
    leaving, entering: matches of nftables.
    """
    members, named = {}, {group["id"]: group["addresses"] for group in address_groups}
    for port in ports:
        for group in port["security_groups"]:
            members.setdefault(group, []).extend(address for _, address in _own(port))
    made = {}
    for port in ports:
        if not port["port_security_enabled"]:
            made[port["id"]] = None
            continue
        mine = [rule for rule in rules if rule["security_group_id"] in port["security_groups"]]
        made[port["id"]] = {
            "own": _own(port),
            "leaving": _matches(mine, "egress", members, named),
            "entering": _matches(mine, "ingress", members, named),
        }
    return made


def rule_set(known):
    """The whole table of a network's namespace, to be loaded at once: {interface: what filters() says of its port}."""
    lines = [
        "table inet security",
        "delete table inet security",
        "table inet security {",
        *_hook("leaving", "prerouting priority mangle", "iifname", known),
        *_hook("entering", "forward priority filter", "oifname", known),
    ]
    for interface, one in sorted(known.items()):
        if one is None:
            continue
        own = [f"ether saddr {mac} ip saddr {address} goto {interface}-own" for mac, address in one["own"]]
        lines += _chain(f"{interface}-leaving", own)
        lines += _chain(f"{interface}-own", [*_STATEFUL, *one["leaving"]])
        lines += _chain(f"{interface}-entering", ["meta nfproto != ipv4 drop", *_STATEFUL, *one["entering"]])
    return "\n".join([*lines, "}", ""])


_STATEFUL = ("ct state invalid drop", "ct direction reply accept", "ct state related accept")


def _hook(name, where, side, known):
    verdicts = [
        f'"{interface}" : {"accept" if one is None else f"goto {interface}-{name}"}'
        for interface, one in sorted(known.items())
    ]
    return [
        f"chain {name} {{",
        f"type filter hook {where};",
        *([f"{side} vmap {{ {', '.join(verdicts)} }}"] if verdicts else []),
        f'{side} "{PREFIX}*" drop',
        "}",
    ]


def _chain(name, rules):
    return [f"chain {name} {{", *rules, "drop", "}"]


def _own(port):
    """MAC and addresses that are a port's: its fixed ones, and its allowed address pairs."""
    own = [[port["mac_address"], fixed["ip_address"]] for fixed in port["fixed_ips"]]
    own += [
        [pair.get("mac_address") or port["mac_address"], pair["ip_address"]] for pair in port["allowed_address_pairs"]
    ]
    return [[mac, address] for mac, address in own if ":" not in address]


def _matches(rules, direction, members, named):
    """One match for each rule that lets IPv4 pass in this direction, sorted, none twice."""
    found = set()
    for rule in rules:
        if (rule["direction"], rule["ethertype"]) != (direction, "IPv4"):
            continue
        remote, protocol = _remote(rule, members, named), _protocol(rule)
        if remote is not None and protocol is not None:
            found.add(" ".join(word for word in (remote, protocol, "accept") if word))
    return sorted(found)


def _remote(rule, members, named):
    """Match of the other side; empty for any, None when it is nobody."""
    if rule.get("remote_group_id"):
        addresses = members.get(rule["remote_group_id"], [])
    elif rule.get("remote_address_group_id"):
        addresses = [one for one in named.get(rule["remote_address_group_id"], []) if ":" not in one]
    else:
        addresses = [rule["remote_ip_prefix"] or "0.0.0.0/0"]
    networks = list(ipaddress.collapse_addresses(ipaddress.ip_network(one, strict=False) for one in addresses))
    if not networks:
        return None
    if networks[0].prefixlen == 0:
        return ""
    side = "saddr" if rule["direction"] == "ingress" else "daddr"
    return f"ip {side} {{ {', '.join(str(network) for network in networks)} }}"


def _protocol(rule):
    """Match of protocol and ports, or of type and code; empty for any, None for a protocol that nobody knows."""
    name = rule["protocol"]
    if name in (None, "any"):
        return ""
    number = int(name) if str(name).isdecimal() else _PROTOCOLS.get(name)
    if number is None:
        return None
    first, last = rule["port_range_min"], rule["port_range_max"]
    if number == _ICMP:
        words = [f"icmp type {first}"] if first is not None else []
        words += [f"icmp code {last}"] if last is not None else []
    else:
        words = [f"th dport {first}-{last}"] if number in _WITH_PORTS and first is not None else []
    return " ".join([f"meta l4proto {number}", *words])
