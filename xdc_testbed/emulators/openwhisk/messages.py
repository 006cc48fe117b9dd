"""The texts of OpenWhisk's answers, as observed on the wire (captures of 2026-08) and listed in its class
Messages."""

from __future__ import annotations

NO_AUTH = "The resource requires authentication, which was not supplied with the request"
BAD_AUTH = "The supplied authentication is invalid"
NOT_FOUND = "The requested resource does not exist."
NO_ROUTE = "The requested resource could not be found."
EXISTS = "resource already exists"
OTHER_COLLECTION = "Resource by this name exists but is not in this collection."
ILLEGAL_NAME = "The name of the entity contains illegal characters."
NOT_QUALIFIED = (
    "requirement failed: The fully qualified name of the entity must contain at least "
    "the namespace and the name of the entity."
)
OBJECT_EXPECTED = "JSON object expected"
EXEC_UNDEFINED = "exec undefined"
SEQUENCE_COMPONENT = "Sequence component does not exist."
SEQUENCE_EMPTY = "No component specified for the sequence."
SEQUENCE_LONG = "Too many actions in the sequence."
SEQUENCE_CYCLE = "Sequence may not refer to itself."
BINDING_MISSING = "Binding references a package that does not exist."
BINDING_TO_BINDING = "Cannot bind to another package binding."
BINDING_OF_PACKAGE = "Resource is a package and cannot be converted into a binding."
NOT_ON_BINDING = "Operation not permitted on package binding."
RULE_WITHOUT_TRIGGER = "Only rules with existing triggers can be activated"
ACTIVATION_ID = "The activation id is not valid."
ABNORMAL_RUN = "The action did not produce a valid response and exited unexpectedly."
ABNORMAL_INIT = "The action did not initialize and exited unexpectedly."
MEMORY = "The action exhausted its memory and was aborted."
NO_RESOURCES = "Failed to provision resources to run the action."
DOCS_WITH_COUNT = "The parameter 'docs' is not permitted with 'count'."
INTERNAL = "There was an internal server error."
INVOKER_LOST = "The invoker of the action is gone."
"""Not observed: how the product words it is not known."""


def malformed(detail: str) -> str:
    """A request body that cannot be used."""
    return f"The request content was malformed:\n{detail}"


def malformed_query(name: str, detail: str) -> str:
    """A query parameter that cannot be used."""
    return f"The query parameter '{name}' was malformed:\n{detail}"


def media_type(given: str) -> str:
    """A body that is not JSON by its Content-Type."""
    return f"The request's Content-Type [{given}] is not supported. Expected:\napplication/json"


def missing(name: str) -> str:
    """A package that is not there."""
    return f"The requested resource '{name}' does not exist."


def forbidden(name: str) -> str:
    """A namespace or an entity of somebody else."""
    return f"The supplied authentication is not authorized to access '{name}'."


def request_too_large(size: int, allowed: int) -> str:
    """A payload over the limit, by its Content-Length."""
    return f"Request larger than allowed: {size} > {allowed} bytes."


def entity_too_large(part: str, size: int, allowed: int) -> str:
    """Code or parameters over the limit."""
    return f"{part} larger than allowed: {size} > {allowed} bytes."


def rate(count: int, allowed: int) -> str:
    """Too many requests in this clock minute."""
    return f"Too many requests in the last minute (count: {count}, allowed: {allowed})."


def concurrent(count: int, allowed: int) -> str:
    """Too many activations at once."""
    return f"Too many concurrent requests in flight (count: {count}, allowed: {allowed})."


def timed_out(milliseconds: int, *, during_init: bool) -> str:
    """An action over its time limit."""
    return f"The action exceeded its time limits of {milliseconds} milliseconds" + (
        " during initialization." if during_init else "."
    )


def truncated(length: int, allowed: int, start: str) -> str:
    """A result over the limit."""
    return (
        f"The action produced a response that exceeded the allowed length: {length} > {allowed} bytes. "
        f"The truncated response was: {start}"
    )


def invalid_run(answer: str) -> str:
    """An answer of the proxy that is no JSON object or array."""
    return "The action did not produce a valid JSON response" + (f": {answer}" if answer else ".")


def invalid_init(answer: str) -> str:
    """An answer of the proxy to /init without an error text."""
    return "The action failed during initialization" + (f": {answer}" if answer else ".")


def logs_truncated(limit: int) -> str:
    """Last line of logs over the limit, which is in bytes."""
    return f"Logs were truncated because the total bytes size exceeds the limit of {limit} bytes."


def pull_failed(image: str) -> str:
    """An image that stands for nothing here."""
    return f"Failed to pull container image '{image}'."


def inactive_rule(rule: str, action: str) -> str:
    """Entry of a trigger record for a rule that is switched off."""
    return f"Rule '{rule}' is inactive, action '{action}' was not activated."


def not_empty(count: int) -> str:
    """A package that cannot be deleted."""
    entities = "1 entity" if count == 1 else f"{count} entities"
    return f"Package not empty (contains {entities}). Set force param or delete package contents."


def reserved(name: str) -> str:
    """A package name that may not be used."""
    return f"Package name '{name}' is reserved."
