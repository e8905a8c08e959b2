"""FAISS's codecs behind the contract: one class, many yamls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from methods import topk
from methods.base import Array, Codec, Codes, Float32, MethodError


@dataclass(kw_only=True, eq=False)
class FaissCodec(Codec):
    """A flat code of FAISS (Douze et al., 2024), by its factory string.

    State is the trained, empty index as FAISS serialises it; codes are what `sa_encode` returns, exactly `sa_code_size`
    bytes each; search puts the codes into a copy of the empty index and lets FAISS scan them.

    Parameters
    ----------
    factory : str
        FAISS's index factory string. `{m}` and `{bits}` are filled in, as in "PQ{m}x{bits}np" ("np" switches off the
        polysemous training, which takes minutes and serves another search).
    m : int or None
        Sub-quantisers, or codebooks.
    bits : int or None
        Bits of each.
    iterations : int or None
        Iterations of k-means; None is FAISS's own 25.
    seed : int
        Seed of k-means.
    """

    factory: str
    m: int | None = None
    bits: int | None = None
    iterations: int | None = None
    seed: int = 0

    def _check_parameters(self) -> None:
        for name in ("m", "bits", "iterations"):
            value = getattr(self, name)
            self._require(value is None or value >= 1, f"{name} must be at least 1, got {value}")

    @property
    def index_string(self) -> str:
        """The factory string with the parameters filled in."""
        return self.factory.format(m=self.m, bits=self.bits)

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        import faiss

        n, d = docs.shape
        product = re.match(r"PQ(\d+)x(\d+)", self.index_string)
        if product and d % int(product[1]):
            raise MethodError(f"FaissCodec: m={product[1]} does not divide the {d} dimensions of the vectors")
        try:
            index = faiss.index_factory(d, self.index_string, faiss.METRIC_INNER_PRODUCT)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise MethodError(f"FaissCodec: factory '{self.index_string}' is not possible: {reason}") from error
        for clustering in _clustering_parameters(index):
            clustering.seed = self.seed
            # fewer documents than 39 a centroid is the rule here, not worth a warning for each codebook
            clustering.min_points_per_centroid = 1
            if self.iterations is not None:
                clustering.niter = self.iterations
        try:
            index.train(docs)
        except RuntimeError as error:
            if "should be at least as large as number of clusters" in str(error):
                raise MethodError(
                    f"FaissCodec: {n} documents are fewer than the centroids of a codebook of bits={self.bits}: "
                    f"'{self.index_string}' needs more documents or fewer bits"
                ) from error
            raise MethodError(f"FaissCodec: training '{self.index_string}' failed: {error}") from error
        self.index_ = faiss.serialize_index(index)
        self.__dict__.pop("_index", None)

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over a serialised index; it is read at first use."""
        self.__dict__.pop("_index", None)
        return super().load_state(arrays)

    @cached_property
    def _index(self) -> Any:
        """The empty trained index, read from the state."""
        import faiss

        return faiss.deserialize_index(np.ascontiguousarray(self.index_))

    def _encode(self, docs: Float32) -> Codes:
        return Codes.packed(self._index.sa_encode(docs))

    def _decode(self, codes: Codes) -> Float32:
        decoded: Float32 = self._index.sa_decode(np.ascontiguousarray(codes.array))
        return decoded

    def _search(self, queries: Float32, codes: Codes, k: int) -> tuple[Float32, NDArray[np.int64]]:
        if self.scoring != "asymmetric" or self.renormalize:
            return super()._search(queries, codes, k)
        import faiss

        index = faiss.clone_index(self._index)
        index.add_sa_codes(np.ascontiguousarray(codes.array))

        def scan(wanted: int) -> tuple[Float32, NDArray[np.int64]]:
            scores, rows = index.search(queries, wanted)
            return scores, rows

        def exhaustive(which: NDArray[np.int64]) -> tuple[Float32, NDArray[np.int64]]:
            scores, rows = index.search(queries[which], codes.n)
            return topk.ordered(scores, rows, k)

        return topk.search_kernel(scan, exhaustive, codes.n, k)


def _clustering_parameters(index: Any) -> list[Any]:
    """Return every k-means setting inside an index, wherever FAISS keeps it."""
    quantizers = [getattr(index, name) for name in ("pq", "rq", "lsq", "prq", "plsq") if hasattr(index, name)]
    return [quantizer.cp for quantizer in quantizers if hasattr(quantizer, "cp")]
