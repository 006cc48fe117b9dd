"""Another engine than the one that has begun: a testbed outlives an upgrade, and a change to OpenTofu and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import terraform_engine

from xdc_testbed.drivers.terraform import Engine, Terraform, Workspace

MODULE = Path(__file__).parent / "module"


@pytest.mark.long
@pytest.mark.parametrize("other", terraform_engine.EDGES, ids="-".join)
def test_what_one_engine_has_made_another_changes_and_removes(
    engine: Engine, other: tuple[str, str], tmp_path: Path
) -> None:
    space = Workspace(MODULE, ".", tmp_path / "state")

    def prepared(by: Engine, **variables: object) -> Terraform:
        runner = Terraform(by, space, logs=tmp_path / "logs")
        runner.prepare(variables)
        return runner

    first = prepared(engine)
    first.apply(first.plan())
    second = prepared(terraform_engine.built(*other))
    assert second.plan().empty
    changed = prepared(terraform_engine.built(*other), words={"a": "other"})
    changed.apply(changed.plan())
    back = prepared(engine, words={"a": "other"})
    assert back.plan().empty
    back.apply(back.plan(destroy=True))
    assert back.known() == {}


@pytest.mark.long
@pytest.mark.parametrize("other", terraform_engine.EDGES, ids="-".join)
def test_the_provider_is_taken_anew_when_the_engine_changes(
    engine: Engine, other: tuple[str, str], mirror: Path, tmp_path: Path
) -> None:
    space = Workspace.of_the_kit("openstack", tmp_path / "state", mirror=mirror)
    for one in (engine, terraform_engine.built(*other), engine):
        runner = Terraform(one, space, logs=tmp_path / "logs")
        runner.prepare({})
        runner.validate()
