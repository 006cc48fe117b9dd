"""Secrets: made once, kept, private, and of the shape that the products want."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import yaml

from xdc_testbed.testbed import secrets


def test_a_second_run_keeps_every_secret(tmp_path: Path) -> None:
    path = tmp_path / "secrets.yml"
    first = secrets.ensure(path, ["a", "b"])
    written = path.read_bytes()
    assert secrets.ensure(path, ["a", "b"]) == first
    assert path.read_bytes() == written


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets.yml"
    secrets.ensure(path, ["a"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_node_gets_a_macaroon_secret_of_its_own_and_the_others_keep_theirs(tmp_path: Path) -> None:
    path = tmp_path / "secrets.yml"
    before = secrets.ensure(path, ["a", "b"])
    after = secrets.ensure(path, ["a", "b", "c"])
    assert {name: after["macaroon"][name] for name in ("a", "b")} == before["macaroon"]
    assert len(set(after["macaroon"].values())) == 3
    by_node = ("macaroon", "dcache_database")
    assert {key: value for key, value in after.items() if key not in by_node} == {
        key: value for key, value in before.items() if key not in by_node
    }


def test_a_secret_that_an_earlier_kit_did_not_know_is_added(tmp_path: Path) -> None:
    path = tmp_path / "secrets.yml"
    before = secrets.ensure(path, ["a"])
    older = {**before, "kafka": {"broker": before["kafka"]["broker"]}}
    del older["openwhisk_auth"]
    path.write_text(yaml.safe_dump(older))
    after = secrets.ensure(path, ["a"])
    assert after["kafka"]["broker"] == before["kafka"]["broker"]
    assert set(after["kafka"]) == set(secrets.KAFKA_USERS)
    assert after["openwhisk_auth"]


def test_a_macaroon_secret_is_64_bytes_in_short_lines_of_base64(tmp_path: Path) -> None:
    secret = secrets.ensure(tmp_path / "secrets.yml", ["a"])["macaroon"]["a"]
    assert len(base64.b64decode(secret)) == 64
    assert secret.endswith("\n")
    assert max(map(len, secret.splitlines())) <= 64


def test_the_platforms_key_is_a_uuid_and_64_letters(tmp_path: Path) -> None:
    user, _, password = secrets.ensure(tmp_path / "secrets.yml", [])["openwhisk_auth"].partition(":")
    assert len(user) == 36
    assert len(password) == 64
    assert password.isalnum()


def test_two_testbeds_share_no_secret(tmp_path: Path) -> None:
    first, second = (_words(secrets.ensure(tmp_path / name, ["a"])) for name in ("one.yml", "two.yml"))
    assert not first & second
    openstack = len(secrets.OPENSTACK_USERS) + len(secrets.OPENSTACK_KEYS)
    assert len(first) == len(secrets.TOKEN_CLIENTS) + len(secrets.KAFKA_USERS) + openstack + 4


def test_an_ssh_key_is_made_once_and_names_its_testbed(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "id_ed25519"
    public = secrets.ensure_ssh_key(path, "xdc-testbed 0123456789")
    private = path.read_bytes()
    assert public.startswith("ssh-ed25519 ")
    assert public.endswith(" xdc-testbed 0123456789")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secrets.ensure_ssh_key(path, "another") == public
    assert path.read_bytes() == private


def test_half_an_ssh_key_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519"
    before = secrets.ensure_ssh_key(path, "a")
    path.with_suffix(".pub").unlink()
    assert secrets.ensure_ssh_key(path, "a") != before


def _words(tree: object) -> set[str]:
    if isinstance(tree, dict):
        return set().union(*map(_words, tree.values()))
    return {str(tree)}


def test_the_first_run_sees_the_same_order_as_every_later_one(tmp_path: Path) -> None:
    first = secrets.ensure(tmp_path / "secrets.yml", ["b", "a"])
    assert json.dumps(first) == json.dumps(secrets.ensure(tmp_path / "secrets.yml", ["b", "a"]))
