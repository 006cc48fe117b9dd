"""OpenWhisk as a target: activations become outcomes. Knows what OpenWhisk's status words mean; does not
retry.

An application error `{"error": {"reason": ..., "retry": false}}` is final, and so is an answer that is too large or
nested too deeply; every other failure may go better later.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from xdc_testbed.clients.openwhisk import (
    ActivationRecord,
    Denied,
    OpenWhiskError,
    PayloadTooLarge,
    Throttled,
    Unavailable,
)
from xdc_testbed.clients.openwhisk_async import AsyncOpenWhisk
from xdc_testbed.errors import WrongUsage
from xdc_testbed.events import targets
from xdc_testbed.events.model import short_reason
from xdc_testbed.events.targets import Failed, Outcome, Succeeded

_APPLICATION_ERROR = "application error"
_TOO_LARGE = "The action produced a response that exceeded the allowed length"
_DEEPEST = 64  # levels of an answer: Python and JSON libraries give up at some hundreds


class OpenWhiskSection(BaseModel):
    """The `[openwhisk]` table. api_host: `https://host:port`; auth_file: holds `uuid:key`; timeout: seconds
    that one invocation may take, waiting in the platform's queue included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_host: str
    auth_file: Path
    ca_file: Path | None = None
    timeout: float = Field(default=900, gt=0)


class OpenWhiskTarget:
    """One OpenWhisk, through the kit's own client."""

    def __init__(self, section: OpenWhiskSection) -> None:
        try:
            auth = section.auth_file.read_text().strip()
        except OSError as error:
            raise WrongUsage(
                f"openwhisk: auth file {section.auth_file}: {error.strerror}",
                remedy="run the service as the user that may read it",
            ) from None
        self._client = AsyncOpenWhisk(section.api_host, auth, section.ca_file)
        self._timeout = section.timeout

    async def invoke(self, action: str, parameters: dict[str, Any], /) -> Outcome:
        """Run an action to its end. The work id goes along as request id, so that logs on both sides
        match.
        """
        started = time.monotonic()
        work_id = parameters.get("work_id")
        try:
            record = await self._client.invoke(action, parameters, timeout=self._timeout, request_id=work_id)
        except Throttled as error:
            return targets.Throttled(error.message)
        except Unavailable as error:
            if error.unknown and time.monotonic() - started >= self._timeout:
                return Failed(f"no answer within {self._timeout:g} s", retry=True)
            return targets.Unavailable(error.message)
        except Denied as error:  # a wrong key is the platform's set-up, not this item's fault
            return targets.Unavailable(error.message)
        except PayloadTooLarge as error:
            return Failed(error.message, retry=False)
        except OpenWhiskError as error:
            return Failed(error.message, retry=True)
        return outcome(record)

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.close()


def outcome(record: ActivationRecord) -> Outcome:
    """What an activation record means."""
    started = record.start / 1000 if record.start else None
    result = record.result if isinstance(record.result, dict) else {"value": record.result}
    if _is_deeper(result, _DEEPEST):
        reason = f"the action's answer is nested more than {_DEEPEST} levels deep"
        return Failed(reason, retry=False, activation_id=record.id, started=started)
    result = _in_unicode(result)
    if record.success:
        return Succeeded(result, activation_id=record.id, started=started)
    reason, retry = _fault(record.status, result.get("error"))
    return Failed(reason, retry=retry, result=result, activation_id=record.id, started=started)


def _fault(status: str, error: Any) -> tuple[str, bool]:
    """Reason and whether to retry: what an application error says about itself, else OpenWhisk's words."""
    if status == _APPLICATION_ERROR and isinstance(error, dict):
        return short_reason(str(error.get("reason", error))), bool(error.get("retry", True))
    if isinstance(error, str) and error.startswith(_TOO_LARGE):  # the start of the answer follows, up to 1 MiB of it
        return f"{error.partition(' bytes.')[0]} bytes; a large result belongs into a file on a storage", False
    return short_reason(f"{status}: {error}"), True


def _in_unicode(result: dict[str, Any]) -> dict[str, Any]:
    """The answer with `?` for halves of characters, which JSON can hold as `\\ud800` and nothing else can."""
    text = json.dumps(result, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.loads(text.encode(errors="replace"))  # type: ignore[no-any-return]
    return result


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested more deeply; does not recurse."""
    layer = [value]
    for _ in range(levels):
        layer = [inner for each in layer if isinstance(each, dict | list) for inner in _inside(each)]
        if not layer:
            return False
    return any(isinstance(each, dict | list) for each in layer)


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value
