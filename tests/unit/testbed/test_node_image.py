"""The names of the node image's layers: they follow exactly what is baked in."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import ANY, Mock

import pytest

from xdc_testbed import content
from xdc_testbed.drivers.engine import Engine
from xdc_testbed.errors import XdcError
from xdc_testbed.progress import silent
from xdc_testbed.testbed import image
from xdc_testbed.testbed.description import load


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the kit's content that a test may change."""
    real = content.root()
    for name in ("inventory", "playbooks", "roles"):
        shutil.copytree(real / name, tmp_path / name)
    monkeypatch.setattr(content, "root", lambda: tmp_path)
    return tmp_path


def append(path: Path) -> None:
    """Change a file."""
    path.write_text(path.read_text() + "\n# changed\n")


@pytest.mark.parametrize("file", ["roles/base/tasks/install.yml", "inventory/versions.yml", "playbooks/image.yml"])
def test_a_change_of_what_is_installed_gives_a_new_node_image(root: Path, file: str) -> None:
    before = image.node_tag(), image.base_tag()
    append(root / file)
    assert image.node_tag() != before[0]
    assert image.base_tag() == before[1]


@pytest.mark.parametrize("file", ["roles/base/tasks/configure.yml", "playbooks/site.yml", "inventory/groups.yml"])
def test_a_change_of_what_is_configured_keeps_the_node_image(root: Path, file: str) -> None:
    before = image.node_tag()
    append(root / file)
    assert image.node_tag() == before


def test_a_new_package_of_the_base_gives_new_layers(root: Path) -> None:
    before = image.node_tag(), image.base_tag()
    packages = root / "inventory" / "node-packages.txt"
    packages.write_text(packages.read_text() + "\nstrace\n")
    assert image.base_tag() != before[1]
    assert image.node_tag() != before[0]


def test_comments_in_the_list_of_packages_are_no_packages(root: Path) -> None:
    before = image.node_packages()
    packages = root / "inventory" / "node-packages.txt"
    packages.write_text("# a remark\n\n" + packages.read_text())
    assert image.node_packages() == before
    assert "openssh-server" in before


@pytest.mark.parametrize(("role", "changed"), [("openstack", "cloud"), ("kafka", "node")])
def test_an_image_follows_the_roles_of_its_groups_only(root: Path, role: str, changed: str) -> None:
    before = {kind: image.node_tag(kind) for kind in image.kinds()}
    append(root / "roles" / role / "tasks" / "install.yml")
    assert [kind for kind in before if image.node_tag(kind) != before[kind]] == [changed]


def test_an_image_whose_roles_were_changed_while_it_was_baked_is_not_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "_bake", lambda *_: append(root / "roles" / "kit" / "tasks" / "install.yml"))
    monkeypatch.setattr(image, "exists", lambda _, tag: tag == image.base_tag())
    engine = Mock(spec=Engine)
    before = image.node_tag()
    with pytest.raises(XdcError, match="changed while their image was baked"):
        image.ensure(
            load(profile="minimal", environ={}).description, engine, state_base=tmp_path / "state", report=silent
        )
    engine.run.assert_called_once_with("rmi", before, timeout=ANY)


def test_what_every_node_has_is_in_every_image(root: Path) -> None:
    before = {kind: image.node_tag(kind) for kind in image.kinds()}
    append(root / "roles" / "kit" / "tasks" / "install.yml")
    assert [kind for kind in before if image.node_tag(kind) == before[kind]] == []


def test_a_node_is_made_from_the_image_of_its_groups() -> None:
    assert image.kind_of(["kafka", "client"]) == "node"
    assert image.kind_of(["openstack"]) == "cloud"
    assert image.kind_of([]) == "node"
