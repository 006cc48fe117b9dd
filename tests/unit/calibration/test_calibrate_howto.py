"""The page `calibrate-a-run` does what it says, from its first line to its last."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from xdc_testbed import content
from xdc_testbed.calibration import CalibrationManifest

PAGE = content.root() / "docs" / "howto" / "calibrate-a-run.md"


def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    said = []
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for kind, block in re.findall(r"^```(python|console)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        commands = [[sys.executable, "-c", block]] if kind == "python" else []
        commands += [line.removeprefix("$ ").split() for line in block.splitlines() if line.startswith("$ ")]
        for command in commands:
            ended = subprocess.run(
                command, check=False, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PATH": path}
            )
            assert ended.returncode == 0, (command, ended.stdout, ended.stderr)
            said.append(ended.stdout)
    assert "(1, 8, 512, 128) float32" in said[-1]
    assert any("repeated: 5 of 5 files with the recorded outcome" in text for text in said)
    assert (tmp_path / "run" / "proc" / "report.html").stat().st_size > 100_000
    manifest = CalibrationManifest.model_validate_json((tmp_path / "run" / "proc" / "manifest.json").read_text())
    taken = {part.file.rsplit("/", 1)[1] for file in manifest.files if file.constants for part in file.constants.parts}
    assert taken == {"cal.20260301T000000Z.h5", "cal.20260301T080000Z.h5"}
