"""Password hashes of the configuration file: `scrypt:<salt>:<hash>`, both hexadecimal (RFC 7914, n 16384, r 8, p 1)."""

from __future__ import annotations

import hashlib
import hmac
import secrets


def hash_password(password: str, salt: bytes | None = None) -> str:
    """The text for `password_hash`."""
    salt = secrets.token_bytes(16) if salt is None else salt
    return f"scrypt:{salt.hex()}:{_scrypt(password, salt).hex()}"


def matches(password: str, stored: str) -> bool:
    """Whether the password is the one of a stored text. Raises ValueError for a text that is not one."""
    kind, salt, wanted = stored.split(":")
    if kind != "scrypt":
        raise ValueError(f"unknown kind of password hash: {kind}")
    return hmac.compare_digest(_scrypt(password, bytes.fromhex(salt)).hex(), wanted)


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=16384, r=8, p=1, dklen=32)
