"""FAISS's codecs behind the contract: one class, many yamls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from methods import topk
from methods.base import Array, Codec, Codes, Float32, MethodError
from methods.kernels import fast_scan, k_means
from methods.kernels.packing import pack
from methods.product.faiss_state import quantizers, read_state
from methods.stored_rows import VALUES, ByteTables, PackedNumbers, StoredRows

MOST_WIDTH = 64
"""Dimensions of a part up to which its nearest centroid is found faster than FAISS finds it."""

WIDE_PART = 16
"""Dimensions of a part from which on FAISS makes tables by a matrix product."""


@dataclass(kw_only=True, eq=False)
class FaissCodec(Codec):
    """A flat code of FAISS (Douze et al., 2024), by its factory string.

    State is the trained, empty index as FAISS serialises it; codes are what `sa_encode` returns, exactly `sa_code_size`
    bytes each. PQ is trained by `methods.kernels.k_means`, which starts where FAISS does, and its nearest centroids are
    found there too: where two are equally near but for rounding, FAISS may take the other. PQ's and SQ's codes are
    searched by FAISS, in a copy of the empty index; the others are decoded.

    Only codes whose search is the dot product with `sa_decode` belong here: SQ, SQtqmse, EDEN, PQ, RQ, PRQ, LSQ, PLSQ.
    RaBitQ is `methods.FaissRaBitQ`. Three are left out on purpose: `IndexLattice` ("ZnLattice") does not write
    its codes when it is serialised and ignores the metric, "SQ8_direct" casts to integers without a scale, and LSH is
    `methods.Sign` on a projection.

    Parameters
    ----------
    factory : str
        FAISS's index factory string. `{m}`, `{bits}` and `{splits}` are filled in, as in "PQ{m}x{bits}np" ("np"
        switches off the polysemous training, which takes minutes and serves another search).
    m : int or None
        Sub-quantisers, or codebooks (of each split).
    bits : int or None
        Bits of each.
    splits : int or None
        Parts that a product of additive quantisers cuts the vector into.
    iterations : int or None
        Iterations of k-means (PQ, RQ, PRQ: None is FAISS's own 25 or 10), or of the alternation between codes and
        codebooks (LSQ, PLSQ: None is FAISS's 25).
    beam : int or None
        RQ and PRQ only. With a number, codebooks are trained by plain k-means on the residuals, and that many partial
        codes are kept in training and encoding. None is FAISS's own: beam 5, with k-means on progressively more
        dimensions, which takes five times as long.
    perturbations : int or None
        LSQ and PLSQ only: rounds of iterated local search when encoding; training takes half as many. None is
        FAISS's 16.
    shared_codebook : bool
        PQ only: one codebook for all sub-quantisers, as CoRECT trains it. FAISS stores a copy for each all the same.
    kernel : {"exact", "fast_scan"}
        How PQ's 4-bit codes are searched; storage is the same. *fast_scan* is FAISS's: each query's table of products
        is kept in registers, rounded to 8 bits with one scale (André, Kermarrec and Le Scouarnec, 2015), so that scores
        are coarse: a ranking may differ where the exact scores of two documents are closer than the tables' rounding.
    seed : int
        Seed of k-means, or of the local search.
    """

    factory: str
    m: int | None = None
    bits: int | None = None
    splits: int | None = None
    iterations: int | None = None
    beam: int | None = None
    perturbations: int | None = None
    shared_codebook: bool = False
    kernel: Literal["exact", "fast_scan"] = "exact"
    seed: int = 0

    @property
    def codebook_size(self) -> int:
        """Centroids of each codebook: of PQ, RQ, LSQ and their products; 0 for scalar quantisers."""
        codebooks = re.match(r"(?:PQ|RQ|LSQ)\d+x(\d+)|P(?:RQ|LSQ)\d+x\d+x(\d+)", self.index_string)
        return 1 << int(codebooks[1] or codebooks[2]) if codebooks else 0

    def _check_parameters(self) -> None:
        self._require_at_least(1, "m", "bits", "splits", "iterations", "beam", "perturbations")
        if self.shared_codebook:
            self._require(self.index_string.startswith("PQ"), "shared_codebook is for PQ")
        if self.kernel == "fast_scan":
            four_bits = re.fullmatch(r"PQ\d+x4(np)?", self.index_string)
            self._require(four_bits is not None, f"kernel=fast_scan needs 4-bit PQ, got '{self.index_string}'")

    @property
    def index_string(self) -> str:
        """The factory string with the parameters filled in."""
        return self.factory.format(m=self.m, bits=self.bits, splits=self.splits)

    @property
    def row_wise(self) -> bool:  # type: ignore[override]
        """Whether a document's code is its own; LSQ's starts at random, by the document's place in the batch."""
        return "LSQ" not in self.factory

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        import faiss

        n, d = docs.shape
        parts = re.match(r"(?:PQ|PRQ|PLSQ)(\d+)x(\d+)", self.index_string)
        if parts and d % int(parts[1]):
            name = "m" if self.splits is None else "splits"
            raise MethodError(f"FaissCodec: {name}={parts[1]} does not divide the {d} dimensions of the vectors")
        # LSQ starts from random codes and would train on any number of documents, even on one
        if n < self.codebook_size:
            size = self.codebook_size if self.codebook_size < 1 << 32 else f"2^{self.bits}"
            raise MethodError(
                f"FaissCodec: bits={self.bits} gives each codebook {size} centroids, and {n} documents are fewer: it "
                "needs more documents or fewer bits"
            )
        width = d // (self.splits or 1)
        if re.match("P?RQ", self.index_string) and self.beam is None and n < width:
            raise MethodError(
                f"FaissCodec: beam=null trains on more and more of {width} principal axes, and {n} documents have "
                "fewer: beam=1 does without them"
            )
        numbers = {name: getattr(self, name) for name in ("splits", "m", "bits") if f"{{{name}}}" in self.factory}
        asked = " ".join([f"factory={self.factory}", *(f"{name}={value}" for name, value in numbers.items())])
        try:
            index = faiss.index_factory(d, self.index_string, faiss.METRIC_INNER_PRODUCT)
        except (RuntimeError, MemoryError) as error:
            raise MethodError(f"FaissCodec: {asked} is no index that FAISS can make in {d} dimensions") from error
        for quantizer in quantizers(index):
            self._set_up(quantizer)
        try:
            if isinstance(index, faiss.IndexPQ) and not (self.shared_codebook or index.pq.cp.spherical):
                _train_parts(index, docs)
            else:
                index.train(docs)
        except (RuntimeError, MemoryError) as error:
            raise MethodError(f"FaissCodec: FAISS cannot train {asked} on {n} documents of {d} dimensions") from error
        # as another process reads it: FAISS does not write all that it trains with
        self._index: Any = faiss.deserialize_index(faiss.serialize_index(index))

    def _set_up(self, quantizer: Any) -> None:
        """Hand the parameters to a quantiser, wherever FAISS keeps them."""
        if hasattr(quantizer, "cp"):
            quantizer.cp.seed = self.seed
            # fewer documents than 39 a centroid is the rule here, not worth a warning for each codebook
            quantizer.cp.min_points_per_centroid = 1
            if self.iterations is not None:
                quantizer.cp.niter = self.iterations
        if self.shared_codebook:
            quantizer.train_type = quantizer.Train_shared
        if hasattr(quantizer, "max_beam_size") and self.beam is not None:
            quantizer.max_beam_size = self.beam
            quantizer.train_type = quantizer.Train_default
        if hasattr(quantizer, "icm_iters"):
            # 0 would draw from the clock
            quantizer.random_seed = self.seed + 1
            if self.iterations is not None:
                quantizer.train_iters = self.iterations
            if self.perturbations is not None:
                quantizer.encode_ils_iters = self.perturbations
                quantizer.train_ils_iters = max(1, self.perturbations // 2)

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over a serialised index, and read it.

        Raises
        ------
        MethodError
            If the bytes are not those of such an index, empty and trained; see `methods.product.faiss_state`.
        """
        super().load_state({name: array for name, array in arrays.items() if name != "index_"})
        blob = arrays.get("index_", np.empty(0, np.uint8))
        self._index = read_state(blob, self._check_fitted(), self.index_string, self._set_up)
        return self

    def state(self) -> dict[str, Array]:
        """Return the trained, empty index as FAISS serialises it, under `index_`."""
        return super().state() | {"index_": self.index_}

    @property
    def index_(self) -> NDArray[np.uint8]:
        """The index serialised, uint8 (bytes,): made when it is asked for, so that codebooks are in memory once."""
        import faiss

        blob: NDArray[np.uint8] = faiss.serialize_index(self._index)
        return blob

    def _books(self) -> Float32 | None:
        """Return PQ's codebooks, (m, 2**bits, d / m), if documents are encoded with them here, and not by FAISS."""
        quantizer = getattr(self._index, "pq", None)
        if quantizer is None or quantizer.nbits > 8 or quantizer.dsub > MOST_WIDTH:
            return None
        return _codebooks(quantizer)

    def _encode(self, docs: Float32) -> Codes:
        books = self._books()
        if books is None:
            return Codes.packed(self._index.sa_encode(docs))
        return Codes.packed(pack(k_means.codes(docs, list(books)), self._index.pq.nbits))

    def _decode(self, codes: Codes) -> Float32:
        decoded: Float32 = self._index.sa_decode(self._octets(codes))
        return decoded

    def _plain_rows(self, codes: Codes) -> StoredRows | None:
        import faiss

        index: Any = self._index
        d = int(index.d)
        if isinstance(index, faiss.IndexPQ) and index.pq.nbits in (4, 8) and index.pq.M % (8 // index.pq.nbits) == 0:
            return StoredRows(self._octets(codes), _pq_tables(index.pq), np.zeros(d, np.float32))
        widths = {faiss.ScalarQuantizer.QT_8bit: 8, faiss.ScalarQuantizer.QT_4bit: 4}
        bits = widths.get(index.sq.qtype) if isinstance(index, faiss.IndexScalarQuantizer) else None
        if bits is None:
            return None
        ends: Float32 = faiss.vector_to_array(index.sq.trained).reshape(2, d)
        low, reach = ends
        # FAISS decodes to the middle of a cell
        step = reach / np.float32(2**bits - 1)
        middle = low + step / np.float32(2)
        return StoredRows(self._octets(codes), PackedNumbers(bits, step, np.zeros_like(step)), middle)

    def _octets(self, codes: Codes) -> Array:
        """Return the codes once they are as wide as FAISS will take them to be."""
        array, width = codes.rows.get("codes"), self._index.sa_code_size()
        if array is None or array.dtype != np.uint8 or array.shape[1:] != (width,):
            actual = "there are none" if array is None else f"they are {array.dtype} {array.shape}"
            raise MethodError(f"FaissCodec: codes of '{self.index_string}' are uint8 (n, {width}), but {actual}")
        return np.ascontiguousarray(array)

    def _searches_decoded(self, m: int) -> bool:
        # FAISS's other scans are slower where many queries are asked, and some take documents four or more at a time,
        # and a score's last bit depends on which
        return self.kernel == "exact" or self.scoring != "asymmetric" or self.renormalizes

    def _search(self, queries: Float32, codes: Codes, k: int) -> tuple[Float32, NDArray[np.int64]]:
        if self._searches_decoded(len(queries)):
            return super()._search(queries, codes, k)
        index = fast_scan.index_of(self._index, self._octets(codes))
        # For parts this wide, a batch of queries gets its tables from one matrix product, whose last bits depend on the
        # batch: queries are then searched one at a time.
        alone = index.pq.dsub >= WIDE_PART

        def find(batch: Float32, wanted: int) -> tuple[Float32, NDArray[np.int64]]:
            if not alone:
                scores, rows = index.search(batch, wanted)
                return scores, rows
            answers = [index.search(batch[i : i + 1], wanted) for i in range(len(batch))]
            return np.concatenate([scores for scores, _ in answers]), np.concatenate([rows for _, rows in answers])

        def scan(wanted: int) -> tuple[Float32, NDArray[np.int64]]:
            return find(queries, wanted)

        def exhaustive(which: NDArray[np.int64]) -> tuple[Float32, NDArray[np.int64]]:
            scores, rows = find(queries[which], codes.n)
            return topk.ordered(scores, rows, k)

        scores, rows = topk.search_kernel(scan, exhaustive, codes.n, k)
        # it divides by a table's range, which is 0 for a zero query: it then finds NaN, or nothing
        flat = np.flatnonzero((rows < 0).any(axis=1) | ~np.isfinite(scores).all(axis=1))
        if len(flat):
            scores[flat], rows[flat] = super()._search(queries[flat], codes, k)
        return scores, rows


def _pq_tables(quantizer: Any) -> ByteTables:
    """Return FAISS's product quantiser of 8 or 4 bits as tables of whole bytes, the first codebook's bits lowest."""
    width, size, each = quantizer.dsub, quantizer.ksub, 8 // quantizer.nbits
    codebooks = _codebooks(quantizer)
    numbers = np.arange(VALUES)[:, None] >> quantizer.nbits * np.arange(each) & (size - 1)
    groups, tables = [], []
    for first in range(0, quantizer.M, each):
        groups.append(np.arange(first * width, (first + each) * width))
        parts = [codebooks[first + place][numbers[:, place]] for place in range(each)]
        tables.append(np.ascontiguousarray(np.hstack(parts)))
    return ByteTables.of(groups, tables)


def _codebooks(quantizer: Any) -> Float32:
    """Return the centroids of FAISS's product quantiser, (m, 2**bits, d / m)."""
    import faiss

    learned: Float32 = faiss.vector_to_array(quantizer.centroids)
    return learned.reshape(quantizer.M, quantizer.ksub, quantizer.dsub)


def codec_of_codebooks(codebooks: Float32, bits: int) -> FaissCodec:
    """Return FAISS's product quantiser with the given codewords, float32 (m, 2**bits, d / m), as a fitted codec."""
    import faiss

    m, _, width = codebooks.shape
    index: Any = faiss.IndexPQ(m * width, m, bits, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(np.ascontiguousarray(codebooks, dtype=np.float32).ravel(), index.pq.centroids)
    index.is_trained = True
    codec = FaissCodec(factory="PQ{m}x{bits}np", m=m, bits=bits)
    return codec.load_state({"dim_": np.asarray(m * width), "index_": faiss.serialize_index(index)})


@dataclass(kw_only=True, eq=False)
class UnitCentroids(FaissCodec):
    """One codebook of 2^bits centroids of unit length: the lists of FAISS's IVF indexes under inner products."""

    factory: str = "PQ1x{bits}np"

    def _set_up(self, quantizer: Any) -> None:
        super()._set_up(quantizer)
        quantizer.cp.spherical = True


def _train_parts(index: Any, docs: Float32) -> None:
    """Train a product quantiser by k-means that starts where `index.train` does, an order of magnitude faster."""
    import faiss

    quantizer = index.pq
    learned = k_means.codebooks(docs, quantizer.M, quantizer.ksub, quantizer.cp.seed, quantizer.cp.niter)
    faiss.copy_array_to_vector(learned.ravel(), quantizer.centroids)
    index.is_trained = True
