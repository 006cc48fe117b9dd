"""Where the playbooks are: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdc_testbed import content
from xdc_testbed.errors import RequirementMissing


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder without content."""
    folder = tmp_path / "site-packages" / "xdc_testbed"
    folder.mkdir(parents=True)
    monkeypatch.setattr(content, "_PACKAGE", folder)
    return folder


def fill(folder: Path) -> None:
    """Put there what a content folder is known by."""
    for name in ("playbooks/site.yml", "inventory/groups.yml"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()


def test_this_checkouts_content_is_found() -> None:
    assert (content.root() / "roles" / "base").is_dir()


def test_an_installed_package_has_its_content_inside(package: Path) -> None:
    fill(package / "_content")
    assert content.root() == package / "_content"


def test_content_beside_the_package_comes_first(package: Path) -> None:
    fill(package / "_content")
    fill(package.parent)
    assert content.root() == package.parent


def test_missing_content_is_told_with_the_way_to_get_it(package: Path) -> None:
    with pytest.raises(RequirementMissing) as caught:
        content.root()
    assert "pip install" in (caught.value.remedy or "")
