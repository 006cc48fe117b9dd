"""Router, dispatcher and an emulated OpenWhisk with its real action proxies, and services that actions meet: a token
issuer and a storage, neither of which keeps a secret to itself.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote_plus

from event_rig import Broker, Dispatch, Results, Router, read

sys.path.insert(0, str(Path(__file__).parents[1] / "openwhisk"))

from openwhisk_emulator import GUEST, Emulator, running

from xdc_testbed.clients.openwhisk import ActivationRecord, OpenWhisk
from xdc_testbed.events.kafka import DEAD_LETTERS, EVENTS, INVOCATIONS, RESULTS

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhY3Rpb25zIn0.b25lLXNpZ25hdHVyZS1vZi1hLXRva2Vu"
SECRETS = {"actions": "correct-horse battery", "qos": "tr0ub4dor and three"}
LIMITS = {"invocations_per_minute": 6000, "concurrent_invocations": 100, "blocking_wait": 300}


class Indiscreet:
    """Token issuer and storage in one, over HTTP. Gives the client `actions` a token; repeats the secret of any other
    client, and the token of whoever asks for something other than `gone`, in what it answers.
    """

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, method: str, path: str, authorization: str) -> tuple[int, bytes]:
        """Status and body of one request."""
        if path == "/.well-known/openid-configuration":
            return 200, json.dumps({"token_endpoint": f"{self.url}/token"}).encode()
        if path == "/token":
            client, secret = map(unquote_plus, base64.b64decode(authorization.split()[1]).decode().split(":"))
            if client == "actions":
                return 200, json.dumps({"access_token": TOKEN, "expires_in": 3600}).encode()
            return 401, json.dumps({"error": "invalid_client", "error_description": f"{client}:{secret}"}).encode()
        if "gone" in path:
            return 404, b"no such file"
        return (404 if method == "HEAD" else 403), f"refused: {authorization}".encode()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


def _handler(service: Indiscreet) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = service.answer(self.command, self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = _answer  # noqa: N815 - the names are the base class's

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Nobody reads it."""

    return Handler


@dataclass(frozen=True)
class Functions:
    """Everything that runs."""

    broker: Broker
    emulator: Emulator
    whisk: OpenWhisk
    router: Router
    dispatch: Dispatch
    results: Results

    def records(self) -> list[ActivationRecord]:
        """Every activation record, with result and logs."""
        return self.whisk.activations()

    def everything_told(self) -> dict[str, str]:
        """What is written down where many may read, by where: logs, topics, and what the command line says."""
        logs = {
            "log of the router": self.router.process.log,
            "log of the dispatcher": self.dispatch.process.log,
            "log of the broker": self.broker.process.log,
            "log of OpenWhisk": self.emulator.folder / "log",
        }
        told = {name: path.read_text(errors="replace") for name, path in logs.items()}
        for topic in (EVENTS, INVOCATIONS, RESULTS, DEAD_LETTERS):
            told[f"topic {topic}"] = "\n".join(entry.value.decode() for entry in read(self.broker, topic))
        told["dead letters on the command line"] = self._dead("list")
        return told

    def _dead(self, *words: str) -> str:
        kafka = {"bootstrap": self.broker.kafka.bootstrap, "ca_file": str(self.broker.kafka.ca_file)}
        asked = {"kafka": kafka, "user": "client", "password": self.broker.passwords["client"]}
        command = [sys.executable, "-m", "xdc_testbed.events", "dead", *words]
        done = subprocess.run(command, input=json.dumps(asked).encode(), capture_output=True, check=True, timeout=60)
        return (done.stdout + done.stderr).decode()


@contextmanager
def functions(folder: Path, rules: str, settings: str) -> Iterator[Functions]:
    """A pipeline that ends in actions; settings: of the dispatcher's table."""
    tables = {"limits": LIMITS, "pool": {"memory": 8192}}
    (folder / "broker").mkdir()
    broker = Broker(folder / "broker")
    with running(folder / "openwhisk", tables=tables) as emulator, OpenWhisk(emulator.url, GUEST) as whisk:
        router = Router(broker, rules)
        dispatch = Dispatch(broker, emulator.url, auth=GUEST, settings=settings)
        results = Results(broker)
        yield Functions(broker, emulator, whisk, router, dispatch, results)
        results.close()
        statuses = [router.process.stop(), dispatch.process.stop()]
    broker.stop()
    assert statuses == [0, 0]


def deploy(folder: Path, functions: Functions, service: Indiscreet) -> None:
    """The kit's actions, by the program that does it on a node."""
    for client, secret in SECRETS.items():
        (folder / f"{client}.secret").write_text(secret)
    (folder / "openwhisk.auth").write_text(GUEST)
    config = folder / "actions.toml"
    config.write_text(
        f"""
api_host = "{functions.emulator.url}"
auth_file = "{folder}/openwhisk.auth"
ca_file = "{functions.broker.kafka.ca_file}"
[token]
issuer = "{service.url}"
client_id = "actions"
client_secret_file = "{folder}/actions.secret"
[endpoints.desy-storage]
https = "{service.url}"
frontend = "{service.url}"
[credentials.qos]
client_id = "qos"
client_secret_file = "{folder}/qos.secret"
scope = "storage.read:/data"
"""
    )
    command = [sys.executable, "-m", "xdc_testbed.actions.deploy", "--config", str(config)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
