"""Autoencoders: a bottleneck that documents can be rebuilt from, and in which they keep their similarities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from methods.base import Float32, Transform, unit_rows
from methods.learned import layers
from methods.learned.examples import drawn, neighbours, one_of
from methods.learned.losses import similarity_gap
from methods.learned.trainer import Learned
from methods.transforms.linear import eigenbasis, second_moment

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, eq=False)
class Autoencoder(Learned, Transform):
    """Train an encoder with a decoder; the bottleneck is the new space (Hinton and Salakhutdinov, 2006).

    Documents and queries are both encoded and compared by cosine, as in KB-Shrink (Zouhar et al., 2022) and in arXiv
    2505.00105 (2025), so that the decoder is dropped. Reconstruction alone leaves the bottleneck's inner products
    open: any invertible matrix can stand between encoder and decoder. That is why `similarity` is here; a weight of 0
    for it and for `cosine` is what these studies trained.

    Parameters
    ----------
    dim : int
    encoder : {"linear", "mlp"}
    hidden : list of int
        Widths of the hidden layers of a perceptron (ReLU); the decoder has them in reverse.
    mse : float
        Weight of the squared length of the error of reconstruction.
    cosine : float
        Weight of 1 - cosine of a document and its reconstruction.
    similarity : float
        Weight of the mean |difference| of cosines in the old and the new space, over all pairs of a batch.
    neighbours : int
        Each document of a batch brings one of its nearest neighbours, of so many; 0 is none. Pairs drawn at random
        are hardly ever close.
    start : {"principal", "random"}
        Where a linear encoder and decoder start: *principal*, which is the least squared error already, or at random.
        A perceptron starts at random.
    normalize : bool
        Scale what comes out to unit length, documents and queries.
    """

    dim: int
    encoder: Literal["linear", "mlp"] = "linear"
    hidden: list[int] = field(default_factory=lambda: [512, 256])
    mse: float = 1.0
    cosine: float = 0.0
    similarity: float = 1.0
    neighbours: int = 5
    start: Literal["principal", "random"] = "principal"
    normalize: bool = True

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "dim")
        self._require(all(width >= 1 for width in self.hidden), f"hidden widths must be at least 1, got {self.hidden}")
        self._require_at_least(0, "mse", "cosine", "similarity", "neighbours")
        self._require(self.mse + self.cosine + self.similarity > 0, "mse, cosine and similarity are all 0: no loss")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        self._require(self.dim <= d, f"dim={self.dim} is wider than the vectors, which have {d} dimensions")
        docs = docs[drawn(len(docs), self.sample, self.seed)]
        near = neighbours(docs, self.neighbours) if self.neighbours and self.similarity else None
        words = f"{len(docs)} documents" + ("" if near is None else f" with {near.shape[1]} neighbours each")
        with self._learning() as device:
            import torch

            module = self._module(docs).to(device)
            vectors = torch.tensor(docs, device=device)
            near_rows = None if near is None else torch.from_numpy(near)

            def loss(rows: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
                if near_rows is not None:
                    rows = torch.cat([rows, one_of(near_rows, rows, chance)])
                return self._loss(vectors[rows], module)

            self._train(module, loss, len(docs), words)
            layers.keep(self, "encoder", module["encoder"])

    def _loss(self, inputs: torch.Tensor, module: Any) -> torch.Tensor:
        narrow = module["encoder"](inputs)
        total = inputs.new_zeros(())
        if self.mse or self.cosine:
            rebuilt = module["decoder"](narrow)
            total = total + self.mse * (rebuilt - inputs).pow(2).sum(dim=1).mean()
            total = total + self.cosine * (1 - (layers.unit(rebuilt) * layers.unit(inputs)).sum(dim=1)).mean()
        if self.similarity:
            old, new = layers.unit(inputs), layers.unit(narrow)
            total = total + self.similarity * similarity_gap(new @ new.T, old @ old.T)
        return total

    def _module(self, docs: Float32) -> Any:
        """Return the untrained torch modules "encoder" and "decoder"."""
        import torch
        from torch import nn

        inner = [] if self.encoder == "linear" else list(self.hidden)
        sizes = [docs.shape[1], *inner, self.dim]
        linear = self.encoder == "linear"
        encoder = layers.perceptron(sizes, bias=not linear)
        decoder = layers.perceptron(sizes[::-1], bias=not linear)
        if linear and self.start == "principal":
            axes = torch.from_numpy(np.ascontiguousarray(eigenbasis(second_moment(docs))[1][:, : self.dim]))
            with torch.no_grad():
                encoder[0].weight.copy_(axes.T)
                decoder[0].weight.copy_(axes)
        return nn.ModuleDict({"encoder": encoder, "decoder": decoder})

    def _transform_docs(self, docs: Float32) -> Float32:
        mapped = layers.apply(self, "encoder", docs)
        return unit_rows(mapped) if self.normalize else mapped
