"""Steps of reading lattice points, for eight dimensions or eight points at once, as vector instructions.

See `methods.vector_instructions`: each step is elementwise, in the order in which it is written, so that results are
NumPy's, bit for bit.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from methods.vector_instructions import Lanes

EIGHT = 8

_INDEX = types.uintp
_WIDE, _BYTE, _SHORT = ir.IntType(64), ir.IntType(8), ir.IntType(32)


def _same(kind: Any, value: float) -> Any:
    """Return a constant vector of one number."""
    return ir.Constant(ir.VectorType(kind, EIGHT), [value] * EIGHT)


def _scaled(builder: Any, values: Any, scales: Any) -> Any:
    """Return whole numbers times float64 scales, rounded to float32."""
    wide = builder.sitofp(values, ir.VectorType(ir.DoubleType(), EIGHT))
    return builder.fptrunc(builder.fmul(wide, scales), ir.VectorType(ir.FloatType(), EIGHT))


@intrinsic  # type: ignore[untyped-decorator]
def eight_bytes(typing: Any, octets: Any, at: Any) -> Any:
    """Return eight bytes of a uint8 array as a number, uint64, the first byte lowest."""
    signature = types.uint64(octets, _INDEX)

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        data = context.make_array(signature.args[0])(context, builder, given[0]).data
        number = builder.load(builder.bitcast(builder.gep(data, [given[1]]), _WIDE.as_pointer()))
        number.align = 1
        return number if sys.byteorder == "little" else builder.bswap(number)

    return signature, emit


@intrinsic  # type: ignore[untyped-decorator]
def move_eight(typing: Any, values: Any, at: Any, deviation: Any, mean: Any, dim: Any, moved: Any, to: Any) -> Any:
    """Write values * deviation + mean of eight dimensions, float32."""
    signature = types.void(values, _INDEX, deviation, mean, _INDEX, moved, _INDEX)

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        lanes = Lanes(context, builder, EIGHT)
        kinds = signature.args
        product = builder.fmul(
            lanes.load(lanes.place(kinds[0], given[0], given[1])), lanes.load(lanes.place(kinds[2], given[2], given[4]))
        )
        total = builder.fadd(product, lanes.load(lanes.place(kinds[3], given[3], given[4])))
        lanes.store(total, lanes.place(kinds[5], given[5], given[6]))
        return context.get_dummy_value()

    return signature, emit


@intrinsic  # type: ignore[untyped-decorator]
def place_eight(
    typing: Any,
    sizes: Any,
    at: Any,
    signs: Any,
    scale: Any,
    deviation: Any,
    mean: Any,
    dim: Any,
    placed: Any,
    to: Any,
) -> Any:
    """Write a point from its sizes, int8, and signs, the first dimension's lowest, times a scale, and moved.

    The same as float32(signed size * scale) * deviation + mean.
    """
    signature = types.void(sizes, _INDEX, types.uint32, types.float64, deviation, mean, _INDEX, placed, _INDEX)

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        lanes = Lanes(context, builder, EIGHT)
        kinds = signature.args
        size = _scaled(builder, lanes.load(lanes.place(kinds[0], given[0], given[1])), lanes.splat(given[3]))
        shorts = ir.VectorType(_SHORT, EIGHT)
        # each sign as the highest bit of its lane
        sign = builder.shl(lanes.splat(given[2]), ir.Constant(shorts, [31 - place for place in range(EIGHT)]))
        sign = builder.and_(sign, _same(_SHORT, 1 << 31))
        signed = builder.bitcast(builder.xor(builder.bitcast(size, shorts), sign), size.type)
        product = builder.fmul(signed, lanes.load(lanes.place(kinds[4], given[4], given[6])))
        total = builder.fadd(product, lanes.load(lanes.place(kinds[5], given[5], given[6])))
        lanes.store(total, lanes.place(kinds[7], given[7], given[8]))
        return context.get_dummy_value()

    return signature, emit


@intrinsic  # type: ignore[untyped-decorator]
def next_symbols(
    typing: Any, ranks: Any, left: Any, kinds: Any, remaining: Any, shift: Any, inverse: Any, symbols: Any, to: Any
) -> Any:
    """Write the symbol at the next place of the orders of multisets that have given ranks, lexicographically.

    Parameters
    ----------
    ranks : uint64 (16,)
        The ranks, and how many orders there are: changed to those of what is left.
    left : uint64 (8 kinds,)
        How often each symbol is left: changed.
    kinds, remaining : int
        Symbols, and places that are left.
    shift, inverse : uint64
        What divides by `remaining` what is known to divide evenly: see `lattice_points.SHIFTS`.
    symbols : int64
    """
    signature = types.void(ranks, left, _INDEX, types.uint64, types.uint64, types.uint64, symbols, _INDEX)

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        lanes = Lanes(context, builder, EIGHT)
        arrays, index = signature.args, given[2].type
        second = ir.Constant(index, EIGHT)
        rank = lanes.load(lanes.place(arrays[0], given[0], ir.Constant(index, 0)))
        orders = lanes.load(lanes.place(arrays[0], given[0], second))
        target = builder.mul(rank, lanes.splat(given[3]))
        zeros = _same(_WIDE, 0)
        # variables that LLVM keeps in registers
        before, below, same, symbol = (cgutils.alloca_once_value(builder, zeros) for _ in range(4))
        with cgutils.for_range(builder, given[2]) as loop:
            count = lanes.load(lanes.place(arrays[1], given[1], builder.mul(loop.index, second)))
            passed = builder.load(before)
            # of the orders, those whose first symbol comes earlier are the share of the places that these have
            reached = builder.icmp_unsigned("<=", builder.mul(orders, passed), target)
            builder.store(builder.select(reached, passed, builder.load(below)), below)
            builder.store(builder.select(reached, count, builder.load(same)), same)
            number = lanes.splat(builder.zext(loop.index, _WIDE) if index.width < 64 else loop.index)
            builder.store(builder.select(reached, number, builder.load(symbol)), symbol)
            builder.store(builder.add(passed, count), before)
        chosen = builder.load(symbol)
        with cgutils.for_range(builder, given[2]) as loop:
            place = builder.mul(loop.index, second)
            number = lanes.splat(builder.zext(loop.index, _WIDE) if index.width < 64 else loop.index)
            used = builder.zext(builder.icmp_unsigned("==", chosen, number), zeros.type)
            count = builder.sub(lanes.load(lanes.place(arrays[1], given[1], place)), used)
            lanes.store(count, lanes.place(arrays[1], given[1], place))
        shift, inverse = lanes.splat(given[4]), lanes.splat(given[5])

        def share(places: Any) -> Any:
            return builder.mul(builder.lshr(builder.mul(orders, places), shift), inverse)

        lanes.store(builder.sub(rank, share(builder.load(below))), lanes.place(arrays[0], given[0], second.type(0)))
        lanes.store(share(builder.load(same)), lanes.place(arrays[0], given[0], second))
        lanes.store(chosen, lanes.place(arrays[6], given[6], given[7]))
        return context.get_dummy_value()

    return signature, emit


@intrinsic  # type: ignore[untyped-decorator]
def sign_freely(
    typing: Any, signs: Any, symbols: Any, at: Any, first: Any, step: Any, follows: Any, scales: Any, signed: Any
) -> Any:
    """Write values first + step * symbol with the next signs, times scales, float32, where the symbols stand.

    Parameters
    ----------
    signs : uint64 (16,)
        Signs that are left, the next one lowest, and how many there were, and odd parities: changed.
    symbols : int64
    at : int
    first, step : int64
    follows : int
        1 where the sign follows from those before it; else 0. Values of 0 have none.
    scales : float64 (8,)
    signed : float32
    """
    signature = types.void(signs, symbols, _INDEX, types.int64, types.int64, types.int64, scales, signed)

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        lanes = Lanes(context, builder, EIGHT)
        arrays, index = signature.args, given[2].type
        second = ir.Constant(index, EIGHT)
        symbol = lanes.load(lanes.place(arrays[1], given[1], given[2]))
        value = builder.add(builder.mul(symbol, lanes.splat(given[4])), lanes.splat(given[3]))
        left = lanes.load(lanes.place(arrays[0], given[0], ir.Constant(index, 0)))
        odd = lanes.load(lanes.place(arrays[0], given[0], second))
        one, zeros = _same(_WIDE, 1), _same(_WIDE, 0)
        follows = lanes.splat(given[5])
        some = builder.zext(builder.icmp_signed(">", value, zeros), one.type)
        free = builder.and_(some, builder.xor(follows, one))
        negative = builder.or_(builder.and_(left, free), builder.and_(builder.and_(odd, one), follows))
        lanes.store(builder.lshr(left, free), lanes.place(arrays[0], given[0], ir.Constant(index, 0)))
        lanes.store(builder.add(odd, negative), lanes.place(arrays[0], given[0], second))
        value = builder.select(builder.icmp_unsigned("==", negative, one), builder.sub(zeros, value), value)
        scale = lanes.load(lanes.place(arrays[6], given[6], ir.Constant(index, 0)))
        lanes.store(_scaled(builder, value, scale), lanes.place(arrays[7], given[7], given[2]))
        return context.get_dummy_value()

    return signature, emit


@intrinsic  # type: ignore[untyped-decorator]
def sign_by_words(typing: Any, words: Any, place: Any, symbols: Any, at: Any, scales: Any, signed: Any) -> Any:
    """Write odd numbers 1 + 2 * symbol with signs such that they are 1 mod 4, or 3 where words have a bit at a place.

    Parameters
    ----------
    words : uint64 (8,)
    place : uint64
    symbols : int64
    at : int
    scales : float64 (8,)
    signed : float32
        Numbers times scales, where the symbols stand.
    """
    signature = types.void(words, types.uint64, symbols, _INDEX, scales, signed)

    def emit(context: Any, builder: Any, signature: Any, given: list[Any]) -> Any:
        lanes = Lanes(context, builder, EIGHT)
        arrays, start = signature.args, ir.Constant(given[3].type, 0)
        one, zeros = _same(_WIDE, 1), _same(_WIDE, 0)
        symbol = lanes.load(lanes.place(arrays[2], given[2], given[3]))
        word = builder.lshr(lanes.load(lanes.place(arrays[0], given[0], start)), lanes.splat(given[1]))
        turned = builder.and_(builder.add(symbol, word), one)
        value = builder.add(builder.shl(symbol, one), one)
        value = builder.select(builder.icmp_unsigned("==", turned, one), builder.sub(zeros, value), value)
        scale = lanes.load(lanes.place(arrays[4], given[4], start))
        lanes.store(_scaled(builder, value, scale), lanes.place(arrays[5], given[5], given[3]))
        return context.get_dummy_value()

    return signature, emit
