"""Transformers cut after some of their layers, cheaper encoders with other vectors; and all of these in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from harness.base.errors import ConfigError, ModelError


def cut(transformer: Any, layers: int, name: str) -> None:
    """Drop all but the first `layers` blocks of a Hugging Face transformer, in place.

    What comes after the blocks stays, such as the final norm of pre-norm models: the cut model runs it on the last
    block that is left.

    Parameters
    ----------
    transformer : transformers.PreTrainedModel
    layers : int
        0 leaves the embeddings alone.
    name : str
        What the model is called.

    Raises
    ------
    ModelError
        If it has not so many blocks, or none that are found as one list.
    """
    from torch import nn

    path, blocks = found_blocks(transformer, name, "cut")
    count = len(blocks)
    if not 0 <= layers <= count:
        raise ModelError(f"model.layers={layers}, but {name} has {count}")
    config = transformer.config
    parent = transformer.get_submodule(path.rpartition(".")[0])
    setattr(parent, path.rpartition(".")[2], nn.ModuleList(list(blocks)[:layers]))
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = config.layer_types[:layers]


def found_blocks(transformer: Any, name: str, what: str) -> tuple[str, Any]:
    """Return where a Hugging Face transformer has its blocks, and the `torch.nn.ModuleList` of them.

    Parameters
    ----------
    transformer : transformers.PreTrainedModel
    name : str
        What the model is called.
    what : str
        What is to be done with it, a participle, for the error.

    Raises
    ------
    ModelError
        If no one list has as many entries as its configuration has layers.
    """
    from torch import nn

    count = getattr(transformer.config, "num_hidden_layers", None)
    lists = [
        (path, module)
        for path, module in transformer.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    # of lists within lists the outer one holds the blocks
    outer = [(path, module) for path, module in lists if not any(path.startswith(f"{other}.") for other, _ in lists)]
    if count is None or len(outer) != 1:
        raise ModelError(
            f"{name} cannot be {what}: {type(transformer).__name__} has {len(outer)} lists of its "
            f"{'unknown number of' if count is None else count} layers, where one is looked for"
        )
    return outer[0]


@contextmanager
def reading_layers(model: Any, layers: Sequence[int], name: str) -> Iterator[None]:
    """Let a sentence-transformers model give the vectors of several cuts at once, one after the other: (n, L d).

    The blocks run once, and what each cut would have given goes through all that follows them: the final norm of
    pre-norm models, pooling, projections.

    Parameters
    ----------
    model : sentence_transformers.SentenceTransformer
    layers : sequence of int
        0 are the embeddings.
    name : str
        What the model is called.

    Raises
    ------
    ModelError
        If it has not so many blocks, none that are found as one list, or if what follows the blocks is no norm that is
        known: then the last block's output does not lead to what the model gives.
    """
    import torch

    transformer = model[0].auto_model
    path, blocks = found_blocks(transformer, name, "read layer by layer")
    for layer in layers:
        if not 0 <= layer <= len(blocks):
            raise ModelError(f"layers={layer}, but {name} has {len(blocks)}")
    owner = transformer.get_submodule(path.rpartition(".")[0])
    states: dict[int, Any] = {}

    def before(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        states[0] = given[0] if given else named["hidden_states"]

    def after(layer: int) -> Any:
        def keep(module: Any, given: Any, output: Any) -> None:
            states[layer] = output[0] if isinstance(output, tuple) else output

        return keep

    def forward(features: dict[str, Any], **named: Any) -> dict[str, Any]:
        found: dict[str, Any] = model[0](features, **named)
        norm = _final_norm(owner, states[len(blocks)], found["token_embeddings"], name)
        vectors = []
        for layer in layers:
            own = {**found, "token_embeddings": norm(states[layer])}
            for module in list(model)[1:]:
                own = module(own)
            vectors.append(own["sentence_embedding"])
        found["sentence_embedding"] = torch.cat(vectors, dim=1)
        return found

    hooks = [blocks[0].register_forward_pre_hook(before, with_kwargs=True)]
    hooks += [block.register_forward_hook(after(layer)) for layer, block in enumerate(blocks, start=1)]
    width, model.truncate_dim = model.truncate_dim, None
    model.forward = forward
    try:
        yield
    finally:
        del model.forward
        model.truncate_dim = width
        for hook in hooks:
            hook.remove()


FINAL_NORMS = ("final_norm", "norm", "ln_f", "final_layernorm", "final_layer_norm")
"""What transformers call the norm after their last block: ModernBERT, Llama and its like, GPT-2, others."""


def _final_norm(owner: Any, last: Any, given: Any, name: str) -> Any:
    """Return what leads from the last block's output to what a transformer gives: nothing, or its final norm."""
    import torch

    norms = [getattr(owner, attribute, None) for attribute in FINAL_NORMS]
    for follows in [lambda states: states, *(norm for norm in norms if norm is not None)]:
        if torch.allclose(follows(last), given, atol=1e-5, rtol=1e-4):
            return follows
    raise ModelError(
        f"{name} cannot be read layer by layer: what {type(owner).__name__} does after its blocks is not known; encode "
        "with model.layers=K, one after the other"
    )


def check_layers(layers: int | None, name: str, option: str = "layers") -> None:
    """Raise `ConfigError` for a number of layers that no model has."""
    if layers is not None and layers < 0:
        raise ConfigError(f"model.{option} must be at least 0, got {layers} for {name}")
