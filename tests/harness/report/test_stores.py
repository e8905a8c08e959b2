"""The report's pages on vector stores, from made-up records and from real ones."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.analysis import settings, store_settings
from harness.analysis.needs import Needs
from harness.analysis.recommend import recommend
from harness.analysis.significance import with_intervals
from harness.analysis.store_settings import Switches
from harness.report import stores as databases
from harness.report import stores_int8
from harness.report.figures import labels
from harness.report.figures.stores import can_draw, draw
from harness.report.write import write_report
from harness.runs import presets
from harness.runs.frame import load_runs
from harness.runs.record import EMPTY, Identity, Record
from harness.runs.run import run
from harness.runs.store import Store
from tests.harness.analysis.test_recommend import EXACT, Records, losing
from tests.harness.runs.test_run import configuration

NOISE = 0.02


def record_of(row: Mapping[str, Any]) -> Record:
    """The record of a made-up run: parameters other than the yaml's are no yaml's."""
    identity = {**presets.preset_identity(row["method"]), **({"made up": row["params"]} if row["params"] else {})}
    encoder = {"document": {"normalize": True}}
    method = replace(EMPTY.method, name=row["method"], params=row["params"])
    return replace(EMPTY, identity=Identity(method=identity, model=encoder), method=method)


def made_up() -> Records:
    """A zoo of the project's own, and of three stores: sizes are in memory; what is on disk is beside them."""
    records = Records().add("float32", 1536, EXACT)
    records.add("pq m=48", 48, losing(0.08, NOISE)).add("int8", 384, losing(0.001, NOISE))
    records.add("qdrant_int8", 388, losing(0.001, NOISE)).add("qdrant_turbo4", 200, losing(0.0015, NOISE))
    records.add("qdrant_binary", 48, losing(0.3, NOISE), code_bytes_per_vector=1584.0)
    records.add("vespa_binary", 48, losing(0.3, NOISE)).add("voyage_binary", 48, losing(0.4, NOISE))
    records.add("lucene_bit1", 64, losing(0.2, NOISE)).add("lucene_bit1 centre=unit_mean", 64, losing(0.1, NOISE))
    return records.add("usearch_i8", 384, losing(0.01, NOISE))


def view(records: Records) -> Switches | None:
    rows = dict(zip(records.frame()["run_id"], records.rows, strict=True))
    (page,) = settings.pages(records.frame())
    page = with_intervals(page, records.queries.__getitem__)
    return store_settings.switches(page, lambda run_id: record_of(rows[run_id]))


def best(found: Switches) -> dict[str, str]:
    return {store: found.rows[number].match.name for store, number in found.best.items()}


def test_the_best_of_a_store_is_the_smallest_without_a_significant_loss_or_else_the_highest() -> None:
    found = view(made_up())
    assert found is not None
    chosen = best(found)
    assert chosen["Qdrant"] == "qdrant_turbo4", "qdrant_int8 keeps a little more in more memory, qdrant_binary loses"
    assert chosen["Lucene"] == "lucene_bit1 centre=unit_mean", "both lose, and this one less"
    assert chosen["DuckDB"] == "duckdb_vss", "it is float32"


def test_shared_records_are_in_every_store_and_once_in_each() -> None:
    found = view(made_up())
    assert found is not None
    table = databases.frame(found)
    assert list(table["setting"]).count("clickhouse_i8") == 1
    pair = table[table["setting"].isin(("usearch_i8", "clickhouse_i8"))]
    assert pair["run_ids"].nunique() == 1 and set(pair["store"]) == {"usearch", "ClickHouse"}
    assert {"sqlite-vec", "usearch", "Voyage"} <= set(table.loc[table["measured_as"] == "voyage_binary", "store"])
    assert "cohere_int8" in set(table["setting"]), "int8 has its parameters"


def test_memory_and_disk_are_apart_and_state_is_in_memory() -> None:
    records = made_up()
    records.rows[1] |= {"state_bytes": 400_000, "bytes_per_vector": 48.4}
    found = view(records)
    assert found is not None
    table = databases.frame(found).set_index("setting")
    assert table.loc["qdrant_binary", "memory_bytes_per_vector"] == 48
    assert table.loc["qdrant_binary", "disk_bytes_per_vector"] == 1536
    assert table.loc["qdrant_binary", "times_smaller_in_memory"] == 32
    assert table.loc["qdrant_int8", "disk_bytes_per_vector"] == 0
    names = found.page.settings["method"].tolist()
    assert found.memory[names.index("pq")] == pytest.approx(48.4)


def test_a_stores_best_is_compared_with_what_fits_its_memory_and_is_no_preset() -> None:
    found = view(made_up())
    assert found is not None
    names = [settings.setting_name(row) for _, row in found.page.settings.iterrows()]
    against = {store: names[rival.place] for store, rival in found.rivals.items()}
    assert against["Qdrant"] == "pq m=48" and against["Vespa"] == "pq m=48" and against["DuckDB"] == "float32"
    assert against["usearch"] == "int8"
    rival = found.rivals["Vespa"]
    assert rival.difference == pytest.approx(-0.3 + 0.08, abs=1e-6) and databases.verdict(rival) == "less"
    assert rival.low < rival.difference < rival.high < 0
    assert databases.verdict(found.rivals["DuckDB"]) == "at par"
    assert databases.verdict(found.rivals["Qdrant"]) == "more"
    assert [names[place] for place in found.frontier] == ["pq m=48", "int8", "float32"]


def test_without_a_preset_run_there_is_no_page() -> None:
    assert view(Records().add("float32", 1536, EXACT).add("int8", 384, losing(0.001, NOISE))) is None


def test_the_page_says_what_it_is_made_of() -> None:
    found = view(made_up())
    assert found is not None
    text = databases.markdown(found, "x.png", "vecbudget report")
    (row,) = [line for line in text.splitlines() if "**qdrant\\_turbo4**" in line]
    assert "●" in row and "| 200 | 0 |" in row
    assert "clickhouse\\_i8 = usearch\\_i8" in text and "of another version" not in text
    assert "docs*: its documentation only" in text


def test_labels_do_not_touch() -> None:
    found = view(made_up())
    assert found is not None and can_draw(found)
    figure = draw(found)
    (axes,) = figure.axes[:1]
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    texts = [text for text in axes.texts if text.get_text()]
    boxes = np.array([text.get_window_extent(renderer).extents for text in texts])
    assert {"Qdrant", "Vespa"} <= {text.get_text() for text in texts}
    touching = labels.overlaps(boxes, boxes)
    assert touching.sum() == len(boxes), "each touches itself alone"


def test_the_int8_page_ranks_and_explains() -> None:
    found = view(made_up())
    assert found is not None
    rows = stores_int8.int8_settings([found])
    names = [row.preset.name for row in rows]
    assert set(names) == {"qdrant_int8", "cohere_int8", "usearch_i8", "clickhouse_i8"}
    assert set(names[2:]) == {"usearch_i8", "clickhouse_i8"}, "they overlap least"
    by_run = dict(zip(made_up().frame()["run_id"], made_up().rows, strict=True))
    text = stores_int8.markdown(rows, [found], lambda run_id: record_of(by_run[run_id]), "x")
    assert text.startswith("# What int8 really means in four stores\n")
    assert "A range of -1 to 1 holds every unit vector" in text
    step, size = 2 / 254, 1 / np.sqrt(384)
    assert f"{size:.3f} in size (root mean square), {size / step:.1f} of 254 steps" in text
    assert "3 of 4 round the query" in text and "| fixed: -1 to 1 | towards zero" in text
    assert len(stores_int8.frame(rows, [found])) == 4


def test_from_runs_to_the_report_and_the_recommendation(small_collection: Path, tmp_path: Path) -> None:
    results, out = tmp_path / "results", tmp_path / "report"
    for name in ("float32", "usearch_i8", "clickhouse_i8", "qdrant_int8", "qdrant_binary", "pq"):
        overrides = [f"method={name}", *(["method.m=16", "method.bits=3"] if name == "pq" else [])]
        run(configuration(small_collection, results, *overrides), name, overrides)
    store, frame = Store(results), load_runs(results)
    assert len(frame) == 5 and "clickhouse_i8" not in set(frame["method"]), "it found usearch's record"
    written = write_report(frame, out, per_query=store.per_query, records=store.read, site=False)
    (page,) = [path for path in written if path.name.startswith("databases--") and path.suffix == ".md"]
    assert "clickhouse" in page.read_text(encoding="utf-8") and page.with_suffix(".png").stat().st_size > 0
    table = pd.read_csv(page.with_suffix(".csv")).set_index("setting")
    assert table.loc["qdrant_binary", "disk_bytes_per_vector"] == 4 * 32
    assert table.loc["qdrant_binary", "memory_bytes_per_vector"] == pytest.approx(16, abs=0.01), "in blocks of 16"
    assert table.loc["clickhouse_i8", "ndcg_at_10"] == table.loc["usearch_i8", "ndcg_at_10"]
    assert (out / "databases_int8.md").is_file()
    needs = Needs.parse(max_bytes="100", database="ClickHouse")
    answer = recommend(frame, needs, store.per_query, store.read)
    assert answer.choice is not None and answer.choice.method == "clickhouse_i8"
    assert answer.preset == presets.presets()["clickhouse_i8"]
    assert answer.own is not None and answer.own.setting.method == "pq"
    assert "method=clickhouse_i8" in answer.reproduce or answer.reproduce == ""
