"""Numbers and stories as words: what the report says in sentences."""

from __future__ import annotations

from datetime import UTC, datetime

from xdc_testbed.demo import latency
from xdc_testbed.demo.judge import Verdict


def sentences(verdict: Verdict) -> list[str]:
    """What happened, in sentences with numbers: what concerns a second site or a tape only where there is one."""
    told = [_offered(verdict), _reacted(verdict), _became(verdict)]
    if verdict.story.remote:
        told.append(_shipped(verdict))
    if verdict.story.archived:
        told.append(_archived(verdict))
    return [*told, _compared(verdict)]


def _offered(verdict: Verdict) -> str:
    story, manifest = verdict.story, verdict.manifest
    detectors = " and ".join(f"{counted(len(one.modules), 'module')} of {one.kind}" for one in manifest.plan.detectors)
    burst = next((phase.seconds for phase in story.phases if phase.name == "burst"), 0.0)
    return (
        f"The client wrote a raw run of {detectors} whose photons it knows, and uploaded its "
        f"{len(story.files)} files ({size(manifest.size)}) to {story.origin} within {duration(burst)}."
    )


def _reacted(verdict: Verdict) -> str:
    starts = [one for file in verdict.story.files if (one := latency.to_start(file)) is not None]
    files = len(verdict.story.files)
    if not starts:
        return "No closed file started a calibration."
    who = "Each closed file" if len(starts) == files else f"Only {len(starts)} of the {files} closed files"
    said = f"{who} raised a storage event that started a calibration"
    return f"{said}: the first {duration(min(starts))} after the close, the last {duration(max(starts))} after."


def _became(verdict: Verdict) -> str:
    files = verdict.story.files
    corrected = [file for file in files if file.outcome == "corrected"]
    failed = sum(file.outcome == "failed" for file in files)
    frames = sum(file.raw.frames for file in corrected)
    known = len(corrected) + failed
    whole = f"all {known} are" if known == len(files) else f"only {known} of {len(files)} are"
    return (
        f"{len(corrected)} raw files became corrected files ({frames} frames, {size(verdict.size)}) and "
        f"{failed} ended as {'a failure' if failed == 1 else 'failures'} with a reason: {whole} accounted for."
    )


def _shipped(verdict: Verdict) -> str:
    story = verdict.story
    copies = [one for file in story.files if (one := latency.to_remote(file)) is not None]
    said = f"A second rule sent {len(copies)} corrected files to {story.remote} by third-party copy"
    if not copies:
        return f"{said}."
    return f"{said}; the slowest was there, and verified, {duration(max(copies))} after its raw file was closed."


def _archived(verdict: Verdict) -> str:
    story = verdict.story
    taped = [one for file in story.files if (one := latency.to_tape(file)) is not None]
    said = (
        f"Once a product was there and recorded in the catalogue, {story.origin} moved its raw file from disk to tape"
    )
    if not taped:
        return f"{said}: none so far."
    return f"{said}: {len(taped)} files, the last one {duration(max(taped))} after it was closed."


def _compared(verdict: Verdict) -> str:
    story = verdict.story
    copies = [copy for file in story.files for copy in (*file.copies[1:], *file.cached)]
    if not copies and story.remote is None:
        return "This testbed has one site: nothing was shipped."
    read = f"In the end every copy was read again, {size(sum(copy.size for copy in copies))} in all"
    twice = f", twice through the cache {story.cache}" if story.cache else ""
    equal = "and every byte is the same" if all(copy.equal for copy in copies) else "and some bytes differ"
    return f"{read}{twice}, {equal}."


def counted(number: int, what: str) -> str:
    """`1 module`, `2 modules`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def size(count: int) -> str:
    """Bytes for people, in powers of 1000."""
    if count < 1000:
        return f"{count} B"
    value = count / 1000
    for unit in ("kB", "MB"):
        if value < 1000:
            return f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def clock(epoch: float) -> str:
    """An instant, UTC."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def thousands(count: int) -> str:
    """A count with separators."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
