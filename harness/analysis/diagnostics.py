"""What a set of embeddings is like: spectrum, intrinsic dimension, isotropy, hubness, single dimensions, norms.

Pure functions of arrays. Neighbours are found exactly, so the cost grows with the square of the rows: sample first.
Three figures depend on how many rows there are, and compare only sets of about one size: both intrinsic dimensions,
which are those of the cloud at the scale of its nearest neighbours, and hubness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.evaluation.geometry import outlier_dimensions
from harness.evaluation.rate_distortion import distortion, second_moment
from methods import topk
from methods.base import row_blocks

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

HUB_NEIGHBOURS = 10
"""k of the k-occurrence (Radovanović et al., 2010)."""

NEIGHBOURS = 20
"""k of the maximum likelihood intrinsic dimension, the upper end of Levina and Bickel's k1 = 10 to k2 = 20."""

KEPT = 0.9
"""Share of the distance ratios that the two-nearest-neighbour fit keeps (Facco et al., 2017, Methods)."""

SAME = 1e-5
"""Distance, in units of the root mean square norm, below which two vectors are one: an encoder gives one text slightly
different vectors in different batches."""

CONSTANT = 1e-6
"""Share of the mean variance of all dimensions below which one is constant."""

BOTH_ROLES = (
    "rankme",
    "participation_ratio",
    "dimension_two_nn",
    "dimension_mle",
    "duplicates",
    "mean_cosine",
    "mean_norm_share",
    "partition_ratio",
    "hubness",
    "hubness_by_chance",
    "never_found",
    "kurtosis_median",
    "kurtosis_max",
    "constant_dimensions",
    "outlier_dimensions",
    "norm_mean",
    "norm_spread",
)
"""Names of the figures of `Diagnosis`."""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` found in one set.

    Attributes
    ----------
    n, dim : int
        Rows and dimensions.
    figures : dict of str to float
        One number for each of `BOTH_ROLES`; NaN where a set is too small to have it.
    spectrum : float64 (d,)
        Eigenvalues of the uncentred second moment, descending.
    occurrences : int64 (n,)
        How often each document is among the 10 best, for `hubness`; over the other documents, or over the queries.
    mean, variance, kurtosis : float64 (d,)
        Of each dimension; a normal distribution has (excess) kurtosis 0. That of a constant dimension is NaN.
    outliers : int64 (o,)
        See `harness.evaluation.geometry.outlier_dimensions`.
    """

    n: int
    dim: int
    figures: dict[str, float]
    spectrum: Float64
    occurrences: Int64
    mean: Float64
    variance: Float64
    kurtosis: Float64
    outliers: Int64

    def distortion_share(self, bytes_per_vector: float) -> float:
        """Return the least share of the power that is lost at a size if the set were Gaussian, D(R) / D(0)."""
        return distortion(self.spectrum, 8 * bytes_per_vector) / float(self.spectrum.sum())


def diagnose(vectors: Float32, docs: Float32 | None = None) -> Diagnosis:
    """Compute every figure of a set.

    Parameters
    ----------
    vectors : float32 (n, d)
    docs : float32 (n', d) or None
        The documents for which `vectors` are the queries: hubness is then that of the documents among the queries' 10
        best. None: `vectors` are documents, and hubness is among each other's.
    """
    from scipy import stats

    n, dim = vectors.shape
    moment = second_moment(vectors)
    mean = vectors.mean(axis=0, dtype=np.float64)
    spectrum = _eigenvalues(moment)
    centred = _eigenvalues(moment - np.outer(mean, mean))
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    rms = float(np.sqrt(spectrum.sum()))
    distances, duplicates = distinct_distances(vectors, NEIGHBOURS)
    if docs is None:
        rows, targets = _other_rows(topk_rows(vectors, vectors, HUB_NEIGHBOURS + 1)), n
    else:
        rows, targets = topk_rows(vectors, docs, HUB_NEIGHBOURS), len(docs)
    occurrences = k_occurrence(rows, targets)
    variance = np.maximum(np.diag(moment) - mean**2, 0.0)
    varies = variance > CONSTANT * variance.mean()
    kurtosis = np.full(dim, np.nan)
    kurtosis[varies] = stats.kurtosis(vectors[:, varies], axis=0)
    outliers = outlier_dimensions(mean, variance)
    figures = {
        "rankme": effective_rank(spectrum),
        "participation_ratio": participation_ratio(centred),
        "dimension_two_nn": two_nn(distances),
        "dimension_mle": mle_dimension(distances),
        "duplicates": float(duplicates),
        "mean_cosine": mean_cosine(vectors),
        "mean_norm_share": float(np.linalg.norm(mean)) / rms if rms else np.nan,
        "partition_ratio": partition_ratio(vectors, moment),
        "hubness": skewness(occurrences),
        "hubness_by_chance": float(1 / np.sqrt(occurrences.mean())) if occurrences.any() else np.nan,
        "never_found": float((occurrences == 0).mean()),
        "kurtosis_median": float(np.median(kurtosis[varies])) if varies.any() else np.nan,
        "kurtosis_max": float(kurtosis[varies].max()) if varies.any() else np.nan,
        "constant_dimensions": float(dim - np.count_nonzero(varies)),
        "outlier_dimensions": float(len(outliers)),
        "norm_mean": float(norms.mean()),
        "norm_spread": float(norms.std() / norms.mean()) if norms.any() else np.nan,
    }
    return Diagnosis(n, dim, figures, spectrum, occurrences, mean, variance, kurtosis, outliers)


def effective_rank(eigenvalues: ArrayLike) -> float:
    """Return RankMe: the exponential of the entropy of the normalised singular values.

    exp(-sum_i p_i ln p_i) with p_i = s_i / sum_j s_j. It is d for a white set and 1 where all vectors are multiples of
    one. The singular values are those of the vectors as they are, uncentred.

    Source: Garrido, Balestriero, Najman and LeCun, 2023, eq. 1-2 (after Roy and Vetterli, 2007), without its epsilon.

    Parameters
    ----------
    eigenvalues : array_like of float (d,)
        Of the second moment: squares of the singular values, whatever their scale.
    """
    singular = np.sqrt(np.maximum(np.asarray(eigenvalues, dtype=np.float64), 0.0))
    total = singular.sum()
    if total == 0:
        return float("nan")
    shares = singular[singular > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def participation_ratio(eigenvalues: ArrayLike) -> float:
    """Return (sum_i l_i)^2 / sum_i l_i^2 of the eigenvalues of a covariance, (d,): 1 to d.

    IsoScore (Rudman et al., 2022) is a function of it.
    """
    values = np.maximum(np.asarray(eigenvalues, dtype=np.float64), 0.0)
    power = float((values**2).sum())
    return float(values.sum() ** 2 / power) if power else float("nan")


def topk_rows(queries: Float32, docs: Float32, k: int) -> Int64:
    """Return the rows of the min(k, n) documents (n, d) with the highest inner products, (m, min(k, n))."""
    _, rows = topk.search(queries, _blocks(docs), min(k, len(docs)))
    return rows


def distinct_distances(vectors: Float32, k: int) -> tuple[Float64, int]:
    """Return the distances to the k nearest distinct vectors, and how many vectors were left out as repetitions.

    A vector within `SAME` of one in an earlier row repeats it, and is neither a point nor a neighbour: distances of
    zero would make ratios of distances infinite.

    Parameters
    ----------
    vectors : float32 (n, d)
    k : int

    Returns
    -------
    distances : float64 (n', k')
        Euclidean, ascending, n' <= n distinct vectors, k' = min(k, n' - 1).
    duplicates : int
        n - n'.
    """
    unique = vectors
    nearest = np.empty((len(vectors), 0))
    while len(unique):
        rows = _nearest(unique, k)
        nearest = _distances(unique, rows)
        scale = np.sqrt(np.einsum("ij,ij->", unique, unique, dtype=np.float64) / len(unique))
        repeated = ((nearest <= SAME * scale) & (rows < np.arange(len(unique))[:, None])).any(axis=1)
        if not repeated.any():
            break
        unique = unique[~repeated]
    return np.sort(nearest, axis=1), len(vectors) - len(unique)


def two_nn(distances: ArrayLike) -> float:
    """Return the intrinsic dimension from the ratio of the distances to the two nearest neighbours.

    mu = r2 / r1 is Pareto distributed with exponent d: the slope through the origin of -ln(1 - F(mu)) over ln mu, F
    being the empirical distribution, fitted to the smallest `KEPT` of the ratios.

    Source: Facco, d'Errico, Rodriguez and Laio, 2017, eq. 5 and its algorithm.

    Parameters
    ----------
    distances : array_like of float (n, at least 2)
        Ascending and positive. NaN for fewer than 10 rows, or where all ratios are 1.
    """
    near = np.asarray(distances, dtype=np.float64)
    if len(near) < 10 or near.shape[1] < 2:
        return float("nan")
    ratios = np.sort(np.log(near[:, 1] / near[:, 0]))
    kept = int(KEPT * len(ratios))
    x, y = ratios[:kept], -np.log1p(-np.arange(1, kept + 1) / len(ratios))
    spread = float(x @ x)
    return float(x @ y) / spread if spread else float("nan")


def mle_dimension(distances: ArrayLike) -> float:
    """Return the maximum likelihood intrinsic dimension from the distances T_1..T_k to the k nearest neighbours.

    The inverse of the mean, over points and neighbours j < k, of ln(T_k / T_j).

    Source: Levina and Bickel, 2004, eq. 8, with the inverses averaged as MacKay and Ghahramani, 2005, show one must.

    Parameters
    ----------
    distances : array_like of float (n, k)
        Ascending and positive. NaN where k < 3 or all distances are equal.
    """
    near = np.asarray(distances, dtype=np.float64)
    if not len(near) or near.shape[1] < 3:
        return float("nan")
    inverse = float(np.log(near[:, -1:] / near[:, :-1]).mean())
    return 1 / inverse if inverse else float("nan")


def mean_cosine(vectors: Float32) -> float:
    """Return the mean cosine of all pairs of different rows of (n, d), in closed form; a zero vector has cosine 0.

    The expectation of Ethayarajh's (2019) mean over random pairs: (|sum_i u_i|^2 - n) / (n (n - 1)), u of unit length.
    """
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    units = np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0)
    n = len(units)
    if n < 2:
        return float("nan")
    return float((np.square(units.sum(axis=0)).sum() - np.count_nonzero(norms)) / (n * (n - 1)))


def partition_ratio(vectors: Float32, moment: Float64) -> float:
    """Return the isotropy of Mu and Viswanath: min_a Z(a) / max_a Z(a) with Z(a) = sum_i exp(a . x_i); 1 is isotropic.

    a runs over the eigenvectors of the second moment and, because their signs are arbitrary, their opposites. Vectors
    are divided by their root mean square norm, without which the ratio would depend on the unit.

    Source: Mu and Viswanath, 2018, eq. 3 and section 2.1.

    Parameters
    ----------
    vectors : float32 (n, d)
    moment : float64 (d, d)
        Their uncentred second moment.
    """
    rms = float(np.sqrt(np.trace(moment)))
    if rms == 0:
        return float("nan")
    directions = (np.linalg.eigh(moment)[1] / rms).astype(np.float32)
    totals = np.zeros((2, len(moment)))
    for start, stop in row_blocks(len(vectors), 24 * len(moment)):
        along = (vectors[start:stop] @ directions).astype(np.float64)
        totals += np.exp(along).sum(axis=0), np.exp(-along).sum(axis=0)
    return float(totals.min() / totals.max())


def k_occurrence(rows: Int64, n: int) -> Int64:
    """Return how many lists of neighbours (m, k) each of n documents is in, (n,)."""
    return np.bincount(rows.ravel(), minlength=n)


def skewness(occurrences: ArrayLike) -> float:
    """Return hubness: the skewness of the k-occurrence (n,), E[(N - mean)^3] / sd^3; 0 where all are equal.

    Documents found at random have 1 / sqrt(mean), as a Poisson distribution does, so a set with few queries has some
    without any hub.

    Source: Radovanović, Nanopoulos and Ivanović, 2010, eq. 1.
    """
    counts = np.asarray(occurrences, dtype=np.float64)
    deviations = counts - counts.mean()
    variance = float((deviations**2).mean())
    return float((deviations**3).mean()) / variance**1.5 if variance else 0.0


def linear_cka(first: Float32, second: Float32) -> tuple[float, float]:
    """Return linear centred kernel alignment of two sets of vectors for the same n things, biased and unbiased.

    |Y'X|_F^2 / (|X'X|_F |Y'Y|_F) of centred X and Y: 1 for sets that differ by a rotation and a scale. As published it
    is biased: unrelated sets reach about d / n and more, which is much where n is not many times d. The unbiased
    figure, with HSIC_1 of Song et al. in place of HSIC, is 0 on average for unrelated sets; it may be negative.

    Source: Kornblith, Norouzi, Lee and Hinton, 2019, eq. 3-4; Song, Smola, Gretton, Bedo and Borgwardt, 2012, eq. 5.

    Parameters
    ----------
    first, second : float32 (n, d), (n, d')

    Returns
    -------
    biased, unbiased : float
        NaN where a set does not vary; the unbiased one also for n < 4.
    """
    n = len(first)
    means = [vectors.mean(axis=0, dtype=np.float64) for vectors in (first, second)]
    products = [np.zeros((a.shape[1], b.shape[1])) for a, b in ((first, first), (second, second), (first, second))]
    sides: list[list[Float64]] = [[], []]
    for start, stop in row_blocks(n, 8 * (first.shape[1] + second.shape[1])):
        x, y = (vectors[start:stop] - mean for vectors, mean in zip((first, second), means, strict=True))
        for product, a, b in zip(products, (x, y, x), (x, y, y), strict=True):
            product += a.T @ b
        for side, block in zip(sides, (x, y), strict=True):
            side.append(np.einsum("ij,ij->i", block, block))
    xx, yy, xy = (float(np.square(product).sum()) for product in products)
    if xx == 0 or yy == 0:
        return float("nan"), float("nan")
    biased = xy / np.sqrt(xx * yy)
    if n < 4:
        return float(biased), float("nan")
    p, q = (np.concatenate(side) for side in sides)

    def hsic(product: float, a: Float64, b: Float64) -> float:
        # of Gram matrices without their diagonals a and b; centred, their rows sum to -a and -b
        corner = a.sum() * b.sum() / ((n - 1) * (n - 2))
        return float(product - a @ b + corner - 2 / (n - 2) * (a @ b))

    of_x, of_y = hsic(xx, p, p), hsic(yy, q, q)
    unbiased = hsic(xy, p, q) / np.sqrt(of_x * of_y) if of_x > 0 and of_y > 0 else float("nan")
    return float(biased), float(unbiased)


def neighbour_overlap(first: Float32, second: Float32, k: int = HUB_NEIGHBOURS) -> float:
    """Return the mean share of each row's k best others, by inner product, that two sets (n, d), (n, d') agree on."""
    mine, theirs = (_other_rows(topk_rows(vectors, vectors, k + 1)) for vectors in (first, second))
    if not mine.shape[1]:
        return float("nan")
    return float((mine[:, :, None] == theirs[:, None, :]).any(axis=2).mean())


def _eigenvalues(matrix: Float64) -> Float64:
    """Return a symmetric matrix's eigenvalues, descending, those of rounding set to 0."""
    values = np.linalg.eigvalsh(matrix)[::-1].astype(np.float64)
    return np.where(values > values[0] * len(values) * np.finfo(np.float64).eps, values, 0.0)


def _blocks(docs: Float32) -> list[tuple[int, Float32]]:
    return [(start, docs[start:stop]) for start, stop in row_blocks(len(docs), 4 * topk.QUERY_BLOCK)]


def _other_rows(rows: Int64) -> Int64:
    """Drop each row's own number from its k + 1 neighbours, or the last of them where it is not there."""
    own = rows == np.arange(len(rows))[:, None]
    order = np.argsort(own, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1)[:, :-1]


def _nearest(vectors: Float32, k: int) -> Int64:
    """Return the rows of each vector's k nearest others by Euclidean distance, (n, min(k, n - 1))."""
    centred = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    # the nearest y has the highest x . y - |y|^2 / 2
    half = -0.5 * np.einsum("ij,ij->i", centred, centred)[:, None]
    rows = topk_rows(np.hstack([centred, np.ones_like(half)]), np.hstack([centred, half]), k + 1)
    return _other_rows(rows)


def _distances(vectors: Float32, rows: Int64) -> Float64:
    """Return the distances of each vector to those in some rows (n, k), in float64: differences, not Gram matrices."""
    found = np.empty(rows.shape)
    for start, stop in row_blocks(len(rows), 16 * max(1, rows.shape[1]) * vectors.shape[1]):
        apart = vectors[rows[start:stop]].astype(np.float64) - vectors[start:stop, None]
        found[start:stop] = np.sqrt(np.einsum("ijk,ijk->ij", apart, apart))
    return found
