"""The configuration file is checked where it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdc_testbed.emulators.openwhisk.config import load, load_node
from xdc_testbed.errors import WrongUsage


def write(folder: Path, more: str = "", auth: str = "uuid:key") -> Path:
    (folder / "auth").write_text(auth)
    file = folder / "openwhisk.toml"
    file.write_text(
        f'listen = "127.0.0.1:3233"\nstate = "{folder}"\npython = "/usr/bin/python3"\n{more}\n'
        f'[[users]]\nnamespace = "guest"\nauth = "{folder / "auth"}"\n'
    )
    return file


def test_defaults_are_the_products(tmp_path: Path) -> None:
    config = load(write(tmp_path))
    limits = config.limits
    assert (limits.invocations_per_minute, limits.concurrent_invocations, limits.fires_per_minute) == (60, 30, 60)
    assert (limits.max_memory, limits.std_timeout, limits.payload) == (512, 60_000, 1_048_576)
    assert (config.host, config.port, config.api_host) == ("127.0.0.1", 3233, "http://127.0.0.1:3233")


def test_key_is_not_shown(tmp_path: Path) -> None:
    assert "key'" not in repr(load(write(tmp_path, auth="uuid:topsecretkey'")).users)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("surprise = 1", "unknown entries: surprise"),
        ('certificate = "c"', "certificate and key go together"),
        ("[limits]\nfoo = 1", r"\[limits\] has no entry foo"),
        ('[limits]\nmax_memory = "x"', "is not of type int"),
        ("[limits]\nmax_memory = true", "is not of type int"),
        ("[limits]\nmax_memory = 4096", "could never run"),
        ("[pool]\nrerun_lost = 1", "is not of type bool"),
    ],
)
def test_culprit_is_named(tmp_path: Path, more: str, text: str) -> None:
    with pytest.raises(WrongUsage, match=text):
        load(write(tmp_path, more))


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match=r"openwhisk\.toml"):
        load(tmp_path / "openwhisk.toml")


def test_auth_file_without_a_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="does not hold <uuid>:<key>"):
        load(write(tmp_path, auth="uuid"))


# -- invokers on other nodes ------------------------------------------------------------------------------------------


def invoker(folder: Path, more: str = "", words: str = "t") -> Path:
    """The file of an invoker on a node of its own."""
    (folder / "token").write_text(f"{words}\n")
    file = folder / "invoker.toml"
    head = f'controller = "desy-functions.xdc.test:3235"\nname = "faas-1"\ntoken_file = "{folder / "token"}"\n'
    file.write_text(f'{head}state = "{folder}"\npython = "/usr/bin/python3"\n{more}\n')
    return file


def test_the_door_for_invokers_is_closed_unless_it_is_described(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("topsecret\n")
    assert load(write(tmp_path)).invokers is None
    door = load(write(tmp_path, f'[invokers]\nlisten = "127.0.0.1:3235"\ntoken_file = "{tmp_path / "token"}"')).invokers
    assert door is not None
    assert (door.host, door.port, door.token, door.patience) == ("127.0.0.1", 3235, "topsecret", 10.0)


def test_an_invoker_knows_its_controller_and_shows_no_token(tmp_path: Path) -> None:
    config = load_node(invoker(tmp_path, "[pool]\nmemory = 512\nstop = 330.0", "topsecret"))
    assert (config.host, config.port, config.pool.memory) == ("desy-functions.xdc.test", 3235, 512)
    assert "topsecret" not in repr(config)


@pytest.mark.parametrize(
    ("more", "token", "text"),
    [
        ("listen = 1", "t", "unknown entries: listen"),
        ("[pool]\nroom = 1", "t", r"\[pool\] has no entry room"),
        ("", "", "holds no token"),
    ],
)
def test_culprit_of_an_invoker_is_named(tmp_path: Path, more: str, token: str, text: str) -> None:
    with pytest.raises(WrongUsage, match=text):
        load_node(invoker(tmp_path, more, token))
