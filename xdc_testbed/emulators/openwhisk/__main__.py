"""`python -m xdc_testbed.emulators.openwhisk --config FILE`: serve until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from pathlib import Path

import uvicorn

from xdc_testbed.errors import XdcError

from .app import App
from .config import Config, load
from .containers import check_user
from .systemd import tell

_log = logging.getLogger("xdc_testbed.emulators.openwhisk")


class Server(uvicorn.Server):
    """Tells systemd when it listens; see sd_notify(3)."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn."""
        await super().startup(sockets)
        if self.started:
            tell("READY=1")


def server(config: Config) -> Server:
    """The HTTP server: uvloop, httptools, no access log, connections kept for longer than any client of the
    kit keeps them."""
    return Server(
        uvicorn.Config(
            App(config),
            host=config.host,
            port=config.port,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ssl_certfile=config.certificate,
            ssl_keyfile=config.key,
            timeout_keep_alive=120,
            timeout_graceful_shutdown=max(1, int(config.pool.stop)),
        )
    )


def main() -> int:
    """Read the configuration and serve. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="openwhisk-emulator", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        config = load(arguments.config)
        if config.action_user is not None:
            check_user(config.action_user)
    except XdcError as error:
        _log.error("%s%s", error.message, f" ({error.remedy})" if error.remedy else "")
        return error.exit_code
    _log.info(
        "EMULATOR of Apache OpenWhisk (xdc-testbed), not the product: %s, state in %s",
        config.api_host,
        config.state,
    )
    running = server(config)
    running.run()
    return 0 if running.started else 1


if __name__ == "__main__":
    sys.exit(main())
