"""A collection with fewer documents: all that are judged, and a random share of the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError
from harness.data.datasets.dataset import Dataset


def subset(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Return a collection with a share of its documents, for the question what quality becomes as a corpus grows.

    Every document that a judgement names stays, as in CoRECT (Caspari et al., 2025): what grows is the number of others
    among which these are to be found. Under one seed a smaller share's documents are among a larger one's.

    Parameters
    ----------
    dataset : Dataset
    share : float
        Of the documents, above 0 and at most 1, which is the collection itself. Where more are judged, these are all.
    seed : int
        Of the order in which the documents without judgements enter.

    Raises
    ------
    ConfigError
        For another share.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"corpus_share must be above 0 and at most 1, got {share}")
    n = len(dataset.doc_ids)
    judged = {doc_id for judgements in (dataset.qrels or {}).values() for doc_id in judgements}
    is_judged = np.array([doc_id in judged for doc_id in dataset.doc_ids])
    kept, others = np.flatnonzero(is_judged), np.flatnonzero(~is_judged)
    # one document at least: a collection without judgements may have a share of none
    count = max(round(share * n) - len(kept), 0 if len(kept) else 1)
    if count >= len(others):
        return dataset
    entering = np.random.default_rng(seed).permutation(others)[:count]
    rows: NDArray[np.int64] = np.sort(np.concatenate([kept, entering]))
    part = dataset.part(rows)
    return replace(
        part,
        name=f"{dataset.name}, {len(rows):,} documents (seed {seed})",
        whole=dataset,
        whole_rows=rows,
        subset_seed=seed,
    )
