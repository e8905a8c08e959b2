"""The whole path in process, on a small collection whose vectors exist already."""

import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from safetensors.numpy import load_file

from harness.errors import was_interrupted
from harness.index_files import CODES_FILE, STATE_FILE
from harness.run import run
from harness.store import INDEX, RANKING, Store, load_runs
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
    assert set(record["seconds"]) == {"fit", "encode", "save", "load", "search", "evaluate"}
    assert record["versions"]["numpy"] == np.__version__


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
    assert identity("method=int8", "method.bits=4") == identity("method=int4"), "a name determines nothing"
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

    monkeypatch.setattr("harness.measure.measure", disguised)
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
