"""Proves that a dCache does what the testbed needs of it beyond plain storage: storage events, classes, copies.

Part of `xdc_testbed.clients.proof`, which reads the question.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from xdc_testbed.clients import proof
from xdc_testbed.clients.dcache import Credential, Dcache
from xdc_testbed.clients.dcache_events import EventChannels, Notice
from xdc_testbed.clients.proof import Steps, agree
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.errors import DeadlineExceeded, VerifyFailed

_CLOSED = "IN_CLOSE_WRITE"
_SILENCE = 15.0  # seconds that an event may take
_TRANSITION = 60.0  # seconds that a change of class may take
_NOTICES = 64  # of other files, at most, before the one that is waited for


class DcacheQuestion(proof.StorageQuestion):
    """frontend: where the REST interface answers."""

    frontend: str


def prove(question: DcacheQuestion, steps: Steps) -> None:
    """Plain storage first; then an upload is announced, copied by the storage itself, and goes to tape."""
    proof.prove_storage(question, steps)
    source = question.source(f"storage.read:{question.folder} storage.modify:{question.folder}")
    path, copy = proof.names(question.folder)
    with (
        WebDav(question.https, ca_file=question.ca_file, token=source.token) as door,
        Dcache(question.frontend, ca_file=question.ca_file, credential=Credential(token=source.token)) as frontend,
    ):
        try:
            _event(question, steps, door, frontend, path)
            with steps.step("third-party copy by the storage itself"):
                copied = door.copy_pull(door.url(path), copy, source_token=source.token(), timeout=60.0)
                agree("verdict of the copy", (copied.ok, copied.message), (True, copied.message))
                agree("bytes of the copy", door.get(copy) == door.get(path), True)
            with steps.step("disk to tape"):
                frontend.request_qos(copy, "tape")
                try:
                    after = frontend.await_qos(copy, "tape", timeout=_TRANSITION)
                except DeadlineExceeded as error:
                    raise VerifyFailed(error.message) from error
                agree("locality", after.locality, "ONLINE_AND_NEARLINE")
        finally:
            proof.remove(door, path, copy)


def _event(question: DcacheQuestion, steps: Steps, door: WebDav, frontend: Dcache, path: str) -> None:
    channels = EventChannels(frontend)
    with steps.step("a channel for storage events"):
        channel = channels.create("xdc-verify", timeout=30)
    try:
        with (
            steps.step("the close of an upload is announced"),
            channels.stream(channel, None, silence=_SILENCE) as told,
        ):
            channels.subscribe(channel, question.folder, [_CLOSED])
            door.put(path, os.urandom(proof.SIZE))
            _await_close(told, path.rpartition("/")[2])
    finally:
        channels.delete(channel)


def _await_close(told: Iterator[Notice], name: str) -> None:
    for _, notice in zip(range(_NOTICES), told, strict=False):
        if notice.name == name and _CLOSED in notice.mask:
            return
    raise VerifyFailed(f"no {_CLOSED} of {name} among {_NOTICES} notices")
