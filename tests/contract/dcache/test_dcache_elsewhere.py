"""The options that lead the cases to a dCache elsewhere, tried with an emulator that stands in for one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from dcache_rig import DcacheUnderTest, emulated
from event_rig import Broker
from storage_rig import Authority, TokenIssuer

_HERE = Path(__file__).parent
_TOPIC = "billing-elsewhere"


@dataclass(frozen=True)
class Said:
    """What a run of the cases has printed; code: its exit status."""

    code: int
    text: str


@dataclass(frozen=True)
class Elsewhere:
    """A dCache of which a run knows nothing but URLs and credentials."""

    dcache: DcacheUnderTest
    broker: Broker

    @property
    def door(self) -> list[str]:
        """The least that a run is told."""
        return ["--dcache", self.dcache.webdav, "--dcache-ca", str(self.dcache.ca)]

    @property
    def all_doors(self) -> list[str]:
        """All that a run can be told."""
        known = self.broker.kafka
        return [
            *self.door,
            *("--dcache-frontend", self.dcache.frontend, "--dcache-plain", str(self.dcache.plain)),
            *("--dcache-kafka", known.bootstrap, "--dcache-kafka-ca", str(known.ca_file), "--dcache-topic", _TOPIC),
        ]

    def run(self, *words: str, environment: dict[str, str]) -> Said:
        """Run the cases as somebody who has a dCache would."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("DCACHE_", "PYTEST_"))}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(_HERE), *words],
            env={**clean, **environment},
            capture_output=True,
            text=True,
            timeout=580,
            check=False,
        )
        return Said(done.returncode, done.stdout + done.stderr)

    @property
    def first_user(self) -> dict[str, str]:
        """The least that a run needs."""
        return {"DCACHE_USER": "tester", "DCACHE_PASSWORD": self.dcache.users["tester"]}

    @property
    def everything(self) -> dict[str, str]:
        """All credentials that a run can use."""
        certificate, key = self.dcache.certificates["tester"]
        return {
            **self.first_user,
            "DCACHE_OTHER_USER": "other",
            "DCACHE_OTHER_PASSWORD": self.dcache.users["other"],
            "DCACHE_ADMIN_USER": "admin",
            "DCACHE_ADMIN_PASSWORD": self.dcache.users["admin"],
            "DCACHE_CERTIFICATE": str(certificate),
            "DCACHE_KEY": str(key),
            "DCACHE_TOKEN": self.dcache.token("storage.read:/ storage.modify:/", "tester"),
            "DCACHE_KAFKA_USER": "admin",
            "DCACHE_KAFKA_PASSWORD": self.broker.passwords["admin"],
        }


@pytest.fixture(scope="module")
def elsewhere(authority: Authority, issuer: TokenIssuer, broker: Broker) -> Iterator[Elsewhere]:
    kafka = {
        "bootstrap": broker.kafka.bootstrap,
        "authority": str(broker.kafka.ca_file),
        "username": "admin",
        "password_file": str(broker.password_file("admin")),
        "billing": {"enable": True, "topic": _TOPIC},
    }
    admin = AdminClient(broker.connection("admin").settings())  # gives up its requests when nobody holds it
    for made in admin.create_topics([NewTopic(_TOPIC, 1, 1)]).values():
        made.result(30)
    with emulated(authority, issuer, tables={"kafka": kafka}) as dcache:
        yield Elsewhere(dcache, broker)


def test_every_case_that_is_not_about_the_emulator_passes_with_all_credentials(elsewhere: Elsewhere) -> None:
    said = elsewhere.run(*elsewhere.all_doors, environment=elsewhere.everything)
    assert said.code == 0, said.text
    end = said.text.splitlines()[-1]
    assert int(end.split(" passed")[0]) > 100, said.text  # of about 600
    assert "skipped" not in end


def test_a_case_that_lacks_something_is_skipped_with_the_words_that_give_it(elsewhere: Elsewhere) -> None:
    said = elsewhere.run(*elsewhere.door, "-k", "webdav or macaroon or qos or kafka", environment=elsewhere.first_user)
    assert said.code == 0, said.text
    for reason in (
        "needs frontend: give --dcache-frontend",
        "needs unencrypted door: give --dcache-plain",
        "needs broker: give --dcache-kafka",
        "needs another user: give DCACHE_OTHER_USER and DCACHE_OTHER_PASSWORD",
        "needs certificate: give DCACHE_CERTIFICATE and DCACHE_KEY",
        "needs token: give DCACHE_TOKEN",
    ):
        assert reason in said.text, said.text


def test_administrators_cases_say_that_they_need_one(elsewhere: Elsewhere) -> None:
    said = elsewhere.run(*elsewhere.all_doors, "-k", "administrator", environment=elsewhere.first_user)
    assert "needs administrator: give DCACHE_ADMIN_USER and DCACHE_ADMIN_PASSWORD" in said.text


def test_a_run_without_a_user_is_refused_in_one_line(elsewhere: Elsewhere) -> None:
    said = elsewhere.run("--dcache", elsewhere.dcache.webdav, environment={})
    assert said.code == 4
    assert said.text.strip() == "ERROR: --dcache: give --dcache-ca and DCACHE_USER and DCACHE_PASSWORD"
