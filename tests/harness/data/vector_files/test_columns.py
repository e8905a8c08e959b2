"""Which columns of a table are the vectors: by evidence, whatever pandas wrote beside them, or a question."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.base.errors import DatasetError
from harness.data.vector_files import StoredVectors, VectorSource, read_vectors

ROWS = np.random.default_rng(0).standard_normal((30, 12)).astype(np.float32)


def read(path: Path, **more: Any) -> StoredVectors:
    return read_vectors([path], VectorSource("docs", **more))


def test_the_index_of_a_filtered_frame_is_no_dimension(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS, columns=[str(column) for column in range(12)])
    filtered = frame[frame["0"] > 0]
    filtered.to_parquet(tmp_path / "a.parquet")
    assert "__index_level_0__" in pq.read_schema(tmp_path / "a.parquet").names
    assert np.array_equal(read(tmp_path / "a.parquet").vectors, filtered.to_numpy())


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prefix=st.sampled_from(["", "emb_", "x", "dim.", "Dimension ", "v-"]),
    first=st.sampled_from([0, 1]),
    padded=st.booleans(),
    filtered=st.booleans(),
    index_name=st.sampled_from([None, "key"]),
    extras=st.lists(st.sampled_from(["label", "year", "id", "text", "weight", "split_1", "score9"]), unique=True),
    shuffled=st.randoms(use_true_random=False),
    kind=st.sampled_from(["parquet", "feather"]),
)
def test_wide_tables_of_any_layout(
    tmp_path: Path,
    prefix: str,
    first: int,
    padded: bool,
    filtered: bool,
    index_name: str | None,
    extras: list[str],
    shuffled: Any,
    kind: str,
) -> None:
    names = [f"{prefix}{number:02d}" if padded else f"{prefix}{number}" for number in range(first, first + 12)]
    frame = pd.DataFrame(ROWS, columns=names)
    for number, extra in enumerate(extras):
        frame[extra] = [f"t{row}" for row in range(30)] if extra == "text" else np.arange(30) * (number + 1)
    columns = list(frame.columns)
    shuffled.shuffle(columns)
    frame = frame[columns]
    if index_name:
        frame.index = pd.Index([f"k{row}" for row in range(30)], name=index_name)
    if filtered:
        frame = frame[frame[names[0]] > 0]
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    else:
        pyarrow.feather.write_feather(pa.Table.from_pandas(frame), path)
    stored = read(path)
    assert np.array_equal(stored.vectors, frame[names].to_numpy()), "in the order of their numbers"
    expected = frame["id"] if "id" in extras else frame.index if index_name else None
    assert stored.ids == (None if expected is None else [str(value) for value in expected])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["a", "b", "c"], "none are numbered as emb_0"),
        (["a0", "a1", "b0", "b1"], r"2 groups of numbered columns: choose one of a\*, b\*"),
        (["y2019", "y2020", "y2021"], "none are numbered"),
        (["emb_0", "emb_2", "emb_3"], "none are numbered"),
        (["emb_0"], "none are numbered"),
    ],
)
def test_columns_that_may_be_anything_are_asked_about(tmp_path: Path, columns: list[str], message: str) -> None:
    pq.write_table(pa.table({name: ROWS[:, place] for place, name in enumerate(columns)}), tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=message) as caught:
        read(tmp_path / "a.parquet")
    assert "dataset.vector_column" in str(caught.value) and "\n" not in str(caught.value)


def test_a_pattern_chooses_a_group(tmp_path: Path) -> None:
    names = {
        f"{group}_{number}": ROWS[:, 3 * place + number] for place, group in enumerate("ab") for number in range(3)
    }
    pq.write_table(pa.table(names), tmp_path / "a.parquet")
    assert np.array_equal(read(tmp_path / "a.parquet", vector_column="b_*").vectors, ROWS[:, 3:6])
    with pytest.raises(DatasetError, match=r"no numeric columns 'c_\*' \(dataset\.vector_column\), such as 'c_0'"):
        read(tmp_path / "a.parquet", vector_column="c_*")


def test_text_tables(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS, columns=[f"e{number}" for number in range(12)]).assign(label=7)
    frame.to_csv(tmp_path / "wide.csv")  # with pandas' nameless index in front
    assert np.allclose(read(tmp_path / "wide.csv").vectors, ROWS)
    lists = pd.DataFrame({"id": [f"d{row}" for row in range(30)], "text": "[not] a list", "v": ROWS.tolist()})
    lists.to_csv(tmp_path / "lists.csv", index=False)
    lists.assign(v=[str(row) for row in ROWS]).to_csv(tmp_path / "numpy.csv", index=False)
    lists.to_json(tmp_path / "a.jsonl", orient="records", lines=True, double_precision=15)
    lists.to_json(tmp_path / "a.jsonl.gz", orient="records", lines=True, double_precision=15)
    for name in ("lists.csv", "numpy.csv", "a.jsonl", "a.jsonl.gz"):
        stored = read(tmp_path / name)
        assert np.allclose(stored.vectors, ROWS, atol=1e-6) and stored.ids == [f"d{row}" for row in range(30)]


def test_streams_of_arrow(tmp_path: Path) -> None:
    table = pa.table({"embedding": pa.array(ROWS.tolist(), pa.list_(pa.float32())), "tokens": [["a"]] * 30})
    for name, writer in (("file", pa.ipc.new_file), ("stream", pa.ipc.new_stream)):
        with pa.OSFile(str(tmp_path / f"{name}.arrow"), "wb") as sink, writer(sink, table.schema) as out:
            out.write_table(table, max_chunksize=7)
        assert np.array_equal(read(tmp_path / f"{name}.arrow").vectors, ROWS), "a column of words is no vector"


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x0,x1,x0\n1,2,3\n")
    pq.write_table(pa.Table.from_arrays([pa.array([1.0])] * 2, names=["x0", "x0"]), tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        with pytest.raises(DatasetError, match=r"2 columns of the name 'x0'"):
            read(tmp_path / name)
