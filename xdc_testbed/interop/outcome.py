"""How a case ends other than by returning: a wrong answer, or a question that cannot be asked."""

from __future__ import annotations

from xdc_testbed.errors import VerifyFailed, XdcError


class Wrong(VerifyFailed):
    """The product answered, and the answer is not the right one."""


class Skip(XdcError):
    """The case cannot be asked here; the message is the reason."""


def require(right: bool, otherwise: str) -> None:
    """Raise Wrong with this sentence unless right."""
    if not right:
        raise Wrong(otherwise)
