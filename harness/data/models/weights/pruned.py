"""Blocks with fewer attention heads or fewer inner neurons: those of least worth are cut out of the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from harness.base.errors import ModelError
from harness.data.models.layers import found_blocks
from harness.data.models.weights.importance import Gradients, gradients, scores

Structure = Literal["heads", "neurons"]


@dataclass(frozen=True)
class Layout:
    """Where a block has its parts.

    Attributes
    ----------
    attention : str
        What counts its heads in `num_attention_heads` and `all_head_size`.
    into_heads : sequence of str
        Layers whose outputs are heads, one after the other: queries, keys, values.
    from_heads : str
        The layer that takes them.
    into_neurons, from_neurons : str
    """

    attention: str
    into_heads: Sequence[str]
    from_heads: str
    into_neurons: str
    from_neurons: str

    def wide(self, structure: Structure) -> tuple[Sequence[str], str]:
        """Return the layers that a structure comes out of, and the one that it goes into."""
        return (self.into_heads, self.from_heads) if structure == "heads" else ([self.into_neurons], self.from_neurons)


LAYOUTS = (
    # BERT, RoBERTa, XLM-RoBERTa, ELECTRA
    Layout(
        "attention.self",
        ("attention.self.query", "attention.self.key", "attention.self.value"),
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ),
    # MPNet
    Layout(
        "attention.attn",
        ("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        "attention.attn.o",
        "intermediate.dense",
        "output.dense",
    ),
)


def prune(
    transformer: Any,
    structure: Structure,
    keep: float,
    name: str,
    embed: Callable[[Sequence[str]], torch.Tensor],
    domain_texts: Sequence[str],
    general_texts: Sequence[str],
) -> None:
    """Leave a share of the heads or neurons of each block, those of most worth, in place.

    Parameters
    ----------
    transformer : transformers.PreTrainedModel
    structure : {"heads", "neurons"}
    keep : float
        Share that stays, at least one.
    name : str
        What the model is called.
    embed : callable
        Returns the model's vectors of texts, with their graph.
    domain_texts, general_texts : sequence of str
        What the pruned model is for, and other texts, see `importance`.

    Raises
    ------
    ModelError
        If its blocks have parts of other names than are known, or heads that cannot go one by one.
    """
    start, blocks = found_blocks(transformer, name, "pruned")
    layout = _layout(blocks, name, transformer)
    if structure == "heads" and hasattr(getattr(transformer, "encoder", None), "relative_attention_bias"):
        raise ModelError(
            f"{name} cannot lose heads: {type(transformer).__name__} adds relative positions to all of them at once; "
            "model.compress=prune_neurons is possible"
        )
    into, out_of = layout.wide(structure)
    weights = {
        f"{path}.weight": transformer.get_submodule(path).weight
        for path in (f"{start}.{row}.{part}" for row in range(len(blocks)) for part in (*into, out_of))
    }
    domain = gradients(embed, weights, domain_texts)
    general = domain if tuple(general_texts) == tuple(domain_texts) else gradients(embed, weights, general_texts)
    for row, block in enumerate(blocks):
        count = _count(block, layout, structure)
        worth = _worth(f"{start}.{row}", layout, structure, domain, general, weights, count)
        kept = torch.sort(torch.topk(worth, max(1, round(keep * count))).indices).values
        keep_only(block, layout, structure, kept)


def keep_only(block: nn.Module, layout: Layout, structure: Structure, kept: torch.Tensor) -> None:
    """Cut all but some structures out of the weights of a block, in place.

    Parameters
    ----------
    block : nn.Module
    layout : Layout
    structure : {"heads", "neurons"}
    kept : int64 (k,)
        Which stay, ascending.
    """
    count = _count(block, layout, structure)
    into, out_of = layout.wide(structure)
    wide: Any = block.get_submodule(into[0])
    places = torch.arange(wide.out_features).reshape(count, -1)[kept].flatten()
    for path in into:
        _narrow(block.get_submodule(path), places, 0)
    _narrow(block.get_submodule(out_of), places, 1)
    if structure == "heads":
        attention: Any = block.get_submodule(layout.attention)
        attention.num_attention_heads = len(kept)
        attention.all_head_size = len(places)


def _worth(
    path: str,
    layout: Layout,
    structure: Structure,
    domain: Gradients,
    general: Gradients,
    weights: dict[str, nn.Parameter],
    count: int,
) -> torch.Tensor:
    into, out_of = layout.wide(structure)
    axes = {f"{path}.{part}.weight": 0 for part in into} | {f"{path}.{out_of}.weight": 1}
    return scores(domain, general, weights, axes, count)


def _count(block: nn.Module, layout: Layout, structure: Structure) -> int:
    if structure == "heads":
        return int(block.get_submodule(layout.attention).num_attention_heads)
    return int(block.get_submodule(layout.into_neurons).out_features)


def _layout(blocks: Any, name: str, transformer: Any) -> Layout:
    if len(blocks) == 0:
        raise ModelError(f"{name} cannot be pruned: it has no layers left")
    for layout in LAYOUTS:
        try:
            parts = [blocks[0].get_submodule(part) for part in (*layout.into_heads, layout.from_heads)]
            parts += [blocks[0].get_submodule(part) for part in (layout.into_neurons, layout.from_neurons)]
        except AttributeError:
            continue
        if all(type(part) is nn.Linear for part in parts):
            return layout
    raise ModelError(
        f"{name} cannot be pruned: where the blocks of {type(transformer).__name__} have heads and neurons is not "
        "known; BERT's, RoBERTa's and MPNet's are"
    )


def _narrow(layer: Any, places: torch.Tensor, axis: int) -> None:
    """Leave some rows (axis 0) or columns (axis 1) of a linear layer's weights, in place."""
    layer.weight = nn.Parameter(layer.weight.detach().index_select(axis, places).contiguous())
    if axis == 0 and layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[places])
    layer.out_features, layer.in_features = layer.weight.shape
