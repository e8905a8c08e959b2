import itertools
from typing import Any

import numpy as np
import pytest

from methods.base import MethodError, unit_rows
from methods.composed.chain import Chain
from methods.product.faiss_codec import FaissCodec
from methods.rotated.faiss_rabitq import FaissRaBitQ
from methods.rotated.scaled_levels import ScaledLevels, best_clip, round_to_range
from methods.scalar.lloyd import gaussian_half_levels
from methods.transforms.rotation import RandomRotation
from tests.conftest import clustered_vectors

RABITQ: dict[str, Any] = {"levels": "uniform", "scale": "unbiased", "factors": "float32"}
D = 96


def random_units(n: int, d: int = D, seed: int = 0) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32))


def decoded(codec: ScaledLevels, docs: np.ndarray) -> np.ndarray:
    return codec.decode(codec.fit(docs).encode(docs))


def cosines(docs: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", unit_rows(docs), unit_rows(other))


@pytest.mark.parametrize(("bits", "error"), [(1, 0.36), (2, 0.117), (3, 0.03), (4, 0.009)])
def test_turboquant_error_is_the_published_one(bits: int, error: float) -> None:
    """The paper rounds these figures down; theory says .363, .1175, .0345, .0095."""
    docs = clustered_vectors(400, 384)
    chain = Chain(transforms=[RandomRotation()], codec=ScaledLevels(bits=bits, levels="sphere", scale="constant"))
    left = chain.decode(chain.fit(docs).encode(docs)) - chain.transforms[0].transform_docs(docs)
    assert (left**2).sum(axis=1).mean() == pytest.approx(error, rel=0.16)
    exact = {1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009501}[bits]
    assert (left**2).sum(axis=1).mean() == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_turboquant_is_that_of_faiss(bits: int) -> None:
    docs = unit_rows(random_units(300) + np.float32(0.05))
    faiss_codec = FaissCodec(factory=f"SQtqmse{bits}").fit(docs)
    ours = decoded(ScaledLevels(bits=bits, levels="gaussian", scale="constant"), docs)
    assert np.allclose(ours, faiss_codec.decode(faiss_codec.encode(docs)), atol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_eden_is_that_of_faiss(bits: int) -> None:
    docs = unit_rows(random_units(300) + np.float32(0.05))
    faiss_codec = FaissCodec(factory=f"EDEN{bits}").fit(docs)
    ours = ScaledLevels(bits=bits, scale="unbiased", factors="float32", centre="mean")
    assert np.allclose(decoded(ours, docs), faiss_codec.decode(faiss_codec.encode(docs)), atol=1e-5)


def test_one_bit_rabitq_is_that_of_faiss() -> None:
    docs, queries = unit_rows(random_units(300) + np.float32(0.05)), random_units(20, seed=1)
    theirs, ours = FaissRaBitQ(bits=1).fit(docs), ScaledLevels(bits=1, centre="mean", offset=True, **RABITQ).fit(docs)
    expected = theirs.score(queries, theirs.encode(docs))
    assert np.allclose(ours.score(queries, ours.encode(docs)), expected, atol=1e-5)


@pytest.mark.parametrize("bits", [2, 4])
def test_rabitq_of_more_bits_estimates_no_worse_than_that_of_faiss(bits: int) -> None:
    docs, queries = clustered_vectors(500, D), clustered_vectors(50, D, seed=1)
    exact = queries @ docs.T
    theirs = FaissRaBitQ(bits=bits).fit(docs)
    error = ((theirs.score(queries, theirs.encode(docs)) - exact) ** 2).mean()
    for search in ({"refine": "sweep"}, {"start": "clip", "refine": "adjust"}):
        ours = ScaledLevels(bits=bits, centre="mean", offset=True, **RABITQ, **search).fit(docs)
        assert ((ours.score(queries, ours.encode(docs)) - exact) ** 2).mean() <= 1.02 * error


def test_drive_by_hand() -> None:
    """EDEN at 1 bit is DRIVE: signs times |x|^2 / |x|_1, or times |x|_1 / d for the biased variant."""
    docs = np.array([[3.0, -1, 2, -2]])
    signs = np.array([[1, -1, 1, -1]])
    assert np.allclose(decoded(ScaledLevels(bits=1, scale="unbiased"), docs), signs * 18 / 8, rtol=1e-3)
    assert np.allclose(decoded(ScaledLevels(bits=1, scale="least_squares"), docs), signs * 8 / 4, rtol=1e-3)
    assert np.allclose(decoded(ScaledLevels(bits=1, scale="norm"), docs), signs * np.sqrt(18 / 4), rtol=1e-3)
    assert np.allclose(decoded(ScaledLevels(bits=1, scale="unit"), docs), signs / 2)


def test_two_bit_grid_by_hand() -> None:
    """Cells of 4 / 4 = 1 over [-2, 2]: -2 is in the lowest, 0.4 in the third, 1.2 in the highest."""
    docs = np.array([[-2.0, 0.4, 1.2, -0.3]])
    codec = ScaledLevels(bits=2, levels="uniform", start="absmax", scale="norm", factors="float32").fit(docs)
    codes = codec.encode(docs)
    assert codec._levels(codes).tolist() == [[-3, 1, 3, -1]]
    assert np.allclose(codec.decode(codes), np.array([[-3, 1, 3, -1]]) * np.sqrt(5.69 / 20))


@pytest.mark.parametrize("levels", ["gaussian", "sphere", "uniform"])
@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_what_each_scale_keeps(levels: str, bits: int) -> None:
    docs = 3 * random_units(100)
    z = docs.astype(np.float64)
    found = {
        scale: decoded(ScaledLevels(bits=bits, levels=levels, scale=scale, factors="float32"), docs).astype(np.float64)
        for scale in ("unbiased", "least_squares", "norm", "unit")
    }
    energy = (z**2).sum(axis=1)
    assert np.allclose((z * found["unbiased"]).sum(axis=1), energy, rtol=1e-5)
    assert np.allclose(((z - found["least_squares"]) * found["least_squares"]).sum(axis=1), 0, atol=1e-5)
    assert np.allclose((found["norm"] ** 2).sum(axis=1), energy, rtol=1e-5)
    assert np.allclose((found["unit"] ** 2).sum(axis=1), 1, rtol=1e-5)
    errors = {scale: ((z - values) ** 2).sum() for scale, values in found.items()}
    assert errors["least_squares"] <= errors["norm"] <= errors["unbiased"]


def test_unit_scale_around_a_centre() -> None:
    docs = clustered_vectors(300, D)
    for bits in (1, 3):
        codec = ScaledLevels(bits=bits, levels="uniform", refine="adjust", scale="unit", centre="mean")
        lengths = np.linalg.norm(decoded(codec, docs), axis=1)
        assert np.allclose(lengths, 1, atol=1e-5)
        assert codec.encode(docs).nbytes == 300 * D * bits // 8


def test_unbiased_over_rotations_and_short_by_least_squares() -> None:
    docs, queries = random_units(1, 32), random_units(1, 32, seed=1) + random_units(1, 32)
    exact = float(queries[0] @ docs[0])
    estimates: dict[str, list[float]] = {"unbiased": [], "least_squares": []}
    for seed in range(300):
        rotation = RandomRotation(kind="orthogonal", seed=seed).fit(docs)
        rotated, asked = rotation.transform_docs(docs), rotation.transform_queries(queries)
        for scale, found in estimates.items():
            found.append(float(asked[0] @ decoded(ScaledLevels(bits=1, levels="uniform", scale=scale), rotated)[0]))
    spread = np.std(estimates["unbiased"]) / np.sqrt(300)
    assert abs(np.mean(estimates["unbiased"]) - exact) < 4 * spread
    assert np.mean(estimates["least_squares"]) < exact - 10 * spread


def test_the_sweep_is_the_best_of_all_codes() -> None:
    docs = random_units(30, 5, seed=3)
    for bits in (2, 3):
        odd = np.arange(1 - 2**bits, 2**bits, 2)
        every = np.array(list(itertools.product(odd, repeat=5)), dtype=np.float64)
        best = (docs @ (every / np.linalg.norm(every, axis=1, keepdims=True)).T).max(axis=1)
        swept = decoded(ScaledLevels(bits=bits, refine="sweep", **RABITQ), docs)
        assert np.allclose(cosines(docs, swept), best, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 4])
def test_ways_to_search_in_order_of_their_cosine(bits: int) -> None:
    docs = random_units(200, 128)
    found = {
        name: cosines(docs, decoded(ScaledLevels(bits=bits, **RABITQ, **search), docs))
        for name, search in {
            "absmax": {"start": "absmax"},
            "clip": {"start": "clip"},
            "norm": {"start": "norm"},
            "caq": {"start": "absmax", "refine": "adjust"},
            "clip and adjust": {"start": "clip", "refine": "adjust"},
            "sweep": {"refine": "sweep"},
        }.items()
    }
    for worse, better in (("absmax", "clip"), ("absmax", "caq"), ("clip", "clip and adjust"), ("norm", "sweep")):
        assert (found[worse] <= found[better] + 1e-7).all()
    for name in ("caq", "clip and adjust"):
        assert (found[name] <= found["sweep"] + 1e-7).all()
    # what the rotated documents lose, 1 - cosine, is within a percent of the optimum's
    assert (1 - found["clip and adjust"]).mean() <= 1.01 * (1 - found["sweep"]).mean()


def test_eight_bits_code_quickly_and_well() -> None:
    docs = random_units(200, 384)
    codec = ScaledLevels(bits=8, start="clip", refine="adjust", **RABITQ)
    assert (1 - cosines(docs, decoded(codec, docs))).mean() < 4.5e-5


def test_the_offset_makes_scores_along_the_centre_exact() -> None:
    docs = clustered_vectors(200, D)
    codec = ScaledLevels(bits=1, centre="mean", offset=True, **RABITQ).fit(docs)
    mean = docs.mean(axis=0, keepdims=True)
    assert np.allclose(codec.score(mean, codec.encode(docs)), mean @ docs.T, atol=1e-5)
    assert codec.encode(docs).nbytes == 200 * (D // 8 + 8)


def test_constant_scale_stores_nothing_and_rounds_by_it() -> None:
    docs = 5 * clustered_vectors(100, D)
    codec = ScaledLevels(bits=2, scale="constant").fit(docs)
    codes = codec.encode(docs)
    assert codes.nbytes == 100 * D // 4
    half = gaussian_half_levels(2) * np.sqrt((docs.astype(np.float64) ** 2).mean())
    levels = np.concatenate([-half[::-1], half])
    expected = levels[np.abs(docs[:, :, None] - levels).argmin(axis=2)]
    assert np.allclose(codec.decode(codes), expected, atol=1e-5)
    uniform = decoded(ScaledLevels(bits=4, levels="uniform", scale="constant"), docs)
    assert np.abs(uniform - docs).mean() < 0.12 * np.abs(docs).mean()


def test_rounded_queries() -> None:
    queries = np.array([[0.0, 0.4, 1.0, 3.0], [2, 2, 2, 2]], dtype=np.float32)
    assert round_to_range(queries, 1).tolist() == [[0, 0, 0, 3], [2, 2, 2, 2]]
    assert round_to_range(queries, 2).tolist() == [[0, 0, 1, 3], [2, 2, 2, 2]]
    docs, asked = clustered_vectors(200, D), clustered_vectors(20, D, seed=1)
    exact = ScaledLevels(bits=1, centre="mean", offset=True, **RABITQ).fit(docs)
    expected = exact.score(asked, exact.encode(docs))
    errors = []
    for bits in (2, 4, 8):
        codec = ScaledLevels(bits=1, centre="mean", offset=True, query_bits=bits, **RABITQ).fit(docs)
        errors.append(np.abs(codec.score(asked, codec.encode(docs)) - expected).max())
    assert errors[2] < 0.1 * errors[1] < 0.1 * errors[0]


def test_clipping_is_chosen_by_cosine() -> None:
    # one outlier: at 2 bits with nothing clipped all others would fall into the innermost cells
    vectors = np.full((1, 64), 0.9, dtype=np.float32)
    vectors[0, ::2] = 0.2
    vectors[0, 0] = 2.0
    assert set(best_clip(vectors, 2)[0, 2::2]) == {2} and set(best_clip(vectors, 2)[0, 1::2]) == {3}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"bits": 9}, "bits"),
        ({"query_bits": 9}, "query_bits"),
        ({"levels": "gaussian", "refine": "sweep"}, "levels=gaussian"),
        ({"levels": "uniform", "refine": "sweep", "scale": "constant"}, "scale=constant"),
        ({"offset": True}, "centre"),
        ({"offset": True, "centre": "mean", "renormalize": True}, "renormalize"),
        ({"offset": True, "centre": "mean", "scoring": "symmetric"}, "scoring"),
    ],
)
def test_contradictions_are_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(MethodError, match=named):
        ScaledLevels(**wrong)


def test_a_factor_that_float16_cannot_hold() -> None:
    docs = 1e7 * random_units(3)
    with pytest.raises(MethodError, match="factor of"):
        ScaledLevels(bits=1).fit(docs).encode(docs)
    assert np.isfinite(decoded(ScaledLevels(bits=1, factors="float32"), docs)).all()
