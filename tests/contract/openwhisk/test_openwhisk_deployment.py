"""The kit's actions on an OpenWhisk: one archive, deployed by the kit's program, in a runtime or in an image."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path

import pytest
from openwhisk_emulator import GUEST, Emulator, running

from xdc_testbed.actions import deploy, package
from xdc_testbed.clients.openwhisk import OpenWhisk

IMAGE = "registry.example.org/xdc-actions:1"


def configuration(emulator: Emulator, folder: Path, image: str | None) -> Path:
    (folder / "secret").write_text("not-a-secret")
    config = folder / "actions.toml"
    config.write_text(
        f"""
api_host = "{emulator.url}"
auth_file = "{emulator.folder}/guest.auth"
ca_file = "/etc/ssl/certs/ca-certificates.crt"
{f'image = "{image}"' if image else ""}
[token]
issuer = "https://issuer.example.org"
client_id = "actions"
client_secret_file = "{folder}/secret"
[endpoints]
"""
    )
    return config


@pytest.mark.parametrize(("image", "kind"), [(None, "python:3.11"), (IMAGE, "blackbox")])
def test_every_action_runs_from_the_archive_that_the_kit_builds(tmp_path: Path, image: str | None, kind: str) -> None:
    tables = {"images": {IMAGE: sys.executable}, "pool": {"memory": 4096}}
    with running(tmp_path / "openwhisk", tables=tables) as emulator, OpenWhisk(emulator.url, GUEST) as whisk:
        assert deploy.main(["--config", str(configuration(emulator, tmp_path, image))]) == 0
        for name in ("calibrate", "transfer", "qos", "catalogue"):
            code = whisk.get_action(f"xdc/{name}", code=True)["exec"]["code"]
            assert hashlib.sha256(base64.b64decode(code)).hexdigest() == package.build().sha256
            record = whisk.invoke(f"xdc/{name}", {"work_id": "w"})
            assert record.error == {"reason": "the arguments have no object 'event'", "retry": False}
            assert record.annotations["kind"] == kind
        assert json.dumps(whisk.invoke("xdc/noop").result).startswith('{"started_at": ')


def test_without_its_image_an_action_says_so(tmp_path: Path) -> None:
    with running(tmp_path / "openwhisk") as emulator, OpenWhisk(emulator.url, GUEST) as whisk:
        deploy.main(["--config", str(configuration(emulator, tmp_path, IMAGE))])
        assert whisk.invoke("xdc/noop").status == "whisk internal error"
