"""Proves that a service does its real work, by using it: what the roles' `verify` runs on a node.

    echo '{"what": "storage", ...}' | python -m xdc_testbed.clients.proof

The question comes as one JSON object on standard input, as it may hold a secret; the answer is one JSON line,
`{"ok": true, "steps": [...]}` or `{"ok": false, "step": ..., "error": ...}`. Exit status 0 or 1.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
from pydantic import BaseModel, ConfigDict, TypeAdapter

from xdc_testbed.clients import digests
from xdc_testbed.clients.errors import StorageDenied, StorageError, TokenRefused, Unreachable
from xdc_testbed.clients.tls import tls_context
from xdc_testbed.clients.tokens import ANY_AUDIENCE, TokenSource
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.clients.xroot import Xroot
from xdc_testbed.errors import VerifyFailed, XdcError

_WORN = 20.0  # seconds in which a cache has given up its dead connections
SIZE = 300_000  # bytes of the file that is written


class Question(BaseModel):
    """What every proof is told. client_*: a client of the issuer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    issuer: str
    client_id: str
    client_secret: str
    ca_file: Path

    def source(self, scope: str) -> TokenSource:
        return TokenSource(self.issuer, self.client_id, self.client_secret, self.ca_file, scope)


class IssuerQuestion(Question):
    """scope: one that the client may have."""

    scope: str


class StorageQuestion(Question):
    """https, root: where the storage answers, None for a storage without root://; folder: where the client may
    write.
    """

    https: str
    root: str | None = None
    folder: str
    ca_directory: Path


class CacheQuestion(Question):
    """https: the cache; origin: https of the storage behind it; folder: where the client may write at the origin."""

    https: str
    origin: str
    folder: str


class Steps:
    """Names what is being proved, so that a failure says where it happened."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.current = "question"

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.current = name
        yield
        self.done.append(name)


def prove_issuer(question: IssuerQuestion, steps: Steps) -> None:
    """A token comes, its signature fits the published key, its claims are those of the profile; others get none."""
    from joserfc import jwt
    from joserfc.jwk import KeySet

    source = question.source(question.scope)
    with steps.step("a client gets a token"):
        token = source.token()
    with steps.step("the published key checks it"), httpx2.Client(verify=tls_context(question.ca_file)) as http:
        place = http.get(f"{question.issuer}/.well-known/openid-configuration").json()["jwks_uri"]
        keys = KeySet.import_key_set(http.get(place).json())
        claims = jwt.decode(token, keys, algorithms=["ES256"]).claims
    with steps.step("its claims are right"):
        wanted = {"iss": question.issuer, "aud": ANY_AUDIENCE, "scope": question.scope, "wlcg.ver": "1.0"}
        found = {name: claims.get(name) for name in wanted}
        agree("claims", found, wanted)
    with steps.step("a wrong secret gets none"):
        refused(lambda: _stranger(question).token(), TokenRefused, "a token for a wrong secret")
    with steps.step("a scope beyond the client's gets none"):
        refused(lambda: source.fetch("storage.modify:/etc"), TokenRefused, "a token for any scope")


def prove_storage(question: StorageQuestion, steps: Steps) -> None:
    """A file is written, compared, renamed and removed with a token; without one it is not to be had."""
    source = question.source(f"storage.read:{question.folder} storage.modify:{question.folder}")
    data, path, final = os.urandom(SIZE), *names(question.folder)
    with (
        WebDav(question.https, ca_file=question.ca_file, token=source.token) as storage,
        WebDav(question.https, ca_file=question.ca_file) as stranger,
    ):
        try:
            with steps.step("PUT over https with a token"):
                storage.put(path, data)
            with steps.step("checksum and size agree"):
                stat = storage.head(path)
                agree("size and adler32", (stat.size, stat.checksums.get("adler32")), (SIZE, digests.adler32(data)))
            with steps.step("GET without a credential is denied"):
                refused(lambda: stranger.get(path), StorageDenied, "a private file")
            with steps.step("MOVE to another name"):
                storage.move(path, final)
            with steps.step("GET gives the same bytes"):
                agree("bytes over https", storage.get(final) == data, True)
            if question.root is not None:
                root = Xroot(question.root, ca_directory=question.ca_directory, token=source.token, timeout=30.0)
                with steps.step("root with a token gives the same bytes"):
                    agree("bytes over root", root.get(final) == data, True)
        finally:
            remove(storage, path, final)
        with steps.step("what is removed is gone"):
            agree("a removed file is there", storage.exists(final), False)


def prove_cache(question: CacheQuestion, steps: Steps) -> None:
    """A file of the origin is read twice through the cache; the second time the origin no longer has it."""
    source = question.source(f"storage.read:{question.folder} storage.modify:{question.folder}")
    data, path, _ = os.urandom(SIZE), *names(question.folder)
    with (
        WebDav(question.origin, ca_file=question.ca_file, token=source.token) as origin,
        WebDav(question.https, ca_file=question.ca_file, token=source.token) as cache,
        WebDav(question.https, ca_file=question.ca_file) as stranger,
    ):
        try:
            with steps.step("PUT to the origin"):
                origin.put(path, data)
            with steps.step("GET through the cache gives the same bytes"):
                agree("bytes", _first_read(cache, path) == data, True)
        finally:
            remove(origin, path)
        with steps.step("GET of what only the cache still has"):
            agree("the removed file is at the origin", origin.exists(path), False)
            agree("bytes", cache.get(path) == data, True)
        with steps.step("GET without a credential is denied, cached or not"):
            refused(lambda: stranger.get(path), StorageDenied, "a private file")


def _first_read(cache: WebDav, path: str) -> bytes:
    """A read that may be the cache's first since its origin was restarted: XRootD 5.5 keeps many connections to an
    https origin, and each read that finds one dead fails.
    """
    deadline = time.monotonic() + _WORN
    while True:
        try:
            return cache.get(path)
        except (Unreachable, StorageError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def answer(text: str) -> dict[str, Any]:
    """The answer to a question, both JSON."""
    steps = Steps()
    try:
        match json.loads(text).get("what"):
            case "issuer":
                prove_issuer(TypeAdapter(IssuerQuestion).validate_json(text), steps)
            case "storage":
                prove_storage(TypeAdapter(StorageQuestion).validate_json(text), steps)
            case "cache":
                prove_cache(TypeAdapter(CacheQuestion).validate_json(text), steps)
            case "dcache":
                from xdc_testbed.clients import dcache_proof

                dcache_proof.prove(TypeAdapter(dcache_proof.DcacheQuestion).validate_json(text), steps)
            case what:
                raise VerifyFailed(f"nobody can prove {what!r}")
    except (XdcError, httpx2.HTTPError, OSError) as error:
        return {"ok": False, "step": steps.current, "error": str(error), "done": steps.done}
    return {"ok": True, "steps": steps.done}


def names(folder: str) -> tuple[str, str]:
    """A temporary name (`.part-`, which event sources pass over) and a final one, used by nobody else."""
    stem = f"{folder.rstrip('/')}/.verify-{secrets.token_hex(8)}"
    return f"{stem}.part-1", stem


def _stranger(question: Question) -> TokenSource:
    return question.model_copy(update={"client_secret": "wrong"}).source("")


def agree(what: str, found: object, wanted: object) -> None:
    """Raise VerifyFailed unless both are the same."""
    if found != wanted:
        raise VerifyFailed(f"{what}: {found!r} instead of {wanted!r}")


def refused(attempt: Callable[[], object], error: type[XdcError], what: str) -> None:
    """Raise VerifyFailed unless the attempt ends in this error."""
    try:
        attempt()
    except error:
        return
    raise VerifyFailed(f"{what} was given")


def remove(storage: WebDav, *paths: str) -> None:
    """Remove what may be there; that it is gone is a step of its own."""
    for path in paths:
        with suppress(XdcError):
            storage.delete(path)


if __name__ == "__main__":
    outcome = answer(sys.stdin.read())
    sys.stdout.write(json.dumps(outcome) + "\n")
    sys.exit(0 if outcome["ok"] else 1)
