"""Transformers cut after some of their layers: cheaper encoders, whose vectors are others."""

from __future__ import annotations

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

    config = transformer.config
    count = getattr(config, "num_hidden_layers", None)
    lists = [
        (path, module)
        for path, module in transformer.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    # of lists within lists the outer one holds the blocks
    outer = [(path, module) for path, module in lists if not any(path.startswith(f"{other}.") for other, _ in lists)]
    if count is None or len(outer) != 1:
        raise ModelError(
            f"{name} cannot be cut: {type(transformer).__name__} has {len(outer)} lists of its "
            f"{'unknown number of' if count is None else count} layers, where one is looked for; leave model.layers out"
        )
    if not 0 <= layers <= count:
        raise ModelError(f"model.layers={layers}, but {name} has {count}")
    path, blocks = outer[0]
    parent = transformer.get_submodule(path.rpartition(".")[0])
    setattr(parent, path.rpartition(".")[2], nn.ModuleList(list(blocks)[:layers]))
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = config.layer_types[:layers]


def check_layers(layers: int | None, name: str) -> None:
    """Raise `ConfigError` for a number of layers that no model has."""
    if layers is not None and layers < 0:
        raise ConfigError(f"model.layers must be at least 0, got {layers} for {name}")
