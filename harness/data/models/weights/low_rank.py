"""Linear layers as the product of two thinner ones, chosen by what goes through them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from harness.data.models.weights.linear_layers import linear_layers, second_moments

RIDGE = 1e-6
"""Added to the second moments, as a share of their mean: inputs that never vary leave them without an inverse."""


def factor(transformer: Any, keep: float, name: str, run: Callable[[], None]) -> None:
    """Replace the linear layers of a transformer's blocks by two factors each, in place.

    Parameters
    ----------
    transformer : transformers.PreTrainedModel
    keep : float
        Numbers in both factors over those of the layer. A layer of which the rank would be full stays as it is.
    name : str
        What the model is called.
    run : callable
        Sends calibration texts through the model.

    Raises
    ------
    ModelError
        If its blocks have no linear layers.
    """
    layers = linear_layers(transformer, name, "factored")
    moments = second_moments(layers, run)
    for path, layer in layers.items():
        rows, columns = layer.weight.shape
        rank = max(1, int(keep * rows * columns / (rows + columns)))
        if rank < min(rows, columns):
            transformer.set_submodule(path, factors(layer, moments[path], rank))


def factors(layer: nn.Linear, moments: torch.Tensor, rank: int) -> nn.Sequential:
    """Return the two layers of this rank that change least what the layer gives for such inputs.

    With E[x x'] = S S' (Cholesky), the best approximation of W S is its truncated SVD, U D V', and the factors are U D
    and V' S^-1 (Wang et al., SVD-LLM, 2024, section 3.1).

    Parameters
    ----------
    layer : nn.Linear
        Of weights W (o, i).
    moments : float64 (i, i)
        E[x x'] of its inputs.
    rank : int
    """
    weights = layer.weight.detach().double()
    ridge = RIDGE * moments.diagonal().mean().clamp_min(1e-12)
    root = torch.linalg.cholesky(moments + ridge * torch.eye(len(moments), dtype=moments.dtype))
    left, sizes, right = torch.linalg.svd(weights @ root, full_matrices=False)
    inner = torch.linalg.solve_triangular(root, right[:rank], upper=False, left=False)
    rows, columns = weights.shape
    first = nn.Linear(columns, rank, bias=False)
    second = nn.Linear(rank, rows, bias=layer.bias is not None)
    with torch.no_grad():
        # the spread of the singular values goes to both, so that neither has numbers of another size
        balance = sizes[:rank].sqrt()
        first.weight.copy_(balance[:, None] * inner)
        second.weight.copy_(left[:, :rank] * balance)
        if layer.bias is not None:
            second.bias.copy_(layer.bias)
    return nn.Sequential(first, second).eval()
