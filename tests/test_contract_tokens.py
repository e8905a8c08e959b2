"""Every law of the contract for token vectors, over every yaml whose `about.takes` is "tokens".

A new yaml is covered with no line added here. Parameters that make a slow method quick stand in it, `about.test`, and
the laws that its convention breaks, with the reason: `about.exceptions`.
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
from harness.runs.catalogue import members, method_card
from harness.runs.config import instantiated
from methods.base import Codec, Codes, MethodError, NotFittedError, VectorsError
from methods.token_vectors import TokenVectors
from tests.conftest import bytes_of, methods_for, settings_of
from tests.fresh_process import FreshProcess
from tests.methods.multivector.collections import token_collection
from vecbudget.index import CODES, IDS, STATE, Ids, seal

N, WIDTH, M, K = 320, 32, 9, 20
LONG = 2000
NAMES = methods_for("tokens")

# in the module's scope: all laws of a method run one after the other, on what one process fitted once
every_method = pytest.mark.parametrize("name", NAMES, scope="module")


def make(name: str) -> Codec:
    codec = instantiated(settings_of(name))
    assert isinstance(codec, Codec)
    return codec


def law(name: str, which: str) -> None:
    """Skip a law that a method's convention breaks, with its yaml's reason."""
    about = OmegaConf.create(members("method")[name].read_text("utf-8")).about
    reason = (about.get("exceptions") or {}).get(which)
    if reason is not None:
        pytest.skip(f"{which}: {reason}")


@functools.cache
def docs() -> TokenVectors:
    """With a document of no token, one of a single token, one of 2,000, and two that are equal."""
    ordinary = token_collection(N - 5, WIDTH)
    long = token_collection(LONG, WIDTH, 1.5, seed=8).values[:LONG]
    twin = ordinary.matrices()[7]
    odd = TokenVectors.of([np.empty((0, WIDTH), np.float32), ordinary.values[:1], long, twin, twin], WIDTH)
    return TokenVectors.concatenate([ordinary[:100], odd, ordinary[100:]])


@functools.cache
def queries() -> TokenVectors:
    """With one of no token."""
    return TokenVectors.concatenate(
        [token_collection(M - 1, WIDTH, 5, seed=1), TokenVectors.of([np.empty((0, WIDTH), np.float32)], WIDTH)]
    )


def fit(codec: Codec, on: TokenVectors) -> Codec:
    """Fit it, with queries that are beginnings of documents where it learns from some."""
    if not codec.wants_queries:
        return codec.fit(on)
    rows = np.flatnonzero(on.counts > 3)[:60]
    asked = TokenVectors.of([on.values[on.offsets[row] :][:3] for row in rows])
    return codec.fit(on, asked, np.column_stack([np.arange(len(rows)), rows]))


class Fitted(NamedTuple):
    codec: Codec
    codes: Codes


@functools.cache
def fitted(name: str) -> Fitted:
    codec = make(name)
    assert fit(codec, docs()) is codec, "fit returns self"
    return Fitted(codec, codec.encode(docs()))


def fit_on_few(name: str) -> dict[str, np.ndarray]:
    """Return the state that other documents leave: as few and as short as will do for codebooks of 256."""
    return fit(make(name), token_collection(260, WIDTH, 4, seed=9)).state()


fitted_on_few = functools.cache(fit_on_few)


@functools.cache
def found(name: str) -> tuple[np.ndarray, np.ndarray]:
    codec, codes = fitted(name)
    return codec.search(queries(), codes, K)


@every_method
def test_describes_itself(name: str) -> None:
    about = OmegaConf.create(members("method")[name].read_text("utf-8")).about
    stores = {"store", "switch", "version", "evidence", "setting"} if "store" in about else set()
    described = {"family", "takes", "summary", "source", "bytes", "training", "queries"}
    assert set(about) - {"exceptions", "test"} == described | stores
    assert about.family == ("vector store" if stores else "tokens")
    assert about.queries == make(name).wants_queries
    assert about.get("evidence", "source") in ("source", "docs", "paper")
    assert method_card(members("method")[name])["takes"] == make(name).takes == "tokens"


@every_method
def test_says_whether_it_learns(name: str) -> None:
    """`about.training`: what `fit` keeps depends on the documents."""
    before, after = fitted(name).codec.state(), fitted_on_few(name)
    learns = before.keys() != after.keys() or any(before[key].tobytes() != after[key].tobytes() for key in before)
    assert method_card(members("method")[name])["training"] == learns


@every_method
def test_search_agrees_with_score(name: str) -> None:
    law(name, "search_agrees_with_score")
    codec, codes = fitted(name)
    scores, rows = found(name)
    full = codec.score(queries(), codes)
    assert full.shape == (M, N) and full.dtype == np.float32 and np.isfinite(full).all()
    assert rows.dtype == np.int64 and scores.dtype == np.float32 and rows.shape == scores.shape == (M, K)
    assert np.allclose(np.take_along_axis(full, rows, axis=1), scores, rtol=1e-5, atol=1e-5)
    assert np.allclose(-np.sort(-full, axis=1)[:, :K], scores, rtol=1e-5, atol=1e-5)


@every_method
def test_rankings_are_in_order_and_ties_by_row(name: str) -> None:
    scores, rows = found(name)
    tied = np.diff(scores, axis=1) == 0
    assert (np.diff(scores, axis=1) <= 0).all() and (np.diff(rows, axis=1)[tied] > 0).all()
    if "rescore" not in str(settings_of(name)).lower():
        # documents that are not read again are put behind the others
        assert len(np.unique(scores[-1])) == 1, "a query of no token likes all documents alike"


@every_method
def test_ranks_as_the_vectors_do(name: str) -> None:
    """Better than chance by far: what is stored are these documents."""
    law(name, "ranks_as_the_vectors_do")
    exact = fitted("tokens_float32").codec.search(queries(), fitted("tokens_float32").codes, 10)[1][:-1]
    shared = [len(set(mine) & set(theirs)) for mine, theirs in zip(found(name)[1][:-1], exact, strict=True)]
    assert np.mean(shared) > 10 * 10 * K / N / 4


@every_method
def test_search_does_not_depend_on_the_other_queries(name: str) -> None:
    codec, codes = fitted(name)
    scores, rows = codec.search(queries()[3:5], codes, K)
    assert np.array_equal(scores, found(name)[0][3:5]) and np.array_equal(rows, found(name)[1][3:5])


@every_method
def test_encoding_is_row_wise(name: str) -> None:
    codec, codes = fitted(name)
    assert codec.row_wise
    for chunk, first, last in ((1, 95, 115), (47, 0, N)):
        chunks = [codec.encode(docs()[start : min(last, start + chunk)]) for start in range(first, last, chunk)]
        assert bytes_of(Codes.concatenate(chunks)) == bytes_of(codes[first:last])


@every_method
def test_float16_vectors_are_taken(name: str) -> None:
    half = TokenVectors(docs().values.astype(np.float16), docs().offsets)
    wide = half.float32()
    codec = fitted(name).codec
    assert bytes_of(codec.encode(half[90:120])) == bytes_of(codec.encode(wide[90:120]))


@every_method
def test_equal_documents_tie(name: str) -> None:
    scores = fitted(name).codec.score(queries(), fitted(name).codes)
    assert np.array_equal(scores[:, 103], scores[:, 104])


@every_method
def test_k_beyond_the_collection(name: str) -> None:
    codec, codes = fitted(name)
    scores, rows = codec.search(queries(), codes, 10 * N)
    assert rows.shape == scores.shape == (M, N) and (np.sort(rows, axis=1) == np.arange(N)).all()
    with pytest.raises(MethodError, match="k must be"):
        codec.search(queries(), codes, 0)


@every_method
def test_documents_without_tokens(name: str) -> None:
    codec = fitted(name).codec
    codes = codec.encode(docs()[100:101])
    assert codes.n == 1 and np.isfinite(codec.search(queries(), codes, 1)[0]).all()
    if isinstance(decoded := codec.decode(codes), TokenVectors):
        assert decoded.tokens == 0 and (codec.score(queries(), codes) == 0).all()


@every_method
def test_bytes_are_those_of_the_files(name: str, tmp_path: Path) -> None:
    codec, codes = fitted(name)
    storage = write_index(tmp_path, codec, codes)
    assert round(storage.code_bytes_per_vector * N) == codes.nbytes == sum(map(len, bytes_of(codes).values()))
    assert storage.index_bytes == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert bytes_of(read_index(tmp_path, make(name))[1]) == bytes_of(codes)
    chunks = [codec.encode(docs()[start : start + 150]) for start in range(0, N, 150)]
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
from methods.token_vectors import TokenVectors
from vecbudget import CompressedIndex

def ranked(folder, k):
    asked = np.load(folder / "queries.npz")
    queries = TokenVectors(asked["values"], asked["offsets"])
    fresh = instantiate(json.loads((folder / "settings.json").read_text()), _convert_="all")
    codec, codes = read_index(folder, fresh, mapped=True)
    scores, rows = codec.search(queries, codes, k)
    exported_scores, ids = CompressedIndex.load(folder / "export").search(queries.matrices(), k)
    return {"scores": scores, "rows": rows, "exported scores": exported_scores, "exported rows": ids.astype(int)}
"""


@pytest.fixture(scope="module")
def fresh_process() -> Iterator[FreshProcess]:
    with FreshProcess(FRESH) as process:
        yield process


def export(folder: Path, name: str) -> None:
    """Write what `vecbudget export` writes: the two files, ids, and a manifest that names the parts."""
    write_index(folder, *fitted(name))
    (folder / CODES_FILE).rename(folder / CODES)
    (folder / STATE_FILE).rename(folder / STATE)
    ids = Ids.of([str(row) for row in range(N)])
    save_file({"text": ids.text, "ends": ids.ends}, folder / IDS)
    seal(folder, {"method": settings_of(name), "n": N, "dim": WIDTH}, (CODES, STATE, IDS))


@every_method
def test_save_and_load_in_a_fresh_process(name: str, tmp_path: Path, fresh_process: FreshProcess) -> None:
    np.savez(tmp_path / "queries.npz", values=queries().values, offsets=queries().offsets)
    write_index(tmp_path, *fitted(name))
    (tmp_path / "export").mkdir()
    export(tmp_path / "export", name)
    (tmp_path / "settings.json").write_text(json.dumps(settings_of(name)))
    loaded = fresh_process.ranked(tmp_path, K)
    scores, rows = found(name)
    for found_there in ("", "exported "):
        assert np.array_equal(loaded[f"{found_there}rows"], rows)
        assert np.array_equal(loaded[f"{found_there}scores"], scores)


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
def test_what_is_no_number_or_no_collection_is_refused(name: str) -> None:
    codec, codes = fitted(name)
    for number in (np.nan, np.inf):
        values = docs().values[:40].copy()
        values[25, 3] = number
        broken = TokenVectors(values, np.array([0, 10, 20, 40]))
        for use in (make(name).fit, codec.encode, lambda wrong: codec.search(wrong, codes, K)):
            with pytest.raises(VectorsError, match=r"row 2 \(its vector 5\)"):
                use(broken)
    narrow = TokenVectors(docs().values[:, 1:].copy(), docs().offsets)
    nothing = TokenVectors(docs().values, np.array([0]))
    beyond = TokenVectors(docs().values[:5], np.array([0, 9]))
    for wrong in (narrow, nothing, beyond, np.ones((2, WIDTH), np.float32)):
        with pytest.raises(VectorsError):
            codec.encode(wrong)


@every_method
def test_inputs_and_state_are_not_changed(name: str) -> None:
    codec, codes = fitted(name)
    given = docs().values.copy(), docs().offsets.copy()
    before = {key: array.tobytes() for key, array in codec.state().items()}
    codec.search(queries(), codec.encode(docs()), K)
    assert bytes_of(codec.encode(docs())) == bytes_of(codes)
    assert np.array_equal(given[0], docs().values) and np.array_equal(given[1], docs().offsets)
    assert {key: array.tobytes() for key, array in codec.state().items()} == before


@every_method
def test_the_same_seed_gives_the_same_bytes(name: str) -> None:
    again = fit_on_few(name)
    assert {key: array.tobytes() for key, array in fitted_on_few(name).items()} == {
        key: array.tobytes() for key, array in again.items()
    }
