"""Many vectors a document, one for each of its tokens: what late interaction (ColBERT and kin) stores."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from methods.errors import MethodError, VectorsError

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

TokenColumn = Literal["token_ids", "attention"]
"""What may be known of a token beside its vector: its number in the vocabulary, the attention that it receives."""

TOKEN_BLOCK = 4096
"""Tokens that are checked, decoded or compared at a time, in whole documents."""


@dataclass(frozen=True, eq=False)
class TokenVectors:
    """Documents or queries as runs of vectors.

    Attributes
    ----------
    values : float32 or float16 (tokens, d)
        May be memory-mapped.
    offsets : int64 (n + 1,)
        Document i has the vectors from `offsets[i]` to `offsets[i + 1]`. It need not begin with 0: a run of documents
        is a view.
    columns : mapping of `TokenColumn` to arrays (tokens,)
        A number for each of `values`. They are there while documents are encoded, and are no part of what is stored;
        what is made of some vectors has none.
    """

    values: NDArray[Any]
    offsets: Int64
    columns: Mapping[TokenColumn, NDArray[Any]] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Documents and dimensions of a vector: (n, d)."""
        return len(self), self.width

    @property
    def width(self) -> int:
        """Dimensions of a vector, d."""
        return int(self.values.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a number."""
        return self.values.dtype

    @property
    def counts(self) -> Int64:
        """Vectors of each document, int64 (n,)."""
        return np.diff(self.offsets)

    @property
    def tokens(self) -> int:
        """Vectors of all documents."""
        return int(self.offsets[-1] - self.offsets[0])

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors and the offsets."""
        return self.tokens * self.width * self.dtype.itemsize + self.offsets.nbytes

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: slice) -> TokenVectors:
        """Return a run of documents, as a view."""
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise MethodError("token vectors are sliced in runs of documents (step 1)")
        return TokenVectors(self.values, self.offsets[start : max(start, stop) + 1], self.columns)

    def with_columns(self, columns: Mapping[TokenColumn, NDArray[Any]]) -> TokenVectors:
        """Return the same vectors with other columns."""
        return dataclasses.replace(self, columns=columns)

    def column(self, name: TokenColumn) -> NDArray[Any]:
        """Return a number for each vector of these documents, (tokens,), as a view.

        Raises
        ------
        VectorsError
            If it is not known.
        """
        if name not in self.columns:
            raise VectorsError(f"these token vectors have no column '{name}'; they have {_listed(self.columns)}")
        return self.columns[name][self.offsets[0] : self.offsets[-1]]

    def flat(self) -> NDArray[Any]:
        """Return the vectors of all documents, (tokens, d), as a view."""
        return self.values[self.offsets[0] : self.offsets[-1]]

    def float32(self) -> TokenVectors:
        """Return the same in float32, with offsets that begin with 0; a copy where the type is another."""
        values = np.ascontiguousarray(self.flat(), dtype=np.float32)
        own = {name: self.column(name) for name in self.columns}
        return TokenVectors(values, self.offsets - self.offsets[0], own)

    def take(self, rows: NDArray[np.integer]) -> TokenVectors:
        """Return documents in the order given."""
        counts = self.counts[rows]
        offsets = offsets_of(counts)
        places = np.repeat(self.offsets[:-1][rows] - offsets[:-1], counts) + np.arange(offsets[-1])
        taken = {name: numbers[places] for name, numbers in self.columns.items()}
        return TokenVectors(self.values[places], offsets, taken)

    def blocks(self, tokens: int = TOKEN_BLOCK) -> Iterator[tuple[int, TokenVectors]]:
        """Yield (first row, run of documents) of about so many vectors, or of a single document that has more."""
        for start, stop in document_runs(self.counts, tokens):
            yield start, self[start:stop]

    @classmethod
    def of(cls, matrices: Sequence[ArrayLike], width: int | None = None) -> TokenVectors:
        """Return documents from a list of matrices, each (its vectors, d).

        Raises
        ------
        VectorsError
            For matrices of different widths, or no width to be seen and none given.
        """
        arrays = [np.asarray(matrix) for matrix in matrices]
        widths = {array.shape[1] for array in arrays if array.ndim == 2 and array.size} or {width}
        if len(widths) > 1 or None in widths:
            raise VectorsError(f"token vectors must all have one width, got {sorted(str(found) for found in widths)}")
        (d,) = widths
        for row, array in enumerate(arrays):
            if array.size and array.ndim != 2:
                raise VectorsError(f"document {row} must be a matrix (vectors x dimensions), got shape {array.shape}")
        dtype = np.result_type(*arrays) if arrays else np.float32
        filled = [array.reshape(-1, d) for array in arrays] or [np.empty((0, d), dtype)]
        return cls(np.concatenate(filled).astype(dtype, copy=False), offsets_of([len(array) for array in filled]))

    @classmethod
    def concatenate(cls, chunks: Sequence[TokenVectors]) -> TokenVectors:
        """Join runs of documents in order, with the columns that all have."""
        if len(chunks) == 1:
            return chunks[0]
        widths = {chunk.width for chunk in chunks}
        if len(widths) != 1:
            raise VectorsError(f"token vectors of {sorted(widths)} dimensions cannot be joined")
        counts = np.concatenate([chunk.counts for chunk in chunks])
        common = [name for name in chunks[0].columns if all(name in chunk.columns for chunk in chunks)]
        columns = {name: np.concatenate([chunk.column(name) for chunk in chunks]) for name in common}
        return cls(np.concatenate([chunk.flat() for chunk in chunks]), offsets_of(counts), columns)

    def matrices(self) -> list[NDArray[Any]]:
        """Return each document's vectors, (its vectors, d), as views."""
        pairs = zip(self.offsets[:-1], self.offsets[1:], strict=True)
        return [self.values[start:stop] for start, stop in pairs]


def _listed(names: Mapping[TokenColumn, Any]) -> str:
    return ", ".join(sorted(names)) or "none"


def offsets_of(counts: ArrayLike) -> Int64:
    """Return where each document begins and the last one ends, int64 (n + 1,)."""
    return np.concatenate([[0], np.cumsum(np.asarray(counts, np.int64))]).astype(np.int64)


def document_runs(counts: Int64, tokens: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of runs of documents of about so many vectors, or of a single document that has more."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + tokens, side="right")))
        yield start, stop
        start = stop


def as_token_vectors(given: TokenVectors | Sequence[ArrayLike], name: str, width: int | None = None) -> TokenVectors:
    """Return checked token vectors: as they are, or from a list of matrices.

    Documents without a vector are allowed. Numbers of a type other than
    float32 and float16 become float32.

    Raises
    ------
    VectorsError
        For an empty collection, NaN or infinite numbers, offsets that do not divide the vectors into documents,
        vectors that are not `width` wide, or a column that is not a number for each vector.
    """
    if isinstance(given, list | tuple):
        given = TokenVectors.of(given, width)
    if not isinstance(given, TokenVectors):
        raise VectorsError(f"{name} must be TokenVectors or a list of matrices, got {type(given).__name__}")
    values, offsets = given.values, given.offsets
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise VectorsError(f"{name} must hold real numbers (vectors x dimensions), got {values.dtype} {values.shape}")
    if offsets.ndim != 1 or offsets.dtype != np.int64 or len(offsets) < 1:
        raise VectorsError(f"{name} must have offsets int64 (documents + 1,), got {offsets.dtype} {offsets.shape}")
    if len(given) < 1 or given.width < 1:
        raise VectorsError(f"{name} is empty: {len(given)} documents of vectors of {given.width} dimensions")
    if width is not None and given.width != width:
        raise VectorsError(f"{name} has vectors of {given.width} dimensions, but the method was fitted on {width}")
    if offsets[0] < 0 or offsets[-1] > len(values) or (np.diff(offsets) < 0).any():
        raise VectorsError(f"{name}: offsets do not divide {len(values)} vectors into {len(given)} documents")
    for column, numbers in given.columns.items():
        if numbers.shape != (len(values),) or numbers.dtype.kind not in "fiu":
            raise VectorsError(
                f"{name}: column '{column}' must be a number for each of {len(values)} vectors, got {numbers.dtype} "
                f"{numbers.shape}"
            )
    if values.dtype not in (np.float32, np.float16):
        with np.errstate(over="ignore"):
            given = given.float32()
    for first, block in given.blocks():
        finite = np.isfinite(block.flat()).all(axis=1)
        if not finite.all():
            place = int(np.argmin(finite)) + int(block.offsets[0])
            row = first + int(np.searchsorted(block.offsets, place, side="right")) - 1
            raise VectorsError(f"{name} has NaN or infinity in row {row} (its vector {place - given.offsets[row]})")
    return given
