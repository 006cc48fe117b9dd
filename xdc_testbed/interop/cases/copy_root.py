"""Third-party copy over root://: the destination reads from the source, both see the client's credential."""

from __future__ import annotations

from xdc_testbed.clients.errors import StorageError
from xdc_testbed.interop.capabilities import GET, PUT, ROOT_TPC
from xdc_testbed.interop.outcome import Wrong
from xdc_testbed.interop.registry import MIB, Scope, case
from xdc_testbed.interop.trial import Trial

_SOURCE = (GET, ROOT_TPC)
_DESTINATION = (GET, PUT, ROOT_TPC)


@case(
    "copy-root.only",
    "Third-party copy over root://",
    scope=Scope.PAIR,
    needs=_SOURCE,
    destination_needs=_DESTINATION,
    protocols=("root",),
    credentials=("token", "x509"),
    sizes=(0, 16 * MIB),
    deadline=120.0,
)
def only(trial: Trial) -> None:
    """`xrdcp --tpc only` succeeds, the bytes are equal, and both ends tell the same checksum."""
    data = trial.content()
    source, target = trial.source.put("payload.bin", data), trial.destination.file("copy.bin")
    _copy(trial, source, target)
    trial.destination.require_content(target, data)


@case(
    "copy-root.missing-source",
    "Nothing to copy over root://",
    scope=Scope.PAIR,
    needs=_SOURCE,
    destination_needs=_DESTINATION,
    protocols=("root",),
    deadline=90.0,
)
def missing_source(trial: Trial) -> None:
    """A copy of a file that is not there fails, and leaves nothing at the destination."""
    target = trial.destination.file("copy.bin")
    try:
        _copy(trial, f"{trial.source.path}/nothing.bin", target)
    except StorageError as refusal:
        trial.note("refusal", refusal.message[-200:])
        trial.destination.require_absent(target, "a copy without a source")
        return
    raise Wrong("a copy of a file that is not there is said to have succeeded")


@case(
    "copy-root.onto-existing",
    "No replacing over root:// unless asked for",
    scope=Scope.PAIR,
    needs=_SOURCE,
    destination_needs=_DESTINATION,
    protocols=("root",),
    deadline=90.0,
)
def onto_existing(trial: Trial) -> None:
    """Without `--force` a copy onto a file is refused, and the old file is still there, whole."""
    old = trial.content(1000, "old")
    source, target = trial.source.put("payload.bin", trial.content()), trial.destination.put("copy.bin", old)
    try:
        _copy(trial, source, target, overwrite=False)
    except StorageError as refusal:
        trial.note("refusal", refusal.message[-200:])
        trial.destination.require_content(target, old)
        return
    raise Wrong("a copy without --force replaced a file")


@case(
    "copy-root.denied",
    "No copy over root:// without a right to read",
    scope=Scope.PAIR,
    needs=_SOURCE,
    destination_needs=_DESTINATION,
    protocols=("root",),
    credentials=("anonymous", "stranger", "token-other-path"),
    deadline=90.0,
)
def denied(trial: Trial) -> None:
    """With a credential that allows neither reading nor writing, the copy fails and leaves nothing."""
    source, target = trial.source.put("payload.bin", trial.content()), trial.destination.file("copy.bin")
    try:
        _copy(trial, source, target)
    except StorageError as refusal:
        trial.note("refusal", refusal.message[-200:])
        trial.destination.require_absent(target, "a refused copy")
        return
    raise Wrong(f"{trial.cell.credential} may copy a private file")


def _copy(trial: Trial, source: str, target: str, *, overwrite: bool = True) -> None:
    door = trial.source.place.root(trial.cell.credential, trial.source.path)
    trial.clients.add(door.client)
    base = trial.destination.place.base("root")
    door.copy(source, f"{base}/{target}", overwrite=overwrite)
