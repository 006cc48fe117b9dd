"""Who carries a file from one storage to another: the contract of a copy service, and third-party copy, which is one.

A service takes an order and gives a job; a job is polled to its end or cancelled. With third-party copy the job is one
HTTP request, whose answer tells how far it is; a service that queues copies (FTS) has a job by id at its interface,
and fits here with a class of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from xdc_testbed.clients.thirdparty import TransferResult
from xdc_testbed.clients.webdav import WebDav


@dataclass(frozen=True)
class CopyOrder:
    """What to copy: source is a URL, read with source_token; path: at the destination; seconds: it may take so long."""

    source: str
    source_token: str = field(repr=False)
    path: str
    seconds: float


class CopyJob(Protocol):
    """One copy that was asked for."""

    def poll(self) -> TransferResult | None:
        """Wait for news, some seconds at most: how the copy ended, or None while it goes on. Raises XdcError."""
        ...

    def cancel(self) -> None:
        """Call it off; does nothing to a copy that has ended."""
        ...


class CopyService(Protocol):
    """Carries out copies to one storage."""

    def submit(self, order: CopyOrder) -> CopyJob:
        """Ask for a copy. Raises XdcError when it is not even begun."""
        ...


@dataclass(frozen=True)
class ThirdPartyCopies:
    """HTTP third-party copy: the destination pulls. destination: its client."""

    destination: WebDav

    def submit(self, order: CopyOrder) -> CopyJob:
        """Send COPY; the destination then reads the source by itself."""
        return self.destination.start_pull(
            order.source, order.path, source_token=order.source_token, timeout=order.seconds
        )
