"""`python -m xdc_testbed.emulators.dcache --config FILE [--check]`: serve until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from xdc_testbed.errors import XdcError

from .config import load
from .service import Service

_log = logging.getLogger("xdc_testbed.emulators.dcache")


def main() -> int:
    """Read the configuration and serve. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="dcache-emulator", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--check", action="store_true", help="only say whether the configuration is good")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for noisy in ("uvicorn", "httpx2", "httpcore2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        config = load(arguments.config)
        if arguments.check:
            Service.check(config)
            _log.info("%s is good", arguments.config)
            return 0
        service = Service(config)
    except XdcError as error:
        _log.error("%s%s", error.message, f" ({error.remedy})" if error.remedy else "")
        return error.exit_code
    _log.info("EMULATOR of dCache %s (xdc-testbed), not the product: %s", config.version, service.describe())
    return service.run()


if __name__ == "__main__":
    sys.exit(main())
