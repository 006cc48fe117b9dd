"""Runs a soak from the controller: files are written on the client node, faults come and go by plan, a ledger is kept.

Whatever happens, the faults that were made are undone and the client node's program is ended.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from xdc_testbed import endpoints
from xdc_testbed.errors import DeadlineExceeded, VerifyFailed, WrongUsage, XdcError
from xdc_testbed.faults import commands
from xdc_testbed.faults.model import Kill, Order, Status
from xdc_testbed.progress import Event, Reporter, phase
from xdc_testbed.soak import plan as plans
from xdc_testbed.soak.facts import FACT
from xdc_testbed.soak.ledger import Ledger
from xdc_testbed.soak.outcome import Outcome, Span
from xdc_testbed.soak.plan import Plan, Step
from xdc_testbed.testbed import remote, ssh
from xdc_testbed.testbed.lifecycle import Testbed

CarryOut = Callable[[Testbed, Iterable[commands.NodeCommand]], list[tuple[str, Status]]]
BETWEEN = "between the faults"
FACTS = "facts.jsonl"
LOG = "remote.log"
_START = 60.0  # seconds until the client node writes
_END = 600.0  # seconds for comparing and removing all files
_PACE = 30.0  # seconds at most until the next fault, for files that are still held up
_LOOK = 0.2


def soak(bed: Testbed, plan: Plan, folder: Path, *, carry_out: CarryOut, report: Reporter) -> Outcome:
    """Run a plan; facts land in `folder`. carry_out: runs the faults' agent on nodes.

    Raises WrongUsage when the testbed does not have what the plan names or is faulty already, and XdcError when
    the client node cannot write. What goes wrong with files or services is in the outcome.
    """
    nodes = bed.nodes()
    planned = [plans.orders(step, nodes) for step in plan.step]
    if carry_out(bed, commands.listing(nodes)):
        raise WrongUsage("there are faults on the testbed already", remedy="xdc-testbed fault clear")
    if down := _not_active(bed):
        raise VerifyFailed(f"not active before the first fault: {', '.join(down)}", remedy="xdc-testbed up")
    stream = _Stream(bed, plan, folder)
    run = _Run(bed, plan, stream, carry_out, report)
    with phase(report, "soak", f"{plan.title}: {plan.seconds:g} s, {len(plan.step)} steps"), stream.running():
        run.go(planned)
    return run.outcome()


class _Stream:
    """The program on the client node, and the ledger of what it tells."""

    def __init__(self, bed: Testbed, plan: Plan, folder: Path) -> None:
        self.bed, self.plan, self.folder = bed, plan, folder
        self.run = secrets.token_hex(3)
        self.ledger = Ledger()
        self.lock = threading.Lock()
        self._node = remote.client(bed)
        self._control = f"/run/xdc-soak-{self.run}"
        self._thread = threading.Thread(target=self._follow, name="stream", daemon=True)
        self._failure: XdcError | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write files in this block; afterwards every file has been looked at and removed."""
        ssh.put_file(self._node, self.bed.known_hosts, remote.ENDPOINTS, endpoints.dump(self.bed.endpoints()).encode())
        self._order("mkdir", "-p", self._control)
        self._thread.start()
        try:
            self.wait(lambda: self.ledger.ready is not None, _START, "files are written")
            yield
        finally:
            self._order("touch", f"{self._control}/stop", f"{self._control}/finish")
            self._thread.join(_END)
            self._order("rm", "-rf", self._control)
        self.check()

    def stop(self) -> None:
        """Write no further files; results of those that are in are still told."""
        self._order("touch", f"{self._control}/stop")

    def check(self) -> None:
        """Raise what made the program end too early."""
        if self.ledger.problem is not None:
            raise XdcError(self.ledger.problem.message, remedy=self.ledger.problem.remedy)
        if self._failure is not None:
            raise self._failure

    def wait(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for something. Raises DeadlineExceeded, and what made the program end."""
        until = time.monotonic() + seconds
        while not self.asked(done):
            self.check()
            if not self._thread.is_alive():
                raise XdcError("the writing of files has ended", remedy=f"see {self.folder / LOG}")
            if time.monotonic() > until:
                raise DeadlineExceeded(f"not within {seconds:g} s: {what}", remedy="xdc-testbed status")
            time.sleep(_LOOK)

    def asked(self, question: Callable[[], bool]) -> bool:
        """Ask the ledger while nothing comes in."""
        with self.lock:
            return question()

    def _order(self, *words: str) -> None:
        ssh.execute(self._node, self.bed.known_hosts, *words, timeout=60)

    def _follow(self) -> None:
        plan = self.plan
        longest = plan.seconds + len(plan.step) * (plan.recover + 60.0)
        words = {
            "--run": self.run,
            "--control": self._control,
            "--files-per-second": f"{plan.files_per_second}",
            "--share": f"{plan.transferred}",
            "--size": f"{plan.file_size}",
            "--longest": f"{longest}",
        }
        try:
            ssh.stream(
                self._node,
                self.bed.known_hosts,
                remote.PYTHON,
                "-m",
                "xdc_testbed.soak.stream",
                *(word for pair in words.items() for word in pair),
                timeout=longest + _END,
                on_line=self._line,
                log_file=self.folder / LOG,
            )
        except XdcError as error:
            self._failure = error

    def _line(self, text: str) -> None:
        try:
            fact = FACT.validate_json(text)
        except ValidationError:
            return  # a warning of a library; it is in the log
        with self.lock:
            self.ledger.take(fact, time.monotonic())
            with (self.folder / FACTS).open("a") as file:
                file.write(f"{text}\n")


@dataclass
class _Run:
    """One soak, step by step."""

    bed: Testbed
    plan: Plan
    stream: _Stream
    carry_out: CarryOut
    report: Reporter
    started: float = 0.0
    epoch: float = 0.0
    spans: list[tuple[Span, list[str]]] = field(default_factory=list)
    seconds: float = 0.0

    def go(self, planned: Sequence[list[list[Order]]]) -> None:
        """Step by step, then the rest of the time, then until the last file has ended."""
        self.started, self.epoch = time.monotonic(), time.time()
        for number, (step, orders) in enumerate(zip(self.plan.step, planned, strict=True)):
            self._wait_until(self.started + step.at)
            self._step(number, step, orders)
        self._wait_until(self.started + self.plan.seconds)
        self.stream.stop()
        ledger = self.stream.ledger
        late = self._within_deadline(lambda: ledger.unsettled == 0, "the last files have ended")
        self.seconds = time.monotonic() - self.started
        self.spans.append((Span(name=BETWEEN), [late] if late else []))

    def outcome(self) -> Outcome:
        """Everything, after the files have been looked at."""
        ledger = self.stream.ledger
        steps: list[int | None] = [*range(len(self.plan.step)), None]
        lines = [ledger.line(step, span, said) for step, (span, said) in zip(steps, self.spans, strict=True)]
        return Outcome(
            title=self.plan.title,
            testbed=self.bed.name,
            run=self.stream.run,
            started=self.epoch,
            seconds=round(self.seconds, 1),
            lines=tuple(lines),
            residue=ledger.residue,
            backlog=tuple(ledger.backlog(self.started + second for second in range(int(self.seconds) + 1))),
            endpoints=tuple(self.bed.endpoints()),
        )

    def _step(self, number: int, step: Step, orders: list[list[Order]]) -> None:
        said = plans.sentences(step, orders)
        self.report(Event("note", f"{step.name}: {'; '.join(said)}"))
        ledger, problems = self.stream.ledger, list[str]()
        with self.stream.lock:
            ledger.open(number)
        began = over = time.monotonic()
        try:
            problems += self._make(orders)
            self._wait_until(time.monotonic() + step.lasts)
            if (text := step.must_say) is not None:  # else the line is red by this, so nothing is said of it here
                self._within_deadline(lambda: ledger.says(number, text), f"a dead letter says '{text}'")
        finally:
            lasting = [order for group in orders for order in group if not isinstance(order.fault, Kill)]
            self._undo(lasting)
        if lasting:
            over = time.monotonic()
        with self.stream.lock:
            ledger.close()
        late = self._within_deadline(lambda: not ledger.waiting(number), f"every file of '{step.name}' has ended")
        down = self._services_back()
        problems += [problem for problem in (late, down) if problem]
        # The next fault is not blamed for what this one left. A machine that is always slow goes on all the same.
        self._within_deadline(lambda: ledger.held_up(time.monotonic()) == 0, "no file is held up", _PACE)
        with self.stream.lock:
            recovered = None if problems else round(ledger.recovered(over), 1)
            span = Span(
                name=step.name,
                faults=tuple(said),
                began=round(began - self.started, 1),
                over=round(over - self.started, 1),
                recovered=recovered,
                must_say=step.must_say,
            )
            line = ledger.line(number, span, problems)
        self.spans.append((span, problems))
        counted = f"{line.files_in} files in, {line.results} results, {line.dead_letters} dead letters"
        again = "" if recovered is None else f", recovered in {recovered:g} s"
        self.report(Event("note", f"{step.name}: {counted}{again}"))
        for problem in line.problems:
            self.report(Event("warning", f"{step.name}: {problem}"))

    def _make(self, orders: list[list[Order]]) -> list[str]:
        """Make the faults. Returns what is wrong with them."""
        problems = []
        for group in orders:
            try:
                for node, status in self.carry_out(self.bed, commands.apply(group)):
                    if not status.in_force and not isinstance(status.fault, Kill):
                        problems.append(f"not in force on {node}: {status.text}")
            except XdcError as error:
                problems.append(f"fault not made: {error.message}")
        return problems

    def _undo(self, orders: Sequence[Order]) -> None:
        for order in reversed(orders):
            self.carry_out(self.bed, commands.clear([self.bed.node(order.node)], order.id))

    def _services_back(self) -> str | None:
        """Wait for all services. Returns what is wrong."""
        until = time.monotonic() + self.plan.recover
        while down := _not_active(self.bed):
            if time.monotonic() > until:
                return f"not active again within {self.plan.recover:g} s: {', '.join(down)}"
            time.sleep(1.0)
        return None

    def _within_deadline(self, done: Callable[[], bool], what: str, longest: float = math.inf) -> str | None:
        try:
            self.stream.wait(done, min(longest, self.plan.recover), what)
        except DeadlineExceeded as error:
            return error.message
        return None

    def _wait_until(self, moment: float) -> None:
        while (left := moment - time.monotonic()) > 0:
            self.stream.check()
            time.sleep(min(left, 1.0))


def _not_active(bed: Testbed) -> list[str]:
    return [
        f"{unit} on {node} ({word})"
        for node, units in bed.units().items()
        for unit, word in units.items()
        if word != "active"
    ]
