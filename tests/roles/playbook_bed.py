"""A testbed made by the library, whose playbooks can be run one by one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from xdc_testbed.progress import silent
from xdc_testbed.testbed import ansible, ssh
from xdc_testbed.testbed.ansible import Outcome
from xdc_testbed.testbed.lifecycle import Testbed


@dataclass(frozen=True)
class Bed:
    """A testbed that is up, or has tried to be."""

    testbed: Testbed

    def run(self, playbook: str, *, check: bool = False) -> Outcome:
        """Run one playbook on all nodes."""
        folder = self.testbed.folder
        return ansible.run_playbook(
            playbook,
            inventory=Path(folder.inventory) / "hosts.json",
            state_dir=folder.path,
            log_dir=folder.run_dir("logs", f"{playbook}-{time.time():.0f}"),
            extra_vars=[Path(folder.inventory) / "secrets.json"],
            expected={},
            report=silent,
            phase=playbook,
            strategy="mitogen_linear",
            timeout=600,
            check=check,
        )

    def on(self, node: str, script: str) -> str:
        """What a script on a node says."""
        words = ("sh", "-c", script)
        return ssh.execute(self.testbed.node(node), self.testbed.known_hosts, *words, timeout=60, check=False).text
