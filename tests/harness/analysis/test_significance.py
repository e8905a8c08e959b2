from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness import cli
from harness.analysis import settings as settings_module
from harness.analysis.significance import at_equal_bytes, frontier_steps, with_intervals
from harness.base.errors import ConfigError, StoreError
from harness.report import summary
from harness.report.compare_settings import versus_markdown
from harness.report.figures.pareto import draw
from harness.report.page import page_markdown
from harness.report.write import write_report
from harness.runs.store import Store
from tests.harness.report.test_write import frame_of, run, unjudged

M = 200
LOSS = {"float32": 0.0, "float16": 0.0, "int8": 0.0002, "pq m=48": 0.05, "opq m=48": 0.03, "binary": 0.2}
SIZE = {"float32": 1536, "float16": 768, "int8": 384, "pq m=48": 48, "opq m=48": 48, "binary": 48}

PerQuery = Callable[[str], pd.DataFrame]


def records(datasets: tuple[str, ...] = ("scifact",), seeds: int = 1) -> tuple[pd.DataFrame, PerQuery]:
    """Runs of six settings, which lose what `LOSS` says, and their queries' scores."""
    rows, queries = [], {}
    for place, dataset in enumerate(datasets):
        rng = np.random.default_rng(place)
        exact = rng.beta(2, 1, M)
        for name, loss in LOSS.items():
            for seed in range(seeds):
                scores = np.clip(exact - loss * rng.uniform(-0.5, 2.5, M), 0, 1) if loss else exact
                run_id = f"{dataset}-{name.replace(' ', '-')}-{seed}"
                ids = [f"q{number}" for number in range(M)]
                frame = pd.DataFrame({"query_id": ids, "ndcg_at_10": scores, "overlap_at_10": 1 - loss * rng.random(M)})
                queries[run_id] = frame.sample(frac=1, random_state=seed)
                method, _, params = name.partition(" ")
                rows.append(
                    run(
                        run_id=run_id,
                        dataset=dataset,
                        method=method,
                        params=params,
                        seed=seed,
                        code_bytes_per_vector=float(SIZE[name]),
                        ndcg_at_10=scores.mean(),
                        retention=scores.mean() / exact.mean(),
                        overlap_at_10=frame["overlap_at_10"].mean(),
                        n_queries=M,
                    )
                )
    return frame_of(*rows).assign(run_id=[row["run_id"] for row in rows]), queries.__getitem__


def page_of(frame: pd.DataFrame, per_query: PerQuery) -> settings_module.Page:
    (page,) = settings_module.pages(frame)
    return with_intervals(page, per_query)


def test_every_setting_is_compared_with_float32() -> None:
    settings = page_of(*records()).settings.set_index("method")
    assert settings["verdict"].to_dict() == {
        "float32": "",
        "float16": "the same",
        "int8": "worse, by less than 1 %",
        "pq": "worse",
        "opq": "worse",
        "binary": "worse",
    }
    assert np.isnan(settings.loc["float32", "p"])
    assert (settings.loc[["pq", "opq", "binary"], "p_holm"] < 0.001).all()
    assert (settings["retention_low"] <= settings["retention"] + 1e-6).drop("float32").all()
    assert settings.loc["binary", "retention_high"] < settings.loc["pq", "retention_low"]
    assert settings.loc["binary", "queries_worse"] > 0.7 * M
    assert settings.loc["binary", "effect_size"] < -0.5
    assert (settings["overlap_at_10_high"] >= settings["overlap_at_10"] - 1e-6).all()


def test_queries_are_matched_by_id_and_seeds_averaged() -> None:
    frame, per_query = records(seeds=3)
    page = page_of(frame, per_query)
    assert page.scores is not None
    place = int(np.flatnonzero(page.settings["method"] == "pq")[0])
    runs = [per_query(f"scifact-pq-m=48-{seed}").set_index("query_id")["ndcg_at_10"] for seed in range(3)]
    expected = pd.concat(runs, axis="columns").mean(axis="columns").sort_index()
    assert page.scores.values["ndcg_at_10"][place] == pytest.approx(expected.to_numpy())


def test_a_setting_with_other_queries_or_none_is_left_out_and_the_others_stay() -> None:
    frame, per_query = records()

    def some(run_id: str) -> pd.DataFrame:
        if "opq" in run_id:
            raise FileNotFoundError(run_id)
        if "pq" in run_id:
            return per_query(run_id).iloc[:10]
        return per_query(run_id)

    settings = page_of(frame, some).settings.set_index("method")
    assert settings.loc[["pq", "opq"], "p"].isna().all()
    assert settings.loc[["pq", "opq"], "verdict"].tolist() == ["", ""]
    assert settings.loc["binary", "verdict"] == "worse"


def test_nothing_on_record_leaves_the_table_as_it_is() -> None:
    def none(run_id: str) -> pd.DataFrame:
        raise StoreError(run_id)

    frame, _ = records()
    text = page_markdown(page_of(frame, none), None, "vecbudget report")
    assert "95 % interval" not in text and "Steps of the frontier" not in text


@pytest.mark.usefixtures("empty_figures")
def test_the_page_shows_intervals_verdicts_and_steps(tmp_path: Path) -> None:
    frame, per_query = records()
    write_report(frame, tmp_path, per_query=per_query)
    path = tmp_path / "scifact--minilm.md"
    text = path.read_text()
    assert "| 95 % interval | against float32 |" in text
    assert "not worse than 1 %" in text
    steps = text.partition("## Steps of the frontier")[2]
    assert "48 → 384 | opq m=48 → int8 | +0.0" in steps and "better" in steps
    saved = pd.read_csv(path.with_suffix(".csv"))
    assert {"loss_bound", "p_holm", "verdict", "effect_size"} <= set(saved.columns)


def test_steps_by_luck_are_undecided() -> None:
    frame, per_query = records()
    page = page_of(frame, per_query)
    found = {page.settings["method"][step.row]: step for step in frontier_steps(page)}
    assert found["int8"].p_holm < 0.001 and found["int8"].low > 0
    # float16 loses nothing: on the frontier, and above int8 by a hair that every query has
    assert 0 < found["float16"].difference < 0.001


def close_records(*settings: tuple[str, float, float, float]) -> tuple[pd.DataFrame, PerQuery]:
    """Runs of settings by name, bytes, mean loss against float32, and spread of that loss over the queries."""
    rng = np.random.default_rng(7)
    exact = rng.uniform(0.4, 0.8, M)
    rows, queries = [], {}
    for name, size, loss, noise in (("float32", 1536.0, 0.0, 0.0), *settings):
        spread = rng.standard_normal(M)
        scores = exact - loss + noise * (spread - spread.mean())
        queries[name] = pd.DataFrame(
            {"query_id": [f"q{number}" for number in range(M)], "ndcg_at_10": scores, "overlap_at_10": scores}
        )
        means = {"ndcg_at_10": scores.mean(), "overlap_at_10": scores.mean(), "retention": scores.mean() / exact.mean()}
        rows.append(run(method=name, code_bytes_per_vector=size, n_queries=M, **means))
    return frame_of(*rows).assign(run_id=[row["method"] for row in rows]), queries.__getitem__


def test_beside_the_best_of_a_budget_stands_only_what_is_not_told_apart_from_it() -> None:
    frame, per_query = close_records(
        ("small", 12.0, 0.2, 0.0),
        ("worse", 24.4, 0.1, 0.001),  # told apart from the best
        ("alike", 24.5, 0.0501, 0.05),  # not told apart
        ("best", 24.8, 0.05, 0.05),
        ("larger", 24.95, 0.0502, 0.05),  # one budget with the best, and not told apart
        ("far", 25.4, 0.0501001, 0.05),  # a budget of its own, and no better
        ("surpassed", 48.0, 0.05001, 0.05),
        ("unknown", 24.6, 0.05001, 0.05),  # without its queries' scores
    )

    def some(run_id: str) -> pd.DataFrame:
        if run_id == "unknown":
            raise FileNotFoundError(run_id)
        return per_query(run_id)

    page = page_of(frame, some)
    on = set(page.settings["method"][page.settings["on_frontier"]])
    assert on == {"small", "alike", "best", "larger", "float32"}
    (plain,) = settings_module.pages(frame)
    assert set(plain.settings["method"][plain.settings["on_frontier"]]) == {"small", "best", "float32"}
    steps = [page.settings["method"][step.row] for step in frontier_steps(page)]
    assert steps == ["best", "float32"], "steps are between budgets, not within one"
    (line,) = (own for own in draw(page).axes[0].lines if own.get_drawstyle() == "steps-post")
    assert list(line.get_xdata()) == pytest.approx([12, 24.8, 1536], abs=1e-3)


@pytest.mark.usefixtures("empty_figures")
def test_every_table_and_the_pooled_collections_have_the_same_frontier(tmp_path: Path) -> None:
    frame, per_query = close_records(
        ("worse", 24.4, 0.1, 0.001), ("alike", 24.5, 0.0501, 0.05), ("best", 24.8, 0.05, 0.05)
    )
    both = pd.concat([frame.assign(dataset=name) for name in ("a", "b")], ignore_index=True)
    both["run_id"] = both["dataset"] + both["run_id"]
    write_report(both, tmp_path, per_query=lambda run_id: per_query(run_id[1:]))
    expected = {"alike", "best", "float32"}
    for text in (
        tmp_path / "a--minilm.md",
        tmp_path / "a--minilm-pareto.md",
        tmp_path / "2_collections--minilm-pareto.md",
    ):
        rows = [line.split("|")[1:3] for line in text.read_text().splitlines() if line.startswith("| ●")]
        assert {name.strip(" *") for _, name in rows} == expected, text
    listed = pd.read_csv(tmp_path / "tables" / "a--minilm-frontier.csv")["setting"]
    assert set(listed) == expected


def test_without_judgements_overlap_has_an_interval() -> None:
    frame, per_query = records()
    page = page_of(unjudged(frame), lambda run_id: per_query(run_id).drop(columns="ndcg_at_10"))
    assert "verdict" not in page.settings
    text = page_markdown(page, None, "vecbudget report")
    assert "| overlap@10 | 95 % interval | RBO | top 10 in 40 | in 100 |" in text


def test_equal_sizes_are_compared_over_collections() -> None:
    datasets = ("a", "b", "c", "d", "e", "f")
    frame, per_query = records(datasets)
    pages = [with_intervals(page, per_query) for page in settings_module.pages(frame)]
    (equals,) = at_equal_bytes(pages)
    assert equals.size == 48
    assert [key[0] for key in equals.keys] == ["binary", "opq", "pq"]
    assert equals.ranks == pytest.approx([3, 1, 2])
    assert equals.points == pytest.approx([0, 12, 6])
    # q = 2.343 for three methods (Demsar, 2006, Table 5a)
    assert equals.critical_difference == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 6)), abs=1e-3)
    # ranks 1 and 2 are too near, as are 2 and 3
    assert equals.groups == [(1, 2), (2, 0)]
    assert equals.p < 0.001
    kept = frame[frame["method"] == "pq"]["retention"].mean()
    assert equals.interval.estimate[2] == pytest.approx(kept)
    assert equals.interval.low[2] < kept < equals.interval.high[2]
    text = summary.summary_markdown(pages, frame, [], "vecbudget report")
    assert "## At 48 code bytes" in text
    assert "p < 0.001" in text


def test_what_one_collection_lacks_is_not_compared_at_equal_bytes() -> None:
    frame, per_query = records(("a", "b"))
    frame = frame[~((frame["dataset"] == "b") & (frame["method"] == "pq"))]
    pages = [with_intervals(page, per_query) for page in settings_module.pages(frame)]
    assert at_equal_bytes(pages) == []
    ((settings,),) = [[equals.keys] for equals in at_equal_bytes(pages, least=2)]
    assert [key[0] for key in settings] == ["binary", "opq"]


def test_two_settings_against_each_other() -> None:
    frame, per_query = records(("a", "b", "c"))
    text = versus_markdown(frame, "opq m=48", "binary", per_query)
    assert text.count("opq m=48 is better") == 3
    assert "Mean difference over the 3 collections: +0.1" in text
    assert "the same" in versus_markdown(frame, "float16", "float32", per_query)
    assert "int8 is better" in versus_markdown(frame, "pq m=48", "int8", per_query)


def test_a_setting_that_was_not_measured_is_named() -> None:
    frame, per_query = records()
    with pytest.raises(ConfigError, match=r"no run of 'pq m=84' is on record; did you mean 'pq m=48'"):
        versus_markdown(frame, "pq m=84", "int8", per_query)
    apart = pd.concat([frame[frame["method"] == "pq"], frame[frame["method"] == "int8"].assign(dataset="other")])
    with pytest.raises(ConfigError, match="never measured on the same collection"):
        versus_markdown(apart, "pq m=48", "int8", per_query)


def taught(*runs_of: tuple[str, str, str]) -> tuple[pd.DataFrame, PerQuery]:
    """Runs on collections "a", "b", ...: collection, parameters, and the queries that the method was fitted with."""
    base, per_query = records()
    rows, queries = [], {}
    for dataset in sorted({dataset for dataset, _, _ in runs_of}):
        rows.append(
            base[base["method"] == "int8"].assign(dataset=dataset, run_id=f"{dataset}-int8", fit_queries="none")
        )
        queries[f"{dataset}-int8"] = per_query("scifact-int8-0")
    for place, (dataset, params, label) in enumerate(runs_of):
        row = base[base["method"] == "opq"].assign(dataset=dataset, run_id=f"run{place}", fit_queries=label)
        rows.append(row.assign(method="map", params=params))
        queries[f"run{place}"] = per_query("scifact-opq-m=48-0")
    return pd.concat(rows, ignore_index=True), queries.__getitem__


def test_queries_that_auto_would_have_chosen_are_the_same_setting() -> None:
    frame, per_query = taught(
        ("a", "", "300 train queries"),
        ("b", "fit_queries=train", "500 train queries"),
        ("c", "fit_queries=titles", "90 titles"),
        ("d", "fit_queries=titles", "90 titles"),
        ("d", "dim=8", "90 titles"),  # another setting, by which it is known what auto takes here
    )
    text = versus_markdown(frame, "map", "int8", per_query)
    compared = [line for line in text.splitlines() if line.endswith("is better |")]
    assert [line[2:3] for line in compared] == ["a", "b", "d"]
    assert "b · minilm: map fit\\_queries=train stands for map" in text
    assert "Left out: c · minilm: 'map' was measured as 'map fit\\_queries=titles' only" in text
    back = versus_markdown(frame, "int8", "map fit_queries=train", per_query)
    assert "a · minilm: map stands for map fit\\_queries=train" in back and back.count("is better |") == 2


def test_a_collection_with_one_of_the_two_is_named() -> None:
    frame, per_query = records(("a", "b"))
    text = versus_markdown(frame[(frame["dataset"] == "a") | (frame["method"] != "pq")], "pq m=48", "int8", per_query)
    assert "Left out: b · minilm: 'pq m=48' was not measured." in text
    assert "Left out" not in versus_markdown(frame, "pq m=48", "int8", per_query)


@pytest.mark.parametrize("name", ["recall_at_100", "recall@100", "RECALL@100", "score_error_at_10", "tie_at_10"])
def test_settings_are_compared_by_any_metric_on_record(name: str) -> None:
    frame, per_query = records()

    def more(run_id: str) -> pd.DataFrame:
        found = per_query(run_id)
        return found.assign(**dict.fromkeys(("recall_at_100", "score_error_at_10", "tie_at_10"), found["ndcg_at_10"]))

    text = versus_markdown(frame, "opq m=48", "binary", more, name)
    expected = {"score_error_at_10": "binary is better", "tie_at_10": "opq m=48 has more"}
    assert expected.get(name, "opq m=48 is better") in text
    assert {"score_error_at_10": "score error@10", "tie_at_10": "tie@10"}.get(name, "recall@100") in text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("recal@100", r"--metric: there is no metric 'recal@100'; did you mean 'recall@100'"),
        ("map_at_100", r"scifact · minilm: the records hold no MAP@100 of both; they hold ndcg_at_10, overlap_at_10"),
    ],
)
def test_a_metric_that_is_not_on_record_is_named(name: str, message: str) -> None:
    frame, per_query = records()
    with pytest.raises(ConfigError, match=message):
        versus_markdown(frame, "opq m=48", "binary", per_query, name)


@pytest.mark.usefixtures("empty_figures")
def test_the_command_compares_real_records(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "scifact"
    overrides = [
        "dataset=folder",
        f"dataset.path={folder}",
        "model=vectors",
        f"model.path={folder / 'minilm.safetensors'}",
    ]
    for method in ("float32", "float16", "int8", "binary_hamming", "float8"):
        assert cli.main(["run", *overrides, f"method={method}", f"results_dir={tmp_path}"]) == 0
    assert len(list(Store(tmp_path).records())) == 5
    assert cli.main(["report", "--results", str(tmp_path)]) == 0
    (table,) = (tmp_path / "report").glob("scifact--*.csv")
    found = pd.read_csv(table).set_index("method")
    for method in ("float16", "int8"):
        assert found.loc[method, "loss_bound"] < 0.01
        assert found.loc[method, "verdict"] in ("the same", "not worse than 1 %")
    assert found.loc["binary_hamming", "verdict"] == "worse"
    assert found.loc["binary_hamming", "p_holm"] < 0.001
    capsys.readouterr()
    assert cli.main(["compare", "int8", "float8", "--results", str(tmp_path)]) == 0
    assert "undecided" in capsys.readouterr().out
    assert cli.main(["compare", "int8", "binary_hamming", "--results", str(tmp_path)]) == 0
    assert "int8 is better" in capsys.readouterr().out
