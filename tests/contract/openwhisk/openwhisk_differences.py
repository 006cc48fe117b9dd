"""Where the emulator is known to answer otherwise than the product, and which captures are not
replayed; with reasons."""

from __future__ import annotations

_LABEL = "the emulator says in its build information that it is one"
_KINDS = "the emulator runs Python only, and names no kind that it cannot run"
_LOGS = (
    "the standalone product reads stdout only and without its name; the emulator gives the form of all other "
    "deployments, `<time> stdout: text`, with stderr, so that tracebacks are seen"
)
_SHELL = "the product starts its launcher by a shell, which leaves PWD, OLDPWD and SHLVL, in an image with a name"

DIFFERENT: dict[str, str] = {
    "002-root": _KINDS,
    "003-api-v1": _LABEL,
    "006-docs": "no Swagger pages",
    "008-api-v1-slash": _LABEL,
    "014-invokers-ready": "no invokers apart from the controller, so no path for their health",
    "053-put-unknown-kind": _KINDS,
    "081-print-logs-record": _LOGS,
    "082-print-logs-logs": _LOGS,
    "097-env": _SHELL,
    "098-provide-api-key-env": _SHELL,
    "19e-log-flood-logs": _LOGS,
    "1bf-raise-record": _LOGS,
}

_DOCKER = "what docker reports about a container has no counterpart; see test_openwhisk_process.py for memory"

NOT_REPLAYED: dict[str, str] = {
    "07d-oom-result": _DOCKER,
    "108-list-count": "counts all that had run before; see test_openwhisk_contract.py for counts",
    "181-run-fails-127": _DOCKER,
    "186-no-server": _DOCKER,
}
