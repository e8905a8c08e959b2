"""Static models: read, distilled, cut, and compressed as a table of token vectors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from harness.base.errors import CacheError, ConfigError, ModelError
from harness.data.models import StaticModel, static
from harness.data.models.token_table import TokenTable, distilled
from harness.runs.config import shared
from methods import Cast, Chain, FaissCodec, PerDimension, QueryMap
from tests.harness.data.models.test_encoders import TEXTS, tiny  # noqa: F401
from tests.lazy_packages import LazyPackage

torch, sentence_transformers = LazyPackage("torch"), LazyPackage("sentence_transformers")

WORDS = ["[UNK]", "cat", "dog", "fish", "the"]
ROWS = np.random.default_rng(0).standard_normal((len(WORDS), 6)).astype(np.float32)


def save_tokenizer(path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))


@pytest.fixture
def model2vec(tmp_path: Path) -> Path:
    folder = tmp_path / "m2v"
    folder.mkdir()
    save_tokenizer(folder / "tokenizer.json")
    save_file({"embeddings": ROWS}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True}))
    return folder


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_a_text_is_the_mean_of_its_known_tokens(model2vec: Path) -> None:
    model = StaticModel(name=str(model2vec))
    vectors = model.encode(["the cat", "cat cat dog", "zebra fish", "zebra", ""], "query", None)
    expected = unit(np.array([ROWS[[4, 1]].mean(0), ROWS[[1, 1, 2]].mean(0), ROWS[3]]))
    np.testing.assert_allclose(vectors[:3], expected, atol=1e-6)
    assert not vectors[3:].any(), "without a known token there is nothing to add up"
    assert vectors.dtype == np.float32
    cut = StaticModel(name=str(model2vec), max_length=1).encode(["dog cat"], "document", None)
    np.testing.assert_allclose(cut[0], unit(ROWS[2]), atol=1e-6)


def test_sizes_are_those_of_the_files(model2vec: Path) -> None:
    tokenizer = (model2vec / "tokenizer.json").stat().st_size
    whole = StaticModel(name=str(model2vec)).model_bytes
    assert whole == sum(path.stat().st_size for path in model2vec.iterdir())
    fewer = StaticModel(name=str(model2vec), tokens=3, dim=4).model_bytes
    assert tokenizer + 3 * 4 * 4 < fewer < whole
    half = StaticModel(name=str(model2vec), table=Cast(dtype="float16"))
    assert tokenizer + 2 * ROWS.size < half.model_bytes < whole + 200
    np.testing.assert_allclose(half.encode(["the cat"], "query", None), unit(ROWS[[4, 1]].mean(0))[None], atol=1e-3)


def test_a_code_of_the_table_is_what_documents_are_made_of(model2vec: Path) -> None:
    codec = PerDimension(bits=4)
    decoded = codec.fit(ROWS).decode(codec.encode(ROWS))
    made = StaticModel(name=str(model2vec), table=PerDimension(bits=4)).encode(["the fish"], "document", None)
    np.testing.assert_allclose(made[0], unit(decoded[[4, 3]].mean(0)), atol=1e-6)


def test_tokens_beyond_the_first_add_nothing(model2vec: Path) -> None:
    model = StaticModel(name=str(model2vec), tokens=4)
    np.testing.assert_allclose(model.encode(["the cat"], "query", None)[0], unit(ROWS[1]), atol=1e-6)
    with pytest.raises(ModelError, match="tokens=9, but the table has 5"):
        StaticModel(name=str(model2vec), tokens=9).encode(["x"], "query", None)
    with pytest.raises(ModelError, match="dim=7, but the table of .* has 6"):
        StaticModel(name=str(model2vec), dim=7).encode(["x"], "query", None)


def test_every_option_has_an_identity_of_its_own(model2vec: Path) -> None:
    options = [
        {},
        {"dim": 4},
        {"sif": None},
        {"tokens": 3},
        {"max_length": 8},
        {"table": Cast(dtype="float16")},
        {"table": PerDimension(bits=4)},
        {"table": PerDimension(bits=8)},
    ]
    made = [StaticModel(name=str(model2vec), **own) for own in options]
    identities = [json.dumps(model.identity("document", None), sort_keys=True) for model in made]
    assert len(set(identities)) == len(options) == len({model.label for model in made})


def test_quantised_vocabularies_are_read(model2vec: Path) -> None:
    mapping, weights = np.array([0, 1, 1, 0, 1]), np.array([1, 2, 3, 4, 5], dtype=np.float32)
    save_file({"embeddings": ROWS[:2], "mapping": mapping, "weights": weights}, model2vec / "model.safetensors")
    made = StaticModel(name=str(model2vec)).encode(["cat fish"], "query", None)
    np.testing.assert_allclose(made[0], unit(2 * ROWS[1] + 4 * ROWS[0]), atol=1e-6)


def test_damaged_models_say_what_is_wrong(model2vec: Path) -> None:
    def failure() -> str:
        with pytest.raises(ModelError) as caught:
            StaticModel(name=str(model2vec)).encode(["cat"], "query", None)
        return str(caught.value)

    save_file({"embeddings": ROWS[:3]}, model2vec / "model.safetensors")
    assert "3 rows, but its tokenizer has 5 tokens" in failure()
    save_file({"other": ROWS}, model2vec / "model.safetensors")
    assert "neither 'embeddings' nor 'embedding.weight'" in failure()
    (model2vec / "model.safetensors").write_bytes(b"x")
    assert "cannot be read" in failure()
    (model2vec / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in failure()


def test_options_without_meaning_are_refused() -> None:
    with pytest.raises(ConfigError, match="sif must be between 0 and 1"):
        StaticModel(name="x", sif=1.0)
    with pytest.raises(ConfigError, match="learns from queries"):
        StaticModel(name="x", table=Chain(transforms=[QueryMap()], codec=Cast(dtype="float16")))


def test_a_methods_yaml_is_a_table_without_its_decoration(model2vec: Path) -> None:
    node = {
        "_target_": "harness.data.models.StaticModel",
        "name": str(model2vec),
        "table": {"_target_": "methods.FaissCodec", "factory": "PQ2x4np", "m": 2, "about": {"family": "product"}},
    }
    model = shared("model", OmegaConf.create(node))
    assert isinstance(model.table, FaissCodec) and "PQ2x4np" in model.label
    with pytest.raises(ConfigError, match="must be a method"):
        shared("model", OmegaConf.create({**node, "table": "pq"}))


def test_a_code_that_does_not_fit_the_table_says_so(model2vec: Path) -> None:
    with pytest.raises(ModelError, match="model.table does not fit 5 token vectors"):
        StaticModel(name=str(model2vec), table=FaissCodec(factory="PQ4x8np")).encode(["cat"], "query", None)


@torch.mark
@sentence_transformers.mark
def test_static_embeddings_of_sentence_transformers_are_read_as_it_reads_them(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    save_tokenizer(tmp_path / "tokenizer.json")
    module = StaticEmbedding(Tokenizer.from_file(str(tmp_path / "tokenizer.json")), embedding_weights=ROWS)
    saved = SentenceTransformer(modules=[module], device="cpu")
    saved.save(str(tmp_path / "saved"))
    texts = ["the cat", "zebra dog fish"]
    np.testing.assert_allclose(
        StaticModel(name=str(tmp_path / "saved")).encode(texts, "document", None),
        saved.encode(texts, normalize_embeddings=True),
        atol=1e-6,
    )


@torch.mark
@sentence_transformers.mark
def test_a_distilled_table_is_the_models_own_states_turned_and_weighted(tiny: Path) -> None:  # noqa: F811
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny), device="cpu")
    plain, weighted = (distilled(str(tiny), None, sif, "cpu") for sif in (None, 1e-3))
    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    tokens = [token for token in tokenizer.get_vocab() if plain.row_of[tokenizer.token_to_id(token)] >= 0]
    assert "[CLS]" not in tokens and len(tokens) == len(plain.rows)
    # a token that stands for a text of its own: the mean of its states, markers included
    words = [token for token in tokens if not token.startswith("##") and token.isalpha()][:8]
    own = model.encode(words)
    rows = plain.rows[[plain.row_of[tokenizer.token_to_id(word)] for word in words]]
    distances = [np.linalg.norm(part[:, None] - part[None], axis=-1) for part in (own, rows)]
    np.testing.assert_allclose(*distances, atol=1e-4)
    spread = plain.rows.var(axis=0)
    assert (np.diff(spread) <= 1e-6).all(), "principal axes come in order"
    ratio = np.linalg.norm(weighted.rows, axis=1) / np.linalg.norm(plain.rows, axis=1)
    frequency = 1 / np.arange(2, len(ratio) + 2)
    np.testing.assert_allclose(ratio, 1e-3 / (1e-3 + frequency / frequency.sum()), rtol=1e-4)
    assert load_file(tiny / "model.safetensors"), "the teacher is as it was"
    made = StaticModel(name=str(tiny), dim=4)
    assert made.encode(TEXTS, "document", None).shape == (len(TEXTS), 4) and "static dim=4" in made.label


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float | None]]:
    """A folder "teacher" that is no static model, and what stands for distilling it; yields the sif of each time."""
    folder = tmp_path / "teacher"
    folder.mkdir()
    save_tokenizer(folder / "tokenizer.json")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    made: list[float | None] = []

    def distil(folder: str, revision: str | None, sif: float | None, device: str) -> TokenTable:
        made.append(sif)
        return TokenTable.of_distilled(ROWS * len(made), np.arange(len(WORDS)), Path(folder) / "tokenizer.json")

    monkeypatch.setattr(static, "distilled", distil)
    yield made


def test_a_distilled_table_is_kept_for_other_processes(tmp_path: Path, teacher: list[float | None]) -> None:
    def model(**options: Any) -> StaticModel:
        return StaticModel(name=str(tmp_path / "teacher"), kept_in=str(tmp_path / "cache"), **options)

    first = model()
    vectors = first.encode(["the cat"], "query", None)
    # what is cut or compressed afterwards starts from the same file
    for later in ({}, {"dim": 4}, {"tokens": 3}, {"max_length": 8}, {"table": PerDimension(bits=8)}, {"device": "cpu"}):
        model(**later).encode(["the cat"], "query", None)
    assert teacher == [1e-4]
    again = model()
    np.testing.assert_array_equal(again.encode(["the cat"], "query", None), vectors)
    assert again.model_bytes == first.model_bytes
    # every option of the recipe, and the weights, have a file of their own
    model(sif=None).encode(["cat"], "query", None)
    model(sif=1e-3).encode(["cat"], "query", None)
    (tmp_path / "teacher" / "model.safetensors").write_bytes(b"other weights")
    model().encode(["cat"], "query", None)
    assert teacher == [1e-4, None, 1e-3, 1e-4]
    assert len(list((tmp_path / "cache" / "tables").iterdir())) == 4
    StaticModel(name=str(tmp_path / "teacher")).encode(["cat"], "query", None)
    assert len(teacher) == 5, "kept nowhere, distilled again"


def test_a_damaged_kept_table_is_refused_by_name(tmp_path: Path, teacher: list[float | None]) -> None:
    def encode() -> None:
        StaticModel(name=str(tmp_path / "teacher"), kept_in=str(tmp_path / "cache")).encode(["cat"], "query", None)

    encode()
    (path,) = (tmp_path / "cache" / "tables").iterdir()
    whole = path.read_bytes()
    with safe_open(path, "numpy") as file:
        about = file.metadata()
    for damaged in (whole[:-8], whole[:20], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(CacheError, match=f"{path.name} is damaged .*; delete it"):
            encode()
    save_file({"rows": ROWS, "row_of": np.arange(len(WORDS))}, path, metadata={**about, "identity": "{}"})
    with pytest.raises(CacheError, match=f"{path.name} belongs to another model"):
        encode()
    path.unlink()
    encode()
    assert path.read_bytes() != b"" and len(teacher) == 2


def test_runs_keep_the_table_in_their_cache() -> None:
    with initialize_config_module("configs", version_base="1.3"):
        node = compose("config", ["model=static", "dataset=stdlib", "method=int8", "cache_dir=/some/cache"]).model
    assert node.kept_in == "/some/cache"
    assert OmegaConf.create({"model": OmegaConf.to_container(node, resolve=False)}).model.kept_in is None
