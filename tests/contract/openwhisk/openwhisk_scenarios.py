"""In which order the captures were made, and what happened in between without being captured.

A scenario is one life of the service: its settings, and steps that are names of captures or preparations.
"""

from __future__ import annotations

import base64
import io
import os
import signal
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openwhisk_captures import BEHAVE
from openwhisk_emulator import Emulator, alive, until
from openwhisk_requests import Prepare, put, send

_KIND = "python:3.11"


@dataclass(frozen=True)
class Do:
    """Something other than a request."""

    act: Callable[[Emulator], None]


@dataclass(frozen=True)
class Now:
    """A moment, which captures know by its epoch milliseconds."""

    captured: str


@dataclass(frozen=True)
class Meanwhile:
    """A capture during which something happens."""

    capture: str
    act: Callable[[Emulator], None]


@dataclass(frozen=True)
class Scenario:
    """One life of the service."""

    steps: tuple[str | Prepare | Do | Now | Meanwhile, ...]
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)


def action(name: str, code: str = BEHAVE, *, overwrite: bool = False, **more: Any) -> Prepare:
    """PUT of a Python action. more: further fields of the body."""
    body = {"exec": {"kind": _KIND, "code": code}, **more}
    return Prepare("PUT", f"actions/{name}" + ("?overwrite=true" if overwrite else ""), body)


def invoke(name: str, body: Any, *, binds: str | None = None, blocking: bool = True) -> Prepare:
    """POST to an action."""
    return Prepare("POST", f"actions/{name}" + ("?blocking=true" if blocking else ""), body, binds)


def blackbox(name: str, image: str, code: str = BEHAVE, **more: Any) -> Prepare:
    """PUT of an action with its own image."""
    body = {"exec": {"kind": "blackbox", "image": image, "code": code}, **more}
    return Prepare("PUT", f"actions/{name}", body)


def parameters(**values: Any) -> list[dict[str, Any]]:
    """As the API has them."""
    return [{"key": key, "value": value} for key, value in values.items()]


def exec_zip() -> str:
    """An archive with an executable that speaks the actionloop protocol and echoes the line that it
    was given."""
    program = """#!{python}
import json, os, sys
out = os.fdopen(3, "wb")
out.write(b'{{"ok":true}}\\n'); out.flush()
for line in sys.stdin.buffer:
    env = {{k: v for k, v in os.environ.items() if k.startswith("__OW")}}
    out.write(json.dumps({{"seen_run": json.loads(line), "init_env": env}}).encode() + b"\\n"); out.flush()
"""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("exec")
        entry.external_attr = 0o755 << 16
        archive.writestr(entry, program.format(python=os.path.realpath("/proc/self/exe")))
    return base64.b64encode(buffer.getvalue()).decode()


def kill_proxies(emulator: Emulator) -> None:
    """End all action proxies, as if their machine had failed."""
    proxies = emulator.proxies()
    for pid in proxies:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in proxies), "the end of the proxies")


def kill_during_run(emulator: Emulator) -> None:
    """End the action proxies once the action of `marking` is running."""
    marker = emulator.folder / "running"
    until(marker.exists, "the start of the action")
    marker.unlink()
    kill_proxies(emulator)


def marking(folder: Path) -> str:
    """The action `behave`, which says in a file that it has started to sleep."""
    start = f"open({str(folder / 'running')!r}, 'w').close(); "
    return BEHAVE.replace('if op == "sleep": ', f'if op == "sleep": {start}')


_RAISED = {"limits": {"invocations_per_minute": 6000, "fires_per_minute": 6000, "concurrent_invocations": 100}}
_POOL = {"pool": {"memory": 4096}}
_EXEC = exec_zip()

DEFAULTS = Scenario(
    (
        *("001-default-limits", "002-root", "003-api-v1", "004-ping", "006-docs", "007-unknown-path"),
        *("008-api-v1-slash", "009-options-cors", "013-head-namespaces", "014-invokers-ready", "020-no-auth"),
        *("021-bad-scheme", "022-malformed-basic", "024-wrong-key", "025-unknown-uuid", "026-invoke-no-auth"),
        *("027-short-key", "028-foreign-namespace-list", "029-foreign-namespace-put", "02b-foreign-activations"),
        *("030-namespaces", "032-namespace-default", "034-limits-foreign", "035-namespaces-post"),
    )
)

ENTITIES = Scenario(
    (
        action("behave"),
        *("042-put-overwrite", "043-get-action", "044-get-action-nocode", "045-get-missing", "047-list-count"),
        *("049-list-limit-201", "04a-list-limit-neg", "04b-list-limit-0", "04d-list-limit-text"),
        *("04e-list-skip-beyond", "050-put-bad-json", "052-put-empty-body", "053-put-unknown-kind"),
        *("054-put-no-code", "055-put-kind-default", "056-put-array-body", "057-put-text-content-type"),
        *("058a-limit-timeout-50", "058b-limit-timeout-300001", "058c-limit-memory-64"),
        *("058d-limit-memory-1024", "058g-limit-timeout-x", "058h-limit-instances-0", "058i-limit-foo-1"),
        *("05b-put-params-object", "05c-put-params-too-big", "05d-bad-name", "05e-bad-name-at", "05f-long-name"),
        *("05h-put-missing-package", "05i-post-to-collection", "05j-patch", "05k-three-segments"),
        *("05l-code-too-large-413", "05n-publish-true", "05p-sequence", "05q-sequence-missing"),
        *("05r-sequence-self-other-error", "05s-blackbox"),
        action("fresh"),
        *("05v-delete", "05w-delete-missing"),
        Prepare("PUT", "actions/b7?overwrite=true", {"parameters": parameters(q={"z": 1})}),
        "05y-delannotations",
    ),
    _RAISED,
)

ACTIVATIONS = Scenario(
    (
        action("inv", parameters=parameters(p=1), limits={"timeout": 3000, "memory": 128}),
        action("behave"),
        action("b7"),
        action("b7", overwrite=True, annotations=parameters(**{"final": True, "provide-api-key": True})),
        Prepare("PUT", "actions/seq", {"exec": {"kind": "sequence", "components": ["/_/behave", "/_/b7"]}}),
        action("b3", ""),
        *("060-invoke-cold-blocking", "061-invoke-warm-blocking", "062-invoke-blocking-result"),
        invoke("inv", {"a": 1}, binds="aa0a9c9adee64f808a9c9adee6bf8095", blocking=False),
        *("067-get-logs", "068-invoke-nonblocking-result-true", "069-invoke-no-body", "06a-invoke-empty-object"),
        *("06b-invoke-array-body", "06c-invoke-string-body", "06d-invoke-bad-json", "06e-invoke-number-body"),
        *("06f-invoke-null-body", "06g-invoke-text-content-type", "06h-invoke-nan-in-body"),
        *("06i-invoke-missing", "06k-blocking-True", "06l-unicode", "06n-dup-keys", "070-error-blocking"),
        *("071-error-object-result", "072-error-null-blocking", "072-error-null-result"),
        *("073-raise-blocking", "073-raise-result", "075-array-blocking", "075-array-result"),
        *("077-int-result", "078-str-blocking", "078-str-result", "079-nan-blocking", "079-nan-result"),
        *("07a-set-blocking", "07a-set-result", "07b-exit-blocking", "07b-exit-result"),
        *("07c-killproxy-result", "07e-warm-after-failure"),
        invoke("inv", {"op": "print"}, binds="c2e632ab95af4876a632ab95af8876c8"),
        *("081-print-logs-record", "082-print-logs-logs", "083-timeout-action", "085-after-timeout"),
        *("087-timeout-param-too-big", "088-timeout-param-zero", "089-timeout-param-text"),
        *("090-payload-1MB-minus", "091-payload-over-1MB", "092-payload-3MB", "094-result-over-1MB"),
        *("095-result-3MB", "097-env", "098-provide-api-key-env", "09a-sequence", "09b-sequence-error"),
        *("09c-sequence-result", "09d-import-error", "09f-syntax-error", "09h-no-main"),
        *("09j-empty-code-invoke", "09k-main-other", "09l-main-other-invoke", "09m-slow-init"),
        *("09n-slow-init-invoke", "09o-init-timeout", "09p-init-timeout-invoke"),
        Prepare("PUT", "packages/pk", {}),
        action("pk/act"),
        Now("1795471308238"),
        *(invoke("pk/act", {"i": number}) for number in range(3)),
        Now("1795471309607"),
        *(invoke("inv", {"i": number}) for number in range(2)),
        *("100-list-activations", "102-list-name", "103-list-name-pkg", "104-list-name-act-only"),
        *("105-list-since", "106-list-upto", "107-list-docs", "10a-limit-201", "10b-limit-0"),
        *("10e-since-text", "10f-name-missing"),
        *("10d-since-after-upto", "10g-name-three", "10i-list-name-fq", "110-get-unknown-id"),
        *("111-get-short-id", "112-get-nonhex-id", "113-result-unknown", "114-logs-unknown"),
        *("115-unknown-sub", "116-delete-activation", "117-post-activations", "118-long-id"),
        *("120-put-trigger", "121-put-trigger-again"),
        Prepare("PUT", "triggers/t1?overwrite=true", {"parameters": parameters(tp=2)}),
        *("123-put-trigger-empty-body", "124-get-trigger", "126-fire-no-rule", "127-fire-missing"),
        *("128-trigger-name-of-action", "129-action-name-of-trigger", "12a-get-trigger-missing"),
        *("12b-list-triggers-count", "12c-delete-trigger-as-action"),
        Prepare("PUT", "rules/r1", {"trigger": "/_/t1", "action": "/_/pk/act"}),
        *("132-rule-no-trigger", "133-rule-no-action", "135-rule-short-names", "136-rule-guest-names"),
        *("137-get-rule", "138-list-rules", "139-get-trigger-with-rules", "140-fire-two-rules"),
        *("141-trigger-activation", "142-rule-action-activation-0", "143-trigger-activation-logs"),
        *("144-trigger-activation-result", "145-disable-rule", "147-bad-status", "148-status-missing"),
        *("149-rule-inactive-get", "14a-fire-one-active", "14c-disable-r2", "14d-fire-all-inactive"),
        *("14e-enable", "14f-enable-missing", "150-fire-array", "152-fire-bad-json", "153-fire-no-body"),
        *("154-fire-too-large", "155-fire-near-1MB", "156-record-near-1MB"),
        *("157-delete-action-used-by-rule", "158-get-rule-action-gone", "159-fire-action-gone"),
        "15a-record-action-gone",
        Prepare("DELETE", "triggers/t1"),
        *("15d-get-rule-trigger-gone", "15e-disable-rule-trigger-gone", "15e2-enable-rule-trigger-gone"),
        *("15f-delete-rule", "15g-delete-rule-missing"),
        Prepare("PUT", "triggers/t1", {}),
        *("15h-trigger-recreated-rule-r2", "15i-fire-recreated", "15j-delete-trigger-missing"),
        *("15k-delete-active-rule-setup", "15l-delete-active-rule", "15m-rule-create-inactive"),
        *("15n-rule-update-keeps", "15o-rule-update-partial"),
        action("pk/act"),
        Prepare("PUT", "triggers/t0", {}),
        "15n-rule-update-trigger",
        Prepare("DELETE", "rules/r4"),
        *("160-rule-failing", "161-fire-failing", "162-record-failing", "170-put-package", "171-put-again"),
        "173-get-package",
        action("p1/a", parameters=parameters(b="act")),
        *("174-get-package-with-action", "175-list-packages", "176-invoke-in-package"),
        *("177-get-action-in-package", "178-list-actions-in-package", "179-list-actions-all", "17a-bind"),
        *("17b-get-binding", "17c-invoke-via-binding", "17d-bind-missing", "17f-bind-to-binding"),
        *("17g-delete-nonempty", "17h-delete-binding", "17i-other-get-private", "17j-publish"),
        *("17l-other-invoke-public", "17m-other-list-public", "17n-other-bind", "17o-other-delete"),
        *("17p-delete-force", "17q-get-action-after-force", "17r-delete-missing", "17s-delete-empty"),
        *("17t-other-binding-dangling", "17u-package-name-of-action", "17v-put-default-name"),
        "17w-get-package-missing",
        blackbox("c180", "x/run125:1", limits={"timeout": 3000}),
        blackbox("c182", "x/run1:1", limits={"timeout": 3000}),
        blackbox("c183", "x/nopull", limits={"timeout": 3000}),
        blackbox("c184", "x/nopull:1", limits={"timeout": 3000}),
        blackbox("c185", "x/noinspect:1", limits={"timeout": 3000}),
        *("180-run-fails-125", "182-run-fails-other", "183-pull-fails-latest"),
        *("184-pull-fails-tag-run-ok", "185-no-inspect"),
        *("192-put-python-zip", "193-invoke-python-zip", "194-get-python-zip"),
        *("195-put-zip-without-binary", "196-invoke-zip-without-binary", "199-request-id-sent"),
        action("nolog", limits={"logs": 0}),
        *("19b-logs-limit-0", "19c-logs-limit-0-logs", "19d-log-flood", "19e-log-flood-logs"),
        action("sl"),
        *("1a1-after-pause", "1a2-warm-again"),
    ),
    _RAISED | _POOL | {"images": {"x/nopull:1": os.path.realpath("/proc/self/exe")}},
)

EXACT_LINES = Scenario(
    (
        blackbox("ez", "x/exec:1", _EXEC),
        blackbox("key", "x/exec:1", _EXEC, annotations=parameters(**{"provide-api-key": True})),
        blackbox(
            "initp",
            "x/exec:1",
            _EXEC,
            parameters=[{"key": "SECRET", "value": "s", "init": True}, {"key": "plain", "value": 2}],
        ),
        *("191-invoke-exec-zip", "197-invoke-provide-api-key", "198-invoke-init-params"),
        Prepare("PUT", "triggers/th", {}),
        Prepare("PUT", "rules/rh", {"trigger": "/_/th", "action": "/_/ez"}),
        Do(kill_proxies),
        *("19a-request-id-invoke", "19f-fire-headers", "19g-fire-headers-trigger-record"),
        "1a7-two-requests-keepalive-pipelining-na",
        Prepare("PUT", "triggers/t", {}),
        Prepare("PUT", "rules/r", {"trigger": "/_/t", "action": "/_/ez"}),
        Prepare("POST", "triggers/t", {}),
        "10k-list-trigger-entry",
    ),
    _RAISED | {"images": {"x/exec:1": os.path.realpath("/proc/self/exe")}},
)

RATES = Scenario(
    (
        "220-limits-rate5",
        action("a"),
        Prepare("PUT", "triggers/t", {}),
        Prepare("PUT", "rules/r", {"trigger": "/_/t", "action": "/_/a"}),
        *(invoke("a", {}) for _ in range(4)),
        *("221-invoke-5-of-minute", "221-invoke-6-of-minute", "222-invoke-nonblocking-throttled"),
        *("223-get-still-works", "224-fire-1-of-minute"),
        Prepare("POST", "triggers/t", {}, binds="946fb7accfc94ce7afb7accfc91ce774"),
        "225-trigger-record-action-throttled",
        Prepare("POST", "triggers/t", {}),
        *("226-fire-throttled", "227-put-not-throttled", "228-missing-action-throttled"),
    ),
    {"limits": {"invocations_per_minute": 5, "fires_per_minute": 3}},
)

CONCURRENT = Scenario(
    (
        "230-limits-conc2",
        action("a"),
        Prepare("PUT", "triggers/t", {}),
        Prepare("PUT", "rules/r", {"trigger": "/_/t", "action": "/_/a"}),
        invoke("a", {"op": "sleep", "s": 1.5}, binds="a" * 32, blocking=False),
        invoke("a", {"op": "sleep", "s": 1.5}, binds="b" * 32, blocking=False),
        *("231-concurrent-throttled", "232-concurrent-throttled-nonblocking", "233-fire-concurrent"),
        "234-trigger-record",
        Prepare("GET", f"activations/{'a' * 32}"),
        Prepare("GET", f"activations/{'b' * 32}"),
        "235-after",
    ),
    {"limits": {"invocations_per_minute": 1000, "fires_per_minute": 1000, "concurrent_invocations": 2}},
)

UPDATES = Scenario(
    (
        action("v", limits={"timeout": 4000, "memory": 128}),
        invoke("v", {"op": "array"}, binds="9fe6098c5ac64bfba6098c5ac60bfbf9"),
        *("1b1-array-record", "1b2-array-result", "1b3-update-limits-partial", "1b4-first-call-after-update"),
        "1b5-update-params-null",
        Prepare("PUT", "actions/sq", {"exec": {"kind": "sequence", "components": ["/_/v", "/_/v"]}}),
        *("1b6-sequence-blocking", "1b7-sequence-record", "1b9-sequence-second-fails-nonblocking"),
        *("1ba-sequence-failed-record", "1be-raise-nonblocking", "1bf-raise-record"),
        *("1bg-list-entry-of-error", "1bh-lowercase-basic", "1bi-invoke-query-params"),
        *("1bj-explicit-namespace", "1bl-no-content-type", "1bm-name-url-encoded-slash", "1bn-trailing-slash"),
    ),
    _RAISED,
)


# The wait is a minute in the product's settings; half a second tells the same.
LONG = Scenario(
    (
        action("long", limits={"timeout": 120000}),
        *("1a4-blocking-over-60s", "1a5-record-of-it"),
    ),
    {"limits": {"blocking_wait": 500}, "pool": {"stop": 0.1}},
)


def _put_marking(emulator: Emulator) -> None:
    body = {"exec": {"kind": _KIND, "code": marking(emulator.folder)}, "limits": {"timeout": 5000, "memory": 128}}
    put(emulator, "actions/w", body)


def _invoke_w(emulator: Emulator) -> None:
    send(emulator, Prepare("POST", "actions/w?blocking=true", {}))


def containers(*, rerun: bool) -> Scenario:
    """The captures of dying containers, of the standalone product (rerun) or of the others."""
    if rerun:
        steps: tuple[Any, ...] = (
            *(Do(_put_marking), Do(_invoke_w), Do(kill_proxies)),
            *("1c0-warm-container-died-idle", "1c1-call-after-that"),
            *(Do(kill_proxies), "1c4-paused-container-died"),
            Meanwhile("1c5-container-killed-during-run", kill_during_run),
        )
    else:
        steps = (
            *(Do(_put_marking), Do(_invoke_w)),
            Meanwhile("1c6-killed-during-run-retry-off", kill_during_run),
            *(Do(_invoke_w), Do(kill_proxies), "1c7-warm-died-idle-retry-off"),
        )
    return Scenario(steps, _RAISED | {"pool": {"rerun_lost": rerun}})


SCENARIOS = {
    "defaults": DEFAULTS,
    "entities": ENTITIES,
    "activations": ACTIVATIONS,
    "exact-lines": EXACT_LINES,
    "rates": RATES,
    "concurrent": CONCURRENT,
    "updates": UPDATES,
    "long": LONG,
    "containers-rerun": containers(rerun=True),
    "containers": containers(rerun=False),
}


def captures(scenario: Scenario) -> list[str]:
    """The captures that a scenario replays."""
    names = []
    for step in scenario.steps:
        if isinstance(step, str):
            names.append(step)
        elif isinstance(step, Meanwhile):
            names.append(step.capture)
    return names
