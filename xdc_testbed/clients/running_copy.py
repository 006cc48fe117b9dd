"""A third-party copy under way: the storage tells line by line how far it is, and gives up when nobody listens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import httpx2

from xdc_testbed.clients.errors import unreachable
from xdc_testbed.clients.thirdparty import Transcript, TransferResult
from xdc_testbed.errors import DeadlineExceeded


class RunningCopy:
    """One request `COPY url`, sent when this is made. timeout: seconds in all.

    Every method raises Unreachable without an answer, and DeadlineExceeded after timeout; the copy is then called off.
    """

    def __init__(self, url: str, request: AbstractContextManager[httpx2.Response], timeout: float) -> None:
        self._url = url
        self._timeout, self._started = timeout, time.monotonic()
        self._transcript = Transcript()
        self._connection = ExitStack()
        with self._errors():
            self._answer = self._connection.enter_context(request)
        self._lines = self._answer.iter_lines()

    def poll(self) -> TransferResult | None:
        """Wait for the next line: how the copy ended, None while it goes on."""
        with self._errors():
            text = next(self._lines, None)
            if text is not None:
                self._transcript.line(text)
                self._check_time()
                return None
            result = self._transcript.result(self._answer.status_code, self._seconds())
        self._connection.close()
        return result

    def finish(self) -> TransferResult:
        """Follow it to its end."""
        while (result := self.poll()) is None:
            pass
        return result

    def cancel(self) -> None:
        """Listen no longer: the storage ends the copy."""
        self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._connection.close()
            if isinstance(error, httpx2.ReadTimeout):
                raise self._late() from error
            if isinstance(error, httpx2.HTTPError):
                raise unreachable("COPY", self._url, error) from error
            raise

    def _check_time(self) -> None:
        if self._seconds() > self._timeout:
            raise self._late()

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"third-party copy {self._url} did not end within {self._timeout:g} s", remedy="is the other side up?"
        )
