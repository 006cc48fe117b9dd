"""Configuration files of the event services: secrets from files, mistakes named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.dispatcher import DispatcherConfig
from xdc_testbed.events.kafka import Connection, KafkaSection, read_config

GOOD = """
[kafka]
bootstrap = "localhost:9093"
ca_file = "/ca.pem"
[dispatcher]
user = "dispatcher"
password_file = "/secret"
[openwhisk]
api_host = "https://localhost:3233"
auth_file = "/auth"
"""


def test_a_service_reads_its_own_table_and_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "event-router.toml"
    path.write_text(GOOD + '[router]\nuser = "router"\n')
    assert read_config(path, DispatcherConfig).dispatcher.concurrency == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('user = "dispatcher"', 'usr = "dispatcher"'), "dispatcher.usr"),
        (("[openwhisk]", "[openwhisk"), "line 8"),
        (('bootstrap = "localhost:9093"', ""), "kafka.bootstrap"),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "event-router.toml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(WrongUsage, match=message) as caught:
        read_config(path, DispatcherConfig)
    assert "\n" not in caught.value.message


def test_the_password_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("pass word\n")
    connection = KafkaSection(bootstrap="b:1", ca_file=Path("/ca.pem")).as_user("router", tmp_path / "secret")
    assert connection.settings()["sasl.password"] == "pass word"


def test_a_password_is_not_shown() -> None:
    connection = Connection.model_validate({"bootstrap": "b:1", "user": "u", "password": "hush", "ca_file": "/c"})
    assert "hush" not in repr(connection)


@pytest.mark.parametrize("lacking", ["user", "ca_file", "password"])
def test_what_a_secure_connection_lacks_is_named(lacking: str) -> None:
    fields = {"bootstrap": "b:1", "user": "u", "password": "hush", "ca_file": "/c"}
    del fields[lacking]
    with pytest.raises(WrongUsage, match=lacking):
        Connection.model_validate(fields).settings()
