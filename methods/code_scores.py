"""Scores of some documents from their codes as they lie, as a walk along a graph asks for them.

Three forms of documents x, each told apart when the loops that score them are compiled:

`Decoded`: float32 rows. Products are summed in float32, in an order that is the same on every machine.

`Levels`: x = point + f (base + step c) + e direction, where c are whole numbers of 1, 2, 4 or 8 bits and f and e are
numbers of the document. The query's entries times their steps are rounded to int16, with one scale a query; products
and sums are then of integers, which are the same in every order.

`Tables`: x = point + f sum_b t_b[c_b] + e direction, where t_b are the 256 centroids of a byte (a product code; Jegou,
Douze and Schmid, 2011), scaled to unit length if `unit` is set. A query has a table of products for each byte
(asymmetric distance computation); lengths are summed from tables too, so that none is kept beside the code.

All are rough: `prepare` says how far off they may be, and whoever ranks by them decodes the few documents that
this leaves open. The reference is the product with what `Codec.doc_matrix` returns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from methods.compiling import compiled
from methods.stored_rows import VALUES, PackedNumbers, Stored, StoredRows
from methods.vector_instructions import LANES, product

Array = NDArray[Any]
Float32 = NDArray[np.float32]

LARGEST = 32767.0
"""The largest weight: an int16."""

MOST = 2.0**31 - 1
"""The largest sum: an int32."""

SCALE, POINT, BASE, ALONG, ERROR = range(5)
"""Places of a query's own numbers in `Prepared.numbers`."""

LEVELS_COST = 0.2
"""Products of whole numbers, side by side, in lookups."""

ROUNDING = 2.0**-23
"""Twice the unit roundoff of float32."""


class Own(NamedTuple):
    """Numbers of documents as they are stored: float32 (n,), or bits of float16, uint16 (n,); the other is empty."""

    whole: Array
    half: Array


class Decoded(NamedTuple):
    """Documents as they are.

    Attributes
    ----------
    numbers : float32 (n d,)
        Row after row.
    width : int
        d.
    longest : float
        A bound on lengths.
    """

    numbers: Array
    width: int
    longest: float


class Rows(NamedTuple):
    """What a score reads of documents.

    Attributes
    ----------
    octets : uint8 (n, b)
    shifts : uint8 (p,)
        Of `Levels`: bits below each of p numbers in a byte.
    mask : int
        Of `Levels`: the largest number.
    factor, extra : Own
        f and e; empty for 1 and 0.
    square : float
        Of `Tables` of unit length, |point|^2; otherwise -1.
    """

    octets: Array
    shifts: Array
    mask: int
    factor: Own
    extra: Own
    square: float


class Levels(NamedTuple):
    """See the module.

    Attributes
    ----------
    rows : Rows
    dims : int64 (p, b)
        The dimension of each byte's number at each of p places in it; -1 for none.
    step, base, point, direction : float32 (d,)
    largest_factor : float
    """

    rows: Rows
    dims: Array
    step: Array
    base: Array
    point: Array
    direction: Array
    largest_factor: float


class Tables(NamedTuple):
    """See the module.

    Attributes
    ----------
    rows : Rows
    starts, dims, columns : as in `methods.stored_rows.ByteTables`
    point, direction : float32 (d,)
    squares : float32 (256 b,), or empty
        For documents of unit length, without f and e: what each byte adds to the squared length, 2 <point, t> + |t|^2.
    longest : float
        A bound on lengths before they are scaled.
    """

    rows: Rows
    starts: Array
    dims: Array
    columns: Array
    point: Array
    direction: Array
    squares: Array
    longest: float


Form = Decoded | Levels | Tables


class Prepared(NamedTuple):
    """A query as a form scores by it.

    Attributes
    ----------
    vector : float32 (d,)
    weights : int16 (p b,)
        Of `Levels`.
    table : float32 (256 b,)
        Of `Tables`; for unit length (512 b,), with each byte's part of the squared length beside each product.
    numbers : float64 (5,)
    """

    vector: Array
    weights: Array
    table: Array
    numbers: Array


@compiled
def _product(left: Array, right: Array) -> float:
    total = 0.0
    for at in range(len(left)):
        total += np.float64(left[at]) * np.float64(right[at])
    return total


@compiled
def own_number(own: Own, row: int) -> float:
    """Return the number of a document."""
    if len(own.whole):
        return np.float64(own.whole[row])
    half = np.uint32(own.half[row])
    # IEEE 754: the exponents of both formats differ by 112, subnormal numbers included
    size = np.uint32((half & np.uint32(0x7FFF)) << np.uint32(13)).view(np.float32) * np.float32(2.0**112)
    return -np.float64(size) if half >> np.uint32(15) else np.float64(size)


@compiled
def _add_own(scores: Array, rows: Array, count: int, stored: Rows, point: float, along: float) -> None:
    """Make of what bytes say, g, the scores point + f g + e along."""
    factor, extra = stored.factor, stored.extra
    if len(factor.whole) or len(factor.half):
        for at in range(count):
            scores[at] *= own_number(factor, rows[at])
    for at in range(count):
        scores[at] += point
    if len(extra.whole) or len(extra.half):
        for at in range(count):
            scores[at] += own_number(extra, rows[at]) * along


@compiled
def _room_decoded(form: Decoded) -> Prepared:
    return Prepared(np.empty(form.width, np.float32), np.empty(0, np.int16), np.empty(0, np.float32), np.zeros(5))


@compiled
def _prepare_decoded(form: Decoded, query: Array, prepared: Prepared) -> None:
    prepared.vector[:] = query
    terms = len(query) // LANES + LANES
    prepared.numbers[ERROR] = ROUNDING * terms * np.sqrt(_product(query, query)) * form.longest


@compiled
def _score_decoded(form: Decoded, prepared: Prepared, rows: Array, count: int, scores: Array) -> None:
    vector, numbers, width = prepared.vector, form.numbers, form.width
    whole = width - width % LANES
    for at in range(count):
        first = rows[at] * width
        total = np.float64(product(vector, 0, numbers, first, width // LANES))
        for dim in range(whole, width):
            total += np.float64(vector[dim]) * np.float64(numbers[first + dim])
        scores[at] = total


@compiled
def _room_levels(form: Levels) -> Prepared:
    d = len(form.point)
    return Prepared(np.empty(d, np.float32), np.empty(form.dims.size, np.int16), np.empty(0, np.float32), np.zeros(5))


@compiled
def _prepare_levels(form: Levels, query: Array, prepared: Prepared) -> None:
    places, width = form.dims.shape
    mask = form.rows.mask
    largest, total = 0.0, 0.0
    for place in range(places):
        for byte in range(width):
            dim = form.dims[place, byte]
            if dim >= 0:
                product = abs(np.float64(query[dim]) * np.float64(form.step[dim]))
                largest = max(largest, product)
                total += product
    count = places * width
    scale = max(largest / LARGEST, total * mask / (MOST - 0.5 * count * mask))
    for place in range(places):
        for byte in range(width):
            dim = form.dims[place, byte]
            weight = 0.0
            if dim >= 0 and scale > 0:
                weight = np.rint(np.float64(query[dim]) * np.float64(form.step[dim]) / scale)
            prepared.weights[place * width + byte] = np.int16(weight)
    numbers = prepared.numbers
    numbers[SCALE] = scale
    numbers[POINT], numbers[BASE] = _product(query, form.point), _product(query, form.base)
    numbers[ALONG] = _product(query, form.direction)
    numbers[ERROR] = form.largest_factor * 0.5 * scale * count * mask
    numbers[ERROR] += ROUNDING * (abs(numbers[POINT]) + form.largest_factor * (total * mask + abs(numbers[BASE])))


@compiled
def _score_levels(stored: Rows, prepared: Prepared, rows: Array, count: int, scores: Array) -> None:
    octets, weights, shifts, numbers = stored.octets, prepared.weights, stored.shifts, prepared.numbers
    width, scale, base = octets.shape[1], numbers[SCALE], numbers[BASE]
    if len(shifts) == 1:
        for at in range(count):
            row, total = rows[at], np.int32(0)
            for byte in range(width):
                total = np.int32(total + np.int32(weights[byte]) * np.int32(octets[row, byte]))
            scores[at] = base + scale * total
    else:
        mask = np.uint8(stored.mask)
        for at in range(count):
            row, total = rows[at], np.int32(0)
            for place in range(len(shifts)):
                shift, first = shifts[place], place * width
                for byte in range(width):
                    number = np.uint8(np.uint8(octets[row, byte] >> shift) & mask)
                    total = np.int32(total + np.int32(weights[first + byte]) * np.int32(number))
            scores[at] = base + scale * total
    _add_own(scores, rows, count, stored, numbers[POINT], numbers[ALONG])


@compiled
def _room_tables(form: Tables) -> Prepared:
    size = form.rows.octets.shape[1] * VALUES + len(form.squares)
    d = len(form.point)
    return Prepared(np.empty(d, np.float32), np.empty(0, np.int16), np.empty(size, np.float32), np.zeros(5))


@compiled
def _prepare_tables(form: Tables, query: Array, prepared: Prepared) -> None:
    line = np.empty(VALUES, np.float32)
    square = 0.0
    for at in range(len(query)):
        square += np.float64(query[at]) ** 2
    for byte in range(form.rows.octets.shape[1]):
        line[:] = np.float32(0)
        for place in range(form.starts[byte], form.starts[byte + 1]):
            value, column = query[form.dims[place]], form.columns[place]
            for number in range(VALUES):
                line[number] += value * column[number]
        first = byte * VALUES
        if len(form.squares):
            for number in range(VALUES):
                prepared.table[2 * (first + number)] = line[number]
                prepared.table[2 * (first + number) + 1] = form.squares[first + number]
        else:
            prepared.table[first : first + VALUES] = line
    numbers = prepared.numbers
    numbers[POINT], numbers[ALONG] = _product(query, form.point), _product(query, form.direction)
    # sums of so many terms, of products as long as that together (Cauchy)
    numbers[ERROR] = ROUNDING * (len(form.dims) + 2) * np.sqrt(square) * (4.0 if len(form.squares) else form.longest)


@compiled
def _score_tables(stored: Rows, prepared: Prepared, rows: Array, count: int, scores: Array) -> None:
    octets, table, numbers = stored.octets, prepared.table, prepared.numbers
    width = octets.shape[1]
    pairs = width - width % 2
    if stored.square >= 0:
        for at in range(count):
            row = rows[at]
            even, odd, squares, odd_squares = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for byte in range(0, pairs, 2):
                place = 2 * (byte * VALUES + np.intp(octets[row, byte]))
                even += table[place]
                squares += table[place + 1]
                place = 2 * ((byte + 1) * VALUES + np.intp(octets[row, byte + 1]))
                odd += table[place]
                odd_squares += table[place + 1]
            if pairs < width:
                place = 2 * (pairs * VALUES + np.intp(octets[row, pairs]))
                even += table[place]
                squares += table[place + 1]
            square = stored.square + np.float64(squares + odd_squares)
            score = numbers[POINT] + np.float64(even + odd)
            scores[at] = score / np.sqrt(square) if square > 0 else score
        return
    for at in range(count):
        row = rows[at]
        even, odd = np.float32(0), np.float32(0)
        for byte in range(0, pairs, 2):
            even += table[byte * VALUES + np.intp(octets[row, byte])]
            odd += table[(byte + 1) * VALUES + np.intp(octets[row, byte + 1])]
        if pairs < width:
            even += table[pairs * VALUES + np.intp(octets[row, pairs])]
        scores[at] = np.float64(even + odd)
    _add_own(scores, rows, count, stored, numbers[POINT], numbers[ALONG])


_LOOPS: dict[type, tuple[Any, Any, Any]] = {
    Decoded: (_room_decoded, _prepare_decoded, _score_decoded),
    Levels: (_room_levels, _prepare_levels, _score_levels),
    Tables: (_room_tables, _prepare_tables, _score_tables),
}


def form_of(stored: StoredRows) -> Levels | Tables:
    """Return the form in which loops score what a codec says of its codes."""
    octets = np.ascontiguousarray(stored.octets)
    factor, extra = own_numbers(stored.factor), own_numbers(stored.extra)
    largest = 1.0 if stored.factor is None else float(np.abs(stored.factor).max())
    width = len(stored.point)
    point = np.ascontiguousarray(stored.point, dtype=np.float32)
    direction = np.zeros(width, np.float32) if stored.direction is None else stored.direction.astype(np.float32)
    # eight products are more than one lookup
    if isinstance(stored.code, PackedNumbers) and stored.code.bits > 1:
        code, each = stored.code, 8 // stored.code.bits
        dims = np.arange(octets.shape[1] * each)
        dims = np.where(dims < len(code.step), dims, -1).reshape(octets.shape[1], each).T
        shifts = np.arange(each, dtype=np.uint8) * np.uint8(code.bits)
        shifts = np.ascontiguousarray(shifts[::-1] if code.last_first else shifts)
        return Levels(
            Rows(octets, shifts, 2**code.bits - 1, factor, extra, -1.0),
            np.ascontiguousarray(dims),
            _filled(code.step, width),
            _filled(code.base, width),
            point,
            direction,
            largest,
        )
    layout = stored.code.tables() if isinstance(stored.code, PackedNumbers) else stored.code
    wide = layout.columns.astype(np.float64)
    ends = layout.starts[:-1]
    lengths = np.add.reduceat(wide**2, ends, axis=0)
    cross = np.add.reduceat(wide * point[layout.dims][:, None].astype(np.float64), ends, axis=0)
    square = float(point.astype(np.float64) @ point)
    reach = float(np.sqrt(lengths.max(axis=1).sum()))
    return Tables(
        Rows(octets, np.empty(0, np.uint8), 0, factor, extra, square if stored.unit else -1.0),
        layout.starts,
        layout.dims,
        layout.columns,
        point,
        direction,
        (lengths + 2 * cross).astype(np.float32).ravel() if stored.unit else np.empty(0, np.float32),
        largest * reach + float(np.sqrt(square)),
    )


def cost(form: Levels | Tables) -> float:
    """Return about what a score takes, in lookups for each dimension of a document."""
    if isinstance(form, Levels):
        return LEVELS_COST
    lookups: int = form.rows.octets.shape[1] * (2 if len(form.squares) else 1)
    return lookups / len(form.point)


def reach(form: Levels | Tables) -> float:
    """Return a bound on the lengths of documents."""
    if form.rows.square >= 0:
        return 1.0
    beside = largest_of(form.rows.extra) * float(np.linalg.norm(form.direction))
    if isinstance(form, Tables):
        return form.longest + beside
    furthest = np.maximum(np.abs(form.base), np.abs(form.base + np.float32(form.rows.mask) * form.step))
    return form.largest_factor * float(np.linalg.norm(furthest)) + float(np.linalg.norm(form.point)) + beside


def largest_of(own: Own) -> float:
    """Return the largest size of documents' numbers; 0 for none."""
    return float(np.abs(own.whole if len(own.whole) else own.half.view(np.float16)).max(initial=0))


def _filled(values: Float32, width: int) -> Float32:
    filled = np.zeros(width, np.float32)
    filled[: len(values)] = values
    return filled


def own_numbers(numbers: Stored | None) -> Own:
    """Return numbers of documents as they are stored."""
    whole, half = np.empty(0, np.float32), np.empty(0, np.uint16)
    if numbers is not None and numbers.dtype == np.float32:
        whole = np.ascontiguousarray(numbers)
    elif numbers is not None:
        half = np.ascontiguousarray(numbers).view(np.uint16)
    return Own(whole, half)


def room(form: Form) -> Prepared:
    """Return room for a query."""
    made: Prepared = _LOOPS[type(form)][0](form)
    return made


def prepare(form: Form, query: Array, prepared: Prepared) -> None:
    """Fill what a query, float32 (d,), is scored by; `numbers[ERROR]` bounds how far off its scores are."""
    _LOOPS[type(form)][1](form, query, prepared)


def score(form: Form, prepared: Prepared, rows: Array, count: int, scores: Array) -> None:
    """Fill the scores, float64, of the first `count` of some rows, int64.

    Many at a time: a call counts the references to each array of a form, which takes as long as a few documents.
    """
    read = form if isinstance(form, Decoded) else form.rows
    _LOOPS[type(form)][2](read, prepared, rows, count, scores)


def _class(form: Any) -> type:
    """Return the class of a named tuple that numba compiles for; one of one array has a type of its own there."""
    found: type = form.instance_class if isinstance(form, types.NamedTuple | types.NamedUniTuple) else type(None)
    return found


# numba wants what it compiles to have the signature of what chooses it, annotations included
@overload(room)  # type: ignore[untyped-decorator]
def _compiled_room(form: Any) -> Any:
    loop: Any = _LOOPS[_class(form)][0]

    def chosen(form: Any) -> Any:
        return loop(form)

    return chosen


@overload(prepare)  # type: ignore[untyped-decorator]
def _compiled_prepare(form: Any, query: Any, prepared: Any) -> Any:
    loop: Any = _LOOPS[_class(form)][1]

    def chosen(form: Any, query: Any, prepared: Any) -> Any:
        return loop(form, query, prepared)

    return chosen


@overload(score)  # type: ignore[untyped-decorator]
def _compiled_score(form: Any, prepared: Any, rows: Any, count: Any, scores: Any) -> Any:
    loop: Any = _LOOPS[_class(form)][2]
    if _class(form) is Decoded:

        def chosen(form: Any, prepared: Any, rows: Any, count: Any, scores: Any) -> Any:
            return loop(form, prepared, rows, count, scores)

    else:

        def chosen(form: Any, prepared: Any, rows: Any, count: Any, scores: Any) -> Any:
            return loop(form.rows, prepared, rows, count, scores)

    return chosen
