"""`events`: dead letters of the router, a probe of its latency, and what the rules would do with an event."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from xdc_testbed.cli.options import Name, Output, StateDir, testbed
from xdc_testbed.errors import VerifyFailed, WrongUsage
from xdc_testbed.testbed import remote

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
def retry_letter(letter: LetterId, name: Name = None, state_dir: StateDir = None) -> None:
    """Put a dead letter's work back into the row."""
    item = remote.dead_letters(testbed(name, state_dir), "retry", letter)[0]
    print(f"  {item['subject']} goes to rule {item['rule']} again as work item {item['id'][:12]}")


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
    event: Annotated[Path, typer.Argument(help="A StorageEvent as JSON, for example from the topic storage-events.")],
    rules: Annotated[Path, typer.Option("--rules", help="The rules file.")],
) -> None:
    """Which rules match an event, and what work would come of it; touches nothing."""
    from xdc_testbed.events.model import StorageEvent
    from xdc_testbed.events.rules import load

    try:
        parsed = StorageEvent.model_validate_json(event.read_bytes())
    except OSError as error:
        raise WrongUsage(f"{event}: {error.strerror}", remedy="give the path of a readable file") from None
    except ValidationError as error:
        fault = error.errors()[0]
        raise WrongUsage(
            f"{event} is not a storage event: {'.'.join(map(str, fault['loc'])) or 'text'}: {fault['msg']}",
            remedy="see docs/reference/storage-event.schema.json",
        ) from None
    work = list(load(rules).work(parsed, now=time.time()))
    for item in work:
        print(f"  {item.rule}: {item.action} {json.dumps(item.parameters)}")
    if not work:
        print("  no rule matches")
