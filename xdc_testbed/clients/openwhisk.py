"""OpenWhisk over its REST API: actions, packages, triggers, rules, activations; the product or the emulator.

An action that fails is no exception: its ActivationRecord says so. OpenWhisk reports time-outs and dead
containers up to 12 s late, and a record appears some 50 ms after its answer, so waits here are longer than
the action's own limit. Errors are those of `openwhisk_answers`: Throttled, PayloadTooLarge, NotFound,
Conflict, Denied, Unavailable.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import httpx2

from xdc_testbed.clients.openwhisk_answers import (
    CONNECT_SECONDS,
    DEFAULT_WAIT,
    KEEPALIVE_SECONDS,
    LATE_SECONDS,
    ActivationRecord,
    Address,
    Answer,
    Call,
    Conflict,
    Denied,
    NotFound,
    OpenWhiskError,
    PayloadTooLarge,
    Throttled,
    Unavailable,
    code_text,
    invocation,
    invoked,
    pairs,
    path_of,
    pauses,
    qualified,
    read,
    unavailable,
)

__all__ = [
    "LATE_SECONDS",
    "ActivationRecord",
    "Conflict",
    "Denied",
    "NotFound",
    "OpenWhisk",
    "OpenWhiskError",
    "PayloadTooLarge",
    "Throttled",
    "Unavailable",
]

Json: TypeAlias = dict[str, Any]
Collection: TypeAlias = Literal["actions", "packages", "triggers", "rules"]

_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class OpenWhisk:
    """The synchronous client. auth: `<uuid>:<key>`; ca_file: PEM, None for the system's; timeout: seconds of
    a request."""

    def __init__(
        self,
        api_host: str,
        auth: str,
        ca_file: str | Path | None = None,
        *,
        timeout: float = 30.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._address = Address.of(api_host, auth, ca_file)
        self._client = httpx2.Client(
            base_url=self._address.namespaces,
            headers={"Authorization": self._address.authorization},
            verify=self._address.verify,
            timeout=timeout,
            limits=httpx2.Limits(max_connections=None, keepalive_expiry=KEEPALIVE_SECONDS),
            trust_env=False,
            transport=transport,
        )

    def __enter__(self) -> OpenWhisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def build(self) -> dict[str, Any]:
        """`GET /api/v1`: what answers here; `buildno` is `emulator` for the kit's emulator."""
        return read(Call("GET", "/api/v1", {}), self._send(Call("GET", f"{self._address.host}/api/v1", {})))  # type: ignore[no-any-return]

    def namespaces(self) -> list[str]:
        """The caller's namespaces."""
        return self._do(Call("GET", "", {}))  # type: ignore[no-any-return]

    def limits(self) -> dict[str, Any]:
        """The namespace's limits: `invocationsPerMinute`, `concurrentInvocations`, `firesPerMinute`,
        `maxActionMemory`, ..."""
        return self._do(Call("GET", "_/limits", {}))  # type: ignore[no-any-return]

    def put_action(
        self,
        name: str,
        code: str | bytes | Path,
        *,
        kind: str = "python:3.11",
        image: str | None = None,
        main: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        annotations: Mapping[str, Any] | None = None,
        time_limit: float | None = None,
        memory: int | None = None,
        logs: int | None = None,
    ) -> dict[str, Any]:
        """Create or change an action.

        name: `action` or `package/action`; code: source, the bytes of a zip archive, or a file of either;
        time_limit: seconds; memory, logs: MB. Raises PayloadTooLarge over 48 MiB of base64 (36 MiB of zip).
        """
        limits = {
            "timeout": None if time_limit is None else round(time_limit * 1000),
            "memory": memory,
            "logs": logs,
        }
        spec: dict[str, Any] = {"kind": kind, "code": code_text(code), "main": main, "image": image}
        body = {
            "exec": {key: value for key, value in spec.items() if value is not None},
            "limits": {key: value for key, value in limits.items() if value is not None},
            **pairs(parameters=parameters, annotations=annotations),
        }
        return self._put("actions", name, body)

    def put_sequence(self, name: str, components: list[str]) -> dict[str, Any]:
        """Create or change a sequence; components: `/_/package/action`."""
        return self._put("actions", name, {"exec": {"kind": "sequence", "components": components}})

    def get_action(self, name: str, *, code: bool = False) -> dict[str, Any]:
        """The action with its package's parameters. Raises NotFound."""
        return self._do(Call("GET", path_of("actions", name), {"code": "true" if code else "false"}))  # type: ignore[no-any-return]

    def put_package(
        self,
        name: str,
        parameters: Mapping[str, Any] | None = None,
        annotations: Mapping[str, Any] | None = None,
        *,
        publish: bool | None = None,
    ) -> dict[str, Any]:
        """Create or change a package; its parameters reach all its actions."""
        body = pairs(parameters=parameters, annotations=annotations)
        return self._put("packages", name, body if publish is None else body | {"publish": publish})

    def put_trigger(self, name: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Create or change a trigger."""
        return self._put("triggers", name, pairs(parameters=parameters))

    def put_rule(self, name: str, trigger: str, action: str) -> dict[str, Any]:
        """Create or change a rule from a trigger to an action, both by name, `package/action` or `/_/...`."""
        return self._put("rules", name, {"trigger": qualified(trigger), "action": qualified(action)})

    def set_rule(self, name: str, *, active: bool) -> None:
        """Switch a rule on or off."""
        self._do(Call("POST", path_of("rules", name), {}, {"status": "active" if active else "inactive"}))

    def delete(self, collection: Collection, name: str, *, force: bool = False, missing_ok: bool = False) -> None:
        """Delete one of `actions`, `packages`, `triggers`, `rules`; force: a package with its actions."""
        try:
            self._do(Call("DELETE", path_of(collection, name), {"force": "true"} if force else {}))
        except NotFound:
            if not missing_ok:
                raise

    def entities(self, collection: Collection, *, limit: int = 0, skip: int = 0) -> list[dict[str, Any]]:
        """Entities of a collection, latest change first; limit 0 stands for 200, the most."""
        return self._do(Call("GET", f"_/{collection}", {"limit": limit, "skip": skip}))  # type: ignore[no-any-return]

    def fire(self, trigger: str, payload: Mapping[str, Any] | None = None) -> str | None:
        """Fire a trigger; the id of its record, or None when it has no active rule. Raises Throttled,
        PayloadTooLarge."""
        answer = self._do(Call("POST", path_of("triggers", trigger), {}, dict(payload or {})))
        return answer["activationId"] if answer else None

    def start(self, action: str, params: Mapping[str, Any] | None = None, *, request_id: str | None = None) -> str:
        """Start an action and return the activation's id at once. Raises Throttled, PayloadTooLarge,
        NotFound."""
        return self._do(invocation(action, params, request_id, blocking=False))["activationId"]  # type: ignore[no-any-return]

    def invoke(
        self,
        action: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float = DEFAULT_WAIT,
        request_id: str | None = None,
    ) -> ActivationRecord:
        """Run an action to its end, whatever that is; timeout: seconds, its limit and LATE_SECONDS at least.

        Raises Throttled, PayloadTooLarge, NotFound; Unavailable, with `unknown` when the action may have
        run or still runs.
        """
        deadline = time.monotonic() + timeout
        call = invocation(action, params, request_id, blocking=True)
        found = invoked(call, self._send(call, timeout))
        return found if isinstance(found, ActivationRecord) else self.wait(found, deadline - time.monotonic())

    def wait(self, activation: str, timeout: float = DEFAULT_WAIT) -> ActivationRecord:
        """The record of an activation as soon as it is there. Raises Unavailable (unknown) after `timeout`
        seconds."""
        for pause in pauses(activation, timeout):
            try:
                return self.activation(activation)
            except NotFound:
                time.sleep(pause)
        raise AssertionError

    def activation(self, activation: str) -> ActivationRecord:
        """One record with its logs. Raises NotFound until it is stored."""
        return ActivationRecord.of(self._do(Call("GET", f"_/activations/{activation}", {})))

    def activations(
        self, name: str | None = None, *, since: int | None = None, upto: int | None = None, limit: int = 0
    ) -> list[ActivationRecord]:
        """Records in full, newest first. name: `action`, `package/action` or a trigger; since, upto: epoch
        ms, inclusive."""
        wanted: dict[str, Any] = {"name": name, "since": since, "upto": upto, "limit": limit, "docs": "true"}
        params = {key: value for key, value in wanted.items() if value is not None}
        return [ActivationRecord.of(entry) for entry in self._do(Call("GET", "_/activations", params))]

    def _put(self, collection: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._do(Call("PUT", path_of(collection, name), {"overwrite": "true"}, body))  # type: ignore[no-any-return]

    def _do(self, call: Call) -> Any:
        return read(call, self._send(call))

    def _send(self, call: Call, timeout: float | None = None) -> Answer:
        extra: dict[str, Any] = {} if timeout is None else {"timeout": httpx2.Timeout(timeout, connect=CONNECT_SECONDS)}
        try:
            response = self._client.request(
                call.method, call.path, params=call.params, json=call.body, headers=call.headers, **extra
            )
        except httpx2.TransportError as error:
            raise unavailable(call, error, sent=not isinstance(error, _NOT_SENT)) from error
        return Answer(response.status_code, response.headers, response.content)
