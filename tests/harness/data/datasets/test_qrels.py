"""Judgements in every layout that people have, and those that nobody can read."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.base.errors import DatasetError
from harness.data.datasets import Folder
from harness.data.datasets.qrels import read_qrels

JUDGED = [("q1", "d1", 1), ("q1", "d2", 0), ("q2", "d3", 2)]


def triples(path: Path) -> list[tuple[str, str, int]]:
    return [(item.query_id, item.doc_id, item.grade) for item in read_qrels(path)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["tsv", "csv", "txt", "jsonl", "parquet"]),
    order=st.permutations([0, 1, 2]),
    names=st.sampled_from(
        [("query-id", "corpus-id", "score"), ("qid", "docid", "rel"), ("Query_ID", "doc_id", "Label")]
    ),
    compressed=st.booleans(),
    quoted=st.booleans(),
)
def test_columns_are_known_by_their_names(
    tmp_path: Path, kind: str, order: list[int], names: tuple[str, ...], compressed: bool, quoted: bool
) -> None:
    frame = pd.DataFrame([[row[place] for place in order] for row in JUDGED], columns=[names[place] for place in order])
    path = tmp_path / f"test.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        separator = {"tsv": "\t", "csv": ",", "txt": " "}[kind]
        # fields between spaces have no quotes
        frame.to_csv(path, sep=separator, index=False, quoting=1 if quoted and kind != "txt" else 0)
    if compressed and kind != "parquet":
        content, path = path.read_bytes(), tmp_path / f"test.{kind}.gz"
        path.write_bytes(gzip.compress(content))
    assert triples(path) == JUDGED


def test_trec_s_four_columns_and_no_header(tmp_path: Path) -> None:
    path = tmp_path / "qrels.txt"
    for separator in (" ", "\t", "  "):
        path.write_text("".join(separator.join([query, "0", doc, str(grade)]) + "\n" for query, doc, grade in JUDGED))
        assert triples(path) == JUDGED
    path.write_text("".join(f"{query}\t{doc}\t{grade}\n" for query, doc, grade in JUDGED))
    assert triples(path) == JUDGED


def test_a_query_that_is_called_query(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("query\tdoc\t1\n")
    assert triples(tmp_path / "a.tsv") == [("query", "doc", 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\t0\t0.5\n0\t1\t1\n", r":1: the score must be a whole number, got '0\.5'"),
        ("q\td\t1e300\n", r":1: a score of 1e300 is no grade"),
        ("q\td\tinf\n", r":1: the score must be a whole number, got 'inf'"),
        (
            "corpus-id\tthing\tscore\nd\tq\t1\n",
            r":1: the columns corpus-id, thing, score do not say which is the query;",
        ),
        ("a b\n", r":1: expected query-id, corpus-id and score"),
        ("q 0 d 1 x\n", r":1: expected .* got 5 column"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "test.tsv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        read_qrels(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


CORPUS = [{"_id": f"d{row}", "title": "", "text": f"text {row}"} for row in range(1, 5)]
QUERIES = [{"_id": f"q{row}", "text": f"query {row}"} for row in (1, 2)]


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def jsonl(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def plain(folder: Path) -> None:
    (folder / "corpus.jsonl").write_bytes(jsonl(CORPUS))
    (folder / "queries.jsonl").write_bytes(jsonl(QUERIES))


def compressed(folder: Path) -> None:
    with pa.CompressedOutputStream(str(folder / "corpus.jsonl.zst"), "zstd") as file:
        file.write(jsonl(CORPUS))
    (folder / "queries.jsonl.gz").write_bytes(gzip.compress(jsonl(QUERIES)))


def of_the_hub(folder: Path) -> None:
    for name, records in (("corpus", CORPUS), ("queries", QUERIES)):
        (folder / name).mkdir()
        half = len(records) // 2
        for number, part in enumerate((records[:half], records[half:])):
            pd.DataFrame(part).to_parquet(folder / name / f"{name}-0000{number}-of-00002.parquet")


def shards(folder: Path) -> None:
    for number, part in enumerate((CORPUS[:2], CORPUS[2:])):
        (folder / f"corpus-{number}.jsonl").write_bytes(jsonl(part))
    pd.DataFrame(QUERIES).rename(columns={"_id": "id"}).to_parquet(folder / "queries.parquet")


@pytest.mark.parametrize("write", [plain, compressed, of_the_hub, shards])
def test_layouts_of_a_collection(tmp_path: Path, write: Any) -> None:
    folder, judged = tmp_path / "mine", tmp_path / "mine-qrels"
    folder.mkdir()
    judged.mkdir()
    write(folder)
    frame = pd.DataFrame(JUDGED, columns=["query-id", "corpus-id", "score"])
    frame.to_csv(judged / "test.tsv", sep="\t", index=False)
    with pytest.raises(DatasetError, match=r"no folder qrels; .* dataset\.qrels=FILE or FOLDER"):
        Folder(path=str(folder)).load()
    for qrels in (judged, judged / "test.tsv"):
        dataset = Folder(path=str(folder), qrels=str(qrels)).load()
        assert dataset.qrels == {"q1": {"d1": 1, "d2": 0}, "q2": {"d3": 2}}
        assert dataset.doc_texts == [f"text {row}" for row in (4, 3, 2, 1)]
    (folder / "qrels").mkdir()
    frame.to_parquet(folder / "qrels" / "test-00000-of-00001.parquet")
    assert Folder(path=str(folder)).load().fingerprint == dataset.fingerprint


def test_judgements_of_a_query_that_is_absent(tmp_path: Path) -> None:
    plain(tmp_path)
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("q1\td1\t1\nq9\td1\t1\n")
    with pytest.raises(DatasetError, match=r"test\.tsv:2: query 'q9' .* dataset\.unknown_queries=skip|unknown_queries"):
        Folder(path=str(tmp_path)).load()
    assert Folder(path=str(tmp_path), unknown_queries="skip").load().query_ids == ["q1"]
    (tmp_path / "qrels" / "test.tsv").write_text("q9\td1\t1\n")
    with pytest.raises(DatasetError, match="no query of the queries file is judged"):
        Folder(path=str(tmp_path), unknown_queries="skip").load()
