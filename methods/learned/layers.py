"""Small networks: built and trained in torch, kept and applied as NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from methods.base import Float32, Part, project, row_blocks
from methods.transforms.linear import eigenbasis, random_rotation, second_moment

if TYPE_CHECKING:
    import torch

Activation = Literal["relu", "gelu", "none"]


def perceptron(sizes: Sequence[int], activation: Activation = "relu", norm: bool = False, bias: bool = True) -> Any:
    """Return a torch module of linear layers with (batch norm and) an activation between them.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input, of each hidden layer and of the output; two of them make one linear layer.
    activation : {"relu", "gelu", "none"}
    norm : bool
        Batch normalisation (Ioffe and Szegedy, 2015) after each hidden layer; `keep` folds it into the weights.
    bias : bool
        Whether the last layer has a bias.
    """
    from torch import nn

    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(sizes)):
        last = number == len(sizes) - 2
        layers.append(nn.Linear(before, after, bias=bias or not last))
        if not last:
            layers += [nn.BatchNorm1d(after)] if norm else []
            layers += {"relu": [nn.ReLU()], "gelu": [nn.GELU()], "none": []}[activation]
    return nn.Sequential(*layers)


def bypassed(start: Float32, hidden: Sequence[int], activation: Activation = "relu", norm: bool = False) -> Any:
    """Return a linear map and a perceptron added to it which adds nothing yet; without hidden layers, the map alone.

    Training then begins at what the map does: a residual network (He et al., 2016) of one block.

    Parameters
    ----------
    start : float32 (inputs, outputs)
    hidden : sequence of int
        Width of each hidden layer of the perceptron.
    activation, norm
        Those of `perceptron`.
    """
    import torch
    from torch import nn

    inputs, outputs = start.shape
    linear = perceptron([inputs, outputs])
    with torch.no_grad():
        linear[0].weight.copy_(torch.tensor(start.T))
        nn.init.zeros_(linear[0].bias)
    if not hidden:
        return linear
    beside = perceptron([inputs, *hidden, outputs], activation, norm, bias=False)
    nn.init.zeros_(beside[-1].weight)
    return nn.ModuleDict({"linear": linear, "beside": beside})


def run(module: Any, vectors: torch.Tensor) -> torch.Tensor:
    """Return what a `perceptron` or a `bypassed` one makes of vectors, (n, inputs) -> (n, outputs), with gradients."""
    from torch import nn

    if not isinstance(module, nn.ModuleDict):
        out: torch.Tensor = module(vectors)
        return out
    both: torch.Tensor = module["linear"](vectors) + module["beside"](vectors)
    return both


def rotation_start(docs: Float32, dim: int, seed: int) -> Float32:
    """Return a map to dim dimensions, float32 (d, dim), that makes of a unit vector numbers of about unit size.

    A random rotation; of the documents' principal axes where dim is less than d, and the first d rows of a larger one
    (a tight frame) where it is more.
    """
    rng = np.random.default_rng(seed)
    d = docs.shape[1]
    matrix = random_rotation(max(d, dim), rng)[:d, :dim]
    if dim < d:
        matrix = eigenbasis(second_moment(docs))[1][:, :dim] @ random_rotation(dim, rng)
    return np.asarray(matrix * np.sqrt(dim), dtype=np.float32)


def keep(part: Part, name: str, module: Any) -> None:
    """Store a trained network as state of a part: arrays `<name>_w0_`, `<name>_b0_`, ..., float32.

    Weights are (inputs, outputs). Batch norm, with the statistics that it has gathered, is folded into the layer before
    it. Of a `bypassed` network the linear map is `<name>_linear_w0_`.
    """
    from torch import nn

    if isinstance(module, nn.ModuleDict):
        keep(part, f"{name}_linear", module["linear"])
        module = module["beside"]
    for key in [key for key in vars(part) if key.startswith((f"{name}_w", f"{name}_b"))]:
        delattr(part, key)
    layers: list[tuple[Any, Any]] = []
    for layer in module:
        if isinstance(layer, nn.Linear):
            weights = layer.weight.detach().cpu().double().numpy().T
            bias = np.zeros(weights.shape[1]) if layer.bias is None else layer.bias.detach().cpu().double().numpy()
            layers.append((weights, bias))
        elif isinstance(layer, nn.BatchNorm1d):
            weights, bias = layers[-1]
            mean, variance = (x.cpu().double().numpy() for x in (layer.running_mean, layer.running_var))
            scale, shift = np.ones_like(mean), np.zeros_like(mean)
            if layer.affine:
                scale, shift = (x.detach().cpu().double().numpy() for x in (layer.weight, layer.bias))
            scale = scale / np.sqrt(variance + layer.eps)
            layers[-1] = (weights * scale, (bias - mean) * scale + shift)
    for number, (weights, bias) in enumerate(layers):
        setattr(part, f"{name}_w{number}_", np.ascontiguousarray(weights, dtype=np.float32))
        setattr(part, f"{name}_b{number}_", bias.astype(np.float32))


def apply(part: Part, name: str, vectors: Float32, activation: Activation = "relu") -> Float32:
    """Run a kept network, float32 (n, inputs) -> (n, outputs). A row's result does not depend on the others."""
    arrays = vars(part)
    count = 0
    while f"{name}_w{count}_" in arrays:
        count += 1
    widest = max(arrays[f"{name}_w{number}_"].shape[1] for number in range(count))
    out = np.empty((len(vectors), arrays[f"{name}_w{count - 1}_"].shape[1]), dtype=np.float32)
    for start, stop in row_blocks(len(vectors), 8 * widest):
        block = vectors[start:stop]
        for number in range(count):
            block = project(block, arrays[f"{name}_w{number}_"]) + arrays[f"{name}_b{number}_"]
            if number < count - 1:
                block = activate(block, activation)
        out[start:stop] = block
    return out + apply(part, f"{name}_linear", vectors) if f"{name}_linear_w0_" in arrays else out


def activate(values: Float32, activation: Activation) -> Float32:
    """Return an activation function of each number, as torch computes it."""
    if activation == "relu":
        return np.maximum(values, np.float32(0))
    if activation == "gelu":
        from scipy.special import ndtr

        gated: Float32 = (values * ndtr(values)).astype(np.float32)
        return gated
    return values


def unit(values: torch.Tensor) -> torch.Tensor:
    """Return rows (n, d) scaled to unit length, in torch."""
    from torch.nn.functional import normalize

    return normalize(values, dim=-1)
