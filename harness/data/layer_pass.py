"""The cache filled for several depths of a model by one pass of the whole."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from harness.base.errors import ModelError
from harness.data.datasets import Dataset
from harness.data.embedding_cache import (
    Cache,
    Draft,
    encoding_work,
    hold,
    length_chunks,
    progress_bar,
    text_lengths,
)
from harness.data.models.encoder import Role
from harness.data.models.saved_model import changed_options
from harness.data.models.sentence_transformer import CHANGES
from harness.data.shards import Share

log = logging.getLogger(__name__)


def fill_layers(dataset: Dataset, encoder: Any, layers: Sequence[int], cache_dir: Path) -> None:
    """Leave in the cache what a model cut after each of some layers gives, of a dataset's documents and queries.

    The files are those that a run with `model.layers=K` looks for; their vectors equal the cut model's to 1e-5. Those
    that are there are left alone; an interruption is resumed.

    Parameters
    ----------
    dataset : Dataset
    encoder : SentenceTransformerModel or Minilm
        Neither cut, compressed nor run by an engine.
    layers : sequence of int
    cache_dir : Path

    Raises
    ------
    ModelError
        If the model does not give its layers, or the dataset has no texts.
    CacheError
        See `harness.data.embedding_cache`.
    """
    # pruned or factored weights are chosen by what comes after them, and so differ from cut to cut
    if not hasattr(encoder, "encode_layers") or changed_options(encoder, CHANGES):
        raise ModelError(
            f"layers={list(layers)} is for a model of sentence-transformers that is neither cut nor compressed, and "
            f"run by torch; {encoder.label} is none"
        )
    if dataset.doc_texts is None or dataset.query_texts is None:
        raise ModelError(f"{dataset.name} consists of vectors: there is nothing to encode")
    for texts, role, what in (
        (dataset.doc_texts, "document", "documents"),
        (dataset.query_texts, "query", "queries"),
    ):
        _fill_role(dataset, encoder, sorted(set(layers)), cache_dir, texts, role, what)  # type: ignore[arg-type]


def _fill_role(
    dataset: Dataset, encoder: Any, layers: Sequence[int], cache_dir: Path, texts: Sequence[str], role: Role, what: str
) -> None:
    caches = {}
    for layer in layers:
        cut = encoder.cut_after(layer)
        caches[layer] = Cache(cache_dir, dataset, cut, {role: cut.identity(role, dataset.task)})
    files = {layer: cache.files(texts, role) for layer, cache in caches.items()}
    with ExitStack() as held:
        for layer in layers:
            lock = hold(files[layer].lock, f"the {what} of {dataset.name}")
            assert lock is not None
            held.enter_context(lock)
        missing = [layer for layer in layers if not files[layer].data.exists()]
        if not missing:
            log.info("the %s of %s are encoded already", what, dataset.name)
            return
        lengths = text_lengths(texts)
        share = Share(np.arange(len(texts)), length_chunks(lengths))
        drafts = {layer: held.enter_context(Draft.resume(files[layer], len(texts))) for layer in missing}
        places_left = np.unique(np.concatenate([draft.missing for draft in drafts.values()]))
        work, order = encoding_work(lengths), share.order
        bar = progress_bar(int(work.sum()), int(work.sum() - work[order[places_left]].sum()), f"{dataset.name} {what}")
        with bar:
            for places in share.places(places_left):
                rows = order[places]
                found = encoder.encode_layers([texts[row] for row in rows], role, dataset.task, missing)
                for layer, vectors in zip(missing, found, strict=True):
                    drafts[layer].put(places, rows, vectors)
                bar.update(int(work[rows].sum()))
        for layer, draft in drafts.items():
            draft.finish(caches[layer].about())
        log.info("%s of %s encoded for layers %s", what, dataset.name, ", ".join(str(layer) for layer in missing))
