"""Macaroons as the product's WebDAV door gives them: made and checked with pymacaroons.

The caveats of one, in order: `iid:` a random name, `id:uid;gid,gid;username`, `before:` an instant, `path:` of the URL,
then those of the request. A further `path:` is relative to the ones before it. The location is literally
`Optional[<path>]`, as in the product (11.2.5 and 12.0.1).
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import posixpath
import re
import secrets
import time
from collections.abc import Iterable

from pymacaroons import MACAROON_V1, Macaroon, Verifier
from pymacaroons.exceptions import MacaroonException

from xdc_testbed.errors import WrongUsage

from .config import Config
from .subject import Limits, Subject

_KNOWN = frozenset({"activity", "path", "root", "home", "ip", "before", "max-upload"})
_DURATION = re.compile(
    r"(?P<sign>[-+]?)P(?:(?P<days>\d+)D)?(?:T(?=\d)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?",
    re.IGNORECASE,
)
_USUAL = 86400.0
Holder = tuple[int, tuple[int, ...], str]
"""uid, gids, username."""
_SHORT = 8


class BadMacaroon(Exception):
    """The macaroon is not one of this instance, or no longer, or not for this client."""


class BadRequest(Exception):
    """A request for a macaroon that cannot be granted; the text goes into the status line."""


def is_macaroon(token: str) -> bool:
    """Whether a bearer token looks like a macaroon of the first format rather than a JSON web token."""
    return token.startswith("MDA")


class Macaroons:
    """Gives and checks macaroons with the secret of the configuration. Raises WrongUsage when it cannot be read."""

    def __init__(self, config: Config) -> None:
        assert config.macaroon_secret is not None  # noqa: S101  the caller looks first
        try:
            self._secret = config.macaroon_secret.read_bytes().strip()
        except OSError as error:
            raise WrongUsage(f"macaroon_secret: {error.strerror}: {config.macaroon_secret}") from error
        if len(self._secret) < 16:
            raise WrongUsage(f"{config.macaroon_secret} holds less than 16 bytes")
        self._longest = config.longest_macaroon

    def give(self, subject: Subject, path: str, caveats: Iterable[str], validity: str | None) -> str:
        """A macaroon for what subject may, below path. caveats: `name:value`; validity: ISO 8601 duration.

        Raises BadRequest.
        """
        seconds = _USUAL if validity is None else _seconds(validity)
        before = time.time() + seconds
        wanted = []
        for caveat in caveats:
            name, colon, value = caveat.partition(":")
            if not colon:
                raise BadRequest(f"Bad requested caveat: Missing ':' in {caveat}")
            if name not in _KNOWN:
                raise BadRequest(f"Bad requested caveat: Unknown caveat {name}")
            if name == "before":
                before = min(before, _instant(value))
            else:
                wanted.append(caveat)
        if before - time.time() > self._longest:
            raise BadRequest(
                f"Bad requested caveat: before: requested duration beyond maximum allowed ({_hours(self._longest)})"
            )
        made = Macaroon(location=f"Optional[{path}]", identifier=_random_name(), key=self._secret, version=MACAROON_V1)
        moment = datetime.datetime.fromtimestamp(before, datetime.UTC)
        made.add_first_party_caveat(f"iid:{_random_name()}")
        made.add_first_party_caveat(f"id:{subject.uid};{','.join(map(str, subject.gids))};{subject.username}")
        made.add_first_party_caveat(f"before:{moment:%Y-%m-%dT%H:%M:%S.%f}{secrets.randbelow(1000):03d}Z")
        if path != "/":
            made.add_first_party_caveat(f"path:{path}")
        for caveat in wanted:
            made.add_first_party_caveat(caveat)
        return str(made.serialize())

    def verify(self, token: str, *, origin: str) -> tuple[Holder, Limits, str]:
        """Whose it is, what it leaves, and how records name it. origin: the client's address, "" when unknown. Raises
        BadMacaroon."""
        try:
            macaroon = Macaroon.deserialize(token)
            verifier = Verifier()
            verifier.satisfy_general(lambda _caveat: True)
            verifier.verify(macaroon, self._secret)
            caveats = [caveat.caveat_id for caveat in macaroon.first_party_caveats()]
            holder, limits = _read(caveats, origin)
            name = next((caveat[4:] for caveat in caveats if caveat.startswith("iid:")), "")
            signature = base64.urlsafe_b64encode(bytes.fromhex(macaroon.signature)).decode()
            return holder, limits, f"{name}:{signature[:_SHORT]}"
        except (MacaroonException, ValueError, KeyError, IndexError, TypeError) as error:
            raise BadMacaroon(type(error).__name__) from error


def _read(caveats: list[str], origin: str) -> tuple[Holder, Limits]:
    """The holder and limits of verified caveats. Raises BadMacaroon, ValueError."""
    holder: Holder | None = None
    activities: frozenset[str] | None = None
    path, root, home, before, largest = "/", "/", None, None, None
    for caveat in caveats:
        name, _, value = caveat.partition(":")
        match name:
            case "id" if holder is None:
                uid, gids, username = value.split(";", 2)
                holder = (int(uid), tuple(int(gid) for gid in gids.split(",")), username)
            case "before":
                moment = _instant(value)
                before = moment if before is None else min(before, moment)
            case "path":
                path = posixpath.normpath(posixpath.join(path, value.lstrip("/")))
            case "root":
                root = posixpath.normpath(posixpath.join(root, value.lstrip("/")))
            case "home":
                home = value
            case "activity":
                named = frozenset(part.strip() for part in value.split(","))
                activities = named if activities is None else activities & named
            case "ip":
                if not origin or not any(
                    ipaddress.ip_address(origin) in ipaddress.ip_network(part.strip(), strict=False)
                    for part in value.split(",")
                ):
                    raise BadMacaroon("not from this address")
            case "max-upload":
                largest = int(value) if largest is None else min(largest, int(value))
            case "iid":
                pass
            case _:
                raise BadMacaroon(f"unknown caveat {name}")
    if holder is None or before is None:
        raise BadMacaroon("no holder or no end")
    if before < time.time():
        raise BadMacaroon("expired")
    paths = tuple(limit for limit in (path, root) if limit != "/")
    return holder, Limits(activities, paths, before, root, home, largest)


def _random_name() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(6)).decode()


def _seconds(duration: str) -> float:
    found = _DURATION.fullmatch(duration)
    if found is None or not any(found[part] for part in ("days", "hours", "minutes", "seconds")):
        raise BadRequest("Bad validity value: Text cannot be parsed to a Duration")
    days, hours, minutes = (int(found[part] or 0) for part in ("days", "hours", "minutes"))
    total = days * 86400 + hours * 3600 + minutes * 60 + float(found["seconds"] or 0)
    return -total if found["sign"] == "-" else total


def _instant(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 instant, whose fraction may have nine digits. Raises BadRequest."""
    try:
        return datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()
    except ValueError:
        raise BadRequest(f"Bad requested caveat: before: Text '{text}' could not be parsed at index 0") from None


def _hours(seconds: float) -> str:
    whole = int(seconds)
    return f"PT{whole // 3600}H" if whole % 3600 == 0 else f"PT{whole}S"
