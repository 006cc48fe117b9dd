"""Make the captured requests to the emulator, and say where its answers differ from the captured ones.

What belongs to one moment or one instance (dates, ids, ports, macaroons) is compared by its form only.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from dcache_captures import FOLDER, Exchange, Sent
from dcache_rig import DcacheUnderTest
from dcache_wire import Answer, Wire

# Where the captured instance and its peers listened -> how the replay names them.
_WEBDAV, _PLAIN, _FRONTEND = "localhost:2881", "localhost:2880", "localhost:3880"
_FORMS: tuple[tuple[str, str], ...] = (
    (r"dcache-http-uuid=[0-9a-f-]{36}", "dcache-http-uuid=<uuid>"),
    (r"\b0000[0-9A-F]{32}_-?\d+", "<pnfsid>_<hash>"),
    (r"\b0000[0-9A-F]{32}\b", "<pnfsid>"),
    (r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", "<date>"),
    (r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<instant>"),
    (r"\bMDA[\w-]{60,}", "<macaroon>"),
    (r"dCache/12\.0\.1|dCache/11\.2\.5 \(xdc-testbed emulator\)", "dCache/<version>"),
    (r"(Timestamp|Start Time|Last Transferred|Transfer Time|Bytes Transferred): \d+", r"\1: <n>"),
)
_COMPARED = frozenset(
    {
        "accept-ranges", "connection", "content-disposition", "content-length", "content-location", "content-range",
        "content-type", "dav", "date", "digest", "etag", "last-modified", "link", "location", "retry-after", "server",
        "transfer-encoding", "www-authenticate", "x-oc-mtime",
    }
)  # fmt: skip
_LENGTHS_OF_FORMS = ("<macaroon>", "<date>")


@dataclass
class Replay:
    """One emulator that is asked the captured requests. peers: captured `host:port` of a peer -> that of its stand-in;
    differences: capture -> where the answers differ, empty where they are equal."""

    dcache: DcacheUnderTest
    peers: Mapping[str, str] = field(default_factory=dict)
    differences: dict[str, list[str]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    """Captured macaroon -> own one."""

    def run(self, name: str, exchanges: list[Exchange], *, certificate: bool = False) -> None:
        """Make the requests of one capture, and note the differences."""
        found: list[str] = []
        wire = Wire(self.dcache.ca, self.dcache.certificates["tester"] if certificate else None)
        answer = Answer("")
        for number, exchange in enumerate(exchanges, 1):
            sent = exchange.sent
            url = answer.header("location") if number > 1 else self.own_url(sent)
            if not url:
                found.append(f"request {number}: no Location to follow")
                break
            headers = tuple((key, self._own(value)) for key, value in sent.headers if key.lower() != "host")
            answer = wire.ask(sent.method, url, headers, sent.body, late=sent.late, broken=sent.broken)
            found += [f"request {number}: {text}" for text in self.compare(exchange, answer)]
            self._learn(exchange, answer)
        self.differences[name] = found

    def own_url(self, sent: Sent) -> str:
        """Where a captured request goes here."""
        host = sent.header("host") or ""
        bases = {_WEBDAV: self.dcache.webdav, _PLAIN: str(self.dcache.plain), _FRONTEND: self.dcache.frontend}
        return bases[host] + self._own(sent.target)

    def compare(self, exchange: Exchange, answer: Answer) -> list[str]:
        """Where an answer differs from the captured one."""
        got, found = exchange.got, []
        if answer.status != got.status:
            found.append(f"status {answer.status!r} instead of {got.status!r}")
        if answer.continued != got.continued:
            found.append(f"100 Continue {'came' if answer.continued else 'did not come'}")
        captured = {key.lower(): self.form(value) for key, value in got.headers if key.lower() in _COMPARED}
        own = {key.lower(): self.form(value) for key, value in answer.headers if key.lower() in _COMPARED}
        body, own_body = self.form(_text(got.body)), self.form(_text(answer.body))
        if any(form in body for form in _LENGTHS_OF_FORMS):
            captured.pop("content-length", None)
            own.pop("content-length", None)
        found += [
            f"{name}: {own.get(name)!r} instead of {captured.get(name)!r}"
            for name in sorted({*captured, *own})
            if own.get(name) != captured.get(name)
        ]
        if not own_body.startswith(body) or (len(body) < 2000 and own_body != body):
            found.append(f"body {own_body[:700]!r} instead of {body[:700]!r}")
        return found

    def form(self, text: str) -> str:
        """A text without what belongs to one moment or one instance."""
        for pattern, form in _FORMS:
            text = re.sub(pattern, form, text)
        bases = {self.dcache.webdav: "https://<door>", str(self.dcache.plain): "http://<door>"}
        for base, form in (
            *bases.items(),
            (f"https://{_WEBDAV}", "https://<door>"),
            (f"http://{_PLAIN}", "http://<door>"),
        ):
            quoted = base.replace(":", "%3A").replace("/", "%2F")
            text = text.replace(base, form).replace(quoted, form)
        for captured, own in self.peers.items():
            text = text.replace(own, captured)
        text = re.sub(r"(Perf Marker\n.*?\nEnd\n)(\1)+", r"\1", text, flags=re.DOTALL)
        return re.sub(r"(https?)://(localhost|127\.0\.0\.1):\d+(?=/[^ ]*\?dcache-http-uuid)", r"\1://<pool>", text)

    def _own(self, text: str) -> str:
        for captured, own in {**self.peers, **self.secrets}.items():
            text = text.replace(captured, own)
        return text.replace(_WEBDAV, urlsplit(self.dcache.webdav).netloc).replace(
            _PLAIN, urlsplit(str(self.dcache.plain)).netloc
        )

    def _learn(self, exchange: Exchange, answer: Answer) -> None:
        pattern = re.compile(r"\bMDA[\w-]{60,}")
        captured, own = pattern.search(_text(exchange.got.body)), pattern.search(_text(answer.body))
        if captured and own:
            self.secrets[captured.group()] = own.group()


def known_differences(folder: str) -> dict[str, str]:
    """Capture -> why its answer here is another; of one folder of captures."""
    table = tomllib.loads((FOLDER / "differences.toml").read_text())
    return dict(table.get(folder, {}))


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")
