"""Passwords and keys of one testbed: generated once, kept 0600, never reused by another testbed."""

from __future__ import annotations

import base64
import secrets
import uuid
from pathlib import Path
from typing import Any

import yaml

from xdc_testbed.processes import run
from xdc_testbed.testbed.state import write_private

TOKEN_CLIENTS = ("demo", "actions", "interop", "cache", "events", "router", "qos")
KAFKA_USERS = ("broker", "controller", "admin", "event-source", "dcache", "router", "dispatcher", "client")

OPENSTACK_USERS = ("admin", "tester", "rabbitmq", "glance", "placement", "neutron", "nova", "cinder")
OPENSTACK_KEYS = ("fernet_staged", "fernet_primary", "credential_staged", "credential_primary")


def ensure(path: Path, nodes: list[str]) -> dict[str, Any]:
    """Read the secrets of a testbed and make those that are missing.

    path: secrets.yml, written 0600; nodes: names of all nodes. Returns the tree that roles see as `testbed_secrets`.
    """
    known: dict[str, Any] = yaml.safe_load(path.read_text()) if path.is_file() else {}
    wanted = {
        "token_clients": {client: secrets.token_urlsafe(32) for client in TOKEN_CLIENTS},
        "kafka": {user: secrets.token_urlsafe(24) for user in KAFKA_USERS},
        "openwhisk_auth": f"{uuid.uuid4()}:{''.join(secrets.choice(_ALPHABET) for _ in range(64))}",
        "openwhisk_invokers": secrets.token_urlsafe(32),
        "macaroon": {node: _macaroon_secret() for node in nodes},
        "openstack": {user: secrets.token_urlsafe(24) for user in OPENSTACK_USERS}
        | {key: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode() for key in OPENSTACK_KEYS},
        "dcache_database": {node: secrets.token_urlsafe(24) for node in nodes},
    }
    merged: dict[str, Any] = _keep(known, wanted)
    if merged != known:
        write_private(path, yaml.safe_dump(merged, sort_keys=True).encode())
    # Read back, so that the first run sees the same order as every later one: roles write lists from these mappings.
    return dict(yaml.safe_load(path.read_text()))


_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _keep(known: Any, wanted: Any) -> Any:
    if isinstance(wanted, dict):
        known = known if isinstance(known, dict) else {}
        return {**known, **{key: _keep(known.get(key), value) for key, value in wanted.items()}}
    return wanted if known is None else known


def _macaroon_secret() -> str:
    """64 random bytes in base64, wrapped as by `openssl rand -base64 64`: XRootD refuses one long line as too short."""
    text = base64.b64encode(secrets.token_bytes(64)).decode()
    return "\n".join(text[start : start + 64] for start in range(0, len(text), 64)) + "\n"


def ensure_ssh_key(path: Path, comment: str) -> str:
    """Make an ed25519 key pair when there is none. Returns the public key, `ssh-ed25519 AAAA... comment`."""
    if not path.is_file() or not path.with_suffix(".pub").is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], timeout=30)
    return path.with_suffix(".pub").read_text().strip()
