"""Vectors that exist already, from npy, parquet, safetensors, fvecs, bvecs or HDF5 files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError, DatasetError
from harness.base.memmap import blocks
from harness.base.options import Options
from harness.data.datasets import hdf5_layout
from harness.data.datasets.dataset import Dataset
from harness.data.datasets.folder import read_qrels
from harness.data.datasets.row_numbers import RowNumbers
from methods.base import row_lengths, unit_rows

Array = NDArray[Any]
Float32 = NDArray[np.float32]

ID_COLUMNS = ("id", "_id")
"""Columns of a parquet file that hold ids unless `id_column` says otherwise."""

COPIED_BYTES = 1 << 31
"""Documents of up to so many bytes are copied to take a random sample out of them."""

HDF5_NAMES = {"docs": "train", "queries": "test"}
"""What ann-benchmarks calls documents and queries (Aumüller, Bernhardsson & Faithfull, 2020)."""

NORMALISED_DISTANCES = ("angular", "cosine")
INNER_PRODUCTS = ("dot", "ip", "inner_product", "normalized")
"""Values of a HDF5 file's attribute "distance" whose ranking is that of the inner product, after normalising or as the
vectors are; those of ann-benchmarks and of the collections that follow its layout."""


@dataclass(kw_only=True, frozen=True)
class VectorFiles(Options):
    """Read documents' and queries' vectors, one row each.

    Rows without ids are known by their number, counted from 0, with zeros in front, so that the order of ids is the
    order of rows; judgements may give the number with or without the zeros.

    Parameters
    ----------
    docs : str
        .npy (memory-mapped), .parquet, .safetensors, .fvecs, .bvecs, or .hdf5 or .h5 as ann-benchmarks publishes it
        (memory-mapped). A parquet file has a column of lists, or a numeric column for each dimension; a safetensors
        file has a tensor "docs", or one tensor; a HDF5 file has its documents in "train".
    queries : str or None
        Likewise. None is the tensor "queries" of a safetensors file that has one, or "test" of a HDF5 file; without
        it, `held_out` documents leave the corpus and are the queries: drawn at random (always the same), but the last
        ones of a corpus of more than `COPIED_BYTES`, which is not copied. If that one is sorted, give queries instead.
    qrels : str or None
        Judgements as in BEIR: query-id, corpus-id and score, with tabs between. None measures fidelity only.
    doc_ids, query_ids : str or None
        Text files with one id a line, where the vectors' files have none.
    vector_column, id_column : str or None
        Columns of parquet files. None is the only column of lists (or else all numeric ones), and a column named "id"
        or "_id" if there is one.
    held_out : int
        See `queries`.
    any_distance : bool
        Search by inner product in a HDF5 file whose "distance" is another one (euclidean, say), which is refused
        otherwise. Vectors of an angular one are scaled to unit length: their inner product ranks as the angle does.
    name : str or None
        What tables call the dataset; None is the name of `docs` without its suffix.
    """

    docs: str
    queries: str | None = None
    qrels: str | None = None
    doc_ids: str | None = None
    query_ids: str | None = None
    vector_column: str | None = None
    id_column: str | None = None
    held_out: int = 200
    any_distance: bool = False
    name: str | None = None

    def load(self) -> Dataset:
        """Read the files.

        Raises
        ------
        DatasetError
            For a file that is missing, of an unknown kind or malformed, NaN or infinity (with file and row), docs and
            queries of different widths, a judgement (with file and line) of an unknown row, or a HDF5 file whose
            distance is not the inner product or the angle, or whose vectors are in chunks or compressed.
        MissingExtraError
            For a HDF5 file without h5py.
        """
        docs = self._read(self.docs, "docs", self.doc_ids)
        name = self.name or docs.path.stem
        queries: _Rows | None = None
        if self.queries is not None:
            queries = self._read(self.queries, "queries", self.query_ids)
        elif _holds_queries(docs.path):
            queries = self._read(self.docs, "queries", self.query_ids)
        if queries is None:
            if self.qrels is not None or self.query_ids is not None:
                raise DatasetError(f"{name}: judgements or ids of queries need dataset.queries, the queries' vectors")
            return self._hold_out(name, docs)
        if docs.vectors.shape[1] != queries.vectors.shape[1]:
            raise DatasetError(
                f"{queries.path} has vectors of {queries.vectors.shape[1]} dimensions, "
                f"but {docs.path} of {docs.vectors.shape[1]}"
            )
        return Dataset.build(
            name=name,
            revision=docs.scaled,
            doc_ids=docs.names(),
            doc_vectors=docs.vectors,
            query_ids=queries.names(),
            query_vectors=queries.vectors,
            qrels=None if self.qrels is None else _qrels(_existing(self.qrels), docs, queries),
        )

    def _check(self) -> None:
        if self.held_out < 1:
            raise ConfigError(f"dataset.held_out must be at least 1, got {self.held_out}")

    def _read(self, file: str, role: str, ids_file: str | None) -> _Rows:
        path = _existing(file)
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise DatasetError(f"{path}: unknown kind of file '{path.suffix}'; there are {', '.join(READERS)}")
        vectors, ids = reader(path, role, self)
        vectors = _checked(path, vectors)
        if ids_file is not None:
            ids = _read_ids(_existing(ids_file))
        if ids is not None:
            if len(ids) != len(vectors):
                raise DatasetError(f"{ids_file or path}: {len(ids)} ids for {len(vectors)} vectors of {path}")
            _refuse_repeated(ids_file or str(path), ids)
        rows = _Rows(path=path, vectors=vectors, ids=ids)
        return self._for_inner_products(rows) if path.suffix.lower() in hdf5_layout.SUFFIXES else rows

    def _for_inner_products(self, rows: _Rows) -> _Rows:
        """Return the rows so that their inner product ranks as the file's distance does, or refuse."""
        distance = hdf5_layout.read_layout(rows.path).distance
        if distance is None or distance in INNER_PRODUCTS:
            return rows
        if distance in NORMALISED_DISTANCES:
            return replace(rows, vectors=_unit(rows.path, rows.vectors), scaled=f"{distance}: scaled to unit length")
        if self.any_distance:
            return replace(rows, scaled=f"{distance} in the file, searched by inner product")
        raise DatasetError(
            f"{rows.path} is for the distance '{distance}', but searches here are by inner product, which ranks "
            "otherwise; dataset.any_distance=true searches by inner product all the same"
        )

    def _hold_out(self, name: str, docs: _Rows) -> Dataset:
        n = len(docs.vectors)
        if self.held_out >= n:
            raise DatasetError(
                f"{docs.path} has {n} rows, of which {self.held_out} cannot be held out as queries; "
                "give dataset.queries, or a smaller dataset.held_out"
            )
        names = docs.names()
        if docs.vectors.nbytes > COPIED_BYTES:
            kept, drawn = slice(n - self.held_out), slice(n - self.held_out, n)
            what = f"the last {self.held_out} of {n} rows held out as queries"
            doc_ids = RowNumbers(n - self.held_out) if docs.ids is None else names[kept]
            query_ids = names[drawn]
            doc_vectors, query_vectors = docs.vectors[kept], np.array(docs.vectors[drawn])
        else:
            chosen = np.zeros(n, dtype=bool)
            chosen[np.random.default_rng(0).choice(n, self.held_out, replace=False)] = True
            what = f"{self.held_out} of {n} rows held out as queries"
            doc_ids = [names[row] for row in np.flatnonzero(~chosen).tolist()]
            query_ids = [names[row] for row in np.flatnonzero(chosen).tolist()]
            doc_vectors, query_vectors = docs.vectors[~chosen], docs.vectors[chosen]
        return Dataset.build(
            name=f"{name}-heldout{self.held_out}",
            revision=f"{docs.scaled}; {what}" if docs.scaled else what,
            doc_ids=doc_ids,
            doc_vectors=doc_vectors,
            query_ids=query_ids,
            query_vectors=query_vectors,
            qrels=None,
        )


@dataclass(frozen=True, eq=False)
class _Rows:
    """What one file holds; `ids` is None where rows are known by their number, `scaled` says what became of them."""

    path: Path
    vectors: Float32
    ids: list[str] | None
    scaled: str = ""

    def names(self) -> Sequence[str]:
        return RowNumbers(len(self.vectors)) if self.ids is None else self.ids

    def finder(self) -> Callable[[str], str | None]:
        """Return a function from an id, as a qrels file writes it, to the row's id, or None."""
        names = self.names()
        if self.ids is not None:
            known = set(names)
            return lambda given: given if given in known else None
        # Python refuses numbers of thousands of digits
        return lambda given: (
            names[int(given)] if given.isdecimal() and len(given) < 20 and int(given) < len(names) else None
        )


def _qrels(path: Path, docs: _Rows, queries: _Rows) -> dict[str, dict[str, int]]:
    find_query, find_doc = queries.finder(), docs.finder()
    qrels: dict[str, dict[str, int]] = {}
    for line, query, doc, grade in read_qrels(path):
        query_id, doc_id = find_query(query), find_doc(doc)
        for what, given, found, rows in (("query", query, query_id, queries), ("document", doc, doc_id, docs)):
            if found is None:
                kind = "id" if rows.ids is not None else f"row (they are 0 to {len(rows.vectors) - 1})"
                raise DatasetError(f"{path}:{line}: {what} '{given}' is no {kind} of {rows.path}")
        assert query_id is not None and doc_id is not None
        qrels.setdefault(query_id, {})[doc_id] = grade
    return qrels


def _existing(file: str) -> Path:
    path = Path(file).expanduser()
    if not path.is_file():
        where = path.parent
        near = sorted(entry.name for entry in where.iterdir() if entry.is_file()) if where.is_dir() else []
        there = f"; {where} has {', '.join(near[:10])}{' ...' if len(near) > 10 else ''}" if near else ""
        raise DatasetError(f"there is no file {path}{there}")
    return path


def _checked(path: Path, given: Array) -> Float32:
    """Return a matrix of finite float32 numbers, or refuse; rows are looked at in blocks."""
    if given.ndim != 2 or 0 in given.shape:
        raise DatasetError(f"{path}: expected a matrix (rows x dimensions) with something in it, got {given.shape}")
    if given.dtype.kind not in "fiu" and given.dtype.name != "bfloat16":
        raise DatasetError(f"{path}: expected real numbers, got {given.dtype}")
    with np.errstate(over="ignore"):
        vectors: Float32 = np.asanyarray(given, dtype=np.float32)
    for start, block in blocks(vectors):
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            column = int(np.argmin(np.isfinite(vectors[row])))
            raise DatasetError(
                f"{path}: row {row} (from 0) has {given[row, column]} in dimension {column}, not a finite float32"
            )
    return vectors


def _refuse_repeated(source: str, ids: list[str]) -> None:
    first: dict[str, int] = {}
    for row, identifier in enumerate(ids):
        if (earlier := first.setdefault(identifier, row)) != row:
            raise DatasetError(f"{source}: rows {earlier} and {row} (from 0) both have the id '{identifier}'")


def _read_ids(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8: {error.reason}") from None


def _read_npy(path: Path, role: str, options: VectorFiles) -> tuple[Array, list[str] | None]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's parser of headers fails in many ways
        reason = str(error).strip().partition("\n")[0]
        raise DatasetError(f"{path}: not a readable .npy file of numbers: {reason}") from None
    if not isinstance(array, np.ndarray):
        raise DatasetError(f"{path}: not a readable .npy file of numbers: it is an archive")
    return array, None


def _tensor_names(path: Path) -> list[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            return sorted(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise DatasetError(f"{path}: not a readable safetensors file: {error}") from None


def _read_safetensors(path: Path, role: str, options: VectorFiles) -> tuple[Array, list[str] | None]:
    from safetensors import SafetensorError, safe_open

    names = _tensor_names(path)
    if role not in names and len(names) != 1:
        raise DatasetError(f"{path}: expected a tensor '{role}', or only one; there are {', '.join(names) or 'none'}")
    try:
        with safe_open(path, framework="numpy") as tensors:
            tensor: Array = tensors.get_tensor(role if role in names else names[0])
    except (SafetensorError, OSError, TypeError) as error:
        raise DatasetError(f"{path}: cannot read its vectors: {error}") from None
    return tensor, None


def _read_vecs(path: Path, component: type[np.generic]) -> Array:
    """Read the TEXMEX format: each row is its width as int32, then so many components."""
    size = path.stat().st_size
    if size < 4:
        raise DatasetError(f"{path} is empty")
    raw: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
    width = int(raw[:4].view("<i4")[0])
    itemsize = np.dtype(component).itemsize
    stride = 4 + width * itemsize
    if width < 1 or (size < stride):
        raise DatasetError(f"{path}: row 0 says that it has {width} dimensions, which the file of {size} bytes has not")
    n = size // stride
    rows = raw[: n * stride].reshape(n, stride)
    widths = np.ascontiguousarray(rows[:, :4]).view("<i4")[:, 0]
    if (widths != width).any():
        row = int(np.argmax(widths != width))
        raise DatasetError(
            f"{path}: row {row} (from 0) says that it has {widths[row]} dimensions, the first has {width}"
        )
    if size % stride:
        raise DatasetError(f"{path} is cut off in row {n} (from 0): {size % stride} bytes instead of {stride}")
    return np.ascontiguousarray(rows[:, 4:]).view(np.dtype(component).newbyteorder("<"))


def _read_fvecs(path: Path, role: str, options: VectorFiles) -> tuple[Array, list[str] | None]:
    return _read_vecs(path, np.float32), None


def _read_bvecs(path: Path, role: str, options: VectorFiles) -> tuple[Array, list[str] | None]:
    return _read_vecs(path, np.uint8), None


def _holds_queries(path: Path) -> bool:
    """Whether a file of documents has queries beside them."""
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return "queries" in _tensor_names(path)
    return suffix in hdf5_layout.SUFFIXES and HDF5_NAMES["queries"] in hdf5_layout.read_layout(path).places


def _read_hdf5(path: Path, role: str, options: VectorFiles) -> tuple[Array, list[str] | None]:
    name = HDF5_NAMES[role]
    places = hdf5_layout.read_layout(path).places
    place = places.get(name)
    if place is None:
        raise DatasetError(f"{path}: expected an array '{name}'; there are {', '.join(places) or 'none'}")
    if isinstance(place, str):
        raise DatasetError(
            f"{path}: '{name}' {place}, and cannot be read without a copy; "
            f"write one that can: h5repack -f NONE -l CONTI {path.name} plain{path.suffix}"
        )
    shape, dtype = place.shape, np.dtype(place.dtype)
    if len(shape) != 2 or dtype.kind not in "fiu":
        raise DatasetError(f"{path}: '{name}' must be a matrix of real numbers, got {dtype} {shape}")
    if 0 in shape:
        raise DatasetError(f"{path}: '{name}' has nothing in it: {shape}")
    if place.offset + shape[0] * shape[1] * dtype.itemsize > path.stat().st_size:
        raise DatasetError(f"{path} is cut off: '{name}' ends beyond its {path.stat().st_size} bytes")
    return np.memmap(path, dtype=dtype, mode="r", offset=place.offset, shape=shape), None


def _unit(path: Path, vectors: Float32) -> Float32:
    """Return rows of unit length (rows of zeros stay), in a temporary file unless they have that length already."""
    if all(_are_unit(block) for _, block in blocks(vectors)):
        return vectors
    try:
        with tempfile.TemporaryFile() as file:
            for _, block in blocks(vectors):
                file.write(unit_rows(block).data)
            file.flush()
            scaled: Float32 = np.memmap(file, dtype=np.float32, mode="r", shape=vectors.shape)
    except OSError as error:
        raise DatasetError(
            f"{path}: its vectors, scaled to unit length, cannot be written to {tempfile.gettempdir()} "
            f"({error.strerror}); choose another folder with the environment variable TMPDIR"
        ) from None
    return scaled


def _are_unit(block: Array) -> bool:
    lengths = row_lengths(block)
    return bool(((np.abs(lengths - 1) < 1e-6) | (lengths == 0)).all())


def _read_parquet(path: Path, role: str, options: VectorFiles) -> tuple[Array, list[str] | None]:
    import pyarrow as pa

    try:
        return _parquet(path, options)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DatasetError(f"{path}: not a readable parquet file: {reason}") from None


def _parquet(path: Path, options: VectorFiles) -> tuple[Array, list[str] | None]:
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    id_column = options.id_column or next((name for name in ID_COLUMNS if name in schema.names), None)
    vector_columns = _vector_columns(path, schema, options.vector_column, id_column)
    table = pq.read_table(path, columns=[*vector_columns, *([id_column] if id_column else [])])
    ids = None
    if id_column is not None:
        column = table.column(id_column)
        if column.null_count:
            raise DatasetError(f"{path}: row {_first_null(column)} (from 0) has no '{id_column}'")
        ids = [str(value) for value in column.to_pylist()]
    if len(vector_columns) == 1 and _is_list(schema.field(vector_columns[0]).type):
        return _from_lists(path, vector_columns[0], table.column(vector_columns[0])), ids
    columns = []
    for name in vector_columns:
        column = table.column(name)
        if column.null_count:
            raise DatasetError(f"{path}: row {_first_null(column)} (from 0) has no '{name}'")
        columns.append(column.to_numpy())
    return np.column_stack(columns), ids


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _vector_columns(path: Path, schema: Any, wanted: str | None, id_column: str | None) -> list[str]:
    import pyarrow as pa

    kinds: Mapping[str, Any] = {field.name: field.type for field in schema}
    for option, column in (("vector_column", wanted), ("id_column", id_column)):
        if column is not None and column not in kinds:
            raise DatasetError(f"{path} has no column '{column}' (dataset.{option}); it has {', '.join(kinds)}")
    if wanted is not None:
        if not _is_list(kinds[wanted]):
            raise DatasetError(f"{path}: column '{wanted}' holds {kinds[wanted]}, not lists of numbers")
        return [wanted]
    lists = [name for name, kind in kinds.items() if _is_list(kind)]
    if len(lists) > 1:
        raise DatasetError(
            f"{path} has {len(lists)} columns of lists; choose one of {', '.join(lists)} with dataset.vector_column"
        )
    if lists:
        return lists
    numeric = [
        name
        for name, kind in kinds.items()
        if name != id_column and (pa.types.is_floating(kind) or pa.types.is_integer(kind))
    ]
    others = [name for name in kinds if name != id_column and name not in numeric]
    if not numeric or others:
        raise DatasetError(
            f"{path}: expected one column of lists, or only numeric columns (and dataset.id_column); "
            f"it has {', '.join(f'{name} ({kind})' for name, kind in kinds.items())}"
        )
    return numeric


def _from_lists(path: Path, name: str, column: Any) -> Array:
    """Return a column of equally long lists as a matrix."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count:
        raise DatasetError(f"{path}: row {_first_null(column)} (from 0) has no '{name}'")
    inner = column.type.value_type
    if not (pa.types.is_floating(inner) or pa.types.is_integer(inner)):
        raise DatasetError(f"{path}: column '{name}' holds lists of {inner}, not of numbers")
    if len(column) == 0:
        return np.empty((0, 0), dtype=np.float32)
    widths = np.asarray(pc.list_value_length(column))
    if (widths != widths[0]).any():
        row = int(np.argmax(widths != widths[0]))
        raise DatasetError(
            f"{path}: row {row} (from 0) of '{name}' has {widths[row]} numbers, the first has {widths[0]}"
        )
    # a null among the numbers becomes NaN, which is refused with its row
    flat = np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks])
    matrix: Array = flat.reshape(len(column), int(widths[0]))
    return matrix


def _first_null(column: Any) -> int:
    return int(np.argmax(np.asarray(column.is_null())))


READERS: dict[str, Callable[[Path, str, VectorFiles], tuple[Array, list[str] | None]]] = {
    ".npy": _read_npy,
    ".parquet": _read_parquet,
    ".safetensors": _read_safetensors,
    ".fvecs": _read_fvecs,
    ".bvecs": _read_bvecs,
    **dict.fromkeys(hdf5_layout.SUFFIXES, _read_hdf5),
}
