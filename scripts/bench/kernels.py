"""Compiled loops against their NumPy references: encoding and decoding a second, and whether the bytes are the same.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python scripts/bench/kernels.py [--docs 20000] [--nbytes 48] [--seconds 1]

Vectors are those of `scripts/bench/search.py` (384 dimensions, clusters, decaying spectrum) on their principal axes.
Each codec is fitted on 5,000 documents; what is timed is the codec alone, without the projection, which takes another
7 us a document in float64. Loops and references run in turns in one process, the loops on as many threads as
`NUMBA_NUM_THREADS` and `OMP_NUM_THREADS` allow; printed are medians of the runs that fit into the seconds given, and
half the range between their quartiles. With --cpu seconds are those of this process alone, which can be compared on a
machine that others use. First calls, which compile or load what was compiled, are told on their own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from search import vectors

from methods import SAQ, SVD, EntropyCoded, LatticeCoded, TransformCode, TrellisCoded
from methods.base import Codec, Codes
from methods.kernels.k_means import reference_nearest
from methods.parallel import allowed
from methods.transform_coding.lattice_coded import write_bits

FITTED, REFERENCE_ROWS = 5_000, 1_000


@dataclass
class Case:
    """A codec, and how its reference encodes documents (n, d) and decodes codes; None where there is none."""

    codec: Codec
    encode: Callable[[np.ndarray], np.ndarray] | None = None
    decode: Callable[[Codes], np.ndarray] | None = None


def trellis(codec: TrellisCoded) -> Case:
    def decode(codes: Codes) -> np.ndarray:
        walk = codec._trellis()
        decoded = np.tile(codec.mean_, (codes.n, 1))
        decoded[:, walk.coordinates] = walk.decode(codes.array).T
        return decoded

    def encode(docs: np.ndarray) -> np.ndarray:
        walk = codec._trellis()
        return np.concatenate([walk.encode(docs[at : at + 256], codec.nbytes) for at in range(0, len(docs), 256)])

    return Case(codec, encode, decode)


def lattice(codec: LatticeCoded) -> Case:
    def encode(docs: np.ndarray) -> np.ndarray:
        packed = np.zeros((len(docs), codec.nbytes), dtype=np.uint8)
        white = np.zeros((len(docs), int(codec.widths_.sum(dtype=int))))
        white[:, : codec.dim_] = (docs - codec.mean_.astype(np.float64)) / codec.deviation_
        for book, dims, bits in codec._groups():
            for dim, bit in zip(dims.tolist(), bits.tolist(), strict=True):
                write_bits(packed, book.nearest(white[:, dim : dim + book.width]), bit, book.bits)
        return packed

    return Case(codec, encode)


def transform(codec: TransformCode) -> Case:
    groups, tables = codec.byte_tables()

    def encode(docs: np.ndarray) -> np.ndarray:
        each = zip(groups, tables, strict=True)
        return np.column_stack([reference_nearest(docs[:, dims], table) for dims, table in each])

    def decode(codes: Codes) -> np.ndarray:
        decoded = np.empty((codes.n, codec.dim_), np.float32)
        decoded[:, codec._idle] = codec.rest_
        for byte, (dims, table) in enumerate(zip(groups, tables, strict=True)):
            decoded[:, dims] = table[codes.array[:, byte]]
        return decoded

    return Case(codec, encode, decode)


def timed(work: Callable[[], Any], seconds: float, documents: int, clock: Callable[[], float]) -> str:
    """Return documents a second in thousands: the median, and half the range between the quartiles."""
    rates, end = list[float](), clock() + seconds
    while len(rates) < 3 or clock() < end:
        start = clock()
        work()
        rates.append(documents / (clock() - start) / 1e3)
    low, middle, high = np.quantile(rates, [0.25, 0.5, 0.75])
    return f"{middle:8.1f} +-{(high - low) / 2:5.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--docs", type=int, default=20_000)
    parser.add_argument("--nbytes", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--methods", help="comma-separated (all)")
    parser.add_argument("--cpu", action="store_true", help="count this process's seconds, of all its threads")
    options = parser.parse_args()
    clock = time.process_time if options.cpu else time.perf_counter
    docs = vectors(options.docs, 384, (0, 0))
    docs = SVD(dim=None, centre="auto").fit(docs[:FITTED]).transform_docs(docs)
    makers: dict[str, Callable[[], Case]] = {
        "trellis": lambda: trellis(TrellisCoded(nbytes=options.nbytes).fit(docs[:FITTED])),
        "transform_coding": lambda: transform(
            TransformCode(nbytes=options.nbytes, codebook="joint").fit(docs[:FITTED])
        ),
        "entropy": lambda: Case(EntropyCoded(nbytes=options.nbytes).fit(docs[:FITTED])),
        "e8": lambda: lattice(LatticeCoded(nbytes=options.nbytes, lattice="e8").fit(docs[:FITTED])),
        "leech": lambda: lattice(LatticeCoded(nbytes=options.nbytes, lattice="leech").fit(docs[:FITTED])),
        "saq": lambda: Case(SAQ(nbytes=options.nbytes).fit(docs[:FITTED])),
    }
    print(f"{options.docs} documents, {options.nbytes} bytes, {allowed()} threads; thousands of documents a second")
    print(f"{'codec':18s} {'first':>6s} {'encode':>16s} {'reference':>16s} {'decode':>16s} {'reference':>16s}")
    few = docs[:REFERENCE_ROWS]
    for name in options.methods.split(",") if options.methods else makers:
        case = makers[name]()
        start = clock()
        case.codec._decode(case.codec._encode(few[:64]))
        first = clock() - start
        codes, few_codes = case.codec._encode(docs), case.codec._encode(few)
        line = [f"{name:18s} {first:5.1f}s"]
        line.append(timed(lambda case=case: case.codec._encode(docs), options.seconds, len(docs), clock))
        if case.encode is not None:
            assert np.array_equal(case.encode(few), few_codes.array), f"{name}: other bytes than the reference's"
            line.append(timed(lambda case=case: case.encode(few), options.seconds, len(few), clock))
        else:
            line.append(f"{'':16s}")
        line.append(timed(lambda case=case, codes=codes: case.codec._decode(codes), options.seconds, len(docs), clock))
        if case.decode is not None:
            assert np.array_equal(case.decode(few_codes), case.codec._decode(few_codes)), f"{name}: other numbers"
            line.append(timed(lambda case=case, codes=few_codes: case.decode(codes), options.seconds, len(few), clock))
        print(" ".join(line), flush=True)


if __name__ == "__main__":
    main()
