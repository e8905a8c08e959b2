"""Terms with weights, and hybrids of them with vectors, from configurations to records and tables."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from harness.analysis.representations import representations
from harness.analysis.settings import pages
from harness.analysis.significance import with_intervals
from harness.base.errors import ConfigError
from harness.evaluation.fusion import Fusion
from harness.evaluation.index_files import CODES_FILE, DICTIONARY_FILE, STATE_FILE
from harness.exchange.index_export import export
from harness.report.hybrids import fuse_markdown
from harness.report.write import write_report
from harness.runs import fuse
from harness.runs.frame import load_runs
from harness.runs.hybrid import PartSpec, shares
from harness.runs.record import Identity
from harness.runs.run import run
from harness.runs.store import INDEX, Store

WORDS = [f"w{i}" for i in range(40)]


@pytest.fixture(scope="module")
def texts(small_collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small collection, with words that say a little of what the vectors say."""
    import json
    import shutil

    folder = tmp_path_factory.mktemp("texts")
    shutil.copytree(small_collection, folder, dirs_exist_ok=True)
    from safetensors.numpy import load_file

    vectors = load_file(folder / "vectors.safetensors")
    planes = np.random.default_rng(0).standard_normal((32, 40))
    for name, own in (("corpus", vectors["docs"]), ("queries", vectors["queries"])):
        lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        for line, near in zip(lines, own @ planes, strict=True):
            line["text"] = " ".join(WORDS[place] for place in np.argsort(-near)[:8])
            line.pop("title", None)
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder


def done(texts: Path, results: Path, method: str, *overrides: str, model: str = "vectors") -> str:
    chosen = [f"model={model}", *([f"model.path={texts / 'vectors.safetensors'}"] if model == "vectors" else [])]
    given = ["dataset=folder", f"dataset.path={texts}", *chosen, f"method={method}", *overrides]
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=[*given, f"results_dir={results}", f"cache_dir={results / 'cache'}"])
    return run(cfg, method, given)


@pytest.fixture(scope="module")
def results(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    done(texts, folder, "float32")
    done(texts, folder, "sparse_float32", "keep_index=true", model="bm25")
    done(texts, folder, "hybrid", "method.parts=['model:int8','bm25:sparse_int4:bits=2']", "method.weights=[0.7,0.3]")
    return folder


def by_method(results: Path) -> dict[str, str]:
    return {record.method.name: record.run_id for record in Store(results).records()}


def test_a_lexical_run_says_what_it_is_and_counts_its_dictionary(results: Path) -> None:
    store, run_id = Store(results), by_method(results)["sparse_float32"]
    record, row = store.read(run_id), load_runs(results).set_index("run_id").loc[run_id]
    index = store.path(run_id) / INDEX
    sizes = {name: (index / name).stat().st_size for name in (CODES_FILE, STATE_FILE, DICTIONARY_FILE)}
    assert record.representation == row["representation"] == "terms" and record.terms_per_doc == 8
    assert row["index_bytes"] == sum(sizes.values())
    assert row["state_bytes"] == sizes[STATE_FILE] + sizes[DICTIONARY_FILE] > 40 * 2
    # 8 terms of 8 bytes, and a byte or more that says how many
    assert 64 < row["code_bytes_per_vector"] <= 70
    assert row["compression_ratio"] == pytest.approx(64 / row["bytes_per_vector"])
    assert row["retention"] == 1 and row["overlap_at_10"] == 1
    assert np.isnan(row["vector_distortion"]) and record.spectrum is None


def test_a_hybrid_is_its_parts_rankings_fused_and_its_bytes_are_theirs(results: Path) -> None:
    store, runs = Store(results), by_method(results)
    record = store.read(runs["hybrid"])
    parts = [store.read(part) for part in record.parts]
    assert [part.method.setting for part in parts] == ["int8", "sparse_int4 bits=2"]
    assert record.representation == "hybrid" and record.model.name == "vectors + bm25"
    for name in ("code_bytes_per_vector", "state_bytes", "index_bytes", "dictionary_bytes"):
        assert getattr(record.storage, name) == sum(getattr(part.storage, name) for part in parts)
    lists = [store.ranking(part.run_id) for part in parts]
    expected, _ = Fusion("minmax", (0.7, 0.3)).fuse([of["rows"] for of in lists], [of["scores"] for of in lists], 100)
    np.testing.assert_array_equal(store.ranking(record.run_id)["rows"], expected)
    assert store.per_query(record.run_id)["ndcg_at_10"].mean() == pytest.approx(record.metrics["ndcg_at_10"])
    assert sum(shares(parts)) == pytest.approx(1)


def test_a_hybrid_that_is_on_record_is_not_made_again(texts: Path, results: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in results.rglob("run.json")}
    done(texts, results, "hybrid", "method.parts=['model:int8','bm25:sparse_int4:bits=2']", "method.weights=[0.7,0.3]")
    assert {path: path.stat().st_mtime_ns for path in results.rglob("run.json")} == before


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("['model']", "'model' is no part; it is MODEL:METHOD"),
        ("['model:int8:4','bm25:sparse_int4']", "'model:int8:4' is no part"),
        ("['model:int9','bm25:sparse_int4']", "'int9'; did you mean"),
        ("['bm26:sparse_int4','model:int8']", "'bm26'; did you mean 'bm25'"),
        ("['model:int8']", "has 1 parts and method.weights 2 weights"),
        ("['bm25:int8','model:int8']", "this method takes one vector a document, but bm25 gives terms with weights"),
        ("['model:sparse_int4','model:int8']", "takes terms with weights, but vectors gives one vector a document"),
    ],
)
def test_parts_that_are_none_are_refused_by_name(texts: Path, tmp_path: Path, parts: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        done(texts, tmp_path, "hybrid", f"method.parts={parts}")


def test_a_part_is_read_as_it_is_written() -> None:
    spec = PartSpec.of("bm25:sparse_int4:bits=2:scale=1")
    assert (spec.model, spec.method, spec.changed) == ("bm25", "sparse_int4", ("bits=2", "scale=1"))


def test_all_pairs_are_what_hybrids_of_them_score(texts: Path, results: Path, tmp_path: Path) -> None:
    store = Store(results)
    ((dataset, records),) = fuse.collections(store)
    pairs = fuse.all_pairs(store, dataset, records, [Fusion("minmax", (0.7, 0.3)), Fusion("rrf", (0.5, 0.5))])
    # float32 and int8 with either code of terms, by two rules
    assert len(pairs.table) == 8
    hybrid = store.read(by_method(results)["hybrid"])
    own = pairs.table[(pairs.table["first"] == hybrid.parts[0]) & (pairs.table["second"] == hybrid.parts[1])]
    row = own[own["rule"] == "minmax"].iloc[0]
    assert row["quality"] == pytest.approx(hybrid.metrics["ndcg_at_10"]) and row["weight"] == pytest.approx(0.3)
    assert row["bytes"] == hybrid.storage.code_bytes_per_vector
    best = fuse.frontier(pairs)
    assert best["bytes"].is_monotonic_increasing and best["quality"].is_monotonic_increasing


@pytest.mark.usefixtures("empty_figures")
def test_what_is_written_becomes_records_that_reports_compare(texts: Path, tmp_path: Path) -> None:
    done(texts, tmp_path, "binary")
    done(texts, tmp_path, "sparse_presence", model="bm25")
    store = Store(tmp_path)
    text = fuse_markdown(store, ["minmax"], [0.3, 0.5], 100, write=True)
    assert "2 pairs" in text and "half as deep" in text and "on record now" in text
    hybrids = [record for record in store.records() if record.parts]
    frame = load_runs(tmp_path)
    found = pages(frame)
    (own,) = representations([with_intervals(page, store.per_query) for page in found])
    kinds = set(own.best["representation"])
    assert kinds >= {"one vector", "terms with weights"} and (not hybrids or "hybrid" in kinds)
    for _, within in own.best.groupby("within"):
        assert within["is_best"].sum() >= 1
        assert (within["quality"] <= within.loc[within["is_best"], "quality"].iloc[0]).all()
    written = write_report(frame, tmp_path / "report", per_query=store.per_query, records=store.read, site=False)
    assert any(path.name.startswith("representations--") for path in written)


def test_rankings_that_are_too_short_are_refused(texts: Path, tmp_path: Path) -> None:
    done(texts, tmp_path, "binary", "k=20")
    done(texts, tmp_path, "sparse_presence", "k=20", model="bm25")
    with pytest.raises(ConfigError, match="was measured to rank 20: fuse no more with --depth 20"):
        fuse_markdown(Store(tmp_path), ["minmax"], [0.5], 100, write=False)


def test_a_hybrid_of_files_has_one_name_on_every_collection() -> None:
    """Files of vectors differ by collection, and say nothing of the model; settings of a lexical model do."""
    words, others = {"bm25": {"k1": 0.9}}, {"bm25": {"k1": 1.2}}

    def weights(*parts: dict) -> dict:
        return Identity(model={role: {"hybrid": list(parts)} for role in ("document", "query")}).weights

    assert weights({"vectors": "a"}, words) == weights({"vectors": "b"}, words) == {}
    assert weights({"content": "m"}, words) == weights({"content": "m"}, words) != weights({"content": "m"}, others)
    assert weights({"content": "m"}, words) != weights({"content": "n"}, words)


def test_terms_are_exported_and_go_into_no_store_and_a_hybrid_is_its_parts(results: Path, tmp_path: Path) -> None:
    runs = by_method(results)
    done = export(runs["sparse_float32"], tmp_path / "terms", results=results)
    assert done.checked == 30 and len(done.notes) == 0
    with pytest.raises(ConfigError, match="--to faiss is for one vector a document, and run .* has terms with weights"):
        export(runs["sparse_float32"], tmp_path / "faiss", results=results, targets=["faiss"])
    with pytest.raises(ConfigError, match="is a hybrid, whose indexes are those of its parts: 'vecbudget export"):
        export(runs["hybrid"], tmp_path / "hybrid", results=results)
    assert [path.name for path in tmp_path.iterdir()] == ["terms"]


def test_a_hybrid_with_token_vectors_is_one_like_any_other(texts: Path, tmp_path: Path) -> None:
    """Windows of four numbers stand for tokens; a cache of float16 is asked for what has vectors to be rounded."""
    from safetensors.numpy import load_file

    vectors = load_file(texts / "vectors.safetensors")
    arrays = {}
    for side in ("docs", "queries"):
        own = vectors[side].reshape(-1, 4)
        arrays |= {f"{side}_values": own, f"{side}_offsets": np.arange(0, len(own) + 1, vectors[side].shape[1] // 4)}
    arrays["docs_token_ids"] = np.abs(arrays["docs_values"]).argmax(axis=1)
    np.savez(tmp_path / "tokens.npz", **arrays)
    own = (
        f"model.docs={tmp_path / 'tokens.npz'}",
        "method.parts=['bm25:sparse_range:bits=4','model:tokens_pruned:by=idf:factor=2']",
    )
    run_id = done(texts, tmp_path, "hybrid", *own, model="token_vectors")
    store = Store(tmp_path)
    record = store.read(run_id)
    terms, tokens = (store.read(part) for part in record.parts)
    assert tokens.representation == "tokens" and terms.representation == "terms"
    assert record.storage.code_bytes_per_vector == sum(part.storage.code_bytes_per_vector for part in (terms, tokens))
    text = fuse_markdown(store, ["minmax"], [0.3], 100, write=True)
    assert "1 pairs" in text
    frame = load_runs(tmp_path)
    write_report(frame, tmp_path / "report", per_query=store.per_query, records=store.read, site=False)
    pages_of = {path.stem: path.read_text() for path in (tmp_path / "report").glob("*.md")}
    divided = {name for name, page in pages_of.items() if "How the bytes divide" in page}
    assert divided and not any("bm25" in name for name in divided), "a hybrid's bytes are not all of vectors"


def test_a_cache_of_float16_is_for_parts_that_have_vectors() -> None:
    given = ["dataset=folder", "dataset.path=x", "model=minilm_tokens", "cache_dtype=float16", "method=hybrid"]
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=given)
    terms, words = PartSpec.of("bm25:sparse_range").config(cfg, given, 100)
    assert terms.cache_dtype == "float32" and "cache_dtype=float16" not in words
    tokens, words = PartSpec.of("model:tokens_int8").config(cfg, given, 100)
    assert tokens.cache_dtype == "float16" and "cache_dtype=float16" in words


def test_weights_by_sentences_of_the_documents(texts: Path, tmp_path: Path) -> None:
    """The record says by what, and the parts' own records how to run them again."""
    run_id = done(
        texts,
        tmp_path,
        "hybrid",
        "method.parts=['model:sparse_float32','model:sparse_presence']",
        "method.weights=sentences",
        model="bm25",
    )
    store = Store(tmp_path)
    record = store.read(run_id)
    made = [other for other in store.records() if other.dataset.name.endswith("-sentences")]
    assert len(made) == 2 and {other.dataset.n_queries for other in made} == {int(record.fit_queries.split()[0])}
    assert record.fit_queries.endswith(" sentences") and record.dataset.n_queries == 30
    # what was recorded can be run again
    for part in made:
        given = [text for text in shlex.split(part.command)[2:] if not text.startswith("results_dir=")]
        with initialize_config_module("configs", version_base="1.3"):
            cfg = compose("config", overrides=[*given, f"results_dir={tmp_path}", f"cache_dir={tmp_path / 'cache'}"])
        assert run(cfg, part.method.name, given) == part.run_id
    with pytest.raises(ConfigError, match="titles or sentences, got dreams for 2 parts"):
        done(texts, tmp_path, "hybrid", "method.weights=dreams", model="bm25")


def test_a_deeper_search_is_a_real_one(texts: Path, tmp_path: Path) -> None:
    done(texts, tmp_path, "binary", "k=20")
    done(texts, tmp_path, "sparse_range", "method.bits=2", "k=20", model="bm25")
    store = Store(tmp_path)
    text = fuse_markdown(store, ["rrf"], [0.3], 20, write=False, verify=40)
    assert "40 deep" in text
    ((dataset, records),) = fuse.collections(store)
    fusion = Fusion("rrf", (0.7, 0.3), depth=20)
    pairs = fuse.all_pairs(store, dataset, records, [fusion])
    made = fuse.of_row(store, pairs, pairs.table.iloc[0], fusion, 20)
    again = fuse.searched_deeper(made, store, pairs, 40)
    deeper = list(Store(tmp_path / "verified").records())
    assert {record.identity.k for record in deeper} == {40}
    assert {record.method.setting for record in deeper} == {"binary", "sparse_range bits=2"}
    lists = [Store(tmp_path / "verified").ranking(part) for part in again.record.parts]
    expected, _ = replace(fusion, depth=40).fuse([of["rows"] for of in lists], [of["scores"] for of in lists], 20)
    np.testing.assert_array_equal(again.ranking, expected)
    assert 0 <= fuse.changed_share(made, again) <= 1 and fuse.changed_share(made, made) == 0
    # half of the depth is fused by the pair's own rule and weights
    half, _ = replace(fusion, depth=10).fuse(
        [store.ranking(part)["rows"] for part in made.record.parts],
        [store.ranking(part)["scores"] for part in made.record.parts],
        20,
    )
    judged = fuse.fused(
        made.record, [store.ranking(part) for part in made.record.parts], replace(fusion, depth=10), dataset
    )
    np.testing.assert_array_equal(judged.ranking, half)
    assert fuse.at_half_depth(made, store, pairs) == judged.record.metrics["ndcg_at_10"]
    with pytest.raises(ConfigError, match="--verify must be deeper"):
        fuse_markdown(store, ["rrf"], [0.3], 20, write=False, verify=20)
