"""Every row as the sum of a few rows of one short table, at hashed places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codes, Float32, row_blocks
from methods.tables.table import TableCodec, hash_of

Float64 = NDArray[np.float64]


@dataclass(kw_only=True, eq=False)
class MultiHash(TableCodec):
    """Add up the rows of one table at `hashes` places, each by a hash with a seed of its own.

    spaCy's hash embeddings (Miranda et al., 2022, section 2.2; after Svenstrup, Hansen and Winther, 2017): two rows
    that meet at one place meet at all of them hardly ever. There the table is trained in this form; here it is the
    least-squares fit to a table that is given, by conjugate gradients on the normal equations.

    Parameters
    ----------
    hashes : int
        Places of a row, 4 in spaCy.
    iterations : int
        Of the conjugate gradients.
    seed : int
    """

    hashes: int = 4
    iterations: int = 40
    seed: int = 0

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "hashes", "iterations")

    def _places(self, start: int, stop: int, size: int) -> NDArray[np.int64]:
        """Return where the parts of some rows lie, int64 (rows, hashes)."""
        rows, number = np.arange(start, stop, dtype=np.uint64), np.arange(self.hashes, dtype=np.uint64)
        return (hash_of(rows[:, None], number[None, :], self.seed) % np.uint64(size)).astype(np.int64)

    def _learn(self, docs: Float32) -> dict[str, Array]:
        from scipy.sparse import csr_array

        n, d = docs.shape
        size = max(1, self.nbytes * n // (2 * d))
        places = self._places(0, n, size)
        ones = np.ones(places.size)
        offsets = np.arange(n + 1) * self.hashes
        adding = csr_array((ones, places.ravel(), offsets), shape=(n, size))
        normal = (adding.T @ adding).tocsr()
        table = np.zeros((size, d))
        left = np.asarray(adding.T @ docs.astype(np.float64))
        towards, energy = left.copy(), (left**2).sum(axis=0)
        for _ in range(self.iterations):
            moved = np.asarray(normal @ towards)
            step = _ratio(energy, (towards * moved).sum(axis=0))
            table += step * towards
            left -= step * moved
            before, energy = energy, (left**2).sum(axis=0)
            towards = left + _ratio(energy, before) * towards
        return {"table": table}

    def _decode(self, codes: Codes) -> Float32:
        table = codes.shared["table"].astype(np.float32)
        out = np.empty((codes.n, self.dim_), dtype=np.float32)
        for start, stop in row_blocks(codes.n, 4 * self.dim_ * self.hashes):
            out[start:stop] = table[self._places(start, stop, len(table))].sum(axis=1)
        return out


def _ratio(above: Float64, below: Float64) -> Float64:
    """Return above / below, and 0 once there is nothing left to do."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 1e-12)
