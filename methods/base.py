"""The contract that every compression method keeps.

A `Transform` changes the space, a `Codec` turns vectors into bytes, and `methods.Chain` puts them together. All
three are *parts*: keyword hyper-parameters are dataclass fields, and what `fit` learns lives in attributes whose names
end in an underscore (scikit-learn's convention). Those attributes, and nothing else, are the part's state: they are
what a file holds, what counts as storage, and what a fresh object gets back.

Shapes: `n` documents, `m` queries, `d` dimensions, all float32 and C-contiguous once they have passed `as_vectors`. A
part whose `takes` is "terms" gets `methods.representations.SparseVectors` in their place, and d is the vocabulary; one
that takes "tokens" gets `methods.token_vectors.TokenVectors`, of float32 or float16, and d is a token's dimensions.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from methods import topk
from methods.errors import MethodError as MethodError
from methods.errors import NotFittedError as NotFittedError
from methods.errors import VectorsError as VectorsError
from methods.parallel import allowed, one_thread, over_rows
from methods.representations import Kind, as_sparse, refuse_kind
from methods.stored_rows import StoredRows
from methods.token_vectors import TokenColumn, as_token_vectors

Array = NDArray[Any]
Float32 = NDArray[np.float32]
Scoring = Literal["asymmetric", "symmetric", "raw_codes"]

UNIT_TOLERANCE = 0.01
"""Lengths that far from 1 are as good as 1: half-precision vectors are, and what it changes in a ranking is noise."""

BLOCK_BYTES = 16 << 20
"""Documents are worked on in blocks of about this many bytes."""

PROJECTED_BYTES = 2 << 20
"""Documents are multiplied by matrices in float64, in blocks of about this many bytes: as a core's cache holds them."""

SEARCHED_BYTES = 4 << 20
"""Decoded documents are searched in blocks of about this many for each thread: what a core's cache serves well."""

FEW_QUERIES = 20
"""Queries up to which codes that say what they stand for may be scored as they lie; for more they are decoded."""

DECODED_COST = 4.0
"""What decoding a document and multiplying it take, in lookups for each of its dimensions."""

SPARE = 128
"""Documents beside k that rough scores may leave open; a query that has more is searched without them."""

ROWS_PER_THREAD = 1024
"""Rows for which a thread of its own is worth its start."""


def as_vectors(values: ArrayLike, name: str, width: int | None = None) -> Float32:
    """Return `values` as a C-contiguous float32 matrix, without a copy where it is one already.

    Raises
    ------
    VectorsError
        If it is not a non-empty matrix of finite real numbers, or not `width` wide.
    """
    raw = np.asarray(values)
    if raw.ndim != 2:
        raise VectorsError(f"{name} must be a matrix (rows x dimensions), got an array of shape {raw.shape}")
    if 0 in raw.shape:
        raise VectorsError(f"{name} is empty: shape {raw.shape}")
    if raw.dtype.kind not in "fiu":
        raise VectorsError(f"{name} must hold real numbers, got dtype {raw.dtype}")
    if width is not None and raw.shape[1] != width:
        raise VectorsError(f"{name} has {raw.shape[1]} dimensions, but the method was fitted on {width}")
    with np.errstate(over="ignore"):
        vectors: Float32 = np.ascontiguousarray(raw, dtype=np.float32)
    for start, stop in row_blocks(len(vectors), vectors.shape[1] * 4):
        finite = np.isfinite(vectors[start:stop]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise VectorsError(f"{name} has NaN or infinity in row {row}")
    return vectors


CHECKS: dict[Kind, Callable[..., Any]] = {"vectors": as_vectors, "terms": as_sparse, "tokens": as_token_vectors}
"""What makes checked documents or queries of what is given, by their kind."""


def as_pairs(pairs: ArrayLike, m: int, n: int) -> NDArray[np.int64]:
    """Return pairs (row of a query, row of a document) as int64 (p, 2).

    Raises
    ------
    VectorsError
        If they are not pairs of integers, or a row is not among the m queries or n documents.
    """
    raw = np.asarray(pairs)
    if raw.ndim != 2 or raw.shape[1] != 2 or raw.dtype.kind not in "iu":
        raise VectorsError(f"pairs must be integers (p, 2), got {raw.dtype} of shape {raw.shape}")
    rows: NDArray[np.int64] = raw.astype(np.int64)
    for column, (name, count) in enumerate((("queries", m), ("docs", n))):
        wrong = (rows[:, column] < 0) | (rows[:, column] >= count)
        if wrong.any():
            raise VectorsError(f"pairs name row {rows[wrong, column][0]} of {name}, which have {count} rows")
    return rows


def row_blocks(n: int, bytes_per_row: int, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) over `n` rows in blocks of about so many bytes."""
    step = max(1, block_bytes // max(1, bytes_per_row))
    for start in range(0, n, step):
        yield start, min(n, start + step)


@dataclass(frozen=True, eq=False)
class Ragged:
    """A byte string for each document, or some rows of bytes, of its own length. Lengths are stored, and count.

    Attributes
    ----------
    values : uint8 (total,), or uint8 (total, w)
        The strings or rows, one after another.
    lengths : unsigned integers (n,)
        Their lengths, in the least type that holds the longest.
    """

    values: NDArray[np.uint8]
    lengths: Array

    def __post_init__(self) -> None:
        if self.lengths.ndim != 1 or self.lengths.dtype.kind != "u" or self.values.ndim not in (1, 2):
            raise MethodError(f"no byte strings: lengths {self.lengths.dtype} of shape {self.lengths.shape}")
        if int(self.starts[-1]) != len(self.values):
            raise MethodError(f"byte strings of {int(self.starts[-1])} bytes in all, but there are {len(self.values)}")

    @classmethod
    def of(cls, values: NDArray[np.uint8], lengths: Array) -> Ragged:
        """Return strings of the lengths given, as any integers (n,)."""
        return cls(values, lengths.astype(np.min_scalar_type(int(lengths.max(initial=0))), copy=False))

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each string begins, and the last one ends, int64 (n + 1,)."""
        return np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])

    @property
    def nbytes(self) -> int:
        """Bytes of the strings and their lengths."""
        return self.values.nbytes + self.lengths.nbytes

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        """Return strings in the order given."""
        lengths = self.lengths[rows]
        ends = np.cumsum(lengths, dtype=np.int64)
        places = np.repeat(self.starts[rows] - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)
        return Ragged.of(self.values[places], lengths)

    def __getitem__(self, rows: slice) -> Ragged:
        """Return a run of strings; the bytes are a view."""
        start, stop, _ = rows.indices(len(self))
        stop = max(start, stop)
        return Ragged.of(self.values[self.starts[start] : self.starts[stop]], self.lengths[start:stop])

    @classmethod
    def concatenate(cls, chunks: Sequence[Ragged]) -> Ragged:
        """Join runs of strings in order."""
        lengths = np.concatenate([chunk.lengths for chunk in chunks])
        return cls.of(np.concatenate([chunk.values for chunk in chunks]), lengths)


@dataclass(frozen=True)
class Codes:
    """The stored form of `n` documents: named arrays, and nothing else survives encoding.

    Attributes
    ----------
    n : int
        Number of documents.
    rows : mapping of str to ndarray
        Arrays whose first axis is the document.
    shared : mapping of str to ndarray
        Arrays that documents share (blocks, factors). A codec that uses them is not row-wise.
    ragged : mapping of str to Ragged
        Byte strings of varying length, one a document.
    """

    n: int
    rows: Mapping[str, Array]
    shared: Mapping[str, Array] = field(default_factory=dict)
    ragged: Mapping[str, Ragged] = field(default_factory=dict)

    def __post_init__(self) -> None:
        arrays: dict[str, Array | Ragged] = {**self.rows, **self.ragged}
        for name, array in arrays.items():
            if len(array) != self.n:
                raise MethodError(f"codes array '{name}' has {len(array)} rows, expected {self.n}")

    @classmethod
    def packed(cls, array: Array) -> Codes:
        """Return fixed-width codes: one uint8 array (n, code_size)."""
        return cls(n=len(array), rows={"codes": np.ascontiguousarray(array)})

    @property
    def array(self) -> Array:
        """The uint8 array (n, code_size) of fixed-width codes."""
        return self.rows["codes"]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays: list[Array | Ragged] = [*self.rows.values(), *self.shared.values(), *self.ragged.values()]
        return sum(array.nbytes for array in arrays)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, rows: slice) -> Codes:
        """Return a run of documents, as views."""
        start, stop, step = rows.indices(self.n)
        if step != 1:
            raise MethodError("codes are sliced in runs of rows (step 1)")
        views = {name: array[start:stop] for name, array in self.rows.items()}
        strings = {name: ragged[start:stop] for name, ragged in self.ragged.items()}
        return Codes(n=max(0, stop - start), rows=views, shared=self.shared, ragged=strings)

    def take(self, rows: NDArray[np.int64]) -> Codes:
        """Return documents in the order given, as copies."""
        arrays = {name: array[rows] for name, array in self.rows.items()}
        strings = {name: ragged.take(rows) for name, ragged in self.ragged.items()}
        return Codes(n=len(rows), rows=arrays, shared=self.shared, ragged=strings)

    @classmethod
    def concatenate(cls, chunks: Sequence[Codes]) -> Codes:
        """Join chunks of row-wise codes in order."""
        if len(chunks) == 1:
            return chunks[0]
        if any(chunk.shared for chunk in chunks):
            raise MethodError("codes with shared arrays cannot be appended")
        names = chunks[0].rows.keys()
        return cls(
            n=sum(chunk.n for chunk in chunks),
            rows={name: np.concatenate([chunk.rows[name] for chunk in chunks]) for name in names},
            ragged={name: Ragged.concatenate([chunk.ragged[name] for chunk in chunks]) for name in chunks[0].ragged},
        )

    def rows_under(self, prefix: str) -> Codes:
        """Return the codes whose arrays' names begin with a prefix, by their names without it."""
        strings = {name.removeprefix(prefix): own for name, own in self.ragged.items() if name.startswith(prefix)}
        return Codes(n=self.n, rows=arrays_under(self.rows, prefix), ragged=strings)

    def to_arrays(self) -> dict[str, Array]:
        """Return all arrays under one set of names, for a file."""
        arrays = {**self.rows, **{f"shared.{name}": array for name, array in self.shared.items()}}
        for name, ragged in self.ragged.items():
            arrays |= {f"ragged.{name}": ragged.values, f"lengths.{name}": ragged.lengths}
        return arrays

    @classmethod
    def from_arrays(cls, n: int, arrays: Mapping[str, Array]) -> Codes:
        """Return the codes of `n` documents whose arrays `to_arrays` returned."""
        strings, lengths = arrays_under(arrays, "ragged."), arrays_under(arrays, "lengths.")
        if strings.keys() != lengths.keys():
            raise MethodError(f"byte strings and lengths that do not belong together: {sorted(arrays)}")
        return cls(
            n=n,
            rows={
                name: array for name, array in arrays.items() if not name.startswith(("shared.", "ragged.", "lengths."))
            },
            shared=arrays_under(arrays, "shared."),
            ragged={name: Ragged(values, lengths[name]) for name, values in strings.items()},
        )


def arrays_under(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """Return the arrays whose names begin with a prefix, by their names without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def field_types(cls: type) -> dict[str, Any]:
    """Return the annotated type of each dataclass field."""
    hints = typing.get_type_hints(cls)
    return {item.name: hints[item.name] for item in dataclasses.fields(cls)}


def accepts(hint: Any, value: Any) -> bool:
    """Return whether a value has the annotated type. An int passes for a float; a bool passes for neither."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if origin in (types.UnionType, typing.Union):
        return any(accepts(choice, value) for choice in arguments)
    if origin is list:
        return isinstance(value, list | tuple) and all(accepts(arguments[0], item) for item in value)
    if hint is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if hint is types.NoneType:
        return value is None
    return isinstance(value, origin or hint)


def type_name(hint: Any) -> str:
    """Return an annotated type in words."""
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(str(choice) for choice in typing.get_args(hint))
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(type_name(choice) for choice in typing.get_args(hint))
    if hint is types.NoneType:
        return "null"
    return str(getattr(hint, "__name__", hint))


def added_parameter(default: Any) -> Any:
    """Return the dataclass field of a parameter that came later, with the default that means what was done before.

    At its default it is no part of a method's identity: runs that were recorded without it are still found.
    """
    return field(default=default, metadata={"added": True})


@dataclass(kw_only=True, eq=False)
class Part:
    """What transforms and codecs share: checked hyper-parameters, and state in attributes ending in `_`."""

    takes: ClassVar[Kind] = "vectors"
    """What represents the documents and queries that it is given."""

    wants_queries: ClassVar[bool] = False
    """Whether `fit` makes use of (training or pseudo) queries."""

    wants_pairs: ClassVar[bool] = False
    """Whether `fit` makes use of pairs (row of a query, row of a document that answers it)."""

    wants_columns: ClassVar[Sequence[TokenColumn]] = ()
    """Which columns of token vectors it reads; see `methods.token_vectors.TokenVectors`."""

    maps_queries: ClassVar[bool] = False
    """Whether queries may come from another model, with another width; `fit` then leaves that in `query_dim_`."""

    def __post_init__(self) -> None:
        for name, hint in field_types(type(self)).items():
            value = getattr(self, name)
            if not accepts(hint, value):
                raise MethodError(f"{type(self).__name__}: {name} must be {type_name(hint)}, got {value!r}")
        self._check_parameters()

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that make the part what it is, by name: all but `added_parameter`s at their default."""
        return {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if not (item.metadata.get("added") and getattr(self, item.name) == item.default)
        }

    def _check_parameters(self) -> None:
        """Refuse hyper-parameters that no data could make sense of; stores nothing."""

    def _require(self, condition: bool, message: str) -> None:
        """Raise `MethodError` with the class's name and a message unless the condition holds."""
        if not condition:
            raise MethodError(f"{type(self).__name__}: {message}")

    def _require_at_least(self, least: int, *names: str) -> None:
        """Refuse parameters below `least`; a parameter that is None passes."""
        for name in names:
            value = getattr(self, name)
            self._require(value is None or value >= least, f"{name} must be at least {least}, got {value}")

    def _require_positive(self, *names: str) -> None:
        """Refuse parameters of 0 or less, and NaN; a parameter that is None passes."""
        for name in names:
            value = getattr(self, name)
            self._require(value is None or value > 0, f"{name} must be positive, got {value}")

    @property
    def is_fitted(self) -> bool:
        """Whether `fit` or `load_state` has run."""
        return hasattr(self, "dim_")

    def _check_fitted(self) -> int:
        """Return the dimensions of the fitted documents; raise `NotFittedError` if there are none yet."""
        if not self.is_fitted:
            raise NotFittedError(f"{type(self).__name__} is not fitted: call fit or load_state first")
        return int(vars(self)["dim_"])

    def _query_width(self) -> int:
        """Return the dimensions of queries: those of documents, unless the part maps another model's queries."""
        width = self._check_fitted()
        return int(vars(self).get("query_dim_", width))

    def _checked(self, values: Any, name: str, width: int | None = None) -> Any:
        """Return checked documents or queries of the kind that the part takes, `width` wide."""
        refuse_kind(values, self.takes, type(self).__name__)
        return CHECKS[self.takes](values, name, width)

    def fit(self, docs: Any, queries: Any = None, pairs: ArrayLike | None = None) -> Self:
        """Learn from documents (n, d), and from training or pseudo queries (m, d) if `wants_queries`.

        `pairs`, integers (p, 2), say which documents answer them: rows of `queries` and of `docs`.

        What is learned depends on no number of threads: BLAS and OpenMP have one, loops over parts or rows the others.

        Raises
        ------
        VectorsError
            For empty, non-finite or misshapen input.
        MethodError
            If the data cannot carry the parameters (fewer documents than centroids, say).
        """
        vectors = self._checked(docs, "docs")
        width = None if self.maps_queries else vectors.shape[1]
        examples = None if queries is None else self._checked(queries, "queries", width)
        answers = None if pairs is None or examples is None else as_pairs(pairs, len(examples), len(vectors))
        with one_thread():
            self._learn_lengths(vectors)
            self._fit_pairs(vectors, examples, answers)
        self.dim_ = int(vectors.shape[1])
        return self

    def _learn_lengths(self, docs: Any) -> None:
        """Learn what the lengths of checked documents say, before all else; most parts do not ask."""

    def _fit_pairs(self, docs: Any, queries: Any, pairs: NDArray[np.int64] | None) -> None:
        """Learn from checked arrays; a part that `wants_pairs`, or holds parts, overrides this and not `_fit`."""
        self._fit(docs, queries)

    def _fit(self, docs: Any, queries: Any) -> None:
        """Learn from checked arrays; a part with nothing to learn does not override this."""

    @property
    def codebook_size(self) -> int:
        """Centroids of the largest codebook that `fit` learns, in this part or one that it holds; 0 for none."""
        values = [getattr(self, item.name) for item in dataclasses.fields(self)]
        held = [part for value in values for part in (value if isinstance(value, list) else [value])]
        return max((part.codebook_size for part in held if isinstance(part, Part)), default=0)

    def training(self) -> list[dict[str, Any]]:
        """Return what gradient descent did in the last `fit` (data, steps, loss, seconds), one entry a run."""
        return []

    def state(self) -> dict[str, Array]:
        """Return what `fit` learned as named arrays: all that a fresh object needs besides its parameters."""
        self._check_fitted()
        names = sorted(name for name in vars(self) if name.endswith("_") and not name.startswith("_"))
        return {name: np.asarray(getattr(self, name)) for name in names}

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over the state that an object with the same parameters returned from `state`.

        Raises
        ------
        MethodError
            If the arrays are not a part's state.
        """
        if "dim_" not in arrays or arrays["dim_"].ndim:
            raise MethodError(f"{type(self).__name__}: not a saved state (no number 'dim_'): {sorted(arrays)}")
        for name, array in arrays.items():
            setattr(self, name, array if array.ndim else array.item())
        return self


class Transform(Part, ABC):
    """A map from one vector space to another, such as truncation, a projection or a rotation."""

    principal: ClassVar[bool] = False
    """Whether the new dimensions are principal axes, in the order of falling variance."""

    gives: ClassVar[Kind] = "vectors"
    """What represents documents and queries afterwards."""

    is_linear: ClassVar[bool] = False
    """Whether documents and queries are mapped by matrices, once a constant is taken from the documents."""

    def transform_docs(self, docs: Any, leading: int | None = None) -> Any:
        """Return documents (n, d) in the new space, float32 (n, d').

        Whoever looks at the first `leading` dimensions only may get zeros in the others, which saves computing them.
        """
        checked = self._checked(docs, "docs", self._check_fitted())
        return self._transform_docs(checked) if leading is None else self._transform_leading(checked, leading)

    def transform_queries(self, queries: Any) -> Any:
        """Return queries (m, d) in the new space, float32 (m, d')."""
        return self._transform_queries(self._checked(queries, "queries", self._query_width()))

    @abstractmethod
    def _transform_docs(self, docs: Any) -> Any: ...

    def _transform_leading(self, docs: Any, leading: int) -> Any:
        """Return `_transform_docs`, or zeros from dimension `leading` on."""
        return self._transform_docs(docs)

    def _transform_queries(self, queries: Any) -> Any:
        return self._transform_docs(queries)

    @property
    def has_own_lengths(self) -> bool:
        """Whether a document is as long as the transform says, and not as its row."""
        return type(self)._lengths is not Transform._lengths

    def _lengths(self, docs: Float32, alike: int = 0) -> Array:
        """Return the lengths, float64 (n,), that documents of the new space (n, d') are renormalised by.

        The last `alike` columns are the same in all rows.
        """
        return row_lengths(docs)

    def _taken(self) -> Float32 | None:
        """Return what is subtracted from documents, not from queries, before they are mapped, (d,); None: nothing."""
        return None

    def _map_linearly(self, docs: Float32) -> Float32:
        """Return documents (n, d) mapped without the constant: `_transform_docs(docs + _taken())`."""
        mapped: Float32 = self._transform_docs(docs)
        return mapped


class Structure(ABC):
    """What a codec that looks at some of the codes only says of itself: its effort, its bytes, and what a search saw.

    See `methods.index.structure`. A search that finds fewer documents than it is asked for ends in rows of -1, with
    scores of -inf.
    """

    effort_name: ClassVar[str]
    """The parameter by which a search looks at more, or fewer, documents. It has no part in what is stored."""

    walks: ClassVar[bool]
    """Whether a search walks along links, so that with one effort it scores as many as the logarithm of the documents
    says; otherwise it reads a share of them."""

    @property
    def effort(self) -> int:
        """The effort of a search."""
        return int(getattr(self, self.effort_name))

    @abstractmethod
    def set_effort(self, effort: int) -> None:
        """Search with another effort from now on; raises `MethodError` for one that cannot be."""

    @abstractmethod
    def searching_all(self) -> AbstractContextManager[None]:
        """Return what makes searches look at every document: the exhaustive answer of the same codes."""

    @property
    @abstractmethod
    def visited(self) -> NDArray[np.int64]:
        """Documents that the last search scored for each query, int64 (m,)."""

    @abstractmethod
    def expected_bytes(self, n: int, d: int) -> tuple[float, int]:
        """Return the bytes that it adds to each of n documents of d dimensions, and to the state, before it is made.

        In layouts whose size depends on what is stored, those of the plain layout.
        """

    @property
    @abstractmethod
    def scored_as(self) -> str:
        """What the last search scored: codes, as they lie, or float32, which documents were decoded to."""


class Tiers(ABC):
    """A search in two steps: a scan of all codes lists documents, and these are read again.

    Lists of a scan of some codes each can be merged (the score descending, then the row ascending), and are those of a
    scan of all. What is read again must be the list of all.
    """

    @abstractmethod
    def listed(self, k: int, n: int) -> int:
        """Return how many of n documents the scan lists for a query that wants `k`."""

    @abstractmethod
    def scan(self, queries: ArrayLike, codes: Codes, length: int) -> tuple[Float32, NDArray[np.int64]]:
        """Return scores and rows of the first step, float32 and int64 (m, length), `length` at most the documents."""

    @abstractmethod
    def read_again(
        self, queries: ArrayLike, codes: Codes, scores: Float32, rows: NDArray[np.int64], k: int
    ) -> tuple[Float32, NDArray[np.int64]]:
        """Return what `Codec.search` does, from all codes and from the lists of all, (m, listed(k, n))."""


@dataclass(kw_only=True, eq=False)
class Codec(Part, ABC):
    """A lossy code for vectors.

    Parameters
    ----------
    renormalize : bool or "auto"
        Scale each decoded document to unit length. Free when the inputs had unit length: nothing is stored. *auto*:
        where the documents that `fit` saw had.
    scoring : {"asymmetric", "symmetric", "raw_codes"}
        *asymmetric*: the float query against the decoded document. *symmetric*: the query is encoded and decoded
        too. *raw_codes*: cosine between the integer codes themselves, on both sides, never mapped back. That last
        one is a mistake that published comparisons made; it is here so that their figures can be reproduced.
    """

    renormalize: bool | Literal["auto"] = False
    scoring: Scoring = "asymmetric"

    row_wise: ClassVar[bool] = True
    """Whether each document is encoded on its own, so that codes can be sliced and appended."""

    by_distance: ClassVar[bool] = False
    """Whether scores rank by Euclidean distance, which is the order of inner products between unit vectors only."""

    searches_whole: ClassVar[bool] = False
    """Whether a search must see all codes at once: its answer over chunks would be another one."""

    def _learn_lengths(self, docs: Any) -> None:
        if self.renormalize == "auto":
            self.unit_length_ = has_unit_rows(docs)

    @property
    def decodes_to_unit_length(self) -> bool:
        """Whether a code stands for a vector of a length that is fixed beforehand, and not for one about a centre."""
        return False

    @property
    def renormalizes(self) -> bool:
        """Whether decoded documents are scaled to unit length."""
        if self.renormalize != "auto":
            return self.renormalize
        if "unit_length_" not in vars(self):
            raise NotFittedError(f"{type(self).__name__} is not fitted: renormalize=auto asks the documents' lengths")
        return bool(self.unit_length_)

    def stored_rows(self, codes: Codes) -> StoredRows | None:
        """Return what the codes' bytes say of documents as they enter the dot product; None where that is no short way.

        `doc_matrix` is the reference. Structures that score documents one by one ask for it.
        """
        return None if self.scoring == "raw_codes" else self._decoded_rows(codes)

    def _decoded_rows(self, codes: Codes) -> StoredRows | None:
        """Return what the bytes say of `decode(codes)`."""
        rows = self._plain_rows(codes)
        if rows is None or not self.renormalizes:
            return rows
        return rows.scaled_to_unit_length() if type(self)._lengths is Codec._lengths else None

    def _plain_rows(self, codes: Codes) -> StoredRows | None:
        """Return what the bytes say of `_decode(codes)`; a codec whose bytes are numbers or tables overrides this."""
        return None

    def fit_rows(self, n: int) -> slice:
        """Return which of n documents `fit` looks at, for those who would have to prepare all of them."""
        return slice(None)

    def encode(self, docs: ArrayLike) -> Codes:
        """Return the bytes that are stored for documents (n, d)."""
        return self._encode(self._checked(docs, "docs", self._check_fitted()))

    def decode(self, codes: Codes) -> Float32:
        """Return the documents that the bytes stand for, float32 (n, d')."""
        self._check_fitted()
        decoded = self._decode(codes)
        return unit_rows(decoded, self._lengths(decoded)) if self.renormalizes else decoded

    def query_matrix(self, queries: ArrayLike) -> Float32:
        """Return the queries as they enter the dot product, float32 (m, d'): projected, quantised or as they are."""
        return self._query_matrix(self._checked(queries, "queries", self._query_width()))

    def doc_matrix(self, codes: Codes) -> Float32:
        """Return the documents as they enter the dot product, float32 (n, d')."""
        self._check_fitted()
        return self._doc_matrix(codes)

    def score(self, queries: ArrayLike, codes: Codes) -> Float32:
        """Return all scores, float32 (m, n): by default `query_matrix(queries) @ doc_matrix(codes).T`."""
        scores: Float32 = self.query_matrix(queries) @ self._doc_matrix(codes).T
        return scores

    def search(self, queries: ArrayLike, codes: Codes, k: int) -> tuple[Float32, NDArray[np.int64]]:
        """Return the best `min(k, n)` documents of each query.

        Returns
        -------
        scores : float32 (m, min(k, n))
            In descending order.
        ids : int64 (m, min(k, n))
            Row numbers; among equal scores the lower row comes first. A codec with a `structure` may find fewer: its
            lists then end in -1, with scores of -inf.
        """
        if k < 1:
            raise MethodError(f"k must be at least 1, got {k}")
        vectors = self._checked(queries, "queries", self._query_width())
        return self._search(vectors, codes, min(k, codes.n))

    def search_parts(
        self, queries: ArrayLike, parts: Iterable[tuple[int, Codes]], k: int
    ) -> tuple[Float32, NDArray[np.int64]]:
        """Return what `search` does of codes that come one part after another, as (first row number, Codes).

        `k` is at most the number of all documents. Codes that a search must see all at once cannot come so.
        """
        vectors = self._checked(queries, "queries", self._query_width())
        if self.row_wise and self._searches_decoded(len(vectors)):
            return self._search_decoded(vectors, parts, k)
        scores, rows = np.empty((len(vectors), 0), np.float32), np.empty((len(vectors), 0), np.int64)
        for first, codes in parts:
            more_scores, more_rows = self._search(vectors, codes, min(k, codes.n))
            length = min(k, scores.shape[1] + more_scores.shape[1])
            scores, rows = topk.merge(scores, rows, more_scores, more_rows + first, length)
        return scores, rows

    def on_disk(self, names: Iterable[str]) -> set[str]:
        """Return those of the codes' array names that a search reads for a short list only; the rest is resident."""
        return set()

    @property
    def structure(self) -> Structure | None:
        """What chooses the documents that a search looks at; None where it looks at all."""
        return None

    @property
    def tiers(self) -> Tiers | None:
        """The two steps of a search that must see all codes, where its first can be made of some; None elsewhere."""
        return None

    def structure_codes(self, names: Iterable[str]) -> set[str]:
        """Return those of the codes' array names that belong to the `structure`, and are no codes."""
        return set()

    def structure_state(self, names: Iterable[str]) -> set[str]:
        """Return those of the state's array names that belong to the `structure`."""
        return set()

    def stored_vectors(self, codes: Codes) -> int:
        """Return of how many vectors the codes have bytes, where a document has several; 0 where it is one."""
        return 0

    def bits_per_axis(self) -> Array | None:
        """Return the bits of a code that each principal axis takes, float64 (d,), for reports; None without such axes.

        Axes are in the order of falling variance. What belongs to no axis, such as a factor, is not among them.
        """
        return None

    @abstractmethod
    def _encode(self, docs: Any) -> Codes: ...

    @abstractmethod
    def _decode(self, codes: Codes) -> Any: ...

    def _lengths(self, decoded: Float32) -> Array:
        """Return the lengths of decoded documents, float64 (n,), which `renormalize` divides by."""
        return row_lengths(decoded)

    def _tail(self) -> Float32 | None:
        """Return what the last dimensions of all decoded documents are, (t,): those that no code has bits for.

        `decode` may have scaled them with the rest of a document. None where nothing is known of them.
        """
        return None

    def _leading(self) -> int:
        """Return of how many first dimensions `encode` looks at the numbers: all, where nothing else is known."""
        return self._check_fitted()

    def _bits_per_dimension(self) -> Array | None:
        """Return the bits that each dimension of the given vectors takes, float64 (d,); None if that is not known."""
        return None

    def _levels(self, codes: Codes) -> Float32:
        """Return the integer codes as numbers, float32 (n, d'), for scoring="raw_codes"."""
        raise MethodError(f"{type(self).__name__} has no raw codes to score: scoring=raw_codes is not possible")

    def _encode_queries(self, queries: Any) -> Codes:
        """Return the codes of queries (m, d), for symmetric and raw scoring."""
        return self._encode(queries)

    def _project_queries(self, queries: Any) -> Float32:
        """Return queries (m, d) in the space of `decode`, float32 (m, d'), for asymmetric scoring."""
        projected: Float32 = queries
        return projected

    def _query_matrix(self, queries: Any) -> Float32:
        if self.scoring == "asymmetric":
            return self._project_queries(queries)
        return self._doc_matrix(self._encode_queries(queries))

    def _doc_matrix(self, codes: Codes) -> Float32:
        if self.scoring == "raw_codes":
            return unit_rows(self._levels(codes))
        return self.decode(codes)

    def _search(self, queries: Any, codes: Codes, k: int) -> tuple[Float32, NDArray[np.int64]]:
        """Search exhaustively; k is at most n. A subclass with a faster kernel overrides this."""
        if not self.row_wise:
            return topk.search(self._query_matrix(queries), [(0, self._doc_matrix(codes))], k)
        found = self._scan_codes(queries, codes, k) if len(queries) <= FEW_QUERIES else None
        return self._search_decoded(queries, [(0, codes)], k) if found is None else found

    def _scan_codes(self, queries: Any, codes: Codes, k: int) -> tuple[Float32, NDArray[np.int64]] | None:
        """Score documents by their codes as they lie, and decode those alone that may be among the best.

        None where the codes do not say what they stand for (`stored_rows`), or decoding all of them is quicker.
        """
        stored = self.stored_rows(codes)
        if stored is None:
            return None
        from methods import code_scan  # numba takes a while to import

        # made anew each time: a part's parameters may have changed since, and its scores with them
        scored = code_scan.Scored.of(stored)
        if len(queries) * scored.cost > DECODED_COST:
            return None
        asked = np.ascontiguousarray(self._query_matrix(queries))
        one_list = np.zeros((len(asked), 1), np.int64)
        listed, found = code_scan.scan(scored, asked, one_list, np.array([0, codes.n]), asked, asked[:0], k, SPARE)
        scores, rows = topk.decided(
            lambda places: self._doc_matrix(codes.take(places)), asked, listed, np.maximum(found, 0), k
        )
        left = np.flatnonzero(found < 0)
        if len(left):
            scores[left], rows[left] = self._search_decoded(queries[left], [(0, codes)], k)
        return scores, rows

    def _searches_decoded(self, m: int) -> bool:
        """Return whether `_search` of so many queries is `_search_decoded`; whoever overrides the first says when."""
        return type(self)._search is Codec._search

    def _search_decoded(
        self, queries: Any, parts: Iterable[tuple[int, Codes]], k: int
    ) -> tuple[Float32, NDArray[np.int64]]:
        """Search documents as they are decoded, a block at a time, in one go over all parts."""
        projected = self._query_matrix(queries)
        blocks = (
            (first + start, self._doc_matrix(codes[start:stop]))
            for first, codes in parts
            for start, stop in row_blocks(codes.n, 4 * projected.shape[1], SEARCHED_BYTES * allowed())
        )
        return topk.search(projected, blocks, k, None if self.scoring == "raw_codes" else self._tail())

    def _score_listed(self, queries: Any, codes: Codes, listed: NDArray[np.int64]) -> Float32:
        """Return the scores of each checked query with a list of documents, rows int64 (m, length): float32 as they."""
        projected = self._query_matrix(queries).astype(np.float64)
        scores = np.empty(listed.shape, dtype=np.float32)
        # a few queries at a time, so that no more than their short lists are decoded at once
        for start, stop in row_blocks(len(queries), 8 * listed.shape[1] * projected.shape[1]):
            needed, position = np.unique(listed[start:stop], return_inverse=True)
            docs = self._doc_matrix(codes.take(needed))
            position = position.reshape(stop - start, -1)
            for query in range(start, stop):
                # float64, rounded once: equal documents get equal scores
                scores[query] = np.einsum("ij,j->i", docs[position[query - start]].astype(np.float64), projected[query])
        return scores


def row_lengths(vectors: Float32) -> Array:
    """Return each row's Euclidean length, float64 (n,), summed in float64."""
    from methods import selection  # numba takes a while to import

    rows, out = np.ascontiguousarray(vectors), np.empty(len(vectors))
    over_rows(lambda start, stop: selection.lengths(rows[start:stop], out[start:stop]), len(rows), ROWS_PER_THREAD)
    return out


def has_unit_rows(vectors: Float32) -> bool:
    """Return whether every row (n, d) has unit Euclidean length, within `UNIT_TOLERANCE`."""
    return all(
        bool(np.all(np.abs(row_lengths(vectors[start:stop]) - 1) <= UNIT_TOLERANCE))
        for start, stop in row_blocks(len(vectors), 4 * vectors.shape[1])
    )


def unit_rows(vectors: Float32, lengths: Array | None = None) -> Float32:
    """Return rows scaled to unit Euclidean length, or divided by the `lengths` given; a zero row stays zero.

    Norms are summed in float64, so that a row's result does not depend on the rows beside it.
    """
    from methods import selection

    norms = row_lengths(vectors) if lengths is None else lengths.copy()
    norms[norms == 0] = 1.0
    rows, scaled = np.ascontiguousarray(vectors), np.empty(vectors.shape, dtype=np.float32)
    over_rows(
        lambda start, stop: selection.divide_rows(rows[start:stop], norms[start:stop], scaled[start:stop]),
        len(rows),
        ROWS_PER_THREAD,
    )
    return scaled


def project(vectors: Float32, matrix: Array, leading: int | None = None) -> Float32:
    """Return `vectors @ matrix`, float32; zeros from column `leading` on, if that is given.

    Summed in float64: BLAS sums float32 products in an order that depends on the shape of the whole product, and a
    last-bit difference can flip a code. This way a document's bytes do not depend on how the corpus was chunked.
    """
    out = np.empty((len(vectors), matrix.shape[1]), dtype=np.float32)
    wide = np.asarray(matrix[:, :leading], dtype=np.float64)
    out[:, wide.shape[1] :] = 0
    for start, stop in row_blocks(len(vectors), 8 * max(vectors.shape[1], matrix.shape[1]), PROJECTED_BYTES):
        out[start:stop, : wide.shape[1]] = vectors[start:stop].astype(np.float64) @ wide
    return out
