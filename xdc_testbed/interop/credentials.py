"""The credentials that cases try at one endpoint: right ones, and every way of being wrong.

The kinds and what they are:

    token                 WLCG JWT that may do everything; x509: certificate of a mapped user
    anonymous             none at all
    stranger              a valid certificate of somebody whom no storage knows
    token-expired         right in all but its time
    token-wrong-audience  meant for another service
    token-tampered        its scope was widened after it was signed
    token-unsigned        the same claims with `alg: none`
    token-read-only       may read everything, and nothing else
    token-create-only     may make new files, but neither replace nor remove
    token-other-path      may do everything, elsewhere
    token-sibling-path    may do everything at /a/b, and is tried at /a/bc
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from xdc_testbed.clients.tokens import AccessToken, TokenSource
from xdc_testbed.endpoints import Credentials
from xdc_testbed.errors import XdcError
from xdc_testbed.interop.outcome import Skip

FULL_SCOPE = "storage.read:/ storage.modify:/ storage.create:/"
ELSEWHERE = "https://elsewhere.invalid"

_SHORTEST = 1.0  # seconds asked for when a token is wanted to expire
_PATIENCE = 15.0  # seconds that a case may wait for a token to expire


class Wallet:
    """Credentials for one endpoint; usable from several threads. stranger: PEM files of an unknown user, if
    there are any.
    """

    def __init__(self, held: Credentials, stranger: tuple[Path, Path] | None) -> None:
        self._held = held
        self._stranger = stranger
        self._source: TokenSource | None = None
        self._short: AccessToken | None = None
        self._lock = threading.Lock()

    @property
    def ca(self) -> Path | None:
        """What signs the endpoint's certificate; None for the system's."""
        return self._held.ca_file or self._held.ca_directory

    @property
    def ca_directory(self) -> Path | None:
        """The hashed directory that root:// clients want."""
        return self._held.ca_directory

    def certificate(self, kind: str) -> tuple[Path, Path] | None:
        """Certificate and key of a kind of credential, None for kinds without one. Raises Skip."""
        if kind == "stranger":
            if self._stranger is None:
                raise Skip("there is no certificate of a stranger on this machine")
            return self._stranger
        if kind == "x509":
            if self._held.certificate is None or self._held.private_key is None:
                raise Skip("there is no user certificate for this endpoint")
            return self._held.certificate, self._held.private_key
        return None

    def token(self, kind: str, folder: str) -> Callable[[], str] | None:
        """Gives the bearer token of a kind of credential for a folder, None for kinds without. Raises Skip."""
        match kind:
            case "anonymous" | "stranger" | "x509":
                return None
            case "token":
                return self._tokens().token
            case "token-expired":
                return _constant(self._expired())
            case "token-tampered":
                return _constant(tampered(self.scoped("storage.read:/pub"), FULL_SCOPE))
            case "token-unsigned":
                return _constant(unsigned(self.scoped(FULL_SCOPE)))
            case "token-wrong-audience":
                return _constant(self._tokens().fetch(audience=ELSEWHERE))
            case "token-read-only":
                return _constant(self.scoped("storage.read:/"))
            case "token-create-only":
                return _constant(self.scoped(f"storage.read:{folder} storage.create:{folder}"))
            case "token-other-path":
                return _constant(self.scoped(_everything(folder.rsplit("/", 1)[0] + "/elsewhere")))
            case "token-sibling-path":
                return _constant(self.scoped(_everything(folder[:-1])))
        raise ValueError(f"unknown kind of credential {kind!r}")

    def scoped(self, scope: str) -> str:
        """A fresh token with just this scope."""
        return self._tokens().fetch(scope=scope)

    def _tokens(self) -> TokenSource:
        with self._lock:
            if self._source is None:
                held = self._held
                if held.issuer is None or held.client_id is None or held.client_secret_file is None:
                    raise Skip("there is no token client for this endpoint")
                try:
                    secret = held.client_secret_file.read_text(encoding="utf-8").strip()
                except OSError as error:
                    raise XdcError(
                        f"cannot read the client secret {held.client_secret_file}: {error.strerror}",
                        remedy="run the suite as a user who may read it",
                    ) from error
                self._source = TokenSource(held.issuer, held.client_id, secret, self.ca, FULL_SCOPE)
            return self._source

    def prepare(self) -> None:
        """Ask early for the token that has to expire, so that no case waits for it."""
        if self._held.issuer is not None:
            self._aging()

    def _aging(self) -> AccessToken:
        source = self._tokens()
        with self._lock:
            if self._short is None:
                self._short = source.request(lifetime=_SHORTEST)
            return self._short

    def _expired(self) -> str:
        token = self._aging()
        expiry = max(float(claims(token.value)["exp"]), token.expires_at)
        left = expiry + 1.0 - time.time()
        if left > _PATIENCE:
            raise Skip(f"the issuer gives no token that expires within {_PATIENCE:g} s")
        if left > 0:
            threading.Event().wait(left)  # the clock is what is waited for
        return token.value


def claims(token: str) -> dict[str, float]:
    """The claims of a JWT, unchecked. Raises ValueError for what is not a JWT."""
    try:
        content = json.loads(_decode(token.split(".")[1]))
    except IndexError as error:
        raise ValueError("not a JWT") from error
    if not isinstance(content, dict):
        raise ValueError("not a JWT")  # noqa: TRY004 - the token is wrong, not the caller's type
    return content


def tampered(token: str, scope: str) -> str:
    """The token with its scope replaced and its signature left as it was."""
    head, body, signature = token.split(".")
    return ".".join((head, _encode({**json.loads(_decode(body)), "scope": scope}), signature))


def unsigned(token: str) -> str:
    """The token's claims under `alg: none` and no signature (RFC 8725, section 2.1)."""
    return ".".join((_encode({"alg": "none", "typ": "JWT"}), token.split(".")[1], ""))


def _everything(path: str) -> str:
    return f"storage.read:{path} storage.modify:{path}"


def _constant(value: str) -> Callable[[], str]:
    return lambda: value


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _encode(content: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
