"""From a file of vectors to what to store: a dozen settings that suit the budget, on a sample, in minutes.

Half of the queries choose, the other half says what the choice keeps. A ladder of two rungs: all settings on few
documents, the best of them on more (successive halving: Jamieson and Talwalkar, 2016).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from harness.analysis import long_mean
from harness.analysis.needs import Needs
from harness.base.errors import ConfigError, VecbudgetError
from harness.base.formatting import amount
from harness.base.memmap import as_float32, in_memory, take_vectors
from harness.base.sampling import sampled
from harness.data.datasets import Dataset, VectorFiles
from harness.data.metric import Metric
from harness.data.training_queries import MAX_QUERIES
from harness.evaluation.exact_search import search, search_uncompressed
from harness.evaluation.fidelity import TOP, Comparison
from harness.evaluation.geometry import Geometry
from harness.evaluation.index_build import encode, teach
from harness.evaluation.rankings import Rankings
from harness.evaluation.retrieval_metrics import Judgements, ndcg
from harness.runs.presets import Preset, of_store
from harness.tuning.objective import (
    FIRST_LOOK,
    LEAST_QUERIES,
    MOST_QUERIES,
    SHARE_OF_DOCUMENTS,
    Look,
    Outcome,
    measured,
)
from harness.tuning.priors import ranked
from harness.tuning.result import Figure
from harness.tuning.space import Candidate, Member, fixed, space
from methods.base import MethodError

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

JudgementsOf = Callable[[Int64], Judgements | None]

log = logging.getLogger(__name__)

MOST_DOCUMENTS = 10_000
"""Documents of the second rung; as many others are for fitting where there are enough."""

LEAST_FITTED = 2_000
"""Documents that methods are fitted on at least: of fewer than twice as many none is set aside for that."""

RUNGS = 12
"""Settings of the ladder."""

FINALISTS = 4
"""Settings that are measured on the second rung."""

SECOND_RUNG = 3.0
"""How many times as long as on the first a setting takes there, for the time that is left: twice the documents to
fit on and to encode, and a little more."""

PLAIN = ("float16", "int8", "int4")
"""What fits larger budgets, and needs no search for parameters."""


@dataclass(frozen=True, eq=False)
class Rung:
    """A setting that was measured.

    Attributes
    ----------
    candidate : Candidate
    outcome : Outcome
        On the most documents that it was measured on.
    preset : Preset or None
        Of a vector store.
    """

    candidate: Candidate
    outcome: Outcome
    preset: Preset | None = None

    @property
    def overlap(self) -> Figure:
        """Overlap@10 on the queries that choose."""
        return Figure.of(self.outcome.overlaps)


@dataclass(frozen=True, eq=False)
class Advice:
    """What to store.

    Attributes
    ----------
    dataset : str
    documents, width : int
    queries_are : str
        What was asked with.
    needs : Needs
    budget : float
        Bytes a document.
    choice : Rung
    kept : Figure
        Overlap@10 of the choice on queries that chose nothing.
    share : Figure or None
        Of the float vectors' nDCG@10 that it keeps there, in percent, where there are judgements.
    ladder : sequence of Rung
        Best first.
    refused : sequence of (str, str)
        Settings that did not fit the vectors or the budget, and why.
    untried : sequence of str
        For which there was no time.
    geometry : Geometry
    warnings : sequence of str
        What these vectors mean for stores' switches.
    sample : int
        Documents that the choice was measured on.
    fitted_apart : bool
        Whether methods were fitted on other documents than those.
    seconds : float
    """

    dataset: str
    documents: int
    width: int
    queries_are: str
    needs: Needs
    budget: float
    choice: Rung
    kept: Figure
    share: Figure | None
    ladder: Sequence[Rung]
    refused: Sequence[tuple[str, str]]
    untried: Sequence[str]
    geometry: Geometry
    warnings: Sequence[str]
    sample: int
    fitted_apart: bool
    seconds: float

    @property
    def total_bytes(self) -> float:
        """Bytes in memory of the corpus asked for, what was fitted included."""
        return memory_of(self.choice.outcome, self.needs)


def memory_of(outcome: Outcome, needs: Needs) -> float:
    """Return the bytes in memory of the corpus asked for, what was fitted included."""
    return outcome.resident_bytes * needs.size + outcome.state_bytes


def advise(dataset: Dataset, needs: Needs, minutes: float = 5.0, seed: int = 0) -> Advice:
    """Choose a setting.

    Parameters
    ----------
    dataset : Dataset
        Of vectors, with queries: the user's own, or documents that left the collection.
    needs : Needs
        A budget of bytes, or of memory for a corpus; perhaps a vector store.
    minutes : float
        Time for all: no setting is begun for which there is likely none left.
    seed : int

    Raises
    ------
    ConfigError
        If there is no budget, there are too few queries, or nothing fits the budget.
    """
    begin = time.monotonic()
    budget = needs.bytes_per_document
    if budget is None:
        raise ConfigError("advise needs a budget: --max-bytes 48, or --ram 8GB with --corpus-size 40e6")
    if not 0 < minutes < np.inf:
        raise ConfigError(f"--minutes must be above 0, got {minutes:g}")
    docs, queries, judgements_of = _vectors(dataset)
    if len(queries) < 2 * LEAST_QUERIES:
        raise ConfigError(f"{len(queries)} queries are too few: at least {2 * LEAST_QUERIES} are needed")
    # of a sample of what is to be stored, what was fitted on it would be known by heart
    is_sample = needs.corpus_size is not None and needs.corpus_size >= 2 * len(docs) >= 4 * LEAST_FITTED
    most = min(MOST_DOCUMENTS, len(docs) // 2) if is_sample else MOST_DOCUMENTS
    sample = _sample(dataset, docs, most, seed)
    chosen = np.random.default_rng(seed).permutation(len(queries))[: 2 * MOST_QUERIES]
    choosing, telling = np.sort(chosen[::2]), np.sort(chosen[1::2])
    whole = _look(docs, queries, sample, choosing)
    looks = [whole.part(FIRST_LOOK), whole] if len(sample) >= 2 * FIRST_LOOK else [whole]
    candidates, refused = _candidates(needs, budget, docs.shape[1])
    ladder, untried = _climb(candidates, looks, needs, begin + 60 * minutes, refused, seed)
    if not ladder:
        least = "; ".join(f"{name}: {why}" for name, why in refused[:3])
        raise ConfigError(f"nothing that was tried fits {budget:g} bytes a document: {least}")
    choice = ladder[0]
    kept, share = _told(choice.candidate, whole, queries, telling, judgements_of(sample), seed)
    geometry = Geometry.of(whole.docs)
    return Advice(
        dataset=dataset.name,
        documents=len(docs),
        width=int(docs.shape[1]),
        queries_are="queries given" if "held out" not in (dataset.revision or "") else "documents held out as queries",
        needs=needs,
        budget=budget,
        choice=choice,
        kept=kept,
        share=share,
        ladder=ladder,
        refused=refused,
        untried=untried,
        geometry=geometry,
        warnings=long_mean.advice(geometry.mean_length, dataset.name, {}, needs.database),
        sample=len(whole.docs),
        fitted_apart=whole.fit_docs is not whole.docs,
        seconds=time.monotonic() - begin,
    )


def read(docs: str, queries: str | None = None, qrels: str | None = None, metric: Metric = "auto") -> Dataset:
    """Return what files hold; without queries, some documents leave the collection and are the queries.

    Raises
    ------
    DatasetError
        See `harness.data.datasets.VectorFiles`.
    """
    if queries is not None:
        return VectorFiles(docs=docs, queries=queries, qrels=qrels, metric=metric).load()
    found = VectorFiles(docs=docs, qrels=qrels, metric=metric, held_out=1).load()
    count = min(2 * MOST_QUERIES, len(found.doc_ids) // SHARE_OF_DOCUMENTS)
    if not found.revision or "held out" not in found.revision or count < 1:
        return found
    return VectorFiles(docs=docs, qrels=qrels, metric=metric, held_out=count).load()


def _vectors(dataset: Dataset) -> tuple[Float32, Float32, JudgementsOf]:
    """Return documents, queries, and what gives the judgements of a sample of documents."""
    assert dataset.doc_vectors is not None
    assert dataset.query_vectors is not None

    def judgements_of(rows: Int64) -> Judgements | None:
        return None if dataset.qrels is None else Judgements.of(dataset.part(rows))

    return dataset.doc_vectors, in_memory(dataset.query_vectors), judgements_of


def _sample(dataset: Dataset, docs: Float32, most: int, seed: int) -> Int64:
    """Return rows of the documents that are looked at: drawn at random, and all that were judged."""
    drawn = np.sort(np.random.default_rng(seed).permutation(len(docs))[:most])
    if dataset.qrels is None:
        return drawn
    judged = {doc_id for judgements in dataset.qrels.values() for doc_id in judgements}
    rows = [row for row, doc_id in enumerate(dataset.doc_ids) if doc_id in judged]
    return np.union1d(drawn, np.array(rows, dtype=np.int64))


def _look(docs: Float32, queries: Float32, rows: Int64, choosing: Int64) -> Look:
    """Return the look at the sample; others are for fitting, where there are as many."""
    searched = as_float32(take_vectors(docs, rows))
    others = np.setdiff1d(np.arange(len(docs)), rows)
    fit_docs = searched
    # of few that are left nothing can be learned
    if len(others) >= max(LEAST_FITTED, len(rows) // 2):
        fit_docs = as_float32(take_vectors(docs, others[sampled(len(others), MOST_DOCUMENTS)]))
    # documents stand in for queries: none of the queries is for fitting
    fit_queries = fit_docs[sampled(len(fit_docs), MAX_QUERIES)]
    pairs = np.column_stack([np.arange(len(fit_queries)), sampled(len(fit_docs), MAX_QUERIES)])
    return Look.of(searched, as_float32(queries[choosing]), fit_docs, fit_queries, pairs)


def _candidates(
    needs: Needs, budget: float, width: int
) -> tuple[list[tuple[Candidate, Preset | None]], list[tuple[str, str]]]:
    """Return the settings to try, the likeliest first, and those that cannot be."""
    if needs.database is not None:
        switches = [(fixed(preset.name), preset) for preset in of_store(needs.database)]
        # a store's switches for terms and for several vectors a document are other matters
        for_vectors = [one for one in switches if one[0].node.about.get("takes", "vectors") == "vectors"]
        return [(member.as_written(1, width), preset) for member, preset in for_vectors], []
    searched = {member.name: member for member in space()}
    # two tiers need a disk, which nobody offered
    known = [name for name, one in searched.items() if one.node.get("about", {}).get("family") != "two tiers"]
    plain = [fixed(name) for name in PLAIN]
    # memory is for what was fitted, too
    whole_bytes = int(budget) if needs.ram_bytes is None else math.ceil(budget) - 1
    members: list[Member] = [*(searched[name] for name in ranked(budget, known)), *plain]
    found: list[tuple[Candidate, Preset | None]] = []
    refused = []
    for member in members:
        try:
            found.append((member.as_written(whole_bytes, width), None))
        except ConfigError as error:
            refused.append((member.name, str(error)))
    return found[: RUNGS + len(plain)], refused


def _climb(
    candidates: Sequence[tuple[Candidate, Preset | None]],
    looks: Sequence[Look],
    needs: Needs,
    deadline: float,
    refused: list[tuple[str, str]],
    seed: int,
) -> tuple[list[Rung], list[str]]:
    """Return the settings within the budget, best first, and the names of those that there was no time for."""
    first: list[Rung] = []
    untried: list[str] = []
    spent: dict[str, float] = {}
    # the last part of the time is for the finalists and for what is told of the choice
    half_way = deadline - 0.5 * max(deadline - time.monotonic(), 0) * (len(looks) - 1)
    for candidate, preset in tqdm(candidates, unit=" settings", disable=None, leave=False):
        if first and time.monotonic() > half_way:
            untried.append(candidate.name)
            continue
        start = time.monotonic()
        rung = _measured(candidate, preset, looks[0], needs, refused, seed)
        spent[candidate.name] = time.monotonic() - start
        if rung is not None:
            first.append(rung)
    first.sort(key=lambda rung: -rung.outcome.quality)
    if len(looks) == 1:
        return first, untried
    final: list[Rung] = []
    for rung in first[:FINALISTS]:
        # the choice is fitted once more, to tell what it keeps
        if final and time.monotonic() + 2 * SECOND_RUNG * spent[rung.candidate.name] > deadline:
            continue
        again = _measured(rung.candidate, rung.preset, looks[1], needs, refused, seed)
        if again is not None:
            final.append(again)
    final.sort(key=lambda rung: -rung.outcome.quality)
    measured_again = {rung.candidate.name for rung in final}
    return [*final, *(rung for rung in first if rung.candidate.name not in measured_again)], untried


def _measured(
    candidate: Candidate,
    preset: Preset | None,
    look: Look,
    needs: Needs,
    refused: list[tuple[str, str]],
    seed: int,
) -> Rung | None:
    """Return a setting with what it does; None for one that does not fit, which is noted."""
    budget = needs.bytes_per_document
    assert budget is not None
    try:
        outcome = measured(candidate.spec(seed).make, look, budget)
    except (MethodError, VecbudgetError) as error:
        refused.append((candidate.name, str(error)))
        return None
    if outcome.resident_bytes > budget:
        refused.append((candidate.name, f"{outcome.resident_bytes:.1f} bytes a document in memory"))
        return None
    if needs.ram_bytes is not None and memory_of(outcome, needs) > needs.ram_bytes:
        refused.append((candidate.name, f"{amount(memory_of(outcome, needs))} with what was fitted"))
        return None
    log.info("%s: %.1f B, overlap@10 %.3f", candidate.name, outcome.resident_bytes, outcome.quality)
    return Rung(candidate, outcome, preset)


def _told(
    candidate: Candidate, look: Look, queries: Float32, telling: Int64, judgements: Judgements | None, seed: int
) -> tuple[Figure, Figure | None]:
    """Return what the choice keeps, on queries that chose nothing."""
    codec = teach(candidate.spec(seed).make(), look.fit_docs, look.fit_queries, look.fit_pairs)
    codes = encode(codec, look.docs)
    depth = min(TOP, len(look.docs))
    asked = as_float32(queries)
    scores, rows = search(codec, asked, codes, depth)
    exact_scores, nearest = search_uncompressed(asked, look.docs, depth)
    kept = Figure.of(Comparison.of(rows, nearest).recall(TOP, TOP)[telling])
    if judgements is None:
        return kept, None
    ours, theirs = (
        ndcg(Rankings(ranking, found, len(look.docs), judgements), TOP)[telling]
        for ranking, found in ((rows, scores), (nearest, exact_scores))
    )
    return kept, Figure.ratio(ours, theirs)
