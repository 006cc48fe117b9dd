"""The certificate authority of one testbed, with host and user certificates; nothing is shared between testbeds.

Layout of the folder: ca.pem, ca.key, ca.hash, hosts/<node>.pem|.key, users/<name>.pem|.key. Keys are 0600.
bundle.pem holds the authority and those of external services; trusted/ has the latter by hash, with signing policies.
Grid software wants RSA 2048 with SHA-256 and a SubjectKeyIdentifier in every certificate (measured with XRootD 5.5.3).
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import shutil
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from xdc_testbed.errors import WrongUsage
from xdc_testbed.testbed.state import write_private

USERS = ("tester", "stranger")
_YEAR = datetime.timedelta(days=365)


def ensure(folder: Path, *, testbed_id: str, hosts: dict[str, tuple[str, str]], trusted: Sequence[Path] = ()) -> None:
    """Make the authority and the certificates that are missing or no longer fit.

    hosts: node name -> (fqdn, address); trusted: files with certificates of other authorities. Raises WrongUsage for a
    file that has none.
    """
    authority = _authority(folder, testbed_id)
    for name, (fqdn, address) in hosts.items():
        names: list[x509.GeneralName] = [
            x509.DNSName(fqdn),
            x509.DNSName(name),
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address(address)),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        _leaf(folder / "hosts" / name, authority, _subject(fqdn, testbed_id=None), names, server=True)
    for user in USERS:
        _leaf(folder / "users" / user, authority, _subject(user, testbed_id=None), [], server=False)
    _trust(folder, trusted)


def _subject(common_name: str, *, testbed_id: str | None) -> x509.Name:
    parts = [
        x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "test"),
        x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "xdc"),
    ]
    if testbed_id:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, testbed_id))
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _authority(folder: Path, testbed_id: str) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    if (folder / "ca.pem").is_file() and (folder / "ca.key").is_file():
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 - this module wrote it
        return x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes()), key
    key = rsa.generate_private_key(65537, 2048)
    name = _subject("xdc-testbed authority", testbed_id=testbed_id)
    builder = _builder(name, name, key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    builder = builder.add_extension(_usage(sign_certificates=True), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    _write(folder / "ca", certificate, key)
    write_private(folder / "ca.hash", (_openssl_hash(certificate) + "\n").encode(), 0o644)
    write_private(folder / "ca.signing_policy", _signing_policy(certificate).encode(), 0o644)
    return certificate, key


def _trust(folder: Path, files: Sequence[Path]) -> None:
    shutil.rmtree(folder / "trusted", ignore_errors=True)
    (folder / "trusted").mkdir()
    bundle = (folder / "ca.pem").read_bytes()
    for file in files:
        try:
            others = x509.load_pem_x509_certificates(file.read_bytes())
        except ValueError as error:
            raise WrongUsage(f"{file} holds no certificate in PEM: {error}") from None
        for other in others:
            pem, name = other.public_bytes(serialization.Encoding.PEM), _openssl_hash(other)
            bundle += pem
            write_private(folder / "trusted" / f"{name}.0", pem, 0o644)
            policy = _signing_policy(other, may_sign="*")
            write_private(folder / "trusted" / f"{name}.signing_policy", policy.encode(), 0o644)
    write_private(folder / "bundle.pem", bundle, 0o644)


def _leaf(
    path: Path,
    authority: tuple[x509.Certificate, rsa.RSAPrivateKey],
    subject: x509.Name,
    alternative: list[x509.GeneralName],
    *,
    server: bool,
) -> None:
    issuer, issuer_key = authority
    if (
        path.with_suffix(".pem").is_file()
        and path.with_suffix(".key").is_file()
        and _fits(path.with_suffix(".pem"), issuer, alternative)
    ):
        return
    key = rsa.generate_private_key(65537, 2048)
    builder = _builder(subject, issuer.subject, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(sign_certificates=False), critical=True)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
    )
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if server else [])
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    _write(path, builder.sign(issuer_key, hashes.SHA256()), key)


def _fits(path: Path, issuer: x509.Certificate, alternative: list[x509.GeneralName]) -> bool:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    if certificate.issuer != issuer.subject or certificate.not_valid_after_utc < _now() + datetime.timedelta(days=7):
        return False
    try:
        present = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        present = []
    return present == alternative


def _builder(subject: x509.Name, issuer: x509.Name, public_key: rsa.RSAPublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - datetime.timedelta(hours=1))
        .not_valid_after(_now() + _YEAR)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(path.with_suffix(".key"), private)
    write_private(path.with_suffix(".pem"), certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _openssl_hash(certificate: x509.Certificate) -> str:
    """The name that OpenSSL looks a CA up by: SHA-1 of the canonical subject, first four bytes, little endian.

    Canonical form (OpenSSL x509_name_canon): every value as UTF8String, lower case, blanks squeezed, without the outer
    SEQUENCE.
    """
    encoded = b""
    for attribute in certificate.subject:
        value = " ".join(str(attribute.value).lower().split()).encode()
        oid = _der_oid(attribute.oid.dotted_string)
        encoded += _der(0x31, _der(0x30, oid + _der(0x0C, value)))
    digest = hashlib.sha1(encoded).digest()  # noqa: S324 - OpenSSL's file naming, not a signature
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _der(tag: int, body: bytes) -> bytes:
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def _der_oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    body = bytes([40 * first + second])
    for number in rest:
        chunk = [number & 0x7F]
        while number := number >> 7:
            chunk.append(0x80 | (number & 0x7F))
        body += bytes(reversed(chunk))
    return _der(0x06, body)


def _signing_policy(certificate: x509.Certificate, *, may_sign: str = "/DC=test/DC=xdc/*") -> str:
    """What Globus-style clients want beside a CA: which subjects it may sign."""
    subject = "".join(f"/{a.rfc4514_attribute_name}={a.value!s}" for a in certificate.subject)
    return f"access_id_CA X509 '{subject}'\npos_rights globus CA:sign\ncond_subjects globus '\"{may_sign}\"'\n"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
