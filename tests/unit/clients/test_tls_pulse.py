"""A door that is silent is told from one that answers or refuses, and its server is ended."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

from xdc_testbed.clients.tls_pulse import answers, is_open

_SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_port_that_takes_connections_but_shakes_no_hand_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not answers(f"https://127.0.0.1:{server.getsockname()[1]}", patience=0.2)


def test_a_port_that_refuses_has_answered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert answers(f"https://127.0.0.1:{port}", patience=0.2)
    assert not is_open(f"https://127.0.0.1:{port}", patience=0.2)


def test_who_is_told_to_end_ends_the_server() -> None:
    command = [sys.executable, "-m", "xdc_testbed.clients.tls_pulse", "https://127.0.0.1:1", "--", *_SLEEPER]
    with subprocess.Popen(command) as supervisor:
        children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children")
        deadline = time.monotonic() + 20
        while not (held := children.read_text().split()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        supervisor.terminate()
        assert supervisor.wait(20) == 0
    assert not Path(f"/proc/{held[0]}").exists()
