"""Residual quantisation with neural codebooks: what a codeword means depends on the codewords before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from methods.base import Array, Codec, Codes, Float32, project, row_blocks
from methods.kernels.packing import UInt8, pack, unpack
from methods.learned.examples import drawn
from methods.learned.trainer import Learned

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, eq=False)
class QINCo(Learned, Codec):
    """Refine a partial reconstruction step by step (Huijben et al., 2024, implicit neural codebooks).

    With the reconstruction x of the steps before, codeword c of a step means f(c, x) = c + O h_L, where
    h_0 = U c + V x + v and h_l = h_(l-1) + B_l relu(A_l h_(l-1)). A document takes, step by step, the codeword that
    brings x closest to it, out of the `candidates` whose c is nearest to what is left (pre-selection, as in QINCo2;
    Vallaeys et al., 2025, who learn other codewords for it). The loss is the squared error of the reconstructions after
    each step, summed over steps, over the mean square of the documents; gradients flow through all steps.

    Training starts from codebooks of k-means on residuals with O = 0, where f(c, x) = c: if the held-out loss never
    falls below it, this is a plain residual quantiser.

    Parameters
    ----------
    m, bits : int
        Steps, and bits of each step's code.
    width : int
        Numbers of h.
    hidden : int
        Outputs of A_l.
    depth : int
        Residual blocks, L. 2 in QINCo2-S, with width 128 and hidden 256; 16 in QINCo.
    candidates : int
        Codewords of a step that are tried; 16 in QINCo2. All 2^bits are in QINCo.

    Notes
    -----
    The papers train on 10,000,000 vectors for dozens of epochs on GPUs, and keep a beam of 32 partial codes where this
    one is greedy. On thousands of documents the networks have little to learn from, and state is larger than the
    documents: a codebook of 2^bits d numbers for each step, and its network. U c is stored for each codeword in place
    of U. Decoding runs the networks, 0.06 ms a document with these defaults: the papers use it to order a short
    list.
    """

    m: int = 16
    bits: int = 8
    width: int = 64
    hidden: int = 128
    depth: int = 2
    candidates: int = 8

    @property
    def codebook_size(self) -> int:
        """Centroids of each codebook."""
        return int(1 << self.bits)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "m", "width", "hidden", "depth", "candidates")
        self._require(1 <= self.bits <= 8, f"bits must be 1 to 8, got {self.bits}")

    @property
    def _tried(self) -> int:
        """How many of a step's codewords are refined before the best one is taken."""
        return min(self.candidates, 1 << self.bits)

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        import torch

        docs = docs[drawn(len(docs), self.sample, self.seed)]
        with self._learning() as device:
            learned = self._split(len(docs))[1].numpy()
            count = 2**self.bits
            self._require(
                len(learned) >= count,
                f"{len(learned)} documents to learn from are fewer than the {count} codewords of bits={self.bits}",
            )
            # networks start out for numbers of about 1
            scale = float(np.sqrt(np.mean(docs.astype(np.float64) ** 2))) or 1.0
            scaled = (docs / np.float32(scale)).astype(np.float32)
            books = residual_codebooks(scaled[np.sort(learned)], self.m, count, self.seed)
            net = self._network(torch.from_numpy(books)).to(device)
            vectors = torch.from_numpy(scaled).to(device)

            def loss(batch: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
                return step_errors(net, vectors[batch], self._tried).sum()

            self._train(net, loss, len(docs), f"{len(docs)} documents in {self.m} steps")
            self._keep(net, scale)

    def _network(self, books: torch.Tensor) -> Any:
        """Return the untrained torch parameters, each with the m steps on its first axis."""
        import torch
        from torch import nn

        (m, _, d), w, h = books.shape, self.width, self.hidden

        def drawn_matrix(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(m, *shape) / shape[-2] ** 0.5)

        net = nn.ParameterDict(
            {
                "books": nn.Parameter(books.clone()),
                "given": drawn_matrix(d, w),
                "seen": drawn_matrix(d, w),
                "bias": nn.Parameter(torch.zeros(m, w)),
                "out": nn.Parameter(torch.zeros(m, w, d)),
            }
        )
        for block in range(self.depth):
            net[f"up{block}"] = drawn_matrix(w, h)
            # each block starts as a small change
            net[f"down{block}"] = nn.Parameter(0.1 * drawn_matrix(h, w).detach())
        return net

    def _keep(self, net: Any, scale: float) -> None:
        """Store the trained network as state, in the units of the documents and with products multiplied out."""
        arrays = {name: value.detach().cpu().double().numpy() for name, value in net.items()}
        self.books_ = (scale * arrays["books"]).astype(np.float32)
        self.given_ = (arrays["books"] @ arrays["given"] + arrays["bias"][:, None, :]).astype(np.float32)
        self.seen_ = (arrays["seen"] / scale).astype(np.float32)
        self.out_ = (scale * arrays["out"]).astype(np.float32)
        self.up_ = np.stack([arrays[f"up{block}"] for block in range(self.depth)], axis=1).astype(np.float32)
        self.down_ = np.stack([arrays[f"down{block}"] for block in range(self.depth)], axis=1).astype(np.float32)

    def _meaning(self, step: int, chosen: Array, projected: Float32) -> Float32:
        """Return f(c, x), float32 (n, d): codewords by number (n,), and V x of each, float32 (n, width)."""
        state = self.given_[step][chosen] + projected
        for block in range(self.depth):
            up = np.maximum(project(state, self.up_[step, block]), np.float32(0))
            state = state + project(up, self.down_[step, block])
        return np.asarray(self.books_[step][chosen] + project(state, self.out_[step]), dtype=np.float32)

    def _encode(self, docs: Float32) -> Codes:
        numbers = np.empty((len(docs), self.m), dtype=np.uint8)
        tried = self._tried
        for start, stop in row_blocks(len(docs), 8 * tried * docs.shape[1]):
            block = docs[start:stop]
            rows = np.arange(len(block))
            reached = np.zeros_like(block)
            for step in range(self.m):
                near = nearest_words(block - reached, self.books_[step], tried)
                projected = np.repeat(project(reached, self.seen_[step]), tried, axis=0)
                words = self._meaning(step, near.ravel(), projected).reshape(len(block), tried, -1)
                residuals = (block - reached)[:, None, :] - words
                best = np.einsum("ncd,ncd->nc", residuals, residuals, dtype=np.float64).argmin(axis=1)
                numbers[start:stop, step] = near[rows, best]
                reached = reached + words[rows, best]
        return Codes.packed(pack(numbers, self.bits))

    def _decode(self, codes: Codes) -> Float32:
        numbers: UInt8 = unpack(codes.array, self.bits, self.m)
        reached = np.zeros((codes.n, self.dim_), dtype=np.float32)
        for step in range(self.m):
            reached = reached + self._meaning(step, numbers[:, step], project(reached, self.seen_[step]))
        return reached


def nearest_words(residuals: Float32, book: Float32, count: int) -> Array:
    """Return the numbers of the codewords nearest to each row, int64 (n, count), ascending."""
    wide = book.astype(np.float64)
    distances = np.einsum("kd,kd->k", wide, wide) - 2 * (residuals.astype(np.float64) @ wide.T)
    if count < len(book):
        numbers = np.argpartition(distances, count - 1, axis=1)[:, :count]
        return np.sort(numbers, axis=1)
    return np.broadcast_to(np.arange(count), (len(residuals), count))


def residual_codebooks(docs: Float32, m: int, count: int, seed: int) -> Float32:
    """Return codebooks of k-means on what the steps before left, float32 (m, count, d)."""
    import faiss

    books = np.empty((m, count, docs.shape[1]), dtype=np.float32)
    residuals = docs.copy()
    for step in range(m):
        kmeans = faiss.Kmeans(docs.shape[1], count, niter=10, seed=seed + step, min_points_per_centroid=1)
        kmeans.train(residuals)
        books[step] = kmeans.centroids
        residuals -= books[step][kmeans.index.search(residuals, 1)[1][:, 0]]
    return books


def step_errors(net: Any, vectors: torch.Tensor, tried: int) -> torch.Tensor:
    """Return the mean square error after each step, (m,), of a batch that is encoded greedily."""
    import torch

    rows = torch.arange(len(vectors), device=vectors.device)
    reached = torch.zeros_like(vectors)
    errors = []
    for step in range(len(net["books"])):
        with torch.no_grad():
            residuals, plain = vectors - reached, net["books"][step]
            near = (plain.pow(2).sum(dim=1) - 2 * residuals @ plain.T).topk(tried, dim=1, largest=False).indices
            words = _meaning(net, step, near, reached)
            best = (residuals[:, None, :] - words).pow(2).sum(dim=2).argmin(dim=1)
        reached = reached + _meaning(net, step, near[rows, best][:, None], reached)[:, 0]
        errors.append((vectors - reached).pow(2).mean())
    return torch.stack(errors)


def _meaning(net: Any, step: int, chosen: torch.Tensor, reached: torch.Tensor) -> torch.Tensor:
    """Return f(c, x), (b, c, d), of codewords (b, c) after reconstructions (b, d)."""
    words = net["books"][step][chosen]
    state = words @ net["given"][step] + (reached @ net["seen"][step])[:, None, :] + net["bias"][step]
    block = 0
    while f"up{block}" in net:
        state = state + (state @ net[f"up{block}"][step]).relu() @ net[f"down{block}"][step]
        block += 1
    return words + state @ net["out"][step]
