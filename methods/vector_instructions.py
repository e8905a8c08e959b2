"""A few steps that numba's loops are not turned into vector instructions for, written in LLVM's language.

It is the same for all processors. Arrays are flat; indices count numbers. Every step is done in the order in which it
is written here: its results are NumPy's, bit for bit.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16

DOUBLES = 32
"""Partial sums of `wide_product`."""

STRIDE = 64
"""Numbers that `any_reaches` looks at."""


class Lanes:
    """Writes instructions over vectors of so many numbers, side by side.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    context : numba's target context
    count : int
        Numbers of a vector.
    """

    def __init__(self, context: Any, builder: Any, count: int = LANES) -> None:
        self.context, self.builder, self.count = context, builder, count

    def place(self, kind: Any, array: Any, index: Any) -> Any:
        """Return a pointer to the vector that begins at an index of an array of a numba type."""
        data = self.context.make_array(kind)(self.context, self.builder, array).data
        start = self.builder.gep(data, [index])
        return self.builder.bitcast(start, ir.VectorType(start.type.pointee, self.count).as_pointer())

    def load(self, place: Any) -> Any:
        """Return the vector at a pointer."""
        loaded = self.builder.load(place)
        loaded.align = 1
        return loaded

    def store(self, vector: Any, place: Any) -> None:
        """Write a vector."""
        self.builder.store(vector, place).align = 1

    def splat(self, value: Any) -> Any:
        """Return a vector of one number."""
        vector = ir.VectorType(value.type, self.count)
        first = self.builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.count), None)
        return self.builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)

    def store_bits(self, flags: Any, kind: Any, array: Any, index: Any) -> None:
        """Write flags of all lanes as the bits of an entry of a uint16 array, the first lane's lowest."""
        data = self.context.make_array(kind)(self.context, self.builder, array).data
        self.builder.store(self.builder.bitcast(flags, ir.IntType(self.count)), self.builder.gep(data, [index]))


@intrinsic  # type: ignore[untyped-decorator]
def product(typing: Any, left: Any, left_at: Any, right: Any, right_at: Any, count: Any) -> Any:
    """Return the product, float32, of `count` times `LANES` numbers of two arrays.

    Numbers that are `LANES` apart are summed, one after the other, and then halves of the sums, again and again.
    """
    index = types.uintp
    signature = types.float32(left, index, right, index, index)

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        lanes, kinds = Lanes(context, builder), signature.args
        zeros = ir.Constant(ir.VectorType(ir.FloatType(), LANES), None)
        # a variable that LLVM keeps in a register
        total = cgutils.alloca_once_value(builder, zeros)
        with cgutils.for_range(builder, given[4]) as loop:
            at = builder.mul(loop.index, ir.Constant(given[4].type, LANES))
            one = lanes.load(lanes.place(kinds[0], given[0], builder.add(given[1], at)))
            other = lanes.load(lanes.place(kinds[2], given[2], builder.add(given[3], at)))
            builder.store(builder.fadd(builder.load(total), builder.fmul(one, other)), total)
        found = builder.load(total)
        sums = [builder.extract_element(found, ir.Constant(ir.IntType(32), lane)) for lane in range(LANES)]
        while len(sums) > 1:
            half = len(sums) // 2
            sums = [builder.fadd(low, high) for low, high in zip(sums[:half], sums[half:], strict=True)]
        return sums[0]

    return signature, emit


@intrinsic  # type: ignore[untyped-decorator]
def any_reaches(typing: Any, values: Any, at: Any, limit: Any) -> Any:
    """Return whether one of `STRIDE` float32 numbers, from an index on, is at least a limit."""
    signature = types.boolean(values, types.uintp, types.float32)

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        lanes = Lanes(context, builder, STRIDE)
        run = lanes.load(lanes.place(signature.args[0], given[0], given[1]))
        reached = builder.bitcast(builder.fcmp_ordered(">=", run, lanes.splat(given[2])), ir.IntType(STRIDE))
        return builder.icmp_unsigned("!=", reached, reached.type(0))

    return signature, emit


@intrinsic  # type: ignore[untyped-decorator]
def wide_product(typing: Any, left: Any, right: Any, count: Any) -> Any:
    """Return the product, float64, of the first `count` times `DOUBLES` float32 numbers of two arrays.

    Numbers that are `DOUBLES` apart are summed, and then these sums, one after the other.
    """
    signature = types.float64(left, right, types.uintp)

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        lanes, kinds = Lanes(context, builder, DOUBLES), signature.args
        wide = ir.VectorType(ir.DoubleType(), DOUBLES)
        total = cgutils.alloca_once_value(builder, ir.Constant(wide, None))
        with cgutils.for_range(builder, given[2]) as loop:
            at = builder.mul(loop.index, loop.index.type(DOUBLES))
            one, other = (
                builder.fpext(lanes.load(lanes.place(kind, array, at)), wide)
                for kind, array in zip(kinds[:2], given[:2], strict=True)
            )
            builder.store(builder.fadd(builder.load(total), builder.fmul(one, other)), total)
        found, result = builder.load(total), ir.Constant(ir.DoubleType(), 0.0)
        for lane in range(DOUBLES):
            result = builder.fadd(result, builder.extract_element(found, ir.Constant(ir.IntType(32), lane)))
        return result

    return signature, emit
