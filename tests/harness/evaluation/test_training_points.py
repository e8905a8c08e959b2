"""Codebooks that were fitted on too few documents are said to be so, wherever their figures stand."""

import logging
from pathlib import Path

import pytest

from harness.analysis.needs import Needs
from harness.analysis.recommend import recommend
from harness.report.write import write_report
from harness.runs.frame import load_runs
from harness.runs.record import LEAST_POINTS
from harness.runs.store import Store
from methods import AnisotropicPQ, Chain, FaissCodec, PerDimension, RandomRotation
from tests.harness.runs.test_run import configuration, run


def test_codebooks_say_their_size_in_chains_too() -> None:
    for codec, size in (
        (FaissCodec(factory="PQ{m}x{bits}np", m=4, bits=6), 64),
        (FaissCodec(factory="RQ{m}x{bits}", m=4, bits=8), 256),
        (FaissCodec(factory="PRQ{splits}x{m}x{bits}", splits=2, m=2, bits=5), 32),
        (FaissCodec(factory="SQ8"), 0),
        (AnisotropicPQ(m=4, bits=4), 16),
        (PerDimension(bits=8), 0),
    ):
        assert codec.codebook_size == size
        assert Chain(transforms=[RandomRotation()], codec=codec).codebook_size == size


def test_few_points_are_recorded_called_out_and_told(
    small_collection: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name, more in (("float32", []), ("int8", []), ("pq", ["method.m=8"]), ("pq", ["method.m=8", "method.bits=2"])):
        cfg = configuration(small_collection, tmp_path, f"method={name}", *more)
        run(cfg, name, [f"method={name}", *more])
    store, frame = Store(Path(cfg.results_dir)), load_runs(cfg.results_dir)
    points = frame.set_index(["method", "params"])["points_per_centroid"]
    assert points["pq", "m=8"] == 400 / 256 < LEAST_POINTS <= points["pq", "bits=2 m=8"] == 400 / 4
    assert points.isna()["int8", ""]
    assert caplog.text.count("fitted on only 1.56 documents a centroid") == 1
    write_report(frame, tmp_path / "report", per_query=store.per_query, site=False)
    (page,) = (path for path in (tmp_path / "report").glob("*.md") if "Pareto table" in path.read_text())
    assert "**Few training points** (fewer than 39 documents a centroid): pq m=8." in page.read_text()
    answer = recommend(frame, Needs.parse(max_bytes="9"), store.per_query, store.read)
    assert answer.choice is not None and answer.choice.name == "pq m=8"
    assert any("1.56 documents a centroid, fewer than 39" in note for note in answer.notes)
