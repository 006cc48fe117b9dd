"""What the command line asks about events, run on a node that reaches the broker.

    python -m xdc_testbed.events dead list|show ID|retry ID|retry --all REASON RULE < connection.json

Standard input holds one JSON object with a secret: {"kafka": {"bootstrap", "ca_file"}, "user", "password"}.
Standard output gets one JSON line per answer.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import ValidationError

from xdc_testbed.errors import WrongUsage, XdcError
from xdc_testbed.events import dead_letters
from xdc_testbed.events.kafka import Connection
from xdc_testbed.events.model import WorkItem


def main(words: list[str]) -> int:
    """Answer one question. Returns the exit code."""
    try:
        asked = json.loads(sys.stdin.read())
        for line in _answers(words, asked):
            sys.stdout.write(json.dumps(line) + "\n")
    except (ValueError, KeyError, ValidationError) as error:
        sys.stderr.write(f"the question is not understood: {type(error).__name__}\n\n")
        return WrongUsage.exit_code
    except XdcError as error:
        sys.stderr.write(f"{error.message}\n{error.remedy or ''}\n")
        return error.exit_code
    return 0


def _answers(words: list[str], asked: dict[str, Any]) -> list[dict[str, Any]]:
    connection = Connection(**asked["kafka"], user=asked["user"], password=asked["password"])
    match words:
        case ["dead", "list"]:
            return [_short(letter) for letter in dead_letters.letters(connection)]
        case ["dead", "show", letter_id]:
            return [dead_letters.show(connection, letter_id).model_dump(mode="json")]
        case ["dead", "retry", letter_id]:
            return [_put_back(dead_letters.retry(connection, dead_letters.show(connection, letter_id)))]
        case ["dead", "retry", "--all", reason, rule]:
            chosen = dead_letters.chosen(dead_letters.letters(connection), reason=reason, rule=rule)
            return [_put_back(item) for item in dead_letters.retry_all(connection, chosen)]
        case _:
            raise WrongUsage(f"unknown question: {' '.join(words)}", remedy="dead list, dead show ID, dead retry ID")


def _put_back(item: WorkItem) -> dict[str, Any]:
    return {"id": item.id, "subject": item.event.subject, "rule": item.rule}


def _short(letter: Any) -> dict[str, Any]:
    item = letter.item
    return {
        "id": letter.id,
        "at": letter.at,
        "reason": letter.reason,
        "subject": item.event.subject if item else None,
        "endpoint": item.event.data.endpoint if item else None,
        "rule": item.rule if item else None,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
