import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis import frontier_uncertainty, statistics
from harness.analysis import settings as settings_module
from harness.analysis.filters import selected
from harness.analysis.settings import Page
from harness.analysis.significance import with_intervals
from harness.base.errors import ConfigError
from harness.report import views
from harness.report.view import TableOptions
from harness.report.views import budget_view, budgets_view, collection_view, frontier_view, kept_view
from harness.runs.frame import load_runs
from harness.runs.store import Store
from tests.conftest import ROOT
from tests.harness.analysis.test_significance import page_of, records
from tests.harness.report.test_write import frame_of, run

UNTIMED = settings(deadline=None)


def grid() -> pd.DataFrame:
    """A frame to filter."""
    return pd.DataFrame(
        {
            "method": ["pq", "opq", "int8", "float32"],
            "family": ["product", "product", "int", "cast"],
            "params": ["m=48", "m=96", "", ""],
            "bytes_per_vector": [48.4, 97.0, 384.0, 1536.0],
            "retention": [0.9, 0.95, np.nan, 1.0],
            "on_frontier": [True, False, True, False],
        }
    )


# --- the filter


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("", "1111"),
        ("bytes_per_vector<=64", "1000"),
        ("bytes_per_vector<=64 and family==spectrum", "0000"),
        ("bytes_per_vector<=97 and family==product", "1100"),
        ("64 < bytes_per_vector <= 384", "0110"),
        ("not family == product", "0011"),
        ("family == product or method == int8", "1110"),
        ("(family == product or method == int8) and bytes_per_vector > 50", "0110"),
        ("method in (pq, int8)", "1010"),
        ("method not in ['pq', opq]", "0011"),
        ('params == "m=48"', "1000"),
        ("retention >= 0.95", "0101"),
        ("retention < 0.95", "1000"),  # the unknown one is not
        ("retention != 0.9", "0111"),
        ("retention > -1", "1101"),
        ("on_frontier", "1010"),
        ("not on_frontier and family == product", "0100"),
        ("on_frontier == True", "1010"),
        ("bytes_per_vector > retention", "1101"),
        ("family in (method, cast)", "0001"),  # a word in a list is itself
    ],
)
def test_filters(expression: str, expected: str) -> None:
    assert "".join(str(int(mark)) for mark in selected(grid(), expression)) == expected


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("bytes_per_vectr <= 64", "did you mean bytes_per_vector"),
        ("methd == pq", "did you mean method"),
        ("family = product", "write == for equal"),
        ("bytes_per_vector <=", "cannot be read"),
        ("family <= 3", "compares a number with a word"),
        ("method", "not a column that is true or false"),
        ("nonsense", "not a column that is true or false"),
        ("method in pq", "needs a list"),
        ("methd in (pq, opq)", "did you mean method"),
        ("method == rabitq-2", "quote"),
        ("method is pq", "cannot"),
        ("bytes_per_vector * 2 < 64", "cannot"),
        ("__import__('os').system('true')", "cannot"),
        ("method.__class__ == pq", "cannot"),
        ("method[0] == 'p'", "cannot"),
        ("(lambda: 1)() == method", "cannot"),
        ("[x for x in method] == 1", "cannot"),
        ("(y := method) == pq", "cannot"),
        ("f'{method}' == pq", "cannot"),
        ("method == b'pq'", "cannot"),
        ("True", "cannot"),
        ("1 < 2", "are not columns"),
        ("on_frontier > True", "True is larger"),
        ("method == 'a\0b'", "cannot"),
        ("(" * 300 + "method == pq" + ")" * 300, "cannot be read"),
        ("method == pq or " * 100 + "method == pq", "more than 1000"),
    ],
)
def test_filters_that_are_refused_in_one_line(expression: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        selected(grid(), expression)
    assert says in str(error.value) and "\n" not in str(error.value)


@UNTIMED
@given(st.text(alphabet="method()[]{}<>=!'\"., 0189andorti:@*-+/%~^|&;\\\n\t\0é", max_size=40))
def test_any_text_is_a_filter_or_an_error_for_people(text: str) -> None:
    try:
        found = selected(grid(), text)
    except ConfigError:
        return
    assert found.dtype == bool and found.shape == (4,)


# --- a page


def test_the_table_of_a_page_holds_its_settings_as_they_are_on_record() -> None:
    page = page_of(*records())
    view = collection_view(page)
    ordered = page.settings.set_index(
        pd.Index([settings_module.setting_name(row) for _, row in page.settings.iterrows()])
    )
    ordered = ordered.loc[view.raw["setting"]]
    for key in ("bytes_per_vector", "ndcg_at_10", "retention", "retention_low"):
        assert view.raw[key].tolist() == pytest.approx(ordered[key].tolist(), nan_ok=True)
    assert view.raw["setting"].iloc[-1] == "float32" and view.reference == [False] * 5 + [True]
    text = view.text
    assert text["ndcg_at_10"].tolist() == [f"{value:.3f}" for value in view.raw["ndcg_at_10"]]
    assert text["retention"].tolist() == [f"{100 * value:.1f}" for value in view.raw["retention"]]
    assert text["retention_low"].iloc[-1] == "–"


def test_best_second_and_not_worse_by_the_statistics() -> None:
    page = page_of(*records())
    view = collection_view(page)
    marks = dict(zip(view.raw["setting"], view.marks["ndcg_at_10"], strict=True))
    assert page.scores is not None
    values, names = page.scores.values["ndcg_at_10"], page.settings["method"].tolist()
    best = names.index("float16")
    others = [row for row in range(len(names)) if names[row] not in ("float16", "float32")]
    # the family of Holm's correction is the column, float32 included
    tested = [*others, names.index("float32")]
    p = statistics.holm(statistics.randomisation_test(values[tested] - values[best]))
    assert marks["float16"] == ("best",)
    for row, value in zip(others, p[:-1], strict=True):
        assert ("not worse" in marks[f"{names[row]} {page.settings['params'].iloc[row]}".strip()]) == (value >= 0.05)
    assert "best" not in marks["float32"] and "second" not in marks["float32"]
    assert view.marks["retention"] == view.marks["ndcg_at_10"]


def test_what_is_shown_alike_ranks_alike() -> None:
    rows = [
        run(run_id=f"r{i}", method=f"m{i}", ndcg_at_10=value) for i, value in enumerate((0.61, 0.6004, 0.6001, 0.5))
    ]
    view = collection_view(settings_module.pages(frame_of(*rows))[0], TableOptions(columns=("method", "ndcg_at_10")))
    ranks = dict(zip(view.raw["method"], view.marks["ndcg_at_10"], strict=True))
    assert ranks == {"m0": ("best",), "m1": ("second",), "m2": ("second",), "m3": ()}
    finer = collection_view(
        settings_module.pages(frame_of(*rows))[0], TableOptions(columns=("method", "ndcg_at_10"), decimals=4)
    )
    assert dict(zip(finer.raw["method"], finer.marks["ndcg_at_10"], strict=True))["m2"] == ()


def test_a_baseline_of_ones_own() -> None:
    page = page_of(*records())
    marks = collection_view(page, TableOptions(baseline="pq m=48"))
    found = dict(zip(marks.raw["setting"], marks.marks["ndcg_at_10"], strict=True))
    assert found["pq m=48"] == ()
    assert "better" in found["opq m=48"] and "better" in found["int8"] and "better" in found["float32"]
    assert found["binary"] == ()
    assert "significantly better than pq m=48" in marks.markdown()
    none = collection_view(page, TableOptions(baseline="none"))
    assert {name for row in none.marks["ndcg_at_10"] for name in row} == {"best", "second"}
    with pytest.raises(ConfigError, match="'pqq m=48' was not measured; did you mean 'pq m=48'"):
        collection_view(page, TableOptions(baseline="pqq m=48"))


def test_a_baseline_that_one_collection_lacks_leaves_it_without_marks() -> None:
    frame, per_query = records(("scifact", "nfcorpus"))
    frame = frame[(frame["dataset"] == "scifact") | (frame["method"] != "pq")]
    pages = [with_intervals(page, per_query) for page in settings_module.pages(frame)]
    view = budget_view(pages, 64, TableOptions(baseline="pq m=48"))
    used = {key: {name for row in rows for name in row} for key, rows in view.marks.items()}
    assert "better" in used["scifact"] and used["nfcorpus"] == {"best", "second"}
    assert views.all_views(pages, TableOptions(baseline="pq m=48"))


def test_chosen_columns_and_filter() -> None:
    page = page_of(*records())
    options = TableOptions(columns=("setting", "index_bytes", "verdict"), filter="bytes_per_vector <= 48")
    view = collection_view(page, options)
    assert view.raw.columns.tolist() == ["setting", "index_bytes", "verdict"]
    assert sorted(view.raw["setting"]) == ["binary", "opq m=48", "pq m=48"]
    assert view.text["index_bytes"].str.fullmatch(r"\d+").all()
    with pytest.raises(ConfigError, match="no column 'ndcg_at_100x'; did you mean"):
        collection_view(page, TableOptions(columns=("ndcg_at_100x",)))
    with pytest.raises(ConfigError, match="no setting passes the filter 'family == none'; families are binary, "):
        collection_view(page, TableOptions(filter="family == none"))


@pytest.mark.parametrize("given", [{"decimals": -1}, {"decimals": 2.5}, {"columns": "setting"}, {"filter": ["x"]}])
def test_options_that_make_no_sense(given: dict) -> None:
    with pytest.raises(ConfigError):
        TableOptions(**given)


def test_the_frontier_alone_and_how_sure_it_is() -> None:
    page = page_of(*records())
    shares = frontier_uncertainty.sample(page)
    assert shares is not None
    view = frontier_view(page, shares=shares)
    on = page.settings[page.settings["on_frontier"]]
    assert view.raw["bytes_per_vector"].tolist() == on["bytes_per_vector"].tolist()
    assert not view.marks
    expected = dict(zip(shares.names, shares.frontier_probability, strict=True))
    assert view.raw["frontier_probability"].tolist() == [expected[name] for name in view.raw["setting"]]
    assert "frontier_probability" not in frontier_view(page).raw


# --- matrices


def small_pages() -> list[Page]:
    """Two collections; "pq" has two settings, "ash" was measured on one of them only."""
    scores = {
        ("a", "pq", "m=48", 48): 0.50,
        ("a", "pq", "m=96", 96): 0.60,
        ("a", "opq", "", 48): 0.55,
        ("a", "ash", "", 48): 0.58,
        ("a", "float32", "", 1536): 0.64,
        ("b", "pq", "m=48", 48): 0.30,
        ("b", "pq", "m=96", 96): 0.29,
        ("b", "opq", "", 48): 0.25,
        ("b", "float32", "", 1536): 0.40,
    }
    rows = [
        run(
            run_id=f"{i}",
            dataset=dataset,
            method=method,
            params=params,
            code_bytes_per_vector=float(size),
            state_bytes=400_000 if method == "pq" else 0,
            ndcg_at_10=score,
            retention=score / scores[(dataset, "float32", "", 1536)],
        )
        for i, ((dataset, method, params, size), score) in enumerate(scores.items())
    ]
    return settings_module.pages(frame_of(*rows))


def test_methods_by_collections_at_a_budget_by_hand() -> None:
    view = budget_view(small_pages(), 48)
    table = view.raw.set_index("method")
    assert table.index.tolist() == ["opq", "pq", "ash", "float32"]
    assert table["a"].to_dict() == {"pq": 0.50, "opq": 0.55, "ash": 0.58, "float32": 0.64}
    assert table.loc["ash", "b setting"] == "" and np.isnan(table.loc["ash", "b"])
    # complete rows only
    assert table["mean"].tolist() == pytest.approx([0.4, 0.4, np.nan, 0.52], nan_ok=True)
    assert table["n"].tolist() == [2, 2, 1, 2]
    assert view.text.set_index("method").loc["ash"].tolist() == ["0.580", "–", "–"]
    assert view.marks["a"] == [("second",), (), ("best",), ()]
    assert view.marks["mean"] == [(), (), (), ()]  # all alike: no best
    wider = budget_view(small_pages(), 96).raw.set_index("method")
    assert wider.loc["pq", ["a", "b"]].tolist() == [0.60, 0.30]
    assert wider.loc["pq", ["a setting", "b setting"]].tolist() == ["pq m=96", "pq m=48"]


def test_the_share_kept_at_a_budget() -> None:
    view = budget_view(small_pages(), 96, kept=True)
    assert view.raw.set_index("method").loc["pq", "a"] == pytest.approx(0.6 / 0.64)
    assert view.text.set_index("method").loc["pq"].tolist() == ["93.8", "75.0", "84.4"]
    assert view.text.set_index("method").loc["float32"].tolist() == ["100.0"] * 3


def test_methods_by_budgets_by_hand() -> None:
    view = budgets_view(small_pages()[0], [16, 48, 96])
    table = view.raw.set_index("method")
    assert table.index.tolist() == ["ash", "opq", "pq"]
    assert table.loc["pq", ["48", "96"]].tolist() == [0.50, 0.60] and np.isnan(table.loc["pq", "16"])
    assert table.loc["ash", "96"] == 0.58
    assert "float32: 0.640" in view.markdown()
    assert view.marks["96"][2] == ("best",) and view.marks["48"][0] == ("best",)


def test_what_every_setting_keeps_of_float32() -> None:
    view = kept_view(small_pages())
    table = view.raw.set_index("setting")
    assert table.index.tolist() == ["ash", "opq", "pq m=48", "pq m=96", "float32"]
    assert table.loc["pq m=48", ["a", "b", "mean", "lowest"]].tolist() == pytest.approx([0.78125, 0.75, 0.765625, 0.75])
    assert table.loc["ash", ["b", "mean", "lowest"]].isna().all()
    assert view.reference == [False, False, False, False, True]


def test_marks_in_a_matrix_are_those_of_the_tests_within_the_column() -> None:
    frame, per_query = records(("scifact", "nfcorpus"))
    pages = [with_intervals(page, per_query) for page in settings_module.pages(frame)]
    view = budget_view(pages, 48)
    for page, name in zip(pages, ("nfcorpus", "scifact"), strict=True):
        assert page.scores is not None
        values, methods = page.scores.values["ndcg_at_10"], page.settings["method"].tolist()
        rows = {method: methods.index(method) for method in ("pq", "opq", "binary")}
        p = statistics.holm(statistics.randomisation_test(values[[rows["pq"], rows["binary"]]] - values[rows["opq"]]))
        marks = dict(zip(view.raw["method"], view.marks[name], strict=True))
        assert marks["opq"] == ("best",) and marks["float32"] == ()
        assert ("not worse" in marks["pq"]) == (p[0] >= 0.05)
        assert ("not worse" in marks["binary"]) == (p[1] >= 0.05)


def test_nearly_equal_methods_are_called_not_worse() -> None:
    rng = np.random.default_rng(0)
    exact = rng.uniform(0.2, 0.9, 200)
    own = {"float32": exact, "a": exact - 0.01 + 0.1 * rng.standard_normal(200), "b": exact - 0.01, "c": exact - 0.2}
    rows = [
        run(run_id=name, method=name, ndcg_at_10=values.mean(), retention=values.mean() / exact.mean(), n_queries=200)
        for name, values in own.items()
    ]
    frame = frame_of(*rows).assign(run_id=list(own))

    def per_query(run_id: str) -> pd.DataFrame:
        return pd.DataFrame({"query_id": [f"{i}" for i in range(200)], "ndcg_at_10": own[run_id], "overlap_at_10": 1.0})

    view = collection_view(page_of(frame, per_query))
    marks = dict(zip(view.raw["setting"], view.marks["ndcg_at_10"], strict=True))
    best, second = ("a", "b") if own["a"].mean() > own["b"].mean() else ("b", "a")
    assert marks[best] == ("best",) and marks[second] == ("second", "not worse") and marks["c"] == ()


def test_two_models_on_a_dataset_have_columns_of_their_own() -> None:
    rows = [
        run(run_id=f"{model}-{method}", model=model, method=method, code_bytes_per_vector=size)
        for model in ("minilm", "e5")
        for method, size in (("pq", 48.0), ("float32", 1536.0))
    ]
    assert budget_view(settings_module.pages(frame_of(*rows)), 64).text.columns.tolist() == [
        "method",
        "scifact · e5",
        "scifact · minilm",
        "mean",
    ]


# --- formats


def test_every_format_shows_the_same_numbers(tmp_path: Path) -> None:
    frame, per_query = records(("scifact", "nfcorpus"))
    found = [with_intervals(page, per_query) for page in settings_module.pages(frame)]
    for view in views.all_views(found, budgets=(48, 384)):
        paths = views.save(view, tmp_path)
        assert [path.suffix for path in paths] == [".md", ".csv", ".parquet", ".tex"]
        csv, parquet = pd.read_csv(paths[1]), pd.read_parquet(paths[2])
        assert csv.columns.tolist() == parquet.columns.tolist()
        markdown, latex = paths[0].read_text(), paths[3].read_text()
        rows = [line for line in markdown.splitlines() if line.startswith("| ")][2:]
        lines = [line for line in latex.splitlines() if line.endswith(r"\\") and "&" in line][-len(view.raw) :]
        assert len(rows) == len(lines) == len(view.raw) > 0
        for place in range(len(view.raw)):
            in_markdown = re.findall(r"\d+\.\d+", rows[place])
            cells = [re.sub(r"\{\\vb.*$", "", cell) for cell in lines[place].split("&")]
            in_latex = re.findall(r"\d+\.\d+", " ".join(cells))
            shown = []
            for column in view.columns:
                raw = view.raw[column.key].iloc[place]
                if column.decimals:
                    assert csv[column.key].iloc[place] == pytest.approx(raw, rel=1e-12, nan_ok=True)
                    assert parquet[column.key].iloc[place] == pytest.approx(raw, rel=0, nan_ok=True)
                    shown += [f"{column.factor * raw:.{column.decimals}f}"] if np.isfinite(raw) else []
            assert in_markdown == in_latex == shown


def test_markdown_marks_best_second_and_significance() -> None:
    frame, per_query = records()
    page = page_of(frame.assign(method=frame["method"].replace({"binary": "my_binary|x"})), per_query)
    text = collection_view(page, TableOptions(decimals=4)).markdown()
    assert re.search(r"\| float16 .*\| \*\*\d\.\d{4}\*\* \|", text)
    assert re.search(r"\| int8 .*<ins>\d\.\d{4}</ins>", text)
    assert "my\\_binary\\|x" in text
    assert "Bold: best; underlined: second." in text


def test_no_scores_no_significance_and_nothing_fails() -> None:
    pages = settings_module.pages(records(("scifact", "nfcorpus"))[0])
    found = views.all_views(pages)
    assert all("Randomisation" not in view.markdown() for view in found)
    assert {name for view in found for rows in view.marks.values() for row in rows for name in row} <= {
        "best",
        "second",
    }


def test_a_collection_that_the_filter_empties_is_left_out() -> None:
    found = views.all_views(small_pages(), TableOptions(filter="method == ash"))
    assert {view.stem for view in found} == {"a--minilm-settings", "a--minilm-frontier", "a--minilm-budgets"}
    assert views.all_views([]) == []


def test_views_together_are_the_views_alone() -> None:
    frame, per_query = records(("scifact", "nfcorpus"))
    pages = [with_intervals(page, per_query) for page in settings_module.pages(frame)]
    together = {view.stem: view.markdown() for view in views.all_views(pages, budgets=(48,))}
    alone = [collection_view(page) for page in pages] + [frontier_view(page) for page in pages]
    alone += [budgets_view(page, [48]) for page in pages]
    alone += [budget_view(pages, 48), budget_view(pages, 48, kept=True), kept_view(pages)]
    assert together == {view.stem: view.markdown() for view in alone}


def test_a_budget_that_nothing_fits_has_no_table() -> None:
    stems = [view.stem for view in views.all_views(small_pages(), budgets=(16, 48))]
    assert "quality-at-48-bytes" in stems and "quality-at-16-bytes" not in stems


def test_without_judgements_the_overlap_is_what_counts() -> None:
    frame, per_query = records()
    frame[["ndcg_at_10", "retention", "recall_at_100", "ndcg_at_10_ties"]] = np.nan
    page = with_intervals(settings_module.pages(frame)[0], lambda run_id: per_query(run_id).drop(columns="ndcg_at_10"))
    view = collection_view(page)
    assert "overlap_at_10" in view.marks and "ndcg_at_10" not in view.raw
    assert "overlap@10" in budgets_view(page).title


def test_the_frame_of_a_view_has_marks_as_words() -> None:
    view = budget_view(small_pages(), 48)
    assert view.frame["a_mark"].tolist() == ["second", "", "best", ""]
    assert view.frame.columns[:3].tolist() == ["method", "a", "a_mark"]


def test_every_page_and_every_budget_that_something_fits_has_its_views() -> None:
    found = views.all_views(small_pages(), budgets=(16, 48, 96))
    assert len(found) == 2 * 3 + 2 * 2 + 1, "three a page, two a budget, and what each setting keeps"
    assert len({view.stem for view in found}) == len(found)


@pytest.mark.slow
def test_views_of_the_reference_runs() -> None:
    folder = ROOT / "results" / "reference-runs" / "frontier"
    if not folder.is_dir():
        pytest.skip("the reference runs are not here")
    pages = []
    for path in sorted(folder.iterdir()):
        store = Store(path)
        pages += [with_intervals(page, store.per_query) for page in settings_module.pages(load_runs(path))]
    for view in views.all_views(pages, shares=frontier_uncertainty.analyse(pages)):
        assert len(view.raw) and "nan" not in view.markdown()
