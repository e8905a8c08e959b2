"""Pairs of queries and documents, grouped so that what is held out is not known from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from methods.base import Float32
from methods.learned.examples import drawn, query_pairs

if TYPE_CHECKING:
    import torch


class Answers:
    """Pairs grouped by the query, or by the document where there are fewer of these than queries.

    A group is one example, of which each step draws a pair. Claims that cite one document are alike: with some of them
    learned from and others held out, a method that knows its documents by heart would seem to have learned.

    Parameters
    ----------
    docs : float32 (n, d)
    queries : float32 (m, d) or None
    pairs : int64 (p, 2) or None
        Where missing, `methods.learned.examples.query_pairs` stands in: each query with its nearest document; without
        queries, at most `sample` documents with their nearest other.
    sample : int
    seed : int
    device : str
    others : int
        How many documents are drawn from all there are, as `others`.

    Attributes
    ----------
    words : str
        What they are.
    left : (m', d)
        Queries that have an answer.
    docs : (n', d)
        Documents that answer any.
    others : (n'', d)
        Documents of which most answer nothing.
    """

    def __init__(
        self,
        docs: Float32,
        queries: Float32 | None,
        pairs: NDArray[np.int64] | None,
        sample: int,
        seed: int,
        device: str,
        others: int = 0,
    ) -> None:
        import torch

        own: NDArray[np.int64] = np.empty((0, 2), dtype=np.int64)
        if queries is not None and pairs is not None and len(pairs):
            asked, question = np.unique(pairs[:, 0], return_inverse=True)
            left, rows = queries[asked], pairs[:, 1]
            self.words = f"{len(pairs)} pairs of a query and its document"
        else:
            docs = docs if queries is not None else docs[drawn(len(docs), sample, seed)]
            found = query_pairs(docs, queries, None)
            left, rows, question = found.left, found.rows, np.arange(len(found.left))
            self.words = f"pseudo pairs: {found.words}"
            # a document that asks finds itself first: no negative
            own = np.column_stack([question, question]) if queries is None else own
        answering, place = np.unique(rows, return_inverse=True)
        group = question if len(left) <= len(answering) else place
        counts = np.bincount(group)
        order = np.argsort(group, kind="stable")
        self.left = torch.tensor(left, device=device)
        self.docs = torch.tensor(docs[answering], device=device)
        self._question, self._place = torch.from_numpy(question[order]), torch.from_numpy(place[order])
        self._counts, self._starts = torch.from_numpy(counts), torch.from_numpy(np.cumsum(counts) - counts)
        inside = own[np.isin(own[:, 1], answering)]
        asking = np.concatenate([question, inside[:, 0]])
        answer = np.concatenate([place, np.searchsorted(answering, inside[:, 1])])
        self._known = torch.from_numpy(np.unique(asking * len(answering) + answer)).to(device)
        rows_of_others = drawn(len(docs), others, seed) if others else np.empty(0, dtype=np.int64)
        self.others = torch.tensor(docs[rows_of_others], device=device)
        among = np.concatenate([question * len(docs) + rows, own[:, 0] * (len(docs) + 1)])
        self._n, self._among = len(docs), torch.from_numpy(np.unique(among)).to(device)
        self._others = torch.from_numpy(rows_of_others).to(device)

    def __len__(self) -> int:
        return len(self._counts)

    def draw(self, numbers: torch.Tensor, chance: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return a pair of each group, row numbers of `left` and of `docs` (b,), and who else belongs together.

        The last is bool (b, b): whether the document of a pair (column) is known to answer the query of another (row).
        """
        import torch

        there = numbers.cpu()
        pair = self._starts[there] + (torch.rand(len(there), generator=chance) * self._counts[there]).long()
        asking, rows = self._question[pair].to(numbers.device), self._place[pair].to(numbers.device)
        return asking, rows, torch.isin(asking[:, None] * len(self.docs) + rows[None, :], self._known)

    def right_among_others(self, asking: torch.Tensor) -> torch.Tensor:
        """Return which of `others` are known to answer queries, bool (b, n'')."""
        import torch

        return torch.isin(asking[:, None] * self._n + self._others[None, :], self._among)
