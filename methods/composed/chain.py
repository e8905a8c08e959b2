"""Composition: transforms, then a codec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, MethodError, Transform, arrays_under


@dataclass(kw_only=True, eq=False)
class Chain(Codec):
    """Transforms in order, then a codec on what they return.

    OPQ is a rotation and a PQ; "SVD to 192 dimensions, then int8" is a yaml. Each part is fitted on the output of the
    parts before it. The chain's own `renormalize` and `scoring` act on the outside; the codec keeps its own.

    Parameters
    ----------
    transforms : list of Transform
    codec : Codec
    """

    transforms: list[Transform]
    codec: Codec

    def _check_parameters(self) -> None:
        if self.scoring != "asymmetric" and self.codec.scoring != "asymmetric":
            raise MethodError("Chain: set scoring on the chain or on its codec, not on both")

    @property
    def wants_queries(self) -> bool:  # type: ignore[override]
        """Whether any part makes use of queries."""
        return any(part.wants_queries for part in (*self.transforms, self.codec))

    @property
    def wants_pairs(self) -> bool:  # type: ignore[override]
        """Whether any part makes use of pairs."""
        return any(part.wants_pairs for part in (*self.transforms, self.codec))

    @property
    def maps_queries(self) -> bool:  # type: ignore[override]
        """Whether the first part takes another model's queries."""
        return (self.transforms[0] if self.transforms else self.codec).maps_queries

    def _query_width(self) -> int:
        self._check_fitted()
        return (self.transforms[0] if self.transforms else self.codec)._query_width()

    @property
    def row_wise(self) -> bool:  # type: ignore[override]
        """Whether the codec is row-wise (transforms always are)."""
        return self.codec.row_wise

    @property
    def searches_whole(self) -> bool:  # type: ignore[override]
        """Whether the codec must see all codes at once."""
        return self.codec.searches_whole

    def on_disk(self, names: Iterable[str]) -> set[str]:
        """Return the codec's array names that a search reads for a short list only."""
        return self.codec.on_disk(names)

    def bits_per_axis(self) -> Array | None:
        """Return the codec's bits of each dimension, if a transform to principal axes comes right before it."""
        dim = self._check_fitted()
        bits = self.codec._bits_per_dimension() if self.transforms and self.transforms[-1].principal else None
        return None if bits is None else np.pad(bits, (0, max(0, dim - len(bits))))

    def training(self) -> list[dict[str, Any]]:
        """Return what gradient descent did in every part's last `fit`, in the order of the parts."""
        return [entry for part in (*self.transforms, self.codec) for entry in part.training()]

    def _fit_pairs(self, docs: Float32, queries: Float32 | None, pairs: NDArray[np.int64] | None) -> None:
        for position, transform in enumerate(self.transforms):
            transform.fit(docs, queries, pairs)
            if position == len(self.transforms) - 1:
                # a corpus in a file is then read once, and not all of it transformed at a time
                rows = self.codec.fit_rows(len(docs))
                pairs = None if pairs is None else _within(pairs, rows, len(docs))
                docs = docs[rows]
            docs = transform.transform_docs(docs)
            queries = None if queries is None else transform.transform_queries(queries)
        self.codec.fit(docs, queries, pairs)

    def _transform_docs(self, docs: Float32) -> Float32:
        for transform in self.transforms:
            docs = transform.transform_docs(docs)
        return docs

    def _transform_queries(self, queries: Float32) -> Float32:
        for transform in self.transforms:
            queries = transform.transform_queries(queries)
        return queries

    def _encode(self, docs: Float32) -> Codes:
        return self.codec.encode(self._transform_docs(docs))

    def _decode(self, codes: Codes) -> Float32:
        return self.codec.decode(codes)

    def _lengths(self, decoded: Float32) -> Array:
        return self.transforms[-1]._lengths(decoded) if self.transforms else super()._lengths(decoded)

    def _levels(self, codes: Codes) -> Float32:
        return self.codec._levels(codes)

    def _encode_queries(self, queries: Float32) -> Codes:
        return self.codec._encode_queries(self._transform_queries(queries))

    def _project_queries(self, queries: Float32) -> Float32:
        return self.codec._query_matrix(self._transform_queries(queries))

    @property
    def _only_forwards(self) -> bool:
        """Whether documents are scored in the codec's own space, since nothing is asked of them mapped back."""
        return self.scoring == "asymmetric" and not self.renormalize

    def _doc_matrix(self, codes: Codes) -> Float32:
        return self.codec._doc_matrix(codes) if self._only_forwards else super()._doc_matrix(codes)

    def _search(self, queries: Float32, codes: Codes, k: int) -> tuple[Float32, NDArray[np.int64]]:
        if self._only_forwards:
            return self.codec._search(self._transform_queries(queries), codes, k)
        return super()._search(queries, codes, k)

    def state(self) -> dict[str, Array]:
        """Return the parts' states under the prefixes `0.`, `1.`, ... and `codec.`."""
        arrays = {"dim_": np.asarray(self._check_fitted())}
        for position, transform in enumerate(self.transforms):
            arrays |= {f"{position}.{name}": array for name, array in transform.state().items()}
        return arrays | {f"codec.{name}": array for name, array in self.codec.state().items()}

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Hand each part its own arrays, which `state` put under its prefix."""
        parts = {str(position): transform for position, transform in enumerate(self.transforms)}
        for prefix, part in {**parts, "codec": self.codec}.items():
            part.load_state(arrays_under(arrays, f"{prefix}."))
        self.dim_ = int(arrays["dim_"])
        return self


def _within(pairs: NDArray[np.int64], rows: slice, n: int) -> NDArray[np.int64]:
    """Return the pairs whose document is among some rows of n documents, numbered as in these rows."""
    new_rows = np.full(n, -1, dtype=np.int64)
    new_rows[rows] = np.arange(len(range(*rows.indices(n))))
    renumbered = np.column_stack([pairs[:, 0], new_rows[pairs[:, 1]]])
    return renumbered[renumbered[:, 1] >= 0]
