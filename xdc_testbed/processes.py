"""Every subprocess of the kit starts here: argument lists, a deadline, and nothing left running.

A command gets its own session, so that ending it ends its children too.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from xdc_testbed.errors import DeadlineExceeded, Interrupted, RequirementMissing, XdcError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Completed:
    """A command that has ended. seconds: wall time."""

    args: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def text(self) -> str:
        """Standard output, decoded, without the last newline."""
        return self.stdout.decode(errors="replace").rstrip("\n")

    @property
    def reason(self) -> str:
        """The last line the command said, but for docker's pointer to its help: what a person wants to read first."""
        lines = (self.stderr or self.stdout).decode(errors="replace").strip().splitlines()
        said = [line for line in lines if not line.startswith("See 'docker ")]
        return said[-1] if said else f"exit status {self.returncode}"


class CommandFailed(XdcError):
    """A command ended with a status other than 0."""

    def __init__(self, completed: Completed) -> None:
        super().__init__(f"{Path(completed.args[0]).name} failed ({completed.returncode}): {completed.reason}")
        self.completed = completed


def run(
    args: Sequence[str | Path],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    input: bytes | None = None,  # noqa: A002 - the name that subprocess has given it
    cwd: Path | None = None,
    check: bool = True,
) -> Completed:
    """Run a command to its end and keep what it said.

    timeout: seconds. env: the whole environment, or None for this process's.
    Raises CommandFailed (with check), DeadlineExceeded, RequirementMissing when the program is not there.
    """
    words = tuple(str(a) for a in args)
    started = time.monotonic()
    with _started(
        words, env=env, cwd=cwd, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL
    ) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise DeadlineExceeded(f"{words[0]} did not end within {timeout:g} s: {' '.join(words[:6])}") from None
    completed = Completed(words, process.returncode, out, err, time.monotonic() - started)
    log.debug("%s -> %d in %.2f s", " ".join(words[:8]), completed.returncode, completed.seconds)
    if check and completed.returncode != 0:
        raise CommandFailed(completed)
    return completed


def follow(
    args: Sequence[str | Path],
    *,
    timeout: float,
    on_line: Callable[[str], None],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log_file: Path | None = None,
) -> Completed:
    """Run a command and hand each line of its standard output on as it comes; standard error goes to log_file.

    The returned stdout is empty; stderr holds the last 64 KiB. Raises DeadlineExceeded, RequirementMissing.
    """
    words = tuple(str(a) for a in args)
    started = time.monotonic()
    errors = log_file.open("ab+") if log_file else None
    begin = errors.tell() if errors else 0
    try:
        with _started(
            words, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stderr=errors or subprocess.DEVNULL
        ) as process:
            timer = _Deadline(process, started + timeout)
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            with timer:
                for line in process.stdout:
                    on_line(line.decode(errors="replace").rstrip("\n"))
                process.wait()
            if timer.hit:
                raise DeadlineExceeded(f"{words[0]} did not end within {timeout:g} s")
        tail = b""
        if errors:
            errors.seek(0, os.SEEK_END)
            errors.seek(max(begin, errors.tell() - 65536))
            tail = errors.read()
    finally:
        if errors:
            errors.close()
    return Completed(words, process.returncode, b"", tail, time.monotonic() - started)


def follow_record(
    args: Sequence[str | Path],
    *,
    timeout: float,
    record: Path,
    on_line: Callable[[str], None],
    log_file: Path,
) -> Completed:
    """Run a command that writes its standard output to a file of its own, and hand on each line as it comes.

    Unlike with `follow` there is no pipe between the two: when this process is killed, the command goes on to its end.
    The returned stdout is empty; stderr holds the last 64 KiB. Raises DeadlineExceeded, RequirementMissing.
    """
    words = tuple(str(a) for a in args)
    started = time.monotonic()
    with record.open("ab") as out, log_file.open("ab+") as errors, record.open("rb") as lines:
        lines.seek(0, os.SEEK_END)
        begin = errors.tell()
        with _started(words, env=None, cwd=None, stdin=subprocess.DEVNULL, stdout=out, stderr=errors) as process:
            timer = _Deadline(process, started + timeout)
            partial = b""
            with timer:
                while True:
                    ended = process.poll() is not None  # asked before reading: what comes after it is read once more
                    *whole, partial = (partial + lines.read()).split(b"\n")
                    for line in whole:
                        on_line(line.decode(errors="replace"))
                    if ended:
                        break
                    time.sleep(0.05)
            if timer.hit:
                raise DeadlineExceeded(f"{words[0]} did not end within {timeout:g} s")
        errors.seek(max(begin, errors.seek(0, os.SEEK_END) - 65536))
        tail = errors.read()
    return Completed(words, process.returncode, b"", tail, time.monotonic() - started)


@contextmanager
def finishing_first(on_interrupt: Callable[[], None]) -> Iterator[None]:
    """Let the work inside end before Ctrl-C takes effect; the second Ctrl-C takes effect at once.

    on_interrupt: called at the first one, to say so. Raises Interrupted when the work has ended after a first Ctrl-C,
    or at the second. In a thread other than the main one, which gets no signals, nothing is held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    count = 0

    def take(_: int, __: object) -> None:
        nonlocal count
        count += 1
        if count > 1:
            raise KeyboardInterrupt
        on_interrupt()

    before = signal.signal(signal.SIGINT, take)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted twice", remedy="run the same command again: it finds what was lost") from None
    finally:
        signal.signal(signal.SIGINT, before)
    if count:
        raise Interrupted("interrupted", remedy="run the same command again, it resumes; or xdc-testbed down")


def end_as_by_ctrl_c() -> None:
    """Take SIGTERM and SIGHUP for a Ctrl-C from now on: commands have sessions of their own, and would outlive us.

    What is ignored already (nohup) stays so. In a thread other than the main one nothing happens. Forked workers end by
    these signals as any process does.
    """
    taken: list[signal.Signals] = []

    def take(_: int, frame: FrameType | None) -> None:
        interrupt = signal.getsignal(signal.SIGINT)
        if not callable(interrupt):  # ignored, as in the background of a script
            raise KeyboardInterrupt
        interrupt(signal.SIGINT, frame)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, take)
                taken.append(number)
        os.register_at_fork(after_in_child=lambda: [signal.signal(number, signal.SIG_DFL) for number in taken])


def end_session(leader: int, *, grace: float = 5.0) -> None:
    """End a session that another library has started, by its leader's process id; nothing happens when it has ended."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + grace
        try:
            os.killpg(leader, sign)
            while time.monotonic() < until:
                with suppress(ChildProcessError):  # a child of ours stays a zombie until somebody asks
                    os.waitpid(leader, os.WNOHANG)
                os.killpg(leader, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return


class _Deadline:
    """Ends a process's whole group when its time is up."""

    def __init__(self, process: subprocess.Popen[bytes], at: float) -> None:
        self.hit = False
        self._process = process
        self._timer = threading.Timer(max(0.0, at - time.monotonic()), self._end)
        self._timer.daemon = True

    def _end(self) -> None:
        self.hit = True
        _end_group(self._process)

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()


def supervise(
    command: Sequence[str], *, healthy: Callable[[], bool], interval: float, tries: int, grace: float = 5.0
) -> int:
    """Run a server until it ends, is told to end (SIGTERM, SIGINT), or was not healthy `tries` times in a row.

    interval: seconds between two looks; grace: seconds that an unhealthy server gets to end by itself. Takes the two
    signals of this process. Returns the server's exit code, 128 + its signal, 0 after it was told to end, 1 when it
    was ended for its health.
    """
    told = False
    server: subprocess.Popen[bytes] | None = None

    def end(number: int, _: object) -> None:
        nonlocal told
        told = True
        if server is not None:
            server.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    server = subprocess.Popen(list(command))
    if told:  # while it was being started
        server.terminate()
    bad = 0
    while bad < tries:
        try:
            code = server.wait(interval)
        except subprocess.TimeoutExpired:
            bad = 0 if told or healthy() else bad + 1
        else:
            return 0 if told else code if code >= 0 else 128 - code
    log.warning("not healthy %d times in a row, ended: %s", tries, command[0])
    server.terminate()
    try:
        server.wait(grace)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    return 1


@contextmanager
def _started(
    words: tuple[str, ...],
    *,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    stdin: int,
    stdout: object = subprocess.PIPE,
    stderr: object = subprocess.PIPE,
) -> Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(
            words,
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,  # type: ignore[call-overload]
        )
    except FileNotFoundError:
        raise RequirementMissing(
            f"{words[0]} is not installed",
            remedy="make setup  (installs what is missing), or see: xdc-testbed doctor",
        ) from None
    try:
        yield process
    finally:
        if process.poll() is None:
            _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for sign, grace in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            continue
        return
