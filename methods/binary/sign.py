"""One bit a dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Codec, Codes, Float32, added_parameter, row_blocks
from methods.kernels import hamming
from methods.stored_rows import PackedNumbers, StoredRows
from methods.transforms.location import Centre, location


@dataclass(kw_only=True, eq=False)
class Sign(Codec):
    """Keep the sign of each number; a decoded document is c +-s, with c a common centre (or none).

    With a float query the score is the sum of the query's entries, each with the document's sign, and what the centre
    adds. With scoring="symmetric" the query keeps only its signs too, about the same centre, and the score is
    1 - 2 * Hamming distance / d, searched by FAISS's binary index. The first is worth 3 to 4 points of nDCG@10 at the
    same bytes.

    Parameters
    ----------
    centre : {"none", "mean", "median", "auto"}
        What is subtracted before, and given back in decoding; see `methods.transforms.location`.
    scale : {"unit", "mean"}
        What a sign stands for: 1/sqrt(d), or the mean magnitude of the fitted documents' numbers, which has the least
        squared error. Only with the second can a centre be given back to codes.
    threshold : {"zero", "median"}
        What a number is compared with: 0, or the median of its dimension over the fitted documents. That median is not
        given back, which is how published comparisons have it; with a float query it is a fault.
    """

    centre: Centre = added_parameter("none")
    scale: Literal["unit", "mean"] = added_parameter("unit")
    threshold: Literal["zero", "median"] = "zero"

    def _check_parameters(self) -> None:
        self._require(
            self.centre == "none" or self.scale == "mean",
            f"centre={self.centre} needs scale=mean: signs of another size cannot be added to a centre",
        )
        self._require(
            self.centre == "none" or self.threshold == "zero",
            f"centre={self.centre} and threshold={self.threshold} both say what numbers are compared with: choose one",
        )

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        vars(self).pop("centre_", None)
        centre = location(docs, self.centre)
        if centre is not None:
            self.centre_ = centre
        if self.threshold == "median":
            self.median_ = np.median(docs, axis=0).astype(np.float32)
        if self.scale == "mean":
            blocks = (self._about(docs[start:stop]) for start, stop in row_blocks(len(docs), 8 * docs.shape[1]))
            total = sum(float(np.abs(block).sum(dtype=np.float64)) for block in blocks)
            # documents that are all alike have nothing but their centre
            self.scale_ = total / docs.size

    @property
    def decodes_to_unit_length(self) -> bool:
        """Whether signs stand for 1 / sqrt(d)."""
        return self.scale == "unit"

    @property
    def is_centred(self) -> bool:
        """Whether there is a centre: centre=auto may have found none."""
        return "centre_" in vars(self)

    def _about(self, vectors: Float32) -> Float32:
        """Return vectors (n, d) less what their numbers are compared with."""
        if self.is_centred:
            return vectors - self.centre_
        return vectors - self.median_ if self.threshold == "median" else vectors

    def _encode(self, docs: Float32) -> Codes:
        return Codes.packed(np.packbits(self._about(docs) > 0, axis=1))

    def _decode(self, codes: Codes) -> Float32:
        if self.scale == "unit":
            return self._unit_signs(codes)
        signs: Float32 = hamming.signs(codes.array, self.dim_) * np.float32(self.scale_)
        return signs + self.centre_ if self.is_centred else signs

    def _plain_rows(self, codes: Codes) -> StoredRows:
        size = 1 / np.sqrt(self.dim_) if self.scale == "unit" else self.scale_
        return self._stored_signs(codes, float(size), self.centre_ if self.is_centred else None)

    def stored_rows(self, codes: Codes) -> StoredRows | None:
        """Return what the codes' bits say of documents as they enter the dot product."""
        if self.scoring == "symmetric":
            return self._stored_signs(codes, float(1 / np.sqrt(self.dim_)), None)
        return super().stored_rows(codes)

    def _stored_signs(self, codes: Codes, size: float, centre: Float32 | None) -> StoredRows:
        step = np.full(self.dim_, 2 * size, np.float32)
        point = np.zeros_like(step) if centre is None else centre
        return StoredRows(codes.array, PackedNumbers(1, step, np.zeros_like(step), True), point - np.float32(size))

    def _unit_signs(self, codes: Codes) -> Float32:
        return hamming.signs(codes.array, self.dim_) / np.float32(np.sqrt(self.dim_))

    def _doc_matrix(self, codes: Codes) -> Float32:
        if self.scoring == "symmetric":
            # bits against bits: a centre would count the two sides' errors along it
            return self._unit_signs(codes)
        return super()._doc_matrix(codes)

    def _levels(self, codes: Codes) -> Float32:
        return np.unpackbits(codes.array, axis=1, count=self.dim_).astype(np.float32)

    def _searches_decoded(self, m: int) -> bool:
        return self.scoring != "symmetric"

    def _search(self, queries: Float32, codes: Codes, k: int) -> tuple[Float32, NDArray[np.int64]]:
        if self._searches_decoded(len(queries)):
            return super()._search(queries, codes, k)
        return hamming.search(self._encode_queries(queries).array, codes.array, self.dim_, k)
