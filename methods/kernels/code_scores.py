"""Scores of documents from their codes as they lie, one document at a time, as a walk along a graph asks for them.

Three forms of documents x, each told apart when the loops that score them are compiled:

`Decoded`: float32 rows. The score is the product summed in float64.

`Levels`: x = point + f (base + step c) + e direction, where c are whole numbers of 1, 2, 4 or 8 bits and f and e are
numbers of the document. The query's entries times their steps are rounded to int16, with one scale a query; products
and sums are then of integers, which are the same in every order.

`Tables`: x = point + f sum_b t_b[c_b] + e direction, where t_b are the 256 centroids of a byte (a product code; Jegou,
Douze and Schmid, 2011), scaled to unit length if `unit` is set. A query has a table of products for each byte
(asymmetric distance computation); lengths are summed from tables too, so that none is kept beside the code.

The last two are rough: `prepare` says how far off they may be, and whoever ranks by them decodes the few documents that
this leaves open. The reference is the product with what `Codec.doc_matrix` returns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from methods.compiling import compiled
from methods.kernels.product_codes import VALUES
from methods.selection import dot

Array = NDArray[Any]

LARGEST = 32767.0
"""The largest weight: an int16."""

MOST = 2.0**31 - 1
"""The largest sum: an int32."""

SCALE, POINT, BASE, ALONG, ERROR = range(5)
"""Places of a query's own numbers in `Prepared.numbers`."""

ROUNDING = 2.0**-23
"""Twice the unit roundoff of float32."""


class Own(NamedTuple):
    """Numbers of documents, as they are stored: float32 (n,), or the bits of float16, uint16 (n,); the other is empty.

    `halves`, float32 (65536,), is what each float16 stands for, if there are any.
    """

    whole: Array
    half: Array
    halves: Array


class Decoded(NamedTuple):
    """Documents, float32 (n, d)."""

    docs: Array


class Levels(NamedTuple):
    """See the module.

    Attributes
    ----------
    octets : uint8 (n, b)
    dims : int64 (p, b)
        The dimension of each byte's number at each of p places in it; -1 for none.
    shifts : uint8 (p,)
        Bits below each place.
    mask : int
        The largest number.
    step, base, point, direction : float32 (d,)
    factor, extra : Own
        f and e; empty for 1 and 0.
    largest_factor : float
    """

    octets: Array
    dims: Array
    shifts: Array
    mask: int
    step: Array
    base: Array
    point: Array
    direction: Array
    factor: Own
    extra: Own
    largest_factor: float


class Tables(NamedTuple):
    """See the module.

    Attributes
    ----------
    octets : uint8 (n, b)
    starts, dims, columns : as in `methods.kernels.product_codes.Layout`
    point, direction : float32 (d,)
    factor, extra : Own
    squares : float32 (256 b,)
        What each byte adds to the squared length, 2 <point, t> + |t|^2; only asked for if `unit`.
    square : float
        |point|^2.
    unit : bool
        Only without f and e.
    longest : float
        A bound on lengths before they are scaled.
    """

    octets: Array
    starts: Array
    dims: Array
    columns: Array
    point: Array
    direction: Array
    factor: Own
    extra: Own
    squares: Array
    square: float
    unit: bool
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
        Of `Tables`; of (512 b,) with each byte's part of the squared length beside each product.
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
def own_number(own: Own, row: int, default: float) -> float:
    """Return a document's number, or the default where none is stored."""
    if len(own.whole):
        return np.float64(own.whole[row])
    if len(own.half):
        return np.float64(own.halves[own.half[row]])
    return default


@compiled
def _room_decoded(form: Decoded) -> Prepared:
    d = form.docs.shape[1]
    return Prepared(np.empty(d, np.float32), np.empty(0, np.int16), np.empty(0, np.float32), np.zeros(5))


@compiled
def _prepare_decoded(form: Decoded, query: Array, prepared: Prepared) -> None:
    prepared.vector[:] = query


@compiled
def _score_decoded(form: Decoded, prepared: Prepared, row: int) -> float:
    return dot(prepared.vector, form.docs[row])


@compiled
def _room_levels(form: Levels) -> Prepared:
    d = len(form.point)
    return Prepared(np.empty(d, np.float32), np.empty(form.dims.size, np.int16), np.empty(0, np.float32), np.zeros(5))


@compiled
def _prepare_levels(form: Levels, query: Array, prepared: Prepared) -> None:
    places, width = form.dims.shape
    largest, total = 0.0, 0.0
    for place in range(places):
        for byte in range(width):
            dim = form.dims[place, byte]
            if dim >= 0:
                product = abs(np.float64(query[dim]) * np.float64(form.step[dim]))
                largest = max(largest, product)
                total += product
    count = places * width
    scale = max(largest / LARGEST, total * form.mask / (MOST - 0.5 * count * form.mask))
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
    numbers[ERROR] = form.largest_factor * 0.5 * scale * count * form.mask
    numbers[ERROR] += ROUNDING * (abs(numbers[POINT]) + form.largest_factor * (total * form.mask + abs(numbers[BASE])))


@compiled
def _score_levels(form: Levels, prepared: Prepared, row: int) -> float:
    line, weights = form.octets[row], prepared.weights
    total = np.int32(0)
    if len(form.shifts) == 1:
        for byte in range(len(line)):
            total = np.int32(total + np.int32(weights[byte]) * np.int32(line[byte]))
    else:
        width, mask = len(line), np.uint8(form.mask)
        for place in range(len(form.shifts)):
            part, shift = weights[place * width : (place + 1) * width], form.shifts[place]
            for byte in range(width):
                number = np.uint8(np.uint8(line[byte] >> shift) & mask)
                total = np.int32(total + np.int32(part[byte]) * np.int32(number))
    numbers = prepared.numbers
    score = numbers[BASE] + numbers[SCALE] * total
    score = numbers[POINT] + own_number(form.factor, row, 1.0) * score
    return score + own_number(form.extra, row, 0.0) * numbers[ALONG]


@compiled
def _room_tables(form: Tables) -> Prepared:
    size = form.octets.shape[1] * VALUES * (2 if form.unit else 1)
    d = len(form.point)
    return Prepared(np.empty(d, np.float32), np.empty(0, np.int16), np.empty(size, np.float32), np.zeros(5))


@compiled
def _prepare_tables(form: Tables, query: Array, prepared: Prepared) -> None:
    line = np.empty(VALUES, np.float32)
    square = 0.0
    for at in range(len(query)):
        square += np.float64(query[at]) ** 2
    for byte in range(form.octets.shape[1]):
        line[:] = np.float32(0)
        for place in range(form.starts[byte], form.starts[byte + 1]):
            value, column = query[form.dims[place]], form.columns[place]
            for number in range(VALUES):
                line[number] += value * column[number]
        first = byte * VALUES
        if form.unit:
            for number in range(VALUES):
                prepared.table[2 * (first + number)] = line[number]
                prepared.table[2 * (first + number) + 1] = form.squares[first + number]
        else:
            prepared.table[first : first + VALUES] = line
    numbers = prepared.numbers
    numbers[POINT], numbers[ALONG] = _product(query, form.point), _product(query, form.direction)
    # sums of so many terms, of products as long as that together (Cauchy)
    numbers[ERROR] = ROUNDING * (len(form.dims) + 2) * np.sqrt(square) * (4.0 if form.unit else form.longest)


@compiled
def _score_tables(form: Tables, prepared: Prepared, row: int) -> float:
    line, table, numbers = form.octets[row], prepared.table, prepared.numbers
    width = len(line)
    even, odd = np.float32(0), np.float32(0)
    if form.unit:
        squares, odd_squares = np.float32(0), np.float32(0)
        for byte in range(0, width - 1, 2):
            at = 2 * (byte * VALUES + np.intp(line[byte]))
            even += table[at]
            squares += table[at + 1]
            at = 2 * ((byte + 1) * VALUES + np.intp(line[byte + 1]))
            odd += table[at]
            odd_squares += table[at + 1]
        if width % 2:
            at = 2 * ((width - 1) * VALUES + np.intp(line[width - 1]))
            even += table[at]
            squares += table[at + 1]
        square = form.square + np.float64(squares + odd_squares)
        score = numbers[POINT] + np.float64(even + odd)
        return score / np.sqrt(square) if square > 0 else score
    for byte in range(0, width - 1, 2):
        even += table[byte * VALUES + np.intp(line[byte])]
        odd += table[(byte + 1) * VALUES + np.intp(line[byte + 1])]
    if width % 2:
        even += table[(width - 1) * VALUES + np.intp(line[width - 1])]
    score = numbers[POINT] + own_number(form.factor, row, 1.0) * np.float64(even + odd)
    return score + own_number(form.extra, row, 0.0) * numbers[ALONG]


_LOOPS = {
    Decoded: (_room_decoded, _prepare_decoded, _score_decoded),
    Levels: (_room_levels, _prepare_levels, _score_levels),
    Tables: (_room_tables, _prepare_tables, _score_tables),
}


def room(form: Form) -> Prepared:
    """Return room for a query."""
    return _LOOPS[type(form)][0](form)  # type: ignore[operator]


def prepare(form: Form, query: Array, prepared: Prepared) -> None:
    """Fill what a query, float32 (d,), is scored by; `numbers[ERROR]` bounds how far off its scores are."""
    _LOOPS[type(form)][1](form, query, prepared)  # type: ignore[operator]


def score(form: Form, prepared: Prepared, row: int) -> float:
    """Return a document's score."""
    return _LOOPS[type(form)][2](form, prepared, row)  # type: ignore[operator]


def _class(form: Any) -> type:
    found: type = form.instance_class if isinstance(form, types.NamedTuple) else type(None)
    return found


# numba wants what it compiles to have the signature of what chooses it, annotations included
@overload(room)
def _compiled_room(form: Any) -> Any:
    loop: Any = _LOOPS[_class(form)][0]

    def chosen(form: Any) -> Any:
        return loop(form)

    return chosen


@overload(prepare)
def _compiled_prepare(form: Any, query: Any, prepared: Any) -> Any:
    loop: Any = _LOOPS[_class(form)][1]

    def chosen(form: Any, query: Any, prepared: Any) -> Any:
        return loop(form, query, prepared)

    return chosen


@overload(score)
def _compiled_score(form: Any, prepared: Any, row: Any) -> Any:
    loop: Any = _LOOPS[_class(form)][2]

    def chosen(form: Any, prepared: Any, row: Any) -> Any:
        return loop(form, prepared, row)

    return chosen
