"""TLS contexts of the clients: always verifying, with the testbed's own authority or the system's."""

from __future__ import annotations

import ssl
from pathlib import Path

from xdc_testbed.clients.errors import Unreachable


def tls_context(ca: str | Path | None, certificate: tuple[str | Path, str | Path] | None = None) -> ssl.SSLContext:
    """A verifying TLS context.

    ca: PEM file, hashed directory, or None for the system's; certificate: own certificate and key, PEM files.
    Raises Unreachable when one of the files cannot be used, as no connection is possible then.
    """
    try:
        if ca is None:
            context = ssl.create_default_context()
        elif Path(ca).is_dir():
            context = ssl.create_default_context(capath=str(ca))
        else:
            context = ssl.create_default_context(cafile=str(ca))
        if certificate is not None:
            context.load_cert_chain(str(certificate[0]), str(certificate[1]))
    except (OSError, ssl.SSLError) as error:
        named = [str(ca)] if certificate is None else [str(ca), str(certificate[0]), str(certificate[1])]
        raise Unreachable(
            f"cannot use the TLS files {', '.join(named)}: {error}", remedy="are they there and readable?"
        ) from error
    return context
