"""What Terraform and its provider must be, told before anything is made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from xdc_testbed.drivers import provider
from xdc_testbed.drivers.terraform import Engine
from xdc_testbed.errors import RequirementMissing
from xdc_testbed.progress import silent


def program(folder: Path, said: str, name: str = "terraform") -> str:
    """A program that says this, whatever it is asked."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{said}\nEND\n")
    path.chmod(0o755)
    return str(path)


def test_no_terraform_is_told_with_how_to_name_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("XDC_TERRAFORM", raising=False)
    with pytest.raises(RequirementMissing, match="terraform or tofu is not installed") as caught:
        Engine.find()
    assert "openstack.terraform" in (caught.value.remedy or "")
    with pytest.raises(RequirementMissing, match="/nowhere/terraform is not installed"):
        Engine.find("/nowhere/terraform")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("Terraform v1.5.7\non linux_amd64", "is version 1.5.7, needed: 1.6 or newer"),
        ("Terraform v0.14.0-beta1", "is version 0.14.0-beta1"),
        ("hello", "neither Terraform nor OpenTofu: hello"),
        ("", "neither Terraform nor OpenTofu"),
    ],
)
def test_a_program_that_will_not_do_is_told(tmp_path: Path, said: str, message: str) -> None:
    with pytest.raises(RequirementMissing, match=message):
        Engine.find(program(tmp_path, said))


def test_opentofu_is_taken_where_terraform_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("XDC_TERRAFORM", raising=False)
    program(tmp_path, "Terraform v1.5.7")
    with pytest.raises(RequirementMissing, match=r"version 1\.5\.7"):
        Engine.find()
    program(tmp_path, "OpenTofu v1.6.3", name="tofu")
    assert Engine.find().kind == "tofu"


@pytest.mark.parametrize(
    ("said", "kind", "version"),
    [
        ("Terraform v1.6.6\non linux_amd64\n\nYour version of Terraform is out of date!", "terraform", "1.6.6"),
        ("OpenTofu v1.10.0-rc1\non linux_amd64", "tofu", "1.10.0-rc1"),
    ],
)
def test_the_configured_program_wins_over_the_environments(
    said: str, kind: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDC_TERRAFORM", "/nowhere/terraform")
    found = Engine.find(program(tmp_path, said))
    assert (found.kind, found.version) == (kind, version)


def test_a_mirror_that_is_not_there_is_told_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(RequirementMissing, match="there is no folder") as caught:
        provider.mirror_for(str(tmp_path / "mirror"))
    assert "provider build --mirror" in (caught.value.remedy or "")


def test_two_builds_of_the_provider_at_once_compile_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    go.write_text(
        '#!/bin/sh\n[ "$1" = version ] && exec echo go version go1.24.1 linux/amd64\n'
        f'echo built >>{tmp_path}/builds; sleep 0.2\nwhile [ "$1" != -o ]; do shift; done; echo program >"$2"\n'
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    mirror = tmp_path / "mirror"
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda _: provider.build(mirror, silent), range(2)))
    assert made == [provider.binary(mirror)] * 2
    assert made[0].read_text() == "program\n"
    assert (tmp_path / "builds").read_text() == "built\n"
