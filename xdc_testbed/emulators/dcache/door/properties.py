"""What the door says of an entry: entity tag, type, dates, and the multi-status body of PROPFIND (RFC 4918)."""

from __future__ import annotations

import datetime
import mimetypes
import re
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from ..entries import Entry
from ..http1 import http_date

DAV = "DAV:"
_DCACHE = "http://www.dcache.org/2013/webdav"
_SRM = "http://srm.lbl.gov/StorageResourceManager"
_USUAL_FILE = ("getcontentlength", "getetag", "displayname", "getcontenttype", "getlastmodified", "creationdate")
_USUAL_DIRECTORY = ("resourcetype", "getetag", "displayname", "getcontenttype", "getlastmodified", "creationdate")
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Characters that XML cannot hold."""
_NAMESPACES = (
    'xmlns:cal="urn:ietf:params:xml:ns:caldav" xmlns:cs="http://calendarserver.org/ns/" '
    'xmlns:card="urn:ietf:params:xml:ns:carddav" xmlns:d="DAV:"'
)


class BadPropfind(Exception):
    """The body of a PROPFIND is not one."""


def etag(entry: Entry) -> str:
    """The entity tag: id and the hash of the modification time in milliseconds, as Java hashes a long."""
    moment = int(entry.modified * 1000)
    hashed = (moment ^ (moment >> 32)) & 0xFFFFFFFF
    return f'"{entry.pnfsid}_{hashed - (1 << 32) if hashed >= 1 << 31 else hashed}"'


def content_type(entry: Entry) -> str:
    """Guessed from the name, as the product does."""
    if entry.is_dir:
        return "text/html; charset=utf-8"
    return mimetypes.guess_type(entry.name)[0] or "application/octet-stream"


def locality(entry: Entry) -> str:
    """Where the bytes are."""
    if entry.is_dir:
        return "NONE"
    if entry.pools:
        return "ONLINE_AND_NEARLINE" if entry.on_tape else "ONLINE"
    return "NEARLINE" if entry.on_tape else "UNAVAILABLE"


def wanted(body: bytes) -> list[tuple[str, str]] | None:
    """Namespace and name of the properties that a PROPFIND asks for; None for the usual ones. Raises BadPropfind."""
    if not body.strip():
        return None
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise BadPropfind("document types are not taken")
    try:
        root = ElementTree.fromstring(body)  # noqa: S314  without entities there is nothing to expand
    except ElementTree.ParseError as error:
        raise BadPropfind(str(error)) from error
    listed = root.find(f"{{{DAV}}}prop")
    if listed is None:
        return None
    names = []
    for child in listed:
        namespace, _, name = child.tag.rpartition("}")
        names.append((namespace.removeprefix("{"), name))
    return names


def multistatus(entries: list[Entry], names: list[tuple[str, str]] | None) -> bytes:
    """The body of the answer to a PROPFIND."""
    responses = "".join(_response(entry, names) for entry in entries)
    text = f'<?xml version="1.0" encoding="utf-8" ?>\n<d:multistatus {_NAMESPACES}>{responses}</d:multistatus>'
    return text.encode()


def href(entry: Entry) -> str:
    """The path in a URL, with a slash behind directories."""
    path = quote(entry.path)
    return path if not entry.is_dir or path == "/" else path + "/"


def _response(entry: Entry, names: list[tuple[str, str]] | None) -> str:
    if names is None:
        usual = _USUAL_DIRECTORY if entry.is_dir else _USUAL_FILE
        known = [(DAV, name) for name in usual]
        missing = [(DAV, "getcontentlength" if entry.is_dir else "resourcetype")]
    else:
        known = [name for name in names if _value(entry, *name) is not None]
        missing = [name for name in names if _value(entry, *name) is None]
    found = "".join(_element(namespace, name, _value(entry, namespace, name)) for namespace, name in known)
    body = f"<d:href>{escape(href(entry))}</d:href>" + _propstat(found, "200 OK")
    if missing:
        body += _propstat("".join(_element(namespace, name, None) for namespace, name in missing), "404 Not Found")
    return f"<d:response>{body}</d:response>"


def _propstat(properties: str, status: str) -> str:
    return f"<d:propstat><d:prop>{properties}</d:prop><d:status>HTTP/1.1 {status}</d:status></d:propstat>"


def _element(namespace: str, name: str, value: str | None) -> str:
    tag, declared = (f"d:{name}", "") if namespace == DAV else (f"ns1:{name}", f' xmlns:ns1="{escape(namespace)}"')
    return f"<{tag}{declared}/>" if value is None else f"<{tag}{declared}>{value}</{tag}>"


def _value(entry: Entry, namespace: str, name: str) -> str | None:
    """A property as XML text; None when the entry has none of that name."""
    if namespace == DAV:
        match name:
            case "resourcetype":
                return "<d:collection/>" if entry.is_dir else ""
            case "getcontentlength":
                return None if entry.is_dir else str(entry.size or 0)
            case "getetag":
                return etag(entry)
            case "displayname":
                return escape(_UNWRITABLE.sub("?", entry.name))
            case "getcontenttype":
                return content_type(entry)
            case "getlastmodified":
                return http_date(entry.modified)
            case "creationdate":
                return f"{datetime.datetime.fromtimestamp(entry.created, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
            case "iscollection":
                return "TRUE" if entry.is_dir else "FALSE"
    if entry.is_dir:
        return None
    if namespace == _DCACHE and name == "Checksums":
        return ",".join(f"{kind}={value}" for kind, value in sorted(entry.checksums.items()))
    if namespace == _SRM:
        return {
            "AccessLatency": entry.latency,
            "RetentionPolicy": entry.retention,
            "FileLocality": locality(entry),
        }.get(name)
    return None
