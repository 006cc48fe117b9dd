"""The TLS contexts: of the doors and movers, and of the pool as the client of a third party."""

from __future__ import annotations

import ssl
from pathlib import Path

from xdc_testbed.errors import WrongUsage

from .config import Config


def server_context(config: Config, *, client_certificates: bool) -> ssl.SSLContext:
    """For a port of the emulator. Raises WrongUsage for files that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The end of a connection is no error, so that it may still be answered by close_notify; bodies have their own end.
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    try:
        context.load_cert_chain(str(config.certificate), str(config.key))
    except (OSError, ssl.SSLError) as error:
        raise WrongUsage(f"certificate {config.certificate} and key {config.key}: {error}") from error
    if client_certificates and (authorities := _authorities(config)):
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_ALLOW_PROXY_CERTS
        for file in authorities:
            context.load_verify_locations(str(file))
    return context


def client_context(config: Config) -> ssl.SSLContext:
    """For a connection to a third party: the configured authorities, or the system's when there are none."""
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT if hasattr(ssl, "VERIFY_X509_STRICT") else ~0
    for file in _authorities(config):
        context.load_verify_locations(str(file))
    return context


def _authorities(config: Config) -> list[Path]:
    """The PEM files of the folder of authorities, as grid software names them, or the one file."""
    where = config.authorities
    if where is None:
        return []
    if where.is_file():
        return [where]
    if not where.is_dir():
        raise WrongUsage(f"authorities: there is no {where}")
    return sorted(file for file in where.iterdir() if file.suffix in {".0", ".pem", ".crt"})
