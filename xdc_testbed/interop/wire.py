"""One HTTP request and its answer as they are on the wire, for cases that ask about status lines and
headers.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import httpx2

from xdc_testbed.clients.errors import Unreachable
from xdc_testbed.clients.tls import tls_context

_REDIRECTS = 5
_REDIRECTED = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Answer:
    """An HTTP answer. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body for a message: one line, at most 200 characters."""
        return " ".join(self.body.decode(errors="replace").split())[:200]


class Wire:
    """Sends single requests to one endpoint with one credential. Of a redirected GET or HEAD the last answer counts: a
    door may send its readers to a pool, to which no credential goes along.
    """

    def __init__(
        self,
        base_url: str,
        *,
        ca: Path | None,
        token: Callable[[], str] | None,
        certificate: tuple[Path, Path] | None,
        timeout: float,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._token = token
        self._tls = tls_context(ca, certificate)
        self._timeout = timeout
        self._http = httpx2.Client(verify=self._tls, timeout=timeout, trust_env=False)

    def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send one request to an absolute, unquoted path. Raises Unreachable."""
        url, told = self._base + quote(path, safe="/~"), {**self._credential(), **(headers or {})}
        try:
            answer = self._http.request(method, url, headers=told, content=body)
            for _ in range(_REDIRECTS):
                if method not in ("GET", "HEAD") or answer.status_code not in _REDIRECTED:
                    break
                url = urljoin(url, answer.headers.get("Location", ""))
                told = {name: value for name, value in told.items() if name != "Authorization"}
                answer = self._http.request(method, url, headers=told)
        except httpx2.HTTPError as error:
            raise Unreachable(f"{method} {self._base}{path}: {error or type(error).__name__}") from error
        return Answer(
            answer.status_code,
            {name.lower(): value for name, value in answer.headers.items()},
            answer.content,
        )

    def cut_upload(self, path: str, data: bytes, announced: int) -> None:
        """Announce an upload of `announced` bytes, send only data, and drop the connection. Raises
        Unreachable.
        """
        where = urlsplit(self._base)
        host, port = where.hostname or "", where.port or 443
        lines = {"Host": f"{host}:{port}", "Content-Length": str(announced), **self._credential()}
        head = (
            f"PUT {quote(path, safe='/~')} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"
        )
        try:
            with (
                socket.create_connection((host, port), timeout=self._timeout) as plain,
                self._tls.wrap_socket(plain, server_hostname=host) as secure,
            ):
                secure.sendall(head.encode() + data)
        except (OSError, ssl.SSLError) as error:
            raise Unreachable(f"PUT {self._base}{path}: {error}") from error

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def _credential(self) -> dict[str, str]:
        return {} if self._token is None else {"Authorization": f"Bearer {self._token()}"}
