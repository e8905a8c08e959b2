"""The linear layers of a transformer's blocks, and what goes through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from harness.base.errors import ModelError
from harness.data.models.layers import found_blocks


def linear_layers(transformer: Any, name: str, what: str) -> dict[str, nn.Linear]:
    """Return the linear layers of the blocks by their paths in the transformer.

    Raises
    ------
    ModelError
        If there are no blocks that are found as one list, or no linear layers in them; `what` is to be done with it, a
        participle.
    """
    start, blocks = found_blocks(transformer, name, what)
    found = {f"{start}.{path}": module for path, module in blocks.named_modules() if type(module) is nn.Linear}
    if not found:
        raise ModelError(
            f"{name} cannot be {what}: the blocks of {type(transformer).__name__} have no linear layers of torch's"
        )
    return found


def second_moments(layers: Mapping[str, nn.Linear], run: Callable[[], None]) -> dict[str, torch.Tensor]:
    """Return E[x x'] of the inputs x of each layer, float64 (i, i), over all tokens of what is run.

    Padding is among them; batches of texts of like length have little.
    """
    sums: dict[str, torch.Tensor] = {}
    counts = dict.fromkeys(layers, 0)

    def hook(path: str) -> Callable[..., None]:
        def add(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            rows = inputs[0].detach().flatten(0, -2)
            product = (rows.T @ rows).double().cpu()
            sums[path] = sums[path] + product if path in sums else product
            counts[path] += len(rows)

        return add

    hooks = [layer.register_forward_pre_hook(hook(path)) for path, layer in layers.items()]
    try:
        run()
    finally:
        for registered in hooks:
            registered.remove()
    return {path: total / counts[path] for path, total in sums.items()}
