"""`--condition name=value`, as several verbs take it."""

from __future__ import annotations

from collections.abc import Iterable

from xdc_testbed.errors import WrongUsage


def parsed(words: Iterable[str]) -> dict[str, float | str]:
    """Name to number, or to text. Raises WrongUsage."""
    found: dict[str, float | str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not (name and sign and value):
            raise WrongUsage(
                f"--condition {word!r} is not name=value", remedy="for example --condition bias_voltage=300"
            )
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = value
    return found
