"""Write the reference pages from what they describe: argument specs of the roles, verbs, and models.

    .venv/bin/python scripts/reference.py

Pages go to docs/reference/; a unit test fails when one is stale.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, TypeAdapter
from typer.main import get_command

from xdc_testbed import errors
from xdc_testbed.calibration.manifest import CalibrationManifest
from xdc_testbed.calibration.report import outcomes
from xdc_testbed.cli import app
from xdc_testbed.endpoints import Endpoint
from xdc_testbed.events.model import DeadLetter, Result, StorageEvent, WorkItem
from xdc_testbed.interop.record import CaseRecord
from xdc_testbed.soak.outcome import Line
from xdc_testbed.soak.plan import Plan
from xdc_testbed.testbed.description import (
    ContainerOptions,
    Description,
    NodeDescription,
    ScaledDescription,
    groups,
    profiles,
)
from xdc_testbed.testbed.variables import service_variables

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
NOTE = "<!-- Written by scripts/reference.py from the sources; do not edit. -->"

SCHEMAS: dict[str, Any] = {
    "endpoints": list[Endpoint],
    "storage-event": StorageEvent,
    "work-item": WorkItem,
    "activation-result": Result,
    "dead-letter": DeadLetter,
    "case-record": CaseRecord,
    "calibration-manifest": CalibrationManifest,
    "description": Description,
    "fault-plan": Plan,
    "soak-line": Line,
}
"""What travels between the parts, or stands in files: page name -> model."""

WRITTEN_BY_PEOPLE = ("endpoints", "description", "fault-plan")
"""Files in which a field with a default may be left out."""


def main() -> None:
    """Write every page and take away those that are no longer made."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = pages()
    for name, text in made.items():
        (FOLDER / name).write_text(text)
    for path in FOLDER.iterdir():
        if path.name not in made:
            path.unlink()


def pages() -> dict[str, str]:
    """Every page: file name -> text."""
    schemas = {f"{name}.schema.json": schema(name) for name in SCHEMAS}
    texts = {"roles.md": roles(), "cli.md": verbs(), "description.md": description(), "outcomes.md": calibration()}
    return {"README.md": index(), **texts, **schemas}


def index() -> str:
    """The list of all pages."""
    lines = [
        "- [Command line](cli.md): every verb with its options, and the exit codes",
        "- [Outcomes of a calibration](outcomes.md): every bad input, its name, and what to do",
        "- [Description](description.md): what `testbed.toml` may say; services and profiles",
        "- [Roles](roles.md): every variable of every service",
    ]
    lines += [f"- [{name}.schema.json]({name}.schema.json): {_purpose(model)}" for name, model in SCHEMAS.items()]
    return _page("Reference", "\n".join(lines))


def schema(name: str) -> str:
    """The JSON schema of a model."""
    mode: Literal["validation", "serialization"] = "validation" if name in WRITTEN_BY_PEOPLE else "serialization"
    made = TypeAdapter(SCHEMAS[name]).json_schema(mode=mode)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **made}, indent=1) + "\n"


# -- roles ------------------------------------------------------------------------------------------------------------


def calibration() -> str:
    """What becomes of bad input."""
    lines = [NOTE, "# Outcomes of a calibration", ""]
    failed = "The file is not corrected, the others of the run are, and the command ends with exit code 1."
    for title, told, column, table in (
        ("Not corrected", failed, "`failure` in the manifest", outcomes.FAILED),
        ("Corrected", "The manifest says what was met.", "in the manifest", outcomes.COUNTED),
    ):
        lines += [f"## {title}", "", told, ""]
        lines += [f"| met | {column} | what to do |", "| --- | --- | --- |"]
        lines += [f"| {row.met} | `{row.name}` | {row.remedy} |" for row in table]
        lines.append("")
    return "\n".join([*lines, "## Killed", "", outcomes.KILLED, "", "## Not told", "", outcomes.ENDLESS, ""])


def roles() -> str:
    """Every role with its variables, in the order of inventory/groups.yml."""
    parts = [
        "Set a variable in the table `vars` of `testbed.toml`; an unknown one is refused with the nearest right name."
    ]
    for name, group in groups().items():
        specs = yaml.safe_load((ROOT / "roles" / name / "meta" / "argument_specs.yml").read_text())["argument_specs"]
        parts.append(f"## {name}\n\n{group.purpose[:1].upper()}{group.purpose[1:]}.")
        parts.append(_role(specs["main"]))
        for entry, spec in specs.items():
            if entry != "main":
                more = {key: value for key, value in spec["options"].items() if key not in specs["main"]["options"]}
                parts.append(f"### Entry point `{entry}`\n\n" + _role({**spec, "options": more}))
    return _page("Roles and their variables", "\n\n".join(parts))


def _role(spec: Mapping[str, Any]) -> str:
    said = spec.get("description", [])
    text = " ".join(" ".join(line.split()) for line in ([said] if isinstance(said, str) else said))
    rows = list(_variables(spec.get("options", {}), service_variables()))
    return "\n\n".join(part for part in (text, _table("variable", "type", "value", "meaning", rows=rows)) if part)


def _variables(options: Mapping[str, Any], inventory: Mapping[str, Any], prefix: str = "") -> Iterator[list[str]]:
    for name, option in options.items():
        kind = f"list of {option['elements']}" if "elements" in option else option.get("type", "str")
        if "default" in option:
            value = _code(option["default"])
        elif name in inventory and not prefix:
            value = f"{_code(inventory[name])} (inventory)"
        elif option.get("required"):
            value = "from the testbed" if name.startswith("testbed_") else "required"
        else:
            value = "chosen by the role"
        meaning = option.get("description", "")
        yield [f"`{prefix}{name}`", kind, value, " ".join(meaning if isinstance(meaning, list) else [meaning])]
        yield from _variables(option.get("options", {}), inventory, f"{prefix}{name}[].")


# -- command line -----------------------------------------------------------------------------------------------------


def verbs() -> str:
    """Every verb with its arguments and options, then the exit codes."""
    parts = [
        "Every verb also has `--help`. Before the verb: `--debug` shows tracebacks, `--version` prints the version."
    ]
    for verb in app.VERBS:
        parts += _section(verb, get_command(app.build([verb])).commands[verb])  # type: ignore[attr-defined]
    tree = "\n".join(
        line[4:] for line in (errors.__doc__ or "").splitlines() if " exit " in line and line.startswith("    ")
    )
    parts.append(f"## Exit codes\n\n`0` is success. Every error is one of these:\n\n```text\n{tree}\n```")
    return _page("Command line", "\n\n".join(parts))


def _section(words: str, command: Any) -> Iterator[str]:
    """A verb, and below it the verbs that it consists of."""
    below = getattr(command, "commands", {})
    head = "#" * (1 + len(words.split()))
    yield f"{head} {words}\n\n" + (str(command.help) if below else _command(words, command))
    for name, one in below.items():
        yield from _section(f"{words} {name}", one)


def _command(words: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join(["xdc-testbed", words, "[OPTIONS]" if options else "", *map(_argument, arguments)]).split()
    rows = [[f"`{_argument(p)}`", p.help or "", ""] for p in arguments]
    rows += [[", ".join(f"`{opt}`" for opt in p.opts), p.help or "", _default(p)] for p in options]
    text = " ".join(str(command.help).split())
    return f"{text}\n\n```text\n{' '.join(usage)}\n```\n\n" + _table("word", "meaning", "default", rows=rows)


def _argument(parameter: Any) -> str:
    word = f"{parameter.name.upper()}{'...' if parameter.nargs == -1 else ''}"
    return word if parameter.required else f"[{word}]"


def _default(parameter: Any) -> str:
    nothing = parameter.default is None or parameter.default is False or parameter.default == []
    return "" if nothing else f"`{parameter.default}`"


# -- description ------------------------------------------------------------------------------------------------------


def description() -> str:
    """What testbed.toml may say."""
    layers = (
        "A description is made of layers, and the later one wins: defaults, profile, `testbed.toml` (or `--file`), "
        "environment (`XDC_NAME`, `XDC_PROFILE`, `XDC_DRIVER`), command line. `xdc-testbed config explain` shows each "
        "value with its origin."
    )
    parts = [layers]
    for title, model in (
        ("The testbed", Description),
        ("`[nodes.<name>]`: one machine", NodeDescription),
        ("`[scaled.<name>]`: machines of one kind, as many as are wanted", ScaledDescription),
        ("`[podman]`: local nodes", ContainerOptions),
    ):
        parts.append(f"## {title}\n\n" + _table("key", "type", "default", "meaning", rows=list(_fields(model))))
    services = [
        [f"`{name}`", group.purpose, group.product or "", group.kind or "", "every node" if group.always else ""]
        for name, group in groups().items()
    ]
    parts.append("## Services\n\n" + _table("group", "purpose", "product", "kind", "goes to", rows=services))
    rows = []
    for profile in profiles():
        file = ROOT / "inventory" / "profiles" / f"{profile}.toml"
        made = Description.model_validate(tomllib.loads(file.read_text()))
        rows += [
            [f"`{profile}`", f"`{n}`", d.site, ", ".join(d.groups), f"{d.memory} MiB"] for n, d in made.nodes.items()
        ]
    parts.append("## Profiles\n\n" + _table("profile", "node", "site", "groups", "memory", rows=rows))
    return _page("Description of a testbed", "\n\n".join(parts))


def _fields(model: type[BaseModel]) -> Iterator[list[str]]:
    made = model.model_json_schema()
    for name, field in model.model_fields.items():
        about = made["properties"][name]
        if "$ref" in about or "$ref" in str(about.get("additionalProperties", "")):
            continue
        default = "required" if field.is_required() else _code(about.get("default", {}))
        yield [f"`{name}`", _type(about), default, field.description or ""]


def _type(about: Mapping[str, Any]) -> str:
    if "enum" in about:
        return ", ".join(f"`{word}`" for word in about["enum"])
    if "const" in about:
        return f"`{about['const']}`"
    if about["type"] == "array":
        return f"list of {about['items']['type']}"
    limits = [("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most")]
    said = [f"{word} {about[key]}" for key, word in limits if key in about]
    return ", ".join([{"object": "table"}.get(about["type"], about["type"]), *said])


# -- Markdown ---------------------------------------------------------------------------------------------------------


def _page(title: str, body: str) -> str:
    return f"{NOTE}\n# {title}\n\n{body}\n"


def _table(*head: str, rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text in a table: bars are escaped, and also angle brackets where they are not code."""
    pieces = text.replace("|", "\\|").split("`")
    return "`".join(piece if number % 2 else piece.replace("<", "\\<") for number, piece in enumerate(pieces))


def _code(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{' '.join(text.split())}`"


def _purpose(model: Any) -> str:
    if model == list[Endpoint]:
        return "What a testbed, or an existing site, offers to clients."
    return " ".join((model.__doc__ or "").strip().split("\n\n")[0].split())


if __name__ == "__main__":
    main()
