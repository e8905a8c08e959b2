"""The same vectors and judgements through MTEB's own evaluation and through ours."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from safetensors.numpy import load_file

from harness.data.datasets.folder import Folder
from harness.data.models.vectors import VectorModel
from harness.evaluation.measure import Problem, measure
from harness.runs.config import MethodSpec
from tests.harness.exchange.mteb.mteb_folder_task import Precomputed, folder_task
from tests.lazy_packages import LazyPackage

mteb = LazyPackage("mteb")
pytestmark = mteb.mark

PUBLISHED = {  # all-MiniLM-L6-v2 on SciFact, in MTEB's results
    "ndcg_at_10": 0.64508,
    "ndcg_at_1": 0.50333,
    "ndcg_at_100": 0.67665,
    "map_at_100": 0.60307,
    "mrr_at_10": 0.60472,
    "recall_at_10": 0.78333,
    "recall_at_100": 0.925,
}


@pytest.fixture(scope="module")
def scifact(shared_data: Path) -> Path:
    return shared_data / "scifact"


@pytest.fixture(scope="module")
def problem(scifact: Path) -> Problem:
    dataset = Folder(path=str(scifact)).load()
    docs, queries, _ = VectorModel(path=str(scifact / "minilm.safetensors")).supply(dataset)
    return Problem.of(dataset, docs, queries, 100)


def ours(problem: Problem, *overrides: str) -> dict[str, float]:
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=["~model", "~dataset", *overrides])
    measurement = measure(MethodSpec(cfg.method).make, problem)
    return {name: float(values.mean()) for name, values in measurement.per_query.items()}


def theirs(scifact: Path, output_dtype: str | None = None) -> dict[str, float]:
    from mteb.models.compression_wrappers import CompressionWrapper
    from mteb.types import OutputDType

    arrays = load_file(scifact / "minilm.safetensors")
    model = Precomputed(arrays["docs"], arrays["queries"])
    if output_dtype is not None:
        model = CompressionWrapper(model, OutputDType(output_dtype))
    task = folder_task(scifact)
    result = mteb.evaluate(model, task, cache=None, overwrite_strategy="always", show_progress_bar=False)
    return dict(result.task_results[0].scores["test"][0])


def test_float32_is_the_published_row(problem: Problem) -> None:
    measured = ours(problem, "method=float32")
    assert {name: round(measured[name], 5) for name in PUBLISHED} == PUBLISHED


def test_float32_equals_mtebs_own_evaluation(problem: Problem, scifact: Path) -> None:
    measured, expected = ours(problem, "method=float32"), theirs(scifact)
    for name in PUBLISHED:
        assert measured[name] == pytest.approx(expected[name], abs=1e-5), name


@pytest.mark.parametrize(
    "overrides, published, output_dtype",
    [
        (["method=mteb_int", "method.bits=8"], 0.64351, "int8"),
        (["method=mteb_int", "method.bits=8", "method.signed=false"], 0.64556, "uint8"),
        (["method=mteb_int", "method.bits=4"], 0.64198, "int4"),
        (["method=binary", "method.scoring=raw_codes"], 0.57492, "binary"),
        (["method=float8", "method.scale=none", "method.scoring=raw_codes"], 0.64647, "float8_e4m3fn"),
    ],
)
def test_mtebs_compression_wrapper_is_a_named_convention(
    overrides: list[str], published: float, output_dtype: str, problem: Problem, scifact: Path
) -> None:
    measured = ours(problem, *overrides)["ndcg_at_10"]
    assert measured == pytest.approx(published, abs=1e-4)
    assert measured == pytest.approx(theirs(scifact, output_dtype)["ndcg_at_10"], abs=1e-4)


def test_ours_on_scifact(problem: Problem) -> None:
    """What the decoded document and the float query are worth, next to the conventions above."""
    int8 = ours(problem, "method=int8")
    assert 0.643 <= int8["ndcg_at_10"] <= 0.648 and int8["overlap_at_10"] >= 0.98
    assert ours(problem, "method=float16")["ndcg_at_10"] == pytest.approx(0.64508, abs=1e-5)
    assert ours(problem, "method=svd192_int8")["ndcg_at_10"] >= 0.640
    assert ours(problem, "method=binary")["ndcg_at_10"] == pytest.approx(0.62285, abs=1e-5)
    assert ours(problem, "method=binary_hamming")["ndcg_at_10"] == pytest.approx(0.588, abs=0.003)
