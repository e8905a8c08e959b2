import numpy as np
import pytest

from methods.base import MethodError
from methods.binary.sign import Sign
from methods.composed.residual import Residual
from methods.composed.store_layout import AsWritten
from methods.product.faiss_codec import FaissCodec
from methods.scalar.osq import OSQ
from methods.transforms.rotation import RandomRotation
from tests.conftest import clustered_vectors


@pytest.mark.parametrize(
    ("d", "align", "spare", "size"), [(32, 1, 0, 4), (32, 16, 0, 16), (40, 4, 0, 8), (128, 16, 8, 24), (32, 1, 14, 18)]
)
def test_bytes(d: int, align: int, spare: int, size: int) -> None:
    docs = clustered_vectors(50, d)
    codec = AsWritten(codec=Sign(), align=align, spare=spare).fit(docs)
    assert codec.encode(docs).nbytes == 50 * size


def test_factors_are_not_aligned() -> None:
    docs = clustered_vectors(50, 32)
    # 4 bytes of signs filled up to 16, three float32 corrections, 4 spare
    assert AsWritten(codec=OSQ(bits=1), align=16, spare=4).fit(docs).encode(docs).nbytes == 50 * (16 + 12 + 4)


def test_scores_are_the_codecs() -> None:
    docs, queries = clustered_vectors(200, 32), clustered_vectors(10, 32, seed=1)
    inner = Residual(
        first=FaissCodec(factory="PQ1x4np"), second=OSQ(bits=1, query_bits=0, centre="none", corrected=False)
    )
    codec = AsWritten(transforms=[RandomRotation()], codec=inner, align=8, spare=3).fit(docs)
    codes = codec.encode(docs)
    rotated = codec._transform_docs(docs)
    expected = inner.search(codec._transform_queries(queries), inner.encode(rotated), 20)
    for mine, theirs in zip(codec.search(queries, codes, 20), expected, strict=True):
        assert np.array_equal(mine, theirs)
    assert codes.nbytes == 200 * (1 + 4 + 8 + 3 + 3), "5 bytes of codes filled up to 8"


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(MethodError, match="align"):
        AsWritten(codec=Sign(), align=0)
    with pytest.raises(MethodError, match="spare"):
        AsWritten(codec=Sign(), spare=-1)
