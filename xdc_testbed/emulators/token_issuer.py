"""The testbed's own token issuer: OAuth 2 client credentials giving JSON web tokens of the WLCG profile.

    GET  /.well-known/openid-configuration    OpenID Connect discovery
    GET  /jwks                                the public key (ES256)
    POST /token                               client_credentials; scope, audience, lifetime (seconds)

It stands in for INDIGO IAM towards machines; there are no users and no log-in pages. Run as
`python -m xdc_testbed.emulators.token_issuer --config FILE`. Profile: WLCG Common JWT Profiles 1.0.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hmac
import logging
import os
import posixpath
import secrets
import socket
import tempfile
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote_plus

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from xdc_testbed.errors import WrongUsage, XdcError

log = logging.getLogger(__name__)

ANY_AUDIENCE = "https://wlcg.cern.ch/jwt/v1/any"
_LARGEST_REQUEST = 16 * 1024  # bytes
# A wider capability that includes a narrower one (WLCG profile, section "Capability based authorization").
_INCLUDED_IN = {"storage.create": "storage.modify", "storage.read": "storage.stage"}

# Seconds that tokens are dated back: how far a storage's clock may be behind ours, which readiness looks at.
# scitokens-cpp has no tolerance: a clock half a second behind refuses a new token as "expired", because of its `iat`.
CLOCK_TOLERANCE = 60


class Client(BaseModel):
    """One client. scopes: the widest that it may ask for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scopes: tuple[str, ...] = Field(min_length=1)


class Config(BaseModel):
    """The configuration file.

    Lifetimes in seconds; secrets_file: TOML, client id = secret, readable by the service only; clock_offset: seconds
    by which the clock that dates tokens is ahead, to try what wrong clocks lead to. XDC_ISSUER_CLOCK_OFFSET and
    XDC_ISSUER_LONGEST_LIFETIME in the environment win over the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str = Field(pattern=r"^https://[^/]+[^ ]*[^/ ]$")
    listen: str = "0.0.0.0"  # noqa: S104  a service of the testbed's network
    port: int = Field(default=8444, ge=0, le=65535)
    certificate: Path
    private_key: Path
    state_directory: Path
    secrets_file: Path
    audience: str = ANY_AUDIENCE
    lifetime: int = Field(default=3600, ge=1)
    longest_lifetime: int = Field(default=6 * 3600, ge=1)
    clock_offset: float = 0.0
    clients: dict[str, Client]


class Refused(Exception):
    """An OAuth 2 error answer (RFC 6749, section 5.2)."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status


@dataclass(frozen=True)
class Scope:
    """A capability and the path it is limited to; path "" for a scope without one."""

    capability: str
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Scope:
        """`storage.read:/data/` -> (storage.read, /data). A path with `..` is refused."""
        capability, colon, path = text.partition(":")
        if not capability or (colon and not path.startswith("/")) or ".." in path.split("/"):
            raise Refused("invalid_scope", f"{text!r} is not a scope")
        return cls(capability, posixpath.normpath("/" + path.strip("/")) if colon else "")

    def covers(self, other: Scope) -> bool:
        """Whether this scope includes other: an equal or wider capability, on its path or above."""
        if self.capability not in {other.capability, _INCLUDED_IN.get(other.capability)}:
            return False
        if not self.path or not other.path:
            return self.path == other.path
        return (other.path + "/").startswith(self.path.rstrip("/") + "/")

    def __str__(self) -> str:
        return f"{self.capability}:{self.path}" if self.path else self.capability


def granted(wanted: str, allowed: tuple[str, ...]) -> str:
    """The scope that a client gets: what it wants if all of it is allowed; all if it names nothing.

    Raises Refused.
    """
    limits = [Scope.parse(text) for text in allowed]
    wishes = [Scope.parse(text) for text in wanted.split()] or limits
    for wish in wishes:
        if not any(limit.covers(wish) for limit in limits):
            raise Refused("invalid_scope", f"{wish} is not allowed for this client")
    return " ".join(map(str, wishes))


def bounded_lifetime(wanted: str | None, usual: int, longest: int) -> int:
    """Seconds that a token lives: as wanted, but never more than longest. Raises Refused."""
    if wanted is None:
        return min(usual, longest)
    if not wanted.isascii() or not wanted.isdigit() or int(wanted) == 0:
        raise Refused("invalid_request", "lifetime is a positive number of seconds")
    return min(int(wanted), longest)


def credentials(authorization: str | None, form: Mapping[str, str]) -> tuple[str, str]:
    """Client id and secret from HTTP Basic (both form-urlencoded, RFC 6749, 2.3.1) or from the form."""
    if authorization is None:
        return form.get("client_id", ""), form.get("client_secret", "")
    scheme, _, encoded = authorization.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    name, colon, secret = text.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise Refused("invalid_client", "the Authorization header is not HTTP Basic", 401)
    return unquote_plus(name), unquote_plus(secret)


class Issuer:
    """Decides who gets which token, and signs it."""

    def __init__(self, config: Config, client_secrets: Mapping[str, str], key: ECKey) -> None:
        self._config = config
        self._secrets = dict(client_secrets)
        self._key = key
        self._kid = key.thumbprint()

    def discovery(self) -> dict[str, object]:
        """The OpenID Connect discovery document."""
        issuer = self._config.issuer
        capabilities = {Scope.parse(s).capability for c in self._config.clients.values() for s in c.scopes}
        return {
            "issuer": issuer,
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/jwks",
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "scopes_supported": sorted(capabilities),
            "claims_supported": ["sub", "scope", "wlcg.ver"],
        }

    def jwks(self) -> dict[str, object]:
        """The public key as a JSON web key set."""
        public = self._key.as_dict(private=False)
        return {"keys": [{**public, "kid": self._kid, "use": "sig", "alg": "ES256"}]}

    def grant(self, authorization: str | None, form: Mapping[str, str]) -> dict[str, object]:
        """The answer to a token request. Raises Refused."""
        name, secret = credentials(authorization, form)
        client = self._config.clients.get(name)
        known = self._secrets.get(name, "")
        # Compared also for an unknown client, so that the time taken does not tell which clients there are.
        right = hmac.compare_digest(secret.encode(), known.encode())
        if client is None or not known or not right:
            raise Refused("invalid_client", "unknown client or wrong secret", 401)
        if form.get("grant_type") != "client_credentials":
            raise Refused("unsupported_grant_type", "only client_credentials is offered here")
        scope = granted(form.get("scope", ""), client.scopes)
        audiences = form.get("audience", "").split() or [self._config.audience]
        seconds = bounded_lifetime(form.get("lifetime"), self._config.lifetime, self._config.longest_lifetime)
        now = int(time.time() + self._config.clock_offset)
        claims: dict[str, object] = {
            "wlcg.ver": "1.0",
            "iss": self._config.issuer,
            "sub": name,
            "client_id": name,
            "aud": audiences[0] if len(audiences) == 1 else audiences,
            "iat": now - CLOCK_TOLERANCE,
            "nbf": now - CLOCK_TOLERANCE,
            "exp": now + seconds,
            "jti": secrets.token_urlsafe(16),
            "scope": scope,
        }
        token = jwt.encode({"alg": "ES256", "kid": self._kid, "typ": "JWT"}, claims, self._key)
        log.info("token %s for %s: %s, %d s, audience %s", claims["jti"], name, scope, seconds, " ".join(audiences))
        return {"access_token": token, "token_type": "Bearer", "expires_in": seconds, "scope": scope}


def application(issuer: Issuer) -> Starlette:
    """The issuer as an ASGI application."""

    async def discovery(_: Request) -> Response:
        return JSONResponse(issuer.discovery())

    async def jwks(_: Request) -> Response:
        return JSONResponse(issuer.jwks(), headers={"Cache-Control": "max-age=600"})

    async def token(request: Request) -> Response:
        try:
            form = dict(parse_qsl(await _text(request), keep_blank_values=True))
            answer = issuer.grant(request.headers.get("authorization"), form)
        except Refused as refusal:
            log.info("refused %s: %s", refusal.error, refusal.description)
            headers = {"WWW-Authenticate": 'Basic realm="tokens"'} if refusal.status == 401 else {}
            content = {"error": refusal.error, "error_description": refusal.description}
            return JSONResponse(content, refusal.status, headers={**headers, "Cache-Control": "no-store"})
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    return Starlette(
        routes=[
            Route("/.well-known/openid-configuration", discovery),
            Route("/jwks", jwks),
            Route("/token", token, methods=["POST"]),
        ]
    )


async def _text(request: Request) -> str:
    """The body of a request; an endless one is refused before it fills the memory."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_REQUEST:
            raise Refused("invalid_request", "the request is too large", 413)
    return body.decode(errors="replace")


def load(path: Path) -> tuple[Config, dict[str, str]]:
    """Configuration and client secrets. Raises WrongUsage that names the file and the key."""
    try:
        config = Config.model_validate({**tomllib.loads(path.read_text()), **_from_environment()})
        client_secrets = tomllib.loads(config.secrets_file.read_text())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise WrongUsage(f"{path}: {key}: {first['msg']}", remedy="mend the configuration file") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise WrongUsage(f"cannot read the configuration: {error}", remedy="mend the file it names") from error
    for name in config.clients:
        if not isinstance(client_secrets.get(name), str) or not client_secrets[name]:
            raise WrongUsage(f"{config.secrets_file}: no secret for client {name}", remedy="add it")
    return config, client_secrets


def _from_environment() -> dict[str, str]:
    names = {"XDC_ISSUER_CLOCK_OFFSET": "clock_offset", "XDC_ISSUER_LONGEST_LIFETIME": "longest_lifetime"}
    return {key: os.environ[name] for name, key in names.items() if name in os.environ}


def signing_key(directory: Path) -> ECKey:
    """The key of this issuer: read from its state directory, made there (mode 0600) the first time."""
    path = directory / "signing-key.pem"
    if not path.exists():
        pem = ECKey.generate_key("P-256").as_pem(private=True)
        descriptor, unfinished = tempfile.mkstemp(dir=directory)  # mode 0600
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())
        Path(unfinished).rename(path)
    return ECKey.import_key(path.read_bytes())


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description="Token issuer of the testbed")
    parser.add_argument("--config", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        config, client_secrets = load(chosen.config)
        issuer = Issuer(config, client_secrets, signing_key(config.state_directory))
        if config.clock_offset:
            log.warning("tokens are dated %+g s off the true time", config.clock_offset)
    except XdcError as error:
        log.error("%s (%s)", error.message, error.remedy)  # noqa: TRY400  a sentence, not a traceback
        return error.exit_code
    _Server(
        uvicorn.Config(
            application(issuer),
            host=config.listen,
            port=config.port,
            ssl_certfile=str(config.certificate),
            ssl_keyfile=str(config.private_key),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    ).run()
    return 0


class _Server(uvicorn.Server):
    """Tells systemd when it answers (sd_notify(3), Type=notify)."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        address = os.environ.get("NOTIFY_SOCKET")
        if self.started and address:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notice:
                notice.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)


if __name__ == "__main__":
    raise SystemExit(main())
