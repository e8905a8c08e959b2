"""Ids of rows that have none: their numbers, without a string for each of millions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

BETWEEN = b'", "'
"""What stands between two strings of a list in JSON."""

JSON_ROWS = 1 << 16
"""Strings of a piece of `RowNumbers.as_json`."""


@dataclass(frozen=True)
class RowNumbers(Sequence[str]):
    """The numbers 0 to n - 1 as strings of one length, so that their order as strings is that of the rows.

    Attributes
    ----------
    n : int
    descending : bool
        From the last to the first.
    """

    n: int
    descending: bool = False

    @property
    def width(self) -> int:
        """Digits of each."""
        return len(str(max(0, self.n - 1)))

    def __len__(self) -> int:
        return self.n

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        numbers = range(self.n - 1, -1, -1) if self.descending else range(self.n)
        if isinstance(index, slice):
            return [f"{number:0{self.width}d}" for number in numbers[index]]
        return f"{numbers[index]:0{self.width}d}"

    def __iter__(self) -> Iterator[str]:
        width = self.width
        numbers = range(self.n - 1, -1, -1) if self.descending else range(self.n)
        return (f"{number:0{width}d}" for number in numbers)

    def __contains__(self, item: object) -> bool:
        named = isinstance(item, str) and len(item) == self.width and item.isascii() and item.isdecimal()
        return named and int(item) < self.n  # type: ignore[call-overload, no-any-return]

    def as_json(self) -> Iterator[bytes]:
        """Yield what `json.dumps` writes of the list of them, piece by piece."""
        width, ends = self.width, b'["'
        for start in range(0, self.n, JSON_ROWS):
            numbers = np.arange(start, min(self.n, start + JSON_ROWS))
            numbers = self.n - 1 - numbers if self.descending else numbers
            text = np.empty((len(numbers), width + len(BETWEEN)), np.uint8)
            for place in range(width - 1, -1, -1):
                numbers, text[:, place] = np.divmod(numbers, 10)
            text[:, :width] += ord("0")
            text[:, width:] = np.frombuffer(BETWEEN, np.uint8)
            yield ends + text.tobytes()[: -len(BETWEEN)]
            ends = BETWEEN
        yield b'"]' if self.n else b"[]"

    def reverse(self) -> RowNumbers:
        """Return them in the other order."""
        return RowNumbers(self.n, not self.descending)
