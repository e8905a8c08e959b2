"""Parts of a corpus that are encoded by different processes or machines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Shard:
    """One of several parts of a corpus; counted from 1."""

    part: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read the notation `3/8`.

        Raises
        ------
        ConfigError
            If it is something else.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(f"shard must be PART/PARTS, such as 3/8 for the third of eight, got '{text}'")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def all(cls, of: int) -> list[Shard]:
        """Return every part of a corpus in so many."""
        return [cls(part, of) for part in range(1, of + 1)]

    def __str__(self) -> str:
        return f"{self.part}/{self.of}"


@dataclass(frozen=True, eq=False)
class Share:
    """The texts that one file has the vectors of.

    Attributes
    ----------
    rows : int64 (s,)
        Their rows in the corpus, ascending, which is the order of the file.
    chunks : sequence of int64 arrays
        The same rows, in the order and the portions in which they are encoded.
    """

    rows: Int64
    chunks: Sequence[Int64]

    @classmethod
    def of_shard(cls, chunks: Sequence[Int64], shard: Shard) -> Share:
        """Deal a corpus's chunks out to its parts.

        A part gets whole chunks, every `shard.of`th of them: they take similar times, longest texts first, so that the
        parts do too; and a model gets the very batches that it gets when one process encodes everything.
        """
        own = chunks[shard.part - 1 :: shard.of]
        return cls(np.sort(np.concatenate(own)) if own else np.empty(0, dtype=np.int64), own)

    @property
    def order(self) -> Int64:
        """The rows in the order in which they are encoded; what is at a place of it is the place's row."""
        return np.concatenate([np.empty(0, dtype=np.int64), *self.chunks])

    def places(self, missing: Int64) -> list[Int64]:
        """Return the places that are missing, chunk by chunk; ascending as they are."""
        ends = np.cumsum([len(rows) for rows in self.chunks])
        portions = np.split(missing, np.searchsorted(missing, ends))
        return [portion for portion in portions if len(portion)]


def expanded(override: str) -> str:
    """Write out an override's range of parts: `shard=1-3/8` is `shard=1/8,2/8,3/8`.

    Raises
    ------
    ConfigError
        If the range runs backwards.
    """
    found = re.fullmatch(r"shard=(\d{1,6})-(\d{1,6})/(\d{1,6})", override)
    if found is None:
        return override
    first, last, of = (int(number) for number in found.groups())
    if not 1 <= first <= last <= of:
        raise ConfigError(f"{override}: a range of parts goes up, as in shard=1-8/8")
    return "shard=" + ",".join(str(Shard(part, of)) for part in range(first, last + 1))
