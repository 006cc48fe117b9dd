"""Run one Python action for the action proxy: one JSON line in on stdin, one out on file descriptor 3.

Started by the proxy with the folder of the action, the module and the function name as arguments. Follows
the launcher of the published Python runtime, oddities included: a result that is no JSON, or `sys.exit`,
ends this process, and any value of the line that is no string (a numeric `deadline`, say) does too.
Standard library only: it shares the process with the action.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load(folder: str, module: str, function: str) -> Callable[[Any], Any]:
    """Import the action's function from its folder; activates `virtualenv/` in it, as the Python runtime
    does."""
    activate = Path(folder, "virtualenv", "bin", "activate_this.py")
    if activate.is_file():
        exec(compile(activate.read_text(), str(activate), "exec"), {"__file__": str(activate)})  # noqa: S102
    sys.path.insert(0, folder)
    action: Callable[[Any], Any] = getattr(importlib.import_module(module), function)
    return action


def serve(action: Callable[[Any], Any]) -> None:
    """Answer lines until stdin ends. An exception becomes `{"error": text}`, its traceback goes to stderr."""
    results = os.fdopen(3, "wb")
    results.write(b'{"ok":true}\n')
    results.flush()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        for key, value in request.items():
            if key != "value":
                os.environ["__OW_" + key.upper()] = value
        try:
            result = action(request.get("value") or {})
        except Exception as error:  # whatever an action raises is its answer
            traceback.print_exc()
            result = {"error": str(error)}
        text = json.dumps(result, ensure_ascii=False)
        sys.stdout.flush()
        sys.stderr.flush()
        results.write(text.encode() + b"\n")
        results.flush()


if __name__ == "__main__":
    sys.path.pop(0)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    serve(load(*sys.argv[1:4]))
