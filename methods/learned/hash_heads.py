"""Networks whose outputs are made for their signs: put one before `methods.Sign`."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from methods.base import Array, Float32, Transform, unit_rows
from methods.learned import layers
from methods.learned.examples import drawn, neighbours, one_of
from methods.learned.trainer import Learned

if TYPE_CHECKING:
    import torch

    from methods.learned.trainer import Loss


@dataclass(kw_only=True, eq=False)
class HashHead(Learned, Transform):
    """Linear, GELU, linear, batch norm: every output has mean 0 and variance 1, so that its sign is a balanced bit.

    Queries go through the same head; with `scoring="symmetric"` both sides' signs are compared by Hamming distance, as
    the papers do, and with *asymmetric* the query keeps the head's outputs.

    Parameters
    ----------
    nbits : int
        Outputs.
    hidden : int or None
        Width of the hidden layer; None is that of the vectors.
    """

    nbits: int
    hidden: int | None = None

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "nbits", "hidden")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        import torch
        from torch import nn

        self._require(len(docs) >= 4, f"{len(docs)} documents are too few: batch norm needs 4")
        docs = unit_rows(docs[drawn(len(docs), self.sample, self.seed)])
        with self._learning() as device:
            d = docs.shape[1]
            head = layers.perceptron([d, self.hidden or d, self.nbits], "gelu")
            head.append(nn.BatchNorm1d(self.nbits))
            head.to(device)
            loss = self._loss(head, torch.from_numpy(docs).to(device), docs)
            self._train(head, loss, len(docs), self._words(docs))
            layers.keep(self, "head", head)

    @abstractmethod
    def _loss(self, head: Any, vectors: torch.Tensor, docs: Float32) -> Loss:
        """Return the loss of a batch of rows; `vectors` are the documents on the head's device."""

    @abstractmethod
    def _words(self, docs: Float32) -> str: ...

    def _transform_docs(self, docs: Float32) -> Float32:
        return layers.apply(self, "head", unit_rows(docs), "gelu")


@dataclass(kw_only=True, eq=False)
class SimilarityCalibration(HashHead):
    """Spread the codes' similarities evenly along the scale (Ng et al., 2023, similarity distribution calibration).

    Similarities of pairs bunch around their mean, and signs then tell them apart badly. The similarities of a batch's
    pairs after the head, sorted by the similarities before it, should be the quantiles of Beta(5, 5) on [-1, 1]: the
    loss is the mean absolute difference, plus what signs lose, 1 - cos(v, sign(v)).

    Parameters
    ----------
    alpha : float
        Both parameters of the Beta distribution; 5 in the paper.
    quantization : float
        Weight of the second term; 1 in the paper.
    near : float
        Share of the pairs that are a document and one of its nearest neighbours; the others are drawn at random. 0 in
        the paper, whose queries ask for a category: random pairs calibrate the ranking as a whole, and hardly any of
        them are as near as what a search returns. Many near pairs take the scale for themselves. With held-out
        documents of SciFact for queries, signs found .49, .55, .47 and .30 of the ten nearest at 0, 0.1, 0.25 and 0.5,
        and those of the vectors as they are .63.
    neighbours : int
        How many nearest documents those are drawn from.

    Notes
    -----
    The paper trains on frozen features too, for 100 epochs in batches of 64 at a rate of 1e-4. Its aim, categories of
    pictures, is another one than the nearest documents: a head that started at the signs of rotated vectors, .64 in the
    measure above, was led away from them to .56.
    """

    alpha: float = 5.0
    quantization: float = 1.0
    near: float = 0.1
    neighbours: int = 10

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_positive("alpha")
        self._require_at_least(0, "quantization")
        self._require(0 <= self.near <= 1, f"near must be a share in [0, 1], got {self.near}")
        self._require_at_least(1, "neighbours")

    def _words(self, docs: Float32) -> str:
        return f"pairs of {len(docs)} documents, {self.near:.0%} of them near"

    def _loss(self, head: Any, vectors: torch.Tensor, docs: Float32) -> Loss:
        import torch

        close = torch.from_numpy(neighbours(docs, self.neighbours)) if self.near else None

        def loss(batch: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
            partners = torch.randint(len(vectors), (len(batch),), generator=chance).to(batch.device)
            if close is not None:
                twins = one_of(close, batch, chance)
                nearby = torch.rand(len(batch), generator=chance).to(batch.device) < self.near
                partners = torch.where(nearby, twins, partners)
            first, second = vectors[batch], vectors[partners]
            codes = head(torch.cat([first, second]))
            before = (first * second).sum(dim=1)
            return calibration(before, codes, self.alpha) + self.quantization * sign_loss(codes)

        return loss


@dataclass(kw_only=True, eq=False)
class OrthoHash(HashHead):
    """Turn each cluster's documents towards the cluster's own random code (Hoe et al., 2021, one loss for hashing).

    A document's cosine with the code of its class, less a margin, should be the largest: cross entropy of
    s (cos - m). Codes are rows of a Hadamard matrix where there are as many, else drawn bit by bit.

    The paper has classes. Here k-means makes them up, and that is a mistake for retrieval if they are few: the loss
    would have all documents of a cluster share one code.

    Parameters
    ----------
    classes : int
        Clusters of spherical k-means, at most a quarter of the documents. With held-out documents of SciFact for
        queries, signs found .33, .48 and .46 of the ten nearest with 64, 256 and 1024.
    scale, margin : float
        s = 8 and m = 0.2 in the paper.

    Notes
    -----
    The paper's head is one linear layer and batch norm on a network that it trains; on frozen vectors this one has a
    hidden layer.
    """

    classes: int = 256
    scale: float = 8.0
    margin: float = 0.2

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(2, "classes")
        self._require_positive("scale")
        self._require_at_least(0, "margin")

    def _count(self, n: int) -> int:
        """Return how many clusters n documents are put into."""
        return min(self.classes, max(2, n // 4))

    def _words(self, docs: Float32) -> str:
        return f"{len(docs)} documents in {self._count(len(docs))} clusters"

    def _loss(self, head: Any, vectors: torch.Tensor, docs: Float32) -> Loss:
        import torch
        from torch.nn.functional import cross_entropy, one_hot

        count = self._count(len(docs))
        labels = torch.from_numpy(clusters(docs, count, self.seed)).to(vectors.device)
        targets = torch.from_numpy(class_codes(count, self.nbits, self.seed)).to(vectors.device)

        def loss(batch: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
            batch_labels = labels[batch]
            cosines = layers.unit(head(vectors[batch])) @ layers.unit(targets).T
            return cross_entropy(self.scale * (cosines - self.margin * one_hot(batch_labels, count)), batch_labels)

        return loss


def calibration(before: torch.Tensor, codes: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return the mean |similarity - quantile| over p pairs, in the order of the similarities before.

    Parameters
    ----------
    before : (p,)
        Similarities of the pairs' vectors.
    codes : (2 p, nbits)
        The head's outputs for the pairs' left sides, then for their right sides.
    alpha : float
    """
    import torch
    from scipy.special import betaincinv

    p = len(before)
    first, second = layers.unit(codes).split(p)
    after = (first * second).sum(dim=1)[before.argsort(stable=True)]
    quantiles = 2 * betaincinv(alpha, alpha, (np.arange(p) + 0.5) / p) - 1
    return (after - torch.as_tensor(quantiles, dtype=codes.dtype, device=codes.device)).abs().mean()


def sign_loss(codes: torch.Tensor) -> torch.Tensor:
    """Return the mean of 1 - cos(v, sign(v))."""
    # |v|_1 / (|v|_2 sqrt(nbits))
    return 1 - (layers.unit(codes).abs().sum(dim=1) / codes.shape[1] ** 0.5).mean()


def clusters(docs: Float32, count: int, seed: int) -> Array:
    """Return each document's cluster of spherical k-means, int64 (n,)."""
    import faiss

    kmeans = faiss.Kmeans(
        docs.shape[1], count, niter=20, seed=seed, spherical=True, min_points_per_centroid=1, verbose=False
    )
    kmeans.train(docs)
    assigned: Array = np.argmax(docs @ np.asarray(kmeans.centroids).T, axis=1)
    return assigned


def class_codes(count: int, nbits: int, seed: int) -> Float32:
    """Return a code of +-1 for each class, float32 (count, nbits): orthogonal rows where a Hadamard matrix has them."""
    from scipy.linalg import hadamard

    rng = np.random.default_rng(seed)
    if count <= nbits and nbits & (nbits - 1) == 0:
        rows = rng.permutation(nbits)[:count]
        return np.asarray(hadamard(nbits, dtype=np.float32)[rows])
    return (2 * rng.integers(0, 2, size=(count, nbits)) - 1).astype(np.float32)
