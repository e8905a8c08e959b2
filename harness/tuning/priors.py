"""What is tried first: the order of methods on the reference collections, shipped as `configs/search/priors.csv`."""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Collection
from importlib.resources import files


@functools.cache
def priors() -> dict[int, tuple[str, ...]]:
    """Return methods by bytes a document, best first: by the mean share of float32's quality over models.

    `scripts/studies/tuning_priors.py` writes the file from `results/reference/three_models`.
    """
    text = files("configs").joinpath("search", "priors.csv").read_text(encoding="utf-8")
    found: dict[int, list[str]] = {}
    for row in csv.DictReader(text.splitlines()):
        found.setdefault(int(row["bytes"]), []).append(row["method"])
    return {size: tuple(names) for size, names in found.items()}


def ranked(nbytes: float, methods: Collection[str]) -> list[str]:
    """Return methods in the order in which they are tried: by the priors at the nearest size, then those without."""
    size = min(priors(), key=lambda known: abs(math.log(known / nbytes)))
    known = [name for name in priors()[size] if name in methods]
    return [*known, *sorted(set(methods) - set(known))]
