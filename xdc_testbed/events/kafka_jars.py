"""The broker's jars: resolved once by Maven, checked against pinned checksums, kept as one archive on the
controller.

    python -m xdc_testbed.events.kafka_jars

prints one JSON line: `{"archive": "...", "version": "4.3.1", "changed": true}`. The pins are `kafka_version`,
`kafka_artefacts` and `kafka_jars` (file name: SHA-256) in inventory/versions.yml; one jar more, less or
other than pinned is an error.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path
from shutil import which
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from xdc_testbed import content
from xdc_testbed.errors import RequirementMissing, VerifyFailed, WrongUsage, XdcError
from xdc_testbed.processes import run

_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_FETCH_WITHIN = 600.0  # seconds; cold and slow network

_POM = """\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>xdc</groupId><artifactId>kafka-jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""
_DEPENDENCY = "    <dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"


class Pins(BaseModel):
    """What versions.yml says about the broker. artefacts: `group:artefact:version`; jars: file name to
    SHA-256.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    kafka_version: str
    kafka_artefacts: tuple[str, ...]
    kafka_jars: dict[str, str]

    @classmethod
    def load(cls, path: Path) -> Pins:
        """Read the pins. Raises WrongUsage naming the key at fault."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text()))
        except OSError as error:
            raise WrongUsage(f"{path}: {error.strerror}", remedy="reinstall the kit") from None
        except ValidationError as error:
            first = error.errors()[0]
            raise WrongUsage(f"{path}: {first['loc'][0]}: {first['msg']}", remedy="correct that key") from None

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that change with any pin."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]


def cache_folder() -> Path:
    """Where the archive is kept between testbeds."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "xdc-testbed"


def ensure(pins: Pins, folder: Path) -> tuple[Path, bool]:
    """The archive (a tar of jars) for these pins, and whether it had to be made.

    Raises RequirementMissing without Maven, VerifyFailed when what came is not what is pinned, XdcError
    when nothing came.
    """
    archive = folder / f"kafka-{pins.kafka_version}-{pins.digest}.tar"
    if archive.is_file():
        return archive, False
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kafka-", dir=folder) as workspace:
        jars = _fetch(pins, Path(workspace))
        check(pins, jars)
        fresh = Path(workspace) / "archive.tar"
        _pack(jars, fresh)
        fresh.replace(archive)
    return archive, True


def check(pins: Pins, jars: Path) -> None:
    """Compare a folder of jars with the pins. Raises VerifyFailed naming the first difference."""
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in jars.glob("*.jar")}
    for name in sorted(found.keys() | pins.kafka_jars.keys()):
        if found.get(name) != pins.kafka_jars.get(name):
            seen, wanted = found.get(name, "nothing"), pins.kafka_jars.get(name, "nothing")
            raise VerifyFailed(
                f"jar {name}: {wanted[:16]} is pinned, {seen[:16]} came",
                remedy="compare kafka_jars in inventory/versions.yml with the release",
            )


def pom(pins: Pins) -> str:
    """The Maven project whose dependencies are the artefacts."""
    return _POM.format(dependencies="\n".join(_DEPENDENCY.format(*each.split(":")) for each in pins.kafka_artefacts))


def _fetch(pins: Pins, workspace: Path) -> Path:
    if which("mvn") is None:
        raise RequirementMissing("Maven is not installed", remedy="sudo apt-get install maven  (or: make setup)")
    (workspace / "pom.xml").write_text(pom(pins))
    jars = workspace / "jars"
    done = run(
        [
            "mvn",
            "-q",
            "-B",
            "-f",
            workspace / "pom.xml",
            _COPY,
            "-DincludeScope=runtime",
            f"-DoutputDirectory={jars}",
        ],
        timeout=_FETCH_WITHIN,
        check=False,
    )
    if done.returncode != 0:
        raise XdcError(
            f"Maven did not bring Apache Kafka {pins.kafka_version}: {_first_error(done.stdout)}",
            remedy="is the network up, and Maven set up for it? Run the same command again, it resumes",
        )
    return jars


def _first_error(output: bytes) -> str:
    lines = [line for line in output.decode(errors="replace").splitlines() if "ERROR" in line]
    return lines[0].replace("[ERROR]", "").strip()[:300] if lines else "no reason given"


def _pack(jars: Path, archive: Path) -> None:
    """One tar, the same bytes for the same jars."""
    with tarfile.open(archive, "w") as tar:
        for path in sorted(jars.glob("*.jar")):
            data = path.read_bytes()
            entry = tarfile.TarInfo(path.name)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))


def main() -> int:
    """Make sure of the archive and say where it is."""
    try:
        pins = Pins.load(content.root() / "inventory" / "versions.yml")
        archive, changed = ensure(pins, cache_folder())
    except XdcError as error:
        sys.stderr.write(f"{error.message}\n{error.remedy or ''}\n")
        return error.exit_code
    said: dict[str, Any] = {"archive": str(archive), "version": pins.kafka_version, "changed": changed}
    sys.stdout.write(json.dumps(said) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
