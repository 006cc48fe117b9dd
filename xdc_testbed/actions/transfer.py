"""Copy one file to another storage: a copy service moves it (see `copies`), no byte passes here.

The copy is written under a temporary name; size and Adler-32 of both ends are compared; then the file gets
its name. Rule parameters: destination (endpoint id, required), destination_path (the same path by default).
"""

from __future__ import annotations

import time
from pathlib import PurePosixPath

from xdc_testbed.actions.copies import CopyJob, CopyOrder, CopyService, ThirdPartyCopies
from xdc_testbed.actions.outcome import ActionFailed, Arguments, Result, is_full, run
from xdc_testbed.actions.storage import require_same
from xdc_testbed.actions.work import Work, seconds_left
from xdc_testbed.clients.digests import Content
from xdc_testbed.clients.thirdparty import TransferResult
from xdc_testbed.clients.token_times import fault_of
from xdc_testbed.errors import DeadlineExceeded

_COPY_DEADLINE = 600.0  # seconds, when the platform sets no earlier one
_MISSING = ("no such file", "404", "not found")
_DENIED = ("403", "permission denied", "forbidden", "not authorized")


def main(arguments: Arguments, started_at: float | None = None) -> Result:
    """Copy the file of `arguments["event"]` to the endpoint `arguments["destination"]`.

    Gives status "done" or "already-done", source and destination (endpoint, path), size (bytes), adler32, and
    times (epoch seconds: started, copied, verified); or `error`.
    """
    return run(_transfer, arguments, started_at)


def _transfer(arguments: Arguments) -> Result:
    times = {"started": time.time()}
    work = Work.read(arguments)
    destination = work.parameter("destination")
    path = work.parameter("destination_path", work.path)
    source, target = work.storage(), work.storage(destination)
    content = source.stat(work.path)
    if content is None:
        raise ActionFailed(f"source has vanished: {work.path} on {work.endpoint}", retry=False)
    if work.size is not None:
        require_same(f"{work.path} on {work.endpoint}", content, Content(work.size, work.adler32 or ""))
    result: Result = {
        "source": {"endpoint": work.endpoint, "path": work.path},
        "destination": {"endpoint": destination, "path": path},
        "size": content.size,
        "adler32": content.adler32,
        "times": times,
    }
    if content.adler32 and target.stat(path) == content:
        return {"status": "already-done", **result}
    part = work.part(path)
    with target.removing(part):
        target.make_folder(str(PurePosixPath(path).parent))
        order = CopyOrder(
            source=source.dav.url(work.path),
            source_token=work.token(),
            path=part,
            seconds=seconds_left(_COPY_DEADLINE),
        )
        _copy(order, ThirdPartyCopies(target.dav))
        times["copied"] = time.time()
        require_same(f"{path} on {destination}", target.stat(part), content)
        times["verified"] = time.time()
        target.publish(part, path)
    return {"status": "done", **result}


def _copy(order: CopyOrder, service: CopyService) -> None:
    """Have the order carried out. Raises ActionFailed; a copy that is no longer waited for is called off."""
    job = service.submit(order)
    try:
        copied = _followed(job, order)
    except BaseException:
        job.cancel()
        raise
    if not copied.ok:
        raise _failure(copied, fault_of(order.source_token))


def _followed(job: CopyJob, order: CopyOrder) -> TransferResult:
    deadline = time.monotonic() + order.seconds
    while (copied := job.poll()) is None:
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"the copy of {order.source} did not end within {order.seconds:.0f} s")
    return copied


def _failure(copied: TransferResult, dates: str | None) -> ActionFailed:
    """What the verdict of a third-party copy means. The words are the product's; XRootD 5.5 has nothing but
    them. dates: what is wrong with those of the token, which explains any refusal.
    """
    if dates is not None:
        return ActionFailed(f"third-party copy failed: {copied.message}: {dates}", retry=True)
    said = copied.message.lower()
    if copied.status == 507 or is_full(said):
        return ActionFailed(f"destination is full: {copied.message}", retry=True)
    if copied.status in {401, 403} or any(words in said for words in _DENIED):
        return ActionFailed(f"third-party copy denied: {copied.message}", retry=copied.status == 401)
    if copied.status == 404 or any(words in said for words in _MISSING):
        return ActionFailed(f"third-party copy found no source: {copied.message}", retry=True)
    return ActionFailed(f"third-party copy failed: {copied.message}", retry=True)
