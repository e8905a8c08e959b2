"""Products of vectors as 16-bit fixed-point numbers: twice as fast as those of float32, and the same on any machine.

A vector is scaled so that its largest possible length is `LONGEST`, and each number rounded. Products of two such
vectors are below 2^31 by Cauchy and Schwarz, whatever part of the dimensions is summed, so that sums of 32 bits are
exact: the order in which they are added, blocks and threads change nothing.

Two neighbouring dimensions are a *pair* and lie in one int32 (an odd last one is paired with zero), since processors
multiply and add pairs in one instruction. LLVM makes it out of the loop below, whose form is for 16 registers of eight
int32 (AVX2); it is right everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from methods.compiling import compiled

Array = NDArray[Any]
Int32 = NDArray[np.int32]

LONGEST = 32767
"""The length that the longest vector is scaled to."""

ROWS, COLUMNS, LANES = 6, 16, 8
"""A tile is the products of so many rows and columns; a register has so many columns."""

ROW_BLOCK = 240
"""Rows that are compared with a panel of columns while it is in the first cache: they fit the second."""

LEAST = -(1 << 31)


def relative_error(d: int) -> float:
    """Return the bound on the error of a product of two vectors of d dimensions, relative to the longest lengths."""
    # each number of either is off by half a step: |q||dx| + |x||dq| + |dq||dx|, with |dx| <= sqrt(d) / 2 steps
    off = np.sqrt(d) / 2 / LONGEST
    return float(2 * off + off * off)


def scales_of(longest: Array) -> NDArray[np.float64]:
    """Return what takes vectors that are no longer than this to fixed point; 0 for those of length 0."""
    return np.divide(LONGEST, longest, out=np.zeros(len(longest)), where=longest > 0)


def steps_of(scales: Array) -> NDArray[np.float64]:
    """Return what 1 stands for in fixed point."""
    return np.divide(1.0, scales, out=np.zeros(len(scales)), where=scales > 0)


@compiled
def fixed_rows(vectors: Array, scales: Array, fixed: Array) -> None:
    """Fill `fixed` int16 (n, 2 pairs) with vectors (n, d) times their scale, rounded to the nearest."""
    for row in range(len(vectors)):
        for column in range(vectors.shape[1]):
            value = np.rint(np.float64(vectors[row, column]) * scales[row])
            fixed[row, column] = np.int16(min(max(value, -32767.0), 32767.0))
        for column in range(vectors.shape[1], fixed.shape[1]):
            fixed[row, column] = 0


def fixed_point(vectors: Array, scales: Array) -> Int32:
    """Return vectors (n, d) times their scale, float64 (n,), as pairs of 16-bit numbers, int32 (n, ceil(d / 2))."""
    fixed = np.empty((len(vectors), -(-vectors.shape[1] // 2) * 2), np.int16)
    fixed_rows(vectors, scales, fixed)
    return fixed.view(np.int32)


def panels_of(fixed: Int32) -> Int32:
    """Return vectors of `fixed_point`, int32 (m, pairs), as panels of columns, int32 (ceil(m / 16), pairs, 16)."""
    m, pairs = fixed.shape
    padded = np.zeros((-(-m // COLUMNS) * COLUMNS, pairs), np.int32)
    padded[:m] = fixed
    return np.ascontiguousarray(padded.reshape(-1, COLUMNS, pairs).transpose(0, 2, 1))


@intrinsic  # type: ignore[untyped-decorator]
def _raise(
    _context: Any, rows: Any, row: Any, last: Any, start: Any, panels: Any, panel: Any, best: Any, place: Any
) -> Any:
    """Let the 16 columns of a panel see rows `row` to `row + 5`, none beyond `last`; see `largest_of_runs`."""
    signature = types.void(rows, types.int64, types.int64, start, panels, types.int64, best, place)
    word, index = ir.IntType(32), ir.IntType(64)
    register = ir.VectorType(word, LANES)
    halves, wide = ir.VectorType(ir.IntType(16), 2 * LANES), ir.VectorType(word, 2 * LANES)
    parts = range(COLUMNS // LANES)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args, arguments, strict=True)
            if isinstance(kind, types.Array)
        ]
        rows, start, panels, best, place = arrays
        first_row, last_row, panel = arguments[1], arguments[2], arguments[5]
        pairs = builder.extract_value(rows.shape, 1)

        def constant(number: int) -> ir.Constant:
            return ir.Constant(index, number)

        def lanes(numbers: Any) -> ir.Constant:
            return ir.Constant(register, list(numbers))

        def spread(number: Any) -> Any:
            one = builder.insert_element(ir.Constant(register, ir.Undefined), number, ir.Constant(word, 0))
            return builder.shuffle_vector(one, one, lanes([0] * LANES))

        def address(base: Any, at: Any) -> Any:
            return builder.bitcast(builder.gep(base, [at]), register.as_pointer())

        numbers, row_starts, begins = [], [], []
        for ahead in range(ROWS):
            own = builder.add(first_row, constant(ahead))
            own = builder.select(builder.icmp_signed("<", own, last_row), own, last_row)
            row_starts.append(builder.gep(rows.data, [builder.mul(own, pairs)]))
            begins.append(spread(builder.load(builder.gep(start.data, [own]))))
            numbers.append(spread(builder.trunc(own, word)))
        columns = builder.mul(panel, constant(COLUMNS))
        panel_start = builder.gep(panels.data, [builder.mul(columns, pairs)])
        before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        pair = builder.phi(index)
        pair.add_incoming(constant(0), before)
        sums = [[builder.phi(register) for _ in parts] for _ in range(ROWS)]
        across = builder.mul(pair, constant(COLUMNS))
        right = []
        for part in parts:
            own = builder.load(address(panel_start, builder.add(across, constant(LANES * part))), align=4)
            right.append(builder.sext(builder.bitcast(own, halves), wide))
        totals: list[list[Any]] = []
        for row_start, own_sums in zip(row_starts, sums, strict=True):
            left = builder.sext(builder.bitcast(spread(builder.load(builder.gep(row_start, [pair]))), halves), wide)
            totals.append([])
            for part in parts:
                # this form, and no other, becomes one instruction (vpmaddwd)
                product = builder.mul(left, right[part])
                even = builder.shuffle_vector(product, product, lanes(range(0, 2 * LANES, 2)))
                odd = builder.shuffle_vector(product, product, lanes(range(1, 2 * LANES, 2)))
                totals[-1].append(builder.add(own_sums[part], builder.add(even, odd)))
        following = builder.add(pair, constant(1))
        pair.add_incoming(following, loop)
        for own_sums, own_totals, begin in zip(sums, totals, begins, strict=True):
            for total_before, total in zip(own_sums, own_totals, strict=True):
                total_before.add_incoming(begin, before)
                total_before.add_incoming(total, loop)
        builder.cbranch(builder.icmp_signed("<", following, pairs), loop, after)
        builder.position_at_end(after)
        for part in parts:
            at = builder.add(columns, constant(LANES * part))
            best_at, place_at = address(best.data, at), address(place.data, at)
            top, where = builder.load(best_at, align=4), builder.load(place_at, align=4)
            for own_totals, number in zip(totals, numbers, strict=True):
                larger = builder.icmp_signed(">", own_totals[part], top)
                top = builder.select(larger, own_totals[part], top)
                where = builder.select(larger, number, where)
            builder.store(top, best_at, align=4)
            builder.store(where, place_at, align=4)
        return context.get_dummy_value()

    return signature, generate


@compiled
def largest_of_runs(rows: Int32, offsets: Array, start: Int32, panels: Int32, best: Int32, place: Int32) -> None:
    """Find, for each column and run of rows, the largest product and the first row that has it.

    Parameters
    ----------
    rows : int32 (n, pairs)
    offsets : int64 (runs + 1,)
        A run without rows gets the least number and row 0.
    start : int32 (n,)
        What is added to the products of each row.
    panels : int32 (p, pairs, 16)
    best, place : int32 (runs, 16 p)
        Filled: the largest products, and the numbers of their rows.
    """
    for run in range(len(offsets) - 1):
        best[run] = LEAST
        place[run] = 0
        for first in range(offsets[run], offsets[run + 1], ROW_BLOCK):
            last = min(offsets[run + 1], first + ROW_BLOCK) - 1
            for panel in range(len(panels)):
                for row in range(first, last + 1, ROWS):
                    _raise(rows, row, last, start, panels, panel, best[run], place[run])
