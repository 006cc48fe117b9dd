"""The OpenWhisk client against answers that are made up here: what it sends, and what it makes of what comes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from served import served

from xdc_testbed.clients.openwhisk import (
    ActivationRecord,
    Conflict,
    Denied,
    NotFound,
    OpenWhisk,
    OpenWhiskError,
    PayloadTooLarge,
    Throttled,
    Unavailable,
)
from xdc_testbed.clients.openwhisk_async import AsyncOpenWhisk

_ID = "9fe39d9e8cf249aca39d9e8cf239acbc"
_RECORD = {
    "activationId": _ID,
    "annotations": [{"key": "waitTime", "value": 244}, {"key": "initTime", "value": 169}],
    "duration": 173,
    "end": 1795471144990,
    "logs": [],
    "name": "inv",
    "namespace": "guest",
    "publish": False,
    "response": {"result": {"a": 1}, "size": 9, "status": "success", "success": True},
    "start": 1795471144817,
    "subject": "guest",
    "version": "0.0.1",
}
_FAILED = {**_RECORD, "response": {"result": {"error": "no"}, "status": "application error", "success": False}}

Answer = Callable[[httpx2.Request], httpx2.Response]


def client(answer: Answer) -> OpenWhisk:
    return OpenWhisk("http://whisk:3233/api/v1", "uuid:key\n", transport=httpx2.MockTransport(answer))


def invoked(answer: Answer, **more: Any) -> ActivationRecord:
    """The same by both clients."""

    async def inside() -> ActivationRecord:
        async with served(answer) as url, AsyncOpenWhisk(url, "uuid:key") as asynchronous:
            return await asynchronous.invoke("/_/xdc/calibrate", {"a": 1}, **more)

    found = asyncio.run(inside())
    assert client(answer).invoke("/_/xdc/calibrate", {"a": 1}, **more) == found
    return found


def test_invocation_is_sent_as_openwhisk_wants_it() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json=_RECORD)

    invoked(answer, request_id="work-1")
    for request in seen:
        assert request.url.raw_path == b"/api/v1/namespaces/_/actions/xdc/calibrate?blocking=true"
        assert request.headers["authorization"] == "Basic dXVpZDprZXk="
        assert request.headers["content-type"] == "application/json"
        assert request.headers["x-request-id"] == "work-1"
        assert json.loads(request.content) == {"a": 1}


def test_record_tells_of_its_start() -> None:
    record = invoked(lambda _: httpx2.Response(200, json=_RECORD))
    assert (record.id, record.result, record.wait_time, record.init_time) == (_ID, {"a": 1}, 244, 169)
    assert record.success
    assert not record.timed_out


def test_failed_activation_is_a_record() -> None:
    record = invoked(lambda _: httpx2.Response(502, json=_FAILED))
    assert (record.success, record.error, record.status) == (False, "no", "application error")


def test_answer_that_comes_early_is_polled_for() -> None:
    asked: dict[str, int] = {"record": 0}

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            return httpx2.Response(202, json={"activationId": _ID}, headers={"x-openwhisk-activation-id": _ID})
        asked["record"] += 1
        found = asked["record"] % 3 == 0
        return httpx2.Response(200, json=_RECORD) if found else httpx2.Response(404, json={"error": "no"})

    assert invoked(answer).id == _ID


def test_bare_array_is_looked_up_by_its_id() -> None:
    array = {**_RECORD, "response": {"result": [1], "status": "success"}}

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            return httpx2.Response(200, json=[1], headers={"x-openwhisk-activation-id": _ID})
        return httpx2.Response(200, json=array)

    assert invoked(answer).result == [1]


def test_record_that_never_comes_leaves_the_outcome_unknown() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            return httpx2.Response(202, json={"activationId": _ID}, headers={"x-openwhisk-activation-id": _ID})
        return httpx2.Response(404, json={"error": "The requested resource does not exist."})

    with pytest.raises(Unavailable, match=_ID) as caught:
        invoked(answer, timeout=0.05)
    assert caught.value.unknown


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Denied),
        (403, Denied),
        (404, NotFound),
        (409, Conflict),
        (413, PayloadTooLarge),
        (429, Throttled),
        (503, Unavailable),
        (400, OpenWhiskError),
        (502, OpenWhiskError),
    ],
)
def test_refusal_is_an_error_of_its_own(status: int, kind: type[OpenWhiskError]) -> None:
    with pytest.raises(kind, match="the reason") as caught:
        invoked(lambda _: httpx2.Response(status, json={"code": "x", "error": "the reason"}))
    assert (caught.value.status, caught.value.text) == (status, "the reason")


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (httpx2.ConnectError("refused"), False),
        (httpx2.ConnectTimeout("slow"), False),
        (httpx2.PoolTimeout("full"), False),
        (httpx2.ReadTimeout("late"), True),
        (httpx2.ReadError("reset"), True),
        (httpx2.RemoteProtocolError("closed"), True),
    ],
)
def test_no_answer_says_whether_the_work_may_have_been_done(error: Exception, unknown: bool) -> None:
    def answer(_: httpx2.Request) -> httpx2.Response:
        raise error

    with pytest.raises(Unavailable) as caught:
        client(answer).invoke("a")
    assert caught.value.unknown is unknown


def asked(url: str, **more: Any) -> None:
    async def inside() -> None:
        async with AsyncOpenWhisk(url, "uuid:key") as asynchronous:
            await asynchronous.invoke("a", **more)

    asyncio.run(inside())


def test_a_refused_connection_means_that_nothing_was_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unavailable) as caught:
        asked(f"http://127.0.0.1:{port}")
    assert not caught.value.unknown


def test_a_server_that_hangs_up_may_have_done_the_work() -> None:
    def answer(_: httpx2.Request) -> httpx2.Response:
        raise ConnectionResetError

    async def inside() -> None:
        async with served(answer) as url, AsyncOpenWhisk(url, "uuid:key") as asynchronous:
            await asynchronous.invoke("a")

    with pytest.raises(Unavailable) as caught:
        asyncio.run(inside())
    assert caught.value.unknown


def test_a_server_that_says_nothing_may_have_done_the_work() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unavailable) as caught:
        asked(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1)
    assert caught.value.unknown


def test_credentials_are_in_no_message() -> None:
    with pytest.raises(Denied) as caught:
        client(lambda _: httpx2.Response(401, json={"error": "no"})).limits()
    assert "key" not in f"{caught.value.message} {caught.value.remedy}"


def sent(act: Callable[[OpenWhisk], Any]) -> tuple[str, str, Any]:
    """Method, path with query, and body of the one request that `act` makes."""
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json={})

    act(client(answer))
    (request,) = seen
    path = request.url.raw_path.decode().removeprefix("/api/v1/namespaces/")
    return request.method, path, json.loads(request.content or b"null")


def test_action_is_put_with_its_limits_in_milliseconds() -> None:
    method, path, body = sent(
        lambda whisk: whisk.put_action("xdc/a b", "code", parameters={"p": 1}, time_limit=2.5, memory=256)
    )
    assert (method, path) == ("PUT", "_/actions/xdc/a%20b?overwrite=true")
    assert body == {
        "exec": {"kind": "python:3.11", "code": "code"},
        "limits": {"timeout": 2500, "memory": 256},
        "parameters": [{"key": "p", "value": 1}],
    }


def test_archive_is_sent_as_base64(tmp_path: Path) -> None:
    (tmp_path / "action.zip").write_bytes(b"PK\x03\x04rest")
    for code in (b"PK\x03\x04rest", tmp_path / "action.zip"):
        assert sent(lambda whisk, code=code: whisk.put_action("a", code))[2]["exec"]["code"] == "UEsDBHJlc3Q="


def test_rule_names_its_ends_in_full() -> None:
    _, path, body = sent(lambda whisk: whisk.put_rule("r", "t", "xdc/a"))
    assert (path, body) == ("_/rules/r?overwrite=true", {"trigger": "/_/t", "action": "/_/xdc/a"})


def test_package_is_deleted_with_force() -> None:
    assert sent(lambda whisk: whisk.delete("packages", "p", force=True))[:2] == ("DELETE", "_/packages/p?force=true")


def test_fire_without_active_rule_gives_no_id() -> None:
    assert client(lambda _: httpx2.Response(204)).fire("t") is None


@pytest.mark.parametrize("change", [{"activationId": None}, {"response": None}, {"response": []}, {"logs": None}])
def test_answer_that_is_no_record_is_an_error_of_its_own(change: dict[str, Any]) -> None:
    whole = {"activationId": "0" * 32, "name": "a", "response": {"status": "success"}, "start": 1, "logs": []}
    record = {key: value for key, value in (whole | change).items() if value is not None}
    with pytest.raises(OpenWhiskError, match="no activation record"):
        ActivationRecord.of(record)


def test_text_answer_is_taken_as_it_is() -> None:
    client(lambda _: httpx2.Response(200, text="OK")).set_rule("r", active=True)
