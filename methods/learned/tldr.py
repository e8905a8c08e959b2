"""TLDR: a map to fewer dimensions under which neighbours look alike and dimensions do not repeat each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from methods.base import Float32, Transform, unit_rows
from methods.learned import layers
from methods.learned.examples import drawn, neighbours, one_of
from methods.learned.losses import barlow_twins
from methods.learned.trainer import Learned
from methods.transforms.linear import eigenbasis, second_moment

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, eq=False)
class Tldr(Learned, Transform):
    """Twin learning for dimensionality reduction (Kalantidis, Lassance, Almazan and Larlus, 2022).

    A document and one of its nearest neighbours, drawn anew at each step, are the two views of a Barlow Twins loss
    (Zbontar et al., 2021): the cross-correlation of what a projector makes of them should be the identity. The
    projector is dropped after training. Queries take the documents' way.

    The loss is blind to invertible linear maps of the new space, which the projector's first layer can undo; which of
    them comes out depends on where training starts. The `start` at the principal axes is ours; the paper's is random.

    Parameters
    ----------
    dim : int
    encoder : {"linear", "factorised", "mlp"}
        *linear*: one matrix. *factorised*: `depth` hidden layers with batch norm and no activation, which are
        multiplied out after training. *mlp*: with ReLU.
    hidden : int
        Width of hidden layers of the encoder.
    depth : int
        Hidden layers of the encoder, where it has any.
    neighbours : int
        How many nearest neighbours each document is paired with, k in the paper.
    projector : int
        Width of the projector's hidden and last layer. The paper has 8192 and its code 2048, on a GPU.
    projector_depth : int
        Hidden layers of the projector.
    weight : float
        Weight of the off-diagonal correlations, lambda in the paper.
    scale : float
        Factor of the whole loss.
    start : {"principal", "random"}
        Where a linear encoder starts; others start at random.
    normalize : bool
        Scale what comes out to unit length, documents and queries.

    Notes
    -----
    The paper trains 100 epochs of batches of 1024 by LARS; here AdamW makes `steps` steps of `batch` pairs.
    """

    dim: int
    encoder: Literal["linear", "factorised", "mlp"] = "linear"
    hidden: int = 512
    depth: int = 1
    neighbours: int = 5
    projector: int = 512
    projector_depth: int = 1
    weight: float = 3.9e-3
    scale: float = 1 / 32
    start: Literal["principal", "random"] = "principal"
    normalize: bool = True

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "dim", "hidden", "depth", "neighbours", "projector", "projector_depth")
        self._require_positive("weight", "scale")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        d = docs.shape[1]
        self._require(self.dim <= d, f"dim={self.dim} is wider than the vectors, which have {d} dimensions")
        docs = docs[drawn(len(docs), self.sample, self.seed)]
        near = neighbours(docs, self.neighbours)
        with self._learning() as device:
            import torch

            module = self._module(docs).to(device)
            vectors, near_rows = torch.tensor(docs, device=device), torch.from_numpy(near)

            def loss(rows: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
                # batch norm wants two
                rows = rows if len(rows) > 1 else rows.repeat(2)
                twins = one_of(near_rows, rows, chance)
                first, second = (module["projector"](module["encoder"](vectors[part])) for part in (rows, twins))
                return barlow_twins(first, second, self.weight, self.scale)

            self._train(module, loss, len(docs), f"{len(docs)} documents with {near.shape[1]} neighbours each")
            layers.keep(self, "encoder", module["encoder"])
        if self.encoder == "factorised":
            self._multiply_out()

    def _module(self, docs: Float32) -> Any:
        """Return the untrained torch modules "encoder" and "projector"."""
        import torch
        from torch import nn

        d = docs.shape[1]
        inner = [] if self.encoder == "linear" else [self.hidden] * self.depth
        activation: layers.Activation = "relu" if self.encoder == "mlp" else "none"
        encoder = layers.perceptron([d, *inner, self.dim], activation, norm=True, bias=False)
        if self.encoder == "linear" and self.start == "principal":
            axes = eigenbasis(second_moment(docs))[1][:, : self.dim]
            with torch.no_grad():
                encoder[0].weight.copy_(torch.from_numpy(np.ascontiguousarray(axes.T)))
        projector = layers.perceptron([self.dim, *[self.projector] * (self.projector_depth + 1)], norm=True, bias=False)
        projector.append(nn.BatchNorm1d(self.projector, affine=False))
        for layer in projector:
            if isinstance(layer, nn.BatchNorm1d):
                # the held-out loss is that of its own batch's correlations, as the training loss is
                layer.track_running_stats = False
                layer.running_mean = layer.running_var = None
        return nn.ModuleDict({"encoder": encoder, "projector": projector})

    def _multiply_out(self) -> None:
        """Replace the layers of a factorised encoder, which is linear, by one layer that is their product."""
        arrays = vars(self)
        weights, bias = arrays.pop("encoder_w0_").astype(np.float64), arrays.pop("encoder_b0_").astype(np.float64)
        for number in range(1, self.depth + 1):
            further = arrays.pop(f"encoder_w{number}_").astype(np.float64)
            weights, bias = weights @ further, bias @ further + arrays.pop(f"encoder_b{number}_")
        self.encoder_w0_, self.encoder_b0_ = weights.astype(np.float32), bias.astype(np.float32)

    def _transform_docs(self, docs: Float32) -> Float32:
        mapped = layers.apply(self, "encoder", docs)
        return unit_rows(mapped) if self.normalize else mapped
