"""Numbers as people read them: shares, bytes, milliseconds."""

from __future__ import annotations

import numpy as np

TOLERANCE = 1e-6
"""Of shares, whose resamples are float32."""


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
