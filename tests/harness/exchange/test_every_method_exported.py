"""Every yaml in configs/method, run on a real collection and exported, ranks in a fresh process as the run did."""

import traceback
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from harness.exchange.index_export import export
from harness.runs.run import run
from harness.runs.store import RANKING, Store
from tests.conftest import methods_for
from tests.fresh_process import FreshProcess
from tests.harness.runs.test_run import configuration
from tests.test_contract import LOAD_EXPORTS
from vecbudget import CompressedIndex

QUERIES = 300
NAMES = methods_for("vectors")


@pytest.mark.slow
def test_every_yaml_exported_ranks_scifact_as_its_run_did(shared_data: Path, tmp_path: Path) -> None:
    """Loaded without torch, Hydra and pandas; learned methods take the few steps that their yamls name for tests."""
    collection = shared_data / "scifact"
    results, exports = tmp_path / "results", tmp_path / "exports"
    exports.mkdir()
    vectors = collection / "minilm.safetensors"
    failures: dict[str, str] = {}
    run_ids: dict[str, str] = {}
    for name in NAMES:
        cfg = configuration(collection, results, f"method={name}", f"model.path={vectors}")
        for key, value in (cfg.method.get("about", {}).get("test") or {}).items():
            cfg.method[key] = value
        cfg.keep_index = True
        try:
            run_ids[name] = run(cfg, name)
            (exports / name).mkdir()
            export(run_ids[name], exports / name / "export", results=results)
        except Exception as error:
            failures[name] = "".join(traceback.format_exception_only(error)).strip()
    queries = load_file(vectors)["queries"]
    with FreshProcess(LOAD_EXPORTS) as process:
        loaded = {}
        for name in run_ids.keys() - failures.keys():
            np.save(exports / name / "queries.npy", queries)
            loaded[name] = process.ranked(exports / name, 100)["rows"]
    for name, found in loaded.items():
        ranking = load_file(Store(results).path(run_ids[name]) / RANKING)
        ids = CompressedIndex.load(exports / name / "export").ids
        expected = ids.take(ranking["rows"].astype(np.int64)).astype(int)
        same = (found == expected).all(axis=1)
        if len(same) != QUERIES or not same.all():
            failures[name] = f"{int((~same).sum())} of {len(same)} queries are ranked otherwise"
    print(f"\n{len(NAMES)} yamls exported, {QUERIES} queries each; {len(failures)} failed: {failures}")
    assert not failures
