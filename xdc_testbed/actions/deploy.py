"""Put the actions on an OpenWhisk: a package with bound parameters, and its actions in it.

    python -m xdc_testbed.actions.deploy --config /etc/xdc-testbed/actions.toml [--remove]

Says what it did line by line; the last line is `changed` or `unchanged`. A digest in the annotations tells
what is there, so that a second run sends nothing. The configuration:

    api_host = "https://desy-functions.xdc.test:3233"
    auth_file = "/etc/xdc-testbed/openwhisk.auth"          # <uuid>:<key>
    ca_file = "/etc/xdc-testbed/ca.pem"                    # also what the actions trust: its content goes with them
    image = "registry.example.org/xdc-actions:1"           # optional: run in this image, not in OpenWhisk's own
    owner = "9fc2a1b04d"                                   # optional; a package of another owner is left alone

    [token]                                                # the actions' own credential
    issuer = "https://desy-stream.xdc.test:8444"
    client_id = "actions"
    client_secret_file = "/etc/xdc-testbed/actions.secret"

    [endpoints.desy-storage]                               # storages by id: a URL for each protocol
    https = "https://desy-storage.xdc.test:2880"
    frontend = "https://desy-storage.xdc.test:3880"        # of dCache: what the action qos talks to

    [credentials.qos]                                      # optional; an action's own credential
    client_id = "qos"
    client_secret_file = "/etc/xdc-testbed/actions-qos.secret"
    scope = "storage.read:/data storage.modify:/data/raw"

    [storage_credentials.desy-storage]                     # optional; where a storage trusts another issuer
    issuer = "https://iam.example.org"
    client_id = "beamline"
    client_secret_file = "/etc/xdc-testbed/actions-desy-storage.secret"

    [limits.calibrate]                                     # optional; memory: MB, time_limit: seconds
    memory = 512
    time_limit = 120
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError

from xdc_testbed.actions import package
from xdc_testbed.clients.openwhisk import NotFound, OpenWhisk
from xdc_testbed.errors import WrongUsage, XdcError

DIGEST = "xdc-digest"
OWNER = "xdc-testbed"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenSection(_Section):
    """The credential of the actions at the token issuer."""

    issuer: str
    client_id: str
    client_secret_file: Path


class CredentialSection(_Section):
    """A credential that one action has for itself, at the same token issuer. scope: of its tokens."""

    client_id: str
    client_secret_file: Path
    scope: str


class Limits(_Section):
    """Limits of one action. memory: MB; time_limit: seconds."""

    memory: PositiveInt = 256
    time_limit: PositiveFloat = 60.0


class DeployConfig(_Section):
    """The configuration file. package, kind: names on the platform; image: of actions of the kind `blackbox`."""

    api_host: str
    auth_file: Path
    ca_file: Path
    owner: str = ""
    package: str = "xdc"
    kind: str = "python:3.11"
    image: str | None = None
    token: TokenSection
    endpoints: dict[str, dict[str, str]]
    credentials: dict[str, CredentialSection] = {}
    storage_credentials: dict[str, TokenSection] = {}
    limits: dict[str, Limits] = {}

    @classmethod
    def load(cls, path: Path) -> DeployConfig:
        """Read the file. Raises WrongUsage naming the key that is wrong."""
        try:
            return cls.model_validate(tomllib.loads(path.read_text()))
        except OSError as error:
            raise WrongUsage(f"{path}: {error.strerror}", remedy="the role openwhisk writes it") from error
        except tomllib.TOMLDecodeError as error:
            raise WrongUsage(f"{path}: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            raise WrongUsage(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error

    @property
    def runtime(self) -> dict[str, Any]:
        """What runs the actions, as `put_action` takes it."""
        return {"kind": self.kind} if self.image is None else {"kind": "blackbox", "image": self.image}

    def bound_parameters(self) -> dict[str, Any]:
        """What every action of the package is given."""
        return {
            "issuer": self.token.issuer,
            "client_id": self.token.client_id,
            "client_secret": _secret(self.token.client_secret_file),
            "ca_pem": _secret(self.ca_file),
            "endpoints": {name: dict(sorted(urls.items())) for name, urls in sorted(self.endpoints.items())},
            "storage_credentials": {
                name: {
                    "issuer": own.issuer,
                    "client_id": own.client_id,
                    "client_secret": _secret(own.client_secret_file),
                }
                for name, own in sorted(self.storage_credentials.items())
            },
        }

    def own_parameters(self, action: str) -> dict[str, Any]:
        """What one action is given instead of what the package has."""
        own = self.credentials.get(action)
        if own is None:
            return {}
        return {
            "client_id": own.client_id,
            "client_secret": _secret(own.client_secret_file),
            "scope": own.scope,
        }


@dataclass(frozen=True)
class Action:
    """One action as it should be. code: source text or a zip; main: function to call; parameters: bound to it."""

    name: str
    code: str | bytes
    main: str
    limits: Limits
    parameters: dict[str, Any] = field(default_factory=dict, repr=False)

    def digest(self, runtime: dict[str, Any]) -> str:
        """Hash of everything that is sent."""
        code = self.code if isinstance(self.code, bytes) else self.code.encode()
        limits = self.limits.model_dump()
        return _digest([hashlib.sha256(code).hexdigest(), self.main, runtime, limits, self.parameters])


DEFAULT_LIMITS = {
    "calibrate": Limits(memory=512, time_limit=120),
    "transfer": Limits(memory=128, time_limit=120),
    "qos": Limits(memory=128, time_limit=300),
    "catalogue": Limits(memory=128, time_limit=60),
    "noop": Limits(memory=128, time_limit=10),
}


def actions(config: DeployConfig) -> list[Action]:
    """The actions of the package. noop is bare source: it measures the platform, not the archive."""
    limits = DEFAULT_LIMITS | config.limits
    archive = package.build().code
    noop = files("xdc_testbed.actions").joinpath("noop.py").read_text()
    own = [
        Action(name, archive, name, limits[name], config.own_parameters(name))
        for name in ("calibrate", "transfer", "qos", "catalogue")
    ]
    return [*own, Action("noop", noop, "main", limits["noop"])]


def deploy(config: DeployConfig, platform: OpenWhisk) -> Iterator[tuple[str, bool]]:
    """Make the platform as it should be; gives each thing with whether it had to be changed.

    Raises WrongUsage when a package of this name belongs to somebody else.
    """
    parameters = config.bound_parameters()
    wanted = {DIGEST: _digest(parameters), OWNER: config.owner}
    changed = _require_own(config, _package(platform, config.package)) != wanted
    if changed:
        platform.put_package(config.package, parameters, wanted)
    yield f"package {config.package}", changed
    for action in actions(config):
        name = f"{config.package}/{action.name}"
        digest = action.digest(config.runtime)
        changed = _action_digest(platform, name) != digest
        if changed:
            platform.put_action(
                name,
                action.code,
                **config.runtime,
                main=action.main,
                annotations={DIGEST: digest},
                time_limit=action.limits.time_limit,
                memory=action.limits.memory,
                parameters=action.parameters,
            )
        yield f"action {name}", changed


def remove(config: DeployConfig, platform: OpenWhisk) -> Iterator[tuple[str, bool]]:
    """Take the package with its actions away. Raises WrongUsage for a package of another owner."""
    there = _require_own(config, _package(platform, config.package)) is not None
    if there:
        platform.delete("packages", config.package, force=True, missing_ok=True)
    yield f"package {config.package}", there


def main(arguments: list[str] | None = None) -> int:
    """The command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="xdc_testbed.actions.deploy")
    parser.add_argument("--config", type=Path, required=True, help="configuration, TOML")
    parser.add_argument("--remove", action="store_true", help="take the actions away")
    given = parser.parse_args(arguments)
    try:
        config = DeployConfig.load(given.config)
        any_changed = False
        with OpenWhisk(config.api_host, _secret(config.auth_file), config.ca_file) as platform:
            for thing, changed in (remove if given.remove else deploy)(config, platform):
                _say(f"{_word(changed)} {thing}")
                any_changed |= changed
    except XdcError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"  -> {error.remedy}\n" if error.remedy else ""))
        return error.exit_code
    _say(_word(any_changed))
    return 0


def _word(changed: bool) -> str:
    return "changed" if changed else "unchanged"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _package(platform: OpenWhisk, name: str) -> dict[str, Any] | None:
    """A package as it is listed, None when it is not there."""
    return next((entity for entity in platform.entities("packages") if entity.get("name") == name), None)


def _require_own(config: DeployConfig, package: dict[str, Any] | None) -> dict[str, str] | None:
    """What our package says of itself; None when there is none."""
    if package is None:
        return None
    digest, owner = _annotation(package), _annotation(package, OWNER)
    if not digest or owner not in ("", config.owner):
        raise WrongUsage(
            f"package '{config.package}' on {config.api_host} is not this testbed's"
            + (f" but that of testbed {owner}" if owner else ": it was not made by the kit"),
            remedy="use another namespace of that OpenWhisk, or remove the package there",
        )
    return {DIGEST: digest, OWNER: owner}


def _action_digest(platform: OpenWhisk, name: str) -> str | None:
    try:
        return _annotation(platform.get_action(name))
    except NotFound:
        return None


def _annotation(entity: dict[str, Any], key: str = DIGEST) -> str:
    return next((str(a["value"]) for a in entity.get("annotations", []) if a.get("key") == key), "")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _secret(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise WrongUsage(f"{path}: {error.strerror}", remedy="run as a user that may read the secrets") from error


if __name__ == "__main__":
    sys.exit(main())
