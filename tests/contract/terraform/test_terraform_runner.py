"""What every way to run Terraform must do: seen on a configuration that needs no cloud."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from xdc_testbed.drivers.terraform import Engine, Terraform, TerraformFailed, Workspace
from xdc_testbed.errors import Interrupted
from xdc_testbed.progress import Event

Prepared = Callable[..., Terraform]
MODULE = Path(__file__).parent / "module"


def test_apply_does_what_the_plan_says_and_a_second_plan_is_empty(terraform: Prepared, said: list[Event]) -> None:
    runner = terraform()
    runner.validate()
    plan = runner.plan()
    assert sorted((c.action, c.name) for c in plan.changes) == [("create", "a"), ("create", "b"), ("create", "guarded")]
    done = runner.apply(plan)
    assert set(done.completed) == {change.address for change in plan.changes}
    assert runner.output() == {"words": {"a": "one", "b": "two"}}
    assert set(runner.known()) == {change.address for change in plan.changes}
    assert [e.text for e in said if e.kind == "step"][-1] == "terraform data guarded created"
    again = runner.plan()
    assert again.empty
    assert runner.apply(again).started == {}


def test_a_failure_names_the_resource_and_the_cause_and_the_next_apply_resumes(
    terraform: Prepared, said: list[Event]
) -> None:
    runner = terraform(broken=True)
    with pytest.raises(TerraformFailed, match="guarded: local-exec provisioner error") as failure:
        runner.apply(runner.plan())
    assert failure.value.outcome.errors[0].address == "terraform_data.guarded"
    assert failure.value.outcome.in_flight == []
    assert [e.text for e in said if e.status == "failed"] == ["terraform data guarded failed"]
    runner = terraform(broken=False)
    plan = runner.plan()
    assert [(change.action, change.name) for change in plan.changes] == [("replace", "guarded")]
    runner.apply(plan)
    assert runner.plan().empty


def test_a_plan_made_before_something_else_changed_is_refused(terraform: Prepared) -> None:
    runner = terraform()
    stale = runner.plan()
    fresh = terraform(words={"a": "one"})
    kept = stale.file.rename(stale.file.with_name("stale"))
    fresh.apply(fresh.plan())
    with pytest.raises(TerraformFailed, match="stale"):
        runner.apply(type(stale)(stale.changes, kept, destroy=False))


def test_destroy_removes_everything_and_is_empty_the_second_time(terraform: Prepared) -> None:
    runner = terraform()
    runner.apply(runner.plan())
    plan = runner.plan(destroy=True)
    assert {change.action for change in plan.changes} == {"remove"}
    runner.apply(plan)
    assert runner.known() == {}
    assert runner.plan(destroy=True).empty


def test_the_first_ctrl_c_waits_until_terraform_has_ended(
    terraform: Prepared, said: list[Event], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    runner = terraform(gate=str(gate))
    plan = runner.plan()
    helper = threading.Thread(target=_press, args=(gate, 1))
    helper.start()
    with pytest.raises(Interrupted):
        runner.apply(plan)
    helper.join()
    assert f'terraform_data.slow["{gate}"]' in runner.known()
    assert any(event.kind == "warning" and "Ctrl-C" in event.text for event in said)
    assert runner.plan().empty


def test_the_second_ctrl_c_stops_terraform(terraform: Prepared, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    runner = terraform(gate=str(gate))
    plan = runner.plan()
    helper = threading.Thread(target=_press, args=(gate, 2))
    helper.start()
    with pytest.raises(Interrupted, match="twice"):
        runner.apply(plan)
    helper.join()
    process = int((tmp_path / "state" / "process").read_text())
    assert not Path(f"/proc/{process}").exists()
    gate.with_name("gate.open").touch()
    runner.apply(runner.plan())
    assert f'terraform_data.slow["{gate}"]' in runner.known()


def test_terraform_ends_well_when_the_kit_is_killed(engine: Engine, tmp_path: Path) -> None:
    """By the kit's own way only: the library holds a pipe to it."""
    gate = tmp_path / "gate"
    space = Workspace(MODULE, ".", tmp_path / "state")
    runner = Terraform(engine, space, logs=tmp_path / "logs")
    runner.prepare({"gate": str(gate)})
    runner.plan()
    code = (
        "from pathlib import Path; from xdc_testbed.drivers.terraform import *; "
        f"space = Workspace(Path({str(MODULE)!r}), '.', Path({str(space.folder)!r})); "
        f"runner = Terraform(Engine.find({str(engine.path)!r}), space, logs=Path({str(tmp_path / 'logs')!r})); "
        "runner.apply(runner.plan())"
    )
    kit = subprocess.Popen([sys.executable, "-c", code])
    try:
        _until(gate.exists)
    finally:
        kit.kill()
        kit.wait(10)
    process = Path("/proc", (space.folder / "process").read_text().strip())
    assert process.exists()
    gate.with_name("gate.open").touch()
    _until(lambda: not process.exists() or "Z" in (process / "stat").read_text())
    assert f'terraform_data.slow["{gate}"]' in runner.known()
    assert runner.plan().empty


def test_the_users_own_settings_have_no_effect(
    terraform: Prepared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("TF_VAR_broken", "true")
    monkeypatch.setenv("TF_DATA_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("TF_CLI_ARGS", "-nonsense")
    monkeypatch.setenv("TOFU_CPU_PROFILE", str(tmp_path / "profile"))
    runner = terraform()
    runner.apply(runner.plan())
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "profile").exists()
    assert "absent" not in "".join(path.read_text() for path in (tmp_path / "logs").iterdir())


def test_everything_private_is_readable_by_its_owner_only(terraform: Prepared, tmp_path: Path) -> None:
    runner = terraform(words={"a": "said to nobody"})
    plan = runner.plan()
    folder = tmp_path / "state"
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    for name in ("variables.tfvars.json", "apply.tfplan"):
        assert oct((folder / name).stat().st_mode & 0o777) == "0o600", name
    runner.apply(plan)
    assert not plan.file.exists()


def _press(gate: Path, times: int) -> None:
    """Press Ctrl-C when the slow resource has begun; after a single one, let it end."""
    _until(gate.exists)
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
    if times == 1:
        gate.with_name("gate.open").touch()


def _until(true: Callable[[], bool]) -> None:
    """Wait until it is so, at most a minute."""
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)
