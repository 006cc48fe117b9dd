"""How fast the dCache emulator gives and takes files: one JSON line per figure.

    python benchmarks/dcache.py [--size MIB] [--seconds S] [--folder FOLDER]

Downloads are read by curl, from nginx and from the emulator in turn, of the same file on the same disk: the ratio
counts. The emulator's include the redirect from the door to the pool. Uploads of 1 KiB go through the encrypted door
over kept connections; beside them stands how many such files the file system itself can make, which bounds them.
"""

from __future__ import annotations

import argparse
import base64
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "contract" / "dcache"))

from dcache_rig import DcacheEmulator, free_port, until
from shared.figures import show
from storage_rig import HOST, Authority

_BASIC = "Authorization: Basic " + base64.b64encode(b"tester:secret").decode()
_NGINX = "/usr/sbin/nginx"
_ROUNDS = 3
_MANY = 4
_CREATED = 2000
_PATIENCE = 600


def main() -> None:
    """Start both servers, measure, end them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the file that is downloaded")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement of uploads")
    parser.add_argument("--folder", type=Path, help="where the files lie; a temporary one when not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        home = Path(name)
        authority = Authority.make(home / "pki")
        emulator = DcacheEmulator(home / "emulator", authority)
        emulator.start()
        try:
            uploads(emulator, authority, arguments.seconds)
            downloads(emulator, authority, home, arguments.size)
        finally:
            emulator.stop()


def downloads(emulator: DcacheEmulator, authority: Authority, home: Path, size: int) -> None:
    """Print what nginx and the emulator serve."""
    big = home / "big"
    with big.open("wb") as file:
        for _ in range(size):
            file.write(os.urandom(1 << 20))
    curl(authority, "-H", _BASIC, "-H", "Expect:", "-T", str(big), f"{emulator.webdav}/data/big")
    with nginx(home, authority, big) as ports:
        for scheme, door in (("https", emulator.webdav), ("http", emulator.plain)):
            reference, own = [], []
            for _ in range(_ROUNDS):
                reference.append(rate(size, authority, f"{scheme}://{HOST}:{ports[scheme]}/big"))
                own.append(rate(size, authority, "-L", "-H", _BASIC, f"{door}/data/big"))
            show(f"GET of {size} MiB by {scheme}, nginx", statistics.median(reference), "MB/s")
            show(f"GET of {size} MiB by {scheme}, emulator", statistics.median(own), "MB/s")
            share = statistics.median(own) / statistics.median(reference)
            show(f"GET of {size} MiB by {scheme}, emulator / nginx", share, "1", at_least=0.5)


def uploads(emulator: DcacheEmulator, authority: Authority, seconds: float) -> None:
    """Print how many files of 1 KiB are taken in a second."""
    pool = emulator.root / "pools" / "pool1"
    show("files of 1 KiB that the file system makes", created(pool), "1/s")
    context = ssl.create_default_context(cafile=str(authority.ca))
    port = emulator.ports["https"]
    for count in (1, _MANY):
        with ThreadPoolExecutor(count) as callers:
            begun = time.perf_counter()
            running = [callers.submit(upload, port, context, f"{count}-{who}", seconds) for who in range(count)]
            rate_ = sum(each.result() for each in running) / (time.perf_counter() - begun)
        show(f"uploads of 1 KiB, {count} connections", rate_, "1/s", at_least=500.0 if count > 1 else None)


def upload(port: int, context: ssl.SSLContext, who: str, seconds: float) -> int:
    """Upload for some seconds over one connection. Returns how many files."""
    end, number = time.perf_counter() + seconds, 0
    with (
        socket.create_connection((HOST, port), 30) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as sock,
    ):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.perf_counter() < end:
            head = (
                f"PUT /data/{who}-{number} HTTP/1.1\r\nHost: {HOST}:{port}\r\n{_BASIC}\r\nContent-Length: 1024\r\n\r\n"
            )
            sock.sendall(head.encode() + b"x" * 1024)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += sock.recv(4096)
            if not answer.startswith(b"HTTP/1.1 201 "):
                raise RuntimeError(answer.decode("latin-1"))
            number += 1
    return number


def created(folder: Path) -> float:
    """Files of 1 KiB that one thread makes in a second in a folder of a file system."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        begun = time.perf_counter()
        for number in range(_CREATED):
            with (Path(name) / str(number)).open("wb", buffering=0) as file:
                file.write(b"x" * 1024)
        return _CREATED / (time.perf_counter() - begun)


def rate(size: int, authority: Authority, *arguments: str) -> float:
    """MB/s of one download."""
    begun = time.perf_counter()
    curl(authority, "-o", "/dev/null", *arguments)
    return size * 1.048576 / (time.perf_counter() - begun)


def curl(authority: Authority, *arguments: str) -> None:
    """Run curl, which must succeed."""
    command = ["curl", "--silent", "--show-error", "--fail", "--cacert", str(authority.ca), *arguments]
    subprocess.run(command, check=True, timeout=_PATIENCE, stdout=subprocess.DEVNULL)


@contextmanager
def nginx(home: Path, authority: Authority, file: Path) -> Iterator[dict[str, int]]:
    """nginx that serves one file; scheme -> port."""
    folder = home / "nginx"
    (folder / "files").mkdir(parents=True)
    os.link(file, folder / "files" / file.name)
    ports = {"https": free_port(), "http": free_port()}
    hosts = authority.folder / "hosts"
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"""
{user}
worker_processes 2;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{ports["http"]};
    listen 127.0.0.1:{ports["https"]} ssl;
    ssl_certificate {hosts}/{HOST}.pem;
    ssl_certificate_key {hosts}/{HOST}.key;
    root {folder}/files;
  }}
}}
"""
    )
    process = subprocess.Popen([_NGINX, "-c", str(folder / "nginx.conf"), "-p", str(folder)], stderr=subprocess.DEVNULL)
    try:
        until(lambda: process.poll() is not None or _listens(ports["https"]), "nginx answers")
        if process.poll() is not None:
            raise RuntimeError((folder / "error.log").read_text())
        yield ports
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
