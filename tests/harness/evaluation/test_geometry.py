"""How documents fill the space: by hand, and against the diagnostics of `vecbudget inspect`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.diagnostics import diagnose
from harness.analysis.inspection import Inspected
from harness.evaluation.geometry import Geometry


def test_by_hand() -> None:
    found = Geometry.of(np.array([[3, 0], [0, 4], [0, 0]], dtype=np.float32))
    assert found.mean_length == pytest.approx(np.sqrt(2) / 3)
    assert found.norm_spread == pytest.approx(np.std([3, 4, 0]) / (7 / 3))
    assert Geometry.of(np.zeros((2, 3), dtype=np.float32)) == Geometry(0.0, 0.0, 0)
    assert Geometry.of(np.ones((5, 4), dtype=np.float16)).as_record() == {
        "mean_length": 1.0,
        "norm_spread": 0.0,
        "outlier_dimensions": 0,
    }


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(50, 300),
    dim=st.integers(2, 40),
    shift=st.floats(0, 5),
    outlier=st.floats(0, 100),
    seed=st.integers(0, 1000),
)
def test_is_what_inspect_says(n: int, dim: int, shift: float, outlier: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    docs = (rng.standard_normal((n, dim)) + shift + outlier * (np.arange(dim) == 1)).astype(np.float32)
    found, diagnosis = Geometry.of(docs), diagnose(docs)
    assert found.mean_length == pytest.approx(Inspected("m", diagnosis, diagnosis).mean_length, abs=1e-5)
    assert found.norm_spread == pytest.approx(diagnosis.figures["norm_spread"], rel=1e-6)
    assert found.outlier_dimensions == diagnosis.figures["outlier_dimensions"]
