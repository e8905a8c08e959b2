"""What every embedding model answers to, and the checks that they share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError, ModelError
from methods.representations import Kind

if TYPE_CHECKING:
    pass


Float32 = NDArray[np.float32]

Role = Literal["document", "query"]

Identity = dict[str, Any]
"""JSON."""

Keep = Callable[[NDArray[np.int64], Float32], None]
"""Takes the places of some texts and their vectors, float32 (b, d)."""

ByBatch = Callable[[Sequence[str], Role, str | None, Keep], None]
"""`encode_by_batch` of a model that has one: as `Encoder.encode`, but each batch is handed over when it is there, in
any order. The cache keeps it at once, so that none is made twice: for models that are paid by the text."""


class Encoder(Protocol):
    """A member of the `model` config group.

    One that gives terms with weights in place of vectors says so with an attribute `gives = "terms"`, and `encode`
    returns `methods.representations.SparseVectors`; a vocabulary that comes from the corpus, which a query needs, it
    gives with `supply`, see `harness.data.models.bm25`.

    One that runs here says what must be shipped with an attribute `model_bytes`, the bytes of its files: weights,
    tokenizer, configuration; of a model that was cut or compressed, of the files with what is left of it. It is asked
    after the model has encoded, and only then; a model that says it is timed as well (`harness.data.encoding_cost`),
    and may say in `ran_on` which accelerator it ran on. Where queries have another model of their own, `of_role(role)`
    returns the one of a role.
    """

    @property
    def name(self) -> str:
        """The model, as it was asked for."""
        ...

    @property
    def label(self) -> str:
        """What tables call it: the name, and the settings that change its vectors."""
        ...

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return everything that determines the vectors, as JSON; needs neither torch nor the model in memory."""
        ...

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Any:
        """Return the (n, d) float32 vectors of n texts, or their terms with weights; raises `ModelError`."""
        ...


def kind_given(encoder: Any) -> Kind:
    """Return what an encoder represents texts by."""
    kind: Kind = getattr(encoder, "gives", "vectors")
    return kind


def checked(vectors: Any, texts: Sequence[str], name: str) -> Float32:
    """Return a model's output as a float32 matrix.

    Raises
    ------
    ModelError
        If it is not one finite vector for each text.
    """
    matrix: Float32 = np.ascontiguousarray(vectors, dtype=np.float32)
    if matrix.ndim != 2 or len(matrix) != len(texts):
        raise ModelError(f"{name} returned an array of shape {matrix.shape} for {len(texts)} texts")
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ModelError(
            f"{name} returned NaN or infinity for text {row} ({excerpt(texts[row])}); "
            "weights in half precision can overflow: try model.dtype=float32"
        )
    return matrix


def unit_length(vectors: Float32) -> Float32:
    """Scale rows to unit length; a zero vector stays one."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Float32 = vectors / np.maximum(norms, np.finfo(np.float32).tiny)
    return scaled


def chosen_device(device: str) -> str:
    """Return the device that "auto" stands for here, or the one that was asked for."""
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in available.items() if there)
    if not available[device.partition(":")[0]]:
        raise ModelError(f"model.device={device}, but torch {torch.__version__} sees no such device here")
    return device


def check_device(options: Any) -> None:
    """Raise `ConfigError` for a `device` that is none."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", options.device):
        name = type(options).__name__
        raise ConfigError(f"{name}: device must be auto, cpu, mps, cuda or cuda:N, got {options.device!r}")


def check_positive(options: Any, *names: str) -> None:
    """Raise `ConfigError` for options that must be at least 1 and are not."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"{type(options).__name__}: {name} must be at least 1, got {value}")


def read_json(path: Path) -> Any:
    """Return a JSON file's content; raises `ModelError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {first_line(error)}") from error


def content_hash(path: Path) -> str:
    """Return the xxh3_128 of a file or of all files of a folder, as hex."""
    import xxhash

    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """Return an error's first line, or its name where it says nothing."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def excerpt(text: object) -> str:
    """Return the beginning of a text, in quotes."""
    shown = repr(text)
    return shown if len(shown) <= 40 else f"{shown[:40]}...'"
