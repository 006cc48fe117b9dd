"""The action proxy alone, against the published runtime contract: /init, /run, and what actions do to it.

Every case was seen on actionloop proxy 1.17.1 with the Python launcher of the published runtime.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openwhisk_emulator import alive, until

from xdc_testbed.emulators import openwhisk

_PROXY = Path(openwhisk.__file__).with_name("proxy.py")
_END = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
_ECHO = "def main(args): return {'args': args}\n"
_RUN = {
    "namespace": "guest",
    "action_name": "/guest/a",
    "action_version": "0.0.1",
    "activation_id": "0" * 32,
    "transaction_id": "t",
    "deadline": "1795471594531",
}


class Proxy:
    """One proxy process on a unix socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        address = folder / "proxy"
        self._out, self._err = (folder / "out").open("wb"), (folder / "err").open("wb")
        command = [sys.executable, "-I", "-S", str(_PROXY), f"unix:{address}", str(folder), sys.executable, "256"]
        self.process = subprocess.Popen(
            command, stdout=self._out, stderr=self._err, env={"__OW_API_HOST": "http://whisk", "SECRET": "no"}
        )
        until(address.exists, "the start of the proxy")
        self._client = httpx2.Client(transport=httpx2.HTTPTransport(uds=str(address)), timeout=20)

    def post(self, path: str, body: Any) -> httpx2.Response:
        return self._client.post(f"http://proxy{path}", json=body)

    def init(self, code: str, **value: Any) -> httpx2.Response:
        return self.post("/init", {"value": {"name": "a", "main": "main", "code": code, "binary": False, **value}})

    def run(self, value: Any = None, **more: Any) -> httpx2.Response:
        return self.post("/run", {"value": value or {}, **_RUN, **more})

    def output(self, name: str) -> str:
        return (self.folder / name).read_text()

    def close(self) -> None:
        self._client.close()
        self.process.kill()
        self.process.wait()
        self._out.close()
        self._err.close()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    started = Proxy(tmp_path)
    yield started
    started.close()


def archive(**files: str) -> str:
    """A base64 zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, text in files.items():
            target.writestr(name, text)
    return base64.b64encode(buffer.getvalue()).decode()


def error(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def test_initialised_action_is_run_again_and_again(proxy: Proxy) -> None:
    assert proxy.init(_ECHO).json() == {"ok": True}
    for number in range(3):
        assert proxy.run({"i": number}).json() == {"args": {"i": number}}


def test_second_init_is_refused(proxy: Proxy) -> None:
    proxy.init(_ECHO)
    assert error(proxy.init(_ECHO)) == (403, "Cannot initialize the action more than once.")


def test_run_without_init_is_refused(proxy: Proxy) -> None:
    assert error(proxy.run()) == (500, "no action defined yet")


def test_unknown_path_is_answered_with_nothing(proxy: Proxy) -> None:
    response = proxy.post("/else", {})
    assert (response.status_code, response.content) == (200, b"")


def test_answer_ends_in_a_newline_which_counts_in_its_size(proxy: Proxy) -> None:
    proxy.init(_ECHO)
    assert proxy.run({"a": 1}).content == b'{"args": {"a": 1}}\n'


@pytest.mark.parametrize(
    "code",
    ["import nothing_here\ndef main(a): return a\n", "def main(a) return a\n", "def other(a): return a\n"],
    ids=["import error", "syntax error", "no main"],
)
def test_action_that_cannot_start_is_an_error_of_init(proxy: Proxy, code: str) -> None:
    assert error(proxy.init(code)) == (502, "Cannot start action. Check logs for details.")
    assert "Traceback" in proxy.output("err")


def test_init_without_code_is_refused(proxy: Proxy) -> None:
    assert error(proxy.init("")) == (502, "Missing main/no code to execute.")


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')"])
def test_result_that_is_not_strict_json_is_refused(proxy: Proxy, value: str) -> None:
    proxy.init(f"def main(args): return {{'x': {value}}}\n")
    assert error(proxy.run()) == (502, "The action did not return a dictionary or array.")


@pytest.mark.parametrize("value", ["'text'", "5", "True"])
def test_result_that_is_no_object_or_array_is_refused(proxy: Proxy, value: str) -> None:
    proxy.init(f"def main(args): return {value}\n")
    assert error(proxy.run()) == (502, "The action did not return a dictionary or array.")


def test_none_becomes_null(proxy: Proxy) -> None:
    proxy.init("def main(args): return None\n")
    response = proxy.run()
    assert (response.status_code, response.content) == (200, b"null\n")


@pytest.mark.parametrize(
    "body",
    ["return {'x': {1, 2}}", "import sys; sys.exit(3)", "import os; os.kill(os.getpid(), 9)"],
    ids=["no JSON type", "sys.exit", "killed"],
)
def test_action_that_ends_its_launcher_leaves_nothing_to_run(proxy: Proxy, body: str) -> None:
    proxy.init(f"def main(args): {body}\n")
    assert error(proxy.run()) == (400, "command exited")
    assert error(proxy.run()) == (500, "no action defined yet")


def test_number_as_deadline_ends_the_launcher(proxy: Proxy) -> None:
    proxy.init(_ECHO)
    assert error(proxy.run(deadline=1795471594531)) == (400, "command exited")
    assert "TypeError: str expected, not int" in proxy.output("err")


def test_exception_becomes_an_error_with_its_traceback_in_the_logs(proxy: Proxy) -> None:
    proxy.init("def main(args): raise ValueError('bad value')\n")
    response = proxy.run()
    assert (response.status_code, response.json()) == (200, {"error": "bad value"})
    assert "ValueError: bad value" in proxy.output("err")


def test_environment_has_what_openwhisk_says_and_nothing_else(proxy: Proxy) -> None:
    proxy.init("import os\ndef main(args): return dict(os.environ)\n", env={"KEY": "value", "NUMBER": 7})
    environment = proxy.run().json()
    assert environment["__OW_DEADLINE"] == _RUN["deadline"]
    assert (environment["KEY"], environment["NUMBER"]) == ("value", "7")
    assert environment["__OW_API_HOST"] == "http://whisk"
    assert not {"PATH", "HOME", "SECRET", "USER"} & environment.keys()


def test_both_streams_are_marked_after_every_run(proxy: Proxy) -> None:
    proxy.init("import sys\ndef main(args):\n    print('out')\n    print('err', file=sys.stderr)\n    return {}\n")
    proxy.run()
    proxy.run()
    assert proxy.output("out") == _END + f"out\n{_END}" * 2
    assert proxy.output("err") == _END + f"err\n{_END}" * 2


def test_archive_has_its_modules_beside_it(proxy: Proxy) -> None:
    code = archive(**{"__main__.py": "import helper\ndef run(a): return helper.f(a)\n", "helper.py": "f = dict\n"})
    proxy.init(code, binary=True, main="run")
    assert proxy.run({"k": "v"}).json() == {"k": "v"}


def test_archive_without_main_is_refused(proxy: Proxy) -> None:
    assert error(proxy.init(archive(**{"other.py": ""}), binary=True))[0] == 502


def test_virtual_environment_without_its_activation_is_refused(proxy: Proxy) -> None:
    code = archive(**{"__main__.py": _ECHO, "virtualenv/pyvenv.cfg": ""})
    assert "Invalid virtualenv" in error(proxy.init(code, binary=True))[1]


def test_virtual_environment_is_activated(proxy: Proxy) -> None:
    activation = "import sys, os\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'lib'))\n"
    code = archive(
        **{
            "__main__.py": "import packed\ndef main(a): return {'from': packed.NAME}\n",
            "virtualenv/bin/activate_this.py": activation,
            "virtualenv/lib/packed.py": "NAME = 'virtualenv'\n",
        }
    )
    proxy.init(code, binary=True)
    assert proxy.run().json() == {"from": "virtualenv"}


def test_large_arguments_and_results_pass(proxy: Proxy) -> None:
    proxy.init(_ECHO)
    value = {"x": "y" * 3_000_000}
    assert proxy.run(value).json() == {"args": value}


def test_action_ends_with_its_proxy(proxy: Proxy) -> None:
    proxy.init("import os\ndef main(args): return {'pid': os.getpid()}\n")
    pid = proxy.run().json()["pid"]
    proxy.process.kill()
    until(lambda: not alive(pid), "the end of the action")


def test_bad_request_is_told(proxy: Proxy) -> None:
    assert error(proxy.post("/init", ["no value"]))[0] == 400


def test_runtime_imports_packages_of_its_interpreter(proxy: Proxy) -> None:
    proxy.init("import numpy\ndef main(args): return {'sum': int(numpy.arange(5).sum())}\n")
    assert json.loads(proxy.run().content) == {"sum": 10}
