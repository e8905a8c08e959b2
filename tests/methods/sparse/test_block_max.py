"""Block-max pruning's index: the bytes that BMP itself wrote, and the order of documents."""

from typing import Literal

import numpy as np
import pytest

from methods import BlockMax, FixedSteps, Levels, Rice, TermWeights
from methods.base import MethodError
from methods.representations import SparseVectors
from methods.sparse.order import near_each_other
from tests.methods.sparse.collections import by_hand, sparse_collection

IMPACTS = by_hand([{0: 200}, {0: 255, 1: 9}, {1: 11}, {2: 13}, {0: 7}], 3)
"""What bmp 0.2.8 was given, as a CIFF file of five documents, when it wrote these bytes with bsize=2."""

BLOCKS = """
03 00 00 00 00 00 00 00
02 00 00 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 00 c8 01 ff 01 00 01 00 00 00 00 00 00 00 01 09
02 00 00 00 00 00 00 00 01 00 01 00 00 00 00 00 00 00 00 0b 02 00 01 00 00 00 00 00 00 00 01 0d
01 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00 07
"""
RAW = """
01 00 00 00 03 00 00 00 00 00 00 00 ff 00 07 03 00 00 00 00 00 00 00 00 00 00
01 00 00 00 03 00 00 00 00 00 00 00 09 0b 00 03 00 00 00 00 00 00 00 00 00 00
01 00 00 00 03 00 00 00 00 00 00 00 00 0d 00 03 00 00 00 00 00 00 00 00 00 00
"""
COMPRESSED = """
00 00 00 00 01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ff 02 00 00 00 00 00 00 00 07
03 00 00 00 00 00 00 00 00 00 00
00 00 00 00 01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 09 01 00 00 00 00 00 00 00 0b
03 00 00 00 00 00 00 00 00 00 00
00 00 00 00 01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 0d
03 00 00 00 00 00 00 00 00 00 00
"""


ORDERS: tuple[Literal["given", "bisection"], ...] = ("given", "bisection")


def index(**changes: object) -> BlockMax:
    weights = FixedSteps(bits=8, step=None, zero="raise")
    return BlockMax(**{"weights": weights, "block": 2, "order": "given", **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("compress", "maxima"), [(False, RAW), (True, COMPRESSED)])
def test_the_bytes_are_those_that_bmp_writes(compress: bool, maxima: str) -> None:
    codec = index(compress_range=compress).fit(IMPACTS)
    codes = codec.encode(IMPACTS)
    assert codes.shared["blocks"].tobytes() == bytes.fromhex(BLOCKS)
    assert codes.shared["maxima"].tobytes() == bytes.fromhex(maxima)
    np.testing.assert_array_equal(codec.decode(codes).to_csr().toarray(), IMPACTS.to_csr().toarray())


def test_a_block_has_at_most_256_documents_and_an_impact_8_bits() -> None:
    with pytest.raises(MethodError, match="block must be from 1 to 256, got 257"):
        index(block=257)
    with pytest.raises(MethodError, match="impacts have 8 bits, and these weights 4"):
        index(weights=Levels(bits=4))


def mixed_topics() -> SparseVectors:
    """Two kinds of documents without a term in common, in turn."""
    rng = np.random.default_rng(0)
    kinds = [{int(term) + 50 * (row % 2): 1.0 for term in rng.choice(50, 8, replace=False)} for row in range(128)]
    return by_hand(kinds, 100)


def test_bisection_tells_two_topics_apart() -> None:
    order = near_each_other(mixed_topics())
    assert sorted(order.tolist()) == list(range(128))
    assert len(set((order[:64] % 2).tolist())) == len(set((order[64:] % 2).tolist())) == 1


@pytest.mark.parametrize("docs", [mixed_topics(), sparse_collection(200)], ids=["topics", "zipf"])
def test_the_order_of_documents_changes_no_document(docs: SparseVectors) -> None:
    postings = [TermWeights(weights=Levels(bits=8), ids=Rice(), layout="inverted", order=order) for order in ORDERS]
    for given, moved in ((index(), index(order="bisection")), postings):
        first, second = given.fit(docs), moved.fit(docs)
        one, two = first.decode(first.encode(docs)), second.decode(second.encode(docs))
        np.testing.assert_array_equal(one.terms, two.terms)
        np.testing.assert_array_equal(one.weights, two.weights)
        np.testing.assert_array_equal(one.indptr, two.indptr)


def test_order_is_for_postings() -> None:
    with pytest.raises(MethodError, match="order=bisection is for layout=inverted"):
        TermWeights(weights=Levels(bits=8), ids=Rice(), order="bisection")
