"""How the event services reach the broker: one model of the connection, and the librdkafka settings made of
it.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar

from confluent_kafka import KafkaError
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from xdc_testbed.errors import WrongUsage, XdcError

EVENTS = "storage-events"
INVOCATIONS = "invocations"
RESULTS = "activation-results"
DEAD_LETTERS = "dead-letter"
RUN_ARRIVALS = "run-arrivals"  # what the router tells itself about runs, keyed by run
RUN_TIMERS = "run-timers"  # compacted: which runs want to be woken, and when
RUN_EVENTS = "run-events"  # StorageEvents of the type run-complete

Config = TypeVar("Config", bound=BaseModel)


def is_fatal(error: KafkaError) -> bool:
    """Whether a librdkafka client that met this error is of no more use; only a new one can go on."""
    return bool(error.fatal()) or error.code() == KafkaError._FATAL


class BrokerUnavailable(XdcError):
    """The broker does not answer, or refuses this user."""


class Connection(BaseModel):
    """Where the broker is and who asks. `security = "PLAINTEXT"` is for tests on loopback only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bootstrap: str
    security: Literal["SASL_SSL", "PLAINTEXT"] = "SASL_SSL"
    ca_file: Path | None = None
    user: str | None = None
    password_file: Path | None = None
    password: SecretStr | None = None

    def settings(self) -> dict[str, Any]:
        """The librdkafka settings of the connection. Raises WrongUsage when the password file cannot be
        read.
        """
        common: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.security,
            "client.id": f"xdc-{self.user or 'anonymous'}",
            "socket.nagle.disable": True,
            "socket.keepalive.enable": True,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 1000,
            "log.connection.close": False,
        }
        if self.security == "PLAINTEXT":
            return common
        if self.user is None or self.ca_file is None:
            raise WrongUsage("kafka: SASL_SSL needs user and ca_file", remedy="add them to the configuration")
        return {
            **common,
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": self.user,
            "sasl.password": self._password(),
            "ssl.ca.location": str(self.ca_file),
        }

    def _password(self) -> str:
        if self.password is not None:
            return self.password.get_secret_value()
        if self.password_file is None:
            raise WrongUsage("kafka: no password for SASL_SSL", remedy="add password_file to the configuration")
        try:
            return self.password_file.read_text().strip()
        except OSError as error:
            raise WrongUsage(
                f"kafka: password file {self.password_file}: {error.strerror}",
                remedy="run the service as the user that may read it",
            ) from None

    def producer(self) -> dict[str, Any]:
        """Settings of a producer that loses nothing and waits for nobody: all replicas, idempotent, at
        once, no time-out.
        """
        return {
            **self.settings(),
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 0,
            "message.timeout.ms": 0,
            "queue.buffering.max.messages": 100_000,
        }

    def consumer(self, group: str, *, instance: str | None = None) -> dict[str, Any]:
        """Settings of a consumer whose offsets the service stores itself.

        instance: name of this member among its group's; with it a restarted member gets its partitions back
        at once, also after kill -9, where an anonymous one waits for the dead one's session to end.
        """
        settings = {
            **self.settings(),
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
            "fetch.wait.max.ms": 500,
            "fetch.min.bytes": 1,
            "fetch.queue.backoff.ms": 5,
            "session.timeout.ms": 45_000,
        }
        if instance is not None:
            settings["group.instance.id"] = instance
        return settings


class KafkaSection(BaseModel):
    """The `[kafka]` table that all services on a node share; the user is named in the service's own table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bootstrap: str
    security: Literal["SASL_SSL", "PLAINTEXT"] = "SASL_SSL"
    ca_file: Path | None = None

    def as_user(
        self, user: str | None, password_file: Path | None = None, *, password: SecretStr | None = None
    ) -> Connection:
        """The connection of one user, whose password is in a file or given."""
        return Connection(
            bootstrap=self.bootstrap,
            security=self.security,
            ca_file=self.ca_file,
            user=user,
            password_file=password_file,
            password=password,
        )


class Login(BaseModel):
    """The keys by which every service's table names its Kafka user."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str | None = None
    password_file: Path | None = None
    metrics: str | None = Field(default=None, pattern=r"^[^:]+:\d+$")


def read_config(path: Path, model: type[Config]) -> Config:
    """Read a service's TOML file. Raises WrongUsage, one line naming file and key."""
    try:
        return model.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise WrongUsage(
            f"configuration {path}: {error.strerror}", remedy="give a readable file with --config"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise WrongUsage(f"configuration {path}: {error}", remedy="correct the TOML at that place") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise WrongUsage(f"configuration {path}: {key}: {first['msg']}", remedy="correct that key") from None
