"""The cases that exist. A case is a plain function; its decorator says where, with what and how often it
can be asked.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from xdc_testbed.errors import WrongUsage

if TYPE_CHECKING:
    from xdc_testbed.interop.trial import Trial

KIB = 1 << 10
MIB = 1 << 20

CaseFunction = Callable[["Trial"], None]


class Scope(StrEnum):
    """What a case is asked of."""

    ENDPOINT = "endpoint"
    PAIR = "ordered pair"


@dataclass(frozen=True)
class Case:
    """One question to storages, with the dimensions over which it is repeated.

    needs / destination_needs: capabilities of the (source) endpoint and of the destination; a dimension
    that a case does not use holds one None. deadline: seconds for one cell, without clean-up.
    """

    id: str
    title: str
    scope: Scope
    run: CaseFunction
    needs: frozenset[str]
    destination_needs: frozenset[str]
    protocols: tuple[str, ...]
    credentials: tuple[str, ...]
    directions: tuple[str | None, ...] = (None,)
    sizes: tuple[int | None, ...] = (None,)
    variants: tuple[str | None, ...] = (None,)
    deadline: float = 60.0

    @property
    def subject(self) -> str:
        """The first part of the id, under which reports group it."""
        return self.id.partition(".")[0]

    @property
    def subject_text(self) -> str:
        """What the subject is about: the docstring of the case's module."""
        return " ".join((sys.modules[self.run.__module__].__doc__ or "").split())

    @property
    def explanation(self) -> str:
        """The docstring of the function: what is done, and what the right answer is."""
        return " ".join((self.run.__doc__ or "").split())


_CASES: dict[str, Case] = {}


def case(
    case_id: str,
    title: str,
    *,
    scope: Scope = Scope.ENDPOINT,
    needs: Iterable[str] = (),
    destination_needs: Iterable[str] = (),
    protocols: tuple[str, ...] = ("https",),
    credentials: tuple[str, ...] = ("token",),
    directions: tuple[str, ...] | None = None,
    sizes: tuple[int, ...] | None = None,
    variants: Iterable[str] | None = None,
    deadline: float = 60.0,
) -> Callable[[CaseFunction], CaseFunction]:
    """Make a function known as a case. Raises WrongUsage when the id is taken."""

    def register(function: CaseFunction) -> CaseFunction:
        if case_id in _CASES:
            raise WrongUsage(f"two cases have the id {case_id}")
        _CASES[case_id] = Case(
            id=case_id,
            title=title,
            scope=scope,
            run=function,
            needs=frozenset(needs),
            destination_needs=frozenset(destination_needs),
            protocols=protocols,
            credentials=credentials,
            directions=directions or (None,),
            sizes=sizes or (None,),
            variants=tuple(variants) if variants is not None else (None,),
            deadline=deadline,
        )
        return function

    return register


def all_cases() -> list[Case]:
    """Every case of the kit, in the order of the modules' names and of the functions in them."""
    package = importlib.import_module("xdc_testbed.interop.cases")
    for module in sorted(found.name for found in pkgutil.iter_modules(package.__path__)):
        importlib.import_module(f"{package.__name__}.{module}")
    return list(_CASES.values())


def matching(patterns: Iterable[str]) -> list[Case]:
    """The cases whose id matches one of the glob patterns; all of them without patterns.

    Raises WrongUsage for a pattern that matches no case.
    """
    cases = all_cases()
    wanted = list(patterns)
    for pattern in wanted:
        if not any(fnmatchcase(known.id, pattern) for known in cases):
            subjects = ", ".join(sorted({known.subject + ".*" for known in cases}))
            raise WrongUsage(f"no case matches {pattern!r}", remedy=f"try one of: {subjects}")
    return [known for known in cases if not wanted or any(fnmatchcase(known.id, pattern) for pattern in wanted)]
