"""An endpoint that is silent is told from one that answers or refuses."""

from __future__ import annotations

import socket

from xdc_testbed.interop.pulse import answers


def test_a_port_that_takes_connections_but_shakes_no_hand_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not answers(f"https://127.0.0.1:{server.getsockname()[1]}", patience=0.2)


def test_a_port_that_refuses_has_answered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert answers(f"https://127.0.0.1:{port}", patience=0.2)
