"""What a long mean document means for the switches of vector stores: which of them lose by it, and which hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.base.formatting import percent
from harness.runs.presets import Preset, of_store, presets

LONG_MEAN = 0.7
"""Length of the mean of unit documents from which plain signs fail: most of the bits are then those of the mean.

Measured on half of MLQuestions, nDCG@10 of signs with float queries: E5, whose mean has length 0.90, keeps 58 % of
float32 (saq of 48 bytes and rabitq of 52, which centre: 95 %); mpnet at 0.35 and MiniLM at 0.31 keep 99 and 96 %. E5
moved towards its centre keeps, of what it keeps when centred, 97 % at 0.64, 94 % at 0.72, 86 % at 0.83 and 61 % at
0.90; MiniLM moved away from it keeps 95 % at 0.70 and 91 % at 0.86.
"""

FEW = 4
"""Switches that are named as examples where there are many."""

KEEPS = 0.95
"""Share of float32's quality from which a switch that was measured is no longer warned of."""

HALF = "plain signs keep about half of nDCG@10 at length 0.9, or less"
"""With E5 and float queries: 56 to 58 % on half of MLQuestions, 34 and 35 % on Cranfield (mean of length 0.92)."""


def switches_that_lose(store: str | None = None) -> list[Preset]:
    """Return the presets, of one store or of all, whose codes lose where the mean document is long."""
    return [preset for preset in _of(store) if preset.loses]


def switches_that_hold(store: str | None = None) -> list[Preset]:
    """Return the presets of at most two bits a dimension, of one store or of all, whose codes do not lose."""
    return [preset for preset in _of(store) if preset.is_binary and not preset.loses]


def _of(store: str | None) -> Sequence[Preset]:
    return list(presets().values()) if store is None else of_store(store)


def advice(length: float, where: str, kept: Mapping[str, float], store: str | None = None) -> list[str]:
    """Return in at most two sentences what the length of the mean document means for stores' switches.

    Parameters
    ----------
    length : float
        Of the mean of the documents, each of unit length.
    where : str
        The collection.
    kept : mapping of str to float
        Share of float32's quality that presets were measured to keep there, by name.
    store : str or None
        The one that is asked about; None for all of them.

    Returns
    -------
    list of str
        Nothing where no switch is in danger and no store is asked about.
    """
    head = f"the mean document of {where} has length {length:.2f}"
    if length < LONG_MEAN:
        return (
            [f"{head}: binary switches are safe as far as that goes (they lose from {LONG_MEAN:g} on)"] if store else []
        )
    # what was measured says more than what its codes do in general: some read floats again until all is well
    well = {name for name, share in kept.items() if share >= KEEPS}
    lose = [preset for preset in switches_that_lose(store) if preset.name not in well]
    hold = [preset for preset in _of(store) if preset.name in well or (preset.is_binary and not preset.loses)]
    if store is None:
        lose, hold = [preset for preset in lose if preset.is_binary], [preset for preset in hold if preset.is_binary]
    elif not lose:
        return [f"{head}: none of {store}'s switches is known to lose by that"]
    most = FEW if store is None else None
    return [
        f"{head}: avoid {_named(lose, kept, most)}; their codes lose by that ({HALF}), and floats that are read again "
        "make up for some of it",
        f"these hold: {_named(hold, kept, most)}" if hold else f"{store} has no binary switch that holds",
    ]


def _named(switches: Iterable[Preset], kept: Mapping[str, float], most: int | None = None) -> str:
    """Return names with what was measured of them; those that were measured come first."""
    ordered = sorted(switches, key=lambda preset: preset.name not in kept)
    named = [
        f"{preset.name} (keeps {percent(kept[preset.name])} here)" if preset.name in kept else preset.name
        for preset in ordered[:most]
    ]
    more = len(ordered) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
