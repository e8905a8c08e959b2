from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from methods.base import MethodError
from methods.scalar.global_range import GlobalRange
from methods.scalar.ranges import ChunkQuantiles, Extremes, Fixed, Range, ScoreCorrelation, TailCut
from tests.conftest import clustered_vectors


def vectors(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_codes_by_hand() -> None:
    # [-1, 1] in four steps of a half
    codec = GlobalRange(range=Fixed(), steps=4).fit(vectors([0.0, 0.0]))
    codes = codec.encode(vectors([-1.0, 1.0], [-0.74, 0.26], [3.0, -0.25]))
    assert codec._levels(codes).tolist() == [[0, 4], [1, 3], [4, 2]]
    assert codec.decode(codes).tolist() == [[-1, 1], [-0.5, 0.5], [1, 0]]
    assert codes.nbytes == 3 * 1, "two codes of 3 bits"
    assert GlobalRange(range=Fixed(), steps=4, packed=False).fit(vectors([0, 0])).encode(vectors([0, 0])).nbytes == 2


def test_rounding_by_hand() -> None:
    numbers = vectors([0.99, 1.01, -0.99, -1.01]) / 127

    def codes(**options: object) -> list[float]:
        codec = GlobalRange(range=Fixed(), steps=254, packed=False, **options).fit(numbers)  # type: ignore[arg-type]
        return (codec._levels(codec.encode(numbers)) - 127)[0].tolist()

    assert codes(rounding="to_zero", zero=127) == [0, 1, 0, -1], "usearch: a cast to int8"
    assert codes(rounding="floor") == [0, 1, -1, -2]
    assert codes() == [1, 1, -1, -1]


def test_sqlite_vecs_int8_by_hand() -> None:
    # int8((x + 1) * 255 / 2 - 128), decimals cut off; then those integers themselves are compared
    numbers = vectors([-1.0, -0.0118, -0.0117, 0.0, 0.0117, 0.0118, 0.5, 1.0])
    codec = GlobalRange(range=Fixed(), steps=255, rounding="to_zero", zero=128, shift=-0.5, scoring="symmetric").fit(
        numbers
    )
    codes = codec.encode(numbers)
    assert (codec._levels(codes) - 128)[0].tolist() == [-128, -2, -1, 0, 0, 1, 63, 127]
    assert np.allclose(codec.decode(codes) * 127.5, codec._levels(codes) - 128, atol=1e-4)


def test_qdrants_offsets_by_hand() -> None:
    # score = a^2 sum(c_x c_q) + o_x + o_q with o = a m sum(c) + d m^2 / 2 on each side
    docs, query = vectors([0.0, 1.27, 0.5], [0.2, 0.4, 1.0]), vectors([0.3, 0.9, 1.1])
    codec = GlobalRange(range=Extremes(), steps=127, packed=False, scoring="symmetric").fit(docs)
    a, m = 0.01, 0.0
    codes = codec.encode(docs)
    integers = codec._levels(codes).astype(np.float64)
    assert integers.tolist() == [[0, 127, 50], [20, 40, 100]]
    asked = np.array([30, 90, 110.0])
    expected = a**2 * integers @ asked + a * m * (integers.sum(axis=1) + asked.sum()) + 3 * m**2
    assert np.allclose(codec.score(query, codes)[0], expected, atol=1e-6)
    shifted = GlobalRange(range=Fixed(low=-0.5, high=1.27), steps=177, packed=False, scoring="symmetric").fit(docs)
    codes = shifted.encode(docs)
    integers, asked, m = shifted._levels(codes).astype(np.float64), np.array([80, 140, 160.0]), -0.5
    expected = a**2 * integers @ asked + a * m * (integers.sum(axis=1) + asked.sum()) + 3 * m**2
    assert np.allclose(shifted.score(query, codes)[0], expected, atol=1e-6)


def test_lucenes_correction_by_hand() -> None:
    # one dimension, [0, 1.5] in 15 steps of .1: dx = .43 is coded 4, .38 is too
    codec = GlobalRange(range=Fixed(low=0.0, high=1.5), steps=15, corrected=True, scoring="symmetric").fit(vectors([0]))
    codes = codec.encode(vectors([0.43]))
    assert codes.nbytes == 1 + 4
    assert codes.rows["correction"][0] == pytest.approx((0.43 - 0.4) * 0.4)
    score = codec.score(vectors([0.38]), codes)[0, 0]
    assert score == pytest.approx(0.4 * 0.4 + 0.03 * 0.4 - 0.02 * 0.4, abs=1e-6)
    # and with a lower end other than 0, where the products with it are those of the numbers themselves
    codec = GlobalRange(range=Fixed(low=-1.0, high=0.5), steps=15, corrected=True, scoring="symmetric").fit(
        vectors([0])
    )
    x, q = -0.57, -0.62  # dx is .43 and .38 again
    expected = 0.16 + 0.012 - 0.008 + (-1.0) * (x + 0.5) + (-1.0) * (q + 0.5)
    assert codec.score(vectors([q]), codec.encode(vectors([x])))[0, 0] == pytest.approx(expected, abs=1e-6)
    assert expected == pytest.approx(x * q, abs=0.01)


def overlap(codec: GlobalRange, docs: np.ndarray, queries: np.ndarray) -> float:
    exact = np.argsort(-(queries @ docs.T), axis=1)[:, :10]
    rows = codec.fit(docs).search(queries, codec.encode(docs), 10)[1]
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, rows, strict=True)]))


def test_the_correction_helps_where_nothing_is_clipped() -> None:
    docs, queries = clustered_vectors(1500, 64), clustered_vectors(60, 64, seed=1)
    plain = overlap(GlobalRange(steps=15, scoring="symmetric"), docs, queries)
    assert overlap(GlobalRange(steps=15, scoring="symmetric", corrected=True), docs, queries) > plain + 0.02


def test_findings_on_real_embeddings(shared_data: Path) -> None:
    """With an interval that clips, Lucene's correction does harm; its choice of one beats the range all the same."""
    vectors = load_file(shared_data / "scifact" / "minilm.safetensors")
    docs, queries = vectors["docs"], vectors["queries"]

    def lucene(chosen: Range, steps: int, corrected: bool = True) -> float:
        return overlap(GlobalRange(range=chosen, steps=steps, corrected=corrected, scoring="symmetric"), docs, queries)

    assert lucene(ChunkQuantiles(), 127) < lucene(ChunkQuantiles(), 127, corrected=False) - 0.005
    assert lucene(ScoreCorrelation(), 15) > lucene(Extremes(), 15) + 0.01


def test_qdrant_cuts_by_documents() -> None:
    docs = np.arange(1000, dtype=np.float32).reshape(200, 5)
    # 200 documents, (1 - .9) / 2: ten of the thousand numbers at each end
    assert TailCut(quantile=0.9).ends(docs) == (10, 989)
    assert TailCut(quantile=0.99).ends(docs) == (1, 998), "at least one"
    assert TailCut(quantile=1.0).ends(docs) == (0, 999)
    assert TailCut(quantile=0.5).ends(docs[:126]) == (0, 629), "nothing below 127 documents"


def test_lucene_averages_chunks() -> None:
    docs = np.concatenate([np.linspace(0, 1, 21)[:, None], np.linspace(10, 11, 21)[:, None]]).astype(np.float32)
    low, high = ChunkQuantiles(confidence=0.9, chunk=21).ends(docs)
    assert low == pytest.approx((0.05 + 10.05) / 2, abs=1e-5) and high == pytest.approx((0.95 + 10.95) / 2, abs=1e-5)
    assert ChunkQuantiles(confidence=1.0, chunk=42).ends(docs) == (0, 11)


def test_quantiles_leave_out_half_at_each_end() -> None:
    docs = np.arange(1001, dtype=np.float32)[:, None]
    assert Extremes(outside=1.0).ends(docs) == pytest.approx((5, 995))
    assert Extremes().ends(docs) == (0, 1000)


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in (
        {"steps": 256},
        {"steps": 0},
        {"zero": 3},
        {"corrected": True},
        {"corrected": True, "scoring": "symmetric", "renormalize": True},
    ):
        with pytest.raises(MethodError, match=next(iter(wrong))):
            GlobalRange(**wrong)  # type: ignore[arg-type]
    with pytest.raises(MethodError, match="low"):
        Fixed(low=1, high=1)
    with pytest.raises(MethodError, match="quantile"):
        TailCut(quantile=0.4)
