"""What `model.compress` names, and how a model is sent through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from harness.base.errors import ConfigError, ModelError
from harness.data.models.weights.calibration import BUILT_IN, calibration_texts

Compression = Literal["float16", "bfloat16", "int8", "int4", "low_rank", "prune_heads", "prune_neurons"]

BITS = {"int8": 8, "int4": 4}

CALIBRATED = ("low_rank", "prune_heads", "prune_neurons")
"""Those that look at texts, and leave a share of something."""

BATCH = 16


def check_compression(compress: str | None, keep: float | None, dtype: str, backend: str) -> None:
    """Raise `ConfigError` for options that do not go together."""
    if compress in CALIBRATED:
        if keep is None or not 0 < keep <= 1:
            raise ConfigError(f"model.compress={compress} needs model.keep, a share between 0 and 1; got {keep}")
    elif keep is not None:
        raise ConfigError(f"model.keep is for model.compress={', '.join(CALIBRATED)}; model.compress is {compress}")
    if compress is not None and dtype != "float32" and backend == "torch":
        raise ConfigError(f"model.compress={compress} is of float32 weights; leave model.dtype={dtype} out")
    if compress in BITS and backend == "openvino":
        raise ConfigError(f"model.compress={compress} is for model.backend=onnx, and for torch; got openvino")


def compress_weights(model: Any, compress: Compression, keep: float | None, calibration: str, name: str) -> None:
    """Compress the weights of a sentence-transformers model, in place.

    Parameters
    ----------
    model : sentence_transformers.SentenceTransformer
        In float32. It is compressed on the CPU, wherever it is.
    compress : str
        One of `Compression`.
    keep : float or None
        Of those in `CALIBRATED`.
    calibration : str
        Where these have their texts from, see `calibration_texts`.
    name : str
        What the model is called.

    Raises
    ------
    ModelError
        If it cannot be compressed so.
    """
    from harness.data.models.weights import low_rank, pruned, quantized, rounded

    transformer = getattr(model[0], "auto_model", None)
    if transformer is None:
        raise ModelError(f"{name} has no transformer whose weights could be compressed: leave model.compress out")
    device = model.device
    model.to("cpu")
    if compress in ("float16", "bfloat16"):
        rounded.store_as(model, compress)
    elif compress in BITS:
        quantized.quantize(transformer, BITS[compress], name)
    else:
        assert keep is not None
        texts = calibration_texts(calibration)
        if compress == "low_rank":
            low_rank.factor(transformer, keep, name, lambda: _run(model, texts))
        else:
            structure: Any = compress.removeprefix("prune_")
            general = calibration_texts(BUILT_IN)
            pruned.prune(transformer, structure, keep, name, lambda some: _vectors(model, some), texts, general)
    model.to(device).eval()


def _vectors(model: Any, texts: Sequence[str]) -> Any:
    """Return the vectors of texts with their graph."""
    limit = model.max_seq_length
    tokens = model.tokenizer(
        list(texts), padding=True, truncation=limit is not None, max_length=limit, return_tensors="pt"
    )
    return model(dict(tokens))["sentence_embedding"]


def _run(model: Any, texts: Sequence[str]) -> None:
    """Send texts through a model."""
    import torch

    by_length = sorted(texts, key=len)
    with torch.inference_mode():
        for start in range(0, len(by_length), BATCH):
            _vectors(model, by_length[start : start + BATCH])
