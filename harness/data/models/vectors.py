"""Vectors that exist already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ModelError
from harness.base.options import Options
from harness.data.metric import Asked, Comparable, Metric, for_inner_products
from harness.data.vector_files.arrays import npz_arrays

if TYPE_CHECKING:
    from harness.data.datasets import Dataset

from harness.data.models.encoder import Identity, Role, content_hash, first_line

Float32 = NDArray[np.float32]


@dataclass(kw_only=True, frozen=True)
class VectorModel(Options):
    """No model: the vectors exist already, in the dataset itself or in a file beside a dataset of texts.

    Attributes
    ----------
    path : str or None
        A .safetensors or .npz file of two matrices: `docs`, in the order of the source's corpus, and `queries`, in
        the order of its judged queries, or of all its queries; a third, `train_queries`, may be there. None for a
        dataset of vectors.
    metric : {"auto", "dot", "cosine", "l2"}
        How vectors of a file are compared, see `harness.data.metric`; auto is for documents of equal length.
    """

    path: str | None = None
    metric: Metric = "auto"

    @property
    def name(self) -> str:
        """The file's name, without its ending."""
        return "vectors" if self.path is None else Path(self.path).stem

    @property
    def label(self) -> str:
        """The same."""
        return self.name

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return the hash of the file; a dataset's own vectors are in the dataset's fingerprint."""
        if self.path is None:
            return {"vectors": "the dataset's own"}
        # what auto leads to follows from the file
        return {"vectors": self._content, **({} if self.metric == "auto" else {"metric": self.metric})}

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Float32:
        """Refuse: there is no model."""
        raise ModelError("model=vectors encodes no text; choose another model, or give vectors with model.path")

    def supply(self, dataset: Dataset) -> tuple[Float32, Float32, Float32 | None]:
        """Return the vectors of documents, queries and (where the file has them) train queries, in dataset order.

        Raises
        ------
        ModelError
            For a missing or unreadable file, one without `docs` or `queries`, a number of rows that is not the
            dataset's, widths that differ, NaN or infinity.
        """
        if dataset.doc_vectors is not None:
            if self.path is not None:
                raise ModelError(f"{dataset.name} has vectors of its own; leave model.path out")
            if self.metric != "auto":
                raise ModelError(f"{dataset.name} has vectors of its own: their metric is dataset.metric")
            if dataset.query_vectors is None:
                raise ModelError(f"{dataset.name} has vectors of its documents, but none of its queries")
            return dataset.doc_vectors, dataset.query_vectors, None
        comparable, count = self._comparable(dataset)
        queries, train_queries = np.split(comparable.queries, [count])
        return comparable.docs, queries, train_queries if self.has_train_queries else None

    def asked(self, dataset: Dataset) -> Asked:
        """Return what was done to a dataset's queries, so that inner products rank as the metric does."""
        return dataset.asked if dataset.doc_vectors is not None else self._comparable(dataset)[0].asked

    def _comparable(self, dataset: Dataset) -> tuple[Comparable, int]:
        """Return the file's vectors, train queries behind the queries, and the number of these."""
        if self.path is None:
            raise ModelError(f"{dataset.name} is a dataset of texts: give their vectors, as in model.path=FILE")
        tensors = self._tensors
        rows = {
            "docs": (len(dataset.doc_ids), dataset.source_rows, "documents"),
            "queries": (len(dataset.query_ids), dataset.query_source_rows, "judged queries"),
            "train_queries": (len(dataset.train_query_texts), None, "train queries"),
        }
        found: dict[str, Float32] = {}
        for key, (expected, source_rows, what) in rows.items():
            if key not in tensors:
                if key == "train_queries":
                    continue
                raise ModelError(f"{self.path} has no matrix '{key}'; it has {', '.join(sorted(tensors)) or 'none'}")
            matrix = tensors[key]
            if key == "queries" and len(matrix) == dataset.source_queries != expected:
                expected, source_rows = dataset.source_queries, dataset.query_positions
            if matrix.ndim != 2 or matrix.dtype.kind not in "fiuV" or matrix.size == 0:
                raise ModelError(f"{self.path}: '{key}' is not a matrix of numbers: {matrix.dtype}, {matrix.shape}")
            if len(matrix) != expected:
                raise ModelError(
                    f"{self.path}: '{key}' has {len(matrix)} rows, but {dataset.name} has {expected} {what}"
                )
            vectors = np.ascontiguousarray(matrix, dtype=np.float32)
            finite = np.isfinite(vectors).all(axis=1)
            if not finite.all():
                raise ModelError(f"{self.path}: '{key}' has NaN or infinity in row {int(np.argmin(finite))}")
            found[key] = vectors if source_rows is None else vectors[source_rows]
        widths = {key: matrix.shape[1] for key, matrix in found.items()}
        if len(set(widths.values())) > 1:
            shown = ", ".join(f"'{key}' has {width}" for key, width in widths.items())
            raise ModelError(f"{self.path}: the matrices differ in width: {shown}")
        asked = np.concatenate([found[key] for key in ("queries", "train_queries") if key in found])
        made = for_inner_products(found["docs"], asked, self.metric, source=str(self.path), option="model.metric")
        return made, len(found["queries"])

    @property
    def has_train_queries(self) -> bool:
        """Whether the file has vectors of train queries."""
        return self.path is not None and "train_queries" in self._tensors

    @cached_property
    def _content(self) -> str:
        return content_hash(self._file)

    @property
    def _file(self) -> Path:
        path = Path(str(self.path)).expanduser()
        if not path.is_file():
            raise ModelError(f"model.path: there is no file {self.path}")
        return path

    @property
    def _tensors(self) -> dict[str, NDArray[Any]]:
        from safetensors.numpy import load_file

        path = self._file
        try:
            if path.suffix == ".safetensors":
                return dict(load_file(path))
            if path.suffix == ".npz":
                return npz_arrays(path)
        except Exception as error:  # the readers of archives and headers fail in many ways
            raise ModelError(f"{self.path} cannot be read: {first_line(error)}") from error
        raise ModelError(f"model.path: {self.path} is neither .safetensors nor .npz")
