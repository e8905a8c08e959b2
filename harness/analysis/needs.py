"""What a recommendation is asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis import statistics
from harness.base.errors import ConfigError
from harness.base.formatting import amount, per_vector, percent
from harness.runs.frame import CORPUS_SIZE
from harness.runs.presets import store_named

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BINARY_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What is asked for.

    Attributes
    ----------
    max_bytes : float or None
        Bytes per vector of the codes; see `harness.analysis.budgets.within`.
    min_retention : float or None
        Share of float32's quality, 1 is all of it: the smallest setting that keeps it is wanted.
    confidence : float or None
        With which it does, one-sided; None is 0.95.
    datasets : tuple of str
        Names of the collections that count; all if empty.
    model : str or None
        None if there is but one.
    max_query_ms : float or None
        Search time of a query.
    corpus_size : int or None
        Vectors; None spreads shared state over a million.
    ram_bytes : float or None
        Memory for what must be resident of the index, of `corpus_size` vectors.
    database : str or None
        A vector store, as `harness.runs.presets.store_named` returns it: its presets are what there is to choose
        from, and bytes per vector are those in memory. None is every method.
    model_bytes : float or None
        Of the model's files, as they would be shipped: then models are chosen among too
        (`harness.analysis.recommend_models`).
    trust_fitted : bool
        Whether figures count that were seen on documents known by heart, see `harness.analysis.memory`.

    Raises
    ------
    ConfigError
        If a value has no meaning, or they do not fit each other.
    """

    max_bytes: float | None = None
    min_retention: float | None = None
    confidence: float | None = None
    datasets: tuple[str, ...] = ()
    model: str | None = None
    max_query_ms: float | None = None
    corpus_size: int | None = None
    ram_bytes: float | None = None
    database: str | None = None
    model_bytes: float | None = None
    trust_fitted: bool = False

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        if self.max_bytes is None and self.min_retention is None and self.ram_bytes is None:
            raise ConfigError(
                "say what is needed: --max-bytes 64, --min-retention 0.99, or --ram 8GB with --corpus-size 40e6"
            )
        if self.ram_bytes is not None and self.corpus_size is None:
            raise ConfigError("--ram needs --corpus-size: for how many vectors is the memory?")
        if self.confidence is not None and self.min_retention is None:
            raise ConfigError("--confidence goes with --min-retention: with which confidence is how much to be kept?")
        if self.model_bytes is not None and (self.min_retention is not None or self.model is not None):
            raise ConfigError(
                "--model-mb chooses among models by their scores: it goes with --max-bytes or --ram, and not with "
                "--min-retention, which is a share of one model's, nor with --model"
            )
        for name, value, example in (
            ("model-mb", None if self.model_bytes is None else self.model_bytes / UNITS["m"], "50"),
            ("max-bytes", self.max_bytes, "64"),
            ("max-query-ms", self.max_query_ms, "5"),
            ("corpus-size", self.corpus_size, "40e6"),
            ("ram", self.ram_bytes, "8GB"),
        ):
            if value is not None and not 0 < value < np.inf:
                raise ConfigError(f"--{name} must be above 0, such as {example}, got {value:g}")
        if self.min_retention is not None and not 0 < self.min_retention <= 1:
            raise ConfigError(
                f"--min-retention must be above 0 and at most 1 (99 % is 0.99), got {self.min_retention:g}"
            )
        if self.confidence is not None and not 0.5 <= self.confidence <= 0.999:
            # ten thousand resamples know no rarer events
            raise ConfigError(f"--confidence must be 0.5 to 0.999 (95 % is 0.95), got {self.confidence:g}")

    @classmethod
    def parse(
        cls,
        *,
        max_bytes: str | None = None,
        min_retention: str | None = None,
        confidence: str | None = None,
        datasets: Sequence[str] = (),
        model: str | None = None,
        max_query_ms: str | None = None,
        corpus_size: str | None = None,
        ram: str | None = None,
        database: str | None = None,
        model_mb: str | None = None,
        trust_fitted: bool = False,
    ) -> Needs:
        """Read what was typed after each option.

        Raises
        ------
        ConfigError
            If it is not readable, or has no meaning.
        """
        size = _number("corpus-size", corpus_size, "a number of vectors such as 40e6")
        if size is not None and not 1 <= size < np.inf:
            raise ConfigError(f"--corpus-size must be at least 1 and finite, such as 40e6, got {corpus_size}")
        megabytes = _number("model-mb", model_mb, "a number of megabytes such as 50")
        return cls(
            max_bytes=_number("max-bytes", max_bytes, "a number of bytes per vector such as 64"),
            min_retention=_number("min-retention", min_retention, "a share of float32's score such as 0.99"),
            confidence=_number("confidence", confidence, "a probability such as 0.95"),
            datasets=tuple(dict.fromkeys(datasets)),
            model=model,
            max_query_ms=_number("max-query-ms", max_query_ms, "a number of milliseconds such as 5"),
            corpus_size=None if size is None else int(size),
            ram_bytes=_bytes_of("ram", ram),
            database=None if database is None else store_named(database),
            model_bytes=None if megabytes is None else megabytes * UNITS["m"],
            trust_fitted=trust_fitted,
        )

    @property
    def size(self) -> int:
        """Vectors over which shared state is spread."""
        return self.corpus_size or CORPUS_SIZE

    @property
    def bytes_per_document(self) -> float | None:
        """The tightest budget of bytes that was given; None where none was."""
        given = [self.max_bytes, None if self.ram_bytes is None else self.ram_bytes / self.size]
        return min((size for size in given if size is not None), default=None)

    @property
    def level(self) -> float:
        """The confidence that is wanted."""
        return self.confidence or statistics.CONFIDENCE

    def keep(self, measure: str) -> str:
        """Return in words what share of a measure is to be kept."""
        share, whose = percent(self.min_retention or 0, 2), "" if measure == "overlap@10" else "float32's "
        return f"keep {share} of {whose}{measure} with {100 * self.level:g} % confidence"

    def limits(self) -> list[str]:
        """Return in words what the answer must keep to."""
        limits = []
        if self.max_bytes is not None:
            memory = "" if self.database is None else " in memory"
            limits.append(f"within {self.max_bytes:g} bytes of codes per vector{memory}")
        if self.ram_bytes is not None:
            limits.append(
                f"within {amount(self.ram_bytes)} of memory for {self.size:,} vectors "
                f"({per_vector(self.ram_bytes / self.size)} each)"
            )
        if self.max_query_ms is not None:
            limits.append(f"within {self.max_query_ms:g} ms a query")
        return limits


def _number(option: str, text: str | None, meant: str) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if np.isnan(value):
        raise ConfigError(f"--{option} must be {meant}, got '{text}'")
    return value


def _bytes_of(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(?:([kmgt]?)(i?)b)", text.strip().lower())
    if not found or (found[3] and not found[2]):
        raise ConfigError(f"--{option} must be like 8GB or 512MB, got '{text}'")
    return float(found[1]) * (BINARY_UNITS if found[3] else UNITS)[found[2]]
