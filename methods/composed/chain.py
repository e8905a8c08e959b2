"""Composition: transforms, then a codec."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import (
    Array,
    Codec,
    Codes,
    Float32,
    MethodError,
    Part,
    Structure,
    Transform,
    added_parameter,
    arrays_under,
    project,
    unit_rows,
)
from methods.representations import IN_WORDS, Kind
from methods.stored_rows import StoredRows
from methods.token_vectors import TokenColumn
from methods.transforms.location import Centre, location

LOST = 1e-5
"""What maps lose of a centre below this share of its length is float32's rounding."""


class Place(NamedTuple):
    """Where decoded documents lie.

    Attributes
    ----------
    point : float32 (d',)
        The centre, mapped as documents are.
    lost_axis : float32 (d,) or None
        Direction of what of the centre queries cannot find in it; None if there is nothing.
    lost : float
        Length of that: a decoded document's coordinate along the axis.
    """

    point: Float32
    lost_axis: Float32 | None
    lost: float


@dataclass(kw_only=True, eq=False)
class Chain(Codec):
    """Transforms in order, then a codec on what they return.

    OPQ is a rotation and a PQ; "SVD to 192 dimensions, then int8" is a yaml. Each part is fitted on the output of the
    parts before it. The chain's own `renormalize` and `scoring` act on the outside; the codec keeps its own.

    What is taken from documents and not from queries, by `centre` or by a transform (`SVD` with centre=docs), is given
    back to what the codec decodes: with r = x - c, and T and U what maps documents and queries, <q, x> is
    <q, c> + <Uq, Tr>. A decoded document is Tc + Tr, with one more coordinate where the maps lose part of c (fewer
    dimensions), in which the query has what is lacking. So scores are right up to the code's own error, and so are the
    lengths by which documents are renormalised; a codec's own `renormalize`, which would see lengths without c, then
    acts on the outside too. With scoring=symmetric, codes are compared about the centre.

    Parameters
    ----------
    transforms : list of Transform
    codec : Codec
    centre : {"none", "mean", "median", "auto"}
        What is subtracted from documents before all transforms; see `methods.transforms.location`.
    """

    transforms: list[Transform]
    codec: Codec
    centre: Centre = added_parameter("none")

    def __post_init__(self) -> None:
        # before types are checked, which would only say that a code for terms is no Codec
        transforms = self.transforms if isinstance(self.transforms, list) else []
        parts = [part for part in (*transforms, self.codec) if isinstance(part, Part)]
        for one, after in itertools.pairwise(parts):
            given = getattr(one, "gives", one.takes)
            self._require(
                given == after.takes,
                f"{type(one).__name__} gives {IN_WORDS[given]}, but {type(after).__name__} takes "
                f"{IN_WORDS[after.takes]}",
            )
        super().__post_init__()
        self._require(
            self.codec.takes == "vectors" or (self.scoring == "asymmetric" and self.renormalize is False),
            f"scoring and renormalize are set on a codec for {IN_WORDS[self.codec.takes]}, not on the chain",
        )

    @property
    def takes(self) -> Kind:  # type: ignore[override]
        """What the first part takes."""
        return (self.transforms[0] if self.transforms else self.codec).takes

    def _check_parameters(self) -> None:
        if self.scoring != "asymmetric" and self.codec.scoring != "asymmetric":
            raise MethodError("Chain: set scoring on the chain or on its codec, not on both")
        bent = [type(transform).__name__ for transform in self.transforms if not transform.is_linear]
        self._require(
            self.centre == "none" or not bent,
            f"centre={self.centre} needs transforms that are linear, which {', '.join(bent)} is not: use centre=none",
        )
        self._require(
            self.centre == "none" or not self.codec.decodes_to_unit_length,
            f"centre={self.centre} needs a codec whose codes keep their size, and scale=unit does not: "
            "use another scale, or centre=none",
        )

    @property
    def wants_queries(self) -> bool:  # type: ignore[override]
        """Whether any part makes use of queries."""
        return any(part.wants_queries for part in (*self.transforms, self.codec))

    @property
    def wants_pairs(self) -> bool:  # type: ignore[override]
        """Whether any part makes use of pairs."""
        return any(part.wants_pairs for part in (*self.transforms, self.codec))

    @property
    def wants_columns(self) -> Sequence[TokenColumn]:  # type: ignore[override]
        """Which columns of token vectors any part reads."""
        return sorted({name for part in (*self.transforms, self.codec) for name in part.wants_columns})

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

    @property
    def structure(self) -> Structure | None:
        """The codec's."""
        return self.codec.structure

    def structure_codes(self, names: Iterable[str]) -> set[str]:
        """Return the names of the codes' arrays that belong to the codec's structure."""
        return self.codec.structure_codes(names)

    def structure_state(self, names: Iterable[str]) -> set[str]:
        """Return the names of the state's arrays that belong to the codec's structure."""
        inner = [name.removeprefix("codec.") for name in names if name.startswith("codec.")]
        return {f"codec.{name}" for name in self.codec.structure_state(inner)}

    def stored_vectors(self, codes: Codes) -> int:
        """Return of how many vectors the codes have bytes, where a document has several."""
        return self.codec.stored_vectors(codes)

    def bits_per_axis(self) -> Array | None:
        """Return the codec's bits of each dimension, if a transform to principal axes comes right before it."""
        dim = self._check_fitted()
        bits = self.codec._bits_per_dimension() if self.transforms and self.transforms[-1].principal else None
        return None if bits is None else np.pad(bits, (0, max(0, dim - len(bits))))

    def training(self) -> list[dict[str, Any]]:
        """Return what gradient descent did in every part's last `fit`, in the order of the parts."""
        return [entry for part in (*self.transforms, self.codec) for entry in part.training()]

    def _fit_pairs(self, docs: Float32, queries: Float32 | None, pairs: NDArray[np.int64] | None) -> None:
        vars(self).pop("_place", None)
        vars(self).pop("centre_", None)
        centre = location(docs, self.centre)
        if centre is not None:
            self.centre_ = centre
        if self.transforms:
            docs = self._about_centre(docs)
        for position, transform in enumerate(self.transforms):
            transform.fit(docs, queries, pairs)
            if position == len(self.transforms) - 1:
                # a corpus in a file is then read once, and not all of it transformed at a time
                docs, pairs = self._rows_for_codec(docs, pairs)
            docs = transform.transform_docs(docs)
            queries = None if queries is None else transform.transform_queries(queries)
        if not self.transforms:
            docs, pairs = self._rows_for_codec(docs, pairs)
            docs = self._about_centre(docs)
        self.codec.fit(docs, queries, pairs)

    def _rows_for_codec(
        self, docs: Float32, pairs: NDArray[np.int64] | None
    ) -> tuple[Float32, NDArray[np.int64] | None]:
        """Return the documents that the codec's `fit` looks at, and the pairs among them."""
        rows = self.codec.fit_rows(len(docs))
        return docs[rows], None if pairs is None else _within(pairs, rows, len(docs))

    def _about_centre(self, vectors: Float32) -> Float32:
        """Return vectors (n, d) less the centre, if there is one: centre=auto may have found none."""
        return vectors - self.centre_ if "centre_" in vars(self) else vectors

    @cached_property
    def _place(self) -> Place | None:
        """Where decoded documents lie; None if nothing was taken from them, or all scores are about the centre."""
        if self.codec.scoring != "asymmetric" or not all(transform.is_linear for transform in self.transforms):
            return None
        taken = [transform._taken() for transform in self.transforms]
        if "centre_" not in vars(self) and all(part is None for part in taken):
            return None
        dim = self._check_fitted()
        point = self.centre_[None] if "centre_" in vars(self) else np.zeros((1, dim), np.float32)
        whole = point[0].astype(np.float64)
        # what queries are multiplied by so far: a row for each dimension
        query_map = np.eye(dim, dtype=np.float32)
        for transform, part in zip(self.transforms, taken, strict=True):
            if part is not None:
                whole = whole + query_map.astype(np.float64) @ part
                point = point + part
            point = transform._map_linearly(point)
            query_map = transform._transform_queries(query_map)
        lost = whole - query_map.astype(np.float64) @ point[0]
        length = float(np.linalg.norm(lost))
        if length <= LOST * max(float(np.linalg.norm(whole)), np.finfo(np.float64).tiny):
            return Place(point[0], None, 0.0)
        return Place(point[0], (lost / length).astype(np.float32), length)

    def _transform_docs(self, docs: Float32, leading: int | None = None) -> Float32:
        docs = self._about_centre(docs)
        for number, transform in enumerate(self.transforms, start=1):
            docs = transform.transform_docs(docs, leading if number == len(self.transforms) else None)
        return docs

    def _transform_queries(self, queries: Float32) -> Float32:
        for transform in self.transforms:
            queries = transform.transform_queries(queries)
        return queries

    def _encode(self, docs: Float32) -> Codes:
        return self.codec.encode(self._transform_docs(docs, self.codec._leading()))

    def _decode(self, codes: Codes) -> Float32:
        if self._place is None:
            return self.codec.decode(codes)
        # lengths are not the codec's to know: see `renormalizes`
        about = self.codec._decode(codes)
        width = len(self._place.point)
        parts = [about[:, :width] + self._place.point, about[:, width:]]
        if self._place.lost_axis is not None:
            parts.insert(1, np.full((len(about), 1), self._place.lost, dtype=np.float32))
        return np.hstack(parts)

    @property
    def renormalizes(self) -> bool:
        """Whether decoded documents are scaled to unit length, by the chain itself or in place of its codec."""
        return super().renormalizes or (self._place is not None and self.codec.renormalizes)

    def _lengths(self, decoded: Float32) -> Array:
        if self._place is not None and self._place.lost_axis is not None:
            width = len(self._place.point)
            kept = np.hstack([decoded[:, :width], decoded[:, width + 1 :]])
            return np.sqrt(self._mapped_lengths(kept) ** 2 + self._place.lost**2)
        return self._mapped_lengths(decoded)

    def _mapped_lengths(self, decoded: Float32) -> Array:
        if not self.transforms:
            return super()._lengths(decoded)
        tail = self.codec._tail()
        # a codec that renormalises has scaled it, by another factor in each document
        scaled = tail is None or self.codec.scoring == "raw_codes" or (self._place is None and self.codec.renormalizes)
        return self.transforms[-1]._lengths(decoded, 0 if scaled or tail is None else len(tail))

    def _tail(self) -> Float32 | None:
        tail = None if self.codec.scoring == "raw_codes" else self.codec._tail()
        if tail is None or self._place is None or self.scoring == "symmetric":
            return tail
        if len(self._place.point) != self.codec._check_fitted():
            return None
        moved = tail + self._place.point[len(self._place.point) - len(tail) :]
        return moved if self._place.lost_axis is None else np.append(moved, np.float32(self._place.lost))

    def _levels(self, codes: Codes) -> Float32:
        return self.codec._levels(codes)

    def _encode_queries(self, queries: Float32) -> Codes:
        return self.codec._encode_queries(self._transform_queries(self._about_centre(queries)))

    def _project_queries(self, queries: Float32) -> Float32:
        projected = self.codec._query_matrix(self._transform_queries(self._query_side(queries)))
        if self._place is None or self._place.lost_axis is None:
            return projected
        along = project(queries, self._place.lost_axis[:, None])
        width = len(self._place.point)
        return np.hstack([projected[:, :width], along, projected[:, width:]])

    @property
    def _only_forwards(self) -> bool:
        """Whether documents are scored in the codec's own space, since nothing is asked of them mapped back."""
        return self.scoring == "asymmetric" and not self.renormalizes and self._place is None

    def _doc_matrix(self, codes: Codes) -> Float32:
        if self._only_forwards:
            return self.codec._doc_matrix(codes)
        if self.scoring == "symmetric" and self._place is not None:
            about = self.codec._doc_matrix(codes)
            return unit_rows(about, self._mapped_lengths(about)) if self.renormalizes else about
        return super()._doc_matrix(codes)

    def stored_rows(self, codes: Codes) -> StoredRows | None:
        """Return what the codec's bytes say of documents as they enter the dot product."""
        if self._only_forwards:
            return self.codec.stored_rows(codes)
        if self.scoring == "symmetric" and self._place is not None:
            return None if self.renormalizes else self.codec.stored_rows(codes)
        return super().stored_rows(codes)

    def _decoded_rows(self, codes: Codes) -> StoredRows | None:
        rows = self._plain_rows(codes)
        if rows is None or not self.renormalizes:
            return rows
        own_lengths = self.transforms and self.transforms[-1].has_own_lengths
        return None if own_lengths else rows.scaled_to_unit_length()

    def _plain_rows(self, codes: Codes) -> StoredRows | None:
        if self._place is None:
            return self.codec._decoded_rows(codes)
        about = self.codec._plain_rows(codes)
        place = self._place
        return None if about is None else about.moved(place.point, None if place.lost_axis is None else place.lost)

    def score(self, queries: Any, codes: Codes) -> Float32:
        """Return all scores, float32 (m, n)."""
        if self.codec.takes == "vectors":
            return super().score(queries, codes)
        return self.codec.score(self._transform_queries(self._checked(queries, "queries", self._query_width())), codes)

    def _score_listed(self, queries: Any, codes: Codes, listed: NDArray[np.int64]) -> Float32:
        if self.codec.takes == "vectors":
            return super()._score_listed(queries, codes, listed)
        return self.codec._score_listed(self._transform_queries(queries), codes, listed)

    def _search(self, queries: Float32, codes: Codes, k: int) -> tuple[Float32, NDArray[np.int64]]:
        if self._only_forwards:
            return self.codec._search(self._transform_queries(self._query_side(queries)), codes, k)
        return super()._search(queries, codes, k)

    def _searches_decoded(self, m: int) -> bool:
        return not self._only_forwards or self.codec._searches_decoded(m)

    def _search_decoded(
        self, queries: Float32, parts: Iterable[tuple[int, Codes]], k: int
    ) -> tuple[Float32, NDArray[np.int64]]:
        if self._only_forwards:
            return self.codec._search_decoded(self._transform_queries(self._query_side(queries)), parts, k)
        return super()._search_decoded(queries, parts, k)

    def _query_side(self, queries: Float32) -> Float32:
        """Return queries less what the documents that they meet lack too: the centre, where code meets code."""
        return queries if self.codec.scoring == "asymmetric" else self._about_centre(queries)

    def state(self) -> dict[str, Array]:
        """Return the chain's own state, and the parts' under the prefixes `0.`, `1.`, ... and `codec.`."""
        arrays = super().state()
        for position, transform in enumerate(self.transforms):
            arrays |= {f"{position}.{name}": array for name, array in transform.state().items()}
        return arrays | {f"codec.{name}": array for name, array in self.codec.state().items()}

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Hand each part its own arrays, which `state` put under its prefix."""
        parts = {str(position): transform for position, transform in enumerate(self.transforms)}
        for prefix, part in {**parts, "codec": self.codec}.items():
            part.load_state(arrays_under(arrays, f"{prefix}."))
        vars(self).pop("_place", None)
        return super().load_state({name: array for name, array in arrays.items() if "." not in name})


def _within(pairs: NDArray[np.int64], rows: slice, n: int) -> NDArray[np.int64]:
    """Return the pairs whose document is among some rows of n documents, numbered as in these rows."""
    new_rows = np.full(n, -1, dtype=np.int64)
    new_rows[rows] = np.arange(len(range(*rows.indices(n))))
    renumbered = np.column_stack([pairs[:, 0], new_rows[pairs[:, 1]]])
    return renumbered[renumbered[:, 1] >= 0]
