"""Runs the suites and the demonstration on the testbed's client node, and brings their results back.

They run there because every name resolves there, with the clients that users of such a node have; the same works with
containers, instances and own machines. Progress comes as JSON lines over SSH.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from xdc_testbed import endpoints
from xdc_testbed.drivers.base import Node
from xdc_testbed.errors import VerifyFailed, WrongUsage, XdcError
from xdc_testbed.progress import Event, Reporter, phase
from xdc_testbed.testbed import sources, ssh
from xdc_testbed.testbed.lifecycle import Testbed

PYTHON = "/opt/xdc-testbed/venv/bin/python"
ENDPOINTS = "/etc/xdc-testbed/endpoints.json"
SUITE_DEADLINE = 1200.0
DEMO_DEADLINE = 900.0


@dataclass
class Summary:
    """Outcome of a suite. outcomes: word -> number; bad: records that make the suite fail."""

    total: int = 0
    bad: int = 0
    ok: bool = False
    outcomes: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-safe."""
        return asdict(self)


def report_dir(testbed: Testbed, name: str) -> Path:
    """A folder for one report; it stays after `down`."""
    path = testbed.base / f"{testbed.name}.reports" / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def client(testbed: Testbed) -> Node:
    """The node that users work from."""
    for node in testbed.nodes():
        if "client" in node.groups:
            return node
    raise WrongUsage(
        f"testbed '{testbed.name}' has no client node", remedy="give one node the group 'client' and run up"
    )


def interop(testbed: Testbed, folder: Path, *, cases: Sequence[str], report: Reporter) -> Summary:
    """Run the interoperability suite; reports land in `folder`. Raises XdcError when there is no run."""
    node = client(testbed)
    storage = [e for e in testbed.endpoints() if e.product in endpoints.STORAGES | endpoints.CACHES]
    ssh.put_file(node, testbed.known_hosts, ENDPOINTS, endpoints.dump(testbed.endpoints()).encode())
    remote = f"/var/tmp/xdc-{folder.name}"  # noqa: S108 - on the node, made by root
    summary = Summary()

    def progress(line: dict[str, Any]) -> None:
        match line.get("event"):
            case "plan":
                report(
                    Event(
                        "note",
                        f"{line['total']} questions from {line['cases']} cases to {len(storage)} endpoints",
                    )
                )
            case "record":
                record = line["record"]
                if record["outcome"] in _BAD:
                    report(Event("note", f"{record['outcome']}: {_name(record)}: {record.get('reason')}"))
                elif line["done"] % 50 == 0:
                    report(Event("step", f"{line['done']} of {line['total']}"))
            case "end":
                summary.ok, summary.total, summary.outcomes = (
                    bool(line["ok"]),
                    int(line["total"]),
                    dict(line["outcomes"]),
                )
                summary.bad = sum(count for word, count in summary.outcomes.items() if word in _BAD)
            case "error":
                raise XdcError(line["message"], remedy=line.get("remedy"))

    selected = [word for pattern in cases for word in ("--case", pattern)]
    with phase(report, "interop", "interoperability suite on the client node"):
        done = _run(
            testbed,
            node,
            [
                "xdc_testbed.interop",
                "--endpoints",
                ENDPOINTS,
                "--out",
                remote,
                "--title",
                f"testbed {testbed.name}",
                "--json-progress",
                *selected,
            ],
            progress,
            folder,
            SUITE_DEADLINE,
        )
        if done not in (0, 1):
            raise VerifyFailed(f"the suite ended with exit code {done}", remedy=f"see {folder / 'remote.log'}")
        _bring_back(testbed, node, remote, folder)
    return summary


def demo(testbed: Testbed, folder: Path, *, preset: str, report: Reporter, deadline: float | None = None) -> bool:
    """Run the pipeline with detector data; facts and corrected files land in `folder`. Returns whether all is right.

    deadline: seconds from the last upload until every file is accounted for; None: the demonstration's own.
    """
    node = client(testbed)
    ssh.put_file(node, testbed.known_hosts, ENDPOINTS, endpoints.dump(testbed.endpoints()).encode())
    remote, work = f"/var/tmp/xdc-{folder.name}", f"/var/tmp/xdc-{folder.name}.work"  # noqa: S108 - on the node, made by root
    last = ""

    def progress(line: dict[str, Any]) -> None:
        nonlocal last
        report(Event("step" if line["phase"] == last else "note", f"{line['phase']}: {line['message']}"))
        last = line["phase"]

    with phase(report, "demo", "detector data through the testbed"):
        done = _run(
            testbed,
            node,
            [
                "xdc_testbed.demo",
                "--endpoints",
                ENDPOINTS,
                "--work",
                work,
                "--out",
                remote,
                "--preset",
                preset,
                *([] if deadline is None else ["--deadline", str(deadline)]),
                "--json-progress",
            ],
            progress,
            folder,
            DEMO_DEADLINE + (deadline or 0.0),
        )
        ssh.execute(node, testbed.known_hosts, "rm", "-rf", work, timeout=60)
        if done not in (0, 1):
            raise VerifyFailed(f"the demonstration ended: {_last_words(folder)}", remedy=f"see {folder / 'remote.log'}")
        _bring_back(testbed, node, remote, folder)
    return done == 0


_BAD = ("fail", "error", "unexpected-pass")


def _name(record: dict[str, Any]) -> str:
    return " ".join(str(record[key]) for key in ("case_id", "case", "name") if key in record)


def _run(
    testbed: Testbed,
    node: Node,
    module: list[str],
    progress: Callable[[dict[str, Any]], None],
    folder: Path,
    deadline: float,
) -> int:
    failure: list[XdcError] = []

    def line(text: str) -> None:
        try:
            parsed = json.loads(text)
        except ValueError:
            return
        try:
            progress(parsed)
        except XdcError as error:
            failure.append(error)

    done = ssh.stream(
        node,
        testbed.known_hosts,
        PYTHON,
        "-m",
        *module,
        timeout=deadline,
        on_line=line,
        log_file=folder / "remote.log",
    )
    if failure:
        raise failure[0]
    return done.returncode


def _bring_back(testbed: Testbed, node: Node, remote: str, folder: Path) -> None:
    ssh.fetch(node, testbed.known_hosts, remote, folder, timeout=300)
    ssh.execute(node, testbed.known_hosts, "rm", "-rf", remote, timeout=60)


def _last_words(folder: Path) -> str:
    lines = (folder / "remote.log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "without a word"


def event_probe(testbed: Testbed, *, count: int, burst: bool, deadline: float) -> dict[str, Any]:
    """Write small files to the first storage and time what follows. Returns the probe's summary, latencies in ms."""
    question = _broker_question(testbed, "client")
    storage = next(iter(endpoints.storages(testbed.endpoints())), None)
    if storage is None or storage.credentials.issuer is None:
        raise WrongUsage(
            "the probe needs a storage and a token issuer", remedy="give nodes the groups 'xrootd' and 'token_issuer'"
        )
    question |= {
        "storages": {storage.id: storage.urls["https"]},
        "issuer": storage.credentials.issuer,
        "client_id": "demo",
        "client_secret": _secrets(testbed)["token_clients"]["demo"],
        "ca_file": str(storage.credentials.ca_file),
        "credentials": sources.secrets(testbed.description())["external"],
    }
    options = ["--count", str(count), "--deadline", str(deadline), *(["--burst"] if burst else [])]
    done = ssh.execute(
        client(testbed),
        testbed.known_hosts,
        PYTHON,
        "-m",
        "xdc_testbed.events.probe",
        *options,
        timeout=deadline * (1 if burst else count) + 60,
        check=False,
        input=json.dumps(question).encode(),
    )
    lines = done.text.splitlines()
    if done.returncode not in (0, 1) or not lines:
        raise XdcError(f"the probe ended: {done.reason}", remedy="xdc-testbed status; xdc-testbed logs event_router")
    return dict(json.loads(lines[-1]))


def dead_letters(testbed: Testbed, *words: str) -> list[dict[str, Any]]:
    """Ask about dead letters: `list`, `show ID`, `retry ID`, `retry --all REASON RULE`."""
    done = ssh.execute(
        client(testbed),
        testbed.known_hosts,
        PYTHON,
        "-m",
        "xdc_testbed.events",
        "dead",
        *words,
        timeout=60,
        check=False,
        input=json.dumps(_broker_question(testbed, "admin")).encode(),
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise WrongUsage(said[0], remedy=said[1] if len(said) > 1 else None)
    return [json.loads(line) for line in done.text.splitlines()]


def event_rules(testbed: Testbed) -> str:
    """The text of the rules that the testbed's router follows."""
    return ssh.execute(_router(testbed), testbed.known_hosts, "cat", "/etc/xdc-testbed/rules.toml", timeout=30).text


def watch_events(testbed: Testbed, *, count: int | None, show: Callable[[dict[str, Any]], None]) -> None:
    """Hand on the pictures of the testbed's watching page as they come: count of them, or for a day."""
    node = _router(testbed)
    options = ["--count", str(count)] if count is not None else []
    module = ("-m", "xdc_testbed.events.look", "--config", "/etc/xdc-testbed/event-router.toml", *options)
    done = ssh.stream(
        node,
        testbed.known_hosts,
        PYTHON,
        *module,
        timeout=86_400,
        on_line=lambda line: show(json.loads(line)),
        log_file=Path(os.devnull),
    )
    if done.returncode != 0:
        raise XdcError("the watching page does not answer", remedy="xdc-testbed logs event_router")


def _router(testbed: Testbed) -> Node:
    node = next((node for node in testbed.nodes() if "event_router" in node.groups), None)
    if node is None:
        raise WrongUsage("the testbed has no event router", remedy="give one node the group 'event_router'")
    return node


def _broker_question(testbed: Testbed, user: str) -> dict[str, Any]:
    broker = next((e for e in testbed.endpoints() if e.product == "kafka"), None)
    if broker is None:
        raise WrongUsage("the testbed has no broker", remedy="give one node the group 'kafka'")
    return {
        "kafka": {"bootstrap": broker.urls["kafka"], "ca_file": "/etc/xdc-testbed/ca.pem"},
        "user": user,
        "password": _secrets(testbed)["kafka"][user],
    }


def _secrets(testbed: Testbed) -> dict[str, Any]:
    return dict(yaml.safe_load(Path(testbed.folder.secrets_file).read_text()))
