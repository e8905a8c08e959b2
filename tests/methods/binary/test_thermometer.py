import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from methods.base import Codec, MethodError
from methods.binary.sign import Sign
from methods.binary.thermometer import Thermometer
from methods.composed.chain import Chain
from methods.composed.query_codes import QueryCode
from tests.conftest import clustered_vectors

SIGN = {"bits": 1, "centre": "zero"}
MEAN_SIGN = {"bits": 1}
QDRANT_2 = {"bits": 2, "deviation": "sample"}
QDRANT_1_5 = {"bits": 2, "deviation": "sample", "pairs": True}
ADC = {"bits": 1, "query": "means"}
EXACT_ADC = {"bits": 1, "query": "exact"}
OPENSEARCH_16X = {"bits": 2, "spread": 1.0}
OPENSEARCH_8X = {"bits": 4, "spread": 1.0}


def bits_of(codec: Thermometer, *docs: list[float]) -> list[str]:
    array = codec.encode(np.array(docs)).array
    return ["".join(map(str, row)) for row in np.unpackbits(array, axis=1)]


def around_zero(d: int, mean: float = 0.0) -> np.ndarray:
    """Two documents: the deviation is 1 by n, and the square root of 2 by n - 1."""
    return np.array([[mean - 1] * d, [mean + 1] * d], dtype=np.float32)


def test_sbq_by_hand() -> None:
    docs = np.hstack([around_zero(1), around_zero(1, mean=2.0)])
    codec = Thermometer(bits=3, scoring="symmetric").fit(docs)
    assert np.allclose(codec.thresholds_, [[-1, 1], [0, 2], [1, 3]])
    # z = (0.5, -1.5) are levels 2 and 0, z = (3, 0.5) are levels 3 and 2
    first, second = [0.5, 0.5], [3.0, 2.5]
    assert bits_of(codec, first, second) == ["10" + "10" + "00" + "00", "11" + "11" + "10" + "00"]
    scores = codec.score([first], codec.encode([first, second]))
    assert np.allclose(scores, [[1, 1 - 2 * 3 / 6]])


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_levels_are_sbqs(bits: int) -> None:
    docs = clustered_vectors(300, 20).astype(np.float64)
    z = (docs - docs.mean(axis=0)) / docs.std(axis=0)
    levels = np.clip(np.floor((z + 2) * (bits + 1) / 4), 0, bits)
    codec = Thermometer(bits=bits).fit(docs)
    found = np.unpackbits(codec.encode(docs).array, axis=1, count=20 * bits).reshape(300, bits, 20)
    assert np.array_equal(found.sum(axis=1), levels)
    assert (np.diff(found.astype(int), axis=1) <= 0).all(), "ones, then zeros"
    scores = Thermometer(bits=bits, scoring="symmetric").fit(docs).score(docs, codec.encode(docs))
    apart = np.abs(levels[:, None] - levels).sum(axis=2)
    assert np.allclose(scores, 1 - 2 * apart / (20 * bits), atol=1e-6)


def test_qdrants_one_and_a_half_bits_by_hand() -> None:
    codec = Thermometer(**QDRANT_1_5).fit(around_zero(3))
    # thresholds at -0.943 and 0.943: by n they would be at -0.667 and 0.667
    first, second = [0.8, 1.0, -0.8], [-1.0, 0.1, 1.0]
    assert bits_of(codec, first, second) == ["111" + "10" + "000", "011" + "01" + "000"]
    # each bit's sign times 0.5, -0.2, 0.3; max(0.5, -0.2), 0.3
    scores = codec.score([[0.5, -0.2, 0.3]], codec.encode([first, second]))
    assert np.allclose(scores * np.sqrt(5), [[0.5 - 0.2 + 0.3 + 0.5 - 0.3, -0.5 - 0.2 + 0.3 - 0.5 + 0.3]])
    symmetric = Thermometer(**QDRANT_1_5, scoring="symmetric").fit(around_zero(3))
    assert np.allclose(symmetric.score([first], codec.encode([first, second])), [[1, 1 - 2 * 3 / 5]])


def test_qdrants_two_bits_by_hand() -> None:
    codec = Thermometer(**QDRANT_2).fit(around_zero(3))
    doc = [0.8, 1.0, -1.0]
    assert bits_of(codec, doc) == ["110" + "010" + "00"]
    # a document of 0, 2 and -2
    assert np.allclose(codec.score([[0.5, -0.2, 0.3]], codec.encode([doc])) * np.sqrt(6), 2 * (-0.2 - 0.3))


def test_qdrants_scalar_query_by_hand() -> None:
    """Counts of |u / 3 - bit|, u of two bits over [-R, R]."""
    codec = Chain(transforms=[QueryCode(bits=2, span="symmetric")], codec=Thermometer(**SIGN))
    codec.fit(around_zero(3))
    query, docs = [0.6, -0.1, 0.3], [[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]
    # (q + 0.6) * 3 / 1.2 is 3, 1.25 and 2.25
    parts = np.array([3, 1, 2]) / 3
    counts = np.array([np.abs(parts - [1, 1, 0]).sum(), np.abs(parts - [0, 0, 1]).sum()])
    assert np.allclose(codec.score([query], codec.encode(docs)) * np.sqrt(3), 0.6 * (3 - 2 * counts))


def test_opensearch_by_hand() -> None:
    docs = np.array([[0.0], [4.0]])
    assert np.allclose(Thermometer(**OPENSEARCH_16X).fit(docs).thresholds_[:, 0], [2 - 2 / 3, 2 + 2 / 3])
    assert np.allclose(Thermometer(**OPENSEARCH_8X).fit(docs).thresholds_[:, 0], [0.8, 1.6, 2.4, 3.2])


def test_opensearchs_adc_by_hand() -> None:
    docs = np.array([[0, 1, 7], [0, 1, 7], [4, 1, 7], [8, 5, 7]], dtype=np.float32)
    # above and below the means 3 and 2: (6, 5) and (0, 1); all of the third dimension is on one side
    codec = Thermometer(**ADC).fit(docs)
    assert np.allclose(codec.query_matrix([[3, 2, 9]]), [[3 / 6, 1 / 4, 0]])
    assert np.allclose(codec.score([[3, 2, 9]], codec.encode(docs[2:])) * np.sqrt(3), [[0.5 - 0.25, 0.5 + 0.25]])
    assert np.allclose(Thermometer(**EXACT_ADC).fit(docs).query_matrix([[3, 2, 9]]), [[3 * 6, 2 * 4, 0]])


def test_exact_scores_are_those_of_the_means() -> None:
    docs, queries = clustered_vectors(200, 24), clustered_vectors(5, 24, seed=1)
    above = docs > docs.mean(axis=0, dtype=np.float64)
    high = np.nanmean(np.where(above, docs, np.nan), axis=0)
    low = np.nanmean(np.where(above, np.nan, docs), axis=0)
    expected = queries @ np.where(above, high, low).T
    codec = Thermometer(**EXACT_ADC).fit(docs)
    scores = codec.score(queries, codec.encode(docs)) * np.sqrt(24) / 2
    assert np.allclose(scores - scores[:, :1], expected - expected[:, :1], atol=1e-6)


def test_one_bit_about_zero_is_the_sign() -> None:
    docs, queries = clustered_vectors(100, 20), clustered_vectors(7, 20, seed=1)
    for scoring in ("asymmetric", "symmetric", "raw_codes"):
        codec, sign = Thermometer(**SIGN, scoring=scoring).fit(docs), Sign(scoring=scoring).fit(docs)
        assert np.array_equal(codec.encode(docs).array, sign.encode(docs).array)
        for found, expected in zip(
            codec.search(queries, codec.encode(docs), 100), sign.search(queries, sign.encode(docs), 100), strict=True
        ):
            assert np.array_equal(found, expected)
    assert set(codec.state()) == {"dim_"}


def test_a_constant_dimension_is_compared_with_zero() -> None:
    docs = np.hstack([around_zero(1), np.full((2, 1), 0.1, dtype=np.float32)])
    for options in (QDRANT_2, {"bits": 4}):
        codec = Thermometer(**options).fit(docs)
        tail = "00" * (codec.bits - 1)
        found = bits_of(codec, [-9, 0.1], [-9, -0.1], [-9, 50])
        assert [row[: 2 * codec.bits] for row in found] == ["01" + tail, "00" + tail, "01" + tail]


def test_bytes() -> None:
    docs = clustered_vectors(10, 20)
    for options, size in ((SIGN, 3), (QDRANT_1_5, 4), (QDRANT_2, 5), (OPENSEARCH_8X, 10)):
        assert Thermometer(**options).fit(docs).encode(docs).nbytes == 10 * size


def test_contradictions_are_named() -> None:
    for options in ({"bits": 0}, {"bits": 9}, {"spread": 0.0}, {"pairs": True, "bits": 3}, {"query": "means"}):
        with pytest.raises(MethodError, match=next(iter(options))):
            Thermometer(**options)


def recall_at_10(codec: Codec, docs: np.ndarray, queries: np.ndarray) -> float:
    exact = np.argsort(-(queries @ docs.T), axis=1)[:, :10]
    _, rows = codec.search(queries, codec.fit(docs).encode(docs), 10)
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, rows, strict=True)]))


@functools.cache
def titles_and_claims(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """SciFact's titles and its training claims, under all-MiniLM-L6-v2."""
    from harness.data.models.minilm import Minilm

    folder = shared_data / "scifact"
    titles = [json.loads(line)["title"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    judged = {line.split("\t")[0] for line in (folder / "qrels" / "train.tsv").read_text().splitlines()[1:]}
    asked = map(json.loads, (folder / "queries.jsonl").read_text().splitlines())
    model = Minilm()
    docs = model.encode(titles, "document", None)
    return docs, model.encode([query["text"] for query in asked if query["_id"] in judged], "query", None)


@pytest.mark.slow
def test_recall_is_that_of_another_implementation(shared_data: Path) -> None:
    """Recall@10 of exact cosine, as somebody else found it with what the stores' sources say."""
    docs, queries = titles_and_claims(shared_data)

    def scalar8(codec: Codec) -> Codec:
        return Chain(transforms=[QueryCode(bits=8, span="symmetric")], codec=codec)

    hamming = functools.partial(Thermometer, scoring="symmetric")
    expected: list[tuple[Callable[..., Codec], dict, float]] = [
        (hamming, MEAN_SIGN, 0.612),
        (hamming, SIGN, 0.601),
        (hamming, QDRANT_1_5, 0.611),
        (hamming, QDRANT_2, 0.680),
        (lambda **options: scalar8(Thermometer(**options)), SIGN, 0.716),
        (lambda **options: scalar8(Thermometer(**options)), QDRANT_1_5, 0.706),
        (lambda **options: scalar8(Thermometer(**options)), QDRANT_2, 0.793),
        (Thermometer, ADC, 0.647),
    ]
    # three of the model's dimensions are constant but for rounding: Qdrant compares them with zero, and so do we; the
    # other implementation did not, which moves its 1.5 bits by .0033 and the others by less than .002
    for make, options, recall in expected:
        assert recall_at_10(make(**options), docs, queries) == pytest.approx(recall, abs=0.0035), options


def test_findings_on_real_embeddings(shared_data: Path) -> None:
    """More bits are hardly worth it with Hamming distance; with a float query they are."""
    vectors = load_file(shared_data / "scifact" / "minilm.safetensors")
    docs, queries = vectors["docs"], vectors["queries"]

    def recall(**options: object) -> float:
        return recall_at_10(Thermometer(**options), docs, queries)  # type: ignore[arg-type]

    one, two = recall(**SIGN), recall(**QDRANT_2)
    assert recall(**SIGN, scoring="symmetric") < one - 0.08
    assert recall(**QDRANT_2, scoring="symmetric") < one < two - 0.05
    assert recall(**ADC) < one - 0.05
    assert recall(**EXACT_ADC) > recall(**ADC) + 0.05
