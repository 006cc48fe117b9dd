"""The JSON schemas with which the events API describes itself."""

from __future__ import annotations

from typing import Any

from .selectors import EVENTS, FLAGS, LONGEST_DELAY, SHORTEST_DELAY

_DRAFT = "http://json-schema.org/draft-06/schema#"
_BASE = "http://dcache.org/frontend/events"
_ABOUT_MASK = {
    "title": "The flags of this event",
    "description": "They mean what inotify(7) says.",
    "type": "array",
    "minitems": 1,
}

DESCRIPTIONS = {
    "inotify": "notification of namespace activity, modelled after inotify(7)",
    "metronome": "a configurable stream of messages",
}


def _mask(most: int, *flags: str) -> dict[str, Any]:
    return {**_ABOUT_MASK, "maxitems": most, "items": {"type": "string", "enum": list(flags)}}


SELECTORS: dict[str, dict[str, Any]] = {
    "inotify": {
        "$id": f"{_BASE}/namespaceSelectors#",
        "$schema": _DRAFT,
        "description": "a file or directory to watch",
        "type": "object",
        "required": ["path"],
        "properties": {
            "path": {
                "title": "Absolute path of the target",
                "description": "It must exist; the watch goes with it when it is renamed.",
                "pattern": "^/(.*[^/])?$",
                "type": "string",
            },
            "flags": {
                "title": "The wanted events",
                "description": "They mean what inotify(7) says.",
                "type": "array",
                "items": {"type": "string", "enum": list(FLAGS)},
            },
        },
        "additionalProperties": False,
    },
    "metronome": {
        "$id": f"{_BASE}/metronomeSelectors#",
        "$schema": _DRAFT,
        "type": "object",
        "properties": {
            "frequency": {
                "title": "Events in a second",
                "description": "Instead of a delay.",
                "type": "number",
                "minimum": 1 / LONGEST_DELAY,
                "maximum": 1 / SHORTEST_DELAY,
            },
            "delay": {
                "title": "Seconds between two events",
                "description": "Instead of a frequency.",
                "type": "number",
                "minimum": SHORTEST_DELAY,
                "maximum": LONGEST_DELAY,
            },
            "message": {
                "title": "The text of every event",
                "description": "${username} and ${count} stand for the user and the number of the message.",
                "minLength": 1,
                "type": "string",
                "default": "tick",
            },
            "count": {
                "title": "How many events there are",
                "description": "Without it they go on until the subscription is deleted.",
                "type": "number",
            },
        },
        "oneOf": [{"required": ["frequency"]}, {"required": ["delay"]}],
        "additionalProperties": False,
    },
}

PAYLOADS: dict[str, dict[str, Any]] = {
    "inotify": {
        "$id": f"{_BASE}/namespaceEvents#",
        "$schema": _DRAFT,
        "description": "one change in the namespace",
        "type": "object",
        "oneOf": [
            {"$ref": f"#/definitions/{name}"}
            for name in ("nonMoveChildEvent", "moveChildEvent", "selfEvent", "managementEvent")
        ],
        "definitions": {
            "childEvent": {
                "required": ["name"],
                "properties": {
                    "name": {
                        "title": "Name of what changed",
                        "description": "The last part of its path.",
                        "type": "string",
                        "minLength": 1,
                    }
                },
            },
            "nonMoveChildEvent": {
                "allOf": [
                    {"$ref": "#/definitions/childEvent"},
                    {
                        "properties": {
                            "mask": _mask(2, *(e for e in EVENTS if "_SELF" not in e and "MOVED" not in e), "IN_ISDIR")
                        }
                    },
                ]
            },
            "moveChildEvent": {
                "allOf": [
                    {"$ref": "#/definitions/childEvent"},
                    {
                        "required": ["mask", "cookie"],
                        "properties": {
                            "mask": _mask(2, "IN_MOVED_FROM", "IN_MOVED_TO", "IN_ISDIR"),
                            "cookie": {
                                "title": "What joins the two events of a rename",
                                "description": "Equal in IN_MOVED_FROM and IN_MOVED_TO.",
                                "type": "string",
                                "minLength": 1,
                            },
                        },
                    },
                ]
            },
            "selfEvent": {
                "required": ["mask"],
                "properties": {"mask": _mask(2, "IN_DELETE_SELF", "IN_MOVE_SELF", "IN_ISDIR")},
            },
            "managementEvent": {
                "required": ["mask"],
                "properties": {"mask": _mask(3, "IN_IGNORED", "IN_Q_OVERFLOW", "IN_UNMOUNT")},
            },
        },
    },
    "metronome": {"$id": f"{_BASE}/metronomeEvents#", "$schema": _DRAFT, "type": "string"},
}
