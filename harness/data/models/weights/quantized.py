"""Linear layers and embedding tables whose weights are 8- or 4-bit integers; what is computed with them is float32.

A weight is offset + step * code, code = 0 to 2^bits - 1, with an offset and a step for each output channel (8 bits), or
for each block of 32 weights of one (4 bits): uniform quantization between the smallest and the largest (Jacob et al.,
2018, equation 1). Activations stay what they are, so that this costs quality and bytes, and saves no time; for integer
arithmetic there is `model.backend=onnx`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from harness.base.errors import ModelError

BLOCK = 32
"""Weights that share a step in 4 bits."""


class QuantizedTable(nn.Module):  # type: ignore[misc]
    """A matrix of codes.

    Attributes
    ----------
    codes : uint8 (rows, columns), or (rows, columns / 2) with two codes of 4 bits a byte
    offset, step : float16 (rows, blocks)
    """

    codes: torch.Tensor
    offset: torch.Tensor
    step: torch.Tensor

    def __init__(self, weights: torch.Tensor, bits: int) -> None:
        super().__init__()
        rows, columns = weights.shape
        self.packed = bits == 4 and columns % 2 == 0
        width = BLOCK if bits == 4 and columns % BLOCK == 0 else columns
        blocks = weights.detach().float().reshape(rows, columns // width, width)
        levels = 2**bits - 1
        # rounded outwards, so that no weight lies beyond the ends
        offset = _rounded(blocks.amin(dim=2), downwards=True)
        step = _rounded((blocks.amax(dim=2) - offset.float()) / levels, downwards=False)
        places = (blocks - offset.float()[:, :, None]) / step.float().clamp_min(1e-30)[:, :, None]
        codes = places.round().clamp(0, levels).to(torch.uint8).reshape(rows, columns)
        if self.packed:
            codes = codes[:, ::2] | codes[:, 1::2] << 4
        self.register_buffer("codes", codes)
        self.register_buffer("offset", offset)
        self.register_buffer("step", step)

    def decoded(self, rows: Any = slice(None)) -> torch.Tensor:
        """Return some rows of the matrix, float32."""
        codes, offset, step = self.codes[rows], self.offset[rows], self.step[rows]
        if self.packed:
            codes = torch.stack([codes & 15, codes >> 4], dim=-1).flatten(-2)
        blocks = codes.unflatten(-1, (offset.shape[-1], -1)).float()
        return (offset.float()[..., None] + step.float()[..., None] * blocks).flatten(-2)


class QuantizedLinear(nn.Module):  # type: ignore[misc]
    """A linear layer with quantized weights; the bias stays."""

    def __init__(self, layer: nn.Linear, bits: int) -> None:
        super().__init__()
        self.table = QuantizedTable(layer.weight, bits)
        self.bias = layer.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return inputs times the decoded weights."""
        return nn.functional.linear(inputs, self.table.decoded(), self.bias)


class QuantizedEmbedding(nn.Module):  # type: ignore[misc]
    """An embedding table with quantized rows, of which only those that are looked up are decoded."""

    def __init__(self, table: nn.Embedding, bits: int) -> None:
        super().__init__()
        self.table = QuantizedTable(table.weight, bits)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the rows of ids."""
        return self.table.decoded(ids)


def quantize(transformer: Any, bits: int, name: str) -> None:
    """Quantize all linear layers and embedding tables of a transformer, in place.

    Raises
    ------
    ModelError
        If it has none.
    """
    kinds: dict[type[nn.Module], Any] = {nn.Linear: QuantizedLinear, nn.Embedding: QuantizedEmbedding}
    found = [(path, module) for path, module in transformer.named_modules() if type(module) in kinds]
    if not any(type(module) is nn.Linear for _, module in found):
        raise ModelError(f"{name} cannot be quantized: {type(transformer).__name__} has no linear layers of torch's")
    for path, module in found:
        transformer.set_submodule(path, kinds[type(module)](module, bits))


def _rounded(values: torch.Tensor, downwards: bool) -> torch.Tensor:
    """Return values as float16, rounded to one side."""
    near = values.half()
    wrong = near.float() > values if downwards else near.float() < values
    beside = torch.nextafter(near, torch.full_like(near, -torch.inf if downwards else torch.inf))
    return torch.where(wrong, beside, near)
