"""Tell systemd how far a service is; see sd_notify(3)."""

from __future__ import annotations

import os
import socket


def tell(state: str) -> None:
    """Send one state, such as READY=1; nothing is done without systemd."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
            manager.send(state.encode())
