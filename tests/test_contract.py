"""Every law of the contract, over every yaml in configs/method. A new yaml is covered with no line added here.

What a method is excused from is data in its yaml, with the reason: `about.exceptions: {law: reason}`. Parameters that
make a slow method quick for these tests stand there too: `about.test: {parameter: value}`.
"""

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from safetensors.numpy import save_file

from harness.evaluation.exact_search import search
from harness.evaluation.index_build import encode
from harness.evaluation.index_files import CODES_FILE, STATE_FILE, read_index, write_index
from harness.runs.catalogue import members
from harness.runs.config import MethodSpec, instantiated
from methods import base, code_scores
from methods.base import Codec, Codes, MethodError, NotFittedError, Part, VectorsError
from tests.conftest import bytes_of, clustered_vectors, method_node, methods_for
from tests.fresh_process import FreshProcess
from vecbudget.index import CODES, IDS, STATE, Ids, seal

N, D, M, K = 1200, 384, 40, 20
STRUCTURES = {
    "int8 in lists": ["method=int8", "index=ivf", "index.lists=20", "index.nprobe=20", "index.ids=elias_fano"],
    "int4 residuals in lists": [
        *("method=int4", "index=ivf", "index.lists=20", "index.nprobe=20", "index.residual=true"),
    ],
    "int8 in a hierarchy": ["method=int8", "index=hnsw", "index.ef_search=1200"],
    "int8 in a graph": ["method=int8", "index=vamana", "index.degree=16", "index.search_list=1200"],
}
"""Index structures that look at everything, and so keep every law."""

NAMES = [*methods_for("vectors"), *STRUCTURES]
LAWS_WITH_EXCEPTIONS = {
    "another_seed_gives_other_bytes",
    "equal_documents_tie",
    "finds_what_is_near",
    "score_is_a_dot_product",
    "search_agrees_with_score",
    "search_does_not_depend_on_the_other_queries",
    "state_holds_no_document",
}


@functools.cache
def spec_of(name: str, seed: int = 0) -> MethodSpec:
    if name not in STRUCTURES:
        return MethodSpec(method_node(name, seed))
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=["~model", "~dataset", *STRUCTURES[name], f"seed={seed}"])
        return MethodSpec(cfg.method, cfg.index)


@functools.cache
def docs() -> np.ndarray:
    vectors = clustered_vectors(N, D)
    vectors.flags.writeable = False
    return vectors


@functools.cache
def queries() -> np.ndarray:
    vectors = clustered_vectors(M, D, seed=1)
    vectors.flags.writeable = False
    return vectors


@functools.cache
def other_docs() -> np.ndarray:
    return clustered_vectors(N, D, seed=9)


class Fitted(NamedTuple):
    codec: Codec
    codes: Codes


@functools.cache
def fit_queries() -> np.ndarray:
    return clustered_vectors(200, D, seed=2)


@functools.cache
def fitted(name: str) -> Fitted:
    codec = spec_of(name).make()
    assert codec.fit(docs(), fit_queries()) is codec, "fit returns self"
    return Fitted(codec, codec.encode(docs()))


@functools.cache
def found(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The scores and rows of a search, of which nobody changes anything."""
    codec, codes = fitted(name)
    return codec.search(queries(), codes, K)


@functools.cache
def products(name: str) -> np.ndarray:
    """The inner products (M, N) of what the method makes of queries and of codes, in float64."""
    codec, codes = fitted(name)
    return codec.query_matrix(queries()).astype(np.float64) @ codec.doc_matrix(codes).T.astype(np.float64)


def excused(name: str, law: str) -> None:
    reason = spec_of(name).about.get("exceptions", {}).get(law)
    if reason:
        pytest.skip(f"{law}: {reason}")


def parts(codec: Part) -> list[Part]:
    """The codec and every part inside it."""
    found = [codec]
    for field in dataclasses.fields(codec):
        value = getattr(codec, field.name)
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, Part):
                found += parts(child)
    return found


# in the module's scope: all laws of a method run one after the other, on what one process fitted once
every_method = pytest.mark.parametrize("name", NAMES, scope="module")


@every_method
def test_describes_itself(name: str) -> None:
    about = spec_of(name).about
    for key in ("family", "summary", "source", "bytes"):
        assert isinstance(about.get(key), str) and about[key], f"about.{key} is missing"
    stores = {"store", "switch", "version", "evidence", "setting"} if "store" in about else set()
    described = {"family", "summary", "source", "bytes", "training", "queries"}
    assert about.get("long_mean", "loses") == "loses" and ("store" in about or "long_mean" not in about)
    assert set(about) - {"exceptions", "shares", "test", "long_mean", "search"} == described | stores
    assert all(isinstance(about[key], str) and about[key] for key in stores)
    assert about.get("evidence", "source") in ("source", "docs", "paper")
    assert set(about.get("exceptions", {})) <= LAWS_WITH_EXCEPTIONS


@pytest.mark.parametrize("name", methods_for("vectors"))
def test_yamls_are_plain(name: str) -> None:
    """What Hydra makes of a yaml is its content, so that these tests need no Hydra, which takes a tenth of a second."""
    text = members("method")[name].read_text("utf-8")
    assert "@package" not in text and "defaults" not in OmegaConf.create(text)


@every_method
def test_says_whether_it_learns(name: str) -> None:
    """`about.training`: what `fit` keeps (or a corpus-wide `encode` stores) depends on the documents."""
    about = spec_of(name).about
    assert about["queries"] == fitted(name).codec.wants_queries
    other = spec_of(name).make().fit(other_docs(), fit_queries())
    before, after = fitted(name).codec.state(), other.state()
    learns = any(before[key].tobytes() != after[key].tobytes() for key in before)
    assert about["training"] == (learns or not other.row_wise)


@every_method
def test_init_stores_its_arguments_only(name: str) -> None:
    codec = spec_of(name).make()
    for part in parts(codec):
        assert set(vars(part)) == {field.name for field in dataclasses.fields(part)}


@every_method
def test_shared_options_can_be_set(name: str) -> None:
    settings = spec_of(name).settings
    settings = settings["codec"] if name in STRUCTURES else settings
    assert "renormalize" in settings and "scoring" in settings


@every_method
def test_unfitted_use_is_a_named_error(name: str) -> None:
    codec = spec_of(name).make()
    for use in (
        lambda: codec.encode(docs()),
        lambda: codec.decode(fitted(name).codes),
        lambda: codec.score(queries(), fitted(name).codes),
        lambda: codec.search(queries(), fitted(name).codes, K),
        codec.state,
    ):
        with pytest.raises(NotFittedError):
            use()


@every_method
def test_fit_leaves_only_state_and_parameters(name: str) -> None:
    for part in parts(fitted(name).codec):
        fields = {field.name for field in dataclasses.fields(part)}
        # a leading underscore marks what is derived from the state on demand
        stray = [key for key in vars(part) if key not in fields and not key.endswith("_") and not key.startswith("_")]
        assert not stray


@every_method
def test_state_holds_no_document(name: str) -> None:
    excused(name, "state_holds_no_document")
    for key, array in fitted(name).codec.state().items():
        if array.ndim == 2 and array.shape[1] == D and array.dtype.kind == "f":
            same = (np.abs(array[:, None, :8] - docs()[None, :, :8]) < 1e-9).all(axis=2)
            assert not same.any(), f"{key} holds a document's vector"


@every_method
def test_codes_are_bytes_of_a_fixed_count(name: str) -> None:
    codes = fitted(name).codes
    assert codes.n == len(codes) == N
    assert codes.nbytes == sum(array.nbytes for array in codes.to_arrays().values())
    for array in codes.rows.values():
        assert len(array) == N
    aside = fitted(name).codec.on_disk(codes.rows)
    resident = sum(array.nbytes for key, array in codes.to_arrays().items() if key not in aside)
    assert resident <= 4 * N * D + 16 * N


@every_method
def test_inputs_are_not_changed(name: str) -> None:
    vectors, asked = docs()[:300].copy(), queries().copy()
    codec = fitted(name).codec
    codes = codec.encode(vectors)
    before = bytes_of(codes)
    codec.score(asked, codes)
    codec.search(asked, codes, K)
    assert np.array_equal(vectors, docs()[:300]) and np.array_equal(asked, queries())
    assert bytes_of(codes) == before


@every_method
def test_state_does_not_change_in_use(name: str) -> None:
    codec, codes = fitted(name)
    before = {key: array.tobytes() for key, array in codec.state().items()}
    codec.decode(codes)
    codec.search(queries(), codes, K)
    assert {key: array.tobytes() for key, array in codec.state().items()} == before


@every_method
def test_encoding_is_row_wise(name: str) -> None:
    codec, codes = fitted(name)
    if not codec.row_wise:
        pytest.skip("not row-wise by declaration")
    for chunk, stop in ((1, 40), (7, 210), (500, N)):
        chunked = encode(codec, docs()[:stop], chunk)
        assert bytes_of(chunked) == bytes_of(codes[:stop]), f"chunks of {chunk} rows give other bytes"


@every_method
def test_search_does_not_depend_on_chunks(name: str) -> None:
    codec, codes = fitted(name)
    scores, rows = found(name)
    for chunk in (333, 1000):
        chunked_scores, chunked_rows = search(codec, queries(), codes, K, chunk_rows=chunk)
        assert np.array_equal(rows, chunked_rows)
        assert np.array_equal(scores, chunked_scores)


@every_method
def test_few_queries_are_answered_by_codes_as_documents_would_be(name: str) -> None:
    """Whether documents are decoded for them or not."""
    codec, codes = fitted(name)
    if codec.stored_rows(codes) is None or not codec.row_wise:
        pytest.skip("documents are decoded")
    few = queries()[:3]
    scores, rows = codec.search(few, codes, K)
    assert codec._scan_codes(codec._checked(few, "queries"), codes, K) is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "FEW_QUERIES", 0)
        expected_scores, expected_rows = codec.search(few, codes, K)
        patch.setattr(base, "FEW_QUERIES", len(few))
        # more are left open than there is room for
        patch.setattr(base, "SPARE", -K // 2)
        again_scores, again_rows = codec.search(few, codes, K)
    for found in (rows, again_rows):
        assert np.array_equal(found, expected_rows)
    for found in (scores, again_scores):
        assert np.array_equal(found, expected_scores)


@every_method
def test_search_does_not_depend_on_the_other_queries(name: str) -> None:
    excused(name, "search_does_not_depend_on_the_other_queries")
    codec, codes = fitted(name)
    scores, rows = found(name)
    for pick in (slice(0, 1), slice(5, 12)):
        few_scores, few_rows = codec.search(queries()[pick], codes, K)
        assert np.array_equal(rows[pick], few_rows)
        assert np.array_equal(scores[pick], few_scores)


@every_method
def test_same_seed_gives_the_same_bytes(name: str) -> None:
    again = spec_of(name).make().fit(docs(), fit_queries())
    assert bytes_of(again.encode(docs())) == bytes_of(fitted(name).codes)


@every_method
def test_another_seed_gives_other_bytes(name: str) -> None:
    if spec_of(name).seed is None:
        pytest.skip("the method draws no random numbers")
    excused(name, "another_seed_gives_other_bytes")
    other = spec_of(name, seed=1).make().fit(docs(), fit_queries())
    assert bytes_of(other.encode(docs())) != bytes_of(fitted(name).codes)


@every_method
def test_score_is_a_dot_product(name: str) -> None:
    excused(name, "score_is_a_dot_product")
    codec, codes = fitted(name)
    scores = codec.score(queries(), codes)
    assert scores.shape == (M, N) and scores.dtype == np.float32
    assert np.allclose(scores, products(name), atol=1e-4)
    if codec.scoring == "asymmetric":
        assert np.array_equal(codec.doc_matrix(codes), codec.decode(codes))


@every_method
def test_bytes_that_say_what_they_stand_for_score_as_what_they_decode_to(name: str) -> None:
    """What walks along a graph score (`Codec.stored_rows`), within the bound on its error that it gives."""
    codec, codes = fitted(name)[:2]
    rows = codec.stored_rows(codes)
    if rows is None:
        pytest.skip("documents are decoded")
    form, asked = code_scores.form_of(rows), codec.query_matrix(queries()[:5])
    expected = asked.astype(np.float64) @ codec.doc_matrix(codes).astype(np.float64).T
    prepared, every, scores = code_scores.room(form), np.arange(codes.n), np.empty(codes.n)
    for query, exact in zip(asked, expected, strict=True):
        code_scores.prepare(form, query, prepared)
        code_scores.score(form, prepared, every, len(every), scores)
        bound = prepared.numbers[code_scores.ERROR] + 1e-6 * np.linalg.norm(query)
        assert np.abs(scores - exact).max() <= bound
        assert bound <= 0.02 * np.abs(exact).max() + 1e-3, "a bound that says nothing"


@every_method
def test_search_agrees_with_score(name: str) -> None:
    excused(name, "search_agrees_with_score")
    full = products(name)
    scores, rows = found(name)
    assert rows.dtype == np.int64 and rows.shape == scores.shape == (M, K)
    of_rows = np.take_along_axis(full, rows, axis=1)
    assert np.allclose(of_rows, -np.sort(-full, axis=1)[:, :K], atol=1e-5), "not the best K"
    assert (np.diff(scores, axis=1) <= 0).all(), "not in descending order"
    tied = np.diff(scores, axis=1) == 0
    assert (np.diff(rows, axis=1)[tied] > 0).all(), "among equal scores the lower row comes first"


@every_method
def test_equal_documents_tie(name: str) -> None:
    excused(name, "equal_documents_tie")
    codec = fitted(name).codec
    if not codec.row_wise:
        pytest.skip("not row-wise by declaration")
    twice = np.concatenate([docs()[:150], docs()[:150]])
    scores, rows = codec.search(queries(), codec.encode(twice), 300)
    place = np.argsort(rows, axis=1)
    first, second = place[:, :150], place[:, 150:]
    assert np.array_equal(np.take_along_axis(scores, first, 1), np.take_along_axis(scores, second, 1))
    assert (first < second).all()


@every_method
def test_finds_what_is_near(name: str) -> None:
    excused(name, "finds_what_is_near")
    exact = np.argsort(-(queries() @ docs().T), axis=1, kind="stable")[:, :K]
    _, rows = found(name)
    overlap = np.mean([len(set(a) & set(b)) for a, b in zip(exact, rows, strict=True)]) / K
    chance = K / N
    assert overlap > 5 * chance


LOAD_EXPORTS = """
import sys
for package in ("torch", "hydra", "omegaconf", "pandas"):
    sys.modules[package] = None  # importing it fails
import numpy as np
from vecbudget import CompressedIndex

def ranked(folder, k):
    queries = np.load(folder / "queries.npy")
    scores, ids = CompressedIndex.load(folder / "export").search(queries, k)
    return {"rows": ids.astype(int), "scores": scores}
"""

LOAD_INDEX = """
import json
import numpy as np
from hydra.utils import instantiate
from harness.evaluation.index_files import read_index

def ranked(folder, k):
    fresh = instantiate(json.loads((folder / "settings.json").read_text()), _convert_="all")
    codec, codes = read_index(folder, fresh)
    scores, rows = codec.search(np.load(folder / "queries.npy"), codes, k)
    return {"rows": rows, "scores": scores}
"""


@pytest.fixture(scope="module")
def fresh_processes() -> Iterator[list[FreshProcess]]:
    """One that loads a run's index, and one that loads an exported one, without torch and Hydra."""
    with FreshProcess(LOAD_INDEX) as of_index, FreshProcess(LOAD_EXPORTS) as of_export:
        yield [of_index, of_export]


def export(folder: Path, name: str, codec: Codec, codes: Codes) -> None:
    """Write what `vecbudget export` writes: the two files, ids, and a manifest that names the parts."""
    write_index(folder, codec, codes)
    (folder / CODES_FILE).rename(folder / CODES)
    (folder / STATE_FILE).rename(folder / STATE)
    ids = Ids.of([str(row) for row in range(codes.n)])
    save_file({"text": ids.text, "ends": ids.ends}, folder / IDS)
    seal(folder, {"method": spec_of(name).identity(), "n": codes.n, "dim": D}, (CODES, STATE, IDS))


@every_method
def test_save_and_load_in_a_fresh_process(name: str, tmp_path: Path, fresh_processes: list[FreshProcess]) -> None:
    codec, codes = fitted(name)
    np.save(tmp_path / "queries.npy", queries())
    storage = write_index(tmp_path, codec, codes)
    assert storage.index_bytes == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert storage.code_bytes_per_vector == codes.nbytes / N
    (tmp_path / "settings.json").write_text(json.dumps(spec_of(name).settings))
    (tmp_path / "export").mkdir()
    export(tmp_path / "export", name, codec, codes)
    scores, rows = found(name)
    for process in fresh_processes:
        loaded = process.ranked(tmp_path, K)
        assert np.array_equal(loaded["rows"], rows) and np.array_equal(loaded["scores"], scores)


@every_method
def test_the_loaded_object_knows_only_the_files(name: str, tmp_path: Path) -> None:
    write_index(tmp_path, fitted(name).codec, fitted(name).codes)
    codec, codes = read_index(tmp_path, spec_of(name).make())
    held = sum(array.nbytes for array in codec.state().values()) + codes.nbytes
    assert held <= sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    decoded = codec.decode(codes)
    assert np.array_equal(decoded, fitted(name).codec.decode(fitted(name).codes))


@every_method
def test_one_document(name: str) -> None:
    codec = spec_of(name).make()
    try:
        codes = codec.fit(docs()[:1]).encode(docs()[:1])
    except MethodError as error:
        assert type(codec).__name__ in str(error) or "document" in str(error)
        return
    scores, rows = codec.search(queries(), codes, K)
    assert rows.shape == (M, 1) and (rows == 0).all() and np.isfinite(scores).all()


@every_method
def test_fewer_documents_than_a_codebook(name: str) -> None:
    codec = spec_of(name).make()
    try:
        codes = codec.fit(docs()[:9]).encode(docs()[:9])
    except MethodError as error:
        assert any(character.isdigit() for character in str(error)), "the message names the number"
        return
    assert np.isfinite(codec.decode(codes)).all()


@every_method
def test_k_beyond_the_corpus(name: str) -> None:
    codec = fitted(name).codec
    few = fitted(name).codes[0:30] if codec.row_wise else fitted(name).codes
    scores, rows = codec.search(queries(), few, 10 * N)
    assert rows.shape == scores.shape == (M, few.n)
    assert (np.sort(rows, axis=1) == np.arange(few.n)).all()
    with pytest.raises(MethodError, match="k must be"):
        codec.search(queries(), few, 0)


@every_method
def test_zero_vectors(name: str) -> None:
    codec = fitted(name).codec
    codes = codec.encode(np.zeros((3, D), dtype=np.float32))
    assert np.isfinite(codec.decode(codes)).all()
    scores, _ = codec.search(np.zeros((2, D), dtype=np.float32), codes, 3)
    assert np.isfinite(scores).all()


@every_method
def test_fit_on_equal_documents(name: str) -> None:
    codec = spec_of(name).make()
    same = np.repeat(docs()[:1], 300, axis=0)
    codec.fit(same)
    decoded = codec.decode(codec.encode(same))
    assert np.isfinite(decoded).all()


@every_method
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_is_refused(name: str, bad: float) -> None:
    broken = docs()[:300].copy()
    broken[17, 3] = bad
    with pytest.raises(VectorsError, match="row 17"):
        spec_of(name).make().fit(broken)
    with pytest.raises(VectorsError, match="row 17"):
        fitted(name).codec.encode(broken)
    with pytest.raises(VectorsError, match="row 17"):
        fitted(name).codec.search(broken, fitted(name).codes, K)


@every_method
def test_wrong_shapes_are_refused(name: str) -> None:
    codec, codes = fitted(name)
    for wrong in (docs()[:5, : D - 1], docs()[0], np.empty((0, D), np.float32), np.full((2, D), "x")):
        with pytest.raises(VectorsError):
            codec.encode(wrong)
        with pytest.raises(VectorsError):
            codec.search(wrong, codes, K)
    with pytest.raises(VectorsError):
        spec_of(name).make().fit(np.empty((0, D), np.float32))


@every_method
def test_other_layouts_and_precisions(name: str) -> None:
    codec = fitted(name).codec
    some = docs()[:50]
    assert bytes_of(codec.encode(np.asfortranarray(some))) == bytes_of(codec.encode(some))
    assert bytes_of(codec.encode(some.astype(np.float64))) == bytes_of(codec.encode(some))
    half = some.astype(np.float16)
    assert bytes_of(codec.encode(half)) == bytes_of(codec.encode(half.astype(np.float32)))


@every_method
def test_wrong_parameters_are_named(name: str) -> None:
    settings = spec_of(name).settings
    with pytest.raises(MethodError, match="scoring"):
        instantiated({**settings, "scoring": "by_ear"})
