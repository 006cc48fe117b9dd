"""Configuration of the standalone OpenWhisk, as its README and the observed settings have it.

The real jar reads none of it here.
"""

from __future__ import annotations

import json
import re

import pytest
from rendered_files import Rendered, rendered

FILES = "_openwhisk_files.url + _openwhisk_action_files"
DESCRIPTION = f"""
profile = "demo"
[nodes.desy-functions.vars]
openwhisk_source = "url"
openwhisk_archive = "https://openwhisk.example.org/openwhisk-standalone.jar"
openwhisk_archive_checksum = "sha256:{"0" * 64}"
openwhisk_runtime_image = "registry.example.org:5000/xdc/python:1"
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    return rendered(tmp_path_factory.mktemp("openwhisk"), "openwhisk", FILES, DESCRIPTION)["desy-functions"]


def test_the_server_is_on_loopback_so_that_rules_reach_it(files: Rendered) -> None:
    start = re.findall("ExecStart=(.*)", files.texts["standalone.service"])[0]
    assert "-Dwhisk.standalone.host.name=127.0.0.1 -jar /opt/openwhisk-2.0.0/openwhisk-standalone.jar " in start
    assert " --port 13233 " in start
    assert "--no-ui" in start


def test_other_nodes_reach_it_over_tls_at_the_port_of_the_inventory(files: Rendered) -> None:
    assert "accept = 0.0.0.0:3233\nconnect = 127.0.0.1:13233\n" in files.texts["tls.conf"]
    assert 'api_host = "https://desy-functions.xdc.test:3233"' in files.texts["actions.toml"]


def test_actions_run_in_the_image_that_was_given_and_none_waits_for_node_js(files: Rendered) -> None:
    runtimes = json.loads(files.texts["runtimes.json"])["runtimes"]
    assert list(runtimes) == ["python"]
    (runtime,) = runtimes["python"]
    assert runtime["kind"] == "python:3.11"
    assert runtime["image"] == {"prefix": "registry.example.org:5000/xdc", "name": "python", "tag": "1"}
    assert "stemCells" not in runtime


def test_limits_are_those_of_the_testbed_and_a_dead_container_is_told(files: Rendered) -> None:
    conf = files.texts["standalone.conf"]
    assert conf.splitlines()[1] == 'include classpath("standalone.conf")'
    assert "limits-actions-invokes-perMinute = 60000" in conf
    assert "retry-no-http-response-exception = false" in conf


def test_the_key_is_in_files_of_their_owners_alone_and_on_no_command_line(files: Rendered) -> None:
    key = files.texts["openwhisk.auth"].strip()
    holding = {name for name, text in files.texts.items() if key in text}
    assert holding == {"openwhisk.auth", "standalone.conf"}
    assert {files.placed[name]["mode"] for name in holding} == {"0400"}
