"""Curves over the number of documents, by scores whose answers are known."""

import math

import numpy as np
import pandas as pd
import pytest

from harness.analysis.corpus_growth import growth_pages, line_weights


def test_a_line_is_followed_exactly() -> None:
    sizes, beyond = [100, 1000, 10_000], [100_000.0, 50.0]
    scores = np.array([0.9 - 0.1 * math.log10(size) for size in sizes])
    expected = [0.9 - 0.1 * math.log10(size) for size in beyond]
    assert line_weights(sizes, beyond) @ scores == pytest.approx(expected)
    assert line_weights(sizes, beyond).sum(axis=1) == pytest.approx([1, 1]), "what is constant stays so"


def frame_of(runs: list[tuple[str, int, int, float]]) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Runs as (method, documents, seed, score); the largest is of the whole. Two queries score 0.1 around it."""
    rows, scores = [], {}
    for number, (method, n, seed, score) in enumerate(runs):
        rows.append(
            {
                "run_id": f"r{number}",
                "status": "ok",
                "dataset": "c" if n == 1000 else f"c, {n} documents (seed {seed})",
                "subset_of": "" if n == 1000 else "c",
                "model": "m",
                "method": method,
                "params": "",
                "scoring": "asymmetric",
                "n_docs": n,
                "bytes_per_vector": 8.0,
                "ndcg_at_10": score,
            }
        )
        scores[f"r{number}"] = pd.DataFrame({"query_id": ["a", "b"], "ndcg_at_10": [score - 0.1, score + 0.1]})
    return pd.DataFrame(rows), scores


def test_subsets_of_a_size_are_averaged_and_losses_are_paired() -> None:
    runs = [("float32", 10, 0, 0.9), ("float32", 10, 1, 0.7), ("float32", 100, 0, 0.7), ("float32", 1000, 0, 0.6)]
    runs += [("pq", 10, 0, 0.8), ("pq", 10, 1, 0.6), ("pq", 100, 0, 0.5), ("pq", 1000, 0, 0.3)]
    frame, scores = frame_of(runs)
    (page,) = growth_pages(frame, scores.__getitem__)
    assert page.title == "c · m" and page.metric == "ndcg_at_10"
    plain, code = page.curves
    assert plain.lost == () == plain.lost_beyond
    assert plain.sizes == code.sizes == (10, 100, 1000) and code.draws == (2, 1, 1)
    assert [mean for mean, _, _ in code.score] == pytest.approx([0.7, 0.5, 0.3])
    assert code.spread[0] == pytest.approx(np.std([0.8, 0.6], ddof=1)) and math.isnan(code.spread[1])
    assert [mean for mean, _, _ in code.lost] == pytest.approx([0.1, 0.2, 0.3])
    for mean, low, high in code.lost:
        assert low == pytest.approx(mean) and high == pytest.approx(mean), "both queries lose the same"
    for mean, low, high in code.score:
        assert low < mean < high, "but they do not score the same"
    assert code.beyond == (10_000.0, 100_000.0)
    assert [mean for mean, _, _ in code.lost_beyond] == pytest.approx([0.4, 0.5])
    assert [mean for mean, _, _ in code.score_beyond] == pytest.approx([0.1, -0.1])


def test_two_sizes_are_no_line_and_a_collection_without_subsets_is_no_page() -> None:
    frame, scores = frame_of([("pq", 10, 0, 0.8), ("pq", 1000, 0, 0.5)])
    (page,) = growth_pages(frame, scores.__getitem__)
    assert page.curves[0].beyond == () == page.curves[0].score_beyond and page.curves[0].lost == ()
    frame, scores = frame_of([("pq", 1000, 0, 0.5)])
    assert growth_pages(frame, scores.__getitem__) == []
