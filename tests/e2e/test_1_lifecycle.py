"""Up, again, interrupted, in two places at once, down, and what is said when something is wrong."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Xdc, resources


def test_second_up_changes_nothing_and_skips_what_is_unchanged(testbed: Xdc) -> None:
    again = testbed("up", "--output", "json").json
    assert again["skipped"] == ["site", "verify"]
    assert len(again["changed"]) == 6
    assert set(again["changed"].values()) == {0}


def test_converge_runs_everything_and_changes_nothing(testbed: Xdc) -> None:
    again = testbed("up", "--converge", "--output", "json").json
    assert again["skipped"] == []
    assert len(again["changed"]) == 6
    assert set(again["changed"].values()) == {0}


def test_status_names_every_service_with_its_kind_and_finds_all_active(testbed: Xdc) -> None:
    status = testbed("status", "--output", "json").json
    assert {word for node in status["nodes"] for word in node["units"].values()} == {"active"}
    kinds = {endpoint["product"]: endpoint["kind"] for endpoint in status["endpoints"]}
    assert kinds == {
        "dcache": "emulator",
        "xrootd": "real",
        "xcache": "real",
        "kafka": "real",
        "openwhisk": "emulator",
        "oidc-issuer": "emulator",
        "event-router": "real",
    }


def test_a_stopped_service_is_seen_by_status_and_mended_by_up(testbed: Xdc) -> None:
    testbed.on("desy-stream", "systemctl", "stop", "event-router")
    assert testbed("status", ok=False).code == 1
    testbed("up")
    assert testbed("status").code == 0


def test_two_up_at_once_are_refused_with_the_name_of_the_first(testbed: Xdc) -> None:
    first = testbed.start("up", "--converge")
    try:
        deadline = time.monotonic() + 30
        lock = testbed.state_dir / "demo" / "lock"
        while str(first.pid) not in (lock.read_text() if lock.exists() else "") and time.monotonic() < deadline:
            assert first.poll() is None
        second = testbed("up", ok=False)
        assert second.code == 1
        assert f"process {first.pid}" in second.errors[0]
    finally:
        assert first.wait(timeout=300) == 0


def test_secrets_are_private_and_in_no_log(testbed: Xdc) -> None:
    folder = testbed.state_dir / "demo"
    private = [
        folder / "secrets.yml",
        folder / "keys" / "id_ed25519",
        folder / "pki" / "ca.key",
        folder / "inventory" / "secrets.json",
    ]
    assert {oct(path.stat().st_mode & 0o777) for path in private} == {"0o600"}
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    words = {
        line.split(": ", 1)[1].strip() for line in (folder / "secrets.yml").read_text().splitlines() if ": " in line
    }
    words = {word.strip("'\"") for word in words if len(word) > 15}
    assert words
    leaking = [
        path
        for path in (folder / "logs").rglob("*")
        if path.is_file() and any(w in path.read_text(errors="replace") for w in words)
    ]
    assert leaking == []


def test_support_bundle_holds_journals_and_no_secret(testbed: Xdc, tmp_path: Path) -> None:
    path = Path(testbed("bundle").out.strip())
    subprocess.run(["tar", "-C", str(tmp_path), "-xzf", str(path)], check=True, timeout=60)
    assert "kafka" in (tmp_path / "nodes" / "desy-stream" / "journal.txt").read_text()
    secret = next(
        line.split(": ")[1]
        for line in (testbed.state_dir / "demo" / "secrets.yml").read_text().splitlines()
        if "router:" in line
    )
    assert not any(secret in file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file())


def test_up_after_kill_9_in_the_middle_resumes(xdc: Xdc, testbed: Xdc) -> None:
    """Killed while services are being configured; the same command goes on. Then, without its state, down finds all."""
    own = ("--name", "killed", "--profile", "minimal")
    identity = "none yet"
    first = xdc.start("up", *own)
    try:
        deadline = time.monotonic() + 120
        while not any("token_issuer" in path.read_text() for path in _logs(xdc, "killed")):
            assert first.poll() is None, first.communicate()
            assert time.monotonic() < deadline
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(timeout=10)
        xdc("up", *own, timeout=300)
        identity = xdc("status", "--name", "killed", "--output", "json").json["id"]
        assert len(resources(identity)) == 2
        shutil.rmtree(xdc.state_dir / "killed")
    finally:
        said = xdc("down", "--name", "killed", "--yes", ok=False)
    assert said.code == 0, said.err
    assert resources(identity) == []


def _logs(xdc: Xdc, name: str) -> list[Path]:
    return list((xdc.state_dir / name / "logs").glob("*/ansible-up.jsonl"))


def test_down_of_a_testbed_that_is_not_there_says_so(xdc: Xdc) -> None:
    said = xdc("down", "--name", "nowhere", "--yes", ok=False)
    assert said.code == 2
    assert said.errors == [
        "error: there is no testbed 'nowhere'",
        "  -> xdc-testbed status --all  lists the testbeds of this machine",
    ]


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("up", "--profile", "demi"), 2, "error: unknown profile 'demi'; did you mean 'demo'?"),
        (("ssh", "desy-storge", "true"), 2, "error: no node 'desy-storge' in testbed 'demo'"),
        (("logs", "kafak"), 2, "error: no node runs 'kafak'"),
        (("test", "interopp"), 2, "error: unknown suite 'interopp'"),
        (("up", "-f", "/nowhere.toml"), 2, "error: no such description file: /nowhere.toml"),
    ],
)
def test_a_wrong_word_gets_one_line_of_cause_and_one_of_what_to_do(
    testbed: Xdc, words: tuple[str, ...], code: int, line: str
) -> None:
    said = testbed(*words, ok=False)
    assert (said.code, said.errors[0]) == (code, line)
    assert said.errors[1].startswith("  -> ")


def test_an_unknown_key_names_the_nearest_right_one(xdc: Xdc, tmp_path: Path) -> None:
    (tmp_path / "testbed.toml").write_text("[nodes.desy-storage]\nmemry = 512\n")
    said = xdc("up", ok=False, cwd=tmp_path)
    assert (said.code, said.errors[0]) == (2, "error: unknown key 'nodes.desy-storage.memry'; did you mean 'memory'?")


def test_too_little_memory_is_said_before_anything_is_made(xdc: Xdc, tmp_path: Path) -> None:
    (tmp_path / "testbed.toml").write_text('name = "huge"\n[nodes.desy-storage]\nmemory = 1000000\n')
    said = xdc("up", ok=False, cwd=tmp_path)
    assert said.code == 3
    assert said.errors[0].startswith("error: memory: ")
    shutil.rmtree(xdc.state_dir / "huge")


def test_without_a_container_engine_the_remedy_is_named(xdc: Xdc, tmp_path: Path) -> None:
    empty = {**xdc.environment, "PATH": str(tmp_path)}
    done = subprocess.run(
        [str(xdc.program), "up", "--name", "none"], env=empty, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert "is not installed" in done.stderr or "no container engine" in done.stderr
    shutil.rmtree(xdc.state_dir / "none", ignore_errors=True)


def test_installed_from_its_wheel_outside_any_checkout_it_goes_up_and_down(xdc: Xdc, tmp_path: Path) -> None:
    """A clean virtual environment with the wheel and its dependencies; no checkout in sight."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        timeout=120,
        capture_output=True,
    )
    wheel = next(tmp_path.glob("*.whl"))
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", f"{wheel}[provision]"], check=True, timeout=300)
    installed = Xdc(xdc.state_dir, tmp_path / "venv" / "bin" / "xdc-testbed")
    try:
        result = installed(
            "up", "--name", "wheel", "--profile", "minimal", "--output", "json", cwd=tmp_path, timeout=300
        ).json
        assert len(result["changed"]) == 2
    finally:
        said = installed("down", "--name", "wheel", "--yes", ok=False, cwd=tmp_path)
    assert said.code == 0, said.err


def test_nothing_listens_on_the_controller_but_on_loopback(testbed: Xdc) -> None:
    """Published ports are for this machine only."""
    for node in testbed("status", "--output", "json").json["nodes"]:
        assert node["ssh_address"] == "127.0.0.1"
        with socket.create_connection(("127.0.0.1", node["ssh_port"]), timeout=5) as connection:
            assert connection.recv(4) == b"SSH-"
