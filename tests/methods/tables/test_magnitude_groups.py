import numpy as np
import pytest

from methods.base import MethodError
from methods.composed.chain import Chain
from methods.scalar.cast import Cast
from methods.scalar.uniform import PerDimension
from methods.tables.magnitude_groups import MagnitudeGroups
from methods.tables.table import TensorTrain
from methods.transforms.linear import SVD
from tests.conftest import clustered_vectors


def of_all_lengths(n: int = 400, d: int = 16) -> np.ndarray:
    lengths = np.random.default_rng(0).lognormal(size=(n, 1))
    return (clustered_vectors(n, d) * lengths).astype(np.float32)


def test_the_longest_get_the_first_codec() -> None:
    docs = of_all_lengths()
    codec = MagnitudeGroups(codecs=[Cast(dtype="float32"), PerDimension(bits=2)], shares=[0.25, 0.75]).fit(docs)
    codes = codec.encode(docs)
    # 1 bit a document for the group; 100 documents of 64 bytes, 300 of 4
    assert {name: array.nbytes for name, array in codes.shared.items()} == {
        "groups": 50, "0.codes": 100 * 64, "1.codes": 300 * 4,
    }  # fmt: skip
    longest = np.argsort(-np.linalg.norm(docs, axis=1))[:100]
    decoded = codec.decode(codes)
    assert np.array_equal(decoded[longest, :16], docs[longest]) and not decoded[longest, 16:].any()


def test_scores_are_each_groups_own() -> None:
    docs, queries = of_all_lengths(), clustered_vectors(10, 16, seed=1)
    parts = [Chain(transforms=[SVD(dim=dim)], codec=Cast(dtype="float16")) for dim in (12, 4)]
    codec = MagnitudeGroups(codecs=parts, shares=[0.5, 0.5]).fit(docs)
    scores = codec.score(queries, codec.encode(docs))
    longer = np.linalg.norm(docs, axis=1) >= np.median(np.linalg.norm(docs, axis=1))
    for mine, dim in ((longer, 12), (~longer, 4)):
        alone = Chain(transforms=[SVD(dim=dim)], codec=Cast(dtype="float16")).fit(docs[mine])
        assert np.allclose(scores[:, mine], alone.score(queries, alone.encode(docs[mine])), atol=1e-5)


def test_groups_may_be_empty() -> None:
    docs = np.tile(np.eye(4, dtype=np.float32), (5, 1))
    codec = MagnitudeGroups(codecs=[Cast(), PerDimension(), PerDimension(bits=4)], shares=[0.2, 0.3, 0.5]).fit(docs)
    scores, rows = codec.search(docs[:4], codec.encode(docs), 5)
    assert rows[0].tolist() == [0, 4, 8, 12, 16] and (scores == 1).all()


@pytest.mark.parametrize(
    ("codecs", "shares", "message"),
    [
        ([Cast()], [0.5], "add up to 1"),
        ([Cast()], [0.5, 0.5], "as many shares"),
        ([Cast(), TensorTrain()], [0.5, 0.5], "row-wise"),
    ],
)
def test_what_makes_no_sense_is_refused(codecs: list, shares: list, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        MagnitudeGroups(codecs=codecs, shares=shares)
