"""The Gaussian bound by hand and by its laws, and the errors that are compared with it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.base.sampling import evenly_spaced
from harness.evaluation import rate_distortion
from harness.evaluation.rate_distortion import Limits, distortion, is_linear, rate
from methods.base import Codec, Codes, Float32
from methods.binary.sign import Sign
from methods.composed.chain import Chain
from methods.scalar.lloyd import LloydMax
from methods.scalar.uniform import PerDimension
from methods.transforms.linear import SVD
from tests.conftest import clustered_vectors

SPECTRA = st.lists(st.floats(1e-6, 1e3) | st.just(0.0), min_size=1, max_size=12).filter(any)
UNTIMED = settings(deadline=None)


# ------------------------------------------------------------------------------------------------ the bound


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0, 5.0),  # the power
        (0.5, 3.0),  # all to the first: 4 / 2^(2 * 0.5) = 2, and 1 for the second, which is still below the level
        (1.0, 2.0),  # the level is at the second eigenvalue
        (2.0, 1.0),  # half a bit to each: level 1 / 2
        (3.0, 0.5),
        (11.0, 2 / 2.0**10),
    ],
)
def test_two_dimensions_by_hand(bits: float, expected: float) -> None:
    assert distortion([4.0, 1.0], bits) == pytest.approx(expected, rel=1e-12)
    assert rate([1.0, 4.0], expected) == pytest.approx(bits, abs=1e-12), "in any order"


def test_equal_variances_share_the_bits() -> None:
    assert distortion(np.full(8, 0.5), 24) == pytest.approx(8 * 0.5 / 2.0**6)
    assert rate(np.full(8, 0.5), 4 / 2.0**6) == pytest.approx(24)


def test_what_does_not_vary_needs_no_bits() -> None:
    assert distortion([4.0, 1.0, 0.0, -1e-17], 3.0) == distortion([4.0, 1.0], 3.0)
    assert rate([4.0, 0.0], 1.0) == 1.0
    assert distortion([0.0, 0.0], 3.0) == 0.0 and rate([0.0], 0.0) == 0.0
    assert rate([4.0, 1.0], 7.0) == 0.0 and rate([4.0, 1.0], 0.0) == np.inf


@given(SPECTRA, st.floats(0, 200))
def test_rate_undoes_distortion(spectrum: list[float], bits: float) -> None:
    error = distortion(spectrum, bits)
    assert 0 < error <= sum(spectrum) * (1 + 1e-12)
    assert rate(spectrum, error) == pytest.approx(bits, rel=1e-6, abs=1e-6)


@given(SPECTRA, st.floats(0, 1))
def test_distortion_undoes_rate(spectrum: list[float], share: float) -> None:
    assume(share > 1e-9)
    error = share * sum(spectrum)
    assert distortion(spectrum, rate(spectrum, error)) == pytest.approx(error, rel=1e-9)


@given(SPECTRA, st.floats(0, 100), st.floats(0, 100), st.floats(0.1, 10))
def test_the_bound_falls_is_convex_and_scales(spectrum: list[float], a: float, b: float, factor: float) -> None:
    at_a, at_b, between = (distortion(spectrum, bits) for bits in (a, b, (a + b) / 2))
    assert (at_a - at_b) * (a - b) <= 1e-12 * sum(spectrum)
    assert between <= (at_a + at_b) / 2 * (1 + 1e-9)
    scaled = [factor * value for value in spectrum]
    assert distortion(scaled, a) == pytest.approx(factor * at_a)


@given(SPECTRA, st.floats(0, 60), st.lists(st.floats(0, 1), min_size=12, max_size=12))
def test_no_other_way_to_share_the_bits_is_better(spectrum: list[float], bits: float, weights: list[float]) -> None:
    given_to = np.array(weights[: len(spectrum)])
    assume(given_to.sum() > 1e-3)
    shared = bits * given_to / given_to.sum()
    assert distortion(spectrum, bits) <= (np.array(spectrum) * 4.0**-shared).sum() * (1 + 1e-9)


# ------------------------------------------------------------------------------------------------ methods against it


def gaussian(n: int, spectrum: np.ndarray, seed: int = 0) -> Float32:
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(np.random.default_rng(9).standard_normal((len(spectrum), len(spectrum))))[0]
    vectors: Float32 = ((rng.standard_normal((n, len(spectrum))) * np.sqrt(spectrum)) @ rotation).astype(np.float32)
    return vectors


SPECTRUM = np.exp(-np.arange(16) / 4)
DOCS, QUERIES = gaussian(4000, SPECTRUM), gaussian(50, SPECTRUM[::-1], seed=1)
LIMITS = Limits.of(DOCS, QUERIES)


def measured(codec: Codec, docs: Float32 = DOCS, of: Limits = LIMITS) -> dict[str, Any]:
    codes = codec.fit(docs).encode(docs)
    return of.distances(codec, codes, codes.nbytes / codes.n)


def test_spectra_are_those_of_the_source() -> None:
    assert np.sort(LIMITS.vector_spectrum)[::-1] == pytest.approx(SPECTRUM, rel=0.12)
    of_docs, of_queries = np.cov(DOCS.T.astype(float), bias=True), QUERIES.T.astype(float) @ QUERIES / len(QUERIES)
    expected = np.sort(np.linalg.eigvals(of_queries @ of_docs).real)
    assert np.sort(LIMITS.score_spectrum) == pytest.approx(expected, rel=1e-4, abs=1e-9)
    probed = LIMITS.probes.T.astype(float) @ LIMITS.probes
    assert len(LIMITS.probes) == 16 and probed == pytest.approx(of_queries, abs=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_lloyds_levels_on_principal_axes_are_as_far_as_theory_says(bits: int) -> None:
    """Equal bits for all axes: each loses a factor of the Gaussian's Lloyd-Max quantiser (Max, 1960, table I)."""
    codec = Chain(transforms=[SVD(dim=None)], codec=LloydMax(bits=bits))
    found = measured(codec)["vector"]
    assert found["distortion"] / found["power"] == pytest.approx({1: 0.3634, 2: 0.1175, 4: 0.009497}[bits], rel=0.05)
    assert found["bound"] == pytest.approx(distortion(SPECTRUM, 16 * bits), rel=0.05)
    assert found["db_over_bound"] == pytest.approx(10 * np.log10(found["distortion"] / found["bound"]))
    assert found["db_over_bound"] > 1.5, "a scalar quantiser that ignores the spectrum"


@pytest.mark.parametrize("codec", [Sign(), PerDimension(bits=3), LloydMax(bits=2, scoring="symmetric")])
def test_on_gaussian_vectors_nothing_beats_the_bound(codec: Codec) -> None:
    found = measured(codec)
    assert found["score"]["db_over_bound"] > 0 and found["score"]["excess_bits_per_dim"] > 0
    if codec.scoring == "asymmetric":
        assert found["vector"]["db_over_bound"] > 0 and found["vector"]["excess_bits_per_dim"] > 0
    else:
        assert found["vector"] is None


@UNTIMED
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3]))
def test_the_excess_is_the_bits_that_the_bound_would_save(seed: int, bits: int) -> None:
    spectrum = np.random.default_rng(seed).exponential(size=6) + 0.01
    docs = gaussian(400, spectrum, seed)
    of = Limits.of(docs, docs[:40])
    found = measured(PerDimension(bits=bits), docs, of)["vector"]
    codes = PerDimension(bits=bits).fit(docs).encode(docs)
    needed = 8 * codes.nbytes / 400 - 6 * found["excess_bits_per_dim"]
    assert distortion(of.vector_spectrum, needed) == pytest.approx(found["distortion"], rel=1e-6)


class Answering(Codec):
    """Keeps the documents, and answers a function of query and document."""

    def __init__(self, answer: Callable[[Float32, Float32], Float32], row_wise: bool = True) -> None:
        super().__init__()
        self.answer = answer
        self.row_wise = row_wise  # type: ignore[misc]

    def _encode(self, docs: Float32) -> Codes:
        return Codes.packed(docs)

    def _decode(self, codes: Codes) -> Float32:
        return codes.array

    def score(self, queries: Any, codes: Codes) -> Float32:
        if not self.row_wise:
            assert codes.n == len(DOCS), "not in parts"
        return self.answer(queries, codes.array).astype(np.float32)


NOISE = gaussian(4000, np.full(16, 0.01), seed=5)


@pytest.mark.parametrize("row_wise", [True, False])
def test_errors_are_mean_squares_after_the_best_factor(row_wise: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("methods.base.BLOCK_BYTES", 1 << 16)
    codec = Answering(lambda queries, docs: 7 * queries @ docs.T, row_wise=row_wise)
    codes = codec.fit(DOCS).encode(DOCS + NOISE)
    found = LIMITS.distances(codec, codes, 4.0)
    truth, answer = (m - m.mean(axis=0) for m in (DOCS.astype(float), 7.0 * (DOCS.astype(float) + NOISE)))
    factor = np.linalg.lstsq(answer.reshape(-1, 1), truth.ravel(), rcond=None)[0][0]
    vector, score = found["vector"], found["score"]
    assert vector is not None and score is not None
    assert vector["distortion"] == pytest.approx(((truth - factor * answer) ** 2).sum(axis=1).mean(), rel=1e-4)
    assert vector["power"] == pytest.approx((truth**2).sum(axis=1).mean(), rel=1e-6)
    true_scores, scores = truth @ QUERIES.T, answer @ QUERIES.T
    factor = (true_scores * scores).sum() / (scores**2).sum()
    assert score["distortion"] == pytest.approx(((true_scores - factor * scores) ** 2).mean(), rel=1e-4)
    assert score["power"] == pytest.approx((true_scores**2).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("answer", "linear"),
    [
        (lambda queries, docs: queries @ docs.T, True),
        (lambda queries, docs: np.round(queries * 64) / 64 @ docs.T, False),
        (lambda queries, docs: (queries - 0.01) @ docs.T, False),
        (lambda queries, docs: (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ docs.T, False),
        (lambda queries, docs: queries @ docs.T + (docs**2).sum(axis=1), False),
        (lambda queries, docs: np.full((len(queries), len(docs)), np.nan), False),
    ],
)
def test_only_what_is_linear_in_the_query_has_a_reconstruction(
    answer: Callable[[Float32, Float32], Float32], linear: bool
) -> None:
    codec = Answering(answer).fit(DOCS)
    codes = codec.encode(DOCS)
    assert is_linear(codec, codes, 16) == linear
    found = LIMITS.distances(codec, codes, 64.0)
    assert (found["vector"] is not None) == linear
    assert (found["score"] is None) == bool(np.isnan(answer(QUERIES, DOCS)).any()), "no NaN gets into a record"


@pytest.mark.parametrize(
    "codec", [PerDimension(bits=3), Chain(transforms=[SVD(centre="docs")], codec=LloydMax(bits=2))]
)
def test_what_all_documents_share_is_neither_power_nor_error(codec: Codec) -> None:
    """A mean that is ten times as long as the rest changes nothing, for a code that follows it."""
    plain = measured(codec)
    shifted = DOCS + np.float32(3) * np.ones(16, np.float32)
    moved = measured(codec, shifted, Limits.of(shifted, QUERIES))
    for part in ("vector", "score"):
        for name in ("power", "distortion", "bound", "db_over_bound"):
            assert moved[part][name] == pytest.approx(plain[part][name], rel=2e-3, abs=1e-2), (part, name)


def test_answers_that_lack_the_same_for_all_documents_are_as_good() -> None:
    """Scores about a centre: <q, x - c>, a ranking like that of <q, x>."""
    centre = np.full(16, 5, np.float32)
    exact = Answering(lambda queries, docs: 3 * queries @ (docs - centre).T).fit(DOCS)
    found = LIMITS.distances(exact, exact.encode(DOCS), 64.0)
    assert all(found[part]["distortion"] <= 1e-9 * found[part]["power"] for part in ("vector", "score"))


def test_rounding_has_no_distance() -> None:
    exact = Answering(lambda queries, docs: queries @ docs.T).fit(DOCS)
    found = LIMITS.distances(exact, exact.encode(DOCS), 64.0)
    for part in ("vector", "score"):
        distance = found[part]
        assert distance is not None and distance["distortion"] <= 1e-9 * distance["power"]
        assert distance["db_over_bound"] is None and distance["excess_bits_per_dim"] is None
        assert 0 < distance["bound"] < 1e-9 * distance["power"]


def test_answers_that_say_nothing_have_the_power_as_their_error() -> None:
    void = Answering(lambda queries, docs: np.zeros((len(queries), len(docs)), np.float32)).fit(DOCS)
    found = LIMITS.distances(void, void.encode(DOCS), 0.0)["vector"]
    assert found is not None and found["db_over_bound"] == pytest.approx(0) and found["excess_bits_per_dim"] == 0


def test_of_many_documents_and_queries_a_part_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    docs, queries = clustered_vectors(3000, 32), clustered_vectors(300, 32, seed=1)
    whole = measured(PerDimension(bits=2), docs, Limits.of(docs, queries))
    monkeypatch.setattr(rate_distortion, "MAX_DOCS", 1500)
    monkeypatch.setattr(rate_distortion, "MAX_QUERIES", 150)
    of = Limits.of(docs, queries)
    assert of.docs.shape == (1500, 32) and of.queries.shape == (150, 32) and of.rows[1] == 2
    part = measured(PerDimension(bits=2), docs, of)
    for name in ("vector", "score"):
        assert part[name]["db_over_bound"] == pytest.approx(whole[name]["db_over_bound"], abs=0.5)
        assert part[name] != whole[name]


@given(st.integers(1, 300), st.integers(1, 300))
def test_an_even_sample(n: int, most: int) -> None:
    rows = evenly_spaced(n, most)
    assert len(rows) == min(n, most) and rows[0] == 0 and rows[-1] < n
    gaps = np.diff(rows)
    assert (gaps >= 1).all() and (len(gaps) == 0 or gaps.max() - gaps.min() <= 1)
