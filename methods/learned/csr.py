"""Contrastive sparse representation: the few strongest of many learned, non-negative features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, project, row_blocks, unit_rows
from methods.learned.examples import drawn
from methods.learned.layers import unit
from methods.learned.losses import info_nce
from methods.learned.trainer import Learned
from methods.tables.sparse import pack_places, unpack_places
from methods.tables.table import as_half

if TYPE_CHECKING:
    import torch

IDLE_STEPS = 30
"""A feature that no document of so many batches has used is dead."""


@dataclass(kw_only=True, eq=False)
class CSR(Learned, Codec):
    """Keep the k largest of h features of a tied autoencoder (Wen et al., 2025).

    z = TopK(ReLU(W (x - b) + c)), rebuilt as W' z + b. The loss is the squared error with k features, 1/8 of that with
    4 k, 1/32 of the error of what is left when dead features rebuild it (Gao et al., 2024), each relative to the
    squared length of what is rebuilt, and `contrast` times the contrastive loss of cosines of codes over the batch.
    Its positives are a query that the document answers, where one is known, and the document itself elsewhere, so that
    other documents are pushed away.

    Stored are k values and k places of ceil(log2 h) bits. (The paper compares k with dimensions and counts no places.)
    `scoring`: *symmetric* is the paper's cosine of two sparse codes, *asymmetric* the float query against W' z + b.

    Parameters
    ----------
    k : int
    width : int or None
        Features, h; None is 4 d, as in the paper.
    value_bits : {8, 16}
        Levels of the largest value met in `fit`, or float16.
    contrast : float
    temperature : float
        Temperature of the contrastive loss.
    dead : int
        How many dead features rebuild what is left, k_aux; 0 leaves that term out.
    anneal_from : int or None
        CSRv2: train with so many features at first, and one by one fewer down to k after 70 % of the steps.
    """

    k: int = 20
    width: int | None = None
    value_bits: Literal[8, 16] = 8
    contrast: float = 0.1
    temperature: float = 0.2
    dead: int = 512
    anneal_from: int | None = None

    wants_queries: ClassVar[bool] = True
    wants_pairs: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "k")
        self._require(self.width is None or self.k <= self.width <= 1 << 16, f"width={self.width} must be k to 65536")
        self._require_positive("temperature")
        self._require_at_least(0, "contrast", "dead")
        self._require(
            self.anneal_from is None or self.anneal_from >= self.k,
            f"anneal_from={self.anneal_from} is less than k={self.k}",
        )

    def _fit_pairs(self, docs: Float32, queries: Float32 | None, pairs: NDArray[np.int64] | None) -> None:
        d = docs.shape[1]
        width = self.width or 4 * d
        self._require(self.k <= width <= 1 << 16, f"width={width} must be k={self.k} to 65536")
        sampled_rows = drawn(len(docs), self.sample, self.seed)
        asking = asking_queries(sampled_rows, queries, pairs, self.seed)
        sampled_docs = docs[sampled_rows]
        words = f"{len(sampled_docs)} documents, {int((asking >= 0).sum())} of them with a query that they answer"
        with self._learning() as device:
            import torch
            from torch import nn

            start = {
                "weights": unit(torch.randn(width, d)),
                "centre": torch.from_numpy(sampled_docs.mean(axis=0, dtype=np.float64).astype(np.float32)),
                "offset": torch.zeros(width),
            }
            module = nn.ParameterDict(start).to(device)
            vectors = torch.tensor(sampled_docs, device=device)
            asked = vectors if queries is None else torch.tensor(queries, device=device)
            partner = torch.tensor(asking, device=device)
            self._idle = torch.zeros(width, device=device)
            self._step = 0

            def loss(rows: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
                number = partner[rows]
                inputs, paired = vectors[rows], number >= 0
                codes, total = self._reconstruction(module, inputs)
                if self.contrast:
                    anchors = codes
                    if paired.any():
                        inside = asked[number.clamp(min=0)][paired]
                        of_queries, further = self._reconstruction(module, inside)
                        total = total + further * len(inside) / len(inputs)
                        anchors = codes.clone()
                        anchors[paired] = of_queries
                    # one query may have brought two documents
                    same = (number[:, None] == number[None, :]) & paired[:, None]
                    total = total + self.contrast * info_nce(unit(anchors) @ unit(codes).T, self.temperature, same)
                return total

            def after_step(step: int) -> None:
                self._step = step

            self._train(module, loss, len(sampled_docs), words, after_step=after_step)
            learned = {name: value.detach().cpu().numpy() for name, value in module.items()}
        self.weights_: Float32 = learned["weights"]
        self.centre_: Float32 = learned["centre"]
        self.offset_: Float32 = learned["offset"]
        del self._idle, self._step
        self.scale_ = np.float32(max((v.max() for _, v in self._blocks(sampled_docs)), default=0.0))

    def _features_kept(self, training: bool) -> int:
        """Return how many features are kept at this step."""
        if not training or self.anneal_from is None:
            return self.k
        share = min(1.0, self._step / (0.7 * self.steps))
        return round(self.anneal_from + (self.k - self.anneal_from) * share)

    def _reconstruction(self, module: Any, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return codes (b, h) and the loss of what they rebuild."""
        before = (inputs - module["centre"]) @ module["weights"].T + module["offset"]
        k = self._features_kept(module.training)
        size = inputs.pow(2).sum().clamp(min=1e-12)
        codes = strongest(before, k)
        residual = inputs - (codes @ module["weights"] + module["centre"])
        total = residual.pow(2).sum() / size
        further = strongest(before, 4 * k) @ module["weights"] + module["centre"]
        total = total + (inputs - further).pow(2).sum() / size / 8
        if module.training:
            self._idle += 1
            self._idle[(codes.detach() > 0).any(dim=0)] = 0
            dead = self._idle > IDLE_STEPS
            count = int(dead.sum())
            if self.dead and count:
                residual = residual.detach()
                of_dead = strongest(before.masked_fill(~dead, -1.0), min(self.dead, count))
                error = (residual - of_dead @ module["weights"]).pow(2).sum() / residual.pow(2).sum().clamp(min=1e-12)
                total = total + error / 32
        return codes, total

    def _blocks(self, docs: Float32) -> Any:
        """Yield (places, values) of blocks of documents, int64 and float32 (rows, k), places ascending."""
        weights = np.asarray(self.weights_, dtype=np.float64).T
        for start, stop in row_blocks(len(docs), 8 * weights.shape[1]):
            features = np.maximum(project(docs[start:stop] - self.centre_, weights) + self.offset_, np.float32(0))
            places = np.sort(np.argsort(-features, axis=1, kind="stable")[:, : self.k], axis=1)
            yield places, np.take_along_axis(features, places, axis=1)

    def _encode(self, docs: Float32) -> Codes:
        places, values = (np.concatenate(parts) for parts in zip(*self._blocks(docs), strict=True))
        packed = pack_places(places, len(self.weights_))
        if self.value_bits == 16:
            return Codes(n=len(docs), rows={"places": packed, "values": as_half(values, "CSR")})
        scale = np.float32(self.scale_) if self.scale_ > 0 else np.float32(1)
        levels = np.clip(np.rint(values / scale * np.float32(255)), 0, 255).astype(np.uint8)
        return Codes(n=len(docs), rows={"places": packed, "values": levels})

    def _features(self, codes: Codes) -> Any:
        """Return a scipy sparse matrix (n, h), float32."""
        from scipy.sparse import csr_matrix

        width = len(self.weights_)
        places = unpack_places(codes.rows["places"], self.k, width)
        values = codes.rows["values"].astype(np.float32)
        if self.value_bits == 8:
            values *= np.float32(self.scale_) / np.float32(255)
        return csr_matrix((values.ravel(), places.ravel(), np.arange(codes.n + 1) * self.k), shape=(codes.n, width))

    def _decode(self, codes: Codes) -> Float32:
        rebuilt: Array = self._features(codes) @ self.weights_ + self.centre_
        return rebuilt.astype(np.float32)

    def _doc_matrix(self, codes: Codes) -> Float32:
        if self.scoring != "symmetric":
            return super()._doc_matrix(codes)
        return unit_rows(self._features(codes).toarray())


def strongest(features: torch.Tensor, k: int) -> torch.Tensor:
    """Return each row's k largest numbers where they stand, the negative ones and all others as zero."""
    import torch

    values, places = features.topk(min(k, features.shape[1]), dim=1)
    return torch.zeros_like(features).scatter(1, places, values.relu())


def asking_queries(
    rows: Array, queries: Float32 | None, pairs: NDArray[np.int64] | None, seed: int
) -> NDArray[np.int64]:
    """Return the row of a query that each of some documents (row numbers, ascending) answers; -1 if none is known."""
    asking = np.full(len(rows), -1, dtype=np.int64)
    if queries is not None and pairs is not None and len(pairs):
        shuffled = pairs[np.random.default_rng(seed).permutation(len(pairs))]
        position = np.minimum(np.searchsorted(rows, shuffled[:, 1]), len(rows) - 1)
        inside = rows[position] == shuffled[:, 1]
        asking[position[inside]] = shuffled[inside, 0]
    return asking
