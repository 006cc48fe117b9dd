"""Run Terraform or OpenTofu: plan, apply what was shown, read what there is.

Everything of one testbed is in one folder (configuration, data, state, plan, logs); what the user has set for Terraform
elsewhere has no effect. Terraform runs in a session of its own and gets no Ctrl-C: a cancelled apply loses servers that
the cloud is about to make. It writes its events to a file, not to us, so that it ends well even when we are killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from xdc_testbed import content
from xdc_testbed.drivers.terraform_events import Diagnostic, Outcome, Planned, Reading, spoken
from xdc_testbed.errors import RequirementMissing, XdcError
from xdc_testbed.processes import Completed, finishing_first, follow_record, run
from xdc_testbed.progress import Event, Reporter, silent

MINIMUM = (1, 6)
PLAN_DEADLINE = 600.0
APPLY_DEADLINE = 3600.0
FULL_DISK = 1 << 20
"""With fewer bytes than these a disk counts as full: what failed to be written has left some behind."""

Backend = Literal["subprocess", "python-terraform"]


class TerraformFailed(XdcError):
    """Terraform did not do what it should; `outcome` says how far it came."""

    def __init__(self, message: str, outcome: Outcome, *, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.outcome = outcome


@dataclass(frozen=True)
class Engine:
    """Terraform or OpenTofu on this machine."""

    path: Path
    kind: Literal["terraform", "tofu"]
    version: str

    @property
    def release(self) -> tuple[int, int]:
        """The numbers that say what it can do: (1, 6)."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    @classmethod
    def find(cls, configured: str = "auto") -> Engine:
        """The engine that is configured (a name or a path), else XDC_TERRAFORM, else terraform or tofu of PATH.

        Of the two in PATH it is the first that is new enough. Raises RequirementMissing when there is none.
        """
        wanted = [configured if configured != "auto" else os.environ.get("XDC_TERRAFORM", "")]
        names = [name for name in wanted if name] or ["terraform", "tofu"]
        refused: list[RequirementMissing] = []
        for path in filter(None, map(shutil.which, names)):
            try:
                return cls.at(Path(path))
            except RequirementMissing as error:
                refused.append(error)
        if refused:
            raise refused[0]
        raise RequirementMissing(
            f"{' or '.join(names)} is not installed",
            remedy="install Terraform or OpenTofu, 1.6 or newer, or name it: openstack.terraform in testbed.toml",
        )

    @classmethod
    def at(cls, path: Path) -> Engine:
        """The engine that this program is. Raises RequirementMissing when it is none, or older than 1.6."""
        said = run([path, "version"], timeout=60, check=False, env=_clean())
        first = re.match(r"(Terraform|OpenTofu) v(\d+\.\d+\S*)", said.text)
        if first is None:
            raise RequirementMissing(
                f"{path} is neither Terraform nor OpenTofu: {said.reason}", remedy="name another: openstack.terraform"
            )
        engine = cls(path, "tofu" if first.group(1) == "OpenTofu" else "terraform", first.group(2))
        if engine.release < MINIMUM:
            raise RequirementMissing(
                f"{path} is version {engine.version}, needed: 1.6 or newer",
                remedy="install a newer Terraform or OpenTofu",
            )
        return engine


@dataclass(frozen=True)
class Workspace:
    """Where and with what Terraform works.

    source: folder that holds the configuration; it is copied, never written to. root: the root module below it.
    folder: gets everything else, mode 0700. mirror: folder that providers come from; None for the registry.
    environment: variables for the provider, such as OS_CLIENT_CONFIG_FILE.
    """

    source: Path
    root: str
    folder: Path
    mirror: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    launcher = property(lambda self: self.folder / "terraform")
    state = property(lambda self: self.folder / "terraform.tfstate")
    variables = property(lambda self: self.folder / "variables.tfvars.json")

    @classmethod
    def of_the_kit(cls, root: str, folder: Path, **rest: Any) -> Workspace:
        """A workspace for a root module of the kit's own."""
        return cls(content.root() / "terraform", root, folder, **rest)


@dataclass(frozen=True)
class Plan:
    """A saved plan. changes: what it would do; file: what `apply` takes."""

    changes: tuple[Planned, ...]
    file: Path
    destroy: bool

    @property
    def empty(self) -> bool:
        """Whether nothing would change."""
        return not self.changes


class Runs(Protocol):
    """How one command is run: the two backends differ in nothing else."""

    def __call__(
        self, launcher: Path, words: Sequence[str], *, timeout: float, record: Path, log: Path, on_line: OnLine
    ) -> Completed:
        """Run `launcher words`; standard output goes to record and, line by line, to on_line; errors to log."""
        ...


OnLine = Callable[[str], None]


class Terraform:
    """Terraform on one workspace."""

    def __init__(
        self,
        engine: Engine,
        workspace: Workspace,
        *,
        logs: Path,
        report: Reporter = silent,
        backend: Backend = "subprocess",
    ) -> None:
        self.engine, self.workspace, self._logs, self._report = engine, workspace, logs, report
        self._runs = _backend(backend)

    # -- verbs ------------------------------------------------------------------------------------------------------

    def prepare(self, variables: Mapping[str, Any]) -> None:
        """Lay out the folder and initialise it: again only when configuration, engine or provider have changed."""
        space = self.workspace
        space.folder.mkdir(parents=True, exist_ok=True)
        space.folder.chmod(0o700)
        self._logs.mkdir(parents=True, exist_ok=True)
        _write(space.variables, json.dumps(variables, indent=1, sort_keys=True))
        _write(space.folder / "cli.tfrc", cli_configuration(space.mirror))
        _write(space.launcher, self._launcher(), 0o700)
        stamp = space.folder / f"initialised-{self._fingerprint()}"
        if stamp.exists():
            return
        for old in space.folder.glob("initialised-*"):
            old.unlink()
        module = space.folder / "module"
        shutil.rmtree(module, ignore_errors=True)
        shutil.copytree(space.source, module, ignore=shutil.ignore_patterns(".terraform*", "tests", "provider"))
        backend = [f"-backend-config=path={space.state}"] if _has_backend(module / space.root) else []
        done = run([space.launcher, "init", "-input=false", "-no-color", *backend], timeout=PLAN_DEADLINE, check=False)
        with (self._logs / "terraform-init.log").open("ab") as log:
            log.write(done.stdout + done.stderr)
        if done.returncode != 0:
            raise self._init_failed(done)
        stamp.touch()

    def validate(self) -> None:
        """Check the configuration against the provider's schema. Raises TerraformFailed."""
        done = run([self.workspace.launcher, "validate", "-json"], timeout=PLAN_DEADLINE, check=False)
        said = json.loads(done.text or "{}")
        if not said.get("valid"):
            outcome = Outcome()
            for one in said.get("diagnostics", []):
                outcome.diagnostics.append(Diagnostic(one["severity"], one["summary"], one.get("detail", "")))
            raise self._failed("validate", done, outcome)

    def plan(self, *, destroy: bool = False) -> Plan:
        """Say what would be done, and save it. Raises TerraformFailed."""
        file = self.workspace.folder / ("destroy.tfplan" if destroy else "apply.tfplan")
        file.unlink(missing_ok=True)
        words = [*(["-destroy"] if destroy else []), "-detailed-exitcode", f"-var-file={self.workspace.variables}"]
        done, outcome = self._events("plan", *words, "-lock-timeout=60s", f"-out={file}", timeout=PLAN_DEADLINE)
        if done.returncode not in (0, 2):
            raise self._failed("plan", done, outcome)
        with contextlib.suppress(FileNotFoundError):
            file.chmod(0o600)
        changes = tuple(p for p in outcome.planned if p.action not in ("read", "keep")) if done.returncode == 2 else ()
        return Plan(changes, file, destroy)

    def apply(self, plan: Plan) -> Outcome:
        """Do what the plan says, to the end: the first Ctrl-C waits for it, a second one stops it.

        The saved plan goes afterwards: the user data of new servers is in it, and with it their host keys.
        Raises TerraformFailed, and Interrupted after Ctrl-C.
        """
        if plan.empty:
            return Outcome()

        def hold() -> None:
            text = "Ctrl-C: ends when Terraform has ended, so that nothing is lost; press it again to stop it now"
            self._report(Event("warning", text))

        try:
            with finishing_first(hold):
                done, outcome = self._events("apply", str(plan.file), "-lock-timeout=60s", timeout=APPLY_DEADLINE)
        finally:
            plan.file.unlink(missing_ok=True)
        if done.returncode != 0:
            raise self._failed("destroy" if plan.destroy else "apply", done, outcome)
        return outcome

    def output(self) -> dict[str, Any]:
        """Outputs of the last apply, by name; {} before the first."""
        done = run([self.workspace.launcher, "output", "-json", "-no-color"], timeout=60)
        return {name: one["value"] for name, one in json.loads(done.text or "{}").items()}

    def known(self) -> dict[str, str]:
        """What is in the state: address -> id in the cloud."""
        if not self.workspace.state.is_file():
            return {}
        return {str(one["address"]): str(one["values"].get("id", "")) for one in self._state_resources()}

    def evaluated(self, plan: Plan) -> dict[str, Any]:
        """Outputs that a plan already knows: all of them where there is no provider."""
        shown = json.loads(run([self.workspace.launcher, "show", "-json", plan.file], timeout=60).text)
        found = shown["planned_values"].get("outputs", {})
        return {name: one.get("value") for name, one in found.items()}

    # -- how --------------------------------------------------------------------------------------------------------

    def _events(self, verb: str, *words: str, timeout: float) -> tuple[Completed, Outcome]:
        flags = ["-json", "-input=false", "-no-color"]
        order = [verb, *flags, *(w for w in words if w.startswith("-")), *(w for w in words if not w.startswith("-"))]
        reading = Reading(self._report, verb)
        done = self._runs(
            self.workspace.launcher,
            order,
            timeout=timeout,
            record=self._logs / f"terraform-{verb}.jsonl",
            log=self._logs / "terraform.log",
            on_line=reading.line,
        )
        return done, reading.outcome

    def _state_resources(self) -> list[dict[str, Any]]:
        shown = json.loads(run([self.workspace.launcher, "show", "-json", "-no-color"], timeout=60).text)
        found: list[dict[str, Any]] = []

        def walk(module: Mapping[str, Any]) -> None:
            found.extend(one for one in module.get("resources", []) if one.get("mode") == "managed")
            for child in module.get("child_modules", []):
                walk(child)

        walk((shown.get("values") or {}).get("root_module", {}))
        return found

    def _failed(self, verb: str, done: Completed, outcome: Outcome) -> TerraformFailed:
        logs = f"every event: {self._logs}"
        if not outcome.errors and shutil.disk_usage(self._logs).free < FULL_DISK:  # so it could not say why
            message = f"{verb}: no space is left for {self._logs}"
            return TerraformFailed(message, outcome, remedy=f"make room; {logs}")
        if not outcome.errors:
            lost = f", with {len(outcome.in_flight)} things on their way" if outcome.in_flight else ""
            return TerraformFailed(f"{verb} ended with {done.returncode}{lost}: {done.reason}", outcome, remedy=logs)
        first = outcome.errors[0]
        if "state lock" in first.summary:
            return TerraformFailed(
                "another run of Terraform still works on this testbed",
                outcome,
                remedy=f"wait for it to end, then run the same command again; {logs}",
            )
        kind, name = _about(first.address)
        more = f" (and {len(outcome.errors) - 1} more)" if len(outcome.errors) > 1 else ""
        return TerraformFailed(f"{verb}: {kind}{name}{first.cause}{more}", outcome, remedy=logs)

    def _init_failed(self, done: Completed) -> XdcError:
        text = re.sub(r"[│╷╵]", " ", (done.stderr + done.stdout).decode(errors="replace"))
        said = " ".join(text.split())
        if any(word in said for word in ("Failed to query available provider packages", "Failed to install provider")):
            return RequirementMissing(
                f"the OpenStack provider is not in {self.workspace.mirror or 'the registry, or it cannot be reached'}",
                remedy="xdc-testbed provider build  makes it from its sources; or set openstack.provider_mirror",
            )
        reason = said.split("Error: ", 1)[-1][:300]
        remedy = f"full output: {self._logs}/terraform-init.log"
        return XdcError(f"{self.engine.kind} init failed: {reason}", remedy=remedy)

    def _fingerprint(self) -> str:
        space = self.workspace
        digest = hashlib.sha256(f"{self.engine.path}\0{self.engine.version}\0{space.mirror}\0{space.folder}".encode())
        files = [p for p in space.source.rglob("*") if p.is_file() and ".terraform" not in str(p)]
        for path in sorted([*files, *(space.mirror.rglob("*") if space.mirror else ())]):
            stat = path.stat()
            digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
            if path.suffix in (".tf", ".tftpl"):
                digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def _launcher(self) -> str:
        """A script that calls Terraform as the kit does; people may use it: STATE/terraform/terraform state list."""
        space = self.workspace
        settings = {
            "TF_CLI_CONFIG_FILE": str(space.folder / "cli.tfrc"),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            # OpenTofu 1.6 else shows a state as if its provider came from another registry, and then misses it.
            "OPENTOFU_STATEFILE_PROVIDER_ADDRESS_TRANSLATION": "0",
            **space.environment,
        }
        return "\n".join(
            [
                "#!/bin/sh",
                "# Terraform on this testbed, as xdc-testbed calls it; the user's own TF_* and TOFU_* have no effect.",
                'for name in $(env | sed -En "s/^((TF|TOFU)_[A-Za-z0-9_]*)=.*/\\1/p"); do unset "$name"; done',
                *(f"export {name}={shlex.quote(value)}" for name, value in settings.items()),
                f"cd {shlex.quote(str(space.folder / 'module' / space.root))}",
                f"echo $$ > {shlex.quote(str(space.folder / 'process'))}",
                f'exec {shlex.quote(str(self.engine.path))} "$@"',
                "",
            ]
        )


def cli_configuration(mirror: Path | None) -> str:
    """Terraform's own settings: no call home, and providers from the mirror where one is given."""
    if mirror is None:
        return "disable_checkpoint = true\n"
    return (
        "disable_checkpoint = true\n"
        "provider_installation {\n"
        "  filesystem_mirror {\n"
        f"    path    = {json.dumps(str(mirror))}\n"
        '    include = ["registry.terraform.io/*/*"]\n'
        "  }\n"
        "  direct {\n"
        '    exclude = ["registry.terraform.io/*/*"]\n'
        "  }\n"
        "}\n"
    )


def _about(address: str | None) -> tuple[str, str]:
    """Beginning of a message about a resource: ("server ", "node1: "), or nothing."""
    if address is None:
        return "", ""
    kind, name = spoken(address)
    return f"{kind} ", f"{name}: "


def _backend(name: Backend) -> Runs:
    if name == "python-terraform":
        from xdc_testbed.drivers.terraform_library import run_by_library

        return run_by_library
    return _run_by_subprocess


def _run_by_subprocess(
    launcher: Path, words: Sequence[str], *, timeout: float, record: Path, log: Path, on_line: OnLine
) -> Completed:
    return follow_record([launcher, *words], timeout=timeout, record=record, on_line=on_line, log_file=log)


def _has_backend(module: Path) -> bool:
    return any(re.search(r'^\s*backend\s+"local"', path.read_text(), re.MULTILINE) for path in module.glob("*.tf"))


def _clean() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "TOFU_"))}
    return kept | {"CHECKPOINT_DISABLE": "1"}


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file whole or not at all, readable by its owner only; an unchanged one is left alone."""
    if path.is_file() and path.read_text() == text:
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as handle:
        handle.write(text)
    partial.replace(path)
