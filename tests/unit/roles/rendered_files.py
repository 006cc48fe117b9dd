"""Files of a role as Ansible's own templating makes them, for the nodes of a description; nothing is installed."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xdc_testbed import content
from xdc_testbed.drivers.base import Node
from xdc_testbed.processes import run
from xdc_testbed.testbed import inventory, secrets, sources
from xdc_testbed.testbed.ansible import environment
from xdc_testbed.testbed.description import load

_TASKS = """\
- name: Files are rendered
  ansible.builtin.copy:
    content: |
      {%% for item in %s %%}
      {{ {'text': lookup('ansible.builtin.template', item.src), 'placed': item} | to_json }}
      {%% endfor %%}
    dest: "{{ rendered_dir }}/{{ inventory_hostname }}.jsonl"
"""


@dataclass(frozen=True)
class Rendered:
    """Files of one node: by template, and what the role says of each (dest, owner, mode)."""

    texts: dict[str, str]
    placed: dict[str, dict[str, str]]

    def properties(self, name: str) -> dict[str, dict[str, str]]:
        """A layout of dCache: section -> key -> value; what is before the first section has the empty name."""
        found: dict[str, dict[str, str]] = {"": {}}
        section = ""
        for line in self.texts[name].splitlines():
            text = line.strip()
            if text.startswith("["):
                section = text.strip("[]")
                found.setdefault(section, {})
            elif text and not text.startswith("#"):
                key, _, value = text.partition("=")
                found[section][key.strip()] = value.strip()
        return found


def rendered(folder: Path, role: str, files: str, description: str) -> dict[str, Rendered]:
    """Render `files`, an expression of the role's variables, for each node of a description. folder: an empty one."""
    file = folder / "testbed.toml"
    file.write_text(description)
    described = load(file, environ={}).description
    nodes = [
        Node(
            name=name,
            site=node.site,
            groups=node.groups,
            fqdn=f"{name}.{described.domain}",
            address=f"10.89.77.{number}",
            ssh_address="127.0.0.1",
            ssh_port=22,
            ssh_user="root",
            key_file="",
            host_key="",
            driver="podman",
            resource_id=name,
        )
        for number, (name, node) in enumerate(described.nodes.items(), 11)
    ]
    whole = inventory.render(
        described, nodes, testbed_id="0123456789", known_hosts=folder / "hosts", pki=folder / "pki", extra={}
    )
    own = secrets.ensure(folder / "secrets.yml", [node.name for node in nodes]) | sources.secrets(described)
    common: dict[str, Any] = {"ansible_connection": "local", "rendered_dir": str(folder), "testbed_secrets": own}
    whole["all"]["vars"] |= common
    (folder / "hosts.json").write_text(json.dumps(whole))
    shutil.copytree(content.root() / "roles" / role, folder / "roles" / role)
    (folder / "roles" / role / "tasks" / "rendered.yml").write_text(_TASKS % files)
    (folder / "play.yml").write_text(
        f"- hosts: {role}\n  gather_facts: false\n  tasks:\n"
        f"    - ansible.builtin.import_role: {{name: {role}, tasks_from: rendered}}\n"
    )
    settings = environment(folder, strategy="linear", forks=4) | {"ANSIBLE_ROLES_PATH": str(folder / "roles")}
    done = run(
        [sys.executable, "-m", "ansible", "playbook", folder / "play.yml", "-i", folder / "hosts.json"],
        timeout=120,
        env=settings,
        check=False,
    )
    assert done.returncode == 0, done.text
    return {node.name: _read(folder / f"{node.name}.jsonl") for node in nodes if role in node.groups}


def _read(file: Path) -> Rendered:
    made = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    names = [entry["placed"]["src"].removesuffix(".j2") for entry in made]
    return Rendered(
        {name: entry["text"] or "" for name, entry in zip(names, made, strict=True)},
        {name: entry["placed"] for name, entry in zip(names, made, strict=True)},
    )
