"""Vector stores' own graphs and lists, as they ship: the index structures that belong to a store.

A store's codes are its presets; what finds them is one yaml of the group `index` that names the store, and so is no
part of any preset. `index=NAME` measures it; here its bytes are worked out for corpora of any size.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from harness.runs.catalogue import members, method_card
from harness.runs.presets import presets
from methods.base import Structure


@dataclass(frozen=True)
class StoreIndex:
    """An index structure of a store.

    Attributes
    ----------
    name : str
        Of the group `index`.
    store : str
    presets : tuple of str
        Those that it holds; empty for all of the store's of one vector a document that no other one names.
    summary, source, evidence : str
        What it does, where its defaults were read, and how well they are known: see `harness.runs.presets.DOCUMENTED`.
    """

    name: str
    store: str
    presets: tuple[str, ...]
    summary: str
    source: str
    evidence: str

    @property
    def words(self) -> str:
        """Its kind and what decides its bytes, such as "HNSW, M=16"."""
        made = _structure(self.name)
        size = {"HNSW": "M", "Vamana": "degree", "InvertedLists": "lists"}[type(made).__name__]
        kind = "IVF" if size == "lists" else type(made).__name__
        return f"{kind}, {size}={getattr(made, size)}"

    def bytes_of(self, n: int, dims: int) -> tuple[float, int]:
        """Return the bytes of links or ids for each of n documents, and those that documents share (centroids)."""
        return _structure(self.name).expected_bytes(n, dims)


@functools.cache
def store_indexes() -> dict[str, StoreIndex]:
    """Return the index structures of stores by name."""
    cards = {name: method_card(entry) for name, entry in members("index").items()}
    return {
        name: StoreIndex(
            name,
            card["store"],
            tuple(card.get("presets", ())),
            card["summary"],
            card["source"],
            card["evidence"],
        )
        for name, card in cards.items()
        if "store" in card
    }


def index_of(preset: str) -> StoreIndex | None:
    """Return the structure that a preset's codes lie in as its store ships; None if it is not known, or is none.

    Presets that take no vectors have lists and graphs of their own, which their methods count, or none that is known.
    """
    card = method_card(members("method")[preset])
    if card.get("takes", "vectors") != "vectors":
        return None
    own = [one for one in store_indexes().values() if one.store == presets()[preset].store]
    named = [one for one in own if preset in one.presets]
    return next(iter([*named, *(one for one in own if not one.presets)]), None)


@functools.cache
def _structure(name: str) -> Structure:
    """Return a structure as its yaml has it, over some codec."""
    from omegaconf import OmegaConf

    from harness.runs.config import MethodSpec
    from harness.runs.plain_yaml import parsed

    node = OmegaConf.create({"seed": 0, "index": parsed(members("index")[name].read_text(encoding="utf-8"))}).index
    made = MethodSpec(OmegaConf.create({"_target_": "methods.Cast"}), node).make().structure
    assert made is not None
    return made
