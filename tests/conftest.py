import functools
import json
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from safetensors.numpy import save_file

from harness.cli import main
from harness.runs.catalogue import members, method_card
from harness.runs.config import MethodSpec
from methods.base import Codes

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real collections that lie beside a developer's checkout; tests that use them skip where they are absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real collections (../shared/data) are not here")
    return SHARED_DATA


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Vecbudget(Protocol):
    def __call__(self, *arguments: str, cwd: Path, check: bool = False) -> Done: ...


@pytest.fixture
def vecbudget(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Vecbudget:
    """The command as it is called in a folder, in this process: a new one needs two seconds for its imports."""

    def run(*arguments: str, cwd: Path, check: bool = False) -> Done:
        monkeypatch.chdir(cwd)
        capsys.readouterr()
        done = Done(main(arguments), *capsys.readouterr())
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def empty_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports whose figures are empty files, for tests of their texts: drawing takes most of the time of a report."""

    def save(figure: object, stem: Path) -> list[Path]:
        files = [stem.with_name(f"{stem.name}{suffix}") for suffix in (".png", ".svg")]
        for file in files:
            file.touch()
        return files

    monkeypatch.setattr("harness.report.figures.style.save", save)


@functools.cache
def methods_for(kind: str) -> list[str]:
    """The methods whose yaml says that they take documents of a kind: "vectors" (where it says nothing), "terms"..."""
    return [name for name, entry in members("method").items() if method_card(entry).get("takes", "vectors") == kind]


@functools.cache
def _node(name: str) -> DictConfig:
    return OmegaConf.create({"seed": 0, "method": OmegaConf.create(members("method")[name].read_text("utf-8"))})


def method_node(name: str, seed: int = 0, only: Container[str] | None = None) -> DictConfig:
    """A yaml as the `method` of a run, with what it names for tests, or `only` such parameters of it.

    Hydra would say the same, and take a tenth of a second: `test_yamls_are_plain` of the contract.
    """
    run = _node(name).copy()
    run.seed = seed
    for key, value in (run.method.about.get("test") or {}).items():
        if only is None or key in only:
            run.method[key] = value
    node = run.method
    assert isinstance(node, DictConfig)
    return node


@functools.cache
def settings_of(name: str, **changes: float) -> dict[str, object]:
    """What a yaml says its class takes, its own parameters resolved, as `MethodSpec` reads it."""
    node = method_node(name)
    for key, value in changes.items():
        node[key] = value
    return MethodSpec(node).settings


def bytes_of(codes: Codes) -> dict[str, bytes]:
    """The bytes of every array of some codes."""
    return {key: np.ascontiguousarray(array).tobytes() for key, array in codes.to_arrays().items()}


def clustered_vectors(n: int, d: int, seed: int = 0, clusters: int = 20) -> np.ndarray:
    """Unit vectors with the two properties of real embeddings that matter: clusters, and a decaying spectrum."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(12345)
    spectrum = np.exp(-np.arange(d) / (d / 3))
    centres = shared.standard_normal((clusters, d)) * spectrum + 0.3 * spectrum
    rotation = np.linalg.qr(shared.standard_normal((d, d)))[0]
    vectors = (centres[rng.integers(clusters, size=n)] + 0.8 * rng.standard_normal((n, d)) * spectrum) @ rotation
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def small_collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR folder of 400 documents and 30 queries with vectors in `vectors.safetensors`: no model needed."""
    folder = tmp_path_factory.mktemp("small")
    rng = np.random.default_rng(7)
    docs, queries = clustered_vectors(400, 32, seed=3), clustered_vectors(30, 32, seed=4)
    ids = [f"d{i:03d}" for i in rng.permutation(400)]
    lines = [json.dumps({"_id": doc_id, "title": f"title {doc_id}", "text": f"text {doc_id}"}) for doc_id in ids]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    lines = [json.dumps({"_id": f"q{i}", "text": f"query {i}"}) for i in range(30)]
    (folder / "queries.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "qrels").mkdir()
    best = np.argsort(-(queries @ docs.T), axis=1)
    rows = [f"q{i}\t{ids[row]}\t{3 - place}" for i in range(30) for place, row in enumerate(best[i, [0, 2, 5]])]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")
    save_file({"docs": docs, "queries": queries}, folder / "vectors.safetensors")
    return folder
