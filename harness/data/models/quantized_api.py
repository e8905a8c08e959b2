"""Models behind an API whose vendor gives integers and bits as well as floats."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.data.models.api import ApiModel, UnusableError, unpacked
from harness.data.models.encoder import Identity, Role

Float32 = NDArray[np.float32]

Output = Literal["float", "int8", "uint8", "binary"]

NAMES: Mapping[Output, str] = {"float": "float", "int8": "int8", "uint8": "uint8", "binary": "ubinary"}
"""What vendors call them. Their own `binary` is a signed reading of `ubinary`: each byte less 128, says Voyage."""

RANGES: Mapping[Output, tuple[int, int]] = {"int8": (-128, 127), "uint8": (0, 255), "binary": (0, 255)}


@dataclass(kw_only=True, frozen=True)
class QuantizedApiModel(ApiModel):
    """Whole numbers are handed on as the float32 numbers that they are, and bits as -1 and 1; neither is scaled.

    Attributes
    ----------
    output : {"float", "int8", "uint8", "binary"}
        What documents are asked for as.
    query_output : same, or None
        What queries are asked for as; None is as documents.
    truncate : bool
        Whether the vendor cuts texts that are too long for the model, at their end, or refuses them.
    """

    output: Output = "float"
    query_output: Output | None = None
    truncate: bool = True

    @abstractmethod
    def input_type(self, role: Role) -> str:
        """Return what the vendor calls the texts of a role."""

    def output_of(self, role: Role) -> Output:
        """Return what the texts of a role are asked for as."""
        return (self.query_output or self.output) if role == "query" else self.output

    def scales(self, role: Role) -> bool:
        """Return whether vectors are scaled to unit length: floats only."""
        return self.normalize and self.output_of(role) == "float"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those that change the vectors, None where they do not."""
        documents, queries = self.output_of("document"), self.output_of("query")
        return {
            **super().settings,
            "output": None if documents == "float" else documents,
            "query_output": None if queries == documents else queries,
            "truncate": None if self.truncate else False,
        }

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors; nothing is sent."""
        return {
            **super().identity(role, task),
            "input_type": self.input_type(role),
            "output": self.output_of(role),
            "truncate": self.truncate,
        }


def numbers(embedding: Any, output: Output) -> Float32:
    """Return the vector that an embedding of some output stands for, float32 (d,): of bits, -1 and 1.

    Raises
    ------
    UnusableError
        If it is none.
    """
    vector = unpacked(embedding)
    if output == "float":
        return vector
    low, high = RANGES[output]
    if not np.all((vector == np.rint(vector)) & (low <= vector) & (vector <= high)):
        raise UnusableError(
            f"gives numbers that are no {NAMES[output]}, for model.output={output}: {json.dumps(embedding)}"
        )
    if output == "binary":
        # the first dimension is the highest bit: Voyage says so, and of Cohere it is assumed
        return 2 * np.unpackbits(vector.astype(np.uint8)).astype(np.float32) - 1
    return vector
