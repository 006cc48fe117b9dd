"""Terraform that ends without a word: what the kit concludes from the rest."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from xdc_testbed.drivers.terraform import Engine, Terraform, TerraformFailed, Workspace


@pytest.fixture
def silent_terraform(tmp_path: Path) -> Terraform:
    """It fails, whatever it is asked for."""
    space = Workspace(tmp_path, ".", tmp_path)
    space.launcher.write_text("#!/bin/sh\nexit 1\n")
    space.launcher.chmod(0o755)
    return Terraform(Engine(space.launcher, "terraform", "1.6.0"), space, logs=tmp_path)


def test_a_full_disk_is_the_reason_where_there_is_one(
    silent_terraform: Terraform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    with pytest.raises(TerraformFailed, match=f"plan: no space is left for {tmp_path}") as caught:
        silent_terraform.plan()
    assert "make room" in (caught.value.remedy or "")


def test_with_room_on_the_disk_its_exit_code_is_told(silent_terraform: Terraform) -> None:
    with pytest.raises(TerraformFailed, match="plan ended with 1"):
        silent_terraform.plan()
