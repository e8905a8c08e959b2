"""Queries with all the documents that answer them: one example a query, whichever of its documents a step draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from methods.base import Float32
from methods.learned.examples import drawn, query_pairs

if TYPE_CHECKING:
    import torch


class Answers:
    """Pairs grouped by query, so that a query is either learned from or held out, with all that is known of it.

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

    Attributes
    ----------
    words : str
        What they are.
    left : (m', d)
        Queries that have an answer.
    docs : (n', d)
        Documents that answer any.
    """

    def __init__(
        self,
        docs: Float32,
        queries: Float32 | None,
        pairs: NDArray[np.int64] | None,
        sample: int,
        seed: int,
        device: str,
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
        order = np.argsort(question, kind="stable")
        counts = np.bincount(question, minlength=len(left))
        self.left = torch.tensor(left, device=device)
        self.docs = torch.tensor(docs[answering], device=device)
        self._rows = torch.from_numpy(place[order])
        self._counts = torch.from_numpy(counts)
        self._starts = torch.from_numpy(np.cumsum(counts) - counts)
        own = own[np.isin(own[:, 1], answering)]
        known = np.concatenate([np.column_stack([question, place]), own])
        known[len(question) :, 1] = np.searchsorted(answering, own[:, 1])
        self._known = torch.from_numpy(np.unique(known[:, 0] * len(answering) + known[:, 1])).to(device)

    def __len__(self) -> int:
        return len(self.left)

    def draw(self, numbers: torch.Tensor, chance: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return for each query one of its documents, row numbers of `docs` (b,), and which others answer it too.

        The second is bool (b, b): whether the document drawn for a query (column) is known to answer another (row).
        """
        import torch

        there = numbers.cpu()
        picked = (torch.rand(len(there), generator=chance) * self._counts[there]).long()
        rows = self._rows[self._starts[there] + picked].to(numbers.device)
        return rows, torch.isin(numbers[:, None] * len(self.docs) + rows[None, :], self._known)
