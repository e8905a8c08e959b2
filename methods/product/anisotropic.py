"""Product quantisation that cares for inner products: ScaNN's anisotropic loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, row_blocks
from methods.kernels import k_means
from methods.kernels.packing import pack, unpack

Int = NDArray[np.intp]


def parallel_weight(threshold: float, d: int) -> float:
    """Return eta = (d - 1) t^2 / (1 - t^2), the weight of the parallel error against the orthogonal one.

    Guo et al. (2020), theorem 3.4 in its limit, for the threshold t as a share of the document's length. It grows
    with d: t = 0.2 means 4.1 at 100 dimensions and 32 at 768.
    """
    return (d - 1) * threshold**2 / (1 - threshold**2)


@dataclass(kw_only=True, eq=False)
class AnisotropicPQ(Codec):
    """Product quantisation under a score-aware loss (Guo et al., 2020), the code of ScaNN.

    For the residual r = x - x^ the loss is eta |r_par|^2 + |r_orth|^2, r_par being the part along x. A document is
    relevant to the queries that lie along it, and for those it is r_par that spoils the score. Codes start at each
    part's nearest centroid and are bettered one part at a time (coordinate descent, the part with the largest residual
    first) for as long as the loss falls. Codebooks start from k-means; then codes and codebooks alternate, a centroid
    being the solution of

        [ n I + (eta - 1) sum u u^T ] c = sum x_j + (eta - 1) sum u (P + <x_j, u>)

    over the n documents of its cell, with x_j and u the part's piece of x and of x / |x|, and P the parallel residual
    that the other parts leave: the paper's update for one codebook, the others held fixed.

    Parameters
    ----------
    m, bits : int
        Parts, and bits of each. ScaNN's own choice is 4 bits for every two dimensions.
    threshold : float
        t of `parallel_weight`. 0.2 is the documented value, chosen at about 100 dimensions.
    eta : float or None
        The weight itself, in place of what the threshold gives; 1 is plain PQ.
    rounds : int
        Alternations of codes and codebooks. 0 leaves the codebooks as k-means found them, as the released library
        does, so that only the assignment is score-aware.
    iterations : int
        Iterations of k-means.
    seed : int
    """

    m: int
    bits: int = 4
    threshold: float = 0.2
    eta: float | None = None
    rounds: int = 5
    iterations: int = 10
    seed: int = 0

    @property
    def codebook_size(self) -> int:
        """Centroids of each codebook."""
        return int(1 << self.bits)

    def _check_parameters(self) -> None:
        self._require_at_least(1, "m")
        self._require(1 <= self.bits <= 8, f"bits must be 1 to 8, got {self.bits}")
        self._require(0 < self.threshold < 1, f"threshold must be between 0 and 1, got {self.threshold}")
        self._require_positive("eta")
        self._require_at_least(0, "rounds")
        self._require_at_least(1, "iterations")

    def _weight(self, d: int) -> float:
        """Return eta: the parameter, or what the threshold implies in d dimensions."""
        return parallel_weight(self.threshold, d) if self.eta is None else float(self.eta)

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        n, d = docs.shape
        self._require(d % self.m == 0, f"m={self.m} does not divide the {d} dimensions of the vectors")
        self._require(
            n >= 2**self.bits, f"{n} documents are fewer than the {2**self.bits} centroids of bits={self.bits}"
        )
        codebook = k_means.codebooks(docs, self.m, 2**self.bits, self.seed, self.iterations).astype(np.float64)
        for _ in range(self.rounds):
            codes = assign(docs, codebook, self._weight(d))
            codebook = updated(docs, codes, codebook, self._weight(d))
        self.codebook_ = codebook.astype(np.float32)

    def _encode(self, docs: Float32) -> Codes:
        codes = assign(docs, self.codebook_.astype(np.float64), self._weight(docs.shape[1]))
        return Codes.packed(pack(codes, self.bits))

    def _decode(self, codes: Codes) -> Float32:
        m, _, width = self.codebook_.shape
        values = unpack(codes.array, self.bits, m)
        decoded: Float32 = self.codebook_[np.arange(m), values].reshape(codes.n, m * width)
        return decoded


def assign(docs: Float32, codebook: Array, eta: float) -> Int:
    """Return codes (n, m) for documents (n, d) by coordinate descent on |r|^2 + (eta - 1) |r_par|^2.

    That is eta |r_par|^2 + |r_orth|^2, written so that both terms are updated part by part.
    """
    m, words, _ = codebook.shape
    codes = np.empty((len(docs), m), dtype=np.intp)
    for start, stop in row_blocks(len(docs), 4 * m * words):
        pieces, directions = _pieces(docs[start:stop], m)
        squared = (
            np.einsum("jnw,jnw->jn", pieces, pieces)[:, :, None]
            - 2 * pieces @ codebook.transpose(0, 2, 1)
            + np.einsum("jkw,jkw->jk", codebook, codebook)[:, None, :]
        )
        parallel = np.einsum("jnw,jnw->jn", pieces, directions)[:, :, None] - directions @ codebook.transpose(0, 2, 1)
        codes[start:stop] = _descend(squared, parallel, eta)
    return codes


def _pieces(docs: Float32, m: int) -> tuple[Array, Array]:
    """Return the parts of x and of x / |x|, each float64 (m, n, width)."""
    n, d = docs.shape
    wide = docs.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    units = wide / np.where(norms > 0, norms, 1)[:, None]
    shape = (n, m, d // m)
    return wide.reshape(shape).transpose(1, 0, 2), units.reshape(shape).transpose(1, 0, 2)


def _descend(squared: Array, parallel: Array, eta: float, most_sweeps: int = 10) -> Int:
    """Return codes (n, m), from tables (m, n, words) of each part's squared and parallel residual."""
    m, n, _ = squared.shape
    codes: Int = squared.argmin(axis=2).T
    if eta == 1:
        return codes
    everyone, parts = np.arange(n), np.arange(m)
    total = parallel[parts[:, None], everyone, codes.T].sum(axis=0)
    active = everyone
    for _ in range(most_sweeps):
        residuals = squared[parts[:, None], active, codes[active].T]
        order = np.argsort(-residuals, axis=0, kind="stable")
        changed = np.zeros(len(active), dtype=bool)
        for turn in range(m):
            part, old = order[turn], codes[active, order[turn]]
            of_other_parts = total[active] - parallel[part, active, old]
            loss = squared[part, active] + (eta - 1) * (of_other_parts[:, None] + parallel[part, active]) ** 2
            best = loss.argmin(axis=1)
            rows = np.arange(len(active))
            # a step must be worth more than rounding, so that no two codes of equal loss take turns
            better = loss[rows, best] < loss[rows, old] - 1e-12
            changed |= better
            codes[active[better], part[better]] = best[better]
            total[active] = of_other_parts + parallel[part, active, codes[active, part]]
        active = active[changed]
        if not len(active):
            break
    return codes


def updated(docs: Float32, codes: Int, codebook: Array, eta: float) -> Array:
    """Return a codebook with a lower loss for the same codes: each part in turn solved exactly, the others fixed."""
    m, words, width = codebook.shape
    pieces, directions = _pieces(docs, m)
    out: Array = codebook.copy()
    decoded = codebook[np.arange(m), codes].transpose(1, 0, 2)
    parallel = np.einsum("jnw,jnw->jn", pieces - decoded, directions)
    total = parallel.sum(axis=0)
    for part in range(m):
        x, u, cell = pieces[part], directions[part], codes[:, part]
        wanted = total - parallel[part] + np.einsum("nw,nw->n", x, u)
        moments = _cell_sums((u[:, :, None] * u[:, None, :]).reshape(len(docs), -1), cell, words)
        matrices = (eta - 1) * moments.reshape(words, width, width)
        counts = np.bincount(cell, minlength=words)
        matrices += counts[:, None, None] * np.eye(width)
        targets = _cell_sums(x + (eta - 1) * wanted[:, None] * u, cell, words)
        used = counts > 0
        out[part, used] = np.linalg.solve(matrices[used], targets[used][:, :, None])[:, :, 0]
        residual = x - out[part, cell]
        total += np.einsum("nw,nw->n", residual, u) - parallel[part]
    return out


def _cell_sums(values: Array, cell: Int, words: int) -> Array:
    """Return the sum of `values` (n, w) over each cell, (words, w)."""
    from scipy.sparse import csr_matrix

    n = len(values)
    member = csr_matrix((np.ones(n), (cell, np.arange(n))), shape=(words, n))
    sums: Array = member @ values
    return sums
