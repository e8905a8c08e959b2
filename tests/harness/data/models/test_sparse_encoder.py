"""Learned sparse models: tiny ones made here, and the packaged SPLADE."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.base.errors import ConfigError, MissingExtraError, ModelError
from harness.data.models import SparseEncoderModel, SpladeTiny, vocabulary_pooling
from harness.data.models.sparse_encoder import checked_terms
from harness.data.models.vocabulary_pooling import VocabularyPooling
from methods.representations import SparseVectors, as_sparse, exact_search
from tests.conftest import ROOT
from tests.harness.data.models.test_encoders import TEXTS, VOCABULARY

WIDTH = VOCABULARY.count("\n") + 1


def save_masked_model(folder: Path, architecture: str) -> Path:
    """Save a random one-layer model with a head over the vocabulary."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("sentence_transformers")
    import transformers

    folder.mkdir()
    (folder / "vocab.txt").write_text(VOCABULARY)
    transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=16).save_pretrained(folder)
    torch.manual_seed(0)
    if architecture == "bert":
        sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
        config = transformers.BertConfig(vocab_size=WIDTH, max_position_embeddings=16, initializer_range=0.5, **sizes)
        model = transformers.BertForMaskedLM(config)
        torch.nn.init.normal_(model.cls.predictions.bias)
    else:
        sizes = {"dim": 12, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
        config = transformers.DistilBertConfig(
            vocab_size=WIDTH, max_position_embeddings=16, initializer_range=0.5, **sizes
        )
        model = transformers.DistilBertForMaskedLM(config)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model as transformers saves it."""
    return save_masked_model(tmp_path_factory.mktemp("masked") / "tiny-splade", "bert")


@pytest.fixture(scope="module")
def inference_free(masked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose queries are a table of weights."""
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    plain = SparseEncoder(str(masked), device="cpu")
    table = SparseStaticEmbedding(plain.tokenizer, weight=torch.arange(WIDTH).float() / 8)
    router = Router.for_query_document(query_modules=[table], document_modules=list(plain))
    folder = tmp_path_factory.mktemp("free") / "tiny-free"
    SparseEncoder(modules=[router], device="cpu").save(str(folder))
    return folder


def local(folder: Path, **options: Any) -> SparseEncoderModel:
    return SparseEncoderModel(name=str(folder), device="cpu", **options)


def own(folder: Path, texts: list[str], role: str = "document", **options: Any) -> np.ndarray:
    """What sentence-transformers makes of texts."""
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(folder), device="cpu", **options)
    encode = model.encode_document if role == "document" else model.encode_query
    return encode(texts, show_progress_bar=False).to_dense().numpy()


def dense(terms: SparseVectors) -> np.ndarray:
    return as_sparse(terms, "terms").to_csr().toarray()


@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
def test_weights_are_those_of_sentence_transformers(tmp_path: Path, architecture: str) -> None:
    folder = save_masked_model(tmp_path / architecture, architecture)
    encoder = local(folder, batch_size=4)
    assert VocabularyPooling.of(encoder._model, "document") is not None
    terms = encoder.encode(TEXTS, "document", None)
    np.testing.assert_allclose(dense(terms), own(folder, TEXTS), atol=1e-5)
    assert terms.shape == (len(TEXTS), WIDTH) and encoder.gives == "terms"


@pytest.mark.parametrize(("terms", "tokens"), [(256, 512), (5, 20), (1, 1)])
def test_both_ways_give_the_same(masked: Path, monkeypatch: pytest.MonkeyPatch, terms: int, tokens: int) -> None:
    monkeypatch.setattr(vocabulary_pooling, "TERM_BLOCK", terms)
    monkeypatch.setattr(vocabulary_pooling, "TOKEN_BLOCK", tokens)
    encoder = local(masked, document_prompt="the cat ", batch_size=2)
    by_blocks = dense(encoder.encode(TEXTS, "document", None))
    assert np.abs(by_blocks - dense(local(masked).encode(TEXTS, "document", None))).max() > 0.01
    monkeypatch.setattr(VocabularyPooling, "of", lambda model, role: None)
    np.testing.assert_allclose(dense(encoder.encode(TEXTS, "document", None)), by_blocks, atol=1e-5)


def test_a_row_depends_on_its_text_alone(masked: Path) -> None:
    encoder = local(masked)
    alone = [dense(encoder.encode([text], "query", None))[0] for text in TEXTS]
    np.testing.assert_allclose(dense(encoder.encode(TEXTS, "query", None)), alone, atol=1e-5)


def test_the_largest_weights_are_kept(masked: Path) -> None:
    terms = local(masked, max_active_dims=3).encode(TEXTS, "document", None)
    whole = dense(local(masked).encode(TEXTS, "document", None))
    assert terms.counts.tolist() == [3] * len(TEXTS)
    for row, kept in zip(whole, dense(terms), strict=True):
        np.testing.assert_allclose(np.sort(kept)[-3:], np.sort(row)[-3:], atol=1e-5)


def test_queries_of_an_inference_free_model_are_its_table(inference_free: Path) -> None:
    encoder = local(inference_free)
    cat = VOCABULARY.split("\n").index("cat")
    queries = encoder.encode(["cat cat", "the river"], "query", None)
    assert (
        queries.terms[0] == cat and queries.weights[0] == pytest.approx(cat / 8) and queries.counts.tolist() == [1, 2]
    )
    assert VocabularyPooling.of(encoder._model, "document") is not None
    assert VocabularyPooling.of(encoder._model, "query") is None
    np.testing.assert_allclose(dense(encoder.encode(TEXTS, "document", None)), own(inference_free, TEXTS), atol=1e-5)


def test_the_identity_is_what_changes_weights(masked: Path) -> None:
    def identity(**options: Any) -> str:
        return json.dumps(local(masked, **options).identity("document", None))

    different = [
        identity(**{name: value})
        for name, value in [("max_active_dims", 3), ("max_length", 8), ("document_prompt", "x"), ("dtype", "float16")]
    ]
    assert len({identity(), *different}) == 5
    assert identity(batch_size=1, query_prompt="x") == identity()
    assert local(masked, max_active_dims=3, max_length=8).label == "tiny-splade max_active_dims=3 max_length=8"


def test_cosine_is_the_inner_product_at_unit_length(inference_free: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cosine"
    shutil.copytree(inference_free, folder)
    settings = folder / "config_sentence_transformers.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"similarity_fn_name": "cosine"}))
    terms = local(folder).encode(TEXTS, "document", None)
    np.testing.assert_allclose(np.linalg.norm(dense(terms), axis=1), 1, atol=1e-5)
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"similarity_fn_name": "euclidean"}))
    with pytest.raises(ModelError, match="compares terms by euclidean"):
        local(folder).identity("document", None)


def test_what_is_no_sparse_model_is_refused(masked: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    with pytest.raises(ModelError, match="model=sentence_transformer"):
        local(tmp_path).identity("query", None)
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "SentenceTransformer"}))
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertForMaskedLM"]}))
    with pytest.raises(ModelError, match="model=sentence_transformer"):
        local(tmp_path).identity("query", None)
    with pytest.raises(ConfigError, match="max_active_dims must be at least 1"):
        local(masked, max_active_dims=0)
    with caplog.at_level(logging.WARNING):
        local(masked).identity("query", None)
    assert "as in SPLADE" in caplog.text


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1.0])
def test_weights_that_are_none_name_their_text(weight: float) -> None:
    terms = SparseVectors(np.array([0, 1, 3]), np.array([4, 2, 5], np.uint32), np.array([1, 2, weight], np.float32), 9)
    with pytest.raises(ModelError, match="for term 5 of text 1 \\('b'\\)"):
        checked_terms(terms, ["a", "b"], "m")
    with pytest.raises(ModelError, match="2 texts for 3"):
        checked_terms(terms, ["a", "b", "c"], "m")


@pytest.fixture(scope="module")
def tiny() -> SpladeTiny:
    try:
        SpladeTiny().identity("query", None)
    except MissingExtraError as error:
        pytest.skip(str(error))
    return SpladeTiny(device="cpu")


def test_the_packaged_model_is_identified_and_run_without_its_package(tiny: SpladeTiny) -> None:
    script = """
import sys
from harness.data.models import SpladeTiny
print(SpladeTiny().identity("query", None))
assert "torch" not in sys.modules
SpladeTiny(device="cpu").encode(["a cat"], "query", None)
assert "cognition" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "'max_length': 256" in done.stdout and "no modules.json" not in done.stderr


def test_the_packaged_model_finds_what_is_meant(tiny: SpladeTiny, shared_data: Path) -> None:
    with (shared_data / "limit-small" / "corpus.jsonl").open(encoding="utf-8") as lines:
        given = [json.loads(line) for line in lines]
    texts = [f"{row.get('title', '')} {row['text']}".strip() for row in given]
    docs = tiny.encode(texts, "document", None)
    # measured apart from this code, by the reference's own pooling
    assert docs.width == 30_522 and docs.counts.mean() == pytest.approx(308, abs=0.5) and docs.counts.max() == 404
    assert docs.weights.max() == pytest.approx(2.44, abs=5e-3)
    name = texts[7].split()[0]
    assert exact_search(tiny.encode([f"Who is {name}?"], "query", None), docs, 1)[1].tolist() == [[7]]


def test_other_weights_are_refused(tiny: SpladeTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpladeTiny, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="is not the published model"):
        SpladeTiny().encode(["x"], "query", None)
    monkeypatch.setattr(SpladeTiny, "PACKAGE", "no-such-package")
    with pytest.raises(MissingExtraError, match=r"vecbudget\[splade\]"):
        SpladeTiny().identity("query", None)
    assert SpladeTiny(max_active_dims=8, max_length=512).label == "splade-tiny max_active_dims=8 max_length=512"
