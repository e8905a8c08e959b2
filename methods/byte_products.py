"""Rough scores of many queries from bytes: sums of products of whole numbers, four to a lane of one instruction (VNNI).

With a centre u, a document is x = u + y and a query is q = a u + r. Then q x = q u + a (u y) + r y, where y is nearly
step (c - 128), with a step of its own and whole numbers c of 1 to 255, and r is nearly scale b, with whole numbers b of
-127 to 127. A rough score has scale step (b (c - 128)) in place of r y, and what rounding y may have taken from that is
added: at most |r| times the length of what y lost. Sums of whole numbers are the same in every order; the reference
is NumPy's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from methods.compiling import compiled, loose
from methods.selection import enter
from methods.vector_instructions import LANES, Lanes

Array = NDArray[Any]

FOUR = 4
"""Products that an instruction adds to a lane."""

DOCS, QUERIES = 3 * LANES, 8
"""Documents and queries of a tile, whose sums are held in registers."""

ENTERED = 3 * QUERIES
"""Queries whose scores with a block of documents are held at a time: as many as stay in a core's cache."""

MIDDLE, MOST = 128, 127
"""What a document's number 0 is written as, and the largest size of a number."""

WIDEST = 1 << 16
"""Dimensions of which no sum leaves an int32."""

TINY = 1e-30
"""Steps below which documents are left at the centre."""

SCALE, BASE, ALONG, LENGTH = range(4)
"""Places of a query's own numbers: scale, q u, a, and |r|."""

STEP, CENTRE, LOST = range(3)
"""Rows of documents' own numbers: step, u y, and a bound on the length of what y lost."""

INSTRUCTION = "llvm.x86.avx512.vpdpbusd.512"
"""LLVM's name of it: unsigned bytes times signed ones."""


def supported() -> bool:
    """Return whether the processor that numba compiles for has the instruction."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return "+avx512vnni" in str(features)


@intrinsic  # type: ignore[untyped-decorator]
def _fill_tile(
    typing: Any,
    docs: Any,
    doc_at: Any,
    queries: Any,
    query_at: Any,
    groups: Any,
    own: Any,
    own_at: Any,
    shifts: Any,
    numbers: Any,
    query: Any,
    scores: Any,
    score_at: Any,
    width: Any,
) -> Any:
    """Write the scores of `DOCS` documents and `QUERIES` queries.

    `docs` holds `groups` times four numbers of each document, and `queries` rows of as many, both as int32.
    """
    index = types.uintp
    signature = types.void(docs, index, queries, index, index, own, index, shifts, numbers, index, scores, index, index)

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        lanes, kinds = Lanes(context, builder, LANES), signature.args
        whole = ir.VectorType(ir.IntType(32), LANES)
        multiply = cgutils.get_or_insert_function(builder.module, ir.FunctionType(whole, [whole] * 3), INSTRUCTION)
        constant = given[1].type
        asked = context.make_array(kinds[2])(context, builder, given[2]).data
        runs = range(DOCS // LANES)
        # variables that LLVM keeps in registers
        sums = [[cgutils.alloca_once_value(builder, ir.Constant(whole, None)) for _ in runs] for _ in range(QUERIES)]
        with cgutils.for_range(builder, given[4]) as loop:
            start = builder.add(given[1], builder.mul(loop.index, constant(DOCS)))
            columns = [
                lanes.load(lanes.place(kinds[0], given[0], builder.add(start, constant(run * LANES)))) for run in runs
            ]
            for number, line in enumerate(sums):
                row = builder.add(given[3], builder.mul(given[4], constant(number)))
                entry = lanes.splat(builder.load(builder.gep(asked, [builder.add(row, loop.index)])))
                for total, column in zip(line, columns, strict=True):
                    builder.store(builder.call(multiply, [builder.load(total), column, entry]), total)
        shift_data = context.make_array(kinds[7])(context, builder, given[7]).data
        number_data = context.make_array(kinds[8])(context, builder, given[8]).data
        decimal = ir.VectorType(ir.FloatType(), LANES)
        rows = [builder.add(given[6], builder.mul(given[12], constant(row))) for row in (STEP, CENTRE, LOST)]
        of_docs = [
            [lanes.load(lanes.place(kinds[5], given[5], builder.add(row, constant(run * LANES)))) for row in rows]
            for run in runs
        ]
        for number, line in enumerate(sums):
            at = builder.add(given[9], constant(number))
            shift = lanes.splat(builder.load(builder.gep(shift_data, [at])))
            first = builder.mul(at, constant(4))
            scale, base, along, length = (
                lanes.splat(builder.load(builder.gep(number_data, [builder.add(first, constant(place))])))
                for place in (SCALE, BASE, ALONG, LENGTH)
            )
            to = builder.add(given[11], builder.mul(given[12], constant(number)))
            for run, (total, (step, centre, lost)) in enumerate(zip(line, of_docs, strict=True)):
                value = builder.sitofp(builder.sub(builder.load(total), shift), decimal)
                score = builder.fadd(builder.fmul(builder.fmul(value, step), scale), base)
                beside = builder.fadd(builder.fmul(centre, along), builder.fmul(lost, length))
                score = builder.fadd(score, beside)
                lanes.store(score, lanes.place(kinds[10], given[10], builder.add(to, constant(run * LANES))))
        return context.get_dummy_value()

    return signature, emit


@loose
def to_bytes(docs: Array, centre: Array, start: int, stop: int, laid: Array, own: Array) -> tuple[float, float]:
    """Write documents from `start`, a multiple of `DOCS`, to `stop` as bytes, as tiles read them.

    Parameters
    ----------
    docs : float32 (n, d)
        Of which the first len(centre) dimensions are written.
    centre : float32 (w,)
    start, stop : int
    laid : int32 (n' w' / 4,)
        For n' and w' the next multiples of `DOCS` and of four.
    own : float32 (3, n')
        `STEP`, `CENTRE` and `LOST`.

    Returns
    -------
    longest, lost : float
        Bounds on the lengths of documents less the centre, and of what rounding takes from these.
    """
    width = len(centre)
    groups = (width + FOUR - 1) // FOUR
    about = np.empty(width, np.float32)
    numbers = np.full(groups * FOUR, np.uint8(MIDDLE))
    bits, quads = about.view(np.int32), numbers.view(np.int32)
    longest, most = np.float32(0), np.float32(0)
    # sums of so many squares, and differences that are rounded
    slack = np.float32(1.0 + (width + 16) * 2.0**-22)
    for row in range(start, stop):
        doc = docs[row]
        for dim in range(width):
            about[dim] = doc[dim] - centre[dim]
        # without their signs, the bits of larger numbers are larger; whole numbers are compared side by side
        largest = np.int32(0)
        for dim in range(width):
            size = np.int32(bits[dim] & np.int32(0x7FFFFFFF))
            largest = np.int32(size if size > largest else largest)
        step = np.int32(largest).view(np.float32) / np.float32(MOST)
        # the inverse of a smaller one is no float32; all that is rounded away then counts as lost
        inverse = np.float32(1) / step if step > np.float32(TINY) else np.float32(0)
        square, error, product = np.float32(0), np.float32(0), np.float32(0)
        for dim in range(width):
            number = np.rint(about[dim] * inverse)
            numbers[dim] = np.uint8(np.int32(number) + np.int32(MIDDLE))
            rest = about[dim] - step * number
            square += about[dim] * about[dim]
            error += rest * rest
            product += about[dim] * centre[dim]
        length = np.sqrt(square) * slack
        lost = np.sqrt(error) * slack + length * np.float32(2.0**-22)
        longest, most = max(longest, length), max(most, lost)
        own[STEP, row], own[CENTRE, row], own[LOST, row] = step, product, lost
        at = row // DOCS * groups * DOCS + row % DOCS
        for group in range(groups):
            laid[at + group * DOCS] = quads[group]
    return np.float64(longest), np.float64(most)


@compiled
def score_tiles(
    laid: Array, own: Array, codes: Array, shifts: Array, numbers: Array, start: int, stop: int, scores: Array
) -> None:
    """Fill the scores float32 (`ENTERED`, n') of the queries from `start` to `stop`, `ENTERED` at most.

    Parameters
    ----------
    laid, own : as `to_bytes` writes them
    codes : int32 (m', w' / 4)
        Of queries, four numbers to an entry; m' is m + `QUERIES`, so that tiles may read on.
    shifts : int32 (m',)
        `MIDDLE` times the sum of each query's numbers.
    numbers : float32 (m', 4)
        `SCALE`, `BASE`, `ALONG` and `LENGTH`.
    start, stop : int
    scores : float32 (`ENTERED`, n')
    """
    groups, padded = codes.shape[1], own.shape[1]
    asked, of_queries = codes.reshape(codes.size), numbers.reshape(numbers.size)
    of_docs, flat = own.reshape(own.size), scores.reshape(scores.size)
    for doc in range(0, padded, DOCS):
        for query in range(start, stop, QUERIES):
            to = (query - start) * padded + doc
            _fill_tile(
                laid,
                doc * groups,
                asked,
                query * groups,
                groups,
                of_docs,
                doc,
                shifts,
                of_queries,
                query,
                flat,
                to,
                padded,
            )


@compiled
def enter_by_bytes(
    queries: Array,
    docs: Array,
    laid: Array,
    own: Array,
    codes: Array,
    shifts: Array,
    numbers: Array,
    above: Array,
    below: Array,
    start: int,
    stop: int,
    first: int,
    scores: Array,
    rows: Array,
) -> int:
    """Let documents enter the heaps of the queries from `start` to `stop`; return how many pairs were looked at.

    See `score_tiles` and `methods.selection.enter`.
    """
    rough = np.empty((ENTERED, own.shape[1]), np.float32)
    entered = 0
    for begin in range(start, stop, ENTERED):
        end = min(stop, begin + ENTERED)
        score_tiles(laid, own, codes, shifts, numbers, begin, end, rough)
        entered += enter(
            queries[begin:end],
            docs,
            rough,
            above[begin:end],
            below[begin:end],
            first,
            scores[begin:end],
            rows[begin:end],
        )
    return entered
