"""How an action ends: a result that is plain JSON, or a failure with its reason and whether trying again can
help; neither has a credential in it, nor has what was printed on the way.

OpenWhisk passes on what `json.dumps` makes of the result and ends the launcher on anything else, so every
result goes through `plain`.
"""

from __future__ import annotations

import errno
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from xdc_testbed import redaction
from xdc_testbed.actions.output import without_credentials
from xdc_testbed.calibration.failures import CalibrationError, InputChanged
from xdc_testbed.clients.errors import NotFound, StorageDenied, StorageError, TokenNotValid, TokenRefused
from xdc_testbed.errors import WrongUsage, XdcError

log = logging.getLogger(__name__)

Arguments = Mapping[str, Any]
Result = dict[str, Any]

_UNAUTHENTICATED, _TOO_MANY, _FULL = 401, 429, 507
_SERVER_ERROR = 500


class ActionFailed(XdcError):
    """The work was not done. retry: whether the same work may succeed later."""

    def __init__(self, message: str, *, retry: bool) -> None:
        super().__init__(message)
        self.retry = retry


def run(work: Callable[[Arguments], Result], arguments: Arguments, started_at: float | None) -> Result:
    """Do the work and give its result, with `started_at` (epoch seconds) in every case.

    A failure becomes `{"error": {"reason", "retry"}}`; so does a defect, whose traceback goes to the log.
    """
    started = time.time() if started_at is None else started_at
    known = [secret] if isinstance(secret := arguments.get("client_secret"), str) else []
    with without_credentials(known):
        try:
            result = work(arguments)
        except (XdcError, OSError) as error:
            failure = as_failure(error)
            log.warning("%s (retry: %s)", failure.message, failure.retry)
            result = _error(failure.message, retry=failure.retry)
        except Exception as error:
            log.exception("defect of the action")
            result = _error(f"defect of the action: {type(error).__name__}: {error}", retry=True)
    return {**redaction.value(plain(result), known), "started_at": started}


def _error(reason: str, *, retry: bool) -> Result:
    return {"error": {"reason": reason, "retry": retry}}


def as_failure(error: XdcError | OSError) -> ActionFailed:
    """The failure that an error means. What another try may change, is retried; everything else is final."""
    match error:
        case ActionFailed():
            return error
        case InputChanged():
            return ActionFailed(error.message, retry=True)
        case CalibrationError():
            return ActionFailed(error.message, retry=False)
        case TokenNotValid():
            return ActionFailed(f"denied: {error.message}", retry=True)
        case StorageDenied(status=status):
            return ActionFailed(f"denied: {error.message}", retry=status == _UNAUTHENTICATED)
        case NotFound():
            return ActionFailed(f"not there: {error.message}", retry=False)
        case StorageError(status=status) if status == _FULL or is_full(error.body):
            return ActionFailed(f"destination is full: {error.message}", retry=True)
        case TokenRefused(status=status):
            return ActionFailed(error.message, retry=status == _TOO_MANY or status >= _SERVER_ERROR)
        case WrongUsage():
            return ActionFailed(error.message, retry=False)
        case XdcError():
            return ActionFailed(error.message, retry=True)
        case OSError(errno=errno.ENOSPC):
            return ActionFailed("no space left on the node that runs the function", retry=True)
        case _:
            return ActionFailed(f"the node that runs the function: {error}", retry=True)


def is_full(text: str) -> bool:
    """Whether a storage's words mean that it has no space. XRootD says it in the body of a 500."""
    return any(words in text.lower() for words in ("no space left", "enospc", "insufficient storage", "quota exceeded"))


def plain(value: Any) -> Any:
    """The value as plain JSON: numpy numbers become Python's, NaN and infinities become null, tuples become
    lists.
    """
    match value:
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case bool() | str() | None:
            return value
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else None
        case _:
            to_list = getattr(value, "tolist", None)  # numpy scalars and arrays, without importing numpy
            return plain(to_list()) if callable(to_list) else str(value)
