"""The agent's command line, run on a node as root over SSH: `python -m xdc_testbed.faults VERB`.

`apply` reads one Order per line from standard input; `list`; `clear [ID]`. The answer is one Status per line.
Errors are two lines on standard error, and the exit code of the error.
"""

from __future__ import annotations

import argparse
import os
import sys

from pydantic import ValidationError

from xdc_testbed.errors import RequirementMissing, WrongUsage, XdcError
from xdc_testbed.faults.agent import Agent
from xdc_testbed.faults.model import Order, Status


def main(words: list[str] | None = None) -> int:
    """Do what the command line says. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m xdc_testbed.faults", description="faults of this node")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("apply", help="make the faults given on standard input, one JSON order per line")
    verbs.add_parser("list", help="list the faults of this node")
    verbs.add_parser("clear", help="undo one fault, or all").add_argument("id", nargs="?")
    arguments = parser.parse_args(words)
    try:
        if os.geteuid() != 0:
            raise RequirementMissing("faults need root on the node", remedy="run it with sudo")
        agent = Agent()
        match arguments.verb:
            case "apply":
                for line in sys.stdin:
                    if line.strip():
                        _answer(agent.apply(_order(line)))
            case "list":
                _answer(*agent.listing())
            case _:
                _answer(*agent.clear(arguments.id))
    except XdcError as error:
        sys.stderr.write(f"{error.message}\n{error.remedy or ''}\n")
        return error.exit_code
    return 0


def _order(line: str) -> Order:
    try:
        return Order.model_validate_json(line)
    except ValidationError as error:
        raise WrongUsage(f"not an order for a fault: {error.errors()[0]['msg']}") from None


def _answer(*lines: Status) -> None:
    for line in lines:
        sys.stdout.write(line.model_dump_json() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
