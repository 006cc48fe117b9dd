"""The frontend and the storage classes inside the process, and the wait for the signal that ends it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from xdc_testbed.errors import WrongUsage

from . import frontend, tls
from .billing import Billing
from .config import Config
from .door.door import Stager
from .identity import Identity
from .namespace import Namespace
from .transitions import Transitions

_GRACE = 3


class Protocol(HttpToolsProtocol):
    """Puts the client's certificate (DER, None without one) into the scope as `client_certificate`."""

    def on_message_begin(self) -> None:
        """Called by httptools."""
        super().on_message_begin()
        session = self.transport.get_extra_info("ssl_object")
        self.scope["client_certificate"] = None if session is None else session.getpeercert(True)  # type: ignore[typeddict-unknown-key]


class Server(uvicorn.Server):
    """Leaves the signals to the service."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Called by uvicorn."""
        yield


class Rest:
    """The REST interface. port: where it listens, None when it does not."""

    def __init__(self, config: Config, namespace: Namespace, identity: Identity, billing: Billing) -> None:
        self._config = config
        self._socket: socket.socket | None = None
        self._transitions = Transitions(config, namespace, billing)
        self.stager: Stager = self._transitions.stage_and_wait
        self._app = frontend.build(config, namespace, identity, self._transitions)

    @property
    def port(self) -> int | None:
        """Where it listens."""
        return None if self._socket is None else int(self._socket.getsockname()[1])

    def listen(self) -> None:
        """Take the port. Raises WrongUsage."""
        if self._config.frontend.port is not None:
            address = (self._config.listen, self._config.frontend.port)
            try:
                self._socket = socket.create_server(address, backlog=512)
            except OSError as error:
                raise WrongUsage("frontend cannot listen on {}:{}: ".format(*address) + str(error.strerror)) from error
            # Accepted connections inherit it; without, the body of an answer waits 40 ms for the ACK of its head.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        asyncio.run(self._serve())

    def close(self) -> None:
        """End what runs in the background, and give the port back."""
        if self._socket is not None:
            self._socket.close()
        self._transitions.close()

    async def _serve(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if self._socket is None:
            await stop.wait()
            return
        server = Server(self._settings())
        task = asyncio.create_task(server.serve([self._socket]))
        await asyncio.wait({task, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
        frontend.shutdown(self._app)
        server.should_exit = True
        await task

    def _settings(self) -> uvicorn.Config:
        settings = uvicorn.Config(
            self._app,
            http=Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=120,
            timeout_graceful_shutdown=_GRACE,
        )
        settings.load()
        settings.ssl = tls.server_context(self._config, client_certificates=True)
        return settings
