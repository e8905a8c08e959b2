"""Terms with weights of one's own: matrices, JSON lines, and the Common Index File Format."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_array, csr_array, save_npz

from harness.base.errors import DatasetError, ModelError
from harness.data.datasets import Dataset
from harness.data.embedding_cache import embed, fill
from harness.data.models import TermVectorModel
from harness.data.term_files.ciff import read_ciff
from methods.representations import exact_search

DOCS = np.array([[0, 2, 0, 1], [3, 0, 0, 0], [0, 0, 0, 4]], np.float32)
QUERIES = np.array([[0, 0, 0, 5], [6, 0, 0, 0]], np.float32)


def toy(**changes: Any) -> Dataset:
    """Documents come in descending order of ids: c, b, a; queries as they are, without those not judged."""
    parts: dict[str, Any] = {
        "name": "toy",
        "doc_ids": ["b", "c", "a"],
        "doc_texts": ["B", "C", "A"],
        "query_ids": ["q1", "q0"],
        "query_texts": ["?1", "?0"],
        "qrels": {"q0": {"a": 1}, "q1": {"b": 1}},
    }
    return Dataset.build(**(parts | changes))


def model(docs: Path, queries: Path | None = None) -> TermVectorModel:
    return TermVectorModel(docs=str(docs), queries=None if queries is None else str(queries))


def matrices(folder: Path, docs: Any = DOCS, queries: Any = QUERIES) -> TermVectorModel:
    for name, matrix in (("docs", docs), ("queries", queries)):
        save_npz(folder / f"{name}.npz", csr_array(matrix))
    return model(folder / "docs.npz", folder / "queries.npz")


def lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def test_matrices_come_in_dataset_order(tmp_path: Path) -> None:
    two = matrices(tmp_path)
    arrays = {}
    for side, matrix in (("docs", csr_array(DOCS)), ("queries", csr_array(QUERIES))):
        parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": matrix.shape}
        arrays |= {f"{side}_{part}": value for part, value in parts.items()}
    np.savez(tmp_path / "both.npz", **arrays)
    for encoder in (two, model(tmp_path / "both.npz")):
        found = encoder.supply(toy())
        np.testing.assert_array_equal(found.docs.to_csr().toarray(), DOCS[[1, 0, 2]])
        np.testing.assert_array_equal(found.queries.to_csr().toarray(), QUERIES)
        assert found.dictionary is None
    assert two.identity("query", None) != model(tmp_path / "both.npz").identity("query", None)
    assert two.label == "docs" and two.gives == "terms"


def test_all_queries_of_the_source_may_be_there(tmp_path: Path) -> None:
    dataset = toy(query_ids=["q1", "unjudged", "q0"], query_texts=["?1", "?", "?0"])
    queries = np.stack([QUERIES[0], np.ones(4, np.float32), QUERIES[1]])
    found = matrices(tmp_path, queries=queries).supply(dataset)
    np.testing.assert_array_equal(found.queries.to_csr().toarray(), QUERIES)


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_words_are_numbered_in_alphabetical_order(tmp_path: Path, ending: str, caplog: Any) -> None:
    docs = [
        {"_id": "a", "vector": {"pear": 4}},
        {"_id": "c", "vector": {"fig": 3.0}},
        {"_id": "b", "vector": {"zoo": 1, "kiwi": 2.5}},
        {"_id": "elsewhere", "vector": {"äpfel": 1}},
    ]
    queries = [{"id": "q0", "vector": {"fig": 6, "unheard": 9}}, {"id": "q1", "vector": {"zoo": 5}}]
    encoder = model(lines(tmp_path / f"d{ending}", docs), lines(tmp_path / f"q{ending}", queries))
    with caplog.at_level("INFO"):
        vectors = embed(toy(), encoder, tmp_path / "cache")
    assert vectors.dictionary == "fig\nkiwi\npear\nzoo\näpfel".encode()
    np.testing.assert_array_equal(
        vectors.docs.to_csr().toarray(), [[3, 0, 0, 0, 0], [0, 2.5, 0, 1, 0], [0, 0, 4, 0, 0]]
    )
    np.testing.assert_array_equal(vectors.queries.to_csr().toarray(), [[0, 0, 0, 5, 0], [6, 0, 0, 0, 0]])
    assert "1 of 3 terms of the queries are in no document" in caplog.text
    assert "1 rows that are none of the dataset's documents" in caplog.text
    assert not (tmp_path / "cache").exists()
    with pytest.raises(ModelError, match="encodes no text"):
        vectors.as_queries(["x"], "titles")
    with pytest.raises(ModelError, match="nothing to encode"):
        fill(toy(), encoder, tmp_path)


def test_terms_that_are_all_whole_numbers_keep_them(tmp_path: Path) -> None:
    docs = [{"id": name, "vector": {"30": 1, "7": 2}} for name in "abc"]
    queries = [{"id": "q0", "vector": {"99": 6}}, {"id": "q1", "vector": {}}]
    found = model(lines(tmp_path / "d.jsonl", docs), lines(tmp_path / "q.jsonl", queries)).supply(toy())
    assert found.dictionary is None and found.docs.width == found.queries.width == 100
    assert found.docs.terms.tolist() == [7, 30] * 3 and found.queries.counts.tolist() == [0, 1]
    words = lines(tmp_path / "w.jsonl", [{"id": name, "vector": {"30": 1, "007": 2}} for name in "abc"])
    with pytest.raises(ModelError, match="terms of documents are words and those of queries are numbers"):
        model(words, tmp_path / "q.jsonl").supply(toy())


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    low, rest = value & 127, value >> 7
    return bytes([low]) if not rest else bytes([low | 128]) + varint(rest)


def field(number: int, value: int | bytes | str) -> bytes:
    """A field as Protocol Buffers write it: a 0 is left out."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def message(*fields: bytes) -> bytes:
    content = b"".join(fields)
    return varint(len(content)) + content


def ciff(documents: Sequence[tuple[int, str]], postings: Mapping[str, Mapping[int, int]]) -> bytes:
    """An index of (number, id) of documents and weights by term and number."""
    average = varint(7 << 3 | 1) + np.float64(1.5).tobytes()
    header = message(field(1, 1), field(2, len(postings)), field(3, len(documents)), average, field(8, "made here"))
    lists = []
    for term, weights in postings.items():
        before, parts = 0, [field(1, term), field(2, len(weights)), field(3, sum(weights.values()))]
        for number in sorted(weights):
            parts.append(field(4, field(1, number - before) + field(2, weights[number])))
            before = number
        lists.append(message(*parts))
    records = [message(field(1, number), field(2, name), field(3, 9)) for number, name in documents]
    return b"".join([header, *lists, *records])


def test_an_index_in_ciff_by_hand(tmp_path: Path) -> None:
    content = ciff([(0, "b"), (1, "a"), (300, "c")], {"zoo": {0: 1, 300: 200}, "fig": {1: 3}})
    (tmp_path / "d.ciff").write_bytes(content)
    (tmp_path / "d.ciff.gz").write_bytes(gzip.compress(content))
    queries = lines(tmp_path / "q.jsonl", [{"id": "q0", "vector": {"fig": 1}}, {"id": "q1", "vector": {"zoo": 1}}])
    for name in ("d.ciff", "d.ciff.gz"):
        found = model(tmp_path / name, queries).supply(toy())
        np.testing.assert_array_equal(found.docs.to_csr().toarray(), [[0, 200], [0, 1], [3, 0]])
        assert exact_search(found.queries, found.docs, 1)[1].tolist() == [[0], [2]]


WEIGHTS = st.integers(1, 2**31 - 1)


@given(st.dictionaries(st.text(max_size=8), st.dictionaries(st.integers(0, 10**6), WEIGHTS, min_size=1), max_size=6))
@settings(max_examples=40, deadline=None)
def test_every_index_is_read_as_it_was_written(tmp_path_factory: Any, postings: dict[str, dict[int, int]]) -> None:
    numbers = sorted({number for of in postings.values() for number in of})
    path = tmp_path_factory.mktemp("ciff") / "d.ciff"
    path.write_bytes(ciff([(number, f"d{number}") for number in numbers], postings))
    found = read_ciff(path)
    assert list(found.names or []) == list(postings) and list(found.ids or []) == [f"d{n}" for n in numbers]
    read = list(zip(found.terms.tolist(), found.rows.tolist(), found.weights.tolist(), strict=True))
    wanted = [
        (place, numbers.index(number), float(np.float32(of[number])))
        for place, of in enumerate(postings.values())
        for number in sorted(of)
    ]
    assert read == wanted


def test_no_cut_index_is_taken_for_a_whole_one(tmp_path: Path) -> None:
    content = ciff([(0, "b"), (1, "a"), (2, "c")], {"zoo": {0: 1, 2: 200}, "fig": {1: 3}})
    path = tmp_path / "d.ciff"
    for stop in range(len(content)):
        path.write_bytes(content[:stop])
        if stop == 0:
            continue
        with pytest.raises(DatasetError, match="Common Index File Format") as raised:
            read_ciff(path)
        assert "\n" not in str(raised.value)
    for wrong, reason in (
        (content + b"\0", "1 bytes follow"),
        (ciff([(0, "b")], {"zoo": {5: 1}}), "document 5, which has no record"),
        (ciff([(0, "b"), (0, "c")], {}), "two documents have one number"),
    ):
        path.write_bytes(wrong)
        with pytest.raises(DatasetError, match=reason):
            read_ciff(path)


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    def refused(message: str, encoder: TermVectorModel) -> None:
        with pytest.raises(ModelError, match=message) as raised:
            encoder.supply(toy())
        assert "\n" not in str(raised.value)

    refused("docs.npz has 2 rows, but the dataset has 3 documents", matrices(tmp_path, docs=DOCS[:2]))
    refused("queries.npz has 3 rows, but the dataset has 2 judged queries", matrices(tmp_path, queries=DOCS))
    refused("vocabulary of 4 terms and the queries one of 3", matrices(tmp_path, queries=QUERIES[:, :3]))
    refused("'docs' has a negative weight in row 1 .term 3", matrices(tmp_path, docs=DOCS * [1, 1, 1, -1]))
    refused("'queries' has NaN or infinity in row 0", matrices(tmp_path, queries=QUERIES * [1, 1, 1, np.nan]))
    save_npz(tmp_path / "docs.npz", csc_array(DOCS))
    refused("not in the format csr", model(tmp_path / "docs.npz", tmp_path / "queries.npz"))
    (tmp_path / "docs.npz").write_bytes(b"rubbish")
    refused("no sparse matrix of docs", model(tmp_path / "docs.npz"))

    queries = lines(tmp_path / "q.jsonl", [{"id": "q0", "vector": {"x": 1}}, {"id": "q1", "vector": {"x": 1}}])
    rows = [{"id": name, "vector": {"x": 1.0}} for name in "abc"]
    refused("lacks 1 of 3 documents: there is no 'c'", model(lines(tmp_path / "d.jsonl", rows[:2]), queries))
    docs = lines(tmp_path / "d.jsonl", rows)
    refused("lacks 2 of 2 judged queries: there is no 'q1' among its ids, such as 'a'", model(docs, docs))
    refused("model.queries is missing", model(docs))
    refused(r"model.docs: .*q.txt is not \.npz", model(lines(tmp_path / "q.txt", rows), queries))
    refused("there is no file", model(tmp_path / "none.jsonl", queries))
    for row, message in (
        ({"id": "a", "vector": {"x": 1}}, r"d\.jsonl:4: the id 'a' is there twice"),
        ({"id": None, "vector": {}}, "'id' must be text or a whole number, got None"),
        ({"id": "z", "vector": [1]}, "'vector' must be an object of terms and weights, got list"),
        ({"id": "z", "vector": {"x": "1"}}, "the weight of term 'x' is no number: '1'"),
    ):
        refused(message, model(lines(tmp_path / "d.jsonl", [*rows, row]), queries))
    refused(
        "negative weight", model(lines(tmp_path / "d.jsonl", [*rows[:2], {"id": "c", "vector": {"x": -1}}]), queries)
    )
    too_large = [*rows[:2], {"id": "c", "vector": {"x": 1e300}}]
    refused("NaN or infinity", model(lines(tmp_path / "d.jsonl", too_large), queries))
