"""Is there room: what a testbed needs of a project against what is free, in one table before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdc_testbed.drivers.base import Finding


@dataclass(frozen=True)
class Limit:
    """One line of a quota. limit: -1 for none."""

    limit: int
    used: int

    @property
    def free(self) -> int | None:
        """What is left; None for no limit."""
        return None if self.limit < 0 else max(0, self.limit - self.used)


WORDS = {
    "instances": "instances",
    "cores": "cores",
    "ram": "memory, MiB",
    "volumes": "volumes",
    "gigabytes": "volumes, GB",
    "networks": "networks",
    "subnets": "subnets",
    "routers": "routers",
    "ports": "ports",
    "floating_ips": "floating addresses",
    "security_groups": "security groups",
    "security_group_rules": "security group rules",
    "server_groups": "server groups",
    "server_group_members": "members of one server group",
}


def findings(need: Mapping[str, int], have: Mapping[str, int], limits: Mapping[str, Limit]) -> list[Finding]:
    """The table. need: of the whole testbed; have: what of it is there already; limits: of the project.

    A quota that the cloud does not tell is no finding. Members of a server group are counted per group, so what other
    groups hold does not matter.
    """
    found = []
    for word, text in WORDS.items():
        limit = limits.get(word)
        missing = max(0, need.get(word, 0) - have.get(word, 0))
        if word == "server_group_members":
            missing = need.get(word, 0)
        if limit is None or not need.get(word):
            continue
        free = limit.free
        ok = free is None or missing <= free
        shown = "no limit" if free is None else f"{free} of {limit.limit} free"
        found.append(
            Finding(
                f"quota: {text}",
                ok,
                shown,
                needed=f"{missing}" + (f" more than the {have[word]} there are" if have.get(word) else ""),
                remedy="" if ok else _remedy(word, missing - (free or 0)),
            )
        )
    return found


def _remedy(word: str, short: int) -> str:
    match word:
        case "server_group_members":
            return "set openstack.spread = false, or ask for a higher quota"
        case "floating_ips":
            return f"release {short} addresses, or make fewer nodes public: openstack.public"
        case "volumes" | "gigabytes":
            return f"remove volumes, or describe {short} less: openstack.nodes.<name>.volumes, boot_gb"
        case _:
            return f"ask for {short} more, remove something, or take a smaller profile"
