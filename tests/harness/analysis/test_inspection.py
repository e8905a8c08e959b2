"""`vecbudget inspect` as a user meets it."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from harness.analysis.diagnostics import BOTH_ROLES, diagnose
from harness.analysis.inspection import LABELS, Inspected, Inspection
from harness.analysis.long_mean import LONG_MEAN
from harness.base.sampling import sampled
from harness.cli import main
from harness.data.datasets.folder import Folder
from harness.data.models.vectors import VectorModel
from harness.evaluation.measure import Problem, measure
from harness.report.inspection import as_json, text
from harness.runs.hydra_command import with_mode
from methods import Cast, Sign


@pytest.fixture
def setting(small_collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return [
        "dataset=folder",
        f"dataset.path={small_collection}",
        "model=vectors",
        f"model.path={small_collection / 'vectors.safetensors'}",
    ]


@pytest.fixture
def other(small_collection: Path, tmp_path: Path) -> list[str]:
    """A second model that is the first, turned, for documents."""
    vectors = load_file(small_collection / "vectors.safetensors")
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((32, 32)))[0]
    path = tmp_path / "other.safetensors"
    save_file({name: (part @ turn).astype(np.float32) for name, part in vectors.items()}, path)
    return ["model@other=vectors", f"other.path={path}"]


def documents_with_a_mean(length: float, n: int = 400, dim: int = 32, seed: int = 0) -> np.ndarray:
    """Unit vectors, float32 (n, dim), whose mean has about this length, in all dimensions alike."""
    rng = np.random.default_rng(seed)
    around = rng.standard_normal((n, dim)) / np.sqrt(dim)
    made = length * np.sign(rng.standard_normal(dim)) / np.sqrt(dim) + np.sqrt(1 - length**2) * around
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(length=st.floats(0.0, 0.95), scale=st.floats(0.1, 10.0), seed=st.integers(0, 2**32 - 1))
def test_where_signs_will_fail_there_is_a_warning_with_the_length_of_the_mean(
    length: float, scale: float, seed: int
) -> None:
    documents = documents_with_a_mean(length, seed=seed)
    longer = documents * (scale * np.random.default_rng(seed).uniform(0.5, 2, (len(documents), 1))).astype(np.float32)
    one = Inspected("some-model", diagnose(longer), diagnose(longer[:20], longer))
    measured = float(np.linalg.norm(documents.mean(axis=0, dtype=np.float64)))
    assert one.mean_length == pytest.approx(measured, abs=1e-4)
    found = Inspection("data", len(documents), 20, [one])
    if abs(measured - LONG_MEAN) > 1e-3:
        assert bool(found.warnings) == (measured > LONG_MEAN)
    for warning in found.warnings:
        assert f"The mean document of some-model has length {measured:.2f}" in warning
        assert warning in " ".join(text(found).split())
    assert as_json(found)["warnings"] == found.warnings


@pytest.mark.parametrize(
    ("name", "length", "kept"), [("e5", 0.90, 0.58), ("mpnet", 0.35, 0.99), ("minilm", 0.31, 0.96)]
)
def test_models_whose_signs_fail_are_those_that_are_warned_of(
    shared_data: Path,
    name: str,
    length: float,
    kept: float,
) -> None:
    folder = shared_data / "mlquestions-half"
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    dataset = Folder(path=str(folder)).load()
    docs, queries, _ = VectorModel(path=str(path)).supply(dataset)
    docs, queries = np.array(docs, dtype=np.float32), np.array(queries, dtype=np.float32)
    one = Inspected(name, diagnose(docs[::2]), diagnose(queries, docs[::2]))
    assert one.mean_length == pytest.approx(length, abs=0.02)
    assert bool(Inspection(name, len(docs), len(queries), [one]).warnings) == (kept < 0.9)
    problem = Problem.of(dataset, docs, queries, 100)
    signs, plain = (measure(make, problem).per_query["ndcg_at_10"].mean() for make in (Sign, Cast))
    share = signs / plain
    assert share == pytest.approx(kept, abs=0.02)


def test_every_figure_has_a_label() -> None:
    assert set(LABELS) == set(BOTH_ROLES)


def test_it_prints_and_writes(
    setting: list[str], other: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    assert main(["inspect", *setting, *other, f"out={out}"]) == 0
    printed = capsys.readouterr().out
    assert all(label in printed for label, _ in LABELS.values())
    assert "linear CKA" in printed and "drawn at random" not in printed
    names = {"inspect.md", "inspect.json", "inspect.png", "inspect.svg"}
    assert {path.name for path in out.iterdir()} == names
    found = json.loads((out / "inspect.json").read_text())
    assert found["n_docs"] == 400 and found["n_queries"] == 30
    first, second = found["sets"]
    assert set(first["documents"]["figures"]) == set(BOTH_ROLES)
    assert first["documents"]["figures"]["rankme"] == pytest.approx(second["documents"]["figures"]["rankme"], rel=1e-4)
    assert found["agreement"]["linear_cka"] == pytest.approx(1, abs=1e-4)
    assert found["agreement"]["neighbour_overlap_at_10"] > 0.99
    page = (out / "inspect.md").read_text()
    assert "fewer queries than dimensions" in page and "model@other=vectors" in page


def test_a_sample_is_said_and_is_always_the_same(setting: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    pages = []
    for _ in range(2):
        assert main(["inspect", *setting, "sample=100"]) == 0
        pages.append(capsys.readouterr().out)
    assert "Computed on 100 of 400 documents, drawn at random (seed 0)." in pages[0]
    assert pages[0] == pages[1]
    assert sampled(5, 5).tolist() == [0, 1, 2, 3, 4]
    rows = sampled(1000, 10)
    assert len(set(rows)) == 10 and (np.diff(rows) > 0).all()


@pytest.mark.parametrize(
    "overrides, expected",
    [
        (["sample=1"], "sample must be at least 2, got 1"),
        (["smaple=5"], "there is no option 'smaple'; did you mean 'sample'?"),
        (["method=int8"], "there is no option 'method'"),
        (["model@other=nope"], "there is no model 'nope'"),
        (["model@other=vectors", "other.path=nowhere.npz"], "nowhere.npz"),
        (["out=/dev/null/x"], "out: /dev/null/x cannot be written"),
    ],
)
def test_a_wrong_option_is_one_readable_line(
    overrides: list[str], expected: str, setting: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", *setting, *overrides]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vecbudget: ")]
    assert len(lines) == 1 and expected in lines[0]


@pytest.mark.parametrize("command", ["run", "inspect"])
@pytest.mark.parametrize("arguments", [["seed=3", "--cfg", "job"], ["--cfg", "job", "seed=3"], ["--cfg", "job"]])
def test_the_configuration_is_shown(command: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    given = [text.replace("seed", "sample") if command == "inspect" else text for text in arguments]
    assert main([command, *given]) == 0
    shown = capsys.readouterr().out
    changed = "sample: 3" if command == "inspect" else "seed: 3"
    assert "cache_dir:" in shown and (changed in shown) == (len(arguments) == 3)


def test_the_mode_goes_among_the_overrides() -> None:
    assert with_mode(["a=1", "--cfg", "job"], "RUN") == ["hydra.mode=RUN", "a=1", "--cfg", "job"]
    assert with_mode(["--config-dir", "x=y", "~a"], "RUN") == ["--config-dir", "x=y", "hydra.mode=RUN", "~a"]
    assert with_mode(["--cfg", "job"], "RUN") == ["--cfg", "job", "hydra.mode=RUN"]


@pytest.mark.parametrize("model", ["minilm_tokens", "bm25"])
def test_one_vector_a_document_is_diagnosed_and_nothing_else(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "dataset=stdlib", f"model={model}"]) != 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vecbudget: ")]
    assert len(lines) == 1 and "inspect diagnoses one vector a document, but model=" in lines[0]


def test_a_real_collection_is_inspected(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shared_data / "scifact"
    vectors = ["model=vectors", f"model.path={folder / 'minilm.safetensors'}"]
    assert main(["inspect", "dataset=folder", f"dataset.path={folder}", *vectors]) == 0
    assert "5,183 documents and 300 queries of 384 dimensions." in capsys.readouterr().out
