"""Engines other than torch, where they are installed; and what is said where they are not."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.base.errors import MissingExtraError, ModelError
from harness.data.models.saved_model import warn_of_slow_type
from harness.data.models.weights.shipped import shipped_bytes
from tests.harness.data.models.test_encoders import TEXTS, deep, local, tiny  # noqa: F401

torch = pytest.importorskip("torch")

PACKAGES = {"onnx": ("onnx", "onnxruntime"), "openvino": ("openvino",)}


def needed(backend: str) -> None:
    for package in PACKAGES[backend]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize("backend", PACKAGES)
@pytest.mark.parametrize("options", [{}, {"layers": 2}, {"compress": "low_rank", "keep": 0.5}])
def test_an_engine_gives_the_vectors_of_torch(tiny: Path, deep: Path, backend: str, options: dict[str, Any]) -> None:  # noqa: F811
    needed(backend)
    folder = deep if "layers" in options else tiny
    by_torch = local(folder, **options).encode(TEXTS, "document", None)
    other = local(folder, backend=backend, **options)
    np.testing.assert_allclose(other.encode(TEXTS, "document", None), by_torch, atol=1e-5)
    assert sum(parameter.numel() for parameter in other._model.parameters()) == 0, "no weights are held twice"


@pytest.mark.parametrize(("bits", "least"), [(8, 0.98), (4, 0.8)])
def test_quantized_by_onnx_runtime(tiny: Path, bits: int, least: float) -> None:  # noqa: F811
    needed("onnx")
    whole, small = local(tiny, backend="onnx"), local(tiny, backend="onnx", compress=f"int{bits}")
    cosine = (small.encode(TEXTS, "document", None) * whole.encode(TEXTS, "document", None)).sum(axis=1)
    assert least < cosine.mean() < 1 - 1e-6
    assert shipped_bytes(small._model) != shipped_bytes(whole._model)


def test_openvino_in_bfloat16(tiny: Path) -> None:  # noqa: F811
    needed("openvino")
    whole, half = local(tiny, backend="openvino"), local(tiny, backend="openvino", dtype="bfloat16")
    np.testing.assert_allclose(half.encode(TEXTS, "query", None), whole.encode(TEXTS, "query", None), atol=0.05)


@pytest.mark.parametrize("backend", PACKAGES)
def test_engines_that_are_not_installed(tiny: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    for package in PACKAGES[backend]:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"model.backend={backend} needs the package.*vecbudget\[{backend}\]"):
        local(tiny, backend=backend).encode(TEXTS, "document", None)


def test_what_cannot_be_converted_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    needed("openvino")
    import openvino

    def refuse(*given: Any, **named: Any) -> None:
        raise RuntimeError("an operation is not known")

    monkeypatch.setattr(openvino, "convert_model", refuse)
    with pytest.raises(ModelError, match="cannot be converted for model.backend=openvino: an operation is not known"):
        local(tiny, backend="openvino").encode(TEXTS, "document", None)


@pytest.mark.parametrize(
    ("dtype", "able", "said"),
    [
        ("bfloat16", {"architecture": "x86_64", "avx512_bf16": False}, True),
        ("bfloat16", {"architecture": "x86_64", "avx512_bf16": True}, False),
        ("float16", {"architecture": "x86_64", "avx512_bf16": True}, True),
        ("float32", {"architecture": "x86_64"}, False),
        ("bfloat16", {}, False),
    ],
)
def test_a_type_that_the_processor_lacks_is_said_to_be_slow(
    dtype: str,
    able: dict[str, Any],
    said: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    warn_of_slow_type(dtype)
    assert ("slower than with model.dtype=float32" in caplog.text) == said
