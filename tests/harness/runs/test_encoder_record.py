"""What a record knows of its model: a static one with a compressed table, on a set whose queries share documents."""

import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from harness.analysis import settings
from harness.data.datasets import LimitStyle
from harness.report.page import page_markdown
from harness.runs.frame import load_runs
from harness.runs.run import run
from harness.runs.store import Store

SET = {"queries": 60, "items": 8}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random vector for each word of the set, as model2vec saves it."""
    folder = tmp_path_factory.mktemp("model")
    made = LimitStyle(**SET).load()
    assert made.doc_texts is not None and made.query_texts is not None
    splitter = pre_tokenizers.Whitespace()
    texts = [*made.doc_texts, *made.query_texts]
    words = sorted({word for text in texts for word, _ in splitter.pre_tokenize_str(text)})
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(["[UNK]", *words])}, "[UNK]"))
    tokenizer.pre_tokenizer = splitter
    tokenizer.save(str(folder / "tokenizer.json"))
    rows = np.random.default_rng(0).standard_normal((1 + len(words), 32)).astype(np.float32)
    save_file({"embeddings": rows}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec"}))
    return folder


def measured(model: Path, results: Path, *overrides: str) -> str:
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose(
            "config",
            overrides=[
                *("model=static", f"model.name={model}", "dataset=limit", f"results_dir={results}"),
                *(f"cache_dir={results / 'cache'}", *(f"dataset.{key}={value}" for key, value in SET.items())),
                *overrides,
            ],
        )
    return run(cfg, "float32", list(overrides))


def test_the_record_has_the_models_bytes_speed_and_intervals_over_documents(model: Path, tmp_path: Path) -> None:
    plain = measured(model, tmp_path)
    small = measured(model, tmp_path, "+method@model.table=int8")
    hashed = measured(model, tmp_path, "+method@model.table=multi_hash", "model.table.nbytes=16")
    frame = load_runs(tmp_path).set_index("run_id")
    assert len({plain, small, hashed}) == len(set(frame["model"])) == 3
    shipped = sum(path.stat().st_size for path in model.iterdir())
    assert frame.loc[plain, "model_bytes"] == shipped == frame.loc[plain, "query_model_bytes"]
    assert frame.loc[hashed, "model_bytes"] < frame.loc[small, "model_bytes"] < shipped
    speeds = frame[["model_docs_per_second_low", "model_docs_per_second", "model_docs_per_second_high"]].to_numpy()
    assert (np.diff(speeds, axis=1) >= 0).all() and (speeds > 0).all()
    record = Store(tmp_path).read(plain)
    assert record.encoding is not None and record.encoding["query"]["single_ms"]["repeats"] == 16
    assert record.document_intervals is not None
    ends = record.document_intervals["recall_at_2"]
    assert 0 <= ends["low"] <= record.metrics["recall_at_2"] <= ends["high"] <= 1
    assert "recall@2" in record.summary() and "over documents" in record.summary()
    page = settings.pages(load_runs(tmp_path))[0]
    assert "## Recall@2, over the choice of documents" in page_markdown(page, None, "vecbudget report")
