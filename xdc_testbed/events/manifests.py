"""The files that a run's manifest lists, read from the storage where it was written.

A manifest is JSON, a list of names or an object whose `files` is one, or text with one name a line (`#` begins a
comment). A name is relative to the run's folder, or a whole path.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from xdc_testbed.clients.errors import NotFound
from xdc_testbed.clients.tokens import TokenSource
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.errors import WrongUsage, XdcError

LARGEST = 512 * 1024
_ANSWER = 10.0  # seconds without progress


class ManifestsSection(BaseModel):
    """The `[router.manifests]` table. storages: https URL by endpoint id; scope: that the token is asked with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    storages: dict[str, str]
    issuer: str
    client_id: str
    client_secret_file: Path
    ca_file: Path
    scope: str = "storage.read:/data"


class ManifestWrong(XdcError):
    """Another try would not help: nobody knows the storage, or the file is no manifest."""


class ManifestReader:
    """Reads manifests with one credential; usable from several threads."""

    def __init__(self, section: ManifestsSection) -> None:
        try:
            secret = section.client_secret_file.read_text().strip()
        except OSError as error:
            raise WrongUsage(
                f"manifests: secret file {section.client_secret_file}: {error.strerror}",
                remedy="run the service as the user that may read it",
            ) from None
        tokens = TokenSource(section.issuer, section.client_id, secret, section.ca_file, section.scope, timeout=_ANSWER)
        self._storages = {
            endpoint: WebDav(url, ca_file=section.ca_file, token=tokens.token, timeout=_ANSWER)
            for endpoint, url in section.storages.items()
        }

    def read(self, endpoint: str, path: str) -> tuple[str, ...]:
        """The names in a manifest. Raises ManifestWrong, or what the storage's client raises, which may pass."""
        storage = self._storages.get(endpoint)
        if storage is None:
            raise ManifestWrong(
                f"the router reads nothing from {endpoint}", remedy="add it to [router.manifests.storages]"
            )
        try:
            size = storage.head(path, digest=None).size
        except NotFound:
            raise ManifestWrong("it is not there") from None
        if size > LARGEST:
            raise ManifestWrong(f"it has {size} bytes, more than {LARGEST}")
        return names(storage.get(path))


def names(content: bytes) -> tuple[str, ...]:
    """The names in a manifest's content. Raises ManifestWrong."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ManifestWrong("it is not UTF-8") from None
    if text.lstrip()[:1] in ("[", "{"):
        return _checked(_from_json(text))
    return _checked([line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")])


def _from_json(text: str) -> Any:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestWrong(f"it is not JSON: {error}") from None
    return said.get("files") if isinstance(said, dict) else said


def _checked(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(name, str) and name for name in found):
        raise ManifestWrong("it holds no list of names")
    if not found:
        raise ManifestWrong("it names no file")
    return tuple(found)
