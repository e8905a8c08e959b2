"""Trivial questions with all pairs of documents as answers: LIMIT, and synthetic sets of that kind.

Weller, Boratko, Naim and Lee (2025) showed that the sets of k documents that an inner product can return are bounded by
its dimensions. A set is: documents "NAME likes A, B, ... and Z.", queries "Who likes A?", each with exactly k relevant
documents, among few that carry all relevance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from harness.base.errors import ConfigError, DatasetError
from harness.base.options import Options
from harness.data.datasets.dataset import Dataset
from harness.data.datasets.folder import Folder
from harness.data.datasets.mteb import MtebTask

FIRST = (
    *("Aino", "Bela", "Carla", "Dario", "Edith", "Fabio", "Greta", "Hugo", "Ines", "Jonas", "Klara", "Leon", "Mira"),
    *("Nils", "Olga", "Pavel", "Quirin", "Rosa", "Sven", "Thea", "Urs", "Vera", "Wanda", "Xenia", "Yara", "Zeno"),
    *("Alma", "Bruno", "Cleo", "Dora", "Emil", "Flora", "Gero", "Hanna", "Ivo", "Judith", "Kian", "Lotte", "Milan"),
)

LAST = (
    *("Abel", "Brandt", "Costa", "Dahl", "Engel", "Faber", "Gruber", "Holm", "Imhof", "Jansen", "Keller", "Lang"),
    *("Moser", "Novak", "Okafor", "Petit", "Quist", "Rossi", "Santos", "Tanaka", "Ulrich", "Vogel", "Weber", "Yilmaz"),
    *("Zimmer", "Adler", "Berg", "Castro", "Diallo", "Eriksen", "Fischer", "Garcia", "Hansen", "Ivanov", "Jung"),
)

KINDS = (
    *("amber", "antique", "blue", "bitter", "carved", "cold", "copper", "cotton", "crisp", "dark", "dried", "dusty"),
    *("early", "fine", "folded", "fresh", "glass", "golden", "green", "hollow", "icy", "ivory", "late", "light"),
    *("linen", "little", "long", "loud", "mossy", "narrow", "old", "painted", "pale", "plain", "quiet", "red"),
    *("rough", "round", "salted", "sharp", "silver", "slow", "smoked", "soft", "sour", "spicy", "striped", "sweet"),
    *("tall", "thin", "tiny", "warm", "white", "wide", "wild", "woollen"),
)

THINGS = (
    *("apples", "baskets", "bells", "benches", "birds", "boats", "books", "boots", "bridges", "buttons", "cakes"),
    *("candles", "chairs", "cheeses", "clocks", "clouds", "coats", "coins", "drums", "engines", "feathers", "fences"),
    *("flutes", "gardens", "gates", "gloves", "hats", "herbs", "kites", "knives", "lamps", "lanterns", "leaves"),
    *("letters", "maps", "mirrors", "mosaics", "mugs", "nets", "olives", "onions", "paths", "pears", "pebbles"),
    *("pencils", "pillows", "plums", "puppets", "quilts", "radios", "ribbons", "rivers", "ropes", "shells", "ships"),
    *("songs", "soups", "spoons", "stamps", "stories", "teas", "tiles", "towers", "trains", "umbrellas", "vases"),
)

Pattern = Literal["dense", "random", "cycle", "disjoint"]


@dataclass(kw_only=True, frozen=True)
class LimitStyle(Options):
    """LIMIT from a folder or by MTEB's task, or a synthetic set of its kind.

    The synthetic set has names and items of its own and is not LIMIT: it is called pairs (or triples, ...) in tables.

    Parameters
    ----------
    path : str or None
        A folder with LIMIT or its small version, in BEIR's layout or as published, with qrels.jsonl.
    task : str or None
        MTEB's: LIMITRetrieval or LIMITSmallRetrieval.
    relevant : int or None
        Documents that carry all relevance, n; None is the least with as many sets of k as there are queries.
    k : int
        Relevant documents of a query.
    queries : int
    docs : int or None
        Documents of the corpus; None are the relevant ones alone. Others like no item that is asked for.
    items : int
        That a document has at least.
    pattern : {"dense", "random", "cycle", "disjoint"}
        Which sets are asked for: the first of all sets of k in lexicographic order (LIMIT's, the hard one); random
        ones; k in a row, around a circle; or sets that share no document, for which there must be documents enough.
    seed : int
        Of names, items and random sets.
    """

    path: str | None = None
    task: str | None = None
    relevant: int | None = None
    k: int = 2
    queries: int = 1_000
    docs: int | None = None
    items: int = 45
    pattern: Pattern = "dense"
    seed: int = 0

    def _check(self) -> None:
        if self.path is not None and self.task is not None:
            raise ConfigError("LimitStyle: give path or task, or neither for a synthetic set")
        for name in ("k", "queries", "items"):
            if getattr(self, name) < 1:
                raise ConfigError(f"LimitStyle: {name} must be at least 1, got {getattr(self, name)}")
        if self.queries > len(KINDS) * len(THINGS) // 2:
            raise ConfigError(f"LimitStyle: queries must be at most {len(KINDS) * len(THINGS) // 2}: items run out")

    def load(self) -> Dataset:
        """Read or make the set; raises `DatasetError` where sets, names or items run out."""
        if self.task is not None:
            return MtebTask(name=self.task).load()
        if self.path is not None:
            published = Path(self.path).expanduser() / "qrels.jsonl"
            return Folder(path=self.path, qrels=str(published) if published.is_file() else None).load()
        return self._made()

    @property
    def _relevant(self) -> int:
        if self.relevant is not None:
            return self.relevant
        if self.pattern == "disjoint":
            return self.k * self.queries
        return next(n for n in itertools.count(self.k) if math.comb(n, self.k) >= self.queries)

    def _made(self) -> Dataset:
        rng, n = np.random.default_rng(self.seed), self._relevant
        count = n if self.docs is None else self.docs
        if count < n:
            raise DatasetError(f"dataset.docs={count}, but {n} documents carry the relevance of {self.queries} queries")
        if count > len(FIRST) * len(LAST) * 100:
            raise DatasetError(f"dataset.docs={count}: there are names for {len(FIRST) * len(LAST) * 100} documents")
        items = [f"{kind} {thing}" for kind in KINDS for thing in THINGS]
        rng.shuffle(items)
        asked, filler = items[: self.queries], np.array(items[self.queries :])
        sets = list(itertools.islice(self._sets(n, rng), self.queries))
        if len(sets) < self.queries:
            raise DatasetError(
                f"{n} documents have {len(sets)} sets of {self.k} in the pattern '{self.pattern}', and there are "
                f"{self.queries} queries: more dataset.relevant, or fewer dataset.queries"
            )
        liked: list[list[str]] = [[] for _ in range(count)]
        for item, own in zip(asked, sets, strict=True):
            for row in own:
                liked[row].append(item)
        names, texts = self._names(count, rng), []
        for name, own_items in zip(names, liked, strict=True):
            missing = max(self.items - len(own_items), 1)
            if missing > len(filler):
                raise DatasetError(f"dataset.items={self.items}: only {len(filler)} items are left as filler")
            every = [*own_items, *filler[rng.choice(len(filler), missing, replace=False)].tolist()]
            rng.shuffle(every)
            listed = f"{', '.join(every[:-1])} and {every[-1]}" if len(every) > 1 else every[0]
            texts.append(f"{name} likes {listed}.")
        what = {1: "singles", 2: "pairs", 3: "triples"}.get(self.k, f"sets-of-{self.k}")
        pattern = "" if self.pattern == "dense" else f"-{self.pattern}"
        query_ids = [f"query_{number}" for number in range(self.queries)]
        return Dataset.build(
            name=f"{what}{pattern}-{n}-of-{count}-{self.queries}-queries",
            revision=f"seed {self.seed}",
            doc_ids=names,
            doc_texts=texts,
            titles=[""] * count,
            query_ids=query_ids,
            query_texts=[f"Who likes {item}?" for item in asked],
            qrels={query: {names[row]: 1 for row in own} for query, own in zip(query_ids, sets, strict=True)},
        )

    def _sets(self, n: int, rng: np.random.Generator) -> Iterator[tuple[int, ...]]:
        """Yield sets of k of n documents in the order of the pattern, none twice."""
        if self.pattern == "dense":
            yield from itertools.combinations(range(n), self.k)
        elif self.pattern == "random":
            seen: set[tuple[int, ...]] = set()
            while len(seen) < math.comb(n, self.k):
                drawn = tuple(sorted(int(row) for row in rng.choice(n, self.k, replace=False)))
                if drawn not in seen:
                    seen.add(drawn)
                    yield drawn
        elif self.pattern == "cycle":
            for start in range(n if n > self.k else 1):
                yield tuple(sorted((start + step) % n for step in range(self.k)))
        else:
            for start in range(0, n - self.k + 1, self.k):
                yield tuple(range(start, start + self.k))

    def _names(self, count: int, rng: np.random.Generator) -> list[str]:
        """Return names that no two documents share: a number follows once all pairs of names are taken."""
        pairs = [f"{first} {last}" for first in FIRST for last in LAST]
        rng.shuffle(pairs)
        return [
            pairs[row % len(pairs)] + (f" {row // len(pairs) + 1}" if row >= len(pairs) else "") for row in range(count)
        ]
