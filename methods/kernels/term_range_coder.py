"""Range coding of sets of terms, each with a probability of its own, and of a symbol for each (Martin, 1979).

Whether a document has a term is taken for a coin of its own with probability p. Tossing all V coins would take V steps;
here a step goes from one term of the document to the next. Let H be the running sum of -log2(1 - p) over terms: after
term s, the next one lies beyond t with the probability 2^-(H[t] - H[s]), and what is left at the last term is that of
"no more". So no count is written, and the cost of a set is that of its coins.

Everything that decides a decoded id is an integer: H in 2^-32 bits, powers of 2 from a table that is made of exact
arithmetic. The same bytes give the same ids on every machine. Trailing zero bytes are not written.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.compiling import guarded

Array = NDArray[Any]
Strings = tuple[Array, Array]
Rows = tuple[Array, Array, Array]

TOTAL_BITS = 30
"""Probabilities of a next term are whole numbers of 2^-30, and at least one."""

STEPS = 4096
"""Entries of the table of powers, for exponents from 0 to -1."""

SYMBOL_TOTAL_BITS = 16
"""Probabilities of symbols are whole numbers of 2^-16."""


@cache
def powers() -> Array:
    """Return 2^30 2^(-j / STEPS) for j = 0 ... STEPS, int64, correctly rounded."""
    with localcontext() as context:
        context.prec = 40
        root = Decimal(2) ** (Decimal(-1) / STEPS)
        value, table = Decimal(1 << TOTAL_BITS), []
        for _ in range(STEPS + 1):
            table.append(int(value.to_integral_value()))
            value *= root
    return np.array(table, dtype=np.int64)


@cache
def hazard_of_rarity() -> Array:
    """Return -log2(1 - 2^(-r / 8)) in 2^-32 bits for r = 0 ... 255, int64, at least 1; that of r = 0 is of r = 1/8."""
    with localcontext() as context:
        context.prec = 40
        rarities = [Decimal(1) / 8, *map(Decimal, range(1, 256))]
        shares = [Decimal(2) ** (-rarity / 8) for rarity in rarities]
        hazards = [-(1 - share).ln() / Decimal(2).ln() for share in shares]
        return np.array([max(1, int((hazard * (1 << 32)).to_integral_value())) for hazard in hazards], dtype=np.int64)


@guarded
def survival(hazard: int, table: Array) -> Any:
    """Return 2^30 2^-hazard, with hazard in 2^-32 bits; it never rises with the hazard."""
    whole = hazard >> 32
    if whole > 31:
        return 0
    rest = hazard & 0xFFFFFFFF
    step, between = rest >> 20, rest & 0xFFFFF
    return (table[step] - (((table[step] - table[step + 1]) * between) >> 20)) >> whole


@guarded
def below(after: int, term: int, hazards: Array, table: Array) -> Any:
    """Return the probability, in 2^-30, that the next term from `after` on is before `term`; it rises with `term`."""
    left = len(hazards) - 1 - after
    gone = (1 << TOTAL_BITS) - survival(hazards[term] - hazards[after], table)
    return int(((gone * ((1 << TOTAL_BITS) - left - 1)) >> TOTAL_BITS) + term - after)


@guarded
def carry(values: Array, at: int) -> None:
    """Add one to the number that the bytes before `at` are."""
    at -= 1
    while values[at] == 255:
        values[at] = 0
        at -= 1
    values[at] += 1


@guarded
def narrow(coder: Array, values: Array, at: int, first: int, count: int, total_bits: int) -> int:
    """Encode the interval [first, first + count) of 2^total_bits; return the position after the bytes written."""
    low, span = coder[0], coder[1]
    part = span >> np.uint64(total_bits)
    moved = low + part * np.uint64(first)
    if moved < low:
        carry(values, at)
    low, span = moved, part * np.uint64(count)
    while span < np.uint64(1 << 56):
        values[at] = low >> np.uint64(56)
        at += 1
        low = low << np.uint64(8)
        span = span << np.uint64(8)
    coder[0], coder[1] = low, span
    return at


@guarded
def finish(coder: Array, values: Array, at: int, start: int) -> int:
    """Write the fewest bytes that lie in the last interval; return the position after the last one that is not 0."""
    low, span = coder[0], coder[1]
    for size in range(9):
        rest = np.uint64(0) if size == 8 else (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(8 * size))
        chosen = (low + rest) & ~rest
        # in numbers modulo 2^64, so that one beyond the end is seen too
        if chosen - low < span:
            if chosen < low:
                carry(values, at)
            for place in range(size):
                values[at + place] = (chosen >> np.uint64(56 - 8 * place)) & np.uint64(255)
            at += size
            break
    while at > start and values[at - 1] == 0:
        at -= 1
    return at


@guarded
def write(
    indptr: Array, terms: Array, symbols: Array, bits: int, hazards: Array, table: Array, cumulative: Array
) -> Strings:
    """Return byte strings of ids with symbols; `cumulative` is that of symbols, or empty: then they are plain bits."""
    n, width = len(indptr) - 1, len(hazards) - 1
    lengths = np.zeros(n, np.int64)
    # an interval of 2^-30 takes 30 bits, and a document at least its end
    values = np.zeros((len(terms) * (2 * TOTAL_BITS + bits) >> 3) + 24 * n + 64, np.uint8)
    coder = np.zeros(2, np.uint64)
    start = 0
    for row in range(n):
        coder[0], coder[1] = np.uint64(0), np.uint64(0xFFFFFFFFFFFFFFFF)
        at, after = start, 0
        for place in range(indptr[row], indptr[row + 1]):
            term = terms[place]
            first = below(after, term, hazards, table)
            at = narrow(coder, values, at, first, below(after, term + 1, hazards, table) - first, TOTAL_BITS)
            after = term + 1
            symbol = symbols[place]
            if len(cumulative):
                count = cumulative[symbol + 1] - cumulative[symbol]
                at = narrow(coder, values, at, cumulative[symbol], count, SYMBOL_TOTAL_BITS)
            else:
                done = 0
                while done < bits:
                    size = min(16, bits - done)
                    at = narrow(coder, values, at, (symbol >> done) & ((1 << size) - 1), 1, size)
                    done += size
        first = below(after, width, hazards, table)
        at = narrow(coder, values, at, first, (1 << TOTAL_BITS) - first, TOTAL_BITS)
        end = finish(coder, values, at, start)
        values[end : at + 9] = 0
        lengths[row] = end - start
        start = end
    return values[:start].copy(), lengths


@guarded
def refill(coder: Array, values: Array, at: int, end: int) -> int:
    """Read bytes, zeros beyond the end, until the interval is wide again; return the position after them."""
    while coder[1] < np.uint64(1 << 56):
        octet = np.uint64(values[at]) if at < end else np.uint64(0)
        coder[0] = (coder[0] << np.uint64(8)) | octet
        coder[1] = coder[1] << np.uint64(8)
        at += 1
    return at


@guarded
def read(strings: Array, starts: Array, bits: int, hazards: Array, table: Array, cumulative: Array) -> Rows:
    """Read what `write` wrote."""
    n, width = len(starts) - 1, len(hazards) - 1
    indptr = np.zeros(n + 1, np.int64)
    terms, symbols = np.empty(len(strings) + 16, np.int64), np.empty(len(strings) + 16, np.int64)
    coder = np.zeros(2, np.uint64)
    held = 0
    for row in range(n):
        end = starts[row + 1]
        coder[0], coder[1] = np.uint64(0), np.uint64(0)
        at = starts[row]
        for _ in range(8):
            octet = np.uint64(strings[at]) if at < end else np.uint64(0)
            coder[0] = (coder[0] << np.uint64(8)) | octet
            at += 1
        coder[1] = np.uint64(0xFFFFFFFFFFFFFFFF)
        after = 0
        while True:
            part = coder[1] >> np.uint64(TOTAL_BITS)
            wanted: Any = min(np.int64(coder[0] // part), (1 << TOTAL_BITS) - 1)
            # the last term t with below(t) <= wanted
            low, high = after, width
            while low < high:
                middle = (low + high + 1) >> 1
                if below(after, middle, hazards, table) <= wanted:
                    low = middle
                else:
                    high = middle - 1
            first = below(after, low, hazards, table)
            stop = below(after, low + 1, hazards, table) if low < width else 1 << TOTAL_BITS
            coder[0] -= part * np.uint64(first)
            coder[1] = part * np.uint64(stop - first)
            at = refill(coder, strings, at, end)
            if low == width:
                break
            if held == len(terms):
                terms, symbols = grown(terms), grown(symbols)
            terms[held] = low
            after = low + 1
            symbol: Any = 0
            if len(cumulative):
                part = coder[1] >> np.uint64(SYMBOL_TOTAL_BITS)
                wanted = min(np.int64(coder[0] // part), (1 << SYMBOL_TOTAL_BITS) - 1)
                symbol = np.searchsorted(cumulative, wanted, side="right") - 1
                coder[0] -= part * np.uint64(cumulative[symbol])
                coder[1] = part * np.uint64(cumulative[symbol + 1] - cumulative[symbol])
                at = refill(coder, strings, at, end)
            else:
                done = 0
                while done < bits:
                    size = min(16, bits - done)
                    part = coder[1] >> np.uint64(size)
                    found: Any = min(np.int64(coder[0] // part), (1 << size) - 1)
                    coder[0] -= part * np.uint64(found)
                    coder[1] = part
                    at = refill(coder, strings, at, end)
                    symbol |= found << done
                    done += size
            symbols[held] = symbol
            held += 1
        indptr[row + 1] = held
    return indptr, terms[:held].copy(), symbols[:held].copy()


@guarded
def grown(array: Array) -> Array:
    """Return an array of twice the length that begins with the entries of this one."""
    twice = np.empty(2 * len(array), array.dtype)
    twice[: len(array)] = array
    return twice
