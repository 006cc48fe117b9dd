"""Proxy certificates (RFC 3820): what root:// clients log in with, instead of the certificate itself.

Made here, because `xrdgsiproxy` of XRootD 5.5 signs with SHA-1, which OpenSSL 3 refuses. A service makes its
own by `python -m xdc_testbed.clients.proxies CERTIFICATE KEY TARGET`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from xdc_testbed.errors import WrongUsage

_PROXY_CERT_INFO = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14")
# ProxyPolicy id-ppl-inheritAll, 1.3.6.1.5.5.7.21.1: the proxy may do all that its owner may.
_INHERIT_ALL = bytes.fromhex("300c300a06082b06010505071501")


def make(certificate: bytes, private_key: bytes, *, lifetime: float | None = None) -> bytes:
    """A proxy for a certificate and its key, all PEM: proxy certificate, its key, the owner's certificate.

    lifetime: seconds, at most (and by default) as long as the certificate. Raises WrongUsage.
    """
    try:
        owner = x509.load_pem_x509_certificate(certificate)
        owner_key = serialization.load_pem_private_key(private_key, password=None)
    except (ValueError, TypeError) as error:
        raise WrongUsage(f"not a certificate with an unencrypted key: {error}") from error
    if not isinstance(owner_key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise WrongUsage("the key of the certificate is neither RSA nor EC")
    now = datetime.datetime.now(datetime.UTC)
    end = owner.not_valid_after_utc
    if lifetime is not None:
        end = min(end, now + datetime.timedelta(seconds=lifetime))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    serial = int.from_bytes(os.urandom(4), "big") | 1
    name = x509.NameAttribute(NameOID.COMMON_NAME, str(serial))
    proxy = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*owner.subject.rdns, x509.RelativeDistinguishedName([name])]))
        .issuer_name(owner.subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(max(owner.not_valid_before_utc, now - datetime.timedelta(minutes=5)))
        .not_valid_after(end)
        .add_extension(_usage(), critical=True)
        .add_extension(x509.UnrecognizedExtension(_PROXY_CERT_INFO, _INHERIT_ALL), critical=True)
        .sign(owner_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    written = key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return proxy.public_bytes(pem) + written + owner.public_bytes(pem)


def write(certificate: Path, private_key: Path, target: Path, *, lifetime: float | None = None) -> None:
    """Write the proxy of a certificate to a file of mode 0600, replacing it as a whole."""
    content = make(certificate.read_bytes(), private_key.read_bytes(), lifetime=lifetime)
    descriptor, unfinished = tempfile.mkstemp(dir=target.parent)  # mode 0600
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    Path(unfinished).replace(target)


def main(arguments: list[str] | None = None) -> int:
    """Write the proxy of a certificate, for as long as the certificate holds."""
    parser = argparse.ArgumentParser(description="Proxy certificate of a certificate without pass phrase")
    for name in ("certificate", "private_key", "target"):
        parser.add_argument(name, type=Path)
    chosen = parser.parse_args(arguments)
    write(chosen.certificate, chosen.private_key, chosen.target)
    return 0


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


if __name__ == "__main__":
    raise SystemExit(main())
