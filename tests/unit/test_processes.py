"""Subprocesses: what they said, what they are told to have missed, and that nothing of them stays."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xdc_testbed.errors import DeadlineExceeded, RequirementMissing
from xdc_testbed.processes import CommandFailed, follow, run, supervise

# A shell with a child of its own; both would live for ten minutes.
FAMILY = 'sleep 600 & echo "$$ $!" > "$1"; echo begun; wait'


def ended(pid: int) -> bool:
    """Whether a process ends within ten seconds; asks the kernel, does not look again and again."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(10_000))
    finally:
        os.close(descriptor)


def family(path: Path) -> list[int]:
    """The processes of FAMILY."""
    return [int(word) for word in path.read_text().split()]


# -- run --------------------------------------------------------------------------------------------------------------


def test_a_command_gives_its_output_and_its_code() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=10, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert (done.text, done.reason) == ("out", "err")


def test_a_command_that_fails_is_told_by_its_last_line() -> None:
    with pytest.raises(CommandFailed, match=r"^sh failed \(3\): the reason$") as caught:
        run(["/bin/sh", "-c", "echo first >&2; echo the reason >&2; exit 3"], timeout=10)
    assert caught.value.completed.returncode == 3


def test_a_silent_failure_is_told_by_its_code() -> None:
    with pytest.raises(CommandFailed, match="exit status 7"):
        run(["sh", "-c", "exit 7"], timeout=10)


def test_bytes_go_in_and_come_out_as_they_are() -> None:
    data = bytes(range(256)) * 1000
    assert run(["cat"], timeout=10, input=data).stdout == data


def test_without_input_a_command_reads_the_end_at_once() -> None:
    assert run(["cat"], timeout=10).stdout == b""


def test_a_command_gets_the_given_environment_and_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDC_NAME", "of the user")
    assert run(["/usr/bin/env"], timeout=10, env={"ONLY": "this"}, cwd=tmp_path).text == "ONLY=this"


def test_no_shell_reads_the_words() -> None:
    assert run(["echo", "$HOME; *"], timeout=10).text == "$HOME; *"


def test_a_program_that_is_not_there_is_a_missing_requirement_with_a_way_out() -> None:
    with pytest.raises(RequirementMissing, match="xdc-no-such-program is not installed") as caught:
        run(["xdc-no-such-program"], timeout=10)
    assert caught.value.remedy
    assert caught.value.exit_code == 3


def test_at_the_deadline_a_command_ends_with_all_its_children(tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded, match=r"^sh did not end within 0\.5 s: sh -c"):
        run(["sh", "-c", FAMILY, "sh", tmp_path / "pids"], timeout=0.5)
    assert [ended(pid) for pid in family(tmp_path / "pids")] == [True, True]


# -- follow -----------------------------------------------------------------------------------------------------------


def test_lines_are_handed_on_while_the_command_still_runs(tmp_path: Path) -> None:
    """The command waits for an answer to its first line before it says the second."""
    answer = tmp_path / "answer"
    os.mkfifo(answer)
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        if line == "one":
            answer.write_text("go on\n")

    follow(["sh", "-c", 'echo one; read word < "$1"; echo two', "sh", answer], timeout=20, on_line=on_line)
    assert lines == ["one", "two"]


def test_errors_go_to_the_log_and_their_end_comes_back(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("of an earlier run\n")
    done = follow(["sh", "-c", "echo why >&2; exit 4"], timeout=10, on_line=print, log_file=log)
    assert (done.returncode, done.stderr, done.reason) == (4, b"why\n", "why")
    assert log.read_text() == "of an earlier run\nwhy\n"


def test_of_many_errors_only_the_end_comes_back(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    script = "head -c 200000 /dev/zero | tr '\\0' x >&2; echo end >&2"
    done = follow(["sh", "-c", script], timeout=20, on_line=print, log_file=log)
    assert len(done.stderr) == 65536
    assert done.stderr.endswith(b"xend\n")
    assert log.stat().st_size == 200_004


def test_a_followed_command_that_is_not_there_is_a_missing_requirement() -> None:
    with pytest.raises(RequirementMissing):
        follow(["xdc-no-such-program"], timeout=10, on_line=print)


def test_at_the_deadline_a_followed_command_ends_with_all_its_children(tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(DeadlineExceeded):
        follow(["sh", "-c", FAMILY, "sh", tmp_path / "pids"], timeout=0.5, on_line=lines.append)
    assert lines == ["begun"]
    assert [ended(pid) for pid in family(tmp_path / "pids")] == [True, True]


def test_when_the_reader_of_lines_fails_the_command_is_ended(tmp_path: Path) -> None:
    def broken(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match="begun"):
        follow(["sh", "-c", FAMILY, "sh", tmp_path / "pids"], timeout=60, on_line=broken)
    assert [ended(pid) for pid in family(tmp_path / "pids")] == [True, True]


# -- signals ----------------------------------------------------------------------------------------------------------

TOLD = """
import sys
from xdc_testbed import processes
processes.end_as_by_ctrl_c()
try:
    processes.follow(["sh", "-c", sys.argv[1], "sh", sys.argv[2]], timeout=600, on_line=print)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("ignored", ["", "INT"], ids=["in front", "in the background of a script"])
def test_who_is_told_to_end_takes_along_what_it_has_started(tmp_path: Path, sign: int, ignored: str) -> None:
    with told(FAMILY, tmp_path / "pids", ignored) as process:
        process.send_signal(sign)
        assert process.wait(30) == 130
    assert all(ended(pid) for pid in family(tmp_path / "pids"))


def test_workers_that_are_forked_end_in_silence(tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(
        "import multiprocessing\nfrom xdc_testbed import processes\nprocesses.end_as_by_ctrl_c()\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n    print(pool.map(abs, [-1, -2]))\n"
    )
    done = run([sys.executable, script], timeout=60)
    assert (done.text, done.stderr) == ("[1, 2]", b"")


def test_who_does_not_listen_to_a_signal_is_not_made_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    with told('echo begun; read line < "$1"', tmp_path / "go", "HUP") as process:
        process.send_signal(signal.SIGHUP)
        (tmp_path / "go").write_text("on\n")
        assert process.wait(30) == 0


@contextmanager
def told(script: str, word: Path, ignored: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that follows a shell script with this word, once that has begun."""
    shell = (f"trap '' {ignored}; " if ignored else "") + 'exec "$@"'
    words = ["/bin/sh", "-c", shell, "sh", sys.executable, "-u", "-c", TOLD, script, str(word)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process


# -- supervise --------------------------------------------------------------------------------------------------------

_SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def own_signals() -> Iterator[None]:
    """A supervisor takes signals of its process: give them back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
def test_a_server_that_is_not_healthy_twice_in_a_row_is_ended() -> None:
    answered = iter([True, False, True, False, False])
    assert supervise(_SLEEPER, healthy=lambda: next(answered), interval=0.05, tries=2) == 1
    assert list(answered) == []


@pytest.mark.usefixtures("own_signals")
def test_an_unhealthy_server_that_will_not_end_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    stubborn = (
        "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
    )
    command = [sys.executable, "-c", stubborn, str(ready)]
    assert supervise(command, healthy=lambda: not ready.exists(), interval=0.05, tries=1, grace=0.2) == 1


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize(("ending", "code"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 137)])
def test_the_end_of_the_server_is_the_end_of_its_supervisor(ending: str, code: int) -> None:
    command = [sys.executable, "-c", f"import os, sys; {ending}"]
    assert supervise(command, healthy=lambda: True, interval=5, tries=1) == code
