"""`events`: dead letters of the router, a probe of its latency, and what the rules would do with an event."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from xdc_testbed.cli.options import Name, Output, StateDir, testbed
from xdc_testbed.errors import VerifyFailed, WrongUsage
from xdc_testbed.testbed import remote

if TYPE_CHECKING:
    from xdc_testbed.events.explain import RuleVerdict

app = typer.Typer(no_args_is_help=True, help="Dead letters of the event router; what the rules would do.")
dead = typer.Typer(no_args_is_help=True, help="What could not be done: list it, look at one, give it another try.")
app.add_typer(dead, name="dead")

LetterId = Annotated[str, typer.Argument(help="Id, or as much of its beginning as is unique.")]


@dead.command("list")
def list_letters(output: Output = "text", name: Name = None, state_dir: StateDir = None) -> None:
    """Every dead letter, oldest first, with its reason."""
    letters = remote.dead_letters(testbed(name, state_dir), "list")
    if output == "json":
        print(json.dumps(letters, indent=1))
        return
    for letter in letters:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(letter["at"]))
        what = f"{letter['endpoint'] or '-'}:{letter['subject'] or '-'}"
        print(f"  {letter['id'][:12]}  {at}  {what}  {letter['reason']}")
    if not letters:
        print("  no dead letter")


@dead.command("show")
def show_letter(letter: LetterId, name: Name = None, state_dir: StateDir = None) -> None:
    """One dead letter with its event and its last result, as JSON."""
    print(json.dumps(remote.dead_letters(testbed(name, state_dir), "show", letter)[0], indent=1))


@dead.command("retry")
def retry_letter(
    letter: Annotated[str | None, typer.Argument(help="Id, or as much of its beginning as is unique.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All dead letters that hold work.")] = False,
    reason: Annotated[str | None, typer.Option("--reason", help="Those whose reason has this text.")] = None,
    rule: Annotated[str | None, typer.Option("--rule", help="Those of this rule.")] = None,
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Put dead letters' work back into the row: one, all, or those of a reason or rule. Twice runs it once."""
    if sum((letter is not None, every, reason is not None or rule is not None)) != 1:
        raise WrongUsage("which dead letters?", remedy="give an id, --all, or --reason and --rule")
    words = (letter,) if letter is not None else ("--all", reason or "", rule or "")
    items = remote.dead_letters(testbed(name, state_dir), "retry", *words)
    for item in items:
        print(f"  {item['subject']} goes to rule {item['rule']} again as work item {item['id'][:12]}")
    if not items:
        print("  no such dead letter")


@app.command()
def probe(
    count: Annotated[int, typer.Option("--count", min=1, help="Files for each storage.")] = 20,
    burst: Annotated[bool, typer.Option("--burst", help="All files at once instead of one after the other.")] = False,
    deadline: Annotated[float, typer.Option("--deadline", help="Seconds to wait for one result, or for a burst.")] = 60,
    output: Output = "text",
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Write small files and time the way from the close to the start of the action. Exit code 1 when one got lost."""
    summary = remote.event_probe(testbed(name, state_dir), count=count, burst=burst, deadline=deadline)
    if output == "json":
        print(json.dumps(summary))
    else:
        took = summary["close_to_action_ms"]
        print(
            f"  {summary['count']} files: {summary['ok']} acted on, {summary['failed']} failed, "
            f"{summary['missing']} missing, {summary['repeated']} more than once; "
            f"close to action p50 {took.get('p50')} ms, p95 {took.get('p95')} ms"
        )
    if summary["ok"] != summary["count"] or summary["repeated"]:
        raise VerifyFailed(
            "not every file was acted on exactly once",
            remedy="xdc-testbed events dead list; xdc-testbed logs event_router",
        )


@app.command()
def explain(
    event: Annotated[str, typer.Argument(help="A StorageEvent as JSON in a file, or the path of a file on a storage.")],
    rules: Annotated[Path | None, typer.Option("--rules", help="The rules file; default: the testbed's.")] = None,
    endpoint: Annotated[str, typer.Option("--endpoint", help="Storage of a plain path.")] = "desy-storage",
    kind: Annotated[str, typer.Option("--type", help="Event of a plain path: written, moved, ...")] = "written",
    size: Annotated[int | None, typer.Option("--size", min=0, help="Bytes of a plain path; default: unknown.")] = None,
    checksum: Annotated[bool, typer.Option("--checksum", help="The event of a plain path has a checksum.")] = False,
    output: Output = "text",
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Which rules match an event and why, condition by condition, and what would be run; touches nothing."""
    from xdc_testbed.events import explain as explaining
    from xdc_testbed.events import rules as rules_file

    known = (
        rules_file.load(rules)
        if rules is not None
        else rules_file.parse(remote.event_rules(testbed(name, state_dir)), name="the testbed's rules.toml")
    )
    file = Path(event)
    if file.is_file() or not event.startswith("/") or (file.suffix == ".json" and file.parent.is_dir()):
        parsed = explaining.read_event(file)
    else:
        parsed = explaining.event_of(event, endpoint=endpoint, kind=kind, size=size, checksum=checksum)
    if output == "json":
        found = explaining.verdicts(known, parsed)
        print(json.dumps([_verdict_json(verdict) for verdict in found], indent=1))
        return
    for line in explaining.lines(known, parsed):
        print(line)


def _verdict_json(verdict: RuleVerdict) -> dict[str, Any]:
    return {
        "rule": verdict.rule.name,
        "matches": verdict.matches,
        "conditions": [asdict(condition) for condition in verdict.conditions],
        "actions": [action.model_dump() for action in verdict.rule.action] if verdict.matches else [],
    }


@app.command()
def watch(
    count: Annotated[int | None, typer.Option("--count", min=1, help="Pictures; default: until interrupted.")] = None,
    output: Output = "text",
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """What happens now: events, lag, latencies, rules, dead letters, once a second. Ends with Ctrl-C."""
    asked = testbed(name, state_dir)
    if output == "json":
        remote.watch_events(asked, count=count, show=lambda picture: print(json.dumps(picture), flush=True))
        return
    if not sys.stdout.isatty():
        remote.watch_events(asked, count=count, show=lambda picture: print(_line(picture), flush=True))
        return
    with Live(auto_refresh=False) as live:
        remote.watch_events(asked, count=count, show=lambda picture: live.update(_table(picture), refresh=True))


def _line(picture: dict[str, Any]) -> str:
    """The figures of a picture for a log."""
    figures = ("events", "events_per_second", "work_items", "results", "dead_letters")
    told = " ".join(f"{name.replace('_', '-')}={picture[name]}" for name in figures)
    return f"{time.strftime('%H:%M:%S', time.localtime(picture['at']))} {told}"


def _table(picture: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False)
    latency = ", ".join(f"{key} {value} ms" for key, value in picture["latency_ms"].items()) or "none yet"
    table.add_row("events", f"{picture['events']} ({picture['events_per_second']} a second)")
    table.add_row("runs complete", str(picture["runs_complete"]))
    table.add_row("work items, results", f"{picture['work_items']}, {picture['results']}")
    table.add_row(
        "not committed", ", ".join(f"{service} {lag}" for service, lag in picture["lag"].items()) or "unknown"
    )
    table.add_row("close to action", latency)
    for rule, counts in picture["rules"].items():
        table.add_row(f"rule {rule}", ", ".join(f"{number} {status}" for status, number in counts.items()))
    table.add_row("dead letters", str(picture["dead_letters"]))
    for letter in picture["letters"][:5]:
        table.add_row(f"  {letter['id'][:12]}", f"{letter['file']} {letter['reason']}")
    return table
