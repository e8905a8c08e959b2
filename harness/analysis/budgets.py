"""The budgets at which methods are compared, in bytes a document, and which sizes are one budget."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

BUDGETS = (12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
"""Powers of two and one and a half times these: about what 384 dimensions need at a quarter bit to 8 bits each."""

ACROSS = (16, 32, 48, 64, 96, 128, 256)
"""Those of them that stand side by side in one table or figure: as many as fit across a page."""

SPARE_BYTE = 1.0
"""Bytes per vector that shared state may add to the codes that a budget bounds: more would be another budget."""

BUDGET_RULE = (
    f"A budget bounds the bytes of the codes (code bytes/vector); shared state may add up to {SPARE_BYTE:g} byte/vector"
)
"""What `within` says, for the heads of tables; without a full stop."""

SAME_BUDGET = 0.02
"""Sizes that differ by less than this share of the smaller one are one budget."""


def least_budget(cost: ArrayLike, code_bytes: ArrayLike) -> NDArray[np.float64]:
    """Return the least budgets that settings are within: the bytes of their codes, or more where state is large.

    Parameters
    ----------
    cost, code_bytes : array_like of float (n,)
        Bytes per vector with and without the shared state.

    Returns
    -------
    ndarray of float64 (n,)
    """
    costs, codes = np.asarray(cost, dtype=np.float64), np.asarray(code_bytes, dtype=np.float64)
    return np.maximum(codes, costs - SPARE_BYTE)


def within(cost: ArrayLike, code_bytes: ArrayLike, budget: float) -> NDArray[np.bool_]:
    """Mark the settings within a budget: it bounds the codes, to which shared state adds no more than a byte.

    Parameters
    ----------
    cost, code_bytes : array_like of float (n,)
        As in `least_budget`.
    budget : float

    Returns
    -------
    ndarray of bool (n,)
    """
    return np.asarray(least_budget(cost, code_bytes) <= budget)


def one_budget(size: ArrayLike, other: ArrayLike) -> NDArray[np.bool_]:
    """Whether sizes are one budget: they are equal, or differ by less than 2 % of the smaller one.

    Parameters
    ----------
    size, other : array_like of float
        Bytes per vector, of shapes that fit each other. NaN is no budget.

    Returns
    -------
    ndarray of bool
    """
    first, second = np.asarray(size, dtype=np.float64), np.asarray(other, dtype=np.float64)
    same: NDArray[np.bool_] = np.asarray(first == second)
    return same | (np.maximum(first, second) < (1 + SAME_BUDGET) * np.minimum(first, second))


def frontier_rule(measure: str, row: str = "row") -> str:
    """Return in words what is on the frontier, see `harness.analysis.pareto.frontier`, without a full stop."""
    return (
        f"no other {row} has at least its {measure} for at most its bytes/vector, where sizes that differ by less than "
        f"{100 * SAME_BUDGET:g} % are one budget; of one budget only the best stands, and what is not told apart from "
        "it (randomisation test over the queries, 5 %, with Holm's correction)"
    )
