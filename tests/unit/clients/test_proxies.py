"""Proxy certificates as grid software wants them (RFC 3820)."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from xdc_testbed.clients import proxies
from xdc_testbed.errors import WrongUsage

HOUR = datetime.timedelta(hours=1)


@pytest.fixture(scope="module")
def pair() -> tuple[bytes, bytes]:
    """A certificate for 20 hours and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tester")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - HOUR)
        .not_valid_after(now + 20 * HOUR)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def parts(pem: bytes) -> tuple[x509.Certificate, x509.Certificate]:
    proxy, owner = x509.load_pem_x509_certificates(pem)
    return proxy, owner


def test_a_proxy_is_signed_by_its_owner_and_named_below_him(pair: tuple[bytes, bytes]) -> None:
    proxy, owner = parts(proxies.make(*pair))
    proxy.verify_directly_issued_by(owner)
    assert proxy.subject.rdns[:-1] == owner.subject.rdns
    assert proxy.subject.rdns[-1].rfc4514_string() == f"CN={proxy.serial_number}"


def test_it_is_not_signed_with_sha1(pair: tuple[bytes, bytes]) -> None:
    proxy, _ = parts(proxies.make(*pair))
    assert isinstance(proxy.signature_hash_algorithm, hashes.SHA256)


def test_it_says_critically_that_it_is_a_proxy(pair: tuple[bytes, bytes]) -> None:
    proxy, _ = parts(proxies.make(*pair))
    extension = proxy.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14"))
    assert extension.critical


def test_its_key_comes_between_the_certificates_and_fits(pair: tuple[bytes, bytes]) -> None:
    pem = proxies.make(*pair)
    proxy, _ = parts(pem)
    key = serialization.load_pem_private_key(pem[pem.index(b"-----BEGIN RSA") :], None)
    assert key.public_key() == proxy.public_key()


def test_it_lives_no_longer_than_its_owner(pair: tuple[bytes, bytes]) -> None:
    for lifetime in (None, 1e9):
        proxy, owner = parts(proxies.make(*pair, lifetime=lifetime))
        assert proxy.not_valid_after_utc == owner.not_valid_after_utc
    short, owner = parts(proxies.make(*pair, lifetime=3600))
    assert short.not_valid_after_utc < owner.not_valid_after_utc - 18 * HOUR


def test_it_is_written_for_its_owner_alone(pair: tuple[bytes, bytes], tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_bytes(pair[0])
    (tmp_path / "key.pem").write_bytes(pair[1])
    proxies.main([str(tmp_path / name) for name in ("cert.pem", "key.pem", "proxy.pem")])
    assert stat.S_IMODE((tmp_path / "proxy.pem").stat().st_mode) == 0o600


def test_what_is_no_certificate_is_refused(pair: tuple[bytes, bytes]) -> None:
    with pytest.raises(WrongUsage):
        proxies.make(b"nonsense", pair[1])
    with pytest.raises(WrongUsage):
        proxies.make(pair[0], b"nonsense")
