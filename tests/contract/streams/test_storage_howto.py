"""The page `calibrate-on-a-storage` does what it says, on a storage at hand in place of its example."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from stream_rig import Server

from xdc_testbed import content
from xdc_testbed.demo.detector_data import RunPlan, write_run

PAGE = content.root() / "docs" / "howto" / "calibrate-on-a-storage.md"


def test_every_command_of_the_page_works(server: Server, place: str, tmp_path: Path) -> None:
    write_run(tmp_path / "run", RunPlan.tiny().model_copy(update={"truncated": None}))
    dav, token = server.dav(), server.issuer.source("interop").token()
    for file in (tmp_path / "run" / "raw" / "r0001").glob("RAW-*.h5"):
        dav.put(f"{place}/raw/r0001/{file.name}", file)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "BEARER_TOKEN": token, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    host = server.url.removeprefix("https://")
    text = (
        PAGE.read_text().replace("/data/", f"{place}/").replace('.org:2880", ', f'.org:2880", ca_file="{server.ca}", ')
    )
    text = text.replace("storage.example.org:2880", host).replace('"a token"', f'"{token}"')
    for kind, block in re.findall(r"^```(python|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        commands = [[sys.executable, "-c", block]] if kind == "python" else []
        lines = [line.removeprefix("$ ").split() for line in block.splitlines() if line.startswith("$ ")]
        commands += [[*line, "--ca-file", str(server.ca)] for line in lines]
        for command in commands:
            ended = subprocess.run(
                command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120
            )
            assert ended.returncode == 0, (command, ended.stdout, ended.stderr)
    assert len(dav.list(f"{place}/proc/r0001")) == 6
    assert dav.exists(f"{place}/CORR.h5")
    assert (tmp_path / "proc" / "CORR-R0001-AGIPD00-S00000.h5").is_file()
