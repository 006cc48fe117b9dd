"""Deploying: everything the first time, nothing the second, and only what differs after that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xdc_testbed.actions import deploy
from xdc_testbed.clients.openwhisk import NotFound
from xdc_testbed.errors import WrongUsage


class Platform:
    """Remembers entities as OpenWhisk does."""

    def __init__(self) -> None:
        self.packages: dict[str, dict[str, Any]] = {}
        self.actions: dict[str, dict[str, Any]] = {}
        self.puts: list[str] = []

    def __enter__(self) -> Platform:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def entities(self, collection: str) -> list[dict[str, Any]]:
        return list(getattr(self, collection).values())

    def put_package(self, name: str, parameters: dict[str, Any], annotations: dict[str, str]) -> None:
        self.puts.append(name)
        self.packages[name] = {"name": name, "parameters": parameters, "annotations": _pairs(annotations)}

    def put_action(self, name: str, code: str | bytes, **more: Any) -> None:
        self.puts.append(name)
        self.actions[name] = {"code": code, **more, "annotations": _pairs(more["annotations"])}

    def get_action(self, name: str) -> dict[str, Any]:
        if name not in self.actions:
            raise NotFound(f"{name} is not there")
        return self.actions[name]

    def delete(self, collection: str, name: str, *, force: bool, **_: bool) -> None:
        assert force
        del getattr(self, collection)[name]
        self.actions.clear()


def _pairs(annotations: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in annotations.items()]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "auth").write_text("uuid:key\n")
    (tmp_path / "secret").write_text("s3cr3t\n")
    (tmp_path / "ca.pem").write_text("authorities\n")
    path = tmp_path / "actions.toml"
    path.write_text(f"""
api_host = "https://desy-functions.xdc.test:3233"
auth_file = "{tmp_path}/auth"
ca_file = "{tmp_path}/ca.pem"
owner = "0123456789"
[token]
issuer = "https://desy-stream.xdc.test:8444"
client_id = "actions"
client_secret_file = "{tmp_path}/secret"
[endpoints.desy-storage]
https = "https://desy-storage.xdc.test:8443"
[limits.calibrate]
memory = 640
""")
    return path


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Platform:
    platform = Platform()
    monkeypatch.setattr(deploy, "OpenWhisk", lambda *_: platform)
    return platform


Lines = Callable[..., list[str]]


@pytest.fixture
def run(config: Path, capsys: pytest.CaptureFixture[str]) -> Lines:
    def run(*more: str) -> list[str]:
        assert deploy.main(["--config", str(config), *more]) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_the_second_run_changes_nothing(platform: Platform, run: Lines) -> None:
    actions = ["xdc/calibrate", "xdc/transfer", "xdc/qos", "xdc/catalogue", "xdc/noop"]
    names = ["package xdc", *(f"action {name}" for name in actions)]
    assert run() == [*(f"changed {name}" for name in names), "changed"]
    assert platform.puts == ["xdc", *actions]
    assert run() == [*(f"unchanged {name}" for name in names), "unchanged"]
    assert len(platform.puts) == 6


def test_parameters_are_bound_and_limits_set(platform: Platform, run: Lines) -> None:
    run()
    assert platform.packages["xdc"]["parameters"] == {
        "issuer": "https://desy-stream.xdc.test:8444",
        "client_id": "actions",
        "client_secret": "s3cr3t",
        "ca_pem": "authorities",
        "endpoints": {"desy-storage": {"https": "https://desy-storage.xdc.test:8443"}},
        "storage_credentials": {},
    }
    assert platform.actions["xdc/calibrate"]["memory"] == 640
    assert (platform.actions["xdc/transfer"]["main"], platform.actions["xdc/noop"]["main"]) == ("transfer", "main")
    assert "def main" in platform.actions["xdc/noop"]["code"]


def test_an_action_may_have_a_credential_of_its_own(
    platform: Platform, run: Lines, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text("0wn\n")
    own = f'[credentials.qos]\nclient_id = "qos"\nclient_secret_file = "{tmp_path}/own"\nscope = "s"\n'
    config.write_text(config.read_text() + own)
    run()
    assert platform.actions["xdc/qos"]["parameters"] == {"client_id": "qos", "client_secret": "0wn", "scope": "s"}
    assert platform.actions["xdc/transfer"]["parameters"] == {}
    platform.puts.clear()
    (tmp_path / "own").write_text("another")
    assert run()[-1] == "changed"
    assert platform.puts == ["xdc/qos"]


def test_only_what_differs_is_sent(platform: Platform, run: Lines, config: Path, tmp_path: Path) -> None:
    run()
    platform.puts.clear()
    (tmp_path / "secret").write_text("another")
    assert run()[-1] == "changed"
    assert platform.puts == ["xdc"]
    config.write_text(config.read_text().replace("640", "700"))
    assert run()[-1] == "changed"
    assert platform.puts == ["xdc", "xdc/calibrate"]
    del platform.actions["xdc/noop"]
    run()
    assert platform.puts == ["xdc", "xdc/calibrate", "xdc/noop"]


def test_an_image_may_run_the_actions(platform: Platform, run: Lines, config: Path) -> None:
    run()
    config.write_text('image = "registry.example.org/xdc-actions:1"\n' + config.read_text())
    assert run()[-1] == "changed"
    action = platform.actions["xdc/calibrate"]
    assert (action["kind"], action["image"]) == ("blackbox", "registry.example.org/xdc-actions:1")
    assert run()[-1] == "unchanged"


def test_removing_takes_everything_away_once(platform: Platform, run: Lines) -> None:
    run()
    assert run("--remove") == ["changed package xdc", "changed"]
    assert (platform.packages, platform.actions) == ({}, {})
    assert run("--remove") == ["unchanged package xdc", "unchanged"]


def test_a_package_of_another_testbed_is_neither_replaced_nor_removed(
    platform: Platform, run: Lines, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    before = dict(platform.packages)
    config.write_text(config.read_text().replace("0123456789", "9876543210"))
    for more in ([], ["--remove"]):
        assert deploy.main(["--config", str(config), *more]) == 2
        assert "not this testbed's but that of testbed 0123456789" in capsys.readouterr().err
    assert platform.packages == before


def test_a_package_that_the_kit_did_not_make_is_left_alone(
    platform: Platform, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.packages["xdc"] = {"name": "xdc", "annotations": []}
    assert deploy.main(["--config", str(config)]) == 2
    assert "it was not made by the kit" in capsys.readouterr().err
    assert platform.puts == []


def test_a_storage_with_another_issuer_has_its_own_credential(
    platform: Platform, run: Lines, config: Path, tmp_path: Path
) -> None:
    own = {"issuer": "https://iam.example.org", "client_id": "beamline"}
    lines = [f'{key} = "{value}"' for key, value in own.items()] + [f'client_secret_file = "{tmp_path}/secret"']
    config.write_text("\n".join([config.read_text(), "[storage_credentials.desy-storage]", *lines]))
    run()
    bound = platform.packages["xdc"]["parameters"]["storage_credentials"]
    assert bound == {"desy-storage": own | {"client_secret": "s3cr3t"}}


def test_secrets_are_not_said(platform: Platform, run: Lines) -> None:
    assert not [line for line in run() if "s3cr3t" in line or "uuid" in line]
    assert "s3cr3t" not in str(platform.packages["xdc"]["annotations"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("memory = 640", "memry = 640"), "limits.calibrate.memry"),
        (("[endpoints.", "[endpoint."), "endpoints: Field required"),
        (("[token]", "[token"), "actions.toml: "),
    ],
)
def test_a_wrong_configuration_names_the_key(config: Path, change: tuple[str, str], reason: str) -> None:
    config.write_text(config.read_text().replace(*change))
    with pytest.raises(WrongUsage, match=r"actions\.toml") as caught:
        deploy.DeployConfig.load(config)
    assert reason in caught.value.message


def test_a_missing_file_ends_with_one_line_and_exit_2(
    platform: Platform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main(["--config", str(tmp_path / "nothing.toml")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
