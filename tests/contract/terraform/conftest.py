"""The engines, and a workspace for the configuration without a cloud."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import terraform_engine

from xdc_testbed.drivers import provider
from xdc_testbed.drivers.terraform import Backend, Engine, Terraform, Workspace
from xdc_testbed.progress import Event, silent

MODULE = Path(__file__).parent / "module"


@pytest.fixture(
    scope="session",
    params=[None, *(pytest.param(edge, marks=pytest.mark.long) for edge in terraform_engine.EDGES)],
    ids=["found", *("-".join(edge) for edge in terraform_engine.EDGES)],
)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The Terraform or OpenTofu that is found here; in long tests also each of those that are built."""
    if request.param is None:
        return terraform_engine.find(tmp_path_factory.mktemp("engine"))
    return terraform_engine.built(*request.param)


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The provider, built once per machine and kept outside the checkout."""
    provider.build(provider.default_mirror(), silent)
    return provider.default_mirror()


@pytest.fixture(params=["subprocess", "python-terraform"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Both ways to run it, held to the same promises."""
    name: Backend = request.param
    return name


@pytest.fixture
def said() -> list[Event]:
    """What the reporter was told."""
    return []


@pytest.fixture
def terraform(engine: Engine, backend: Backend, tmp_path: Path, said: list[Event]) -> Callable[..., Terraform]:
    """Terraform on a fresh state folder, prepared with the given variables; the same folder each time."""

    def prepared(**variables: object) -> Terraform:
        space = Workspace(MODULE, ".", tmp_path / "state")
        runner = Terraform(engine, space, logs=tmp_path / "logs", report=said.append, backend=backend)
        runner.prepare(variables)
        return runner

    return prepared
