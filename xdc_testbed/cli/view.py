"""What a person sees while work goes on: a live view on a terminal, else plain lines. Both from the same events."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from xdc_testbed.progress import Event, Reporter

_MARKS = {"ok": "✓", "changed": "✓", "failed": "✗", "unreachable": "✗", "skipped": "-"}


@contextmanager
def reporting(record: Path | None = None, *, output: str = "text") -> Iterator[Reporter]:
    """A reporter for one command.

    record: a file that gets every event as a JSON line; output json: nothing on the terminal.
    """
    console = Console(stderr=True)
    live = output == "text" and console.is_terminal and not os.environ.get("CI") and not os.environ.get("NO_COLOR")
    show = _Live(console) if live else _Lines(quiet=output == "json")
    handle = record.open("a") if record else None
    lock = threading.Lock()

    def report(event: Event) -> None:
        with lock:
            if handle:
                handle.write(json.dumps(event.to_json()) + "\n")
                handle.flush()
            show(event)

    try:
        with show:
            yield report
    finally:
        if handle:
            handle.close()


class _Lines:
    """One line per phase and per failure; steps and notes as they come."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def __call__(self, event: Event) -> None:
        line = line_of(event)
        if line and not self._quiet:
            print(line, file=sys.stderr, flush=True)


def line_of(event: Event) -> str | None:
    """The plain line of an event, or None when it is not worth one."""
    clock = time.strftime("%H:%M:%S", time.localtime(event.at))
    match event.kind:
        case "phase-start":
            return f"{clock} {event.phase}: {event.text}"
        case "phase-end":
            word = "done" if event.status == "ok" else event.status
            return f"{clock} {event.phase}: {word} in {event.seconds or 0:.1f} s"
        case "phase-skip":
            return f"{clock} {event.phase}: skipped, {event.text}"
        case "step" | "note":
            return f"{clock}   {event.text}"
        case "warning":
            return f"{clock} warning: {event.text}"
        case "task-result" if event.status in ("failed", "unreachable"):
            return f"{clock}   {event.host}: {event.text}: {event.status}\n{event.detail or ''}"
        case _:
            return None


class _Live:
    """Phases done above, the running phase with its hosts and tasks below."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase = ""
        self._started = 0.0
        self._task = ""
        self._hosts: dict[str, tuple[str, str]] = {}
        self._count = 0
        # Live renders once while it is made.
        self._live = Live(console=console, refresh_per_second=8, transient=True, get_renderable=self._render)

    def __enter__(self) -> _Live:
        self._live.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.__exit__(None, None, None)

    def __call__(self, event: Event) -> None:
        match event.kind:
            case "phase-start":
                self._phase, self._started, self._task, self._count = (
                    f"{event.phase}: {event.text}",
                    time.monotonic(),
                    "",
                    0,
                )
                self._hosts = {}
            case "phase-end":
                style = "green" if event.status == "ok" else "red"
                mark = _MARKS.get(event.status or "ok", "?")
                self._console.print(
                    Text(f"{mark} {self._phase or event.phase}  {event.seconds or 0:.1f} s", style=style)
                )
                self._phase = ""
            case "phase-skip":
                self._console.print(Text(f"- {event.phase}: {event.text}", style="dim"))
            case "task-start":
                self._task, self._count = event.text, self._count + 1
            case "task-result":
                self._hosts[event.host or ""] = (event.status or "ok", event.text)
                if event.status in ("failed", "unreachable"):
                    self._console.print(Text(line_of(event) or "", style="red"))
            case "step" | "note":
                self._task = event.text
                if event.kind == "note":
                    self._console.print(Text(f"  {event.text}"))
            case "warning":
                self._console.print(Text(f"! {event.text}", style="yellow"))

    def _render(self) -> Table:
        table = Table.grid(padding=(0, 2))
        if self._phase:
            table.add_row(Text(f"… {self._phase}  {time.monotonic() - self._started:.0f} s", style="bold"))
            if self._task:
                table.add_row(Text(f"  {self._count or ''} {self._task}", style="cyan"))
            for host, (status, task) in sorted(self._hosts.items()):
                table.add_row(Text(f"    {_MARKS.get(status, '?')} {host:<16} {task}", style="dim"))
        return table
