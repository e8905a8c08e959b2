"""Token vectors that exist already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ModelError
from harness.base.memmap import Growing
from harness.data.models.encoder import Identity, Role, content_hash, first_line
from harness.data.models.own_files import OwnFiles, chosen_rows, existing_file
from harness.data.text_lines import record_batches
from harness.data.vector_files.columns import schema_of
from methods.base import VectorsError
from methods.representations import Kind
from methods.token_vectors import TokenColumn, TokenVectors, as_token_vectors, offsets_of
from vecbudget.tensors import read as read_tensors

if TYPE_CHECKING:
    from harness.data.datasets import Dataset

Side = Literal["docs", "queries"]

TABLES = (".parquet", ".arrow", ".feather")

ENDINGS = (".safetensors", ".npz", *TABLES)

COLUMNS: tuple[TokenColumn, ...] = get_args(TokenColumn)

ID_COLUMNS = ("_id", "id", "doc_id", "docid", "query_id")


@dataclass(frozen=True, eq=False)
class StoredTokens:
    """The rows of a file: token vectors, and ids or None."""

    vectors: TokenVectors
    ids: Sequence[str] | None

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.vectors)


@dataclass(frozen=True, eq=False)
class SuppliedTokens:
    """The token vectors of a dataset's documents and queries, in its order."""

    docs: TokenVectors
    queries: TokenVectors


@dataclass(kw_only=True, frozen=True)
class TokenVectorModel(OwnFiles):
    """No model: token vectors exist already, in files beside a dataset.

    A .safetensors or .npz has `values` (tokens, d) and `offsets` (rows + 1,), or both sides in one file, as
    `docs_values`, `docs_offsets`, `queries_values` and `queries_offsets`. Its rows are in the order of the source:
    documents, and its judged queries or all of its queries. Beside them there may be `docs_token_ids` and
    `docs_attention` (tokens,), which some methods read. A .parquet, .arrow or .feather has a column of lists of
    vectors, and one of ids or the same order. A .safetensors is memory-mapped. float16 stays as it is.

    Attributes
    ----------
    docs : str
    queries : str or None
        None where the documents' file has both.
    """

    NAME: ClassVar[str] = "token_vectors"
    HELD: ClassVar[str] = "vectors"
    columns: ClassVar[None] = None
    """The files say it."""

    gives: ClassVar[Kind] = "tokens"

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return the hash of the role's file."""
        return {"vectors": self._content["docs" if role == "document" else "queries"]}

    def supply(self, dataset: Dataset) -> SuppliedTokens:
        """Return the token vectors of documents and queries in dataset order.

        Raises
        ------
        ModelError
            For a missing or unreadable file, a number of rows that is not the dataset's, documents or queries that are
            not in it, vectors of two widths, NaN or infinite numbers.
        """
        of_queries = self.queries or self.docs
        docs, queries = self._read(self.docs, "docs"), self._read(of_queries, "queries")
        if docs.vectors.width != queries.vectors.width:
            raise ModelError(
                f"{self.docs}: documents have vectors of {docs.vectors.width} dimensions and queries of "
                f"{queries.vectors.width}; there is no inner product of the two"
            )
        every_doc = [(len(dataset.doc_ids), dataset.source_rows)]
        judged = (len(dataset.query_ids), dataset.query_source_rows)
        every = (dataset.source_queries, dataset.query_positions)
        doc_rows = chosen_rows(docs, self.docs, dataset.doc_ids, every_doc, "documents")
        query_rows = chosen_rows(queries, of_queries, dataset.query_ids, [judged, every], "judged queries")
        return SuppliedTokens(_in_order(docs.vectors, doc_rows), _in_order(queries.vectors, query_rows).float32())

    def _read(self, name: str, side: Side) -> StoredTokens:
        path = _file(name, side)
        try:
            if path.suffix in TABLES:
                if side == "queries" and self.queries is None:
                    raise ValueError(f"a {path.suffix} has one side only: give model.queries, too")
                stored = _of_table(path)
            else:
                stored = StoredTokens(_of_arrays(_arrays(path), side), None)
            return StoredTokens(as_token_vectors(stored.vectors, f"{name}: '{side}'"), stored.ids)
        except VectorsError as error:
            raise ModelError(str(error)) from None
        except Exception as error:  # the readers of archives and headers fail in many ways
            raise ModelError(
                f"{name} holds no token vectors of {side} that can be read: {first_line(error)}"
            ) from error

    @cached_property
    def _content(self) -> dict[Side, str]:
        of = {"docs": self.docs, "queries": self.queries or self.docs}
        sides: tuple[Side, ...] = ("docs", "queries")
        return {
            side: hashlib.sha256(f"{side} {content_hash(_file(of[side], side))}".encode()).hexdigest() for side in sides
        }


def _file(name: str, side: Side) -> Path:
    path = existing_file(name, side)
    if path.suffix not in ENDINGS:
        raise ModelError(f"model.{side}: {name} is not {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    return path


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix == ".safetensors":
        return read_tensors(path, mapped=True)
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _of_arrays(arrays: Mapping[str, NDArray[Any]], side: Side) -> TokenVectors:
    own = (f"{side}_values", f"{side}_offsets")
    names = own if set(own) <= arrays.keys() else ("values", "offsets")
    if not set(names) <= arrays.keys():
        raise ValueError(f"it has neither {own[0]} and {own[1]} nor values and offsets, but {', '.join(arrays)}")
    values, offsets = (arrays[name] for name in names)
    if offsets.dtype.kind not in "iu":
        raise ValueError(f"{names[1]} are {offsets.dtype}, not whole numbers")
    prefix = names[0].removesuffix("values")
    columns = {column: np.array(arrays[prefix + column]) for column in COLUMNS if prefix + column in arrays}
    return TokenVectors(values, np.asarray(offsets, np.int64), columns)


def _of_table(path: Path) -> StoredTokens:
    """Read the one column of lists of lists of numbers, and ids where there is a column of them."""
    import pyarrow as pa

    schema = schema_of(path)

    def is_list(kind: Any) -> Any:
        return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)

    lists = [field.name for field in schema if is_list(field.type) and is_list(field.type.value_type)]
    if len(lists) != 1:
        raise ValueError(f"it has {len(lists)} columns of lists of vectors, where one is looked for: {schema.names}")
    ids = next((name for name in ID_COLUMNS if name in schema.names), None)
    wanted = [name for name in schema.names if name in (lists[0], ids)]
    rows: Growing | None = None
    counts: list[int] = []
    named: list[str] = []
    for batch in record_batches(path, wanted):
        for name in wanted:
            if empty := batch.column(name).null_count:
                raise ValueError(f"column '{name}' has {empty} empty cells")
        numbers = _as_matrix(batch.column(lists[0]).flatten(), None if rows is None else rows.width)
        if numbers is not None:
            rows = Growing(numbers.shape[1], numbers.dtype) if rows is None else rows
            rows.append(numbers)
        counts += batch.column(lists[0]).value_lengths().to_pylist()
        named += [] if ids is None else [str(value) for value in batch.column(ids).to_pylist()]
    if rows is None:
        raise ValueError(f"column '{lists[0]}' holds no vector")
    return StoredTokens(TokenVectors(rows.matrix(), offsets_of(counts)), named if ids is not None else None)


def _as_matrix(lists: Any, width: int | None) -> NDArray[Any] | None:
    """Return an Arrow array of lists as a matrix of the width of others before it; None for no lists."""
    import pyarrow as pa

    if not len(lists):
        return None
    fixed = pa.types.is_fixed_size_list(lists.type)
    widths = np.array([lists.type.list_size]) if fixed else np.unique(np.asarray(lists.value_lengths()))
    if len(widths) > 1 or width not in (None, widths[0]):
        raise ValueError(f"vectors have {widths[0] if width is None else width} to {widths[-1]} numbers")
    return np.asarray(lists.flatten()).reshape(len(lists), int(widths[0]))


def _in_order(vectors: TokenVectors, rows: NDArray[np.int64]) -> TokenVectors:
    """Return rows; as they lie in the file where that is their order, so that they need not be in memory."""
    return vectors if np.array_equal(rows, np.arange(len(vectors))) else vectors.take(rows)
