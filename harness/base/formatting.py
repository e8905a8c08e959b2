"""Numbers as people read them: shares, bytes, milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "–"
"""What stands in a table for a figure that is not known."""

TOLERANCE = 1e-6
"""Tolerance of shares, whose resamples are float32."""


def percent(share: float, decimals: int = 1) -> str:
    """Return a share in per cent."""
    text = f"{100 * share:.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if decimals > 1 else text) + " %"


def at_least(share: float) -> str:
    """Return a share in per cent, rounded down: what misses 99 % must not be written as 99 %."""
    return percent(float(np.floor(1e4 * (share + TOLERANCE))) / 1e4, 2)


def per_vector(value: float) -> str:
    """Return bytes per vector."""
    text = f"{value:,.1f}".removesuffix(".0") if value >= 1 else f"{value:.2g}"
    return f"{text} byte{'' if text == '1' else 's'}"


def amount(nbytes: float) -> str:
    """Return bytes with three digits and a unit."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= factor:
            return f"{float(f'{nbytes / factor:.3g}'):g} {unit}"
    return f"{nbytes:.0f} bytes"


def milliseconds(value: float) -> str:
    """Return milliseconds with two digits."""
    return f"{float(f'{value:.2g}'):g} ms"


def count(number: int, noun: str) -> str:
    """Return how many there are of something."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def number(value: float, decimals: int) -> str:
    """Return a number with so many decimals."""
    return f"{value:.{decimals}f}" if np.isfinite(value) else UNKNOWN


def digits(value: float) -> str:
    """Return three significant digits without an exponent."""
    if not np.isfinite(value):
        return UNKNOWN
    decimals = 0 if value == 0 else max(0, 2 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{min(decimals, 6)}f}"


def plain(value: float) -> str:
    """Return a whole number as one, one of two digits or more with a decimal, and a smaller one with three."""
    if not np.isfinite(value):
        return UNKNOWN
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3f}"


def small_percent(share: float) -> str:
    """Return a share in per cent, with three decimals if it is less than one."""
    percentage = 100 * share
    return UNKNOWN if not np.isfinite(percentage) else f"{percentage:.{1 if percentage >= 1 else 3}f} %"


def exact(value: float) -> str:
    """Return a number with ten significant digits, for machines; nothing if it is not finite."""
    return f"{value:.10g}" if np.isfinite(value) else ""


def size(value: float, *, fixed: bool = False) -> str:
    """Return bytes per vector to a tenth, without a unit; `fixed` keeps a zero after the point."""
    if not np.isfinite(value):
        return UNKNOWN
    text = f"{round(value, 1):,.1f}"
    return text if fixed else text.removesuffix(".0")


def ratio(value: float) -> str:
    """Return how many times smaller something is."""
    return number(value, 1)


def interval(row: pd.Series[Any], measure: str, decimals: int, factor: float = 1) -> str:
    """Return the ends of a measure's interval, the columns `<measure>_low` and `_high` of a row, times a factor.

    A dash where the row does not have them.
    """
    low, high = factor * row.get(f"{measure}_low", np.nan), factor * row.get(f"{measure}_high", np.nan)
    return f"{low:.{decimals}f} to {high:.{decimals}f}" if np.isfinite(low) else UNKNOWN


def signed_interval(low: float, high: float, decimals: int, factor: float = 1) -> str:
    """Return the ends of a difference's interval times a factor, each with its sign."""
    return f"{factor * low:+.{decimals}f} to {factor * high:+.{decimals}f}"


def spread(row: pd.Series[Any], measure: str, decimals: int, factor: float = 1) -> str:
    """Return a measure of a row times a factor, with the standard deviation `<measure>_sd` if there is one."""
    value, deviation = number(factor * row[measure], decimals), factor * row[f"{measure}_sd"]
    return f"{value} ± {deviation:.{decimals}f}" if deviation > 0 else value
