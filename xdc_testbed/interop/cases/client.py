"""Other people's clients against the https door: what users have on their machines."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from xdc_testbed.interop.capabilities import GET, PUT
from xdc_testbed.interop.outcome import Skip, require
from xdc_testbed.interop.place import difference
from xdc_testbed.interop.registry import MIB, case
from xdc_testbed.interop.trial import Trial
from xdc_testbed.processes import run

_PLAIN = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent"}


@case(
    "client.curl",
    "curl uploads and downloads",
    needs=(GET, PUT),
    credentials=("token", "x509"),
    sizes=(0, MIB),
)
def curl(trial: Trial) -> None:
    """What curl uploads is stored unchanged, and what it downloads is the same."""
    trial.clients.add("curl")
    data = trial.content()
    path = trial.source.file("curl.bin")
    with tempfile.TemporaryDirectory(prefix="xdc-curl-") as name:
        sent, got = Path(name, "sent"), Path(name, "got")
        sent.write_bytes(data)
        _curl(trial, path, {"upload-file": str(sent), "output": str(Path(name, "answer"))})
        trial.source.require_content(path, data)
        _curl(trial, path, {"output": str(got)})
        found = got.read_bytes() if got.exists() else b""  # curl makes no file of nothing
    require(found == data, f"curl downloads other bytes: {difference(found, data)}")


@case("client.davix", "davix uploads and downloads", needs=(GET, PUT), credentials=("x509",), sizes=(1, MIB))
def davix(trial: Trial) -> None:
    """What davix uploads is stored unchanged, and what it downloads is the same."""
    trial.clients.add("davix")
    wallet = trial.source.place.wallet
    pair = wallet.certificate(trial.cell.credential)
    if pair is None or wallet.ca_directory is None:
        raise Skip("davix needs a certificate and a directory of authorities")
    options: list[str | Path] = ["--capath", wallet.ca_directory, "--cert", pair[0], "--key", pair[1], "--retry", "0"]
    data = trial.content()
    path = trial.source.file("davix.bin")
    with tempfile.TemporaryDirectory(prefix="xdc-davix-") as name:
        sent, got = Path(name, "sent"), Path(name, "got")
        sent.write_bytes(data)
        run(["davix-put", *options, sent, trial.source.url(path)], timeout=trial.left(), env=_PLAIN)
        trial.source.require_content(path, data)
        run(["davix-get", *options, trial.source.url(path), got], timeout=trial.left(), env=_PLAIN)
        found = got.read_bytes()
    require(found == data, f"davix downloads other bytes: {difference(found, data)}")


def _curl(trial: Trial, path: str, options: dict[str, str]) -> None:
    """Run curl once. Its configuration comes over standard input, so that no token is in the list of processes."""
    wallet = trial.source.place.wallet
    asked = {"url": trial.source.url(path), "fail": "", "silent": "", "show-error": "", "location": "", **options}
    if wallet.ca is not None:
        asked["capath" if wallet.ca.is_dir() else "cacert"] = str(wallet.ca)
    token = wallet.token(trial.cell.credential, trial.source.path)
    if token is not None:
        asked["header"] = f"Authorization: Bearer {token()}"
    pair = wallet.certificate(trial.cell.credential)
    if pair is not None:
        asked |= {"cert": str(pair[0]), "key": str(pair[1])}
    config = "".join(f"{name} = {json.dumps(value)}\n" if value else f"{name}\n" for name, value in asked.items())
    run(["curl", "--disable", "--config", "-"], timeout=trial.left(), env=_PLAIN, input=config.encode())
