import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.base import MethodError
from methods.binary.sign import Sign
from methods.composed.chain import Chain
from methods.composed.query_codes import QueryCode
from methods.rotated.scaled_levels import ScaledLevels
from methods.scalar.lvq import LVQ
from methods.transforms.padding import Pad
from methods.transforms.rotation import RandomRotation
from tests.conftest import clustered_vectors


def rounded(query: list[float], **options: object) -> list[float]:
    code = QueryCode(**options).fit(np.array([query], np.float32))  # type: ignore[arg-type]
    return code.transform_queries(np.array([query], np.float32))[0].tolist()


def test_by_hand() -> None:
    # from -1 to 2 in three steps of 1
    assert rounded([-1, 0.4, 0.6, 2], bits=2) == pytest.approx([-1, 0, 1, 2])
    # from -2 to 2 in three steps of 4/3: -2, -2/3, 2/3, 2
    assert rounded([-1, 0.1, 0.6, 2], bits=2, span="symmetric") == pytest.approx([-2 / 3, 2 / 3, 2 / 3, 2])
    assert rounded([0.3, 0.3], bits=4) == pytest.approx([0.3, 0.3])
    assert rounded([0.0, 0.0], bits=4, span="symmetric") == [0, 0]
    assert rounded([0.1, 0.7], bits=0) == pytest.approx([0.1, 0.7])


@given(st.integers(1, 12), st.sampled_from(["range", "symmetric"]), st.sampled_from(["nearest", "dithered"]))
def test_error_is_at_most_a_step(bits: int, span: str, rounding: str) -> None:
    queries = clustered_vectors(20, 16, seed=bits)
    code = QueryCode(bits=bits, span=span, rounding=rounding).fit(queries)  # type: ignore[arg-type]
    width = 2 * np.abs(queries).max(axis=1) if span == "symmetric" else np.ptp(queries, axis=1)
    error = np.abs(code.transform_queries(queries) - queries).max(axis=1)
    assert (error <= width / (2**bits - 1) * (0.5 if rounding == "nearest" else 1) + 1e-5).all()


def test_dither_is_right_on_average_and_the_same_each_time() -> None:
    query = np.full((1, 4000), 0.3, np.float32)
    query[0, 0] = 1.0
    code = QueryCode(bits=1, span="symmetric", rounding="dithered").fit(query)
    once = code.transform_queries(query)
    assert set(np.unique(once)) == {-1, 1}
    assert once[:, 1:].mean() == pytest.approx(0.3, abs=0.05)
    assert np.array_equal(once, code.transform_queries(query))


def test_documents_are_left_alone() -> None:
    docs = clustered_vectors(20, 8)
    codec, plain = Chain(transforms=[QueryCode(bits=1)], codec=Sign()).fit(docs), Sign().fit(docs)
    assert codec.encode(docs).array.tobytes() == plain.encode(docs).array.tobytes()
    assert np.array_equal(
        codec.score(docs, codec.encode(docs)), plain.score(codec._transform_queries(docs), plain.encode(docs))
    )


def test_bits_are_checked() -> None:
    with pytest.raises(MethodError, match="bits"):
        QueryCode(bits=17)


def test_weaviates_rq8_is_its_formula() -> None:
    """D l_x l_q + l_x S_q + l_q S_x + step_x step_q sum c_x c_q, with S = step sum c."""
    docs, queries = clustered_vectors(30, 12), clustered_vectors(5, 12, seed=1)
    codec = LVQ(bits=8, centre="none", ends="float32", scoring="symmetric").fit(docs)

    def code(vector: np.ndarray) -> tuple[float, float, np.ndarray]:
        low = vector.min()
        step = (vector.max() - low) / 255
        return float(low), float(step), np.floor((vector - low) / step + 0.5)

    scores = codec.score(queries, codec.encode(docs))
    for i, query in enumerate(queries):
        low_q, step_q, c_q = code(query)
        for j, doc in enumerate(docs):
            low_x, step_x, c_x = code(doc)
            expected = (
                12 * low_x * low_q
                + low_x * step_q * c_q.sum()
                + low_q * step_x * c_x.sum()
                + step_x * step_q * (c_x @ c_q)
            )
            assert scores[i, j] == pytest.approx(expected, abs=2e-4)


def test_weaviates_rq1_is_its_formula() -> None:
    """|z|^2 / |z|_1 times the sum of the query's values, each with the document's sign."""
    docs = np.array([[0.6, -0.2, 0.1, -0.1], [-0.5, 0.5, 0.5, 0.5]], np.float32)
    query = np.array([[1.0, 0.5, -0.5, 0.25]], np.float32)
    codec = ScaledLevels(bits=1, levels="uniform", start="absmax", scale="unbiased", factors="float32").fit(docs)
    codes = codec.encode(docs)
    assert codes.nbytes == 2 * (1 + 4)
    first = (0.36 + 0.04 + 0.01 + 0.01) / 1.0 * (1 - 0.5 - 0.5 - 0.25)
    second = 1.0 / 2.0 * (-1 + 0.5 - 0.5 + 0.25)
    assert codec.score(query, codes)[0].tolist() == pytest.approx([first, second], abs=1e-6)


def test_weaviates_rq4_is_its_formula() -> None:
    """The clipped range of the best cosine, stretched to least squares; rounding again to that can only help."""
    docs = clustered_vectors(50, 16)
    codec = LVQ(bits=4, centre="none", clip=True, ends="float32").fit(docs)
    mine = ((codec.decode(codec.encode(docs)) - docs) ** 2).sum(axis=1)
    for doc, error in zip(docs.astype(np.float64), mine, strict=True):
        tried = []
        for clip in (1.0, 0.6, 0.7, 0.8, 0.9):
            low, high = clip * doc.min(), clip * doc.max()
            step = (high - low) / 15
            decoded = low + step * np.clip(np.floor((doc - low) / step + 0.5), 0, 15)
            product, energy = doc @ decoded, decoded @ decoded
            tried.append((product**2 / energy, ((doc - product / energy * decoded) ** 2).sum()))
        assert error <= max(tried)[1] + 1e-6


def test_padding_keeps_scores_and_widens() -> None:
    docs = clustered_vectors(20, 100)
    assert Pad(multiple=64).fit(docs).transform_docs(docs).shape == (20, 128)
    assert Pad(multiple=64, at_least=256).fit(docs).transform_docs(docs).shape == (20, 256)
    assert Pad(times=1.5).fit(docs).transform_docs(docs).shape == (20, 150)
    assert Pad(multiple=50).fit(docs).transform_docs(docs) is docs
    chain = Chain(transforms=[Pad(multiple=128), RandomRotation()], codec=Sign()).fit(docs)
    assert chain.encode(docs).nbytes == 20 * 16
    rotated = chain._transform_docs(docs)
    assert np.allclose(rotated @ rotated.T, docs @ docs.T, atol=1e-5)
