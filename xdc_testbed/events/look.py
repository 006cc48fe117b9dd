"""Print the pictures of the watching page of this node as JSON lines, as they come.

python -m xdc_testbed.events.look --config /etc/xdc-testbed/event-router.toml [--count N]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import httpx2

from xdc_testbed.errors import XdcError
from xdc_testbed.events.kafka import read_config
from xdc_testbed.events.page import PageConfig

_PREFIX = "data: "


def pictures(url: str) -> Iterator[str]:
    """The pictures of a page, each as JSON. Raises XdcError when the page does not answer or stops."""
    try:
        with httpx2.stream("GET", f"{url}/live", timeout=30, trust_env=False) as answer:
            if answer.status_code != 200:
                raise XdcError(f"the page answers HTTP {answer.status_code}", remedy="is a token needed?")
            yield from (line.removeprefix(_PREFIX) for line in answer.iter_lines() if line.startswith(_PREFIX))
    except httpx2.HTTPError as error:
        raise XdcError(f"the page does not answer: {error}", remedy="systemctl status event-page") from None


def main() -> int:
    """Print until enough were seen. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="event-look", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", type=Path, required=True, help="TOML file of the service")
    parser.add_argument("--count", type=int, help="pictures; default: all")
    arguments = parser.parse_args()
    try:
        section = read_config(arguments.config, PageConfig).page
        for picture in islice(pictures(f"http://{section.listen}"), arguments.count):
            sys.stdout.write(f"{picture}\n")
            sys.stdout.flush()
    except XdcError as error:
        sys.stderr.write(f"{error.message}\n{error.remedy or ''}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
