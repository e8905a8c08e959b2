"""Batches of queries with the documents that answer them, those of the others as wrong ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from methods.base import Float32
from methods.learned.examples import connected, drawn, query_pairs

if TYPE_CHECKING:
    import torch


class Answers:
    """Pairs of a query and a document that answers it, on a device.

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
        How many documents are drawn from all there are, to be wrong ones for every query.

    Attributes
    ----------
    words : str
        What they are.
    groups : int64 (p,)
        Numbers of the groups that are held out together, as `methods.learned.examples.Pairs` has them.
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

        if queries is not None and pairs is not None and len(pairs):
            asking, question, rows = queries, pairs[:, 0], pairs[:, 1]
            self.words = f"{len(pairs)} pairs of a query and its document"
        else:
            docs = docs if queries is not None else docs[drawn(len(docs), sample, seed)]
            pseudo_pairs = query_pairs(docs, queries, None)
            asking, question, rows = pseudo_pairs.queries, np.arange(len(pseudo_pairs.queries)), pseudo_pairs.rows
            self.words = f"pseudo pairs: {pseudo_pairs.words}"
        self.groups = connected(np.column_stack([question, rows]), len(asking), len(docs))
        further = drawn(len(docs), others, seed) if others else np.empty(0, dtype=np.int64)
        known = question * len(docs) + rows
        if queries is None:
            # a document that asks finds itself first: no wrong one
            known = np.concatenate([known, question * (len(docs) + 1)])
        doc_rows = np.union1d(rows, further)
        self._n = len(docs)
        self._queries, self._docs = torch.tensor(asking, device=device), torch.tensor(docs[doc_rows], device=device)
        self._doc_rows, self._known = torch.tensor(doc_rows, device=device), torch.tensor(known, device=device)
        self._question = torch.tensor(question, device=device)
        self._answer_positions = torch.tensor(np.searchsorted(doc_rows, rows), device=device)
        self._others = torch.tensor(np.searchsorted(doc_rows, further), device=device)

    def __len__(self) -> int:
        return len(self._question)

    def at(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the queries (b, d) of pairs, documents (b + others, d), and which of these are known to answer which.

        The first b documents are the pairs' own, in their order; the last returned is bool (b, b + others).
        """
        import torch

        asking, positions = self._question[numbers], torch.cat([self._answer_positions[numbers], self._others])
        right = torch.isin(asking[:, None] * self._n + self._doc_rows[positions][None, :], self._known)
        return self._queries[asking], self._docs[positions], right
