"""Codebooks that were fitted on too few documents are said to be so, wherever their figures stand."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.analysis.needs import Needs
from harness.analysis.recommend import Recommendation, recommend
from harness.cli import main
from harness.evaluation.measure import points_per_parameter
from harness.report.write import write_report
from harness.runs.frame import load_runs
from harness.runs.record import LEAST_POINTS, LEAST_VALUES
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


@pytest.mark.usefixtures("empty_figures")
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
    assert answer.choice is not None and answer.choice.name == "pq bits=2 m=8"
    assert any(note.startswith("pq m=8: left out") and "--trust-fitted" in note for note in answer.notes)
    alone = recommend(frame[frame["params"] != "bits=2 m=8"], Needs.parse(max_bytes="9"), store.per_query, store.read)
    trusted = recommend(frame, Needs.parse(max_bytes="9", trust_fitted=True), store.per_query, store.read)
    for answer in (alone, trusted):
        assert answer.choice is not None and answer.choice.name == "pq m=8"
        assert any("1.56 documents a centroid, fewer than 39" in note for note in answer.notes)


def test_numbers_a_parameter_are_those_a_centroid_of_a_codebook() -> None:
    n, d, centroids = 5000, 64, 256
    codebooks = {"examples": n, "parameters": centroids * d}
    assert points_per_parameter([codebooks], d) == n / centroids
    assert points_per_parameter([codebooks, {"examples": 10, "parameters": 100}], d) == 6.4, "the smallest counts"
    assert points_per_parameter([], d) is None
    assert points_per_parameter([{"data": "of an older part", "steps": 3}], d) is None


@pytest.mark.usefixtures("empty_figures")
def test_a_network_says_how_much_it_was_trained_on(
    small_collection: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("torch")
    caplog.set_level(logging.INFO)
    methods = {
        "float32": [],
        "autoencoder": ["method.dim=8", "method.steps=20"],
        "bebr": ["method.dim=32", "method.hidden=64", "method.steps=20"],
    }
    for name, more in methods.items():
        run(configuration(small_collection, tmp_path, f"method={name}", *more), name, [f"method={name}", *more])
    store, frame = Store(tmp_path), load_runs(tmp_path)
    figures = frame.set_index("method")["points_per_parameter"]
    # 90 % of 400 documents of 32 numbers, for a map to 8 dimensions and one back
    assert figures["autoencoder"] == 360 * 32 / (2 * 32 * 8) > LEAST_VALUES > figures["bebr"]
    assert pd.isna(figures["float32"])
    assert caplog.text.count("numbers a parameter") == 1
    write_report(frame, tmp_path / "report", per_query=store.per_query, site=False)
    (page,) = (path for path in (tmp_path / "report").glob("*.md") if "Pareto table" in path.read_text())
    assert f"(fewer than {LEAST_VALUES} numbers a parameter): bebr" in page.read_text()


def isotropic(folder: Path, n: int, m: int) -> list[str]:
    """Issue 17's collection: n directions of 32 dimensions, and m queries that are some of them with noise."""
    rng = np.random.default_rng(0)
    docs = rng.standard_normal((n, 32))
    docs /= np.linalg.norm(docs, axis=1, keepdims=True)
    queries = docs[:m] + 1.2 * rng.standard_normal((m, 32)) / np.sqrt(32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    np.save(folder / "docs.npy", docs.astype(np.float32))
    np.save(folder / "queries.npy", queries.astype(np.float32))
    lines = ["query-id\tcorpus-id\tscore", *(f"{row}\t{row}\t1" for row in range(m))]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    files = [f"dataset.{name}={folder / name}.npy" for name in ("docs", "queries")]
    return ["dataset=vectors", *files, f"dataset.qrels={folder / 'qrels.tsv'}"]


@pytest.mark.usefixtures("empty_figures")
def test_what_is_known_by_heart_is_ranked_by_other_documents(tmp_path: Path) -> None:
    given = [*isotropic(tmp_path, 500, 100), f"results_dir={tmp_path / 'results'}"]
    assert main(["sweep", "method=float32,binary", *given]) == 0
    assert main(["run", "method=pq", "method.m=4", *given]) == 0
    store = Store(tmp_path / "results")

    def answer(**more: bool) -> Recommendation:
        frame = load_runs(tmp_path / "results")
        return recommend(frame, Needs.parse(max_bytes="4", **more), store.per_query, store.read)  # type: ignore[arg-type]

    seen = answer(trust_fitted=True)
    assert seen.choice is not None and seen.choice.name == "pq m=4" and seen.choice.share is not None
    assert any("seen on these documents" in note for note in seen.notes)
    careful = answer()
    assert careful.choice is not None and careful.choice.name == "binary"
    assert any(note.startswith("pq m=4: left out") for note in careful.notes)
    write_report(load_runs(tmp_path / "results"), tmp_path / "report", per_query=store.per_query, site=False)
    (page,) = (path for path in (tmp_path / "report").glob("*.md") if "Pareto table" in path.read_text())
    assert "**Few training points** (fewer than 39 documents a centroid): pq m=4." in page.read_text()

    # on documents that left the collection, and on half of those that are searched
    assert main(["run", "method=pq", "method.m=4", "fit_sample=300", *given]) == 0
    half = answer()
    assert main(["run", "method=pq", "method.m=4", "fit_sample=300", "fit_disjoint=true", *given]) == 0
    apart = answer()
    frame = load_runs(tmp_path / "results").set_index("params")["retention"]
    for told, params in ((half, "fit_sample=300 m=4"), (apart, "fit_sample=300 fit_disjoint=true m=4")):
        assert told.choice is not None
        settings = [told.choice, *([] if told.runner_up is None else [told.runner_up.setting])]
        (pq,) = (setting for setting in settings if setting.name == "pq m=4")
        assert pq.unseen and pq.share is not None and pq.share.value < seen.choice.share.value
        assert pq.share.value == pytest.approx(frame[params], abs=1e-6)
        assert not any("left out, as" in note for note in told.notes)
