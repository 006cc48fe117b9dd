"""Bring a broker's topics, users and access rights to what is described, and say what was changed.

    python -m xdc_testbed.events.kafka_admin --config /etc/xdc-testbed/kafka-admin.toml

Runs as often as one likes: prints one JSON line `{"changed": [...]}` with what was made or set right.
Rights that its users have and the description does not name are taken away.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from xdc_testbed.errors import DeadlineExceeded, WrongUsage
from xdc_testbed.events import service
from xdc_testbed.events.kafka import BrokerUnavailable, KafkaSection, read_config

_ANSWER = 15.0  # seconds that the broker has for a request
_ITERATIONS = 8192

Value = TypeVar("Value")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Topic(_Strict):
    """A topic and its own settings; what is not named keeps the broker's default."""

    name: str
    partitions: int = Field(ge=1)
    config: dict[str, str] = Field(default_factory=dict)


class Grant(_Strict):
    """What a user may do with resources of one kind. prefix: the names are beginnings of names."""

    user: str
    resource: Literal["topic", "group", "transactional_id"]
    names: tuple[str, ...]
    prefix: bool = False
    operations: tuple[Literal["read", "write", "describe", "describe_configs", "create"], ...]


class AdminConfig(_Strict):
    """The file given with --config. passwords: of every user, the administrator `admin` among them;
    state_file: keeps salted digests of the passwords that are set, to know when one has changed; patience:
    seconds to wait for the broker to answer."""

    kafka: KafkaSection
    passwords: dict[str, SecretStr]
    topics: tuple[Topic, ...]
    grants: tuple[Grant, ...]
    state_file: Path
    patience: float = Field(default=60, gt=0)


class Administrator:
    """One broker, seen by `admin`. Each method returns what it changed, in words."""

    def __init__(self, config: AdminConfig) -> None:
        if "admin" not in config.passwords:
            raise WrongUsage("kafka-admin: no password of user admin", remedy="add it below [passwords]")
        self._config = config
        connection = config.kafka.as_user("admin", password=config.passwords["admin"])
        self._client = AdminClient({**connection.settings(), "log_level": 0})

    def wait(self) -> None:
        """Return when the broker answers. Raises DeadlineExceeded when patience ends."""
        deadline = time.monotonic() + self._config.patience
        while True:
            try:
                self._client.list_topics(timeout=2)
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise DeadlineExceeded(
                        f"the broker at {self._config.kafka.bootstrap} did not answer admin: {error.args[0]}",
                        remedy="look at its log: journalctl -u kafka",
                    ) from None
                time.sleep(0.1)
            else:
                return

    def users(self) -> Iterator[str]:
        """Every user exists with the described password."""
        names = [name for name in self._config.passwords if name != "controller"]
        present = self._client.describe_user_scram_credentials(names, request_timeout=_ANSWER)
        known = _Digests(self._config.state_file)
        updates: list[UserScramCredentialUpsertion] = []
        for name in names:
            password = self._config.passwords[name].get_secret_value()
            if not _exists(present[name]) or not known.fits(name, password):
                info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
                updates.append(UserScramCredentialUpsertion(name, info, password.encode()))
                known.set(name, password)
        if updates:
            for future in self._client.alter_user_scram_credentials(updates, request_timeout=_ANSWER).values():
                _result(future)
            known.store()
        yield from (f"user {update.user}" for update in updates)

    def topics(self) -> Iterator[str]:
        """Every topic exists, with at least its partitions and its settings."""
        existing = self._client.list_topics(timeout=_ANSWER).topics
        new = [topic for topic in self._config.topics if topic.name not in existing]
        if new:
            made = self._client.create_topics(
                [NewTopic(t.name, t.partitions, 1, config=t.config) for t in new], operation_timeout=_ANSWER
            )
            for future in made.values():
                _result(future)
            self._until(lambda: self._led(new), "give the new topics a leader")
            yield from (f"topic {topic.name}" for topic in new)
        for topic in self._config.topics:
            if topic not in new:
                yield from self._grow(topic, len(existing[topic.name].partitions))
        yield from self._settings([topic for topic in self._config.topics if topic not in new and topic.config])

    def _grow(self, topic: Topic, present: int) -> Iterator[str]:
        if present < topic.partitions:
            for future in self._client.create_partitions([NewPartitions(topic.name, topic.partitions)]).values():
                _result(future)
            yield f"partitions of {topic.name}"

    def _settings(self, topics: list[Topic]) -> Iterator[str]:
        if not topics:
            return
        asked = [ConfigResource(ConfigResource.Type.TOPIC, topic.name) for topic in topics]
        answers = {r.name: f for r, f in self._client.describe_configs(asked, request_timeout=_ANSWER).items()}
        for topic in topics:
            present = {name: entry.value for name, entry in _result(answers[topic.name]).items()}
            wrong = {name: value for name, value in topic.config.items() if present.get(name) != value}
            if wrong:
                entries = [
                    ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                    for name, value in wrong.items()
                ]
                change = ConfigResource(ConfigResource.Type.TOPIC, topic.name, incremental_configs=entries)
                for future in self._client.incremental_alter_configs([change]).values():
                    _result(future)
                yield f"settings of {topic.name}"

    def grants(self) -> Iterator[str]:
        """The users may do what is described, and nothing else."""
        wanted = {acl for grant in self._config.grants for acl in _acls(grant)}
        present = self._granted()
        missing, surplus = wanted - present, present - wanted
        if missing:
            for future in self._client.create_acls(sorted(missing, key=str), request_timeout=_ANSWER).values():
                _result(future)
        if surplus:
            filters = [_exactly(acl) for acl in surplus]
            for future in self._client.delete_acls(filters, request_timeout=_ANSWER).values():
                _result(future)
        if missing or surplus:
            self._until(lambda: self._granted() == wanted, "put the rights into force")
        yield from (f"right of {acl.principal.removeprefix('User:')} on {acl.name}" for acl in missing | surplus)

    def _granted(self) -> set[AclBinding]:
        """The rights that the broker's authorizer applies to our users at this moment."""
        every = AclBindingFilter(
            ResourceType.ANY,
            None,
            ResourcePatternType.ANY,
            None,
            None,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        ours = {f"User:{name}" for name in self._config.passwords}
        found = _result(self._client.describe_acls(every, request_timeout=_ANSWER))
        return {acl for acl in found if acl.principal in ours}

    def _led(self, topics: list[Topic]) -> bool:
        known = self._client.list_topics(timeout=_ANSWER).topics
        return all(
            topic.name in known and all(part.leader >= 0 for part in known[topic.name].partitions.values())
            for topic in topics
        )

    def _until(self, observed: Callable[[], bool], what: str) -> None:
        """Changes are agreed first and in force a moment later: return when they are."""
        deadline = time.monotonic() + self._config.patience
        while not observed():
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"the broker did not {what}", remedy="look at its log: journalctl -u kafka")
            time.sleep(0.02)


class _Digests:
    """Salted digests of the passwords that were set, by user; tells a changed password without keeping it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._known: dict[str, str] = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            self._known = {}

    def fits(self, user: str, password: str) -> bool:
        salt, _, digest = self._known.get(user, "").partition(":")
        return bool(salt) and _slow_digest(password, salt) == digest

    def set(self, user: str, password: str) -> None:
        salt = secrets.token_hex(16)
        self._known[user] = f"{salt}:{_slow_digest(password, salt)}"

    def store(self) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(self._known, file)
        fresh.replace(self._path)


def _slow_digest(password: str, salt: str) -> str:
    return hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=1024, r=8, p=1).hex()


def _acls(grant: Grant) -> Iterator[AclBinding]:
    for name in grant.names:
        for operation in grant.operations:
            yield AclBinding(
                ResourceType[grant.resource.upper()],
                name,
                ResourcePatternType.PREFIXED if grant.prefix else ResourcePatternType.LITERAL,
                f"User:{grant.user}",
                "*",
                AclOperation[operation.upper()],
                AclPermissionType.ALLOW,
            )


def _exactly(acl: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        acl.restype,
        acl.name,
        acl.resource_pattern_type,
        acl.principal,
        acl.host,
        acl.operation,
        acl.permission_type,
    )


def _exists(description: Future[Any]) -> bool:
    try:
        return bool(_result(description).scram_credential_infos)
    except BrokerUnavailable as error:
        if "RESOURCE_NOT_FOUND" in error.message:
            return False
        raise


def _result(future: Future[Value]) -> Value:
    """What the broker answered. Raises BrokerUnavailable with its words."""
    try:
        return future.result(timeout=_ANSWER)
    except KafkaException as error:
        reason: KafkaError = error.args[0]
        raise BrokerUnavailable(
            f"broker refused: {reason.name()}: {reason.str()}", remedy="look at its log: journalctl -u kafka"
        ) from None


def _start(path: Path) -> int:
    config = read_config(path, AdminConfig)
    admin = Administrator(config)
    admin.wait()
    changed = [*admin.users(), *admin.topics(), *admin.grants()]
    sys.stdout.write(json.dumps({"changed": sorted(changed)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(service.run("kafka-admin", "Topics, users and rights of the broker", _start))
