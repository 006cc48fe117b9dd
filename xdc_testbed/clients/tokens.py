"""Tokens by OAuth 2 client credentials (RFC 6749, section 4.4), with the scopes of the WLCG profile."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_plus

import httpx2

from xdc_testbed.clients.errors import TokenRefused, Unreachable
from xdc_testbed.clients.tls import tls_context
from xdc_testbed.clients.token_times import TokenTimes
from xdc_testbed.errors import WrongUsage

ANY_AUDIENCE = "https://wlcg.cern.ch/jwt/v1/any"
_RENEW_BEFORE = 60.0  # seconds before expiry at which a token is no longer handed out
_AGAIN = 1.0  # seconds for which a token is kept though its dates are wrong: a burst does not ask for each request


@dataclass(frozen=True)
class AccessToken:
    """A bearer token. expires_at: epoch seconds, the earlier one of what the token and the answer say; good_from: from
    when on it is valid, by its issuer's clock; scope: as granted, space separated.
    """

    value: str = field(repr=False)
    expires_at: float
    scope: str
    good_from: float = 0.0


def discovered(environ: Mapping[str, str]) -> Callable[[], str] | None:
    """The user's token where the WLCG Bearer Token Discovery (version 1.0) looks for it, None when there is none.

    BEARER_TOKEN, the file BEARER_TOKEN_FILE, then `bt_u<uid>` in XDG_RUNTIME_DIR and in /tmp. A file is read again each
    time, as others renew it.
    """
    if environ.get("BEARER_TOKEN"):
        return lambda: environ["BEARER_TOKEN"].strip()
    if environ.get("BEARER_TOKEN_FILE"):
        return token_in(Path(environ["BEARER_TOKEN_FILE"]))
    folders = [environ["XDG_RUNTIME_DIR"]] if environ.get("XDG_RUNTIME_DIR") else []
    for folder in [*folders, "/tmp"]:  # noqa: S108  where the discovery says it may be
        file = Path(folder) / f"bt_u{os.getuid()}"
        if file.is_file() and file.stat().st_uid == os.getuid():
            return token_in(file)
    return None


def token_in(file: Path) -> Callable[[], str]:
    """Reads the token in a file, each time. Raises WrongUsage, then and now, when there is none."""

    def read() -> str:
        try:
            token = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise WrongUsage(
                f"token file {file} cannot be read: {reason}", remedy="give a file with a token"
            ) from error
        if not token:
            raise WrongUsage(f"token file {file} is empty", remedy="give a file with a token")
        return token

    read()
    return read


class TokenSource:
    """Tokens of one client of one issuer; usable from several threads.

    issuer: URL without trailing slash; scope: what `token()` asks for; ca_file: PEM file that signs the
    issuer's certificate, None for the system's.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str,
        ca_file: str | Path | None,
        scope: str,
        audience: str = ANY_AUDIENCE,
        *,
        timeout: float = 10.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._issuer = issuer.rstrip("/")
        self._auth = httpx2.BasicAuth(quote_plus(client_id), quote_plus(client_secret))
        self._scope = scope
        self._audience = audience
        self._http = httpx2.Client(
            verify=tls_context(ca_file) if transport is None else True,
            timeout=timeout,
            transport=transport,
            trust_env=False,
        )
        self._endpoint: str | None = None
        self._current: AccessToken | None = None
        self._asked = 0.0
        self._lock = threading.Lock()

    def token(self) -> str:
        """A token with this source's scope and audience, valid for another minute if the issuer allows.

        One that is not valid yet, or no longer, because the issuer's clock is off, is not kept.
        """
        with self._lock:
            if self._current is None or not self._keeps(self._current, time.time()):
                self._current = self.request()
                self._asked = time.monotonic()
            return self._current.value

    def _keeps(self, token: AccessToken, now: float) -> bool:
        if token.good_from <= now < token.expires_at - _RENEW_BEFORE:
            return True
        wrong = now < token.good_from or token.expires_at <= now
        return wrong and time.monotonic() - self._asked < _AGAIN

    def fetch(self, scope: str | None = None, audience: str | None = None, lifetime: float | None = None) -> str:
        """A fresh token, not kept. lifetime: seconds; the issuer may give less."""
        return self.request(scope, audience, lifetime).value

    def request(
        self, scope: str | None = None, audience: str | None = None, lifetime: float | None = None
    ) -> AccessToken:
        """A fresh token with its expiry and granted scope. Raises TokenRefused or Unreachable."""
        form = {
            "grant_type": "client_credentials",
            "scope": self._scope if scope is None else scope,
            "audience": self._audience if audience is None else audience,
        }
        if lifetime is not None:
            form["lifetime"] = str(int(lifetime))
        try:
            endpoint = self._token_endpoint()
            answer = self._http.post(endpoint, data=form, auth=self._auth)
        except httpx2.HTTPError as error:
            raise Unreachable(
                f"token issuer {self._issuer} does not answer: {error}", remedy="is the token issuer up?"
            ) from error
        content = _json(answer)
        value, expires_in = content.get("access_token"), content.get("expires_in")
        if answer.status_code != 200 or not isinstance(value, str):
            code = str(content.get("error", ""))
            reason = str(content.get("error_description", "")) or code or answer.text[:200]
            raise TokenRefused(
                f"token issuer {self._issuer} gave no token: HTTP {answer.status_code}: {reason}",
                status=answer.status_code,
                error=code,
                remedy="check the client's id, secret and allowed scopes",
            )
        now = time.time()
        expires_at = now + (float(expires_in) if isinstance(expires_in, int | float) else 0.0)
        times = TokenTimes.of(value)
        if times is not None and times.expires is not None:
            expires_at = min(expires_at, times.expires)
        begins = times.begins if times is not None else 0.0
        return AccessToken(value, expires_at, str(content.get("scope", form["scope"])), begins)

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def _token_endpoint(self) -> str:
        """The token endpoint by OpenID Connect discovery, asked once."""
        if self._endpoint is None:
            answer = self._http.get(f"{self._issuer}/.well-known/openid-configuration")
            endpoint = _json(answer).get("token_endpoint")
            if answer.status_code != 200 or not isinstance(endpoint, str):
                raise TokenRefused(
                    f"{self._issuer} is not a token issuer: its discovery answers HTTP {answer.status_code}",
                    status=answer.status_code,
                )
            self._endpoint = endpoint
        return self._endpoint


def _json(answer: httpx2.Response) -> dict[str, object]:
    """The JSON object of an answer, empty when it is something else."""
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
