"""Proves that an OpenWhisk runs actions, by using it: what the role's `verify` runs on the node.

    echo '{"api_host": ..., "auth": ..., "ca_file": ...}' | python -m xdc_testbed.clients.openwhisk_proof

The question comes on standard input, as it holds a secret; the answer is one JSON line, `{"ok": true,
...}` or `{"ok": false, "error": ...}`. Exit status 0 or 1.
"""

from __future__ import annotations

import json
import secrets
import sys
from typing import Any

from xdc_testbed.clients.openwhisk import Denied, OpenWhisk
from xdc_testbed.errors import VerifyFailed, XdcError

_CODE = "def main(args):\n    return {'double': [2 * number for number in args['numbers']]}\n"


def prove(api_host: str, auth: str, ca_file: str | None) -> dict[str, Any]:
    """Create an action, run it and compare, delete it; and be refused with a wrong key.

    Returns what was seen. Raises VerifyFailed or an OpenWhiskError.
    """
    name = f"verify-{secrets.token_hex(4)}"
    with OpenWhisk(api_host, auth, ca_file) as platform:
        build = platform.build()
        platform.put_action(name, _CODE, time_limit=60, memory=128)
        try:
            record = platform.invoke(name, {"numbers": [1, 2, 3]}, timeout=90)
        finally:
            platform.delete("actions", name, missing_ok=True)
        if record.result != {"double": [2, 4, 6]}:
            raise VerifyFailed(f"the action returned {record.result} ({record.status})")
    uuid = auth.partition(":")[0]
    with OpenWhisk(api_host, f"{uuid}:{'x' * 64}", ca_file) as stranger:
        try:
            stranger.limits()
        except Denied:
            return {
                "ok": True,
                "build": build.get("build"),
                "kind": build.get("buildno"),
                "milliseconds": record.duration,
            }
    raise VerifyFailed("a wrong key is accepted")


def main() -> int:
    """Read the question, answer it. Returns the exit code."""
    try:
        answer = prove(**json.load(sys.stdin))
    except XdcError as error:
        answer = {"ok": False, "error": error.message}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0 if answer["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
