"""Every law of the contract for terms with weights, over every yaml whose `about.takes` is "terms".

A new yaml is covered with no line added here. Parameters that make a slow method quick stand in it: `about.test`.
"""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from omegaconf import OmegaConf
from safetensors.numpy import save_file

from harness.evaluation.index_files import CODES_FILE, STATE_FILE, read_index, write_index
from harness.runs.catalogue import members, method_card, parameters
from harness.runs.config import instantiated
from methods.base import Codes, MethodError, NotFittedError, VectorsError
from methods.representations import SparseVectors, as_sparse, exact_search
from methods.sparse.codec import SparseCodec
from tests.conftest import bytes_of, methods_for, settings_of
from tests.fresh_process import FreshProcess
from tests.methods.sparse.collections import by_hand, sparse_collection
from vecbudget.index import CODES, IDS, STATE, Ids, seal

N, WIDTH, M, K = 600, 3000, 12, 20
NAMES = methods_for("terms")

# in the module's scope: all laws of a method run one after the other, on what one process fitted once
every_method = pytest.mark.parametrize("name", NAMES, scope="module")


def make(name: str, **changes: float) -> SparseCodec:
    codec = instantiated(settings_of(name, **changes))
    assert isinstance(codec, SparseCodec)
    return codec


@functools.cache
def docs() -> SparseVectors:
    """With a document without terms, one with a tiny weight, one with a large one, and two that are equal."""
    odd = by_hand([{}, {7: 1e-6, 2999: 30.0}, {0: 0.25, 11: 1.5, 12: 0.5}, {0: 0.25, 11: 1.5, 12: 0.5}], WIDTH)
    ordinary = sparse_collection(N - 4, WIDTH)
    return SparseVectors.concatenate([ordinary[:100], odd, ordinary[100:]])


@functools.cache
def queries() -> SparseVectors:
    """With one that asks for nothing, and one for a term that no document has."""
    unknown = int(np.flatnonzero(np.bincount(docs().terms, minlength=WIDTH) == 0)[0])
    return SparseVectors.concatenate(
        [sparse_collection(M - 2, WIDTH, 15, seed=1), by_hand([{}, {unknown: 2.0}], WIDTH)]
    )


class Fitted(NamedTuple):
    codec: SparseCodec
    codes: Codes
    decoded: SparseVectors


@functools.cache
def fitted(name: str) -> Fitted:
    codec = make(name)
    assert codec.fit(docs()) is codec, "fit returns self"
    codes = codec.encode(docs())
    return Fitted(codec, codes, codec.decode(codes))


def same(one: SparseVectors, two: SparseVectors) -> bool:
    return one.width == two.width and all(
        np.array_equal(getattr(one, key), getattr(two, key)) for key in ("indptr", "terms", "weights")
    )


@every_method
def test_describes_itself(name: str) -> None:
    about = OmegaConf.create(members("method")[name].read_text("utf-8")).about
    stores = {"store", "switch", "version", "evidence", "setting"} if "store" in about else set()
    described = {"family", "takes", "summary", "source", "bytes", "training", "queries"}
    assert set(about) - {"exceptions", "test"} == described | stores
    assert about.family == ("vector store" if stores else "terms") and about.queries is False
    assert about.get("evidence", "source") in ("source", "docs", "paper")
    assert method_card(members("method")[name])["takes"] == make(name).takes == "terms"


@every_method
def test_says_whether_it_learns(name: str) -> None:
    """`about.training`: what `fit` keeps (or a corpus-wide `encode` stores) depends on the documents."""
    other = make(name).fit(sparse_collection(N, WIDTH, seed=9))
    before, after = fitted(name).codec.state(), other.state()
    learns = before.keys() != after.keys() or any(before[key].tobytes() != after[key].tobytes() for key in before)
    assert method_card(members("method")[name])["training"] == (learns or not other.row_wise)


@every_method
def test_decoded_documents_are_terms_of_the_documents_with_weights_near_theirs(name: str) -> None:
    decoded = as_sparse(fitted(name).decoded, "decoded", WIDTH)
    assert decoded.shape == docs().shape
    given = docs().to_csr().toarray()
    stored = decoded.to_csr().toarray()
    kept = stored > 0
    if fitted(name).codec.makes_up_terms:
        made_up = np.mean(given[kept] == 0)
        assert 0 < made_up < 1 and kept[given > 0].mean() > 2 * kept.mean()
        kept &= given > 0
    assert (given[kept] > 0).all(), "no term is made up"
    # ranked within documents, what is dropped is not stronger than all that is kept
    assert given[kept].mean() >= given[given > 0].mean() * 0.999
    far = np.abs(stored - given)[kept] / np.maximum(given[kept], 0.1)
    assert np.median(far) < 0.75


@every_method
def test_search_is_the_exact_search_of_what_is_decoded(name: str) -> None:
    codec, codes, decoded = fitted(name)
    scores, rows = codec.search(queries(), codes, K)
    full = queries().to_csr().toarray().astype(np.float64) @ decoded.to_csr().toarray().astype(np.float64).T
    assert rows.dtype == np.int64 and scores.dtype == np.float32 and rows.shape == scores.shape == (M, K)
    assert np.allclose(np.take_along_axis(full, rows, axis=1), -np.sort(-full, axis=1)[:, :K], atol=1e-5)
    assert np.allclose(codec.score(queries(), codes), full, rtol=1e-5)
    tied = np.diff(scores, axis=1) == 0
    assert (np.diff(scores, axis=1) <= 0).all() and (np.diff(rows, axis=1)[tied] > 0).all()
    unanswered = slice(M - 2, M - 1 if codec.makes_up_terms else M)
    assert (rows[unanswered] == np.arange(K)).all() and (scores[unanswered] == 0).all(), "a query that nothing answers"
    found = exact_search(queries(), decoded, K)
    assert np.array_equal(found[0], scores) and np.array_equal(found[1], rows)


@every_method
def test_search_does_not_depend_on_the_other_queries(name: str) -> None:
    codec, codes, _ = fitted(name)
    scores, rows = codec.search(queries(), codes, K)
    few = codec.search(queries()[3:5], codes, K)
    assert np.array_equal(few[0], scores[3:5]) and np.array_equal(few[1], rows[3:5])


@every_method
def test_encoding_is_row_wise(name: str) -> None:
    codec, codes, _ = fitted(name)
    if not codec.row_wise:
        pytest.skip("not row-wise by declaration")
    for chunk in (1, 47):
        stop = 160 if chunk == 1 else N
        chunks = [codec.encode(docs()[start : min(stop, start + chunk)]) for start in range(0, stop, chunk)]
        assert bytes_of(Codes.concatenate(chunks)) == bytes_of(codes[:stop])
    assert same(codec.decode(codes[90:110]), fitted(name).decoded[90:110])


@every_method
def test_equal_documents_tie(name: str) -> None:
    scores = fitted(name).codec.score(queries(), fitted(name).codes)
    assert np.array_equal(scores[:, 102], scores[:, 103])


@every_method
def test_k_beyond_the_collection(name: str) -> None:
    codec, codes, _ = fitted(name)
    scores, rows = codec.search(queries(), codes, 10 * N)
    assert rows.shape == scores.shape == (M, N) and (np.sort(rows, axis=1) == np.arange(N)).all()
    with pytest.raises(MethodError, match="k must be"):
        codec.search(queries(), codes, 0)


@every_method
def test_documents_without_terms(name: str) -> None:
    codec = fitted(name).codec
    codes = codec.encode(by_hand([{}, {}], WIDTH))
    assert codec.decode(codes).nnz == 0 and codec.decode(codes).shape == (2, WIDTH)
    assert (codec.search(queries(), codes, 2)[0] == 0).all()


@every_method
def test_one_document(name: str) -> None:
    codec = make(name)
    try:
        codes = codec.fit(docs()[:1]).encode(docs()[:1])
    except MethodError as error:
        assert "nbytes" in str(error)
        return
    assert (codec.search(queries(), codes, K)[1] == 0).all()


@every_method
def test_bytes_are_those_of_the_files(name: str, tmp_path: Path) -> None:
    codec, codes, decoded = fitted(name)
    storage = write_index(tmp_path, codec, codes)
    assert round(storage.code_bytes_per_vector * N) == codes.nbytes == sum(map(len, bytes_of(codes).values()))
    assert storage.index_bytes == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    fresh, read = read_index(tmp_path, make(name))
    assert bytes_of(read) == bytes_of(codes) and same(fresh.decode(read), decoded)
    if codec.row_wise:
        chunks = [codec.encode(docs()[start : start + 250]) for start in range(0, N, 250)]
        again = tmp_path / "chunks"
        again.mkdir()
        assert write_index(again, codec, iter(chunks), N) == storage
        assert {path.name: path.read_bytes() for path in again.iterdir()} == {
            path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()
        }


FRESH = """
import json, sys
for package in ("torch", "pandas"):
    sys.modules[package] = None  # importing it fails
import numpy as np
from hydra.utils import instantiate
from harness.evaluation.index_files import read_index
from methods.representations import SparseVectors
from vecbudget import CompressedIndex

def ranked(folder, k):
    asked = np.load(folder / "queries.npz")
    queries = SparseVectors(asked["indptr"], asked["terms"], asked["weights"], int(asked["width"]))
    fresh = instantiate(json.loads((folder / "settings.json").read_text()), _convert_="all")
    codec, codes = read_index(folder, fresh)
    scores, rows = codec.search(queries, codes, k)
    exported_scores, ids = CompressedIndex.load(folder / "export").search(queries, k)
    return {"scores": scores, "rows": rows, "exported scores": exported_scores, "exported rows": ids.astype(int)}
"""


@pytest.fixture(scope="module")
def fresh_process() -> Iterator[FreshProcess]:
    with FreshProcess(FRESH) as process:
        yield process


def export(folder: Path, name: str) -> None:
    """Write what `vecbudget export` writes: the two files, ids, and a manifest that names the parts."""
    write_index(folder, fitted(name).codec, fitted(name).codes)
    (folder / CODES_FILE).rename(folder / CODES)
    (folder / STATE_FILE).rename(folder / STATE)
    ids = Ids.of([str(row) for row in range(N)])
    save_file({"text": ids.text, "ends": ids.ends}, folder / IDS)
    seal(folder, {"method": settings_of(name), "n": N, "dim": WIDTH}, (CODES, STATE, IDS))


@every_method
def test_save_and_load_in_a_fresh_process(name: str, tmp_path: Path, fresh_process: FreshProcess) -> None:
    np.savez(tmp_path / "queries.npz", **vars(queries()))
    write_index(tmp_path, fitted(name).codec, fitted(name).codes)
    (tmp_path / "export").mkdir()
    export(tmp_path / "export", name)
    (tmp_path / "settings.json").write_text(json.dumps(settings_of(name)))
    loaded = fresh_process.ranked(tmp_path, K)
    scores, rows = fitted(name).codec.search(queries(), fitted(name).codes, K)
    for found_there in ("", "exported "):
        assert np.array_equal(loaded[f"{found_there}rows"], rows)
        assert np.array_equal(loaded[f"{found_there}scores"], scores)


@every_method
def test_damaged_bytes_are_read_as_something_or_refused(name: str) -> None:
    """Readers are compiled: what leads beyond an array must not be followed."""
    codec, codes, _ = fitted(name)
    rng = np.random.default_rng(0)
    for _ in range(20):
        arrays = {key: array.copy() for key, array in codes.to_arrays().items()}
        (longest,) = (
            key for key in arrays if key in ("ragged.documents", "shared.postings", "shared.blocks", "signatures")
        )
        damaged = rng.integers(0, arrays[longest].size, 50)
        arrays[longest].reshape(-1)[damaged] = rng.choice(np.array([0, 255, 128, 77], np.uint8), 50)
        try:
            found, _ = codec.search(queries(), Codes.from_arrays(N, arrays), K)
        except MethodError as error:
            assert "damaged codes" in str(error)
            continue
        assert found.shape == (M, K)


@every_method
def test_unfitted_use_is_a_named_error(name: str) -> None:
    codec = make(name)
    for use in (
        lambda: codec.encode(docs()),
        lambda: codec.decode(fitted(name).codes),
        lambda: codec.search(queries(), fitted(name).codes, K),
        codec.state,
    ):
        with pytest.raises(NotFittedError):
            use()


@every_method
def test_what_is_no_weight_or_no_collection_is_refused(name: str) -> None:
    codec, codes, _ = fitted(name)
    for weight in (np.nan, np.inf, -1.0):
        broken = by_hand([{1: 1.0}, {2: 1.0, 5: weight}], WIDTH)
        for use in (make(name).fit, codec.encode, lambda wrong: codec.search(wrong, codes, K)):
            with pytest.raises(VectorsError, match="row 1"):
                use(broken)
    for wrong in (by_hand([{1: 1.0}], WIDTH - 1), by_hand([], WIDTH), np.ones((2, WIDTH), np.float32)):
        with pytest.raises(VectorsError):
            codec.encode(wrong)


@every_method
def test_inputs_and_state_are_not_changed(name: str) -> None:
    codec, codes, _ = fitted(name)
    given = [array.copy() for array in (docs().indptr, docs().terms, docs().weights)]
    before = {key: array.tobytes() for key, array in codec.state().items()}
    codec.search(queries(), codec.encode(docs()), K)
    assert bytes_of(codec.encode(docs())) == bytes_of(codes)
    assert all(map(np.array_equal, given, (docs().indptr, docs().terms, docs().weights)))
    assert {key: array.tobytes() for key, array in codec.state().items()} == before


@every_method
def test_a_large_vocabulary_is_taken_or_refused_with_the_reason(name: str) -> None:
    wide = by_hand([{0: 1.0, 69_999: 0.5}, {65_535: 0.25, 65_536: 1.0}], 70_000)
    codec = make(name, **({"nbytes": 40} if "nbytes" in parameters(members("method")[name]) else {}))
    try:
        decoded = codec.fit(wide).decode(codec.encode(wide))
    except MethodError as error:
        assert "70000" in str(error)
        return
    made_up = set(decoded.terms) - {0, 65_535, 65_536, 69_999}
    assert (codec.makes_up_terms or not made_up) and 65_536 in decoded.terms


WITH_BUDGET = [name for name in NAMES if "nbytes" in parameters(members("method")[name])]


@pytest.mark.parametrize("nbytes", [24, 60])
@pytest.mark.parametrize("name", WITH_BUDGET)
def test_a_budget_is_met_within_two_percent(name: str, nbytes: int) -> None:
    codec = make(name, nbytes=nbytes).fit(docs())
    whole = make(name, nbytes=10_000).fit(docs()).encode(docs()).nbytes / N
    size = codec.encode(docs()).nbytes / N
    assert nbytes * 0.98 <= size <= nbytes or whole < nbytes
