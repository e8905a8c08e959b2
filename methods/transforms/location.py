"""Where documents lie: a vector that all of them share, subtracted before coding and given back in decoding.

Signs and rotated levels are made for numbers around zero. The vectors of many models are not: their mean document has
length .9 (multilingual-e5), so that half of the signs are the same for every document. About their mean they are as
easy to code as others. What must not be forgotten is to give the mean back: <q, x> = <q, c> + <q, r>, r = x - c, has a
first term that no ranking sees, but the length of a decoded document, by which it is renormalised, is that of c + r^.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from methods.base import Array, Float32, row_blocks

Centre = Literal["none", "mean", "median", "auto"]

MEAN_SHARE = 0.25
"""Share of the documents' mean square that their mean must have for centre=auto to subtract it.

Signs about the mean, given back and renormalised, against plain signs, share of nDCG@10 kept: multilingual-e5 on four
collections (mean's share .75 to .84) .93, .95, .91, .98 against .53, .58, .35, .81; Cranfield with all-mpnet and with
MiniLM (.35, .29) .97, .92 against .94, .92; MLQuestions and SciFact with MiniLM, MLQuestions with all-mpnet (.10 to
.13) .95, .95, .99 against .96, .97, .99."""


def mean_of(docs: Float32) -> Float32:
    """Return the mean of documents (n, d), float32 (d,), summed in float64."""
    mean: Float32 = docs.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def is_far(mean: Array, moment: Array) -> bool:
    """Return whether a mean (d,) has `MEAN_SHARE` of the documents' mean square, the trace of their second moment."""
    return float(np.sum(mean.astype(np.float64) ** 2)) >= MEAN_SHARE * float(np.trace(moment))


def location(docs: Float32, centre: Centre) -> Float32 | None:
    """Return what is subtracted from documents (n, d), float32 (d,); None for nothing.

    Parameters
    ----------
    docs : float32 (n, d)
    centre : {"none", "mean", "median", "auto"}
        *median*: of each dimension. *auto*: the mean, if it has `MEAN_SHARE` of the documents' mean square.
    """
    if centre == "none":
        return None
    if centre == "median":
        return np.median(docs, axis=0).astype(np.float32)
    mean = mean_of(docs)
    if centre == "auto":
        blocks = (docs[start:stop] for start, stop in row_blocks(len(docs), 8 * docs.shape[1]))
        power = sum(float(np.einsum("ij,ij->", block, block, dtype=np.float64)) for block in blocks) / len(docs)
        if float(np.sum(mean.astype(np.float64) ** 2)) < MEAN_SHARE * power:
            return None
    return mean
