"""Who may not: every wrong credential is refused, and nothing has happened afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from xdc_testbed.clients.errors import StorageDenied, StorageError
from xdc_testbed.interop.capabilities import DELETE, GET, MACAROON, PUBLIC, PUT
from xdc_testbed.interop.outcome import Wrong, require
from xdc_testbed.interop.registry import Scope, case
from xdc_testbed.interop.trial import Trial

NOT_AT_ALL = (
    "anonymous",
    "stranger",
    "token-expired",
    "token-wrong-audience",
    "token-tampered",
    "token-unsigned",
    "token-other-path",
    "token-sibling-path",
)


@case("denial.read", "Who may not read", needs=(GET,), protocols=("https", "root"), credentials=NOT_AT_ALL)
def read(trial: Trial) -> None:
    """Reading a private file is refused with 401 or 403."""
    path = trial.source.put("private.bin", trial.content(1000))
    door = trial.door(trial.source)
    try:
        door.get(path)
    except StorageDenied as refusal:
        trial.note("status", refusal.status)
        return
    raise Wrong(f"{trial.cell.credential} may read a private file")


@case("denial.stat", "Who may not ask", needs=(GET,), credentials=NOT_AT_ALL)
def stat(trial: Trial) -> None:
    """Size and checksum of a private file are refused with 401 or 403."""
    path = trial.source.put("private.bin", trial.content(1000))
    door = trial.door(trial.source)
    try:
        door.size(path)
    except StorageDenied as refusal:
        trial.note("status", refusal.status)
        return
    raise Wrong(f"{trial.cell.credential} is told the size of a private file")


@case("denial.list", "Who may not list", needs=(PUT,), credentials=NOT_AT_ALL)
def listing(trial: Trial) -> None:
    """Listing a private directory is refused with 401 or 403."""
    trial.source.put("private.bin", trial.content(10))
    door = trial.source.place.webdav(trial.cell.credential, trial.source.path)
    try:
        entries = door.list(trial.source.path)
    except StorageDenied as refusal:
        trial.note("status", refusal.status)
        return
    raise Wrong(f"{trial.cell.credential} may list a private directory, and sees {len(entries)} entries")


@case(
    "denial.write",
    "Who may not write",
    needs=(PUT,),
    protocols=("https", "root"),
    credentials=(*NOT_AT_ALL, "token-read-only"),
)
def write(trial: Trial) -> None:
    """Writing a new file is refused with 401 or 403, and no file is there afterwards."""
    path = trial.source.file("intruder.bin")
    door = trial.door(trial.source)
    try:
        door.put(path, trial.content(1000))
    except StorageDenied as refusal:
        trial.note("status", refusal.status)
        trial.source.require_absent(path, "a refused write")
        return
    raise Wrong(f"{trial.cell.credential} may write a private file")


@case(
    "denial.replace",
    "Who may not replace",
    needs=(GET, PUT),
    protocols=("https", "root"),
    credentials=("anonymous", "stranger", "token-read-only", "token-create-only"),
)
def replace(trial: Trial) -> None:
    """Replacing a file is refused with 401 or 403, and its content is the old one."""
    data = trial.content(1000, "old")
    path = trial.source.put("kept.bin", data)
    door = trial.door(trial.source)
    try:
        door.put(path, trial.content(1000, "new"))
    except StorageDenied as refusal:
        trial.note("status", refusal.status)
        trial.source.require_content(path, data)
        return
    raise Wrong(f"{trial.cell.credential} may replace a private file")


@case(
    "denial.delete",
    "Who may not remove",
    needs=(GET, PUT, DELETE),
    protocols=("https", "root"),
    credentials=(*NOT_AT_ALL, "token-read-only", "token-create-only"),
)
def delete(trial: Trial) -> None:
    """Removing a file is refused with 401 or 403, and it is still there."""
    data = trial.content(1000)
    path = trial.source.put("kept.bin", data)
    door = trial.door(trial.source)
    try:
        door.delete(path)
    except StorageDenied as refusal:
        trial.note("status", refusal.status)
        trial.source.require_content(path, data)
        return
    raise Wrong(f"{trial.cell.credential} may remove a private file")


@case(
    "denial.public",
    "The public may read and not write",
    needs=(GET, PUT, PUBLIC),
    credentials=("anonymous",),
)
def public(trial: Trial) -> None:
    """Anybody reads a public file, and nobody without a credential writes one."""
    data = trial.content(1000)
    admin, anybody = trial.source.place.admin(), trial.source.place.webdav("anonymous")
    path, intruder = (
        f"{trial.public}/{trial.cell.source.id}-public.bin",
        f"{trial.public}/{trial.cell.source.id}-no.bin",
    )
    admin.put(path, data)
    try:
        require(anybody.get(path) == data, "the public is given other bytes")
        try:
            anybody.put(intruder, data)
        except StorageDenied as refusal:
            trial.note("status", refusal.status)
            trial.source.require_absent(intruder, "a refused write")
            return
        admin.delete(intruder)
        raise Wrong("the public may write")
    finally:
        admin.delete(path)


@case(
    "denial.macaroon",
    "A macaroon opens one file for reading",
    needs=(GET, PUT, MACAROON),
    credentials=("token", "x509"),
)
def macaroon(trial: Trial) -> None:
    """A macaroon with `activity:DOWNLOAD` reads its file; another file beside it, and writing, are refused."""
    data = trial.content(1000)
    path, other = trial.source.put("mine.bin", data), trial.source.put("other.bin", b"other")
    bearer = trial.source.place.webdav(trial.cell.credential).macaroon(path, ["DOWNLOAD"])
    for attempt, otherwise in (
        (lambda door: door.get(other), "the macaroon for one file reads another one"),
        (lambda door: door.put(path, b"replaced"), "the macaroon for reading replaces its file"),
        (
            lambda door: door.put(trial.source.file("new.bin"), b"new"),
            "the macaroon for reading makes a file",
        ),
        (lambda door: door.delete(path), "the macaroon for reading removes its file"),
    ):
        with trial.source.place.webdav_with(bearer) as door:
            _refused(partial(attempt, door), otherwise)
    with trial.source.place.webdav_with(bearer) as door:
        require(door.get(path) == data, "the macaroon reads other bytes")
    trial.source.require_content(path, data)


@case(
    "denial.kept-connection",
    "Nothing is left of the request before",
    needs=(GET, PUT, MACAROON),
    credentials=("anonymous",),
    variants=("token", "macaroon"),
)
def kept_connection(trial: Trial) -> None:
    """After a request with a credential, one without on the same connection is refused."""
    data = trial.content(1000)
    path = trial.source.put("private.bin", data)
    if trial.cell.variant == "token":
        bearer = trial.source.place.wallet.scoped(f"storage.read:{trial.source.path}")
    else:
        bearer = trial.source.place.webdav("x509").macaroon(path, ["DOWNLOAD"])
    connection = trial.source.place.wire("anonymous")
    first = connection.request("GET", path, {"Authorization": f"Bearer {bearer}"})
    require(first.body == data, f"the first request gives other bytes: HTTP {first.status}")
    second = connection.request("GET", path)
    connection.close()
    trial.note("status", second.status)
    require(second.status in (401, 403), f"a request without a credential is answered with {second.status}")


@case(
    "denial.macaroon-growth",
    "A macaroon gives no more than its asker has",
    needs=(GET, PUT, MACAROON),
    credentials=("token-read-only",),
)
def macaroon_growth(trial: Trial) -> None:
    """A macaroon for writing, got with a token for reading, is refused when asked for or when used."""
    data = trial.content(1000)
    path = trial.source.put("kept.bin", data)
    reader = trial.source.place.webdav(trial.cell.credential, trial.source.path)
    try:
        bearer = reader.macaroon(path, ["DOWNLOAD", "UPLOAD", "DELETE"])
    except StorageError as refusal:
        trial.note("status", refusal.status)
        return
    with trial.source.place.webdav_with(bearer) as door:
        _refused(lambda: door.put(path, b"grown"), "a macaroon got with a token for reading writes")
        _refused(lambda: door.delete(path), "a macaroon got with a token for reading removes")
    trial.source.require_content(path, data)


@case(
    "denial.macaroon-anonymous",
    "Nobody gets a macaroon",
    needs=(GET, PUT, MACAROON),
    credentials=("anonymous",),
)
def macaroon_anonymous(trial: Trial) -> None:
    """A macaroon asked for without a credential is refused, or tells nothing of a private file."""
    path = trial.source.put("private.bin", trial.content(1000))
    try:
        bearer = trial.source.place.webdav("anonymous").macaroon(path, ["DOWNLOAD", "READ_METADATA"])
    except StorageError as refusal:
        trial.note("status", refusal.status)
        return
    with trial.source.place.webdav_with(bearer) as door:
        _refused(lambda: door.get(path), "a macaroon for nobody reads a private file")
        _refused(lambda: door.head(path, digest=None), "a macaroon for nobody tells the size of a private file")


@case("denial.macaroon-expired", "A macaroon ends", needs=(GET, PUT, MACAROON), credentials=("x509",))
def macaroon_expired(trial: Trial) -> None:
    """A macaroon that was valid for one second is refused three seconds later."""
    path = trial.source.put("private.bin", trial.content(1000))
    bearer = trial.source.place.webdav(trial.cell.credential).macaroon(path, ["DOWNLOAD"], "PT1S")
    threading.Event().wait(3.0)  # the clock is what is waited for
    with trial.source.place.webdav_with(bearer) as door:
        _refused(lambda: door.get(path), "a macaroon is taken after its end")


@case(
    "denial.macaroon-elsewhere",
    "A macaroon is for one site",
    scope=Scope.PAIR,
    needs=(GET, PUT, MACAROON),
    destination_needs=(GET, PUT, MACAROON),
    credentials=("x509",),
)
def macaroon_elsewhere(trial: Trial) -> None:
    """A macaroon of the source opens nothing at the destination."""
    there = trial.destination.put("private.bin", b"private")
    trial.source.put("private.bin", b"private")
    bearer = trial.source.place.webdav(trial.cell.credential).macaroon(trial.source.path, ["DOWNLOAD"])
    with trial.destination.place.webdav_with(bearer) as door:
        _refused(lambda: door.get(there), f"a macaroon of {trial.source.id} reads at {trial.destination.id}")


def _refused(action: Callable[[], object], otherwise: str) -> None:
    """Do what must be refused."""
    try:
        action()
    except StorageDenied:
        return
    raise Wrong(otherwise)
