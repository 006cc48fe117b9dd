"""The command line as a whole: its list of verbs, its errors, its exit codes."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer

from xdc_testbed import __version__, errors
from xdc_testbed.cli import app
from xdc_testbed.cli.app import VERBS
from xdc_testbed.processes import Completed, run


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs one command line in this process, without any testbed. Returns exit code, output and error output."""
    monkeypatch.setenv("XDC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)

    def run_words(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["xdc-testbed", *words])
        with pytest.raises(SystemExit) as ended:
            app.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run_words


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every verb end with this error."""

    def verb(*_: Any, **__: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(app, "build", lambda _: verb)


def every_error() -> Iterator[type[errors.XdcError]]:
    """The tree in errors.py."""
    yield errors.XdcError
    yield from (kind for kind in errors.XdcError.__subclasses__() if kind.__module__ == errors.__name__)


# -- help -------------------------------------------------------------------------------------------------------------


def test_help_lists_every_verb_and_every_exit_code(call: Any) -> None:
    code, out, _ = call("--help")
    listed = [line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line.startswith("  ")]
    assert code == 0
    assert listed[: len(VERBS)] == list(VERBS)
    assert all(f"{number} " in out for number in (0, 1, 2, 3, 4, 130))


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help_of_its_own(call: Any, verb: str) -> None:
    code, out, err = call(verb, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: xdc-testbed {verb}") or f" {verb} " in out.splitlines()[0]


def test_each_verb_has_a_module_and_each_module_is_a_verb_or_shared() -> None:
    modules = {path.stem for path in Path(app.__file__).parent.glob("*.py")} - {"__init__"}
    assert modules - {"app", "conditions", "corrections", "elsewhere", "options", "view"} == set(VERBS)


def test_no_words_at_all_show_the_help(call: Any) -> None:
    _, out, err = call()
    assert "Commands:" in out + err


def test_help_imports_no_verb(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['xdc-testbed', '--help']\n"
        "from xdc_testbed.cli import app\n"
        "try: app.main()\n"
        "except SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name in ('pydantic', 'yaml', 'numpy', 'xdc_testbed.cli.up')))\n"
    )
    assert run([sys.executable, "-c", code], timeout=60, cwd=tmp_path).text.splitlines()[-1] == "[]"


def test_the_version_is_printed(call: Any) -> None:
    assert call("--version") == (0, f"xdc-testbed {__version__}\n", "")


# -- wrong usage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "meant"), [("upp", "up"), ("statsu", "status"), ("doctr", "doctor")])
def test_an_unknown_verb_suggests_the_nearest(call: Any, word: str, meant: str) -> None:
    code, out, err = call(word)
    assert (code, out) == (2, "")
    assert err == f"error: unknown verb '{word}'; did you mean '{meant}'?\n  -> xdc-testbed --help\n"


def test_a_verb_like_nothing_known_gets_no_suggestion(call: Any) -> None:
    assert "did you mean" not in call("qqqq")[2]


@pytest.mark.parametrize(
    "words", [("status", "--colour"), ("ssh",), ("logs", "kafka", "--lines", "many"), ("fault", "delai", "a", "b")]
)
def test_a_wrong_command_line_is_one_line_of_cause_and_one_of_remedy(call: Any, words: tuple[str, ...]) -> None:
    code, _, err = call(*words)
    first, second = err.splitlines()
    assert code == 2
    assert first.startswith("error: ")
    assert second.startswith("  -> ")


def test_a_testbed_that_is_not_there_is_told_with_the_way_to_make_it(call: Any) -> None:
    assert call("status") == (2, "", "error: there is no testbed 'demo'\n  -> xdc-testbed up --name demo\n")


@pytest.mark.parametrize("words", [("ssh", "a", "true"), ("logs", "kafka"), ("bundle",), ("test",), ("fault", "list")])
def test_every_verb_that_needs_a_testbed_says_so(call: Any, words: tuple[str, ...]) -> None:
    code, _, err = call(*words)
    assert (code, err.splitlines()[0]) == (2, "error: there is no testbed 'demo'")


def test_options_of_ssh_may_stand_before_and_after_the_node(call: Any) -> None:
    before, after = (
        call("ssh", "--name", "x", "node", "--", "ls", "-l"),
        call("ssh", "node", "--name", "x", "--", "ls", "-l"),
    )
    assert before == after
    assert after[2].startswith("error: there is no testbed 'x'")


def test_an_unknown_suite_is_told_with_those_there_are(call: Any) -> None:
    code, _, err = call("test", "everything")
    assert code == 2
    assert "suites: interop" in err


# -- exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_each_error_ends_with_the_exit_code_that_its_tree_shows(
    call: Any, monkeypatch: pytest.MonkeyPatch, kind: type[errors.XdcError]
) -> None:
    line = next(line for line in (errors.__doc__ or "").splitlines() if f"{kind.__name__} " in line)
    shown = int(line.partition(" exit ")[2].split()[0])
    raising(monkeypatch, kind("what happened", remedy="what to do"))
    assert call("status") == (shown, "", "error: what happened\n  -> what to do\n")


def test_an_error_without_a_remedy_is_one_line(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, errors.VerifyFailed("wrong checksum"))
    assert call("status") == (1, "", "error: wrong checksum\n")


def test_an_interrupted_command_says_that_it_resumes(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    code, _, err = call("up")
    assert code == 130
    assert "resumes" in err


def test_a_verb_that_ends_with_a_code_of_its_own_is_silent(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, typer.Exit(3))
    assert call("doctor") == (3, "", "")


def test_a_defect_of_the_kit_is_told_without_traceback(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, ZeroDivisionError("division by zero"))
    code, _, err = call("up")
    assert code == 1
    assert err.splitlines()[0] == "error: ZeroDivisionError: division by zero"
    assert "defect of the kit" in err
    assert "Traceback" not in err


def test_a_full_disk_is_no_defect_of_the_kit(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "/state/demo/.state.json.tmp"))
    code, _, err = call("up")
    assert code == 1
    assert err.splitlines()[0] == "error: no space is left for /state/demo/.state.json.tmp"
    assert "same command again" in err.splitlines()[1]


@pytest.mark.parametrize("error", [errors.XdcError("why"), ValueError("why")])
def test_debug_adds_the_traceback(call: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    raising(monkeypatch, error)
    assert "Traceback" in call("--debug", "up")[2]


# -- the installed program --------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Completed]:
    """Runs the installed `xdc-testbed` in an empty folder."""
    installed = Path(sys.executable).with_name("xdc-testbed")

    def run_program(*words: str) -> Completed:
        env = {**os.environ, "XDC_STATE_DIR": str(tmp_path / "state")}
        return run([installed, *words], timeout=60, env=env, cwd=tmp_path, check=False)

    return run_program


def test_the_installed_program_shows_its_verbs(program: Callable[..., Completed]) -> None:
    done = program("--help")
    assert done.returncode == 0
    assert all(f"  {verb} " in done.text for verb in VERBS)


def test_the_installed_program_ends_with_the_errors_exit_code(program: Callable[..., Completed]) -> None:
    done = program("down", "--name", "no/name")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: 'no/name' is not a name")
