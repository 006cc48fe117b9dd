"""Results are plain JSON, and errors say whether another try can help."""

from __future__ import annotations

import errno
import json
import logging
import sys
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.actions.outcome import ActionFailed, as_failure, plain, run
from xdc_testbed.actions.work import seconds_left
from xdc_testbed.calibration import InputTruncated
from xdc_testbed.clients.errors import NotFound, StorageDenied, StorageError, TokenNotValid, TokenRefused, Unreachable
from xdc_testbed.errors import DeadlineExceeded, XdcError


def test_numpy_and_what_json_cannot_say_become_plain() -> None:
    value = {
        "mean": np.float32(1.5),
        "count": np.uint64(7),
        "nan": float("nan"),
        "infinite": np.float64("inf"),
        "counts": np.array([1, 2]),
        "pair": (1, None, True),
        3: {"x"},
    }
    assert plain(value) == {
        "mean": 1.5,
        "count": 7,
        "nan": None,
        "infinite": None,
        "counts": [1, 2],
        "pair": [1, None, True],
        "3": ["x"],
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    )
)
def test_anything_becomes_strict_json(value: Any) -> None:
    json.dumps(plain(value), allow_nan=False)


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (InputTruncated("x"), False),
        (StorageDenied("x", status=403), False),
        (TokenNotValid("x", status=403), True),
        (StorageDenied("x", status=401), True),
        (NotFound("x", status=404), False),
        (StorageError("x", status=507), True),
        (StorageError("x", status=500), True),
        (TokenRefused("x", status=400, error="invalid_scope"), False),
        (TokenRefused("x", status=503), True),
        (Unreachable("x"), True),
        (DeadlineExceeded("x"), True),
        (OSError(errno.ENOSPC, "full"), True),
        (OSError(errno.EIO, "broken"), True),
    ],
)
def test_errors_say_whether_another_try_can_help(error: XdcError | OSError, retry: bool) -> None:
    assert as_failure(error).retry is retry


def test_a_failure_is_an_application_error_with_its_reason() -> None:
    def work(arguments: Any) -> dict[str, Any]:
        raise ActionFailed("no such luck", retry=True)

    assert run(work, {}, 3.0) == {"error": {"reason": "no such luck", "retry": True}, "started_at": 3.0}


Printed = pytest.CaptureFixture[str]


def as_in_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has set up logging: pytest has, when a test runs."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


def test_a_defect_is_a_failure_with_its_name_and_its_traceback_in_the_log(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_in_the_launcher(monkeypatch)

    def work(arguments: Any) -> dict[str, Any]:
        return {"rate": 1 / len(arguments)}

    assert run(work, {}, 3.0) == {
        "error": {"reason": "defect of the action: ZeroDivisionError: division by zero", "retry": True},
        "started_at": 3.0,
    }
    assert "Traceback" in capsys.readouterr().err


JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZW1vIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize("how", ["result", "reason", "defect", "prints", "logs"])
def test_no_credential_leaves_an_action(how: str, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    as_in_the_launcher(monkeypatch)

    def work(arguments: Any) -> dict[str, Any]:
        said = f"refused {arguments['client_secret']} and {JWT}"
        match how:
            case "reason":
                raise ActionFailed(said, retry=False)
            case "defect":
                raise KeyError(said)
            case "prints":
                sys.stdout.write(said)
                sys.stderr.write(said[:20])
                sys.stderr.write(said[20:])
            case "logs":
                logging.getLogger("library").error(said)
            case _:
                return {"said": [said]}
        return {}

    result = run(work, {"client_secret": "correct horse battery"}, 1.0)
    told = capsys.readouterr()
    everything = f"{result} {told.out} {told.err}"
    assert "horse" not in everything
    assert "eyJ" not in everything
    assert "refused (hidden) and (hidden)" in everything


def test_the_platforms_deadline_bounds_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("__OW_DEADLINE", raising=False)
    assert seconds_left(600) == 600
    monkeypatch.setenv("__OW_DEADLINE", str(int((time.time() + 30) * 1000)))
    assert 20 < seconds_left(600) <= 28
    monkeypatch.setenv("__OW_DEADLINE", "1000")
    assert seconds_left(600) == 1
