"""root:// storage, by Debian's xrdcp and xrdfs. Knows their options and messages; knows nothing of testbeds.

Every command sees one credential and no other: tokens and proxies go into a private folder that ends with it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xdc_testbed.clients import proxies
from xdc_testbed.clients.errors import (
    AlreadyExists,
    NotFound,
    StorageDenied,
    StorageError,
    Unreachable,
)
from xdc_testbed.processes import Completed, run

_GRACE = 10.0  # seconds that a command may need beyond its own time-out to say so
_SERVER_ERROR = re.compile(r"\[(30\d\d)\]")  # kXR_ error numbers, XRootD protocol 5.2, table of error codes
_DENIED, _MISSING, _EXISTS = "3010", "3011", "3018"


@dataclass(frozen=True)
class Stat:
    """A file or directory. size: bytes."""

    size: int
    is_directory: bool


class Xroot:
    """One root:// endpoint seen with one credential.

    base_url: root:// or roots://, host and port; ca_directory: hashed folder of authorities; token: gives the
    bearer token of each command (the tools then insist on TLS); cert: certificate and key, PEM;
    timeout: seconds for a command. Every method raises Unreachable without an answer, StorageDenied,
    NotFound, AlreadyExists or StorageError for a refusal, and DeadlineExceeded.
    """

    def __init__(
        self,
        base_url: str,
        *,
        ca_directory: str | Path,
        token: Callable[[], str] | None = None,
        cert: tuple[str | Path, str | Path] | None = None,
        timeout: float = 60.0,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._ca_directory = Path(ca_directory)
        self._token = token
        self._cert = cert
        self._proxy: bytes | None = None
        self._timeout = timeout

    def url(self, path: str) -> str:
        """The URL of an absolute path; root:// URLs are not quoted, and have a double slash."""
        return f"{self.base_url}//{path.lstrip('/')}"

    def put(self, path: str, data: bytes | str | Path, overwrite: bool = True) -> None:
        """Write a file and make its parents. data: bytes, or a local file."""
        with self._session() as session:
            source = session.file("data", data) if isinstance(data, bytes) else Path(data)
            session.run("xrdcp", "--nopbar", "--path", *(["-f"] if overwrite else []), source, self.url(path))

    def get(self, path: str) -> bytes:
        """The bytes of a file."""
        with self._session() as session:
            target = session.folder / "data"
            session.run("xrdcp", "--nopbar", self.url(path), target)
            return target.read_bytes()

    def download(self, path: str, file: str | Path) -> int:
        """Write a remote file to a local one, replacing it; returns its size in bytes."""
        with self._session() as session:
            session.run("xrdcp", "--nopbar", "-f", self.url(path), file)
        return Path(file).stat().st_size

    def stat(self, path: str) -> Stat:
        """Size and kind of a path."""
        with self._session() as session:
            return parse_stat(session.run("xrdfs", self.base_url, "stat", path).text)

    def checksum(self, path: str, algorithm: str = "adler32") -> str:
        """Checksum of a file as the storage tells it, lower-case hex."""
        with self._session() as session:
            done = session.run("xrdfs", self.base_url, "query", "checksum", f"{path}?cks.type={algorithm}")
        name, _, value = done.text.strip().partition(" ")
        if name != algorithm or not value:
            raise StorageError(f"no {algorithm} checksum of {self.url(path)}: {done.text[:200]!r}", body=done.text)
        return value.strip().lower()

    def rm(self, path: str) -> None:
        """Remove a file."""
        with self._session() as session:
            session.run("xrdfs", self.base_url, "rm", path)

    def tpc(self, path: str, destination_url: str, *, overwrite: bool = True, verify: bool = True) -> None:
        """Third-party copy from here to another root:// URL; the data does not pass through this machine.

        verify: compare the adler32 checksums of both ends. Both ends see the same credential.
        """
        options = ["--nopbar", "--tpc", "only", *(["-f"] if overwrite else [])]
        if verify:
            options += ["--cksum", "adler32:source"]
        with self._session() as session:
            session.run("xrdcp", *options, self.url(path), destination_url)

    @contextmanager
    def _session(self) -> Iterator[_Session]:
        with tempfile.TemporaryDirectory(prefix="xdc-xroot-") as name:  # mode 0700
            yield _Session(Path(name), self._environment(Path(name)), self._timeout)

    def _environment(self, private: Path) -> dict[str, str]:
        """What the tools see: one credential, and no surprise from the user's own environment."""
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(private),
            "XDG_RUNTIME_DIR": str(private),
            "X509_CERT_DIR": str(self._ca_directory),
            "XRD_CONNECTIONWINDOW": "5",
            "XRD_CONNECTIONRETRY": "3",  # XRootD 5.5 now and then drops a TLS hand-shake (xrootd issue 1952)
            "XRD_STREAMERRORWINDOW": "0",
            "XRD_REQUESTTIMEOUT": str(max(1, int(self._timeout))),
            "RES_OPTIONS": "timeout:1 attempts:5",  # the tools look their own addresses up; a lost query costs 1 s
            "XrdSecPROTOCOL": "unix",
        }
        if self._cert is not None:
            environment["X509_USER_PROXY"] = str(_private_file(private / "proxy.pem", self._made_proxy(self._cert)))
            environment["XrdSecPROTOCOL"] = "gsi"
        if self._token is not None:
            environment["BEARER_TOKEN_FILE"] = str(_private_file(private / "token", self._token().encode()))
            environment["XrdSecPROTOCOL"] = "ztn"
        return environment

    def _made_proxy(self, cert: tuple[str | Path, str | Path]) -> bytes:
        if self._proxy is None:
            self._proxy = proxies.make(Path(cert[0]).read_bytes(), Path(cert[1]).read_bytes())
        return self._proxy


@dataclass(frozen=True)
class _Session:
    """A private folder and the environment that points to it. timeout: seconds for one command."""

    folder: Path
    environment: dict[str, str]
    timeout: float

    def file(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def run(self, *arguments: str | Path) -> Completed:
        done = run(arguments, timeout=self.timeout + _GRACE, env=self.environment, check=False)
        if done.returncode != 0:
            said = (done.stderr + b"\n" + done.stdout).decode(errors="replace")
            words = [str(argument) for argument in arguments if not str(argument).startswith("-")]
            raise failure(" ".join(words), done.returncode, said)
        return done


def failure(command: str, status: int, said: str) -> StorageError | Unreachable:
    """The error for a command that failed. status: its exit status; said: everything it printed.

    The tools' exit statuses are XrdCl's shell codes: 51 connection or TLS, 52 authentication, 54 the server said no.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    message = f"{command}: {lines[-1] if lines else f'exit status {status}'}"
    numbers = _SERVER_ERROR.findall(said)
    if _DENIED in numbers or status == 52 or "Auth failed" in said:
        return StorageDenied(message, body=said, remedy="check the token's scopes or the certificate's mapping")
    if _MISSING in numbers:
        return NotFound(message, body=said)
    if _EXISTS in numbers or "file exists" in said:
        return AlreadyExists(message, body=said)
    if status == 51 and not numbers:
        return Unreachable(message, remedy="is it up, and is its name known here?")
    return StorageError(message, body=said)


def parse_stat(text: str) -> Stat:
    """The answer of `xrdfs stat`. Raises StorageError for anything else."""
    pairs = (line.partition(":") for line in text.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    size = fields.get("Size", "")
    if not size.isdigit():
        raise StorageError(f"not an answer of `xrdfs stat`: {text[:200]!r}", body=text)
    return Stat(size=int(size), is_directory="IsDir" in fields.get("Flags", ""))


def _private_file(path: Path, content: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path
