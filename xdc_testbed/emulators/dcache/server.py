"""Listens on a port with one thread per connection, and ends orderly: what doors and movers stand on."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from typing import Protocol

from xdc_testbed.errors import WrongUsage

from .http1 import STALLED, Connection, ConnectionLost, Request

_log = logging.getLogger(__name__)
_MOST_CONNECTIONS = 1024
_PIECE = 256 * 1024


class Handler(Protocol):
    """Answers one request: sends everything itself, and says whether the connection may be used again."""

    def __call__(self, request: Request) -> bool: ...


class Server:
    """Listens on one port until stopped. port: the real one, also for a wanted port of 0.

    Raises WrongUsage when the port cannot be had.
    """

    def __init__(self, host: str, port: int, handler: Handler, context: ssl.SSLContext | None, name: str) -> None:
        self._handler = handler
        self._context = context
        self.name = name
        self._open: set[socket.socket] = set()
        self._idle: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopping = False
        self._slots = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listener = socket.create_server((host, port), family=family, backlog=512)
        except OSError as error:
            raise WrongUsage(f"{name} cannot listen on {host}:{port}: {error.strerror}") from error
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name=name, daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self, patience: float) -> None:
        """Take no more connections, end the idle ones orderly (TLS: with close_notify, without which a cache in front
        keeps them for good), and cut those that are busy after patience seconds."""
        with self._lock:
            self._stopping = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._thread.is_alive():
            self._thread.join(patience)
        with self._lock:
            for sock in self._idle:
                with contextlib.suppress(OSError):
                    # Its thread reads the end, and closes. That of SSLSocket would forget the session first.
                    socket.socket.shutdown(sock, socket.SHUT_RD)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and self._open:
            time.sleep(0.02)
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._stopping:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                if self._stopping:
                    return
                _log.exception("%s cannot accept a connection", self.name)
                time.sleep(0.1)
                continue
            if not self._slots.acquire(blocking=False):
                sock.close()
                continue
            threading.Thread(target=self._serve, args=(sock, peer[:2]), name=self.name, daemon=True).start()

    def _serve(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(STALLED)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            with self._lock:
                self._open.add(sock)
            self._talk(Connection(sock, peer, self._context is not None))
        except (ConnectionLost, OSError) as error:
            _log.debug("%s: connection from %s: %s", self.name, peer[0], error)
        finally:
            self._close(sock)
            with self._lock:
                self._open.discard(sock)
            self._slots.release()

    def _talk(self, connection: Connection) -> None:
        while True:
            with self._lock:
                if self._stopping:
                    return
                self._idle.add(connection.socket)
            try:
                request = connection.read_request()
            finally:
                with self._lock:
                    self._idle.discard(connection.socket)
            if request is None or not self._handler(request):
                return

    @staticmethod
    def _close(sock: socket.socket) -> None:
        """Close, after the client had a moment to read the answer to a request whose body was not wanted."""
        with contextlib.suppress(OSError):
            sock.settimeout(1.0)
            if isinstance(sock, ssl.SSLSocket):
                sock.unwrap()
            sock.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + 1.0
            while sock.recv(_PIECE) and time.monotonic() < deadline:
                pass
        sock.close()
