import re
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from harness.analysis import settings as settings_module
from harness.analysis.pareto import frontier
from harness.base.errors import StoreError
from harness.evaluation.rate_distortion import distortion
from harness.report.figures import pareto, style
from harness.report.figures.distortion import can_draw_distortion, draw_distortion
from harness.report.figures.labels import Request, crosses, overlaps, place
from harness.report.page import page_markdown
from harness.report.write import write_report
from harness.runs.frame import LIMITS

UNTIMED = settings(deadline=None)

# bytes per vector, method, parameters, nDCG@10, overlap@10, of one real sweep over 5,183 documents
MEASURED = """
768 float16 - .64508 1.000
384 int8 - .64602 .994
384 int8_absmax - .64633 .994
384 float8 - .64705 .975
384 float8 format=e5m2 .64585 .960
192 int4_absmax - .64996 .934
192 int4 - .63993 .929
192 lloyd bits=4 .64520 .951
196 lvq bits=4 .64474 .939
212 rabitq bits=4 .64698 .950
192 pca192_float8 - .62752 .796
192.6 svd192_int8 - .64363 .908
96 int2 - .61240 .721
96 int2 clip=2.5 .64347 .814
96 lloyd bits=2 .65227 .829
116 rabitq bits=2 .64421 .842
96.3 pq4 m=192 .64902 .839
96.6 transform_coding bits=2 .64910 .900
48 binary_hamming - .58814 .566
48 binary - .62285 .690
56 rabitq bits=1 .61472 .712
48.1 pq4 m=96 .62700 .707
48.4 pq m=48 .62938 .737
48 qjl - .56653 .574
48.6 transform_coding bits=1 .62816 .800
24.3 svd_binary - .54547 .523
24.1 pq4 m=48 .54555 .551
24.6 transform_coding bits=0.5 .59200 .670
512 pca n=128 .62559 .780
128.3 svd n=128,bits=8 .62707 .790
1024 truncate n=256 .63493 .820
768 truncate n=192 .61430 .710
512 truncate n=128 .60156 .600
256 truncate n=64 .48412 .350
128 truncate n=32 .33714 .150
96 int2_absmax - .07100 .060
192 truncate192_int8 - .61412 .700
2 a_method_with_a_long_name of=many,parameters=that,have=long,names=and,values=too .2 .1
"""


def run(**given: Any) -> dict[str, Any]:
    """One run; what is not given is that of float32 on a small collection."""
    row = {
        "run_id": "r0",
        "status": "ok",
        "error": "",
        "model": "minilm",
        "dataset": "scifact",
        "method": "float32",
        "params": "",
        "seed": pd.NA,
        "dim": 384,
        "n_docs": 5183,
        "n_queries": 300,
        "code_bytes_per_vector": 1536.0,
        "state_bytes": 0,
        "index_bytes": 7961088,
        "ndcg_at_10": 0.64508,
        "recall_at_100": 0.925,
        "mrr_at_10": 0.6,
        "map_at_100": 0.58,
        "overlap_at_10": 1.0,
        "overlap_at_100": 1.0,
        "fit_seconds": 0.0,
        "encode_seconds": 0.012,
        "search_seconds": 0.3,
        "scoring": "asymmetric",
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "created": "2026-11-20T10:00:00+00:00",
        **given,
    }
    row.setdefault("bytes_per_vector", row["code_bytes_per_vector"] + row["state_bytes"] / 1e6)
    row["compression_ratio"] = 4 * row["dim"] / max(row["bytes_per_vector"], 1e-9)
    row.setdefault("ndcg_at_10_ties", row["ndcg_at_10"])
    row.setdefault("retention", row["ndcg_at_10"] / 0.64508)
    return row


def failed(**given: Any) -> dict[str, Any]:
    row = {name: (np.nan if isinstance(value, float | int) else value) for name, value in run().items()}
    return {**row, "run_id": "bad", "status": "failed", "scoring": None, **given}


def frame_of(*rows: dict[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    return frame.assign(
        seed=frame["seed"].astype("Int64"),
        run_id=[f"{run_id}-{index}" for index, run_id in enumerate(frame["run_id"])],
    )


def measured(count: int = 100, **given: Any) -> pd.DataFrame:
    rows = [run(**given)]
    for line in MEASURED.strip().splitlines()[:count]:
        size, method, params, ndcg, overlap = line.split()
        code, state = int(float(size)), round(1e6 * (float(size) % 1))
        values = {
            "method": method,
            "params": "" if params == "-" else params.replace(",", " "),
            "code_bytes_per_vector": float(code),
            "state_bytes": state,
            "ndcg_at_10": float(ndcg),
            "overlap_at_10": float(overlap),
        }
        for seed in (0, 1, 2) if method in ("pq", "pq4", "rabitq") else (pd.NA,):
            luck = 0.0 if seed is pd.NA else 0.004 * (seed - 1)
            rows.append(run(**{**values, **given, "seed": seed, "ndcg_at_10": float(ndcg) + luck}))
    return frame_of(*rows)


def crowd(n: int, sizes: list[float], seed: int = 0) -> pd.DataFrame:
    """`n` configurations of few sizes and many names, one of them far below the others."""
    rng = np.random.default_rng(seed)
    rows = [run(), run(method="worst", code_bytes_per_vector=sizes[-1], ndcg_at_10=0.05)]
    for index in range(n - 2):
        size = float(rng.choice(sizes))
        score = 0.65 - 0.15 * np.exp(-size / 60) + 0.012 * rng.standard_normal()
        method = str(rng.choice(["int8", "pq", "svd_binary", "transform_coding", "rabitq"]))
        rows.append(run(method=method, params=f"m={index}", code_bytes_per_vector=size, ndcg_at_10=float(score)))
    return frame_of(*rows)


def unjudged(frame: pd.DataFrame) -> pd.DataFrame:
    names = ["ndcg_at_10", "ndcg_at_10_ties", "retention", "recall_at_100", "mrr_at_10", "map_at_100"]
    return frame.assign(**dict.fromkeys(names, np.nan))


def with_limits(frame: pd.DataFrame, linear: bool = True) -> pd.DataFrame:
    """Errors between half a dB and 20 dB over the bound of a spectrum; float32 has none to speak of."""
    rng = np.random.default_rng(4)
    spectrum = np.exp(-np.arange(384) / 60)
    spectrum /= spectrum.sum()
    over = np.where(frame["method"] == "float32", np.nan, 0.5 + 19.5 * rng.random(len(frame)))
    bound = np.array([distortion(spectrum, 8 * size) for size in frame["code_bytes_per_vector"]])
    values = {"power": 1.0, "distortion": np.minimum(bound * 10 ** (over / 10), 0.9), "bound": bound}
    values |= {"db_over_bound": over, "excess_bits_per_dim": over / 6.02}
    none = dict.fromkeys(values, np.nan)
    parts = {"vector": values if linear else none, "score": values}
    return frame.assign(**{f"{part}_{name}": given[name] for part, given in parts.items() for name in values})


def only_page(frame: pd.DataFrame) -> settings_module.Page:
    [page] = settings_module.pages(frame)
    return page


def table_rows(markdown: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, its own header first."""
    lines = markdown.split(f"## {heading}", 1)[1].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("\\", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return [rows[0], *rows[2:]]


# ------------------------------------------------------------------------------------------------ what is written


def test_a_report_is_a_summary_all_runs_and_four_files_a_page(tmp_path: Path) -> None:
    frame = pd.concat([measured(6), measured(3, dataset="other", model="org/model")], ignore_index=True)
    written = write_report(frame, tmp_path / "new" / "report")
    stems = ["other--org_model", "scifact--minilm"]
    suffixes = (".md", ".csv", ".png", ".svg", "-speed.png", "-speed.svg")
    overall = ["collections.png", "collections.svg"]
    pages = [f"{stem}{suffix}" for stem in stems for suffix in suffixes]
    beside = [path for path in written if path.parent.name == "report"]
    assert [path.name for path in beside] == ["summary.md", "runs.csv", *pages, *overall]
    assert all(path.stat().st_size > 0 for path in written)
    files = {path for path in (tmp_path / "new" / "report").rglob("*") if path.is_file()}
    assert {path for path in files if path.name != ".pictures.json"} == set(written)
    assert "tables/scifact--minilm-settings.tex" in {str(path.relative_to(tmp_path / "new/report")) for path in written}
    summary = (written[0]).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", summary + written[2].read_text(encoding="utf-8")):
        assert (written[0].parent / target).exists()
    assert len(pd.read_csv(written[1])) == len(frame)
    assert "vecbudget report" in summary and "0123456789ab" in summary and "2026-11-20" in summary


def test_no_runs_is_an_error_that_says_what_to_run(tmp_path: Path) -> None:
    for frame in (pd.DataFrame(), measured().iloc[:0]):
        with pytest.raises(StoreError, match="vecbudget run"):
            write_report(frame, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_runs_of_another_version_are_refused_by_column(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"retention.*measure them again"):
        write_report(measured(3).drop(columns="retention"), tmp_path)


def test_a_report_is_the_same_whatever_the_order_of_the_runs(tmp_path: Path) -> None:
    frame = measured().iloc[::5]
    shuffled = frame.sample(frac=1, random_state=3)
    for written, again in zip(write_report(frame, tmp_path / "a"), write_report(shuffled, tmp_path / "b"), strict=True):
        if written.name != "runs.csv":
            assert written.read_bytes() == again.read_bytes(), written.name


def test_importing_the_report_loads_neither_pandas_nor_matplotlib() -> None:
    code = (
        "import sys, harness.report.write, harness.analysis.pareto; print({'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ------------------------------------------------------------------------------------------------ tables


def markdown(frame: pd.DataFrame) -> str:
    return page_markdown(only_page(frame), None, "vecbudget report")


def test_the_table_is_sorted_by_size_and_marks_the_frontier() -> None:
    table = only_page(measured()).settings
    assert table["bytes_per_vector"].is_monotonic_increasing
    assert table["on_frontier"].tolist() == frontier(table["bytes_per_vector"], table["ndcg_at_10"]).tolist()

    header, *rows = table_rows(markdown(measured()), "Pareto table")
    assert all(len(row) == len(header) for row in rows)
    assert [row[0] == "●" for row in rows] == table["on_frontier"].tolist()
    names = [f"{row.method} {row.params}".strip() for row in table.itertuples()]
    assert [row[1].strip("*") for row in rows] == names
    line = dict(zip(header, rows[names.index("int4")], strict=True))
    assert line["bytes/vector"] == line["code bytes/vector"] == "192"
    assert (line["× smaller"], line["nDCG@10"], line["% of float32"]) == ("8.0", "0.6399", "99.2")
    assert (line["overlap@10"], line["recall@100"]) == ("0.929", "0.925")
    assert (line["encode s"], line["search ms/query"]) == ("0.0120", "1.00")
    assert dict(zip(header, rows[names.index("pq m=48")], strict=True))["bytes/vector"] == "48.4"


def test_what_must_be_in_memory_is_shown_where_it_differs() -> None:
    plain = run(run_id="a", resident_bytes_per_vector=1536.0, disk_bytes_per_vector=0.0)
    two_tiers = run(
        run_id="b",
        method="rescore",
        code_bytes_per_vector=432.0,
        resident_bytes_per_vector=48.0,
        disk_bytes_per_vector=384.0,
    )
    header, *rows = table_rows(markdown(pd.DataFrame([plain, two_tiers])), "Pareto table")
    assert dict(zip(header, rows[0], strict=True))["in memory"] == "48"
    header, *_ = table_rows(markdown(pd.DataFrame([plain])), "Pareto table")
    assert "in memory" not in header


def test_seeds_are_averaged_and_their_spread_is_shown() -> None:
    scores = [0.60, 0.62, 0.67]
    rows = [
        run(method="pq", code_bytes_per_vector=48.0, ndcg_at_10=score, seed=seed) for seed, score in enumerate(scores)
    ]
    page = only_page(frame_of(run(), *rows))
    pq = page.settings.set_index("method").loc["pq"]
    assert pq["runs"] == 3 and pq["run_ids"] == "r0-1 r0-2 r0-3"
    assert pq["ndcg_at_10"] == pytest.approx(np.mean(scores))
    assert pq["ndcg_at_10_sd"] == pytest.approx(np.std(scores, ddof=1))
    text = page_markdown(page, None, "vecbudget report")
    assert "0.6300 ± 0.0361" in text and "standard deviation between the seeds" in text
    assert "±" not in markdown(frame_of(run()))


def test_the_header_says_what_was_measured() -> None:
    text = page_markdown(only_page(measured()), None, "vecbudget report --results here")
    for part in (
        "# scifact · minilm",
        "5,183 documents, 300 queries, 384 dimensions",
        "nDCG@10 0.6451 at 1,536 bytes/vector",
        "spread over 1,000,000 documents",
        "the float query against the decoded document",
        "`vecbudget report --results here`",
        "commit 0123456789ab",
    ):
        assert part in text


def test_the_commands_of_the_runs_are_named() -> None:
    one, two = run(command="vecbudget run seed=1"), run(command="vecbudget run seed=2")
    assert "by `vecbudget run seed=1`." in markdown(frame_of(one, one))
    assert "by the commands in [runs.csv](runs.csv)." in markdown(frame_of(one, two))
    edited = run(git_commit="0123456789abcdef0123456789abcdef01234567+changes")
    assert "commit 0123456789ab+changes," in markdown(frame_of(edited))


def test_budgets_and_shares_are_answered() -> None:
    text = markdown(measured(37))
    budgets = {row[0]: row[1:] for row in table_rows(text, "The best for a budget")}
    assert budgets["16"][0] == "nothing measured"
    assert budgets["32"][:3] == ["transform_coding bits=0.5", "24.6", "62.4"]
    assert budgets["48"][:2] == ["pq m=48", "48.4"]
    assert budgets["384"][0] == "lloyd bits=2"
    shares = {row[0]: row[1] for row in table_rows(text, "The smallest that keeps")}
    assert shares == {
        "keeps at least": "smallest",
        "99 %": "lloyd bits=2",
        "95 %": "pq m=48",  # one budget with binary, and better
        "90 %": "transform_coding bits=0.5",
    }


@pytest.mark.usefixtures("empty_figures")
def test_failed_runs_are_listed_with_their_error_on_one_line(tmp_path: Path) -> None:
    bad = failed(method="pq", params="m=7", seed=2, error="MethodError: 384 | 7\n  is not whole")
    write_report(frame_of(run(), bad), tmp_path)
    expected = ["pq m=7", "2", "MethodError: 384 | 7 is not whole"]
    page = (tmp_path / "scifact--minilm.md").read_text(encoding="utf-8")
    assert table_rows(page, "Failed runs: 1")[1] == expected
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert table_rows(summary, "Failed runs: 1")[1] == ["scifact · minilm", *expected]
    assert "pq" not in table_rows(page, "Pareto table")[1][1]


def test_a_collection_where_everything_failed_still_has_its_page(tmp_path: Path) -> None:
    written = write_report(frame_of(failed(error="MethodError: no")), tmp_path)
    assert [path.name for path in written] == ["summary.md", "runs.csv", "scifact--minilm.md"]
    assert "MethodError: no" in written[2].read_text(encoding="utf-8")


def test_without_judgements_overlap_is_the_quality() -> None:
    text = markdown(unjudged(measured()))
    header, *rows = table_rows(text, "Pareto table")
    assert "nDCG@10" not in text and "overlap@10" in header
    table = only_page(unjudged(measured())).settings
    assert [row[0] == "●" for row in rows] == frontier(table["bytes_per_vector"], table["overlap_at_10"]).tolist()
    assert table_rows(text, "The smallest that keeps")[1][1] == "int8"


def test_a_row_says_if_its_scoring_is_unusual() -> None:
    rows = [
        run(method="binary", code_bytes_per_vector=48.0, scoring="symmetric"),
        run(method="int8", params="scoring=raw_codes", code_bytes_per_vector=384.0, scoring="raw_codes"),
    ]
    text = markdown(frame_of(run(), *rows))
    names = [row[1].strip("*") for row in table_rows(text, "Pareto table")]
    assert names[1:] == ["binary (symmetric)", "int8 scoring=raw_codes", "float32"]
    assert "the query was quantised too" in text and "never mapped back" in text


@pytest.mark.usefixtures("empty_figures")
def test_how_far_from_the_bound_stands_in_the_table(tmp_path: Path) -> None:
    frame = with_limits(measured(10))
    frame.loc[frame["method"] == "int4", "vector_db_over_bound"] = 1.234
    text = markdown(frame)
    header, *rows = table_rows(text, "Pareto table")
    column = header.index("dB over bound")
    shown = {row[1].strip("*"): row[column] for row in rows}
    assert shown["int4"] == "1.23" and shown["float32"] == "–"
    assert "reverse water-filling" in text and "can lie below" in text
    write_report(frame, tmp_path)
    table = pd.read_csv(tmp_path / "scifact--minilm.csv")
    assert {f"{part}_{name}" for part in ("vector", "score") for name in LIMITS} <= set(table)
    [distance] = table.loc[table["method"] == "int4", "vector_db_over_bound"]
    assert distance == 1.234
    for without in (measured(10), with_limits(measured(10), linear=False)):
        assert "over bound" not in markdown(without)


def test_seeds_differ_in_their_error_too() -> None:
    frame = with_limits(frame_of(*[run(method="pq", code_bytes_per_vector=48.0, seed=seed) for seed in (0, 1)]))
    frame["vector_db_over_bound"] = [1.0, 1.2]
    assert "| 1.10 ± 0.14 |" in markdown(frame)


def test_tie_orders_are_mentioned_where_they_matter() -> None:
    rows = [run(), run(method="binary", ndcg_at_10=0.588, ndcg_at_10_ties=0.5765, code_bytes_per_vector=48.0)]
    text = markdown(frame_of(*rows))
    assert "all orders of tied documents: binary 0.5765." in text


def test_collections_of_one_name_and_different_sizes_are_kept_apart(tmp_path: Path) -> None:
    frame = frame_of(run(), run(n_docs=6000, ndcg_at_10=0.5), run(n_docs=6000, method="int8"), failed(error="no"))
    pages = settings_module.pages(frame)
    assert [len(page.settings) for page in pages] == [1, 2]
    assert [len(page.runs) for page in pages] == [2, 3]
    assert [len(page.failed) for page in pages] == [1, 1]
    assert pages[0].title != pages[1].title and pages[0].stem != pages[1].stem


def test_two_titles_never_share_a_file_name() -> None:
    taken: set[str] = set()
    titles = ["a/b · m", "a_b · m", "A_B · m", "../.. · ..", "ü · ü", "é · é", "x" * 300, "x" * 301, "", "·"]
    stems = [settings_module.file_stem(title, taken) for title in titles]
    assert len({stem.lower() for stem in stems}) == len(titles)
    assert all(re.fullmatch(r"[\w-][\w.-]{0,110}", stem, flags=re.ASCII) for stem in stems)


@pytest.mark.usefixtures("empty_figures")
def test_the_summary_compares_what_was_measured_everywhere(tmp_path: Path) -> None:
    int8 = {"method": "int8", "code_bytes_per_vector": 384.0}
    frame = frame_of(
        run(),
        run(**int8, retention=0.98),
        run(method="pq", code_bytes_per_vector=48.0),
        run(dataset="other"),
        run(**int8, dataset="other", retention=0.90),
    )
    write_report(frame, tmp_path)
    header, *rows = table_rows((tmp_path / "summary.md").read_text(encoding="utf-8"), "Over all 2")
    assert [row[0] for row in rows] == ["int8", "float32"]
    line = dict(zip(header, rows[0], strict=True))
    assert line["% of float32, mean"] == "94.0" and line["worst"] == "90.0 (other · minilm)"


def test_without_a_float32_run_the_reference_comes_from_the_retention() -> None:
    page = only_page(measured(10).query("method != 'float32'"))
    assert page.float32_score == pytest.approx(0.64508)


# ------------------------------------------------------------------------------------------------ plots

FRAMES = {
    "measured": measured(),
    "unjudged": unjudged(measured()),
    "twenty": crowd(20, [12, 24, 48, 96, 192, 384]),
    "twenty of one size": crowd(20, [48]),
    "forty": crowd(40, [12, 24, 48, 96, 192, 384], seed=1),
    "forty of two sizes": crowd(40, [48, 96], seed=2),
    "float32 alone": measured(0),
    "one beside float32": measured(2),
}


@pytest.mark.parametrize("draw", [pareto.draw, draw_distortion])
@pytest.mark.parametrize("name", FRAMES)
def test_labels_touch_neither_each_other_nor_points_nor_the_edge(
    name: str, draw: Callable[[settings_module.Page], Figure]
) -> None:
    from matplotlib.backends.backend_svg import RendererSVG

    page = only_page(with_limits(FRAMES[name]))
    if draw is draw_distortion and not can_draw_distortion(page):
        assert name in ("twenty of one size", "float32 alone")
        return
    figure = draw(page)
    axes = figure.axes[0]
    labels = [text for text in axes.texts if text.get_label() == "label"]
    for renderer, dpi in ((figure.canvas.get_renderer(), style.DPI), (RendererSVG(700, 500, StringIO()), 72)):
        figure.set_dpi(dpi)
        figure.draw_without_rendering()
        boxes = np.array([label.get_window_extent(renderer).extents for label in labels])
        apart = ~overlaps(boxes, boxes) | np.eye(len(boxes), dtype=bool)
        assert apart.all(), [labels[index].get_text() for index in np.argwhere(~apart)[0]]

        points = [line for line in axes.lines if line.get_marker() in style.MARKERS]
        middles = np.vstack([axes.transData.transform(line.get_xydata()) for line in points])
        sizes = np.repeat([line.get_markersize() for line in points], [len(line.get_xydata()) for line in points])
        radii = (sizes / 2 * dpi / 72)[:, None]
        assert not overlaps(boxes, np.hstack([middles - radii, middles + radii])).any()

        x0, y0, x1, y1 = axes.get_window_extent().extents
        assert (boxes[:, :2] >= (x0, y0)).all() and (boxes[:, 2:] <= (x1, y1)).all()

    if draw is draw_distortion:
        return
    shown = {re.sub(r"\s+", " ", label.get_text()) for label in labels}
    for _, row in page.settings[page.settings["on_frontier"] & (page.settings["method"] != "float32")].iterrows():
        label = settings_module.setting_name(row)
        assert any(text.startswith(label[: pareto.LINE]) for text in shown), label


def test_an_outlier_is_an_arrow_with_its_value_and_does_not_squash_the_rest() -> None:
    figure = pareto.draw(only_page(FRAMES["twenty"]))
    axes = figure.axes[0]
    assert axes.get_ylim()[0] > 0.4
    assert "worst 0.050" in {text.get_text().replace("  ", " ") for text in axes.texts}
    drawn = [float(y) for line in axes.lines if line.get_marker() in style.MARKERS for y in line.get_ydata()]
    assert len(drawn) == 19 and min(drawn) > axes.get_ylim()[0]


@UNTIMED
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_at_most_a_fifth_of_the_points_is_clipped(qualities: list[tuple[float, bool]]) -> None:
    points = [pareto.Point(1.0, quality, quality, quality, "", "", on_frontier) for quality, on_frontier in qualities]
    floor = pareto.visible_floor(points)
    below = [quality for quality, _ in qualities if quality < floor]
    assert len(below) <= -(-len(qualities) // 5)
    assert floor in {quality for quality, _ in qualities}
    highest = max(quality for quality, _ in qualities)
    assert not below or highest - floor <= 2 / 3 * (highest - min(below))


def test_axes_say_which_way_is_better_and_count_in_bytes_and_factors() -> None:
    figure = pareto.draw(only_page(measured().iloc[::6]))
    axes = figure.axes[0]
    figure.draw_without_rendering()
    assert "nDCG@10" in axes.get_ylabel() and "higher is better" in axes.get_ylabel()
    assert "bytes per vector" in axes.get_xlabel() and "fewer is better" in axes.get_xlabel()
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert {"24", "48", "96", "192", "384", "768", "1,536"} <= set(ticks)
    [upper] = [child for child in axes.child_axes if "times smaller" in child.get_xlabel()]
    factors = [label.get_text() for label in upper.get_xticklabels()]
    assert dict(zip(ticks, factors, strict=True))["48"] == "32×"
    assert "overlap@10" in pareto.draw(only_page(unjudged(measured(2)))).axes[0].get_ylabel()


def test_the_drawn_frontier_is_the_frontier() -> None:
    page = only_page(FRAMES["measured"])
    [line] = [line for line in pareto.draw(page).axes[0].lines if line.get_drawstyle() == "steps-post"]
    best = page.settings[page.settings["on_frontier"]]
    assert sorted(line.get_xdata()) == sorted(best["bytes_per_vector"])
    assert (np.diff(line.get_ydata()) > 0).all()


def test_the_drawn_bound_is_the_bound_and_the_points_are_the_errors() -> None:
    page = only_page(with_limits(FRAMES["measured"]))
    axes = draw_distortion(page).axes[0]
    curve = next(line for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 2)
    known = page.settings[page.settings["method"] != "float32"]
    drawn = 2 ** np.interp(np.log2(known["code_bytes_per_vector"]), np.log2(curve.get_xdata()), curve.get_ydata())
    assert drawn == pytest.approx(-10 * np.log10(known["vector_bound"]), rel=0.01)
    points = [tuple(point) for line in axes.lines if line.get_marker() in style.MARKERS for point in line.get_xydata()]
    for size, error in zip(known["code_bytes_per_vector"], known["vector_distortion"], strict=True):
        below = np.log2(-10 * np.log10(error))
        clipped = below < axes.get_ylim()[0]
        assert clipped or any(point == pytest.approx((size, below)) for point in points)
    assert len(points) > 0.8 * len(known)
    assert "dB below" in axes.get_ylabel() and "bytes of code" in axes.get_xlabel()


def test_an_error_without_a_curve_has_no_plot(tmp_path: Path) -> None:
    for frame in (measured(10), with_limits(measured(10), linear=False), with_limits(FRAMES["twenty of one size"])):
        assert pareto.can_draw(only_page(frame))
        assert not can_draw_distortion(only_page(frame))
    written = write_report(with_limits(measured(10)), tmp_path)
    assert {"scifact--minilm-distortion.png", "scifact--minilm-distortion.svg"} <= {path.name for path in written}
    page = (tmp_path / "scifact--minilm.md").read_text(encoding="utf-8")
    assert "](scifact--minilm-distortion.png)" in page


def test_files_are_fine_enough_and_do_not_change_from_run_to_run(tmp_path: Path) -> None:
    import matplotlib as mpl

    page = only_page(FRAMES["one beside float32"])
    before = dict(mpl.rcParams)
    first = style.save(pareto.draw(page), tmp_path / "first.x")
    second = style.save(pareto.draw(page), tmp_path / "second.x")
    assert dict(mpl.rcParams) == before
    assert [path.name for path in first] == ["first.x.png", "first.x.svg"]
    for path, again in zip(first, second, strict=True):
        assert path.read_bytes() == again.read_bytes()
    width = int.from_bytes(first[0].read_bytes()[16:20], "big")
    assert style.DPI >= 150 and width == round(style.DPI * style.WIDTH)
    svg = first[1].read_text(encoding="utf-8")
    assert "<dc:date>" not in svg
    identifiers = re.findall(r' id="([^"]+)"', svg)
    assert len(identifiers) == len(set(identifiers))


def test_families_keep_their_look_and_differ() -> None:
    looks = style.family_looks(f"{letter}{other}" for letter in "abcdef" for other in "abcdefg")
    assert len({(look["color"], look["marker"]) for look in looks.values()}) == 42


def test_a_family_is_what_the_records_say_or_the_begin_of_the_name() -> None:
    frame = pd.DataFrame({"method": ["int4_absmax", "int8", "8bit", "pq"]})
    assert settings_module.families(frame) == ["int", "int", "8bit", "pq"]
    assert settings_module.families(frame.assign(family=["scalar", None, "", np.nan])) == [
        "scalar",
        "int",
        "8bit",
        "pq",
    ]
    page = only_page(frame_of(run(family="cast"), run(method="int8", family="scalar")))
    assert set(page.settings["family"]) == {"cast", "scalar"}


def test_rows_without_size_or_quality_are_not_drawn() -> None:
    void = run(method="void", code_bytes_per_vector=0.0)
    assert not pareto.can_draw(only_page(frame_of(void)))
    assert pareto.can_draw(only_page(frame_of(run(), void)))


# ------------------------------------------------------------------------------------------------ room for labels

LENGTHS = st.floats(0, 300)
BOXES = st.lists(
    st.tuples(LENGTHS, LENGTHS, st.floats(1, 60), st.floats(1, 20)).map(
        lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
    ),
    max_size=6,
)


@UNTIMED
@given(
    st.lists(st.tuples(LENGTHS, LENGTHS, st.floats(5, 120), st.floats(4, 20), st.booleans()), max_size=12),
    BOXES,
    st.lists(st.tuples(LENGTHS, LENGTHS, LENGTHS, LENGTHS), max_size=4),
)
def test_placed_labels_are_free(wanted: list, obstacles: list, lines: list) -> None:
    requests = [
        Request(np.array([x, y]), 3.0, np.array([width, height]), 0.0, np.inf if must else 9.0)
        for x, y, width, height, must in wanted
    ]
    bounds = np.array([0.0, 0.0, 300.0, 300.0])
    blocked = np.array(obstacles, dtype=float).reshape(-1, 4)
    segments = np.array(lines, dtype=float).reshape(-1, 4)
    places = place(requests, bounds, blocked, segments)
    assert len(places) == len(requests)
    found = [(request, corner) for request, corner in zip(requests, places, strict=True) if corner is not None]
    boxes = np.array([[*corner, *(corner + request.size)] for request, corner in found]).reshape(-1, 4)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= 300).all()
    assert not overlaps(boxes, blocked).any()
    assert not (overlaps(boxes, boxes) & ~np.eye(len(boxes), dtype=bool)).any()
    optional = np.array([np.isfinite(request.reach) for request, _ in found], dtype=bool)
    assert not crosses(segments, boxes[optional]).any()


def test_a_lonely_label_sits_beside_its_marker_where_it_wants_to() -> None:
    for direction, sign in [(0.0, 1), (np.pi, -1)]:
        request = Request(np.array([150.0, 150.0]), 3.0, np.array([40.0, 10.0]), direction, np.inf)
        [corner] = place([request], np.array([0, 0, 300, 300.0]), np.empty((0, 4)), np.empty((0, 4)))
        assert corner is not None
        middle = corner + request.size / 2 - request.anchor
        assert middle[1] == pytest.approx(0) and 23 < sign * middle[0] < 30


@UNTIMED
@given(st.tuples(*[st.integers(0, 12)] * 4), st.tuples(*[st.integers(0, 12)] * 4))
def test_crosses_agrees_with_walking_along_the_segment(ends: tuple, corners: tuple) -> None:
    x0, y0, x1, y1 = corners
    box = np.array([[min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)]], dtype=float)
    start, end = np.array(ends[:2], dtype=float), np.array(ends[2:], dtype=float)
    walk = start + np.linspace(0, 1, 1001)[:, None] * (end - start)
    inside = ((walk > box[0, :2] + 1e-9) & (walk < box[0, 2:] - 1e-9)).all(axis=1).any()
    crossed = crosses(np.hstack([start, end])[None], box)[0, 0]
    # On integer corners a walk in thousandths meets every box that the segment enters for more than a moment.
    assert crossed == inside


def test_what_was_memorised_stands_beside() -> None:
    frame = frame_of(
        run(),
        run(method="pq", params="m=48", overlap_at_10=0.8, code_bytes_per_vector=48.0),
        run(method="pq", params="fit_sample=100 m=48", overlap_at_10=0.7, code_bytes_per_vector=48.0),
        run(method="pq", params="fit_dataset=other m=24", overlap_at_10=0.6, code_bytes_per_vector=24.0),
    )
    text = markdown(frame)
    (row,) = [row for row in table_rows(text, "Pareto table") if row[1].strip("*") == "pq m=48"]
    assert row[table_rows(text, "Pareto table")[0].index("overlap@10 if fitted elsewhere")] == "0.700 (fit_sample=100)"
    assert "memorised" in text
    # another size is another setting
    assert "fitted elsewhere" not in markdown(frame[frame["params"] != "fit_sample=100 m=48"])
