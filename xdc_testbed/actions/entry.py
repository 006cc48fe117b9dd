"""`__main__.py` of the package of actions: one function per action, named by the action's `main`.

What an action needs is imported when it first runs, after its start has been noted.
"""

from __future__ import annotations

import time
from typing import Any


def calibrate(arguments: dict[str, Any]) -> dict[str, Any]:
    """See xdc_testbed.actions.calibrate."""
    started_at = time.time()
    from xdc_testbed.actions.calibrate import main

    return main(arguments, started_at)


def transfer(arguments: dict[str, Any]) -> dict[str, Any]:
    """See xdc_testbed.actions.transfer."""
    started_at = time.time()
    from xdc_testbed.actions.transfer import main

    return main(arguments, started_at)


def qos(arguments: dict[str, Any]) -> dict[str, Any]:
    """See xdc_testbed.actions.qos."""
    started_at = time.time()
    from xdc_testbed.actions.qos import main

    return main(arguments, started_at)


def catalogue(arguments: dict[str, Any]) -> dict[str, Any]:
    """See xdc_testbed.actions.catalogue."""
    started_at = time.time()
    from xdc_testbed.actions.catalogue import main

    return main(arguments, started_at)
