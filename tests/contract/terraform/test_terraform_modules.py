"""The kit's own Terraform modules: their tests in HCL, with the engine and the provider that the kit builds."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from xdc_testbed import content
from xdc_testbed.drivers.terraform import Engine, Terraform, Workspace, cli_configuration
from xdc_testbed.errors import RequirementMissing
from xdc_testbed.processes import run
from xdc_testbed.testbed.secrets import ensure_ssh_key

_MOCKS = {"terraform": (1, 7), "tofu": (1, 8)}
"""Since when a provider can be mocked in tests; the layout has none. What cannot be tested so is validated."""


@pytest.mark.parametrize("module", ["modules/layout", "modules/nodes", "openstack"])
def test_the_tests_of_a_module_pass(module: str, engine: Engine, mirror: Path, tmp_path: Path) -> None:
    shutil.copytree(content.root() / "terraform", tmp_path / "terraform", ignore=shutil.ignore_patterns(".terraform*"))
    folder = tmp_path / "terraform" / module
    for node in ("stream", "storage", "plain", "disk", "boot"):
        ensure_ssh_key(folder / "tests" / "keys" / node, node)
    mocked = module == "modules/layout" or engine.release >= _MOCKS[engine.kind]
    if not mocked:
        shutil.rmtree(folder / "tests")  # the engine would not even read them
    settings = tmp_path / "cli.tfrc"
    settings.write_text(cli_configuration(mirror))
    env = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    env["TF_CLI_CONFIG_FILE"] = str(settings)
    run([engine.path, f"-chdir={folder}", "init", "-no-color"], timeout=120, env=env)
    verb, good = ("test", "0 failed") if mocked else ("validate", "The configuration is valid")
    done = run([engine.path, f"-chdir={folder}", verb, "-no-color"], timeout=300, env=env, check=False)
    assert done.returncode == 0, done.text + done.stderr.decode()
    assert good in done.text


def test_a_mirror_without_the_provider_is_told_with_what_makes_it(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    space = Workspace.of_the_kit("openstack", tmp_path / "state", mirror=tmp_path / "mirror")
    with pytest.raises(RequirementMissing, match="the OpenStack provider is not in") as caught:
        Terraform(engine, space, logs=tmp_path / "logs").prepare({})
    assert "provider build" in (caught.value.remedy or "")


def test_what_is_in_the_state_is_known_by_its_address(engine: Engine, mirror: Path, tmp_path: Path) -> None:
    space = Workspace.of_the_kit("openstack", tmp_path / "state", mirror=mirror)
    runner = Terraform(engine, space, logs=tmp_path / "logs")
    runner.prepare({})
    key_pair = {
        "module": "module.nodes",
        "mode": "managed",
        "type": "openstack_compute_keypair_v2",
        "name": "this",
        "provider": 'provider["registry.terraform.io/terraform-provider-openstack/openstack"]',
        "instances": [{"schema_version": 0, "attributes": {"id": "xdc-ab12", "name": "xdc-ab12"}}],
    }
    state = {"version": 4, "terraform_version": "1.6.0", "serial": 1, "lineage": "made-up", "resources": [key_pair]}
    space.state.write_text(json.dumps(state))
    assert runner.known() == {"module.nodes.openstack_compute_keypair_v2.this": "xdc-ab12"}


def test_every_file_is_formatted(engine: Engine) -> None:
    words = [engine.path, f"-chdir={content.root() / 'terraform'}", "fmt", "-check", "-recursive", "-list=true"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    assert run(words, timeout=60, check=False, env=env).text == ""
