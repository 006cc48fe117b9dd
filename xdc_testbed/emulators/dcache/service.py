"""The emulator as one process: doors, pool ports and frontend around one namespace."""

from __future__ import annotations

import logging
import threading

from xdc_testbed.errors import WrongUsage

from . import tls
from .billing import Billing
from .config import Config
from .door.door import Door
from .entries import Entry
from .identity import Identity
from .namespace import Namespace
from .pool.mover import Pool
from .rest import Rest
from .server import Server

_log = logging.getLogger(__name__)
_PATIENCE = 5.0


class Service:
    """Everything, listening once it is made. Raises WrongUsage for what the configuration cannot mean."""

    def __init__(self, config: Config) -> None:
        self._config = config
        config.root.mkdir(parents=True, exist_ok=True)
        identity = Identity(config)
        self._billing = Billing(config)
        self._namespace = Namespace(config)
        self._namespace.removed.append(self._replica_removed)
        self._pool = Pool(config, self._namespace, self._billing)
        self._rest = Rest(config, self._namespace, identity, self._billing)
        stager = self._rest.stager
        self._door = Door(config, self._namespace, identity, self._pool, self._billing, stager)
        self._servers: list[Server] = []
        try:
            self._listen()
        except WrongUsage:
            self._end()
            raise

    @staticmethod
    def check(config: Config) -> None:
        """Whether everything that the configuration names is there. Raises WrongUsage."""
        Identity(config)
        if config.webdav.port is not None or config.frontend.port is not None:
            tls.server_context(config, client_certificates=True)

    def describe(self) -> str:
        """Where it listens."""
        ports = [f"{name} {port}" for name, port in self.ports.items()]
        return f"{', '.join(ports)}, files in {self._config.root}"

    @property
    def ports(self) -> dict[str, int]:
        """Name -> port of everything that listens."""
        found = {server.name: server.port for server in self._servers}
        if self._rest.port is not None:
            found["frontend"] = self._rest.port
        return found

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT. Returns the exit code."""
        for server in self._servers:
            server.start()
        try:
            self._rest.run()
        finally:
            self._end()
        return 0

    def _end(self) -> None:
        threads = [threading.Thread(target=server.stop, args=(_PATIENCE,)) for server in self._servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._pool.stop()
        self._rest.close()
        self._billing.close(_PATIENCE)
        self._namespace.close()

    def _listen(self) -> None:
        config = self._config
        webdav, pool = config.webdav, config.pool
        if webdav.port is not None:
            door_tls = tls.server_context(config, client_certificates=True)
            mover_tls = tls.server_context(config, client_certificates=False)
            self._servers.append(Server(config.listen, webdav.port, self._door.handle, door_tls, "webdav"))
            self._servers.append(Server(config.listen, pool.port, self._pool.handle, mover_tls, "pool"))
            self._arrange(True)
        if webdav.http_port is not None:
            self._servers.append(Server(config.listen, webdav.http_port, self._door.handle, None, "webdav-http"))
            self._servers.append(Server(config.listen, pool.http_port, self._pool.handle, None, "pool-http"))
            self._arrange(False)
        self._rest.listen()

    def _arrange(self, secure: bool) -> None:
        port = self._servers[-1].port
        self._door.ports[secure] = port
        address = "127.0.0.1" if self._config.listen in {"0.0.0.0", "127.0.0.1"} else self._config.listen  # noqa: S104
        self._pool.endpoints[secure] = f"{address}:{port}"

    def _replica_removed(self, entry: Entry) -> None:
        for pool in entry.pools:
            self._billing.replica_removed(entry, pool)
