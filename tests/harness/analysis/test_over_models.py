"""What settings keep over models: means of the collections that all have, and the worst of them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.over_models import methods_over_models, over_models
from harness.analysis.settings import Page
from harness.report.models_view import model_views


def page(model: str, dataset: str, shares: dict[str, float], sizes: dict[str, float] | None = None) -> Page:
    rows = [
        {
            "method": name.split()[0],
            "params": " ".join(name.split()[1:]),
            "scoring": "asymmetric",
            "model": model,
            "dataset": dataset,
            "status": "ok",
            "ndcg_at_10": 0.5 * share,
            "retention": share,
            "bytes_per_vector": (sizes or {}).get(name, 48.0),
            "code_bytes_per_vector": (sizes or {}).get(name, 48.0),
        }
        for name, share in shares.items()
    ]
    frame = pd.DataFrame(rows)
    return Page(f"{model}-{dataset}", f"{dataset}, {model}", frame, frame)


PAGES = [
    page("a", "x", {"float32": 1.0, "good": 0.99, "steady": 0.95}),
    page("a", "y", {"float32": 1.0, "good": 0.97, "steady": 0.95}),
    page("b", "x", {"float32": 1.0, "good": 0.60, "steady": 0.94}, {"good": 96.0}),
    page("b", "y", {"float32": 1.0, "good": 0.50, "steady": 0.92}, {"good": 96.0}),
    # only one model has it: no part of any mean
    page("a", "z", {"float32": 1.0, "good": 0.01, "steady": 0.01}),
]


def test_by_hand() -> None:
    found = over_models(PAGES)
    assert found is not None
    assert found.models == ["a", "b"] and found.collections == ["x", "y"]
    table = found.shares.set_index("setting")
    assert table.loc["good", ["a", "b", "mean", "worst"]].tolist() == pytest.approx([0.98, 0.55, 0.765, 0.55])
    assert table.loc["good", "worst_model"] == "b" and table.loc["good", ["least_bytes", "most_bytes"]].tolist() == [
        48,
        96,
    ]
    assert table.loc["steady", "worst"] == pytest.approx(0.93)
    best = found.best(48)
    assert best is not None and best["setting"] == "steady", "not float32, and not what takes 96 bytes with one model"
    assert found.best(12) is None


def test_what_one_model_lacks_is_in_no_mean() -> None:
    found = over_models([*PAGES[:3], page("b", "y", {"float32": 1.0, "steady": 0.9})])
    assert found is not None and set(found.shares["setting"]) == {"float32", "steady"}


@pytest.mark.parametrize("pages", [[], PAGES[:2], [PAGES[0], page("b", "w", {"float32": 1.0})]])
def test_nothing_to_compare(pages: list[Page]) -> None:
    assert over_models(pages) is None and model_views(pages) == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.floats(0.1, 1.0), min_size=4, max_size=4), min_size=2, max_size=4))
def test_the_best_in_the_worst_case_is_no_worse_anywhere_than_the_others_worst(shares: list[list[float]]) -> None:
    names = ["p", "q", "r", "s"]
    pages = [page(f"m{i}", "x", dict(zip(names, own, strict=True))) for i, own in enumerate(shares)]
    found = over_models(pages)
    assert found is not None
    best = found.best(48)
    assert best is not None and best["worst"] == pytest.approx(np.max(np.min(shares, axis=0)))


def test_tables() -> None:
    table, best = model_views(PAGES, budgets=(12, 48, 96))
    text = table.markdown()
    assert "steady" in text and "93.0" in text and "(x, y)" in text
    assert best.raw["within"].tolist() == [48, 96] and best.raw["setting"].tolist() == ["steady", "steady"]
    assert "worst with" in best.markdown()


def test_methods_by_hand() -> None:
    pages = [
        page("a", "x", {"float32": 1.0, "p m=1": 0.90, "p m=2": 0.98, "q": 0.95, "r": 0.5}, {"p m=2": 96.0}),
        page("b", "x", {"float32": 1.0, "p m=1": 0.94, "p m=2": 0.97, "q": 0.80, "s": 0.5}),
    ]
    found = methods_over_models(pages, 48)
    assert found is not None and found.collections == ["x"]
    # p is .90 with a, whose better setting takes 96 bytes, and .97 with b; r and s are of one model alone
    assert found.shares["method"].tolist() == ["p", "q"]
    assert found.shares[["a", "b", "worst"]].to_numpy().tolist() == [[0.90, 0.97, 0.90], [0.95, 0.80, 0.80]]
    assert found.ranks[["a", "b", "moved"]].to_numpy().tolist() == [[2, 1, 1], [1, 2, 1]]
    assert found.left_out == ["r", "s"]
    assert found.constant == 0 and found.most_moved(1) == [("p", ("b", 1), ("a", 2))]
    larger = methods_over_models(pages, 96)
    assert larger is not None and larger.ranks["moved"].tolist() == [0, 0] and larger.most_moved() == []
    assert methods_over_models(pages, 12) is None and methods_over_models(pages[:1], 96) is None


def test_a_method_that_one_collection_lacks_is_left_out() -> None:
    pages = [
        page(m, d, {"p": 0.9, "q": 0.8, **({"r": 1.0} if (m, d) != ("b", "y") else {})}) for m in "ab" for d in "xy"
    ]
    found = methods_over_models(pages, 48)
    assert found is not None and found.shares["method"].tolist() == ["p", "q"]
