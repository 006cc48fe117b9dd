"""The action proxy of one "container": HTTP `/init` and `/run` in front, the actionloop line protocol behind.

Written to the published runtime contract (openwhisk docs/actions-new.md) and to the observed behaviour of
actionloop proxy 1.17.1. It runs alone in its process, with `python -I -S`, so it imports the standard
library only, and as little of it as it can: its start is part of every cold start. It serves one request
at a time, on one connected socket (`fd:N`, given by the controller, whose end of it is also the sign of
life: when it closes, everything here ends) or on a listening one.

    proxy.py fd:N|unix:PATH|HOST:PORT  FOLDER  PYTHON  MEGABYTES
"""
# pathlib and typing would cost 10 ms of every cold start.
# ruff: noqa: PTH100, PTH101, PTH103, PTH104, PTH112, PTH113, PTH118, PTH120, PTH123

from __future__ import annotations

import binascii
import contextlib
import ctypes
import io
import json
import os
import resource
import select
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TypeAlias

    Answer: TypeAlias = tuple[int, bytes]  # status and body; the body's newline is counted in `response.size`

END = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
VERSION = "1.17.1"
SPARE_BYTES = 512 << 20  # interpreter, thread stacks and arenas of its libraries, beside the action's memory
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38
_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 500: "Internal Server Error", 502: "Bad Gateway"}
_libc = ctypes.CDLL(None, use_errno=True)


class Launcher:
    """The process that runs the action: two pipes to it (stdin, file descriptor 3), and the proxy's own
    stdout, stderr."""

    def __init__(self, argv: list[str], environment: dict[str, str], folder: str, memory: int) -> None:
        lines_out, self._lines = os.pipe()
        self._results, results_in = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                os.dup2(lines_out, 0)
                os.dup2(results_in, 3)
                os.set_inheritable(3, True)
                os.chdir(folder)
                limit = (memory << 20) * 2 + SPARE_BYTES
                resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                os.execve(argv[0], argv, environment)  # noqa: S606
            finally:
                os._exit(127)
        os.close(lines_out)
        os.close(results_in)
        self._rest = b""

    def send(self, line: bytes) -> bool:
        """Write one line; False when the process has ended."""
        view = memoryview(line)
        try:
            while view:
                view = view[os.write(self._lines, view) :]
        except BrokenPipeError:
            return False
        return True

    def receive(self, sign_of_life: int) -> bytes | None:
        """One line from file descriptor 3; None when the process ended. The end of the controller ends
        all."""
        poll = select.poll()
        poll.register(self._results, select.POLLIN)
        if sign_of_life >= 0:
            poll.register(sign_of_life, select.POLLRDHUP)
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            for fd, _ in poll.poll():
                if fd == sign_of_life:
                    end()
                part = os.read(self._results, 1 << 20)
                if not part:
                    return None
                parts.append(part)
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return line + b"\n"

    def close(self) -> None:
        """End the process and take its exit status."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self._lines)
        os.close(self._results)


class Proxy:
    """State of the container: nothing yet, one initialised action, or one whose process has died."""

    def __init__(self, folder: str, python: str, memory: int, sign_of_life: int) -> None:
        self._folder, self._python, self._memory, self._sign_of_life = folder, python, memory, sign_of_life
        self._launcher: Launcher | None = None
        self._initialised = False

    def answer(self, path: bytes, body: bytes) -> Answer:
        """One request of the contract. An unknown path is answered 200 with nothing, as by the real proxy."""
        if path == b"/run":
            return self._run(body)
        if path == b"/init":
            return self._init(body)
        return 200, b""

    def _init(self, body: bytes) -> Answer:
        if self._initialised:
            return error(403, "Cannot initialize the action more than once.")
        try:
            value: dict[str, Any] = json.loads(body)["value"]
            code, main, given = value.get("code") or "", value.get("main") or "main", value.get("env") or {}
        except (ValueError, KeyError, TypeError, AttributeError) as reason:
            return error(400, f"Error unmarshaling request: {reason}")
        if not code:
            return error(502, "Missing main/no code to execute.")
        folder = os.path.join(self._folder, "action", "1", "bin")
        os.makedirs(folder, exist_ok=True)
        try:
            argv = self._unpack(folder, code, main, bool(value.get("binary")))
        except (ValueError, OSError) as reason:
            return error(502, str(reason))
        environment = {name: text for name, text in os.environ.items() if name.startswith("__OW_")}
        environment |= {"__OW_PROXY_VERSION": VERSION, "__OW_WAIT_FOR_ACK": "1", "PYTHONIOENCODING": "UTF-8"}
        environment["TMPDIR"] = os.path.join(self._folder, "tmp")
        os.makedirs(environment["TMPDIR"], exist_ok=True)
        for name, text in given.items():
            environment[name] = text if isinstance(text, str) else json.dumps(text)
        launcher = Launcher(argv, environment, folder, self._memory)
        ack = launcher.receive(self._sign_of_life)
        if ack is None or not is_answer(ack):
            launcher.close()
            return error(502, "Cannot start action. Check logs for details.")
        self._launcher, self._initialised = launcher, True
        return 200, b'{"ok":true}\n'

    def _unpack(self, folder: str, code: str, main: str, binary: bool) -> list[str]:
        """Write the action into its folder; returns the command that runs it. Raises ValueError for a bad
        archive."""
        if not binary:
            with open(f"{folder}/main__.py", "w", encoding="utf-8") as file:
                file.write(code)
        elif self._extract(folder, code):
            return [f"{folder}/exec"]
        launcher = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launcher.py")
        return [self._python, "-s", "-B", launcher, folder, "main__", main]

    @staticmethod
    def _extract(folder: str, code: str) -> bool:
        """Extract a base64 zip; True when it brings its own executable, else `__main__.py` is to be
        imported."""
        import zipfile  # here, because most actions are one file of source

        try:
            archive = zipfile.ZipFile(io.BytesIO(binascii.a2b_base64(code)))
        except zipfile.BadZipFile:
            raise ValueError("The action code is neither source nor a zip archive.") from None
        with archive:
            archive.extractall(folder)
            modes = {item.filename: item.external_attr >> 16 for item in archive.infolist()}
        if modes.get("exec", 0) & 0o100:
            os.chmod(f"{folder}/exec", 0o700)
            return True
        environment = f"{folder}/virtualenv"
        if os.path.isdir(environment) and not os.path.isfile(f"{environment}/bin/activate_this.py"):
            raise ValueError("Invalid virtualenv. Zip file must include 'activate_this.py'.")
        if "__main__.py" not in modes:
            raise ValueError("Zip file must include '__main__.py'.")
        os.rename(f"{folder}/__main__.py", f"{folder}/main__.py")
        return False

    def _run(self, body: bytes) -> Answer:
        launcher = self._launcher
        if launcher is None:
            return error(500, "no action defined yet")
        sent = launcher.send(body.replace(b"\n", b" ") + b"\n")
        line = launcher.receive(self._sign_of_life) if sent else None
        if line is None:
            launcher.close()
            self._launcher = None
            return error(400, "command exited")
        if not is_answer(line):
            return error(502, "The action did not return a dictionary or array.")
        return 200, line


def error(status: int, text: str) -> Answer:
    """The contract's form of a failure."""
    return status, json.dumps({"error": text}, separators=(",", ":")).encode() + b"\n"


def is_answer(line: bytes) -> bool:
    """True for a JSON object, array or null (which Go decodes into both) without NaN and Infinity (Go
    refuses)."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    try:
        return isinstance(json.loads(line, parse_constant=refuse), dict | list | None)
    except ValueError:
        return False


def parse(buffer: bytearray) -> tuple[bytes, bytes] | None:
    """Take the first request off a buffer: path and body; None while it is incomplete."""
    end_of_head = buffer.find(b"\r\n\r\n")
    if end_of_head < 0:
        return None
    request, *headers = bytes(buffer[:end_of_head]).split(b"\r\n")
    length = next((int(line[15:]) for line in headers if line[:15].lower() == b"content-length:"), 0)
    used = end_of_head + 4 + length
    if len(buffer) < used:
        return None
    body = bytes(buffer[end_of_head + 4 : used])
    del buffer[:used]
    return request.split(b" ")[1], body


def respond(connection: socket.socket, answer: Answer) -> None:
    """Mark the end of the activation's logs, then answer: who has read the answer finds the logs complete."""
    status, body = answer
    for stream in (1, 2):
        os.write(stream, END)
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with contextlib.suppress(OSError):
        connection.sendall(head.encode() + body)


def serve(proxy: Proxy, listener: socket.socket | None, connection: socket.socket | None) -> None:
    """Answer requests of all connections, one at a time, until the given one closes (or without end)."""
    connections: dict[int, tuple[socket.socket, bytearray]] = {}
    poll = select.poll()
    if listener:
        poll.register(listener, select.POLLIN)
    if connection:
        connections[connection.fileno()] = connection, bytearray()
        poll.register(connection, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if listener and fd == listener.fileno():
                accepted, _ = listener.accept()
                connections[accepted.fileno()] = accepted, bytearray()
                poll.register(accepted, select.POLLIN)
                continue
            client, buffer = connections[fd]
            received = client.recv(1 << 20)
            if not received:
                if client is connection:
                    end()
                poll.unregister(fd)
                del connections[fd]
                client.close()
            buffer += received
            while (request := parse(buffer)) is not None:
                respond(client, proxy.answer(*request))


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents first. Source: /proc/PID/task/TID/children."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = [int(child) for child in file.read().split()]
    except OSError:
        return []
    return children + [below for child in children for below in descendants(child)]


def end() -> NoReturn:
    """End every process of this container, daemons that left its process group and this one included."""
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    os._exit(0)


def main(where: str, folder: str, python: str, memory: str) -> None:
    """Serve at `where` until the controller goes away."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    kind, _, rest = where.rpartition(":")
    if kind == "fd":
        os.set_inheritable(int(rest), False)
        connection = socket.socket(fileno=int(rest))
        serve(Proxy(folder, python, int(memory), connection.fileno()), None, connection)
        return
    listener = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
    if kind == "unix":
        listener.bind(rest)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((kind, int(rest)))
    listener.listen(16)
    serve(Proxy(folder, python, int(memory), -1), listener, None)


if __name__ == "__main__":
    main(*sys.argv[1:5])
