"""Directory listings: the `multistatus` document of a PROPFIND answer (RFC 4918, section 13)."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

_DAV = "{DAV:}"


@dataclass(frozen=True)
class Entry:
    """One thing in a directory.

    path: absolute, unquoted, without a trailing slash; size: bytes; mtime: epoch seconds.
    """

    name: str
    path: str
    is_directory: bool
    size: int | None
    mtime: float | None


def parse(document: bytes, server: str = "") -> list[Entry]:
    """The entries of a listing in the server's order, the directory itself among them. Raises ValueError.

    server: its `Server` header. XRootD 5 gives names unquoted where RFC 4918, section 8.3 wants URLs.
    """
    unquoted = server.startswith("XrootD/v5.")
    try:
        root = ElementTree.fromstring(document)  # noqa: S314  expat >= 2.4.1 bounds entity expansion
    except ElementTree.ParseError as error:
        raise ValueError(f"not a multistatus document: {error}") from error
    return [
        entry for response in root.iter(f"{_DAV}response") if (entry := _entry(response, unquoted=unquoted)) is not None
    ]


def epoch(http_date: str | None) -> float | None:
    """An HTTP date as epoch seconds, None when there is none or it is unreadable."""
    if not http_date:
        return None
    try:
        return parsedate_to_datetime(http_date).timestamp()
    except ValueError:
        return None


def _entry(response: ElementTree.Element, *, unquoted: bool) -> Entry | None:
    href = response.findtext(f"{_DAV}href")
    if href is None:
        return None
    path = "/" + (href if unquoted else unquote(urlsplit(href.strip()).path)).strip("/")
    found: dict[str, ElementTree.Element] = {}
    for propstat in response.iter(f"{_DAV}propstat"):
        if " 200 " in f"{propstat.findtext(f'{_DAV}status', '')} ":
            found.update({prop.tag: prop for part in propstat.iter(f"{_DAV}prop") for prop in part})
    kind, length = found.get(f"{_DAV}resourcetype"), found.get(f"{_DAV}getcontentlength")
    modified = found.get(f"{_DAV}getlastmodified")
    flag = found.get(f"{_DAV}iscollection")
    is_directory = (kind is not None and kind.find(f"{_DAV}collection") is not None) or (
        flag is not None and flag.text == "1"
    )
    size = int(length.text) if length is not None and (length.text or "").isdigit() and length.text else None
    return Entry(
        name=path.rsplit("/", 1)[-1],
        path=path,
        is_directory=is_directory,
        size=None if is_directory else size,
        mtime=epoch(modified.text if modified is not None else None),
    )
