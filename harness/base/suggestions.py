"""What is said of a name that does not exist: the nearest that do, and where the others are listed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

SHORT = 8
"""Names that fit in a line of the terminal: longer lists are pointed to, not shown."""
ALIKE = 0.5
"""Least similarity of a name that is suggested, in difflib's measure: half of all letters are then in common."""


def nearest(name: str, choices: Iterable[str], count: int = 3) -> list[str]:
    """Return the names most like one that was mistyped, best first; upper and lower case are the same."""
    folded = {choice.casefold(): choice for choice in choices}
    return [folded[near] for near in difflib.get_close_matches(name.casefold(), folded, n=count, cutoff=ALIKE)]


def did_you_mean(names: Sequence[str]) -> str:
    """Return the question, with a semicolon before it; nothing if there is no name."""
    if not names:
        return ""
    *others, last = [f"'{name}'" for name in names]
    return f"; did you mean {', '.join(others) + ' or ' if others else ''}{last}?"


def not_among(name: str, choices: Sequence[str], listed_by: str, there_are: str = "There are") -> str:
    """Return a name that is not among the choices, and what there is instead.

    A short list is shown whole, with the nearest name. Of a long one there are the three nearest, and where it is.

    Parameters
    ----------
    name : str
    choices : sequence of str
    listed_by : str
        The command or flag that shows all of them.
    there_are : str
        What a short list begins with.
    """
    if not choices:
        return f"'{name}'"
    if len(choices) <= SHORT:
        hint = did_you_mean(nearest(name, choices, 1))
        return f"'{name}'{hint or '.'} {there_are}: {', '.join(choices)}"
    hint = did_you_mean(nearest(name, choices))
    return f"'{name}'{hint or ';'} '{listed_by}' shows all {len(choices)}"
