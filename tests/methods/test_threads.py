"""What is learned does not depend on how many threads BLAS has: two add up in another order than one."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from methods import (
    ITQ,
    OPQ,
    SVD,
    Chain,
    EntropyCoded,
    LeanVec,
    QueryMap,
    RefinedTransformCode,
    ScoreAware,
    TransformCode,
    Whiten,
)
from methods.base import Codec, Part
from tests.conftest import clustered_vectors


@pytest.fixture(scope="module")
def docs() -> np.ndarray:
    """So large that products of matrices are dealt to threads."""
    return clustered_vectors(2000, 192)


def learned(part: Part, docs: np.ndarray, threads: int) -> dict[str, np.ndarray]:
    with threadpool_limits(threads):
        part.fit(docs, docs[:500], np.column_stack([np.arange(500), np.arange(500)]))
        found = dict(part.state())
        if isinstance(part, Codec):
            found["decoded"] = part.decode(part.encode(docs[:300]))
    return found


@pytest.mark.parametrize(
    "make",
    [
        lambda: SVD(dim=None),
        lambda: Whiten(dim=64),
        lambda: ScoreAware(weight=0.5),
        lambda: LeanVec(dim=64),
        lambda: QueryMap(),
        lambda: OPQ(m=24),
        lambda: ITQ(),
        lambda: Chain(transforms=[ScoreAware(weight=0.5)], codec=EntropyCoded(nbytes=24)),
        lambda: RefinedTransformCode(
            transforms=[SVD(dim=None)], codec=TransformCode(nbytes=24, codebook="joint"), rounds=2
        ),
    ],
)
def test_what_is_learned_depends_on_no_number_of_threads(make, docs: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    one, two = (learned(make(), docs, threads) for threads in (1, 2))
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name], err_msg=name)
