"""Representations come from the records: what has no name of its own is called what records call it."""

import pandas as pd

from harness.analysis.representations import kind_of_page, kinds_of, representations
from harness.analysis.settings import Page
from harness.report.figures.representations import kind_looks, legend_entry


def page(model: str, kind: str | None, quality: float, size: float = 40.0, failed: str | None = None) -> Page:
    row = {"method": "m", "params": "", "scoring": "", "model": model, "dataset": "x", "status": "ok", "run_id": model}
    figures = {"ndcg_at_10": quality, "bytes_per_vector": size, "code_bytes_per_vector": size, "run_ids": model}
    runs = pd.DataFrame([row | figures | {"parts": ""}])
    if kind is not None:
        runs["representation"] = kind
    if failed is not None:
        runs = pd.concat([runs.assign(status="failed", representation=failed), runs], ignore_index=True)
    return Page(model, model, runs, pd.DataFrame([row | figures]))


def test_names_and_order() -> None:
    pages = [page("a", "images", 0.7), page("b", "hybrid", 0.6), page("c", "vectors", 0.5), page("d", None, 0.4)]
    assert kinds_of(pages) == {"vectors": "one vector", "hybrid": "hybrid", "images": "images"}
    # a failed run does not know what its model would have given
    assert kind_of_page(page("a", "terms", 0.7, failed="vectors")) == "terms"


def test_one_without_a_name_competes() -> None:
    (found,) = representations([page("a", "images", 0.7), page("c", "vectors", 0.5)], [48])
    assert found.best["representation"].tolist() == ["one vector", "images"]
    assert found.best["is_best"].tolist() == [False, True] and found.best["gain"].iloc[1] == 0.7 - 0.5


def test_colours_do_not_depend_on_what_else_is_there() -> None:
    few, many = kind_looks({"hybrid", "tokens"}), kind_looks({"vectors", "terms", "hybrid", "tokens"})
    assert all(few[kind] == many[kind] for kind in few) and len({*map(str, many.values())}) == 4


def test_a_legend_names_the_model_where_there_is_one() -> None:
    one, other = page("a", "vectors", 0.7), page("b", "vectors", 0.6)
    assert legend_entry("one vector", [one, one]) == "one vector: a"
    assert legend_entry("one vector", [one, other]) == "one vector"
