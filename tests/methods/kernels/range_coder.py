"""Range coding of numbers with given probabilities, to the byte (Martin, 1979), by the package constriction.

The reference of `methods.kernels.entropy_codes`, which writes and reads the same bytes without the package.

The package writes 32-bit words. A code word is any point of an interval whose width is the product of the
probabilities, so that the shortest one can be cut to whole bytes: `point`. (The package's other coder, asymmetric
numeral systems, starts from an empty state, which costs documents of a few dozen bytes about 19 bits each.)
"""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from methods.base import Array

UInt8 = NDArray[np.uint8]

WORD = 32
"""Bits of a word of constriction's streams."""

STATE_WORDS = 2
"""Words of the coder's state, from which a decoder reads ahead."""


def model(probabilities: Array) -> Any:
    """Return the package's model of the numbers 0, 1, ..., each of which keeps at least the probability 2**-24."""
    if len(probabilities) == 1:
        # the package refuses a certainty: a second number that never comes
        probabilities = np.append(probabilities, 0)
    return constriction.stream.model.Categorical(np.asarray(probabilities, dtype=np.float32), perfect=False)


def encoder() -> Any:
    """Return an empty range encoder, with a method `encode(number, model)`."""
    return constriction.stream.queue.RangeEncoder()


def decoder(code: UInt8) -> Any:
    """Return a range decoder of bytes (size,), with a method `decode(model)`. Zeros are what follows the bytes."""
    words = -(-8 * len(code) // WORD) + STATE_WORDS
    padded = np.zeros(words * WORD // 8, dtype=np.uint8)
    padded[: len(code)] = code
    return constriction.stream.queue.RangeDecoder(padded.view(">u4").astype(np.uint32))


def point(coder: Any, size: int | None = None) -> UInt8 | None:
    """Return the code of what was encoded, in `size` bytes or in as few as there are; None if `size` is too few.

    It always fits if the ideal code length is below 8 * size bits by about 0.01.
    """
    words, (low_word, width) = coder.pos()
    bits = WORD * (words + STATE_WORDS)
    sealed = coder.get_compressed()
    inside = int.from_bytes(sealed.astype(">u4").tobytes(), "big") << bits - WORD * len(sealed)
    # the encoder tells the last 64 bits of the interval's lower end; those above are the same as in any point of it
    low = inside - ((inside - low_word) % (1 << WORD * STATE_WORDS))
    for count in range(max(0, WORD * words // 8 - 1), bits // 8 + 1) if size is None else [size]:
        dropped = bits - 8 * count
        if dropped <= 0:
            return np.frombuffer((low << -dropped).to_bytes(count, "big"), dtype=np.uint8)
        number = -(-low >> dropped)
        if number << dropped < low + width:
            return np.frombuffer(number.to_bytes(count, "big"), dtype=np.uint8)
    return None
