"""Steps of Viterbi's algorithm for sixteen documents at once, see `methods.vector_instructions`.

Arrays have `LANES` documents beside one another. Every step is elementwise, in the order in which it is written here:
its results are NumPy's, bit for bit.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from methods.vector_instructions import LANES, Lanes


@intrinsic  # type: ignore[untyped-decorator]
def squared_error(
    typing: Any, values: Any, value_at: Any, level: Any, errors: Any, error_at: Any, numbers: Any, number_at: Any
) -> Any:
    """Write (value - level)^2 as the least error so far, and 0 as its number."""
    index = types.uintp
    signature = types.void(values, index, types.float32, errors, index, numbers, index)

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        lanes, kinds = Lanes(context, builder), signature.args
        gap = builder.fsub(lanes.load(lanes.place(kinds[0], given[0], given[1])), lanes.splat(given[2]))
        lanes.store(builder.fmul(gap, gap), lanes.place(kinds[3], given[3], given[4]))
        zeros = ir.Constant(ir.VectorType(ir.IntType(8), LANES), None)
        lanes.store(zeros, lanes.place(kinds[5], given[5], given[6]))
        return context.get_dummy_value()

    return signature, emit


@intrinsic  # type: ignore[untyped-decorator]
def closer(
    typing: Any,
    values: Any,
    value_at: Any,
    level: Any,
    candidate: Any,
    errors: Any,
    error_at: Any,
    numbers: Any,
    number_at: Any,
) -> Any:
    """Where (value - level)^2 is below the least error so far, write it, and the candidate's number."""
    index = types.uintp
    signature = types.void(values, index, types.float32, types.uint8, errors, index, numbers, index)

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        lanes, kinds = Lanes(context, builder), signature.args
        gap = builder.fsub(lanes.load(lanes.place(kinds[0], given[0], given[1])), lanes.splat(given[2]))
        error = builder.fmul(gap, gap)
        errors, numbers = lanes.place(kinds[4], given[4], given[5]), lanes.place(kinds[6], given[6], given[7])
        before = lanes.load(errors)
        less = builder.fcmp_ordered("<", error, before)
        lanes.store(builder.select(less, error, before), errors)
        lanes.store(builder.select(less, lanes.splat(given[3]), lanes.load(numbers)), numbers)
        return context.get_dummy_value()

    return signature, emit


@intrinsic  # type: ignore[untyped-decorator]
def cheapest(
    typing: Any,
    values: Any,
    value_at: Any,
    levels: Any,
    bits: Any,
    entry: Any,
    count: Any,
    slopes: Any,
    costs: Any,
    cost_at: Any,
    numbers: Any,
    number_at: Any,
) -> Any:
    """Write the least of (value - level)^2 + bits * slope over entries, and the number of the first that has it.

    `levels` and `bits` are looked at from `entry` on; there is one at least.
    """
    index = types.uintp
    signature = types.void(values, index, levels, bits, index, index, slopes, costs, index, numbers, index)

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        lanes, kinds = Lanes(context, builder), signature.args
        value = lanes.load(lanes.place(kinds[0], given[0], given[1]))
        slope = lanes.load(lanes.place(kinds[6], given[6], ir.Constant(given[1].type, 0)))
        level_data = context.make_array(kinds[2])(context, builder, given[2]).data
        bit_data = context.make_array(kinds[3])(context, builder, given[3]).data
        wide = ir.VectorType(ir.IntType(32), LANES)
        # variables that LLVM keeps in registers
        least = cgutils.alloca_once_value(builder, ir.Constant(value.type, [float("inf")] * LANES))
        best = cgutils.alloca_once_value(builder, ir.Constant(wide, None))
        with cgutils.for_range(builder, given[5]) as loop:
            at = builder.add(given[4], loop.index)
            gap = builder.fsub(value, lanes.splat(builder.load(builder.gep(level_data, [at]))))
            price = builder.fmul(lanes.splat(builder.load(builder.gep(bit_data, [at]))), slope)
            cost = builder.fadd(builder.fmul(gap, gap), price)
            before = builder.load(least)
            less = builder.fcmp_ordered("<", cost, before)
            builder.store(builder.select(less, cost, before), least)
            number = lanes.splat(builder.trunc(loop.index, ir.IntType(32)))
            builder.store(builder.select(less, number, builder.load(best)), best)
        lanes.store(builder.load(least), lanes.place(kinds[7], given[7], given[8]))
        short = ir.VectorType(ir.IntType(16), LANES)
        lanes.store(builder.trunc(builder.load(best), short), lanes.place(kinds[9], given[9], given[10]))
        return context.get_dummy_value()

    return signature, emit


@intrinsic  # type: ignore[untyped-decorator]
def butterfly(
    typing: Any,
    metric: Any,
    one: Any,
    other: Any,
    errors: Any,
    from_one: Any,
    from_other: Any,
    second: Any,
    then_one: Any,
    then_other: Any,
    after: Any,
    to: Any,
    survivors: Any,
    state: Any,
) -> Any:
    """Write the better of two branches into a state, and which documents took the second one.

    A branch costs (metric + error) + second error, or metric + error where `second` is None.
    """
    index = types.uintp
    pair = not isinstance(second, types.NoneType)
    signature = types.void(
        metric, index, index, errors, index, index, second, index, index, after, index, survivors, index
    )

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        lanes, kinds = Lanes(context, builder), signature.args
        branches = []
        for start, error, then in zip(given[1:3], given[4:6], given[7:9], strict=True):
            before = lanes.load(lanes.place(kinds[0], given[0], start))
            cost = builder.fadd(before, lanes.load(lanes.place(kinds[3], given[3], error)))
            if pair:
                cost = builder.fadd(cost, lanes.load(lanes.place(kinds[6], given[6], then)))
            branches.append(cost)
        less = builder.fcmp_ordered("<", branches[1], branches[0])
        best = builder.select(less, branches[1], branches[0])
        lanes.store(best, lanes.place(kinds[9], given[9], given[10]))
        lanes.store_bits(less, kinds[11], given[11], given[12])
        return context.get_dummy_value()

    return signature, emit
