"""Which storage classes there are, and what they offer: static, as in the product."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..transitions import CLASSES
from .answers import Problem, compact, pretty
from .context import user_of

_TRANSITIONS = {
    "file": {
        "disk": ["tape", "disk+tape"],
        "tape": ["disk+tape"],
        "disk+tape": ["tape"],
        "volatile": ["disk", "tape", "disk+tape"],
    },
    "directory": {"disk": ["tape"], "tape": ["disk"], "disk+tape": [], "volatile": []},
}
_COPIES = {"volatile": "0", "disk+tape": "2"}
_LATENCY_MS = {"tape": "600000"}


async def list_classes(request: Request) -> Response:
    """GET /qos-management/qos/{file|directory}"""
    user_of(request)
    _transitions(request)
    return compact({"name": list(CLASSES), "message": "successful", "status": "200"})


async def show_class(request: Request) -> Response:
    """GET /qos-management/qos/{file|directory}/{name}"""
    user_of(request)
    transitions = _transitions(request)
    asked = request.path_params["name"]
    name = "disk+tape" if asked == "tape+disk" else asked
    if name not in transitions:
        raise Problem(400, f"no such qos type: {asked}")
    capability = {
        "name": name,
        "transition": transitions[name],
        "metadata": {
            "cdmi_data_redundancy_provided": _COPIES.get(name, "1"),
            "cdmi_latency_provided": _LATENCY_MS.get(name, "100"),
        },
    }
    return pretty({"status": "200", "message": "successful", "backendCapability": capability})


def routes(top: str) -> list[Route]:
    """The routes; top: `/api/v1`."""
    base = f"{top}/qos-management/qos/{{kind}}"
    return [
        Route(base, list_classes, methods=["GET"]),
        Route(f"{base}/{{name}}", show_class, methods=["GET"]),
    ]


def _transitions(request: Request) -> dict[str, list[str]]:
    kind = request.path_params["kind"]
    if kind not in _TRANSITIONS:
        raise Problem(400, f"no such qos type: {kind}")
    return _TRANSITIONS[kind]
