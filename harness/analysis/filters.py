"""The expressions by which a table's rows are chosen: `bytes_per_vector <= 64 and family == spectrum`."""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 1000
"""Characters."""

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def selected(frame: pd.DataFrame, expression: str) -> NDArray[np.bool_]:
    """Mark the rows for which an expression is true.

    An expression compares columns with numbers or words by `<  <=  >  >=  ==  !=  in  not in`, and joins comparisons by
    `and`, `or`, `not` and parentheses. A column of booleans stands alone. A word that is no column is itself: `family
    == spectrum`. One that is not a plain name needs quotes: `params == "m=48"`. Nothing else is understood, and nothing
    is run. An unknown number compares as false, except by `!=` and `not in`.

    Parameters
    ----------
    frame : DataFrame
    expression : str
        All rows are marked if it is empty.

    Returns
    -------
    ndarray of bool (n,)

    Raises
    ------
    ConfigError
        If it is not such an expression, or names no column where one is needed.
    """
    if not expression.strip():
        return np.ones(len(frame), dtype=np.bool_)
    if len(expression) > LONGEST:
        raise ConfigError(f"the filter has {len(expression)} characters, more than {LONGEST}")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        return _mask(tree.body, frame, expression)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        hint = "; write == for equal" if "=" in expression and "==" not in expression else ""
        raise ConfigError(f"the filter '{expression}' cannot be read{hint}; {_EXAMPLE}") from None


_EXAMPLE = "an example: bytes_per_vector <= 64 and family == spectrum"


def _mask(node: ast.expr, frame: pd.DataFrame, expression: str) -> NDArray[np.bool_]:
    if isinstance(node, ast.BoolOp):
        masks = [_mask(part, frame, expression) for part in node.values]
        joined = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return np.asarray(joined.reduce(masks), dtype=np.bool_)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_mask(node.operand, frame, expression)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        steps = zip(sides, node.ops, sides[1:], strict=False)
        masks = [_compared(left, op, right, frame, expression) for left, op, right in steps]
        return np.asarray(np.logical_and.reduce(masks), dtype=np.bool_)
    if isinstance(node, ast.Name):
        column = _value(node, frame, expression)
        if not isinstance(column, str) and column.dtype == bool:
            return np.asarray(column, dtype=np.bool_)
        raise _no_column([node.id], frame, "is not a column that is true or false")
    raise _foreign(node, expression)


def _compared(
    left: ast.expr, op: ast.cmpop, right: ast.expr, frame: pd.DataFrame, expression: str
) -> NDArray[np.bool_]:
    import pandas as pd

    if isinstance(op, ast.In | ast.NotIn):
        if not isinstance(right, ast.Tuple | ast.List | ast.Set):
            raise ConfigError(f"the filter '{expression}' needs a list after 'in', such as method in (pq, opq)")
        column = _value(left, frame, expression)
        if not isinstance(column, pd.Series):
            raise _no_column([ast.unparse(left)], frame)
        # a word in a list is meant as itself, even if a column has that name
        chosen = [part.id if isinstance(part, ast.Name) else _value(part, frame, expression) for part in right.elts]
        found = column.isin(chosen).to_numpy(dtype=np.bool_)
        return found if isinstance(op, ast.In) else ~found
    compare = _COMPARISONS.get(type(op))
    if compare is None:
        raise _foreign(op, expression)
    values = [_value(left, frame, expression), _value(right, frame, expression)]
    if not any(isinstance(value, pd.Series) for value in values):
        raise _no_column([ast.unparse(left), ast.unparse(right)], frame)
    try:
        result = compare(*values)
    except TypeError:
        written = f"{ast.unparse(left)} and {ast.unparse(right)}"
        raise ConfigError(f"the filter '{expression}' compares a number with a word: {written}") from None
    if not isinstance(op, ast.Eq | ast.NotEq) and any(isinstance(value, bool) for value in values):
        raise ConfigError(f"the filter '{expression}' asks whether True is larger or smaller: use == for it")
    return np.asarray(result.fillna(False), dtype=np.bool_)


def _value(node: ast.expr, frame: pd.DataFrame, expression: str) -> Any:
    """Return a column, or a number or word."""
    if isinstance(node, ast.Name):
        return frame[node.id] if node.id in frame.columns else node.id
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool):
        return node.value
    if (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
        and isinstance(node.operand.value, int | float)
    ):
        return -node.operand.value
    raise _foreign(node, expression)


def _foreign(node: ast.AST, expression: str) -> ConfigError:
    try:
        written = f"'{ast.unparse(node)}'"
    except (AttributeError, ValueError):
        written = type(node).__name__
    return ConfigError(f"the filter '{expression}' has {written}, which it cannot: quote names with signs; {_EXAMPLE}")


def _no_column(words: list[str], frame: pd.DataFrame, what: str = "") -> ConfigError:
    near = [close for word in words for close in difflib.get_close_matches(word, list(frame.columns), n=2)]
    hint = (
        f"; did you mean {' or '.join(near)}?" if near else f"; columns are {', '.join(list(frame.columns)[:12])}, ..."
    )
    said = what or ("is not a column" if len(words) == 1 else "are not columns")
    return ConfigError(f"in the filter, {' and '.join(map(repr, words))} {said}{hint}")
