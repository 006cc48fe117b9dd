"""Logging in: HTTP Basic, client certificates, bearer tokens and macaroons, as the product's gPlazma is set up."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
from collections.abc import Mapping

from cryptography import x509

from xdc_testbed.errors import WrongUsage

from . import passwords
from .config import Config, User
from .macaroons import BadMacaroon, Macaroons, is_macaroon
from .subject import NOBODY, Limits, Subject, permits
from .tokens import BadToken, Issuers

__all__ = ["Identity", "Limits", "LoginFailed", "Subject", "permits"]

_log = logging.getLogger(__name__)
_PROXY = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14")  # proxyCertInfo


class LoginFailed(Exception):
    """A credential that is wrong. status, text: of the status line, the body is empty; headers: to send with it."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


class Identity:
    """The users of the configuration, their credentials, and the issuers that speak for them.

    Raises WrongUsage for a password file that cannot be read.
    """

    def __init__(self, config: Config) -> None:
        self.macaroons = Macaroons(config) if config.macaroon_secret else None
        self.challenge = {"WWW-Authenticate": f'Basic realm="{config.name}"'}
        self._issuers = Issuers(config.issuers)
        self._users = {user.name: user for user in config.users}
        self._passwords = {user.name: _stored(user) for user in config.users}
        self._names = {_plain_dn(dn): user for user in config.users for dn in user.dns}
        self._remembered: dict[tuple[str, bytes], bool] = {}

    def login(
        self,
        headers: Mapping[str, str],
        *,
        client_certificate: bytes | None = None,
        origin: str = "",
        bearer: str | None = None,
        secure: bool = True,
    ) -> Subject:
        """Who asks. headers: names in lower case; client_certificate: DER, already verified by the TLS layer; origin:
        the address of the client; bearer: a token from elsewhere than the Authorization header (`?authz=`).

        Without any credential it is nobody. Raises LoginFailed. May wait for an issuer's keys: call it from a thread.
        """
        scheme, _, value = headers.get("authorization", "").strip().partition(" ")
        if scheme.lower() == "bearer":
            bearer = value.strip()
        if bearer is not None:
            if not secure:
                raise LoginFailed(401, "not allowed to send bearer token unencrypted", self.challenge)
            try:
                return self._by_bearer(bearer, origin)
            except LoginFailed:
                # gPlazma asks every credential, and one that is good is enough: a cache sends its certificate and,
                # in the query, the word `Bearer` with its client's token, which is no token.
                if is_macaroon(bearer) or client_certificate is None:
                    raise
        if scheme.lower() == "basic":
            user, roles = self._by_password(value)
            return _subject(user, origin, "basic", roles=roles)
        if client_certificate is not None:
            dn = certificate_dn(client_certificate)
            known = self._names.get(_plain_dn(dn))
            if known is not None:
                return _subject(known, origin, "x509", dn=dn)
        if bearer is not None:
            raise LoginFailed(401, "login failed", self.challenge)
        return Subject("", -1, (), origin=origin) if origin else NOBODY

    def user(self, name: str) -> User | None:
        """A user by name."""
        return self._users.get(name)

    def _by_password(self, encoded: str) -> tuple[User, frozenset[str]]:
        try:
            text = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise LoginFailed(401, "login failed", self.challenge) from None
        name, colon, password = text.partition(":")
        name, _, wanted = name.partition("#")
        user = self._users.get(name)
        stored = self._passwords.get(name)
        if not colon or user is None or stored is None or not self._right(name, password, stored):
            raise LoginFailed(401, "login failed", self.challenge)
        return user, _roles(user, wanted)

    def _right(self, name: str, password: str, stored: str) -> bool:
        key = (name, hashlib.sha256(password.encode()).digest())
        if key in self._remembered:
            return True
        right = (
            hmac.compare_digest(stored[6:].encode(), password.encode())
            if stored.startswith("plain:")
            else passwords.matches(password, stored)
        )
        if right:
            self._remembered[key] = True
        return right

    def _by_bearer(self, token: str, origin: str) -> Subject:
        if is_macaroon(token):
            if self.macaroons is None:
                raise LoginFailed(401, "login failed", self.challenge)
            try:
                holder, limits, token_id = self.macaroons.verify(token, origin=origin)
            except BadMacaroon as error:
                raise LoginFailed(401, "login failed", self.challenge) from error
            uid, gids, name = holder
            return Subject(name, uid, gids, limits=limits, token_id=token_id, origin=origin, method="macaroon")
        try:
            issuer, subject, scopes = self._issuers.read(token)
        except BadToken as error:
            _log.info("a token is refused: %s", error)
            raise LoginFailed(401, "login failed", self.challenge) from error
        user = self._users.get(issuer.subjects.get(subject, issuer.user or ""))
        if user is None:
            raise LoginFailed(401, "login failed", self.challenge)
        storage = tuple(scope for scope in scopes if scope.startswith("storage."))
        return _subject(user, origin, "token", scopes=storage)


def certificate_dn(certificate: bytes) -> str:
    """The subject of a DER certificate as `/C=DE/O=X/CN=name`; of a proxy (RFC 3820) the subject of who made it."""
    parsed = x509.load_der_x509_certificate(certificate)
    parts = [f"/{part.rfc4514_string()}" for rdn in parsed.subject.rdns for part in rdn]
    if any(extension.oid == _PROXY for extension in parsed.extensions):
        # A proxy's subject is its issuer's and one more name; that of a proxy's proxy has a serial number each.
        parts.pop()
        while parts and parts[-1].removeprefix("/CN=").isdigit():
            parts.pop()
    return "".join(parts)


def _plain_dn(dn: str) -> str:
    """Either spelling of a subject in one form."""
    if dn.startswith("/"):
        return dn
    return "".join(f"/{part.strip()}" for part in reversed(dn.split(",")))


def _roles(user: User, wanted: str) -> frozenset[str]:
    """admin counts only when asked for by `user#admin`; the others always."""
    asked = {role for role in wanted.split(",") if role}
    return frozenset(role for role in user.roles if role != "admin" or role in asked)


def _subject(
    user: User,
    origin: str,
    method: str,
    *,
    roles: frozenset[str] | None = None,
    dn: str | None = None,
    scopes: tuple[str, ...] | None = None,
) -> Subject:
    return Subject(
        user.name,
        user.uid,
        (user.gid, *user.groups),
        roles=_roles(user, "") if roles is None else roles,
        dn=dn,
        scopes=scopes,
        origin=origin,
        method=method,
    )


def _stored(user: User) -> str | None:
    if user.password_file is None:
        return user.password_hash
    try:
        return "plain:" + user.password_file.read_text().rstrip("\n")
    except OSError as error:
        raise WrongUsage(f"password file of user {user.name}: {error.strerror}: {user.password_file}") from error
