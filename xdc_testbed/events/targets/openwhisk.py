"""OpenWhisk as a target: activations become outcomes. Knows what OpenWhisk's status words mean; does not
retry.

An application error `{"error": {"reason": ..., "retry": false}}` is final; every other failure may go
better later.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from xdc_testbed.clients import openwhisk
from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.targets import Failed, Outcome, Succeeded, Throttled, Unavailable

if TYPE_CHECKING:
    from xdc_testbed.clients.openwhisk import ActivationRecord


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
        self._client = openwhisk.AsyncOpenWhisk(section.api_host, auth, section.ca_file)
        self._timeout = section.timeout

    async def invoke(self, action: str, parameters: dict[str, Any]) -> Outcome:
        """Run an action to its end."""
        try:
            record = await self._client.invoke(action, parameters, timeout=self._timeout)
        except openwhisk.Throttled as error:
            return Throttled(str(error))
        except openwhisk.Unavailable as error:
            return Unavailable(str(error))
        except openwhisk.PayloadTooLarge as error:
            return Failed(str(error), retry=False)
        except openwhisk.OpenWhiskError as error:
            return Failed(str(error), retry=True)
        return outcome(record)

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.close()


def outcome(record: ActivationRecord) -> Outcome:
    """What an activation record means."""
    ...
