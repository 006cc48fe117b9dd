"""Commands on nodes: words stay words, and a node that is not ready is told by its stage."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from demo_nodes import node

from xdc_testbed.drivers.login import ssh_arguments
from xdc_testbed.processes import Completed
from xdc_testbed.testbed import ssh

KNOWN_HOSTS = Path("/state/known_hosts")


def test_words_with_blanks_and_quotes_reach_the_node_as_they_are() -> None:
    words = ssh_arguments(node("a"), KNOWN_HOSTS, "printf", "%s", "it's a $HOME; rm -rf /")
    assert shlex.split(words[-1]) == ["printf", "%s", "it's a $HOME; rm -rf /"]


def test_the_way_in_is_the_testbeds_own_key_and_its_known_hosts() -> None:
    words = ssh_arguments(node("a"), KNOWN_HOSTS, "true")
    assert words[words.index("-i") + 1] == "/state/keys/id_ed25519"
    assert f"UserKnownHostsFile={KNOWN_HOSTS}" in words
    assert words[-2] == "root@127.0.0.1"


def test_a_login_has_a_terminal_and_no_command() -> None:
    words = ssh_arguments(node("a"), KNOWN_HOSTS, terminal=True)
    assert "-t" in words
    assert words[-1] == "root@127.0.0.1"


def test_a_file_appears_on_a_node_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that the node would run is run here."""

    def execute(one: Any, known_hosts: Path, *command: str, **rest: Any) -> Completed:
        return ssh.run(command, timeout=rest["timeout"], input=rest["input"])

    monkeypatch.setattr(ssh, "execute", execute)
    target = tmp_path / "it's here.json"
    ssh.put_file(node("a"), KNOWN_HOSTS, str(target), b"{}", mode="0640")
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"{}", 0o640)
    assert list(tmp_path.iterdir()) == [target]


# -- readiness --------------------------------------------------------------------------------------------------------


@contextmanager
def listening(greeting: bytes) -> Iterator[int]:
    """A port of this machine that greets whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(greeting)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def verdict(
    port: int, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str] | None = None, *, boot: float = 0.2
) -> dict[str, str]:
    """What is said of a node at this port. answer: exit code and words of its login."""

    def login(args: Any, **rest: Any) -> Completed:
        assert answer is not None, "no login was expected"
        return Completed(tuple(args), answer[0], answer[1].encode(), b"", 0.0)

    monkeypatch.setattr(ssh, "run", login)
    return ssh.wait_ready([node("a", ssh_port=port)], KNOWN_HOSTS, boot=boot)


def test_a_port_on_which_nobody_listens_is_the_stage_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert verdict(port, monkeypatch)["a"].startswith("address: ")


def test_a_port_that_speaks_something_else_is_the_stage_banner(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(b"HTTP/1.1 400 Bad Request\r\n") as port:
        assert verdict(port, monkeypatch) == {"a": "banner: the port answers, but not with an SSH banner"}


def test_a_port_that_says_nothing_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(b"") as port:
        assert verdict(port, monkeypatch) == {"a": "banner: the port answers, and says nothing yet"}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((255, "Permission denied (publickey)."), "login: Permission denied (publickey)."),
        ((255, "Host key verification failed."), "host key: Host key verification failed."),
        ((93, ""), "cloud-init: it still runs"),
        ((0, f"starting\n{int(time.time())}"), "system: systemd says 'starting'"),
    ],
)
def test_a_node_that_is_not_ready_is_told_by_its_stage(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str], told: str
) -> None:
    with listening(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        assert verdict(port, monkeypatch, answer) == {"a": told}


def test_a_node_behind_another_one_that_does_not_answer_yet_is_the_stage_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def login(args: Any, **rest: Any) -> Completed:
        return Completed(tuple(args), 255, b"", b"channel 0: open failed: connect failed: No route to host", 0.0)

    monkeypatch.setattr(ssh, "run", login)
    behind = node("a", ssh_port=22, jump="root@192.0.2.1:22")
    assert ssh.wait_ready([behind], KNOWN_HOSTS, boot=0.2)["a"].startswith("address: channel 0: open failed")


def test_nodes_behind_another_one_are_left_alone_until_the_others_are_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    answers = iter([(93, ""), (93, "")])
    late = (0, f"running\n{int(time.time())}")

    def login(args: Any, **rest: Any) -> Completed:
        asked.append(any("ProxyCommand" in str(word) or "ProxyJump" in str(word) for word in args))
        code, said = next(answers, late)
        return Completed(tuple(args), code, said.encode(), b"", 0.0)

    monkeypatch.setattr(ssh, "run", login)
    with listening(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        nodes = [node("b", ssh_port=22, jump="root@192.0.2.1:22"), node("a", ssh_port=port)]
        assert ssh.wait_ready(nodes, KNOWN_HOSTS, boot=60) == {}
    assert asked == [False, False, False, True]


@pytest.mark.parametrize(
    ("answer", "told"),
    [((91, ""), "python: python3 is not in the image"), ((92, "status: error"), "cloud-init: status: error")],
)
def test_what_no_waiting_mends_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str], told: str
) -> None:
    with listening(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        assert verdict(port, monkeypatch, answer, boot=3600) == {"a": told}


def test_each_stage_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Together they take longer than any one may."""
    answers = iter([(255, "Permission denied"), (93, ""), (0, f"starting\n{int(time.time())}")])
    late = (0, f"running\n{int(time.time())}")

    def login(args: Any, **rest: Any) -> Completed:
        time.sleep(0.6)
        code, said = next(answers, late)
        return Completed(tuple(args), code, said.encode(), b"", 0.0)

    monkeypatch.setattr(ssh, "run", login)
    with listening(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        assert ssh.wait_ready([node("a", ssh_port=port)], KNOWN_HOSTS, boot=1.5) == {}


@pytest.mark.parametrize("word", ["running", "degraded"])
def test_a_node_whose_systemd_has_started_is_ready(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    with listening(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        assert verdict(port, monkeypatch, (0, f"{word}\n{int(time.time())}")) == {}


def test_a_clock_that_is_an_hour_off_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        said = verdict(port, monkeypatch, (0, f"running\n{int(time.time()) + 3600}"))["a"]
    assert re.fullmatch(r"clock: \+3[56]\d\d s off", said)


def test_ctrl_c_ends_the_wait_for_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def login(args: Any, **rest: Any) -> Completed:
        if not asked.is_set():
            asked.set()
            signal.raise_signal(signal.SIGINT)
        return Completed(tuple(args), 255, b"", b"not yet", 0.0)

    monkeypatch.setattr(ssh, "run", login)
    nodes = [node(name, ssh_port=22, jump="root@192.0.2.1:22") for name in "ab"]
    with pytest.raises(KeyboardInterrupt):
        ssh.wait_ready(nodes, KNOWN_HOSTS, boot=60)
