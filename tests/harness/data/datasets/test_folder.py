import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from harness.base.errors import DatasetError
from harness.data.datasets.folder import Folder
from harness.data.datasets.qrels import read_qrels
from harness.runs.config import build

FILES = {
    "corpus.jsonl": '{"_id": "d1", "title": "One", "text": "first"}\n'
    '{"_id": "d2", "title": "", "text": " second "}\n'
    '{"_id": "d10", "text": "tenth"}\n',
    "queries.jsonl": '{"_id": "q1", "text": "what is first"}\n'
    '{"_id": "q2", "text": "what is second"}\n'
    '{"_id": "t1", "text": "something else"}\n'
    '{"_id": "t2", "text": "what is first "}\n',
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td10\t2\nq2\td2\t1\n",
    "qrels/train.tsv": "query-id\tcorpus-id\tscore\nt1\td1\t1\nt2\td1\t1\nq2\td10\t1\n",
}


def write(folder: Path, **changes: Any) -> Path:
    """Write a valid collection; `corpus_jsonl=...` and so on replace a file's content, None leaves it out."""
    given = {name.replace("/", "_").replace(".", "_"): (name, content) for name, content in FILES.items()}
    folder.mkdir(exist_ok=True)
    for key, (name, content) in given.items():
        replaced = changes.get(key, content)
        if replaced is not None:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(replaced if isinstance(replaced, bytes) else replaced.encode())
    return folder


def test_reads_what_is_there(tmp_path: Path) -> None:
    dataset = Folder(path=str(write(tmp_path / "mine"))).load()
    assert dataset.name == "mine"
    assert dataset.doc_ids == ["d2", "d10", "d1"], "descending, as strings"
    assert dataset.doc_texts == ["second", "tenth", "One first"]
    assert dataset.titles == ["", "", "One"]
    assert dataset.source_rows.tolist() == [1, 2, 0]
    assert dataset.query_ids == ["q1", "q2"]
    assert dataset.query_texts == ["what is first", "what is second"]
    assert dataset.qrels == {"q1": {"d1": 1, "d10": 2}, "q2": {"d2": 1}}
    assert not dataset.skip_identical_ids


def test_a_train_query_is_no_test_query_by_id_or_by_text(tmp_path: Path) -> None:
    dataset = Folder(path=str(write(tmp_path))).load()
    assert dataset.train_query_texts == ["something else"]
    assert Folder(path=str(write(tmp_path)), train_split="nope").load().train_query_texts == []
    reverse = Folder(path=str(tmp_path), split="train", train_split="test").load()
    assert reverse.query_ids == ["q2", "t1", "t2"] and reverse.train_query_texts == []


def test_a_query_without_a_relevant_document_is_a_test_query_still(tmp_path: Path) -> None:
    folder = write(tmp_path, qrels_test_tsv="q1\td1\t1\nq2\td2\t0\n", qrels_train_tsv="q2\td2\t1\n")
    dataset = Folder(path=str(folder)).load()
    assert dataset.query_ids == ["q1", "q2"] and dataset.train_query_texts == []


def test_spellings_that_mean_the_same(tmp_path: Path) -> None:
    expected = Folder(path=str(write(tmp_path / "plain")), name="x").load().fingerprint
    windows = {
        key: "\ufeff" + FILES[name].replace("\n", "\r\n") + "\r\n"
        for key, name in (
            ("corpus_jsonl", "corpus.jsonl"),
            ("queries_jsonl", "queries.jsonl"),
            ("qrels_test_tsv", "qrels/test.tsv"),
        )
    }
    assert Folder(path=str(write(tmp_path / "windows", **windows)), name="x").load().fingerprint == expected
    bare = write(tmp_path / "bare", qrels_test_tsv="q1\td1\t1.0\nq1\td1\t1\nq1\td10\t2\nq2\td2\t1")
    assert Folder(path=str(bare), name="x").load().fingerprint == expected
    zipped = write(tmp_path / "zipped", corpus_jsonl=None)
    (zipped / "corpus.jsonl.gz").write_bytes(gzip.compress(FILES["corpus.jsonl"].encode()))
    assert Folder(path=str(zipped), name="x").load().fingerprint == expected


def test_number_ids(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        corpus_jsonl='{"_id": 7, "text": "a"}\n',
        queries_jsonl='{"_id": 1, "text": "b"}\n',
        qrels_test_tsv="1\t7\t1\n",
        qrels_train_tsv=None,
    )
    assert Folder(path=str(folder)).load().qrels == {"1": {"7": 1}}


def test_unknown_documents_can_count_as_never_found(tmp_path: Path) -> None:
    folder = write(tmp_path, qrels_test_tsv="q1\td1\t1\nq2\tgone\t1\n")
    with pytest.raises(DatasetError, match=r"unknown_docs=count"):
        Folder(path=str(folder)).load()
    dataset = Folder(path=str(folder), unknown_docs="count", skip_identical_ids=True).load()
    assert dataset.query_ids == ["q1", "q2"] and dataset.skip_identical_ids
    assert dataset.train_query_texts == ["something else"], "a test query stays one without its documents"


CORPUS, QUERIES = FILES["corpus.jsonl"], FILES["queries.jsonl"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"corpus_jsonl": CORPUS + "{oops\n"}, r"corpus\.jsonl:4: not JSON: .*column 2"),
        ({"corpus_jsonl": "\n" + CORPUS + '["d3"]\n'}, r"corpus\.jsonl:5: expected an object .* got list"),
        ({"corpus_jsonl": CORPUS + '{"name": "d3", "text": ""}'}, r"corpus\.jsonl:4: '_id' is missing"),
        ({"corpus_jsonl": CORPUS + '{"_id": "d3"}'}, r"corpus\.jsonl:4: 'text' is missing"),
        ({"corpus_jsonl": CORPUS + '{"_id": "d3", "text": null}'}, r"corpus\.jsonl:4: 'text' is null"),
        ({"corpus_jsonl": CORPUS + '{"_id": "d3", "text": ["a"]}'}, r"corpus\.jsonl:4: 'text' must be a string"),
        ({"corpus_jsonl": CORPUS + '{"_id": true, "text": ""}'}, r"corpus\.jsonl:4: '_id' must be a string, got true"),
        ({"corpus_jsonl": CORPUS + '{"_id": "d2", "text": ""}'}, r"corpus\.jsonl:4: id 'd2' is taken by line 2"),
        ({"corpus_jsonl": CORPUS + '{"_id": "d3", "text": "\\ud800"}'}, r"corpus\.jsonl:4: 'text' has .*surrogate"),
        ({"corpus_jsonl": CORPUS.encode() + b'{"_id": "\xff"}'}, r"corpus\.jsonl:4: not UTF-8"),
        ({"corpus_jsonl": ""}, r"corpus\.jsonl holds no documents"),
        ({"corpus_jsonl": None}, r"no corpus\.jsonl; the layout is .*there is qrels/, queries\.jsonl"),
        ({"queries_jsonl": QUERIES + '{"_id": "q1", "text": ""}'}, r"queries\.jsonl:5: id 'q1' is taken by line 1"),
        ({"queries_jsonl": None}, r"no queries\.jsonl"),
        ({"qrels_test_tsv": "query-id\tcorpus-id\tscore\nq1\td1\thigh\n"}, r"test\.tsv:2: .*whole number, got 'high'"),
        ({"qrels_test_tsv": "q1\td1\t1\nq1\td2\t0.5\n"}, r"test\.tsv:2: .*whole number, got '0\.5'"),
        ({"qrels_test_tsv": "q1\td1\t1\nq1\td2\tnan\n"}, r"test\.tsv:2: .*whole number, got 'nan'"),
        ({"qrels_test_tsv": "q1 d1\n"}, r"test\.tsv:1: expected .* tabs between, .* got 2 column"),
        ({"qrels_test_tsv": "q1\td1\t1\nq1\t\nd2\t1"}, r"test\.tsv:2: expected .* got 2 column"),
        ({"qrels_test_tsv": "q1\td1\t1\n\nq1\td1\t2\n"}, r"test\.tsv:3: .* have score 2, but 1 in line 1"),
        ({"qrels_test_tsv": "q1\td1\t1\nq1\td3\t1\n"}, r"test\.tsv:2: document 'd3' is not in the corpus"),
        ({"qrels_test_tsv": "q1\td1\t1\nq9\td1\t1\n"}, r"test\.tsv:2: query 'q9' is not in the queries"),
        ({"qrels_test_tsv": "query-id\tcorpus-id\tscore\n"}, r"test\.tsv holds no judgements"),
        ({"qrels_test_tsv": None}, r"no split 'test'; the splits are train$"),
        ({"qrels_test_tsv": None, "qrels_train_tsv": None}, r"no folder qrels; .*there is corpus\.jsonl, queries"),
        ({"qrels_train_tsv": "t1\td3\t1\n"}, r"train\.tsv:1: document 'd3'"),
    ],
)
def test_malformed(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = write(tmp_path / "c", **changes)
    with pytest.raises(DatasetError, match=message) as caught:
        Folder(path=str(folder)).load()
    assert "\n" not in str(caught.value)


def test_a_damaged_archive(tmp_path: Path) -> None:
    folder = write(tmp_path, corpus_jsonl=None)
    archive = gzip.compress(CORPUS.encode())
    for damaged in (archive[:-10], b"not an archive"):
        (folder / "corpus.jsonl.gz").write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"corpus\.jsonl\.gz:\d: cannot read"):
            Folder(path=str(folder)).load()


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere is not there; the layout is corpus\.jsonl"):
        Folder(path=str(tmp_path / "nowhere")).load()
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="a file, not a folder"):
        Folder(path=str(tmp_path / "file")).load()


def test_qrels_keep_quotes_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "q.tsv"
    path.write_text('q "1"\t d,1\t-1\n')
    assert read_qrels(path) == [(1, 'q "1"', " d,1", -1)]


def test_yaml(tmp_path: Path) -> None:
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=["dataset=folder", f"dataset.path={write(tmp_path)}"])
    assert build(cfg.dataset, "dataset") == Folder(path=str(tmp_path))


def test_scifact(shared_data: Path) -> None:
    folder = shared_data / "scifact"
    dataset = Folder(path=str(folder)).load()
    assert (len(dataset.doc_ids), len(dataset.query_ids)) == (5183, 300)
    assert dataset.doc_texts is not None and dataset.query_texts is not None
    with (folder / "corpus.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    assert [records[row]["_id"] for row in dataset.source_rows] == dataset.doc_ids
    assert all(
        text == (records[row]["title"] + " " + records[row]["text"]).strip()
        for row, text in zip(dataset.source_rows, dataset.doc_texts, strict=True)
    )
    # two of its 809 train queries are test queries too, under another id
    assert len(dataset.train_query_texts) == 807
    assert not set(dataset.train_query_texts) & set(dataset.query_texts)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.text_lines.LINE_BYTES", 1000)
    path = tmp_path / "q.tsv.gz"
    path.write_bytes(gzip.compress(b"q\td\t1\n" + b"q" * 1_000_000))
    with pytest.raises(DatasetError, match=r"q\.tsv\.gz:2: a line of more than 1,000 bytes"):
        read_qrels(path)
    path.write_bytes(gzip.compress(b"q\td\t1\n" + b"q" * 995 + b"\td\t1"))
    assert len(read_qrels(path)) == 2
