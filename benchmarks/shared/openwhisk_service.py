"""The OpenWhisk emulator as a process, for benchmarks: TLS, one user, limits out of the way."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from xdc_testbed.clients.openwhisk import OpenWhisk, Unavailable

AUTH = "6f0c3a52-9d1b-4e87-8a44-2f5b7c1d9e03:" + "benchkey" * 8
_DEADLINE = 20.0


@dataclass(frozen=True)
class Service:
    """A running emulator. ca: its certificate, which is its own authority; door, token: for invokers."""

    port: int
    ca: Path
    token: Path

    @property
    def door(self) -> int:
        """The port where invokers come in."""
        return self.port + 1

    @property
    def url(self) -> str:
        """For `api_host`."""
        return f"https://localhost:{self.port}"

    def client(self) -> OpenWhisk:
        """The kit's client, as its user."""
        return OpenWhisk(self.url, AUTH, self.ca)


@contextmanager
def openwhisk(folder: Path, port: int, *, pool: Mapping[str, int] | None = None) -> Iterator[Service]:
    """An emulator for the time of a with block. pool: of its own invoker."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = _certificate(folder)
    (folder / "auth").write_text(AUTH)
    token = folder / "invokers.token"
    token.write_text(secrets.token_urlsafe(32))
    pool_lines = "\n".join(f"{key} = {value}" for key, value in (pool or {"memory": 1024}).items())
    file = folder / "openwhisk.toml"
    file.write_text(
        f"""listen = "127.0.0.1:{port}"
certificate = "{certificate}"
key = "{key}"
state = "{folder / "state"}"
python = "{sys.executable}"
[[users]]
namespace = "guest"
auth = "{folder / "auth"}"
[limits]
invocations_per_minute = 10000000
concurrent_invocations = 1000
[invokers]
listen = "127.0.0.1:{port + 1}"
token_file = "{token}"
[pool]
{pool_lines}
"""
    )
    command = [sys.executable, "-m", "xdc_testbed.emulators.openwhisk", "--config", str(file)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    service = Service(port, certificate, token)
    try:
        _await(service)
        yield service
    finally:
        process.terminate()
        process.wait(30)


def _await(service: Service) -> None:
    deadline = time.monotonic() + _DEADLINE
    with service.client() as client:
        while True:
            try:
                client.limits()
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    signed = (
        builder.not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "cert.pem", folder / "key.pem"
    certificate_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file
