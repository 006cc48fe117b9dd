"""The broker's jars: exactly what is pinned, or an error that names the difference."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from xdc_testbed import content
from xdc_testbed.errors import VerifyFailed, WrongUsage, XdcError
from xdc_testbed.events.kafka_jars import Pins, check, ensure, pom


def pins(**jars: bytes) -> Pins:
    return Pins(
        kafka_version="4.0.0",
        kafka_artefacts=("org.example:kafka_2.13:4.0.0",),
        kafka_jars={f"{name}.jar": hashlib.sha256(data).hexdigest() for name, data in jars.items()},
    )


def folder(path: Path, **jars: bytes) -> Path:
    for name, data in jars.items():
        (path / f"{name}.jar").write_bytes(data)
    return path


def test_what_is_pinned_is_accepted(tmp_path: Path) -> None:
    check(pins(a=b"1", b=b"2"), folder(tmp_path, a=b"1", b=b"2"))


@pytest.mark.parametrize(
    ("came", "named"),
    [
        ({"a": b"1", "b": b"other"}, "b.jar"),
        ({"a": b"1"}, "b.jar"),
        ({"a": b"1", "b": b"2", "c": b"3"}, "c.jar"),
    ],
    ids=["changed", "missing", "more"],
)
def test_any_difference_is_refused_by_name(tmp_path: Path, came: dict[str, bytes], named: str) -> None:
    with pytest.raises(VerifyFailed, match=named):
        check(pins(a=b"1", b=b"2"), folder(tmp_path, **came))


def test_an_archive_that_is_there_is_used(tmp_path: Path) -> None:
    known = pins(a=b"1")
    archive = tmp_path / f"kafka-4.0.0-{known.digest}.tar"
    archive.write_bytes(b"")
    assert ensure(known, tmp_path) == (archive, False)


def test_other_pins_are_another_archive() -> None:
    assert pins(a=b"1").digest != pins(a=b"2").digest


def test_the_project_names_each_artefact() -> None:
    wanted = "<groupId>org.example</groupId><artifactId>kafka_2.13</artifactId><version>4.0.0</version>"
    assert wanted in pom(pins())


def test_the_kits_own_pins_hold_a_broker_and_a_logger() -> None:
    own = Pins.load(content.root() / "inventory" / "versions.yml")
    assert f"kafka_2.13-{own.kafka_version}.jar" in own.kafka_jars
    assert any(name.startswith("slf4j-simple") for name in own.kafka_jars)


def test_missing_pins_are_named(tmp_path: Path) -> None:
    (tmp_path / "versions.yml").write_text("kafka_version: '1'\n")
    with pytest.raises(WrongUsage, match="kafka_artefacts"):
        Pins.load(tmp_path / "versions.yml")


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven that does what the script `answer` says, with the folder of jars in $jars."""
    programs = tmp_path / "bin"
    programs.mkdir()
    answer = tmp_path / "answer"
    mvn = programs / "mvn"
    mvn.write_text(
        "#!/bin/sh\n"
        'for word in "$@"; do case $word in -DoutputDirectory=*) jars=${word#*=};; esac; done\n'
        f'mkdir -p "$jars"; . {answer}\n'
    )
    mvn.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return answer


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('printf 12 > "$jars/a.jar"; echo "[ERROR] Connection reset"; exit 1\n', "Connection reset"),
        ('printf 12 > "$jars/a.jar"\n', "jar a.jar: "),
    ],
    ids=["connection lost", "half a file"],
)
def test_a_download_that_was_interrupted_leaves_nothing_and_is_made_good(
    tmp_path: Path, maven: Path, answer: str, reason: str
) -> None:
    known, cache = pins(a=b"1234"), tmp_path / "cache"
    maven.write_text(answer)
    with pytest.raises(XdcError, match=reason):
        ensure(known, cache)
    assert list(cache.iterdir()) == []
    maven.write_text('printf 1234 > "$jars/a.jar"\n')
    archive, changed = ensure(known, cache)
    assert changed
    with tarfile.open(archive) as tar:
        assert [(entry.name, entry.size) for entry in tar] == [("a.jar", 4)]
    assert list(cache.iterdir()) == [archive]
