"""The best setting for a budget, found by search: what may vary, what is looked at, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from numpy.typing import ArrayLike

from methods.base import Codec


def tune(
    docs: ArrayLike,
    queries: ArrayLike | None = None,
    *,
    max_bytes: int,
    corpus_size: float = 1_000_000,
    minutes: float | None = None,
    trials: int | None = None,
    methods: Sequence[str] = (),
    seed: int = 0,
    folder: Path | None = None,
) -> Codec:
    """Search for the setting that keeps most of the float ranking within a budget; return it fitted on all documents.

    Parameters
    ----------
    docs : array_like of float (n, d)
    queries : array_like of float (m, d) or None
        Queries to measure settings by, at least 40: half of them, the others are for methods that learn from queries.
        None: documents stand in, and leave the collection meanwhile.
    max_bytes : int
        Of a document's codes.
    corpus_size : float
        Documents that are to be stored; what a method learns may add a byte to each of them.
    minutes, trials : float, int or None
        When to stop; 30 settings if neither is given.
    methods : sequence of str
        Among these only.
    seed : int
    folder : Path or None
        Where the search is kept, and goes on from; None: nowhere.

    Raises
    ------
    VectorsError
        For input that is no matrix of finite numbers.
    ConfigError
        If nothing keeps to the budget, there are too few queries, or the folder holds a search of other vectors.
    MissingExtraError
        Without optuna.
    """
    # imported here, so that modules of the package do not wait for each other
    from harness.base.files import array_checksum
    from harness.evaluation.index_build import teach
    from harness.tuning.objective import Objective
    from harness.tuning.space import space
    from harness.tuning.study import Limits, Study, best_of
    from methods.base import as_vectors

    vectors = as_vectors(docs, "docs")
    asked = None if queries is None else as_vectors(queries, "queries", vectors.shape[1])
    objective = Objective.from_arrays(vectors, asked, source="documents" if asked is None else "queries", seed=seed)
    checksums = [None if given is None else array_checksum(given) for given in (vectors, asked)]
    identity: dict[str, Any] = {"vectors": checksums, "seed": seed}
    with TemporaryDirectory(prefix="vecbudget-") as temporary:
        study = Study(folder or Path(temporary), space(methods), Limits(max_bytes, corpus_size=corpus_size), seed)
        study.search(objective, identity, trials=30 if minutes is None and trials is None else trials, minutes=minutes)
        best = best_of(study.tried(), study.limits)
    look = objective.whole
    codec: Codec = teach(best.candidate.spec(seed).make(), vectors, look.fit_queries if asked is None else asked, None)
    return codec
