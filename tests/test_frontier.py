"""What transform coding promises on a real collection."""

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from harness.data.datasets.folder import Folder
from harness.data.models.vectors import VectorModel
from harness.evaluation.measure import Measurement, Problem, measure
from harness.runs.config import MethodSpec


@pytest.fixture(scope="module")
def problem(shared_data: Path) -> Problem:
    folder = shared_data / "scifact"
    dataset = Folder(path=str(folder)).load()
    docs, queries, _ = VectorModel(path=str(folder / "minilm.safetensors")).supply(dataset)
    return Problem.of(dataset, docs, queries, 100)


def run(problem: Problem, *overrides: str, fit_docs: np.ndarray | None = None) -> Measurement:
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=["~model", "~dataset", *overrides])
    return measure(MethodSpec(cfg.method).make, problem, fit_docs=fit_docs)


def means(measurement: Measurement) -> tuple[float, float]:
    per_query = measurement.per_query
    return float(per_query["ndcg_at_10"].mean()), float(per_query["overlap_at_10"].mean())


@pytest.mark.parametrize("codebook", ["product", "joint"])
def test_scifact_at_equal_bytes(problem: Problem, codebook: str) -> None:
    at = {
        nbytes: means(
            run(problem, "method=transform_coding", f"method.nbytes={nbytes}", f"method.codec.codebook={codebook}")
        )
        for nbytes in (48, 96)
    }
    assert at[48][0] >= 0.625 and at[48][1] >= 0.79
    assert at[96][1] >= 0.89


def test_scalars_learn_little_by_heart(problem: Problem) -> None:
    """Fitted on half of the corpus: the same within noise."""
    half = np.ascontiguousarray(problem.docs[::2])
    choice = ("method=transform_coding", "method.nbytes=48", "method.codec.codebook=product")
    whole, part = run(problem, *choice).per_query, run(problem, *choice, fit_docs=half).per_query
    for metric, least in (("ndcg_at_10", 0.004), ("overlap_at_10", 0.01)):
        difference = whole[metric] - part[metric]
        error = difference.std() / np.sqrt(len(difference))
        assert difference.mean() <= 2 * error + least


@pytest.mark.parametrize("states", [4, 64])
def test_more_states_come_closer_to_the_bound(problem: Problem, states: int) -> None:
    scalars = run(problem, "method=transform_coding", "method.codec.codebook=product")
    trellis = run(problem, "method=transform_trellis", f"method.codec.states={states}")
    ours, theirs = trellis.limits["vector"], scalars.limits["vector"]
    assert ours is not None and theirs is not None
    assert ours["db_over_bound"] < theirs["db_over_bound"] - (0.7 if states == 4 else 1.1)
