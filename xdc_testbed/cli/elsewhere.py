"""`calibrate` of raw data that lies on a storage, or into a folder of one: by https, as it is in use there."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from xdc_testbed.errors import WrongUsage

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdc_testbed.actions.storage import Storage
    from xdc_testbed.calibration import CalibrationManifest, Parameters, Ranges
    from xdc_testbed.calibration.blocks import Progress
    from xdc_testbed.calibration.detector import Module
    from xdc_testbed.calibration.lit_frames import LitFrames
    from xdc_testbed.calibration.manifest import FileOutcome
    from xdc_testbed.calibration.pipeline import ConstantsFolder, Watch

_SCHEMES = {"https": "https", "davs": "https"}


@dataclass(frozen=True)
class Order:
    """What is asked for. raw, out, constants: a path here or a URL."""

    raw: str
    out: str
    constants: str
    parameters: Parameters
    packed: Path
    lit_frames: LitFrames | None


@dataclass(frozen=True)
class Access:
    """How a storage knows the user: token_file, by default where the WLCG's discovery finds a token; cert: certificate
    and key in one PEM file; ca_file: PEM file or hashed folder of authorities, None for the system's.
    """

    token_file: Path | None = None
    cert: Path | None = None
    ca_file: Path | None = None

    def token(self) -> Callable[[], str] | None:
        """Where the token comes from. A certificate that is given is meant to be used in its place."""
        from xdc_testbed.clients.tokens import discovered, token_in

        if self.token_file:
            return token_in(self.token_file)
        return None if self.cert else discovered(os.environ)


def is_url(place: str) -> bool:
    """Whether a place is a storage's. Raises WrongUsage for a protocol that cannot be read by ranges here."""
    scheme, found, _ = place.partition("://")
    if not found:
        return False
    if scheme not in _SCHEMES:
        raise WrongUsage(f"{place}: {scheme}:// is not spoken here", remedy="give the https:// URL of the same place")
    return True


def calibrate(order: Order, access: Access, watch: Watch | None) -> tuple[CalibrationManifest, str]:
    """Correct a file or a run, of which raw data or result are elsewhere. Returns the manifest and where it is.

    One file that fails is recorded in a run, and the others go on; a storage that fails ends the run. Raises
    CalibrationError of a single file, what a storage says, and WrongUsage.
    """
    from xdc_testbed.calibration import CalibrationError
    from xdc_testbed.calibration.pipeline import corrected_name, failed, run_manifest

    storages = Storages(access)
    out = _Folder(order.out, storages)
    outcomes: list[FileOutcome] = []
    single = order.raw.endswith(".h5")
    with _constants(order.constants, storages) as constants:
        for raw in _raw_files(order.raw, storages):
            progress = partial(watch, raw.name) if watch else None
            try:
                outcomes += out.correct(raw, order, constants, progress).files
            except CalibrationError as error:
                if single:
                    raise
                outcomes.append(failed(raw, error))
    manifest = run_manifest(outcomes, order.parameters, order.lit_frames)
    name = f"{corrected_name(outcomes[0].input.name)}.manifest.json" if single else "manifest.json"
    return manifest, out.keep(name, manifest)


class Storages:
    """The storages of one command, each opened once, all by the same credential."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._known: dict[str, Storage] = {}

    def at(self, url: str) -> tuple[Storage, str]:
        """The storage of a URL, and the path on it."""
        from xdc_testbed.actions.storage import Storage
        from xdc_testbed.clients.webdav import WebDav

        parts = urlsplit(url)
        base = f"{_SCHEMES[parts.scheme]}://{parts.netloc}"
        if base not in self._known:
            cert = self._access.cert
            dav = WebDav(
                base,
                ca_file=self._access.ca_file,
                token=self._access.token(),
                cert=(cert, cert) if cert else None,
            )
            self._known[base] = Storage(dav)
        return self._known[base], unquote(parts.path).rstrip("/") or "/"


class _Folder:
    """Where corrected files go: a folder here, or on a storage."""

    def __init__(self, place: str, storages: Storages) -> None:
        self._place = place.rstrip("/")
        self._storage: Storage | None = None
        self._path = place
        if is_url(place):
            self._storage, self._path = storages.at(place)

    def correct(
        self, raw: Path | Ranges, order: Order, constants: ConstantsFolder, progress: Progress | None
    ) -> CalibrationManifest:
        """Correct one file into the folder."""
        from xdc_testbed.actions.streams import calibrate_onto
        from xdc_testbed.calibration import calibrate_file
        from xdc_testbed.calibration.pipeline import corrected_name

        name = corrected_name(raw.name)
        if self._storage is None:
            Path(self._path).mkdir(parents=True, exist_ok=True)
            return calibrate_file(
                raw,
                Path(self._path) / name,
                constants,
                parameters=order.parameters,
                packed=order.packed,
                progress=progress,
                lit_frames=order.lit_frames,
            )
        return calibrate_onto(
            self._storage,
            f"{self._path}/{name}",
            self._part(name),
            raw,
            constants,
            parameters=order.parameters,
            packed=order.packed,
            progress=progress,
            lit_frames=order.lit_frames,
        )

    def keep(self, name: str, manifest: CalibrationManifest) -> str:
        """Put the manifest there, and say where it is."""
        from xdc_testbed.actions.streams import put_manifest

        if self._storage is None:
            file = Path(self._path) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(manifest.to_json())
            return str(file)
        self._storage.make_folder(self._path)
        put_manifest(self._storage, f"{self._path}/{name}", self._part(name), manifest)
        return f"{self._place}/{name}"

    def _part(self, name: str) -> str:
        return f"{self._path}/{name}.part-{secrets.token_hex(6)}"


@contextmanager
def _constants(place: str, storages: Storages) -> Iterator[ConstantsFolder]:
    """The folder of constants, or what downloads those of a module, each version once."""
    if not is_url(place):
        yield Path(place)
        return
    from xdc_testbed.actions.constants_cache import ConstantsCache, gather

    storage, where = storages.at(place)
    with tempfile.TemporaryDirectory(prefix="xdc-constants-") as folder:

        def of_module(module: Module) -> Path:
            gather(storage, where, module, ConstantsCache.at(), Path(folder))
            return Path(folder)

        yield of_module


def _raw_files(place: str, storages: Storages) -> Iterator[Path | Ranges]:
    """The raw files of a place. Raises InputInvalid when there is none, WrongUsage when the place is not there."""
    from xdc_testbed.calibration import InputInvalid
    from xdc_testbed.calibration.pipeline import raw_files
    from xdc_testbed.clients.errors import NotFound

    if not is_url(place):
        path = Path(place)
        yield from raw_files(path) if path.is_dir() else [path]
        return
    storage, where = storages.at(place)
    if where.endswith(".h5"):
        names = [where]
    else:
        names = [f"{where}/{name}" for name in storage.names(where) if name.startswith("RAW-") and name.endswith(".h5")]
        if not names:
            raise InputInvalid(f"no raw file in {place}", remedy="a run is a folder of RAW-R....h5 files")
    for name in names:
        try:
            file = storage.open(name)
        except NotFound as error:
            raise WrongUsage(
                f"{place} is not there", remedy="give a RAW-R....h5 file or the folder of a run"
            ) from error
        yield file
