"""The whole path in process, on a small collection whose vectors exist already."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from safetensors.numpy import load_file

from harness.base.errors import ConfigError, was_interrupted
from harness.evaluation.index_files import CODES_FILE, STATE_FILE
from harness.evaluation.rate_distortion import distortion
from harness.runs.frame import load_runs
from harness.runs.run import run
from harness.runs.store import INDEX, RANKING, Store
from methods.base import MethodError


def configuration(collection: Path, results: Path, *overrides: str) -> DictConfig:
    with initialize_config_module("configs", version_base="1.3"):
        return compose(
            "config",
            overrides=[
                "dataset=folder",
                f"dataset.path={collection}",
                "model=vectors",
                f"model.path={collection / 'vectors.safetensors'}",
                f"results_dir={results}",
                f"cache_dir={results / 'cache'}",
                *overrides,
            ],
        )


def test_from_configuration_to_record(small_collection: Path, tmp_path: Path) -> None:
    overrides = ["method=int8", "method.bits=4"]
    cfg = configuration(small_collection, tmp_path, *overrides, "keep_index=true")
    run_id = run(cfg, "int8", overrides)
    record = Store(tmp_path).read(run_id)
    frame = load_runs(tmp_path).set_index("run_id")
    row = frame.loc[run_id]
    assert row["method"] == "int8" and row["params"] == "bits=4" and row["scoring"] == "asymmetric"
    assert (row["n_docs"], row["n_queries"], row["dim"]) == (400, 30, 32)
    assert row["code_bytes_per_vector"] == 16.0
    index = Store(tmp_path).path(run_id) / INDEX
    assert row["index_bytes"] == (index / CODES_FILE).stat().st_size + (index / STATE_FILE).stat().st_size
    assert row["state_bytes"] == (index / STATE_FILE).stat().st_size
    per_query = Store(tmp_path).per_query(run_id)
    assert per_query["ndcg_at_10"].mean() == pytest.approx(row["ndcg_at_10"])
    ranking = load_file(Store(tmp_path).path(run_id) / RANKING)
    assert ranking["rows"].shape == (30, 100)
    assert set(record.seconds) == {"fit", "encode", "save", "load", "search", "evaluate"}
    assert record.versions["numpy"] == np.__version__


def test_the_record_says_how_far_from_the_bound_the_errors_are(small_collection: Path, tmp_path: Path) -> None:
    run_id = run(configuration(small_collection, tmp_path, "method=int4"), "int4")
    limits, row = Store(tmp_path).read(run_id).limits, load_runs(tmp_path).set_index("run_id").loc[run_id]
    assert set(limits) == {"vector", "score"}
    docs = load_file(small_collection / "vectors.safetensors")["docs"].astype(float)
    bound = distortion(np.linalg.eigvalsh(np.cov(docs.T, bias=True)), 8 * 16)
    assert row["code_bytes_per_vector"] == 16 and row["vector_bound"] == pytest.approx(bound, rel=1e-4)
    assert row["vector_power"] == pytest.approx(docs.var(axis=0).sum(), rel=1e-5)
    for part in ("vector", "score"):
        assert {name: row[f"{part}_{name}"] for name in limits[part]} == limits[part]
        assert limits[part]["db_over_bound"] > 0


def test_float32_keeps_everything(small_collection: Path, tmp_path: Path) -> None:
    run_id = run(configuration(small_collection, tmp_path), "float32")
    row = load_runs(tmp_path).set_index("run_id").loc[run_id]
    assert row["retention"] == 1 and row["overlap_at_10"] == 1 and row["ndcg_at_10"] > 0.5


def test_a_finished_run_is_not_repeated(small_collection: Path, tmp_path: Path) -> None:
    cfg = configuration(small_collection, tmp_path, "method=int8")
    run_id = run(cfg, "int8")
    before = (Store(tmp_path).path(run_id) / "run.json").stat().st_mtime_ns
    assert run(cfg, "int8") == run_id
    assert (Store(tmp_path).path(run_id) / "run.json").stat().st_mtime_ns == before
    cfg.overwrite = True
    assert run(cfg, "int8") == run_id
    assert (Store(tmp_path).path(run_id) / "run.json").stat().st_mtime_ns > before


def test_ids_change_with_what_matters_and_with_nothing_else(small_collection: Path, tmp_path: Path) -> None:
    def identity(*overrides: str) -> str:
        return run(configuration(small_collection, tmp_path, *overrides), "x")

    assert identity("method=int8", "seed=1") == identity("method=int8"), "int8 draws no random numbers"
    assert identity("method=int8", "method.bits=6") == identity("method=int6"), "a name determines nothing"
    assert identity("method=int8", "method.clip=1") != identity("method=int8")
    projections = {identity("method=random_projection", "method.dim=8", f"seed={seed}") for seed in (0, 1)}
    assert len(projections) == 2


def test_chunks_change_no_number(small_collection: Path, tmp_path: Path) -> None:
    whole = run(configuration(small_collection, tmp_path / "a", "method=svd192_int8", "method.dim=8"), "x")
    chunked = configuration(small_collection, tmp_path / "b", "method=svd192_int8", "method.dim=8", "chunk_rows=37")
    assert run(chunked, "x") == whole
    first, second = (load_file(Store(tmp_path / part).path(whole) / RANKING) for part in "ab")
    assert np.array_equal(first["rows"], second["rows"]) and np.array_equal(first["scores"], second["scores"])


def test_a_failing_run_is_recorded_and_due_again(small_collection: Path, tmp_path: Path) -> None:
    cfg = configuration(small_collection, tmp_path, "method=svd", "method.dim=64")
    with pytest.raises(MethodError, match="wider than the vectors"):
        run(cfg, "svd", ["method=svd", "method.dim=64"])
    frame = load_runs(tmp_path)
    assert frame["status"].tolist() == ["failed"]
    assert "dim=64 is wider than the vectors, which have 32 dimensions" in frame["error"][0]
    assert not Store(tmp_path).has(frame["run_id"][0])
    assert [path.name for path in Store(tmp_path).runs.iterdir()] == [frame["run_id"][0]], "no draft is left"


def test_an_interruption_in_disguise_is_no_failure(
    small_collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OmegaConf, interrupted while it builds a node, raises a ConfigKeyError of its own."""

    def disguised(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ValueError("something else went wrong while cleaning up")  # noqa: B904 (as libraries do)

    monkeypatch.setattr("harness.evaluation.measure.measure", disguised)
    with pytest.raises(ValueError, match="cleaning up") as caught:
        run(configuration(small_collection, tmp_path, "method=int8"), "int8")
    assert was_interrupted(caught.value)
    assert len(load_runs(tmp_path)) == 0 and not list(Store(tmp_path).runs.iterdir())


def test_the_record_says_how_to_repeat_it(small_collection: Path, tmp_path: Path) -> None:
    overrides = ["method=int8", "method.bits=4"]
    run_id = run(configuration(small_collection, tmp_path, *overrides), "int8", overrides)
    record = json.loads((Store(tmp_path).path(run_id) / "run.json").read_text())
    assert record["command"] == "vecbudget run method=int8 method.bits=4"
    assert record["config"]["method"]["bits"] == 4 and record["identity"]["method"]["bits"] == 4


@dataclass(frozen=True)
class HashModel:
    """Vectors of 8 numbers out of nowhere; `encoded` holds the texts it has read, by role."""

    name = label = "hash"
    encoded: ClassVar[dict[str, list[str]]] = {}

    def identity(self, role: str, task: str | None) -> dict[str, str]:
        return {"model": "hash", "role": role}

    def encode(self, texts: Sequence[str], role: str, task: str | None) -> np.ndarray:
        self.encoded.setdefault(role, []).extend(texts)
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") for text in texts]
        return np.stack([np.random.default_rng(seed).standard_normal(8) for seed in seeds]).astype(np.float32)


def test_queries_for_fit_are_encoded_only_for_a_method_that_learns_from_them(
    small_collection: Path, tmp_path: Path
) -> None:
    def measured(method: str, *overrides: str) -> str:
        cfg = configuration(small_collection, tmp_path, f"method={method}", "fit_queries=titles", *overrides)
        cfg.model = {"_target_": f"{__name__}.HashModel"}
        HashModel.encoded.clear()
        return run(cfg, method)

    measured("int8")
    assert len(HashModel.encoded["document"]) == 400
    assert sorted(HashModel.encoded["query"]) == sorted(f"query {i}" for i in range(30))
    measured("int4")
    assert not HashModel.encoded
    run_id = measured("leanvec_ood", "method.dim=4")
    titles = {f"title d{i:03d}" for i in range(400)}
    assert set(HashModel.encoded["query"]) == titles and len(HashModel.encoded["query"]) == 400
    record = Store(tmp_path).read(run_id)
    assert record.fit_queries == "400 titles" and (record.identity.fit_queries or {})["source"] == "titles"
    row = load_runs(tmp_path).set_index("run_id").loc[run_id]
    assert row["fit_queries"] == "400 titles" and row["params"] == "fit_queries=titles"


def test_the_source_of_queries_is_part_of_the_id_of_methods_that_want_them(
    small_collection: Path, tmp_path: Path
) -> None:
    def identity(method: str, *overrides: str) -> str:
        return run(configuration(small_collection, tmp_path, f"method={method}", *overrides), method)

    assert identity("int8", "fit_queries=documents") == identity("int8")
    assert Store(tmp_path).read(identity("int8")).identity.fit_queries is None
    learned = identity("leanvec_ood", "method.dim=8")
    assert identity("leanvec_ood", "method.dim=8", "fit_queries=documents") == learned
    without = identity("leanvec_ood", "method.dim=8", "fit_queries=none")
    assert without != learned
    assert [Store(tmp_path).read(each).fit_queries for each in (learned, without)] == ["400 documents", "none"]
    with pytest.raises(ConfigError, match="has no titles to fit with; there are documents, none"):
        identity("leanvec_ood", "method.dim=8", "fit_queries=titles")
    with pytest.raises(ConfigError, match="fit_queries must be"):
        identity("int8", "fit_queries=title")


def test_queries_for_fit_come_from_where_the_documents_do(small_collection: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "qrels").mkdir(parents=True)
    docs = [{"_id": f"d{i}", "title": f"query {i}", "text": "text"} for i in range(50)]
    (other / "corpus.jsonl").write_text("\n".join(json.dumps(doc) for doc in docs))
    (other / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "query 40"}))
    (other / "qrels" / "test.tsv").write_text("q\td1\t1\n")
    overrides = ["dataset@fit_dataset=folder", f"fit_dataset.path={other}", "fit_queries=titles", "method.dim=4"]
    cfg = configuration(small_collection, tmp_path, "method=leanvec_ood", *overrides)
    cfg.model = {"_target_": f"{__name__}.HashModel"}
    HashModel.encoded.clear()
    run_id = run(cfg, "leanvec_ood")
    assert Store(tmp_path).read(run_id).fit_queries == "20 titles", "the measured test queries are query 0 to 29"
    asked = HashModel.encoded["query"]
    assert asked.count("query 40") == 2, "a test query of the other collection is none here"
    assert asked.count("query 3") == 1 and asked.count("query 30") == 1


def test_fitted_on_a_sample(small_collection: Path, tmp_path: Path) -> None:
    overrides = ["method=transform_coding", "method.nbytes=8", "fit_sample=200"]
    record = Store(tmp_path).read(
        run(configuration(small_collection, tmp_path, *overrides), "transform_coding", overrides)
    )
    assert record.method.params == "fit_sample=200 nbytes=8"
    seen, unseen = record.limits["vector"], record.limits["unseen_vector"]
    # all 400 documents, and the 200 that were not drawn, under one bound
    assert unseen["bound"] == seen["bound"]
    assert unseen["distortion"] > seen["distortion"]
    whole = Store(tmp_path).read(run(configuration(small_collection, tmp_path, *overrides[:2]), "transform_coding"))
    assert whole.run_id != record.run_id
    assert "unseen_vector" not in whole.limits
    frame = load_runs(tmp_path).set_index("run_id")
    assert frame.loc[record.run_id, "unseen_vector_db_over_bound"] == unseen["db_over_bound"]
    assert np.isnan(frame.loc[whole.run_id, "unseen_vector_db_over_bound"])
    with pytest.raises(ConfigError, match="fit_sample must be 1 to 400, the documents of .*, got 401"):
        run(configuration(small_collection, tmp_path, "method=int8", "fit_sample=401"), "int8")


def test_fitted_on_documents_that_are_not_searched(small_collection: Path, tmp_path: Path) -> None:
    overrides = ["method=pq", "method.m=4", "fit_sample=300", "fit_disjoint=true"]
    record = Store(tmp_path).read(run(configuration(small_collection, tmp_path, *overrides), "pq", overrides))
    assert record.method.params == "fit_sample=300 fit_disjoint=true m=4"
    assert record.dataset.n_docs == 100
    # the judged documents are still there to be found, among fewer others
    exact = Store(tmp_path).read(run(configuration(small_collection, tmp_path, *overrides[2:]), "float32"))
    whole = Store(tmp_path).read(run(configuration(small_collection, tmp_path), "float32"))
    assert exact.run_id != whole.run_id
    assert exact.metrics["recall_at_100"] == 1.0
    assert exact.metrics["ndcg_at_10"] >= whole.metrics["ndcg_at_10"]
    assert record.metrics["overlap_at_10"] < 1


def test_a_sample_lends_its_own_pseudo_queries(small_collection: Path, tmp_path: Path) -> None:
    given = ["method=score_aware", "method.nbytes=8", "fit_queries=documents", "fit_sample=300"]
    for more in ([], ["fit_disjoint=true"]):
        record = Store(tmp_path).read(run(configuration(small_collection, tmp_path, *given, *more), "score_aware"))
        assert record.fit_queries == "300 documents"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["fit_disjoint=true"], "has no fit_sample=N"),
        (["fit_disjoint=true", "fit_sample=400"], "fit_sample must be 1 to 3.. .* that no judgement names, got 400"),
    ],
)
def test_a_division_that_cannot_be_is_named(
    small_collection: Path, tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(configuration(small_collection, tmp_path, "method=int8", *overrides), "int8")
