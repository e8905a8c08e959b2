"""Codes for weights, with answers by hand."""

import numpy as np
import pytest

from methods import FixedSteps, Floats, Levels, LogLevels, Presence, SignificantBits
from methods.base import MethodError
from methods.representations import SparseVectors
from methods.sparse.weights import WeightCode
from tests.methods.sparse.collections import by_hand, sparse_collection

DOCS = by_hand([{0: 1.0, 2: 2.0, 5: 4.0}, {2: 3.0}, {}], 6)


def decoded(code: WeightCode, docs: SparseVectors = DOCS) -> list[float]:
    """The weights that are decoded of documents that the code was fitted on."""
    code.fit(docs)
    docs = code.kept(docs)
    symbols, stored = code.symbols(docs)
    assert symbols.min(initial=0) >= 0 and symbols.max(initial=0) < 2**code.symbol_bits
    return code.weights(symbols, docs.terms, docs.rows, stored).tolist()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (Floats(), [1, 2, 4, 3]),
        (Levels(bits=2), [1, 2, 4, 3]),  # 1, 2, 3, 4
        (Levels(bits=1), [1, 1, 4, 4]),
        (Levels(bits=1, low="step"), [2, 2, 4, 2]),  # 2 and 4; 3 lies between, and the even one is taken
        (Levels(bits=2, low="step"), [1, 2, 4, 3]),
        (Levels(bits=1, scale="document"), [1, 1, 4, 3]),
        (Levels(bits=1, scale="document", low="step"), [2, 2, 4, 3]),
        (Levels(bits=1, scale="term"), [1, 2, 4, 3]),
        (LogLevels(bits=2), [1, 2, 4, 3]),
        (LogLevels(bits=1), [1, 3, 3, 3]),  # 2, 3 and 4 are near in ratio; the mean of weights, not of logarithms
        (Presence(mean="collection"), [2.5] * 4),
        (Presence(mean="term"), [1, 2.5, 4, 2.5]),
        (FixedSteps(bits=2, step=1.0), [1, 2, 3, 3]),  # saturates
        (FixedSteps(bits=8, step=1 / 64), [1, 2, 255 / 64, 3]),
    ],
    ids=str,
)
def test_by_hand(code: WeightCode, expected: list[float]) -> None:
    assert decoded(code) == pytest.approx(expected, abs=1e-6)


def test_a_weight_that_rounds_to_0_is_dropped_stored_or_raised() -> None:
    docs = by_hand([{0: 0.007, 1: 0.5}, {3: 0.001}], 5)
    for zero, expected in (("drop", [0.5]), ("store", [0, 0.5, 0]), ("raise", [1 / 64, 0.5, 1 / 64])):
        assert decoded(FixedSteps(zero=zero), docs) == expected
    tiny = by_hand([{0: 1e-30, 1: 1e30}], 5)
    assert decoded(Floats(dtype="float16"), tiny) == [2**-24, 65504]


def test_nine_significant_bits_cut_at_most_a_256th_off() -> None:
    docs = sparse_collection(50)
    found = np.array(decoded(SignificantBits(bits=17), docs))
    lost = (docs.weights - found) / docs.weights
    assert (lost >= 0).all() and 0.003 < lost.max() < 1 / 256
    assert decoded(SignificantBits(bits=32), docs) == docs.weights.tolist()


@pytest.mark.parametrize("scale", ["collection", "term", "document"])
def test_more_bits_are_nearer_and_8_of_them_near(scale: str) -> None:
    docs = sparse_collection(200)
    worst = [np.abs(decoded(Levels(bits=bits, scale=scale), docs) - docs.weights).max() for bits in (1, 2, 4, 8)]
    assert worst == sorted(worst, reverse=True)
    assert worst[-1] < (docs.weights.max() - docs.weights.min()) / 255


def test_levels_of_logarithms_are_nearer_in_ratio_than_equal_steps() -> None:
    docs = sparse_collection(300)

    def error(code: WeightCode) -> float:
        return float(np.square(np.log(decoded(code, docs) / docs.weights)).mean())

    assert error(LogLevels(bits=3)) < 0.5 * error(Levels(bits=3))
    assert np.mean(decoded(LogLevels(bits=3), docs)) == pytest.approx(docs.weights.mean(), rel=0.02)


def test_terms_that_fit_did_not_see_have_the_collections_scale() -> None:
    seen, other = by_hand([{0: 1.0, 1: 3.0}], 4), by_hand([{2: 2.9}], 4)
    for code, expected in ((Levels(bits=1, scale="term"), 3.0), (Presence(), 2.0)):
        code.fit(seen)
        symbols, stored = code.symbols(other)
        assert code.weights(symbols, other.terms, other.rows, stored).tolist() == [expected]


@pytest.mark.parametrize("make", [lambda: Levels(bits=9), lambda: LogLevels(bits=0), lambda: FixedSteps(step=0.0)])
def test_what_makes_no_sense_is_named(make: object) -> None:
    with pytest.raises(MethodError, match="bits must be from 1 to 8|step must be positive"):
        make()
