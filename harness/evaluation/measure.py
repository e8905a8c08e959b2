"""One method on one set of vectors: fit, encode, write, size, load into a fresh object, search, score.

After `write_index` the fitted codec and its codes are dropped. What is searched is a new object that has seen the two
files and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.memmap import in_memory
from harness.base.resources import Stopwatch, peak_memory_bytes
from harness.data.datasets import Dataset
from harness.evaluation.effort import EffortCurve, effort_curve
from harness.evaluation.exact_search import own_rows, search, without_own
from harness.evaluation.geometry import Geometry
from harness.evaluation.index_build import Builder, Built, built_index, teach
from harness.evaluation.index_files import Storage, read_index
from harness.evaluation.kept_ranking import Search, exact_ranking
from harness.evaluation.metric_registry import computed
from harness.evaluation.rankings import ExactRanking, Rankings
from harness.evaluation.rate_distortion import Limits
from harness.evaluation.retrieval_metrics import Judgements, PerQuery
from harness.evaluation.ties import Collection
from methods.base import Codec
from methods.representations import Kind, kind_of

Float32 = NDArray[np.float32]

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Problem:
    """What every method is measured on: vectors, judgements, and the float32 ranking to compare with.

    Attributes
    ----------
    docs : float32 (n, d)
        Or float16, as the cache may keep them; or SparseVectors, and queries too.
    queries : float32 (m, d)
    judgements : Judgements or None
    own : int64 (m,) or None
        See `harness.evaluation.exact_search.own_rows`.
    exact, exact_scores : int64, float32 (m, k)
        The float32 ranking.
    exact_metrics : mapping of metric to mean
        What it scores.
    old_queries : float32 (m, d) or None
        The document model's own, where `queries` are another model's: the float32 ranking is theirs.
    dictionary : bytes or None
        See `harness.data.embedding_cache.Vectors`.
    """

    docs: Float32
    queries: Float32
    judgements: Judgements | None
    own: Int64 | None
    exact: Int64
    exact_scores: Float32
    exact_metrics: dict[str, float]
    old_queries: Float32 | None = None
    dictionary: bytes | None = None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        docs: Float32,
        queries: Float32,
        k: int,
        old_queries: Float32 | None = None,
        dictionary: bytes | None = None,
        cache_dir: Path | None = None,
        large_search: Search | None = None,
    ) -> Problem:
        """Rank with the float32 vectors themselves; for the last two see `harness.evaluation.kept_ranking`."""
        own = own_rows(dataset)
        wide = min(len(docs), k if own is None else k + 1)
        reference = queries if old_queries is None else old_queries
        scores, rows = exact_ranking(reference, docs, wide, cache_dir, large_search, dataset.checksum_of(docs))
        if own is not None:
            scores, rows = without_own(scores, rows, own, k)
        judgements = Judgements.of(dataset)
        per_query: PerQuery = {}
        if judgements is not None:
            collection = Collection.of_vectors(reference, docs)
            per_query = computed(Rankings(rows, scores, len(docs), judgements, None, collection, own))
        means = {name: float(values.mean()) for name, values in per_query.items()}
        return cls(docs, queries, judgements, own, rows, scores, means, old_queries, dictionary)

    @property
    def representation(self) -> Kind:
        """What represents a document."""
        return kind_of(self.docs)

    @property
    def reference_queries(self) -> Float32:
        """Those that the float32 ranking was made with."""
        return self.queries if self.old_queries is None else self.old_queries

    @cached_property
    def limits(self) -> Limits:
        """What the errors of methods are compared with; the spectra are computed at the first call."""
        return Limits.of(self.docs, self.reference_queries)

    @cached_property
    def geometry(self) -> Geometry | None:
        """Where the documents lie, those that errors are measured on; None for what is not one vector a document."""
        return Geometry.of(self.limits.docs) if self.representation == "vectors" else None

    def evaluate(self, scores: Float32, ranking: Int64, collection: Collection) -> PerQuery:
        """Return every metric of a ranking of the collection, each float64 (m,)."""
        exact = ExactRanking(self.exact, self.exact_scores, self.reference_queries, self.docs)
        return computed(Rankings(ranking, scores, len(self.docs), self.judgements, exact, collection, self.own))


@dataclass(frozen=True)
class Measurement:
    """What one method did on one problem.

    Attributes
    ----------
    storage : Storage
    per_query : mapping of metric to float64 (m,)
    scores, ranking : float32, int64 (m, k)
    limits : mapping
        See `harness.evaluation.rate_distortion.Limits.distances`.
    seconds : mapping of stage (fit, encode, save, load, search, evaluate) to wall time
    peak_memory_bytes : int
        The process's largest resident set so far.
    bits_per_axis : float64 (d,) or None
        See `methods.base.Codec.bits_per_axis`.
    training : list of dict
        See `methods.base.Part.training`.
    points_per_centroid : float or None
        Documents of `fit`, or their vectors where each has several, for each centroid of the largest codebook; None
        without codebooks.
    points_per_parameter : float or None
        See `points_per_parameter`.
    token_vectors : int
        See `methods.base.Codec.stored_vectors`.
    efforts : EffortCurve or None
        None for a codec whose codes are all looked at.
    """

    storage: Storage
    per_query: PerQuery
    scores: Float32
    ranking: Int64
    limits: dict[str, dict[str, Any] | None]
    seconds: dict[str, float]
    peak_memory_bytes: int
    bits_per_axis: NDArray[np.float64] | None = None
    training: list[dict[str, Any]] = field(default_factory=list)
    points_per_centroid: float | None = None
    points_per_parameter: float | None = None
    token_vectors: int = 0
    efforts: EffortCurve | None = None


def points_per_parameter(training: Sequence[Mapping[str, Any]], width: int) -> float | None:
    """Return how many numbers a method learned from for each number that it learned by gradient descent.

    An example, a document or a query, is `width` numbers; the smallest ratio of several training runs counts. Of m
    codebooks of 256 centroids, which are 256 numbers for each dimension, it would be the documents for each centroid.

    Parameters
    ----------
    training : sequence of mapping
        See `methods.base.Part.training`.
    width : int
        Dimensions of the vectors.

    Returns
    -------
    float or None
        None for a method that is not trained so.
    """
    known = [run for run in training if run.get("parameters") and "examples" in run]
    return min((run["examples"] * width / run["parameters"] for run in known), default=None)


def measure(
    make: Callable[[], Codec],
    problem: Problem,
    *,
    fit_docs: Float32 | None = None,
    fit_queries: Float32 | None = None,
    fit_pairs: Int64 | None = None,
    unseen_rows: Int64 | None = None,
    k: int = 100,
    chunk_rows: int | None = None,
    directory: Path | None = None,
    efforts: Sequence[int] = (),
    builder: Builder | None = None,
) -> Measurement:
    """Run one method from fit to per-query metrics.

    Parameters
    ----------
    make : callable
        Returns a new, unfitted codec each time.
    problem : Problem
    fit_docs : float32 (f, d) or None
        Documents for `fit`; None is those of the problem, which is how an index is built.
    fit_queries : float32 (q, d) or None
        Training or pseudo queries for `fit`; never the test queries.
    fit_pairs : int64 (p, 2) or None
        Which of the documents of `fit` answer them; never test judgements.
    unseen_rows : int64 (u,) or None
        Documents that `fit_docs` lacks, where it has others of the problem's: their error is measured apart.
    k : int
        Depth of the ranking.
    chunk_rows : int or None
        Rows encoded and searched at a time.
    directory : Path or None
        Where the index is written and left; None is a temporary directory.
    efforts : sequence of int
        Efforts with which a structure is searched besides its own.
    builder : Builder or None
        What builds the index; None is `harness.evaluation.index_build.built_index`.
    """
    watch = Stopwatch()
    with TemporaryDirectory(prefix="vecbudget-") as temporary:
        target = Path(temporary) if directory is None else directory
        target.mkdir(parents=True, exist_ok=True)
        examples = problem.docs if fit_docs is None else fit_docs
        depth = k if problem.own is None else k + 1
        learner = make()
        if builder is None:
            storage = built_index(
                learner, examples, fit_queries, fit_pairs, problem.docs, chunk_rows, target, watch, problem.dictionary
            )
            built = Built(storage, learner.training(), learner.codebook_size)
        else:
            fit = partial(teach, learner, examples, fit_queries, fit_pairs)
            asked = in_memory(problem.queries)
            built = builder(learner, fit, problem.docs, asked, depth, chunk_rows, target, watch)
        del learner
        storage, training, codebook_size = built.storage, built.training, built.codebook_size
        with watch.stage("load"):
            codec, codes = read_index(target, make(), mapped=chunk_rows is not None)
        with watch.stage("search"):
            scores, ranking = built.ranking or search(codec, in_memory(problem.queries), codes, depth, chunk_rows)
            if problem.own is not None:
                scores, ranking = without_own(scores, ranking, problem.own, k)
    curve = None
    if codec.structure is not None and efforts:
        with watch.stage("efforts"):
            asked = in_memory(problem.queries)
            curve = effort_curve(codec, asked, codes, problem.exact, efforts, problem.judgements, problem.own)
    with watch.stage("evaluate"):
        collection = Collection.of_codes(codec, problem.queries, codes, chunk_rows)
        per_query = problem.evaluate(scores, ranking, collection)
        limits: dict[str, dict[str, Any] | None] = {"vector": None, "score": None}
        # what another model's queries do to scores is no error of the code; terms have no spectrum to compare with
        comparable = problem.old_queries is None and codec.takes == "vectors"
        if comparable:
            limits = problem.limits.distances(codec, codes, storage.code_bytes_per_vector)
        if unseen_rows is not None and comparable:
            unseen = problem.limits.on(problem.docs, unseen_rows)
            limits["unseen_vector"] = unseen.distances(codec, codes, storage.code_bytes_per_vector)["vector"]
    return Measurement(
        storage,
        per_query,
        scores,
        ranking,
        limits,
        watch.seconds,
        peak_memory_bytes(),
        codec.bits_per_axis(),
        training,
        getattr(examples, "tokens", len(examples)) / codebook_size if codebook_size else None,
        points_per_parameter(training, examples.shape[1]),
        # a code for terms has none
        codec.stored_vectors(codes) if codec.takes == "tokens" else 0,
        curve,
    )
