import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.analysis.needs import Needs
from harness.base.errors import ConfigError
from harness.cli import main
from harness.data.datasets import VectorFiles
from harness.tuning import advise as module
from harness.tuning.advise import advise, read
from tests.conftest import clustered_vectors


@pytest.fixture(autouse=True)
def a_short_ladder(monkeypatch):
    monkeypatch.setattr(module, "ranked", lambda budget, known: ["itq", "svd_binary", "svd192_int8"])


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("advise")
    save_file({"docs": clustered_vectors(600, 32)}, folder / "docs.safetensors")
    np.save(folder / "queries.npy", clustered_vectors(60, 32, seed=5))
    return folder


def test_the_choice_is_the_best_within_the_budget_and_is_told_by_other_queries(vectors):
    found = advise(VectorFiles(docs=str(vectors / "docs.safetensors"), held_out=100).load(), Needs(max_bytes=4))
    assert found.choice.outcome.resident_bytes <= 4
    assert found.choice.outcome.quality == max(rung.outcome.quality for rung in found.ladder)
    assert found.documents == 500 and found.queries_are == "documents held out as queries"
    # plain codes are too large, and are said to be
    assert {name for name, _ in found.refused} >= {"float16", "int8", "int4"}
    assert found.kept.low <= found.kept.value <= found.kept.high
    assert found.share is None
    assert found.total_bytes == found.choice.outcome.resident_bytes * 1e6 + found.choice.outcome.state_bytes


def test_memory_holds_what_was_fitted_too(vectors):
    dataset = VectorFiles(docs=str(vectors / "docs.safetensors"), held_out=100).load()
    found = advise(dataset, Needs(ram_bytes=4e6, corpus_size=1_000_000))
    assert found.total_bytes <= 4e6
    # SVD and means are more than is left
    tight = advise(dataset, Needs(ram_bytes=4_001_000, corpus_size=1_000_000))
    assert tight.total_bytes <= 4_001_000
    assert any("with what was fitted" in why for _, why in tight.refused)


def test_with_room_it_is_a_plain_code(vectors):
    found = advise(VectorFiles(docs=str(vectors / "docs.safetensors"), held_out=100).load(), Needs(max_bytes=64))
    assert found.choice.candidate.name == "float16"


def test_a_database_gets_its_own_switches(vectors):
    dataset = VectorFiles(docs=str(vectors / "docs.safetensors"), held_out=100).load()
    found = advise(dataset, Needs(max_bytes=16, database="Qdrant"))
    assert found.choice.preset is not None and found.choice.preset.store == "Qdrant"
    assert all(rung.preset is not None for rung in found.ladder)
    names = {rung.candidate.name for rung in found.ladder} | {name for name, _ in found.refused}
    assert not [name for name in names if "sparse" in name or "multivector" in name]


def test_from_files_to_an_answer_and_a_page(vectors, tmp_path, capsys):
    queries = np.load(vectors / "queries.npy")
    docs = clustered_vectors(600, 32)
    best = np.argmax(queries @ docs.T, axis=1)
    qrels = tmp_path / "qrels.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{doc}\t1\n" for q, doc in enumerate(best)))
    page = tmp_path / "page" / "advice.html"
    given = [str(vectors / "docs.safetensors"), str(vectors / "queries.npy"), str(qrels)]
    assert main(["advise", *given, "--ram", "200MB", "--corpus-size", "40e6", "--out", str(page)]) == 0
    shown = capsys.readouterr().out
    assert "within 200 MB of memory for 40,000,000 vectors (5 bytes each)" in shown
    assert "of their nDCG@10" in shown
    assert "vecbudget run dataset=vectors" in shown and "vecbudget tune --max-bytes 5" in shown
    written = page.read_text()
    assert "<h1>docs: 600 documents of 32 dimensions" in written
    assert "$" not in written


def test_what_is_missing_is_said(vectors, tmp_path, capsys):
    docs = str(vectors / "docs.safetensors")
    assert len(read(docs).query_ids) == 600 // 7
    assert main(["advise", docs]) == 1
    assert "say what is needed" in capsys.readouterr().err
    assert main(["advise", docs, "--max-bytes", "0.5", "--out", str(tmp_path / "a.html")]) == 1
    assert "nothing that was tried fits 0.5 bytes" in capsys.readouterr().err
    dataset = VectorFiles(docs=docs, held_out=30).load()
    with pytest.raises(ConfigError, match=r"30 queries are too few: at least 40"):
        advise(dataset, Needs(max_bytes=4))
    with pytest.raises(ConfigError, match=r"--minutes must be above 0"):
        advise(VectorFiles(docs=docs, held_out=100).load(), Needs(max_bytes=4), minutes=0)


def test_a_sample_of_more_is_fitted_on_other_documents_than_are_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEAST_FITTED", 200)
    np.save(tmp_path / "docs.npy", clustered_vectors(600, 32))
    dataset = VectorFiles(docs=str(tmp_path / "docs.npy"), held_out=100).load()
    alone = advise(dataset, Needs(max_bytes=4))
    sample = advise(dataset, Needs(max_bytes=4, corpus_size=1_000_000))
    assert (alone.fitted_apart, alone.sample) == (False, 500)
    assert (sample.fitted_apart, sample.sample) == (True, 250)


def test_no_time_is_said(vectors):
    dataset = VectorFiles(docs=str(vectors / "docs.safetensors"), held_out=100).load()
    found = advise(dataset, Needs(max_bytes=4), minutes=1e-6)
    # one setting is always measured
    assert len(found.ladder) == 1
