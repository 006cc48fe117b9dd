"""Bearer tokens of the configured issuers: signed JSON web tokens of the WLCG profile, read with joserfc."""

from __future__ import annotations

import base64
import json
import posixpath
import ssl
import threading
import time
from typing import Any

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from .config import Issuer

_KEYS_LIVE = 600.0
_PATIENCE = 10.0
_ALGORITHMS = ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256"]


class BadToken(Exception):
    """The token is not one of a configured issuer, or no longer, or not for this storage."""


class Issuers:
    """The keys of the issuers, fetched when first needed and again when a token names a key that is not among them."""

    def __init__(self, issuers: tuple[Issuer, ...]) -> None:
        self._issuers = {issuer.url.rstrip("/"): issuer for issuer in issuers}
        self._keys: dict[str, tuple[float, KeySet]] = {}
        self._lock = threading.Lock()

    def read(self, token: str) -> tuple[Issuer, str, tuple[str, ...]]:
        """Issuer, subject and scopes, their paths below the issuer's prefix. Raises BadToken. May take up to 10 s when
        keys have to be fetched."""
        issuer = self._issuers.get(_claimed_issuer(token))
        if issuer is None:
            raise BadToken("no such issuer")
        claims = self._verified(token, issuer)
        now = time.time()
        if (
            float(claims.get("exp", 0)) + issuer.clock_skew < now
            or float(claims.get("nbf", 0)) - issuer.clock_skew > now
        ):
            raise BadToken("expired or not yet valid")
        audience = claims.get("aud", [])
        if (
            not {audience} & set(issuer.audience)
            if isinstance(audience, str)
            else not set(audience) & set(issuer.audience)
        ):
            raise BadToken("meant for another audience")
        scopes = tuple(_below(scope, issuer.prefix) for scope in str(claims.get("scope", "")).split())
        return issuer, str(claims.get("sub", "")), scopes

    def _verified(self, token: str, issuer: Issuer) -> dict[str, Any]:
        for fresh in (False, True):
            try:
                return dict(jwt.decode(token, self._key_set(issuer, fresh=fresh), algorithms=_ALGORITHMS).claims)
            except (JoseError, ValueError) as error:
                if fresh:
                    raise BadToken(str(error)) from error
        raise BadToken("not verified")

    def _key_set(self, issuer: Issuer, *, fresh: bool) -> KeySet:
        with self._lock:
            fetched, keys = self._keys.get(issuer.url, (0.0, None))
            age = time.monotonic() - fetched
            if keys is not None and (age < 1.0 if fresh else age < _KEYS_LIVE):
                return keys
            try:
                found = _fetch(issuer)
            except (httpx2.HTTPError, OSError, KeyError, ValueError) as error:
                raise BadToken(f"keys of {issuer.url} cannot be fetched") from error
            self._keys[issuer.url] = (time.monotonic(), found)
            return found


def _fetch(issuer: Issuer) -> KeySet:
    context = ssl.create_default_context(cafile=str(issuer.authority) if issuer.authority else None)
    with httpx2.Client(verify=context, timeout=_PATIENCE) as client:
        discovery = client.get(issuer.url.rstrip("/") + "/.well-known/openid-configuration").raise_for_status().json()
        return KeySet.import_key_set(client.get(str(discovery["jwks_uri"])).raise_for_status().json())


def _claimed_issuer(token: str) -> str:

    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["iss"]).rstrip("/")
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise BadToken("not a JSON web token") from error


def _below(scope: str, prefix: str) -> str:
    capability, colon, path = scope.partition(":")
    if not colon:
        return scope if not capability.startswith("storage.") else f"{capability}:{prefix}"
    return f"{capability}:{posixpath.normpath(posixpath.join('/', prefix.strip('/'), path.lstrip('/')))}"
