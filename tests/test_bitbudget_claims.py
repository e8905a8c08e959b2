"""BitBudget's claims: read off records, answered with a margin or without, and charged as it charges."""

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from hydra_plugins.vecbudget_sweeper import is_sound
from scripts.studies import bitbudget_claims
from scripts.studies.bitbudget_claims import CLAIMS, FLOAT32, THEIRS, Records, charged, with_numbers
from tests.harness.runs.test_run import configuration, run
from tests.harness.runs.test_shares import WIDTH, jobs_of, resolved


def test_the_experiment_is_well_formed() -> None:
    jobs = jobs_of("paper_bitbudget")
    assert len({tuple(job) for job in jobs}) == len(jobs)
    with initialize_config_module("configs", version_base="1.3"):
        for job in jobs:
            assert is_sound(job) or compose("config", overrides=job).method


def test_every_setting_of_a_claim_is_in_the_experiment() -> None:
    listed = {resolved(job, WIDTH) for job in jobs_of("paper_bitbudget")}
    asked = {setting for claim in CLAIMS for pair in claim.pairs for setting in (pair.a, pair.b)}
    asked |= {setting for setting, _ in THEIRS.values()}
    assert {(method, with_numbers(params, WIDTH)) for method, params in asked} <= listed


@pytest.mark.parametrize(
    "name, bytes_there",
    [("float32", 4096), ("float16", 2048), ("int4", 512), ("binary+rerank", 128), ("pq", 128), ("matryoshka", 1024)],
)
def test_charges_are_those_of_its_readme(name: str, bytes_there: float) -> None:
    assert charged(THEIRS[name][1], 1024) == bytes_there


class Made(Records):
    """Scores of four queries for each setting: 0.5 for float32, and 0.5 less what is given for the others."""

    def __init__(self, lost: np.ndarray) -> None:
        self.lost = lost

    def collections(self) -> list[tuple[str, str]]:
        return [("made", "model")]

    def find(self, collection: tuple[str, str], setting: tuple[str, str], metric: str = "") -> np.ndarray:
        half = np.full(len(self.lost), 0.5)
        # two seeds, whose mean is what counts
        return np.stack([half - self.lost + 0.1, half - self.lost - 0.1]) if setting != FLOAT32 else half[None]


@pytest.mark.parametrize(
    "lost, verdict",
    [
        ([0.001, 0.002, 0.001, 0.002], "holds"),
        ([0.02, 0.01, 0.02, 0.01], "fails"),
        ([0.2, -0.2, 0.1, -0.1], "not resolved"),
    ],
)
def test_lossless_means_less_than_one_percent_of_float32(lost: list[float], verdict: str) -> None:
    rows = list(bitbudget_claims.answers(Made(np.array(lost))))
    row = next(row for row in rows if row["claim"] == 1)
    assert row["a"] == "qdrant_binary oversampling=10" and row["b"] == "float32" and row["margin"] == 0.01
    assert row["verdict"] == verdict and row["difference"] == pytest.approx(-np.mean(lost), abs=1e-5)


def test_records_are_found_by_shares_of_the_dimensions(small_collection: Path, tmp_path: Path) -> None:
    overrides = ["method=truncate", "method.dim=d/4", "method.normalize=false"]
    run_id = run(configuration(small_collection, tmp_path, *overrides), "truncate", overrides)
    records = Records(tmp_path)
    (collection,) = records.collections()
    assert list(records.rows(collection, THEIRS["matryoshka"][0])["run_id"]) == [run_id]
    assert len(records.find(collection, THEIRS["matryoshka"][0])) == 1
    with pytest.raises(SystemExit, match="no run of float32"):
        records.rows(collection, FLOAT32)
