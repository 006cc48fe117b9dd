"""The one tree of errors that a user may see.

    XdcError                     exit 1   something that was asked for did not succeed
    ├── VerifyFailed             exit 1   a service, test or transfer gave a wrong answer
    ├── DeadlineExceeded         exit 1   a wait ended before the thing waited for came
    ├── WrongUsage               exit 2   the command line or the description is wrong
    ├── RequirementMissing       exit 3   this machine lacks something; the remedy says how to get it
    ├── LeftOver                 exit 4   something of the testbed is still there after `down`
    └── Interrupted              exit 130 stopped by the user; the same command resumes

A message is one line of cause, a remedy one line of what to do. Products' clients derive their own errors from these.
"""

from __future__ import annotations


class XdcError(Exception):
    """An error with a message for the person at the terminal, and the next step.

    message: what happened, one line; remedy: what to do now, one line; exit_code: of the command line.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class VerifyFailed(XdcError):
    """A service, test or transfer answered, and the answer is wrong."""


class DeadlineExceeded(XdcError):
    """A wait ended before the thing waited for came."""


class WrongUsage(XdcError):
    """The command line or the description is wrong."""

    exit_code = 2


class RequirementMissing(XdcError):
    """This machine lacks something that the testbed needs."""

    exit_code = 3


class LeftOver(XdcError):
    """Something of the testbed is still there after `down`."""

    exit_code = 4


class Interrupted(XdcError):
    """Stopped by the user; the same command resumes."""

    exit_code = 130


def nearest(word: str, known: list[str]) -> str:
    """The end of a message about an unknown word: the known one that was meant, if one is near."""
    import difflib  # only when a word is wrong

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
