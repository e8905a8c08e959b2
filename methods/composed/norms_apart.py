"""A vector as its direction, by any code, and its length, by a byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from methods.base import Array, Codec, Codes, Float32, arrays_under

LLOYD_STEPS = 25


@dataclass(kw_only=True, eq=False)
class NormsApart(Codec):
    """Encode the direction of a vector by a codec, and its length by the nearest of `levels` learned lengths.

    FastText.zip (Joulin et al., 2016, section 3.2): product quantisation of unit vectors, and a byte for the length.
    Token tables weight frequent tokens by short vectors, and a code of the vectors as they are spends its levels on
    the long ones.

    Parameters
    ----------
    codec : Codec
        Row-wise, of unit vectors; `renormalize` on it costs nothing.
    levels : int
        2 to 256.
    """

    codec: Codec
    levels: int = 256

    def _check_parameters(self) -> None:
        self._require(2 <= self.levels <= 256, f"levels must be 2 to 256, got {self.levels}")
        self._require(self.codec.scoring == "asymmetric", "set scoring on the whole, not on its codec")
        self._require(self.codec.row_wise, f"its codec, {type(self.codec).__name__}, is not row-wise")

    @property
    def wants_queries(self) -> bool:  # type: ignore[override]
        """Whether the codec makes use of queries."""
        return self.codec.wants_queries

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        lengths, directions = _apart(docs)
        self.lengths_ = _lloyd(lengths, self.levels)
        self.codec.fit(directions, queries)

    def _encode(self, docs: Float32) -> Codes:
        lengths, directions = _apart(docs)
        codes = self.codec.encode(directions)
        own = {f"direction.{name}": array for name, array in codes.rows.items()}
        strings = {f"direction.{name}": array for name, array in codes.ragged.items()}
        return Codes(n=codes.n, rows={**own, "length": _nearest(lengths, self.lengths_)}, ragged=strings)

    def _decode(self, codes: Codes) -> Float32:
        lengths = self.lengths_[codes.rows["length"]]
        decoded: Float32 = self.codec.decode(codes.rows_under("direction.")) * lengths[:, None]
        return decoded

    def state(self) -> dict[str, Array]:
        """Return the lengths, and the codec's state under the prefix `direction.`."""
        own = {"dim_": np.asarray(self._check_fitted()), "lengths_": self.lengths_}
        return own | {f"direction.{name}": array for name, array in self.codec.state().items()}

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take the lengths, and hand the codec its own arrays."""
        self.codec.load_state(arrays_under(arrays, "direction."))
        self.lengths_ = np.asarray(arrays["lengths_"], dtype=np.float32)
        self.dim_ = int(arrays["dim_"])
        return self


def _apart(docs: Float32) -> tuple[Float32, Float32]:
    """Return lengths (n,) and unit vectors (n, d); a zero vector has the length 0 and stays one."""
    lengths: Float32 = np.linalg.norm(docs, axis=1).astype(np.float32)
    directions = docs / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
    return lengths, directions.astype(np.float32, copy=False)


def _lloyd(values: Float32, count: int) -> Float32:
    """Return levels of least squared error, ascending: quantiles, improved by Lloyd's steps. Distinct ones stay few."""
    levels = np.unique(np.quantile(values.astype(np.float64), (np.arange(count) + 0.5) / count))
    for _ in range(LLOYD_STEPS):
        nearest = _nearest(values, levels)
        sums = np.bincount(nearest, weights=values, minlength=len(levels))
        counts = np.bincount(nearest, minlength=len(levels))
        levels = np.sort(np.where(counts > 0, sums / np.maximum(counts, 1), levels))
    return levels.astype(np.float32)


def _nearest(values: Array, levels: Array) -> Array:
    """Return the place of the nearest of ascending levels, uint8 (n,)."""
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, values).astype(np.uint8)
