"""A storage that streams come from and go to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from storage_rig import TokenIssuer

from xdc_testbed.clients.webdav import WebDav


@dataclass(frozen=True)
class Server:
    """kind: xrootd or dcache."""

    kind: str
    url: str
    ca: Path
    issuer: TokenIssuer
    stop: Callable[[], object]
    start: Callable[[], None]

    def dav(self, scope: str = "storage.read:/ storage.modify:/ storage.create:/") -> WebDav:
        """A client with a token."""
        token = self.issuer.source("interop", scope).token()
        return WebDav(self.url, ca_file=self.ca, token=lambda: token, timeout=30.0)
