"""Where playbooks, roles, inventory and Terraform modules are: in a checkout beside the package, or in the wheel."""

from __future__ import annotations

from pathlib import Path

from xdc_testbed.errors import RequirementMissing

_PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """The folder that holds `playbooks`, `roles`, `inventory`, `terraform` and `ansible.cfg`."""
    for candidate in (_PACKAGE.parent, _PACKAGE / "_content"):
        if (candidate / "playbooks" / "site.yml").is_file() and (candidate / "inventory" / "groups.yml").is_file():
            return candidate
    raise RequirementMissing(
        f"the kit's playbooks are neither beside nor inside {_PACKAGE}",
        remedy="reinstall the package: pip install xdc-testbed",
    )
