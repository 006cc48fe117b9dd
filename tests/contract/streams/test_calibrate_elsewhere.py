"""`calibrate` with URLs: files and runs of a storage, in and out, and what a user sees when something is wrong."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from corrected_run import pixels
from stream_rig import Server
from typer.testing import CliRunner, Result

from xdc_testbed.calibration import CalibrationManifest, ConstantsMissing, InputInvalid, InputTruncated
from xdc_testbed.cli.calibrate import app
from xdc_testbed.clients.errors import StorageDenied
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.errors import VerifyFailed, WrongUsage

AG = "AGIPD00-S00000"


@pytest.fixture
def dav(server: Server) -> WebDav:
    return server.dav()


@pytest.fixture
def raw(dav: WebDav, place: str, run: Path) -> str:
    """A folder of the storage with the raw files of the run."""
    for file in (run / "raw" / "r0001").glob("RAW-*.h5"):
        dav.put(f"{place}/raw/{file.name}", file)
    dav.put(f"{place}/raw/README", b"no raw file")
    return f"{place}/raw"


def calibrate(server: Server, run: Path, raw: str, out: str, *more: str, scope: str | None = None) -> Result:
    scopes = scope or "storage.read:/ storage.modify:/ storage.create:/"
    environment = {"BEARER_TOKEN": server.issuer.source("interop", scopes).token()}
    words = [raw, "--out", out, "-c", str(run / "cal"), "--packed", str(run / "packed"), "--ca-file", str(server.ca)]
    return CliRunner().invoke(app, [*words, *more], env=environment)


def names(dav: WebDav, folder: str) -> list[str]:
    return sorted(entry.name for entry in dav.list(folder))


def test_a_run_of_a_storage_becomes_one_there(
    server: Server, dav: WebDav, place: str, raw: str, run: Path, tmp_path: Path
) -> None:
    ended = calibrate(server, run, f"{server.url}{raw}/", f"{server.url}{place}/proc")
    assert ended.exit_code == 0, ended.output
    corrected = sorted(path.name for path in (run / "proc").glob("CORR-*.h5"))
    assert names(dav, f"{place}/proc") == [*corrected, "manifest.json"]
    manifest = CalibrationManifest.model_validate_json(dav.get(f"{place}/proc/manifest.json"))
    assert [file.output.name for file in manifest.files if file.output] == corrected
    for name in corrected:
        dav.download(f"{place}/proc/{name}", tmp_path / name)
        assert pixels(tmp_path / name) == pixels(run / "proc" / name)
    assert f"manifest: {server.url}{place}/proc/manifest.json" in ended.output


@pytest.mark.parametrize("direction", ["here", "there"])
def test_one_end_may_be_here(
    server: Server, dav: WebDav, place: str, raw: str, run: Path, tmp_path: Path, direction: str
) -> None:
    url = f"{server.url}{place}/proc".replace("https://", "davs://")
    here = tmp_path / f"CORR-R0001-{AG}.h5"
    if direction == "here":
        ended = calibrate(server, run, f"{server.url}{raw}/RAW-R0001-{AG}.h5", str(tmp_path))
    else:
        ended = calibrate(server, run, str(run / "raw" / "r0001" / f"RAW-R0001-{AG}.h5"), url)
        dav.download(f"{place}/proc/{here.name}", here)
        assert names(dav, f"{place}/proc") == [here.name, f"{here.name}.manifest.json"]
    assert ended.exit_code == 0, ended.output
    assert pixels(here) == pixels(run / "proc" / here.name)


def test_constants_may_be_there_too(
    server: Server, dav: WebDav, place: str, raw: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    for file in (run / "cal").rglob("*.h5"):
        dav.put(f"{place}/cal/{file.relative_to(run / 'cal')}", file)
    here = tmp_path / f"CORR-R0001-{AG}.h5"
    more = ("--constants", f"{server.url}{place}/cal")
    ended = calibrate(server, run, f"{server.url}{raw}/RAW-R0001-{AG}.h5", str(tmp_path), *more)
    assert ended.exit_code == 0, ended.output
    assert pixels(here) == pixels(run / "proc" / here.name)
    more = ("--constants", f"{server.url}{place}/nothing")
    ended = calibrate(server, run, f"{server.url}{raw}/RAW-R0001-{AG}.h5", str(tmp_path), *more)
    assert isinstance(ended.exception, ConstantsMissing)


def test_a_run_again_replaces_what_is_there(server: Server, dav: WebDav, place: str, raw: str, run: Path) -> None:
    words = (f"{server.url}{raw}/RAW-R0001-{AG}.h5", f"{server.url}{place}/proc")
    for number in ("1", "2"):
        assert calibrate(server, run, *words, "--set", f"fixed_gain={number}").exit_code == 0
    manifest = dav.get(f"{place}/proc/CORR-R0001-{AG}.h5.manifest.json")
    assert CalibrationManifest.model_validate_json(manifest).parameters.fixed_gain == 2
    assert len(names(dav, f"{place}/proc")) == 2


def test_a_file_that_is_cut_off_does_not_stop_the_run(
    server: Server, dav: WebDav, place: str, raw: str, run: Path
) -> None:
    cut = f"{raw}/RAW-R0001-{AG}.h5"
    content = dav.get(cut)
    dav.delete(cut)
    dav.put(cut, content[:-1])
    ended = calibrate(server, run, f"{server.url}{raw}", f"{server.url}{place}/proc")
    assert isinstance(ended.exception, VerifyFailed)
    assert "input-truncated: input is truncated" in ended.output
    assert f"CORR-R0001-{AG}.h5" not in names(dav, f"{place}/proc")
    ended = calibrate(server, run, f"{server.url}{cut}", f"{server.url}{place}/other")
    assert isinstance(ended.exception, InputTruncated)


def test_what_is_not_allowed_leaves_nothing(server: Server, dav: WebDav, place: str, raw: str, run: Path) -> None:
    dav.mkcol(f"{place}/proc")
    ended = calibrate(server, run, f"{server.url}{raw}", f"{server.url}{place}/proc", scope="storage.read:/")
    assert isinstance(ended.exception, StorageDenied)
    assert names(dav, f"{place}/proc") == []


def test_what_cannot_be_meant_is_one_line(server: Server, raw: str, place: str, run: Path, tmp_path: Path) -> None:
    out = f"{server.url}{place}/proc"
    for words, error, told in (
        ((f"{server.url}{raw}/RAW-R0009.h5", out), WrongUsage, "is not there"),
        ((f"{server.url}{place}/nothing", out), InputInvalid, "no raw file in"),
        ((f"root://localhost:1{raw}", out), WrongUsage, "root:// is not spoken here"),
        ((f"{server.url}{raw}", out, "--plots"), WrongUsage, "need files here"),
        ((f"{server.url}{raw}", out, "--token-file", str(tmp_path / "no")), WrongUsage, "cannot be read"),
    ):
        ended = calibrate(server, run, *words)
        assert isinstance(ended.exception, error), ended.output
        assert told in ended.exception.message  # type: ignore[attr-defined]


def test_a_token_may_be_in_a_file(server: Server, raw: str, run: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(server.issuer.source("interop").token() + "\n")
    words = [f"{server.url}{raw}/RAW-R0001-{AG}.h5", "-o", str(tmp_path), "-c", str(run / "cal")]
    words += ["--ca-file", str(server.ca), "--token-file", str(tmp_path / "token")]
    ended = CliRunner().invoke(app, words, env={name: "" for name in os.environ if name.startswith("BEARER_")})
    assert ended.exit_code == 0, ended.output
