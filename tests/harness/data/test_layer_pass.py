"""One pass that fills the cache for several layers."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.base.errors import ModelError
from harness.data.datasets import Dataset
from harness.data.embedding_cache import embed
from harness.data.layer_pass import fill_layers
from tests.harness.data.models.test_encoders import TEXTS, deep, local, tiny  # noqa: F401

torch = pytest.importorskip("torch")


@pytest.fixture
def dataset() -> Dataset:
    names = [f"d{row}" for row in range(len(TEXTS))]
    return Dataset.build(
        name="toy",
        doc_ids=names,
        doc_texts=TEXTS,
        query_ids=["q0", "q1"],
        query_texts=["the cat", "money"],
        qrels={"q0": {"d0": 1}, "q1": {"d5": 1}},
    )


def test_a_pass_leaves_what_cut_models_give(
    deep: Path,  # noqa: F811
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill_layers(dataset, local(deep, batch_size=2), [3, 0, 1], tmp_path)
    by_cuts = {layer: local(deep, layers=layer, batch_size=2) for layer in (0, 1, 3)}
    for layer, cut in by_cuts.items():
        monkeypatch.setattr(type(cut), "_model", property(lambda self: pytest.fail("it is encoded already")))
        found = embed(dataset, local(deep, layers=layer, batch_size=2), tmp_path)
        monkeypatch.undo()
        np.testing.assert_allclose(found.docs, cut.encode(dataset.doc_texts, "document", None), atol=1e-5)
        np.testing.assert_allclose(found.queries, cut.encode(dataset.query_texts, "query", None), atol=1e-5)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    assert len(before) == 6
    fill_layers(dataset, local(deep), [0, 1, 2], tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 8
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 2}, "layers=2 is none"),
        ({"backend": "onnx"}, "backend=onnx is none"),
        ({"compress": "int8"}, "compress=int8 is none"),
    ],
)
def test_models_that_give_no_layers(
    deep: Path,  # noqa: F811
    dataset: Dataset,
    tmp_path: Path,
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ModelError, match=message):
        fill_layers(dataset, local(deep, **options), [1], tmp_path)


def test_layers_that_are_not_there(deep: Path, dataset: Dataset, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(ModelError, match="layers=4, but .*deep-model has 3"):
        fill_layers(dataset, local(deep), [4], tmp_path)


@pytest.mark.parametrize("kind", ["ModernBert", "Llama"])
def test_the_final_norm_of_pre_norm_models_is_run_on_every_layer(kind: str) -> None:
    """As a cut model runs it on its last block; the states that a transformer gives out lack it."""
    import transformers

    from harness.data.models.layers import cut, reading_layers

    torch.manual_seed(0)
    sizes = {"vocab_size": 16, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = getattr(transformers, f"{kind}Config")(**sizes, intermediate_size=24, pad_token_id=0)
    transformer = getattr(transformers, f"{kind}Model")(config).eval()
    ids = torch.tensor([[1, 2, 3, 4]])

    class First(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.auto_model = model

        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            return {**features, "token_embeddings": self.auto_model(input_ids=ids).last_hidden_state}

    class Mean(torch.nn.Module):  # type: ignore[misc]
        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            return {**features, "sentence_embedding": features["token_embeddings"].mean(dim=1)}

    def model_of(inner: Any) -> Any:
        made = torch.nn.Sequential(First(inner), Mean())
        made.truncate_dim = None
        return made

    whole = model_of(transformer)
    with torch.inference_mode(), reading_layers(whole, [0, 1, 2, 3], "it"):
        found = whole({})["sentence_embedding"].reshape(4, 16)
    for layer in range(4):
        fresh = copy.deepcopy(transformer)
        cut(fresh, layer, "it")
        with torch.inference_mode():
            alone = model_of(fresh)({})["sentence_embedding"][0]
        np.testing.assert_allclose(found[layer].numpy(), alone.numpy(), atol=1e-5)
