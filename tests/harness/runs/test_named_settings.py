"""Errors name what was typed, not the class that it reaches."""

from pathlib import Path

import numpy as np
import pytest

from harness.cli import main
from harness.runs.store import Store


@pytest.fixture
def vectors(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "docs.npy", rng.standard_normal((20, 100)).astype(np.float32))
    np.save(tmp_path / "queries.npy", rng.standard_normal((3, 100)).astype(np.float32))
    return [
        "dataset=vectors",
        f"dataset.docs={tmp_path / 'docs.npy'}",
        f"dataset.queries={tmp_path / 'queries.npy'}",
        "dataset.metric=cosine",
        f"results_dir={tmp_path / 'results'}",
    ]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["method=pq", "method.m=7"], "method=pq method.m=7: method.m=7 does not divide the 100 dimensions"),
        (["method=lancedb_pq"], "method=lancedb_pq: method.num_sub_vectors=24 does not divide"),
        (["method=svd192_int8"], "method=svd192_int8: method.dim=192 is wider than the vectors"),
        (
            ["method=opq", "method.m=10"],
            "method=opq method.m=10: 20 documents are fewer than the 256 centroids of method.bits=8",
        ),
        (
            ["method=rq", "method.m=8"],
            "method=rq method.m=8: method.beam=null trains on more and more of 100 principal",
        ),
        (
            ["method=mrq"],
            "method=mrq: method.dim and method.bits must have at most the 100 dimensions of the vectors, got 192",
        ),
        (["method=svd", "method.codec.dtype=int3"], "method.codec.dtype must be one of float32"),
        (["method=opq", "+method.codec.nothing=1"], "nothing is no parameter of it"),
        (["method=float32", "dataset.held_out=x"], "dataset.held_out must be int, got 'x'"),
        (["method=float32", "+dataset.nothing=x"], "dataset.nothing is no parameter of it"),
        (["method=float32", "model=minilm", "model.batch_size=0"], "model.batch_size must be at least 1, got 0"),
    ],
)
def test_an_error_names_what_was_typed(
    vectors: list[str], typed: list[str], said: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", *vectors, *typed]) == 1
    output = capfd.readouterr()
    (line,) = [line for line in (output.out + output.err).splitlines() if line.startswith("vecbudget: ")]
    assert said in line
    for record in Store(tmp_path / "results").records():
        assert record.error is not None and said in record.error and not record.error.startswith("MethodError")
