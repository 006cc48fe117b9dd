"""Variables of roles: what versions.yml, the inventory and the argument specs say, and values held to the latter.

The argument specs of the roles are the only place where a variable is documented. Ansible checks them too, but only
when the first nodes are up; here a wrong name or value is told before anything is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from xdc_testbed import content
from xdc_testbed.errors import WrongUsage, nearest

_REMEDY = "see docs/reference/roles.md for every variable"
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str, int, float),
    "path": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list, tuple),
    "dict": (dict,),
}


def options() -> dict[str, dict[str, Any]]:
    """Every public variable of every role with its argument spec, by name."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((content.root() / "roles").glob("*/meta/argument_specs.yml")):
        for spec in read_yaml(path).get("argument_specs", {}).values():
            found.update(spec.get("options", {}))
    return dict(sorted(found.items()))


def check(where: str, given: Mapping[str, Any]) -> None:
    """Hold variables of a description to the argument specs.

    where: dotted key of the table. Raises WrongUsage that names the key, and the nearest right key or value.
    """
    if given:
        _check_table(where, given, options(), whole=False)


def versions() -> dict[str, Any]:
    """Versions and checksums of every artefact, from inventory/versions.yml."""
    return read_yaml(content.root() / "inventory" / "versions.yml")


def service_variables() -> dict[str, Any]:
    """What every testbed starts from: inventory/versions.yml and inventory/group_vars/all/<service>.yml."""
    merged = versions()
    for path in sorted((content.root() / "inventory" / "group_vars" / "all").glob("*.yml")):
        merged.update(read_yaml(path))
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """A file of the kit, by the parser in C where PyYAML has it: up and status read several, and want to be quick."""
    return dict(yaml.load(path.read_text(), Loader=_SAFE_LOADER) or {})  # noqa: S506 - both loaders are safe


def printable(text: str) -> str:
    """The text on one line: what a file says may hold line ends."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


_SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _check_table(where: str, given: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]], *, whole: bool) -> None:
    for key, value in given.items():
        if key not in known:
            raise WrongUsage(
                f"unknown key '{where}.{printable(str(key))}'{nearest(str(key), list(known))}", remedy=_REMEDY
            )
        _check_value(f"{where}.{key}", value, known[key])
    for key, spec in known.items():
        if whole and spec.get("required") and key not in given:
            raise WrongUsage(f"missing key '{where}.{key}'", remedy=_REMEDY)


def _check_value(where: str, value: Any, spec: Mapping[str, Any]) -> None:
    if isinstance(value, str) and "{{" in value:
        return  # Ansible's to say
    kind = str(spec.get("type", "str"))
    fits = isinstance(value, _TYPES.get(kind, (object,))) and (kind == "bool" or not isinstance(value, bool))
    if not fits:
        raise WrongUsage(f"{where}: {printable(repr(value))} is no {kind}", remedy=_REMEDY)
    if kind == "list":
        for number, element in enumerate(value):
            _check_value(f"{where}[{number}]", element, {**spec, "type": spec.get("elements", "str")})
        return
    choices = spec.get("choices")
    if choices and value not in choices:
        words = [str(choice) for choice in choices]
        raise WrongUsage(
            f"{where}: unknown value '{printable(str(value))}'{nearest(str(value), words)}",
            remedy=f"one of: {', '.join(words)}",
        )
    below = spec.get("options")
    if below and isinstance(value, Mapping):
        _check_table(where, value, below, whole=True)
