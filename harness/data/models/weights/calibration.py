"""Texts that weights are compressed by: documents of a collection, never a query."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from harness.base.sampling import evenly_spaced

BUILT_IN = "stdlib"
"""The documents of the built-in collection; anything else is a folder."""

COUNT = 64
"""Texts that are taken, evenly spaced over the collection: 10,000 tokens or so, some 25 for each of the 384 inputs of a
small model's layers."""


@lru_cache(maxsize=4)
def calibration_texts(source: str, count: int = COUNT) -> tuple[str, ...]:
    """Return texts of documents.

    Parameters
    ----------
    source : str
        "stdlib" for the built-in collection, or a folder with a corpus in BEIR's layout, of which nothing but the
        corpus is read.
    count : int

    Raises
    ------
    DatasetError
        If there is no such folder, or no corpus in it.
    """
    from harness.data.datasets.folder import corpus_texts
    from harness.data.datasets.stdlib import StandardLibrary

    texts = StandardLibrary().load().doc_texts if source == BUILT_IN else corpus_texts(source)
    assert texts is not None
    return tuple(texts[row] for row in evenly_spaced(len(texts), count))


def texts_hash(texts: tuple[str, ...]) -> str:
    """Return the hash of texts in their order."""
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()[:32]
