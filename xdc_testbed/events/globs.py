"""Path patterns: as regular expressions, and whether two of them can mean the same path. Pure.

`*` and `?` stay within a folder, `**` crosses folders, `**/` is any folders, also none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Literal

Step = str | Literal["not a slash", "any"]
_NOT_SLASH: Step = "not a slash"
_ANY: Step = "any"


def pieces(glob: str) -> list[str]:
    """The pattern cut into `**/`, `**`, `*`, `?` and single characters."""
    return re.findall(r"\*\*/|\*\*|.", glob, re.DOTALL)


def glob_to_regex(glob: str) -> str:
    """The pattern as a regular expression, for a full match with DOTALL."""
    meaning = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(meaning.get(piece) or re.escape(piece) for piece in pieces(glob))


def meet(one: str, other: str) -> bool:
    """Whether there is a path that both patterns mean: the automata of both, walked together."""
    first, second = _Automaton(one), _Automaton(other)
    start = (0, 0)
    seen, waiting = {start}, [start]
    while waiting:
        here, there = waiting.pop()
        if here == first.end and there == second.end:
            return True
        for following in _together(first, here, second, there):
            if following not in seen:
                seen.add(following)
                waiting.append(following)
    return False


class _Automaton:
    """States 0 to `end`; free: moves that read nothing; steps: moves that read one character."""

    def __init__(self, glob: str) -> None:
        self.free: defaultdict[int, list[int]] = defaultdict(list)
        self.steps: defaultdict[int, list[tuple[Step, int]]] = defaultdict(list)
        self.end = 0
        for piece in pieces(glob):
            here = self.end
            match piece:
                case "**/":
                    inside, self.end = here + 1, here + 2
                    self.steps[here].append((_NOT_SLASH, inside))
                    self.steps[inside] += [(_NOT_SLASH, inside), ("/", here)]
                    self.free[here].append(self.end)
                case "**" | "*":
                    self.end = here + 1
                    self.steps[here].append((_ANY if piece == "**" else _NOT_SLASH, here))
                    self.free[here].append(self.end)
                case _:
                    self.end = here + 1
                    self.steps[here].append((_NOT_SLASH if piece == "?" else piece, self.end))


def _together(first: _Automaton, here: int, second: _Automaton, there: int) -> list[tuple[int, int]]:
    free = [(state, there) for state in first.free[here]] + [(here, state) for state in second.free[there]]
    read = [
        (following, other_following)
        for step, following in first.steps[here]
        for other_step, other_following in second.steps[there]
        if _share(step, other_step)
    ]
    return free + read


def _share(one: Step, other: Step) -> bool:
    """Whether one character fits both."""
    if _ANY in (one, other) or one == other:
        return True
    if _NOT_SLASH in (one, other):
        return "/" not in (one, other)
    return False
