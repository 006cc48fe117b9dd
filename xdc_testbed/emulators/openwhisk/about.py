"""What the emulator says about itself: version, kinds and limits."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .bodies import DEFAULT_KIND, KINDS
from .config import Limits

API = "/api/v1"


def build() -> dict[str, Any]:
    """`GET /api/v1`, without authentication."""
    try:
        build = version("xdc-testbed")
    except PackageNotFoundError:
        build = "unknown"
    return {
        "api_version": "1.0.0",
        "api_version_path": "v1",
        "build": f"xdc-testbed {build}",
        "buildno": "emulator",
        "description": "OpenWhisk API",
        "swagger_paths": {"api-docs": "/api-docs", "ui": "/docs"},
    }


def namespace_limits(limits: Limits) -> dict[str, Any]:
    """`GET /namespaces/{ns}/limits`."""
    return {
        "concurrentInvocations": limits.concurrent_invocations,
        "firesPerMinute": limits.fires_per_minute,
        "invocationsPerMinute": limits.invocations_per_minute,
        "maxActionConcurrency": 1,
        "maxActionInstances": limits.concurrent_invocations,
        "maxActionLogs": limits.max_logs,
        "maxActionMemory": limits.max_memory,
        "maxActionTimeout": limits.max_timeout,
        "maxParameterSize": f"{limits.parameters} B",
        "minActionConcurrency": 1,
        "minActionLogs": 0,
        "minActionMemory": limits.min_memory,
        "minActionTimeout": limits.min_timeout,
    }


def information(limits: Limits) -> dict[str, Any]:
    """`GET /`."""
    kinds = [
        {
            "attached": True,
            "default": kind == DEFAULT_KIND,
            "deprecated": False,
            "image": f"xdc-testbed/emulator-{kind.replace(':', '-v')}",
            "kind": kind,
            "requireMain": False,
        }
        for kind in KINDS
    ]
    return {
        "api_paths": [API],
        "description": "OpenWhisk",
        "limits": {
            "actions_per_minute": limits.invocations_per_minute,
            "concurrent_actions": limits.concurrent_invocations,
            "default_max_action_duration": limits.max_timeout,
            "default_max_action_logs": limits.max_logs << 20,
            "default_max_action_memory": limits.max_memory << 20,
            "default_min_action_duration": limits.min_timeout,
            "default_min_action_logs": 0,
            "default_min_action_memory": limits.min_memory << 20,
            "max_action_duration": limits.max_timeout,
            "max_action_logs": limits.max_logs << 20,
            "max_action_memory": limits.max_memory << 20,
            "min_action_duration": limits.min_timeout,
            "min_action_logs": 0,
            "min_action_memory": limits.min_memory << 20,
            "sequence_length": limits.sequence_length,
            "triggers_per_minute": limits.fires_per_minute,
        },
        "runtimes": {"python": kinds},
        "support": {"github": "https://github.com/apache/openwhisk/issues", "emulator": "xdc-testbed"},
    }
