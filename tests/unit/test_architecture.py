"""The shape of the kit: who may import whom, and that groups, roles and playbooks go together."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from xdc_testbed import content
from xdc_testbed.calibration.detectors import DETECTORS
from xdc_testbed.testbed.description import groups
from xdc_testbed.testbed.variables import service_variables

ROOT = content.root()
PACKAGE = ROOT / "xdc_testbed"

FOUNDATION = {"errors", "processes", "progress", "content", "endpoints", "redaction", "__version__"}
"""What every part may use, but those that know nothing of the kit."""

MAY_IMPORT: dict[str, set[str]] = {
    "cli": {"demo", "interop", "soak", "testbed", "drivers", "faults", "events", "actions", "calibration", "clients"},
    "soak": {
        "testbed",
        "drivers",
        "faults",
        "clients",
        "events.model",
        "demo.places",
        "demo.streams",
        "interop.report",
    },
    "demo": {"testbed", "clients", "events.model"},
    "interop": {"testbed", "clients"},
    "testbed": {"drivers"},
    "drivers": set(),
    "events": {"clients"},
    "actions": {"clients", "calibration"},
    "clients": set(),
    "faults": set(),
}
"""`cli -> demo, interop -> testbed -> drivers`; `events, actions, interop, demo -> clients`; `actions -> calibration`.

The demonstration and the soak also read the records that events are made of (events.model), and nothing else of
theirs; the soak follows topics and finds places as the demonstration does, and writes reports as interop does.
"""

KNOWS_NOTHING = ("calibration", "emulators")
"""Parts that could stand alone: of the kit they import its errors only."""


# -- imports ----------------------------------------------------------------------------------------------------------


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name below it; plugins run inside Ansible and are left out."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        words = path.relative_to(PACKAGE).with_suffix("").parts
        if words[0] not in ("ansible_plugins", "_content"):
            found[".".join(words)] = ast.parse(path.read_text())
    return found


@cache
def imports(name: str) -> tuple[str, ...]:
    """What a module imports, absolute: `xdc_testbed.clients.tokens.TokenSource`, `subprocess`."""
    return tuple(_imports(name))


def _imports(name: str) -> Iterator[str]:
    package = ["xdc_testbed", *name.split(".")[:-1]]
    for statement in ast.walk(modules()[name]):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            above = package[: len(package) - statement.level + 1] if statement.level else []
            base = ".".join([*above, *([statement.module] if statement.module else [])])
            yield from (f"{base}.{alias.name}" for alias in statement.names)


def of_the_kit(name: str) -> set[str]:
    """What a module imports of other parts of the kit, without the package's name before it."""
    own = name.split(".")[0]
    inside = {found.removeprefix("xdc_testbed.") for found in imports(name) if found.startswith("xdc_testbed.")}
    return {found for found in inside if found.split(".")[0] != own}


def parts() -> set[str]:
    """Folders of the package."""
    return {name.split(".")[0] for name in modules() if "." in name}


def within(found: str, allowed: set[str]) -> bool:
    """Whether an import is one of these parts or modules, or something in them."""
    return any(found == one or found.startswith(f"{one}.") for one in allowed)


def test_every_part_has_its_place_in_the_rule() -> None:
    assert parts() == {*MAY_IMPORT, *KNOWS_NOTHING}


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_what_stands_below_it(part: str) -> None:
    wrong = [
        f"{name} imports {found}"
        for name in modules()
        if name.startswith(f"{part}.")
        for found in sorted(of_the_kit(name))
        if not within(found, MAY_IMPORT[part] | FOUNDATION)
    ]
    assert wrong == []


@pytest.mark.parametrize("part", KNOWS_NOTHING)
def test_a_part_that_could_stand_alone_imports_errors_only(part: str) -> None:
    wrong = [
        f"{name} imports {found}"
        for name in modules()
        if name.startswith(f"{part}.")
        for found in sorted(of_the_kit(name))
        if not within(found, {"errors"})
    ]
    assert wrong == []


def test_only_a_detector_itself_and_the_list_of_them_know_it_by_name() -> None:
    """Files, threads, blocks and manifest read its description, so that a new one needs no change there."""
    named = {detector.name.lower() for detector in DETECTORS}
    own = {getattr(detector.recipe, "__module__", "").removeprefix("xdc_testbed.") for detector in DETECTORS}
    wrong = [
        f"{name} says {word}"
        for name in modules()
        if name.startswith("calibration.") and name not in own | {"calibration.detectors"}
        for word in words(modules()[name])
        if word.lower() in named
    ]
    assert wrong == []


def words(tree: ast.Module) -> Iterator[str]:
    """Identifiers, parts of imported names, and whole strings."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.Constant(value=str(word)):
                yield word
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    yield from alias.name.split(".")
                yield from (getattr(node, "module", None) or "").split(".")


def test_the_foundation_imports_no_part() -> None:
    wrong = [
        f"{name} imports {found}"
        for name in modules()
        if "." not in name
        for found in sorted(of_the_kit(name))
        if not within(found, FOUNDATION)
    ]
    assert wrong == []


def test_nobody_imports_the_command_line_or_an_emulator() -> None:
    wrong = [
        f"{name} imports {found}"
        for name in modules()
        for found in sorted(of_the_kit(name))
        if within(found, {"cli", "emulators"})
    ]
    assert wrong == []


def test_every_subprocess_of_the_kit_starts_in_one_module() -> None:
    """Emulators know nothing of the kit, so they start their own."""
    starters = [
        name for name in modules() if not name.startswith("emulators.") and within("subprocess", set(imports(name)))
    ]
    assert starters == ["processes"]


def test_only_the_command_line_prints() -> None:
    printers = [
        name
        for name, tree in modules().items()
        if not name.startswith("cli.")
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"
    ]
    assert printers == []


def test_every_module_with_code_says_what_it_is_for() -> None:
    silent = [name for name, tree in modules().items() if tree.body and not ast.get_docstring(tree)]
    assert silent == []


# -- groups, roles and playbooks --------------------------------------------------------------------------------------

STAGES = ("main", "preflight", "install", "configure", "service", "verify", "remove")


def roles() -> list[str]:
    """Folders of roles."""
    return sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def plays(playbook: str) -> list[dict[str, Any]]:
    """The plays of a playbook."""
    return list(yaml.safe_load((ROOT / "playbooks" / f"{playbook}.yml").read_text()))


def used(playbook: str, stage: str) -> list[str]:
    """Roles whose stage a playbook runs on the group of the same name, in its order."""
    found = []
    for play in plays(playbook):
        for task in play["tasks"]:
            included = task.get("ansible.builtin.include_role") or task.get("ansible.builtin.import_role") or {}
            if included.get("tasks_from") == stage and "loop" in task:
                assert (included["name"], task["when"]) == ("{{ service }}", "service in group_names")
                found += task["loop"]
            elif included.get("tasks_from") == stage:
                assert included["name"] == play["hosts"], f"play '{play['name']}' runs another group's role"
                found.append(play["hosts"])
    return found


def configured() -> list[str]:
    """Roles that the playbooks of site.yml run whole, in their order."""
    found = []
    for imported in plays("site"):
        for play in plays(Path(imported["ansible.builtin.import_playbook"]).stem):
            found += [role["role"] for role in play.get("roles", [])]
            included = [task.get("ansible.builtin.include_role") for task in play.get("tasks", [])]
            found += [role["name"] for role in included if role and "tasks_from" not in role]
    return found


def test_every_group_has_a_role_and_every_role_is_a_group() -> None:
    assert roles() == sorted(groups())


def test_every_group_is_configured_once() -> None:
    assert sorted(configured()) == sorted(groups())


def test_every_group_is_verified_once() -> None:
    assert sorted(used("verify", "verify")) == sorted(groups())


def test_every_group_is_removed_once_in_the_opposite_order() -> None:
    assert used("remove", "remove") == used("verify", "verify")[::-1]


def test_the_playbook_of_the_whole_testbed_holds_imports_only() -> None:
    assert {key for play in plays("site") for key in play} == {"name", "ansible.builtin.import_playbook"}


@pytest.mark.parametrize("role", groups())
def test_a_role_has_the_one_shape_of_all_roles(role: str) -> None:
    folder = ROOT / "roles" / role
    wanted = [*(f"tasks/{stage}.yml" for stage in STAGES), "meta/argument_specs.yml"]
    assert [name for name in wanted if not (folder / name).is_file()] == []


# -- variables --------------------------------------------------------------------------------------------------------


def read(role: str, name: str) -> dict[str, Any]:
    """A file of a role, {} when it is not there or empty."""
    path = ROOT / "roles" / role / name
    return dict(yaml.safe_load(path.read_text()) or {}) if path.is_file() else {}


def options(role: str) -> dict[str, dict[str, Any]]:
    """Every documented variable of a role, of all its entry points."""
    specs = read(role, "meta/argument_specs.yml").get("argument_specs", {})
    return {name: option for spec in specs.values() for name, option in spec.get("options", {}).items()}


@pytest.mark.parametrize("role", groups())
def test_every_public_default_of_a_role_is_documented(role: str) -> None:
    assert sorted(set(read(role, "defaults/main.yml")) - set(options(role))) == []


@pytest.mark.parametrize("role", groups())
def test_every_documented_variable_of_a_role_has_a_value_somewhere(role: str) -> None:
    """In its defaults, in the inventory, or from the testbed itself (testbed_*)."""
    known = {*read(role, "defaults/main.yml"), *service_variables()}
    lost = [name for name in options(role) if name not in known and not name.startswith("testbed_")]
    assert lost == []


@pytest.mark.parametrize("role", groups())
def test_the_documented_default_is_the_default(role: str) -> None:
    defaults, documented = read(role, "defaults/main.yml"), options(role)
    wrong = {
        name: (option["default"], defaults.get(name))
        for name, option in documented.items()
        if "default" in option and option["default"] != defaults.get(name)
    }
    assert wrong == {}


@pytest.mark.parametrize("role", groups())
def test_variables_carry_the_name_of_their_role(role: str) -> None:
    public = [name for name in read(role, "defaults/main.yml") if not name.startswith(f"{role}_")]
    private = [name for name in read(role, "vars/main.yml") if not name.startswith(f"_{role}_")]
    assert (public, private) == ([], [])


@pytest.mark.parametrize("role", groups())
def test_every_variable_is_described_in_a_sentence(role: str) -> None:
    speechless = [name for name, option in options(role).items() if not str(option.get("description", "")).strip()]
    assert speechless == []


def test_the_event_sources_of_the_role_are_those_of_the_groups() -> None:
    by_product = read("event_router", "vars/main.yml")["_event_router_sources"]
    written = {product: tuple(source["name"] for source in sources) for product, sources in by_product.items()}
    known = {name: group.sources for name, group in groups().items() if group.sources}
    assert written == known


def test_every_unit_that_runs_the_kits_code_is_restarted_with_it() -> None:
    products = {"kafka", "xdc-xrootd", "xdc-xcache", *groups()["openstack"].units}  # the kit only starts them
    units = {unit for group in groups().values() for unit in (*group.units, *group.sources)}
    assert set(read("kit", "vars/main.yml")["_kit_units"]) == units - products


def test_the_port_table_names_groups_and_ports_that_there_are() -> None:
    known = {*groups(), "all"}
    numbers = service_variables()
    table = numbers["testbed_ports"]
    assert [row for row in table if row["group"] not in known] == []
    assert [row for row in table if not isinstance(numbers.get(row["port"], row["port"]), int)] == []


def test_every_port_of_a_service_is_in_the_port_table() -> None:
    loopback = {"event_router_metrics_port", "openwhisk_standalone_port"}  # asked on the node itself
    listed = {row["port"] for row in service_variables()["testbed_ports"]}
    assert {name for name in service_variables() if name.endswith("_port")} - listed == loopback
