import numpy as np
import pytest

from harness.base.errors import ConfigError
from harness.evaluation.effort import DEPTH, effort_curve
from harness.evaluation.exact_search import search_uncompressed
from methods import InvertedLists, PerDimension, Vamana
from methods.base import Codec
from methods.parallel import allowed
from tests.conftest import clustered_vectors

DOCS, QUERIES = clustered_vectors(500, 16), clustered_vectors(30, 16, seed=1)
_, EXACT = search_uncompressed(QUERIES, DOCS, 50)


def lists(bits: int = 3, **parameters: int) -> InvertedLists:
    return InvertedLists(codec=PerDimension(bits=bits), **{"lists": 16, "nprobe": 2, **parameters}).fit(DOCS)


def share(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.array([len(set(one) & set(other)) / DEPTH for one, other in zip(found, wanted, strict=True)])


def test_both_losses_are_counted_by_hand() -> None:
    index = lists()
    codes = index.encode(DOCS)
    curve = effort_curve(index, QUERIES, codes, EXACT, [4, 1])
    alone = PerDimension(bits=3).fit(DOCS)
    _, everything = alone.search(QUERIES, alone.encode(DOCS), DEPTH)
    assert [point.effort for point in curve.points] == [1, 4] and curve.name == "nprobe"
    for point in curve.points:
        index.set_effort(point.effort)
        _, rows = index.search(QUERIES, codes, DEPTH)
        of_codes = share(rows, everything)
        assert point.recall_of_codes == pytest.approx(of_codes.mean())
        assert point.recall_of_codes_error == pytest.approx(of_codes.std(ddof=1) / np.sqrt(30))
        assert point.recall_of_float32 == pytest.approx(share(rows, EXACT[:, :DEPTH]).mean())
        assert point.visited == index.visited.mean() and point.ndcg_at_10 is None
    assert curve.exhaustive.effort is None and curve.exhaustive.recall_of_codes == 1
    assert curve.exhaustive.recall_of_float32 == pytest.approx(share(everything, EXACT[:, :DEPTH]).mean())
    assert curve.exhaustive.visited == 500


def test_speed_is_queries_over_the_clock() -> None:
    index = lists()
    ticks = iter(range(1000))
    curve = effort_curve(index, QUERIES, index.encode(DOCS), EXACT, [2], clock=lambda: float(next(ticks)))
    assert curve.points[0].queries_per_second == 30 and curve.exhaustive.queries_per_second == 30


def test_the_index_keeps_its_own_effort_and_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    index = lists()
    effort_curve(index, QUERIES, index.encode(DOCS), EXACT, [1, 4])
    assert index.nprobe == 2
    import os

    assert os.environ["OMP_NUM_THREADS"] == "3" and allowed() >= 1


def test_efforts_that_the_index_does_not_allow_are_left_out() -> None:
    index = lists()
    codes = index.encode(DOCS)
    curve = effort_curve(index, QUERIES, codes, EXACT, [16, 400])
    assert [point.effort for point in curve.points] == [16] and curve.as_record()["asked"] == [16, 400]
    with pytest.raises(ConfigError, match=r"measure.efforts=\[17\]: none of them is possible.*got 17"):
        effort_curve(index, QUERIES, codes, EXACT, [17])


@pytest.mark.parametrize("index", [lists(bits=8), Vamana(codec=PerDimension(bits=8), degree=8).fit(DOCS)])
def test_a_querys_own_document_is_no_result(index: Codec) -> None:
    """The queries are documents: each finds itself first, and has ten others all the same."""
    own = np.arange(30)
    _, exact = search_uncompressed(DOCS[:30], DOCS, 11)
    exact = np.array([row[row != own[place]][:DEPTH] for place, row in enumerate(exact)])
    curve = effort_curve(index, DOCS[:30], index.encode(DOCS), exact, [16], own=own)
    assert curve.exhaustive.recall_of_float32 > 0.95 and curve.points[0].recall_of_codes > 0.9
