"""Corpora encoded in parts, and caches of float16; as a script, this file is a process that encodes or joins."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from safetensors.numpy import save_file

from harness.base.errors import CacheError, ConfigError, ModelError
from harness.data import embedding_cache
from harness.data.embedding_cache import embed, fill
from harness.data.models.float16 import Rounded, cached_as
from harness.data.models.vectors import VectorModel
from harness.data.shards import Shard, Share, expanded
from harness.evaluation.cost import Memory, peak_memory
from harness.runs.config import shared
from harness.runs.run import run
from harness.runs.store import Store
from tests.conftest import ROOT
from tests.harness.data.test_embedding_cache import (
    DIM,
    N_DOCS,
    HashEncoder,
    documents_file,
    expected,
    flip,
    make_dataset,
    wait_for,
)
from tests.harness.runs.test_launchers import LAUNCHERS, launched

TOY = """
import hashlib, os
from dataclasses import dataclass
from pathlib import Path
import numpy as np

@dataclass(frozen=True)
class Toy:
    dim: int = 16
    name = label = "toy"

    def identity(self, role, task):
        return {"model": "toy", "dim": self.dim, "role": role}

    def encode(self, texts, role, task):
        if "TOY_NOTES" in os.environ:
            with Path(os.environ["TOY_NOTES"], f"{role}-{os.getpid()}").open("a") as notes:
                notes.write("".join(f"{text}\\n" for text in texts))
        seeds = [int.from_bytes(hashlib.sha256(f"{role}:{text}".encode()).digest()[:8], "little") for text in texts]
        return np.stack([np.random.default_rng(seed).standard_normal(self.dim) for seed in seeds]).astype(np.float32)
"""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "CHUNK_CHARACTERS", 400)
    monkeypatch.setattr(embedding_cache, "FLUSH_SECONDS", 0.0)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file but the locks."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.suffix != ".lock"}


@pytest.fixture
def straight(tmp_path: Path) -> Path:
    """The cache of one process."""
    embed(make_dataset(), HashEncoder(), tmp_path / "straight")
    return tmp_path / "straight"


def encode(directory: Path, part: int, of: int, encoder: HashEncoder | None = None) -> HashEncoder:
    encoder = HashEncoder() if encoder is None else encoder
    fill(make_dataset(), encoder, directory, Shard(part, of))
    return encoder


@pytest.mark.parametrize("of", [1, 3, 7, 100])
def test_parts_join_to_the_file_of_one_process(of: int, straight: Path, tmp_path: Path) -> None:
    whole = HashEncoder()
    embed(make_dataset(), whole, tmp_path / "again")
    calls = []
    for part in np.random.default_rng(of).permutation(of) + 1:
        calls += encode(tmp_path / "parts", int(part), of).calls
    assert contents(tmp_path / "parts") == contents(straight)
    assert sorted(calls) == sorted(whole.calls), "a model is given the same batches"
    assert not list((tmp_path / "parts").glob("*-*")), "no part is left, nor its lock"
    embed(make_dataset(), HashEncoder(fail_at=0), tmp_path / "parts")


def test_parts_take_similar_work() -> None:
    lengths = np.random.default_rng(0).integers(0, 2000, size=1000)
    chunks = embedding_cache.length_chunks(lengths)
    shares = [Share.of_shard(chunks, shard) for shard in Shard.all(8)]
    np.testing.assert_array_equal(np.sort(np.concatenate([share.rows for share in shares])), np.arange(1000))
    work = [lengths[share.rows].sum() for share in shares]
    assert max(work) < 1.02 * min(work)
    assert all((np.diff(share.rows) > 0).all() for share in shares)


def test_a_run_encodes_the_missing_part_only(straight: Path, tmp_path: Path) -> None:
    encoded = sum(encode(tmp_path / "parts", part, 4).count("document") for part in (1, 2, 4))
    rest = HashEncoder()
    np.testing.assert_array_equal(embed(make_dataset(), rest, tmp_path / "parts").docs, expected(make_dataset()))
    assert 0 < rest.count("document") == N_DOCS - encoded
    assert contents(tmp_path / "parts") == contents(straight)


def test_parts_of_other_machines_are_copied_in(straight: Path, tmp_path: Path) -> None:
    for part in (1, 2, 3):
        encode(tmp_path / f"machine{part}", part, 3)
    (tmp_path / "here").mkdir()
    for part in (1, 2, 3):
        for path in (tmp_path / f"machine{part}").iterdir():
            shutil.copy(path, tmp_path / "here")
    embed(make_dataset(), HashEncoder(fail_at=0), tmp_path / "here")
    assert contents(tmp_path / "here") == contents(straight)


def test_an_interrupted_part_is_finished(straight: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode(tmp_path / "parts", 2, 2, HashEncoder(fail_at=2))
    encode(tmp_path / "parts", 1, 2)
    rest = encode(tmp_path / "parts", 2, 2)
    assert 0 < rest.count("document") < N_DOCS / 2
    assert contents(tmp_path / "parts") == contents(straight)


def test_of_two_divisions_the_one_with_more_is_gone_on_with(straight: Path, tmp_path: Path) -> None:
    encode(tmp_path, 1, 7)
    encode(tmp_path, 1, 2)
    with pytest.raises(KeyboardInterrupt):
        encode(tmp_path, 2, 3, HashEncoder(fail_at=1))
    (tmp_path / f"{documents_file(straight).stem}-9of8.npy").write_text("no part")
    rest = HashEncoder()
    embed(make_dataset(), rest, tmp_path)
    assert 0.3 * N_DOCS < rest.count("document") < 0.7 * N_DOCS
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert [name for name in names if "-" in name] == [f"{documents_file(straight).stem}-9of8.npy"]


DAMAGE: dict[str, Callable[[Path], object]] = {
    "its checksum differs": lambda npy: flip(npy, -1),
    "is damaged": lambda npy: os.truncate(npy, npy.stat().st_size - 1),
    "belongs to something else": lambda npy: [
        shutil.copy(npy.with_name(npy.name.replace("-1of", "-2of")).with_suffix(end), npy.with_suffix(end))
        for end in (".npy", ".json")
    ],
    "has lost its description": lambda npy: npy.with_suffix(".json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_part_is_named_and_made_again(damage: str, straight: Path, tmp_path: Path) -> None:
    for part in (1, 2):
        encode(tmp_path / "parts", part, 3)
    (npy,) = (tmp_path / "parts").glob("*-1of3.npy")
    DAMAGE[damage](npy)
    for attempt in (lambda: encode(tmp_path / "parts", 3, 3), lambda: embed(make_dataset(), HashEncoder(), npy.parent)):
        with pytest.raises(CacheError) as raised:
            attempt()
        assert str(npy) in str(raised.value) and damage in str(raised.value)
    assert not (npy.parent / documents_file(straight).name).exists()
    npy.unlink()
    again = HashEncoder()
    embed(make_dataset(), again, npy.parent)
    assert 0 < again.count("document") < N_DOCS / 2
    assert contents(npy.parent) == contents(straight)


def test_parts_of_another_width_are_named(tmp_path: Path) -> None:
    class Wide(HashEncoder):
        def encode(self, texts: object, role: str, task: str | None) -> np.ndarray:
            return np.ones((len(texts), DIM + 1), np.float32)  # type: ignore[arg-type]

    encode(tmp_path, 1, 2)
    with pytest.raises(CacheError, match=r"-2of2.npy has 9 dimensions and .*-1of2.npy has 8"):
        encode(tmp_path, 2, 2, Wide())


@pytest.mark.parametrize("place", ["release", "array_checksum", "_write_json"])
def test_an_interrupted_join_is_done_again(
    place: str, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in (1, 2):
        encode(tmp_path / "parts", part, 3)
    with monkeypatch.context() as patch:
        original = getattr(embedding_cache, place)

        def interrupted(*arguments: object) -> object:
            if list((tmp_path / "parts").glob(f"{documents_file(straight).stem}.partial")):
                raise KeyboardInterrupt
            return original(*arguments)

        patch.setattr(embedding_cache, place, interrupted)
        with pytest.raises(KeyboardInterrupt):
            encode(tmp_path / "parts", 3, 3)
    assert not (tmp_path / "parts" / documents_file(straight).name).exists()
    embed(make_dataset(), HashEncoder(fail_at=0), tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(straight)


def start(what: str, directory: Path, *arguments: str) -> subprocess.Popen[str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, __file__, what, str(directory), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )


def test_a_killed_join_is_done_again(straight: Path, tmp_path: Path) -> None:
    for part in (1, 2):
        encode(tmp_path / "parts", part, 3)
    joined = tmp_path / "parts" / documents_file(straight).name
    with start("join", tmp_path / "parts") as worker:
        wait_for(lambda: joined.with_suffix(".partial").exists())
        time.sleep(0.2)
        worker.kill()
    assert worker.returncode != 0 and not joined.exists()
    embed(make_dataset(), HashEncoder(fail_at=0), tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(straight)


def test_of_two_processes_one_encodes_a_part(tmp_path: Path) -> None:
    with start("part", tmp_path, "0.1") as first, start("part", tmp_path, "0.1") as second:
        counts = sorted(json.loads(worker.communicate(timeout=60)[0]) for worker in (first, second))
    assert counts[0] == 0 and 0 < counts[1] < N_DOCS


def test_a_run_does_what_is_left_and_waits_for_who_is_at_work(straight: Path, tmp_path: Path) -> None:
    slow = HashEncoder(delay=0.05)
    worker = threading.Thread(target=encode, args=(tmp_path / "parts", 2, 3, slow))
    worker.start()
    wait_for(lambda: bool(list((tmp_path / "parts").glob("*-2of3.partial"))))
    rest = HashEncoder()
    embed(make_dataset(), rest, tmp_path / "parts")
    worker.join()
    assert slow.count("document") + rest.count("document") == N_DOCS
    assert contents(tmp_path / "parts") == contents(straight)


def test_joining_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n, dim = 30_000, 512

    class Wide(HashEncoder):
        def encode(self, texts: object, role: str, task: str | None) -> np.ndarray:
            numbers = np.array([int(text) for text in texts], dtype=np.float32)  # type: ignore[union-attr, attr-defined]
            return np.repeat(numbers[:, None], dim, axis=1)

    monkeypatch.setattr(embedding_cache, "CHUNK_CHARACTERS", 5_000)
    monkeypatch.setattr(embedding_cache, "HASH_BYTES", 1 << 20)
    texts = [str(i) for i in range(n)]
    dataset = make_dataset(doc_ids=[f"{i:06d}" for i in range(n)], doc_texts=texts, query_texts=["1", "2", "3"])
    for part in (1, 2, 3):
        fill(dataset, Wide(), tmp_path, Shard(part, 4))
    with monkeypatch.context() as patch:
        patch.setattr(embedding_cache.Cache, "_join", lambda *_: None)
        fill(dataset, Wide(), tmp_path, Shard(4, 4))
    memory = Memory()
    with peak_memory(memory):
        fill(dataset, Wide(fail_at=0), tmp_path, Shard(4, 4))
    vectors = embed(dataset, Wide(fail_at=0), tmp_path)
    assert memory.peak - memory.before < 0.5 * vectors.docs.nbytes
    np.testing.assert_array_equal(vectors.docs[:, 0], np.arange(n)[::-1])


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5", "1 / 3", ""])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="shard must be PART/PARTS"):
        Shard.parse(text)


def test_a_range_of_parts_is_written_out() -> None:
    assert expanded("shard=2-4/8") == "shard=2/8,3/8,4/8"
    assert expanded("shard=3/8") == "shard=3/8" and expanded("model=a-b/c") == "model=a-b/c"
    for wrong in ("shard=4-2/8", "shard=1-9/8", "shard=0-3/8"):
        with pytest.raises(ConfigError, match="goes up"):
            expanded(wrong)


def test_float16_is_half_the_file_and_the_rounded_vectors(tmp_path: Path) -> None:
    dataset, encoder = make_dataset(), HashEncoder()
    vectors = embed(dataset, cached_as(encoder, "float16"), tmp_path)
    exact = expected(dataset)
    assert vectors.docs.dtype == np.float16 and isinstance(vectors.docs, np.memmap)
    assert documents_file(tmp_path).stat().st_size == 128 + exact.nbytes // 2
    np.testing.assert_array_equal(vectors.docs, exact.astype(np.float16))
    assert vectors.queries.dtype == np.float32
    asked = embed(dataset, encoder, tmp_path / "float32").queries
    np.testing.assert_array_equal(vectors.queries, asked.astype(np.float16).astype(np.float32))
    assert vectors.as_queries(["a title"], "titles").dtype == np.float32
    relative = np.abs(vectors.docs.astype(np.float64) - exact) / np.abs(exact)
    assert relative[np.abs(exact) > 6.2e-5].max() <= 2.0**-11
    embed(dataset, Rounded(HashEncoder(fail_at=0)), tmp_path)
    assert not {path.name for path in tmp_path.glob("*.npy")} & {p.name for p in (tmp_path / "float32").iterdir()}


def test_float16_in_parts_is_float16_of_one_process(tmp_path: Path) -> None:
    embed(make_dataset(), Rounded(HashEncoder()), tmp_path / "straight")
    for part in (3, 1, 2):
        fill(make_dataset(), Rounded(HashEncoder()), tmp_path / "parts", Shard(part, 3))
    assert contents(tmp_path / "parts") == contents(tmp_path / "straight")


def test_a_number_too_large_for_float16_is_named(tmp_path: Path) -> None:
    class Large(HashEncoder):
        def encode(self, texts: object, role: str, task: str | None) -> np.ndarray:
            vectors = super().encode(texts, role, task)  # type: ignore[arg-type]
            vectors[-1, 2] = -65520.0
            return vectors

    with pytest.raises(ModelError, match=r"hash gives '.*' -65520 in dimension 2, and float16 ends at 65504"):
        embed(make_dataset(), Rounded(Large()), tmp_path)
    embed(make_dataset(), Large(), tmp_path)


def test_only_what_a_model_encodes_is_kept_as_another_type() -> None:
    encoder = HashEncoder()
    assert cached_as(encoder, "float32") is encoder
    with pytest.raises(ConfigError, match="cache_dtype must be float32 or float16, got 'half'"):
        cached_as(encoder, "half")
    with pytest.raises(ConfigError, match="model=vectors are measured as they are"):
        cached_as(VectorModel(), "float16")
    with pytest.raises(ModelError, match="nothing to encode"):
        fill(make_dataset(), VectorModel(), Path("nowhere"), Shard(1, 2))


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small collection, a model of its own and the model's configuration."""
    (tmp_path / "vecbudget_toy.py").write_text(TOY)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "toy.yaml").write_text("_target_: vecbudget_toy.Toy\ndim: 16\n")
    documents = [{"_id": f"d{i:02d}", "text": f"text {i} " + "word " * (i % 7)} for i in range(40)]
    small = tmp_path / "small"
    (small / "qrels").mkdir(parents=True)
    (small / "corpus.jsonl").write_text("".join(f"{json.dumps(document)}\n" for document in documents))
    queries = "".join(json.dumps({"_id": f"q{i}", "text": f"query {i}"}) + "\n" for i in range(3))
    (small / "queries.jsonl").write_text(queries)
    lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i:02d}\t1" for i in range(3))]
    (small / "qrels" / "test.tsv").write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def configuration(folder: Path, *overrides: str, model: str = "toy") -> DictConfig:
    places = [f"dataset.path={folder / 'small'}", f"results_dir={folder / 'results'}", f"cache_dir={folder / 'cache'}"]
    chosen = ["dataset=folder", f"model={model}", f"hydra.searchpath=[file://{folder / 'conf'}]"]
    with initialize_config_module("configs", version_base="1.3"):
        return compose("config", overrides=[*chosen, *places, *overrides])


def test_the_ids_of_float32_are_those_they_always_were(toy: Path) -> None:
    """A change here makes everybody's records and caches stale."""
    assert run(configuration(toy, "method=float32"), "float32") == "6da98210cc98"
    keys = {path.stem for path in (toy / "cache").glob("*.npy")}
    assert keys == {"6934fca2cc0b9a951ce276d83f75771c", "e7d448f37ac6b7997f45d718f9b9e290"}


@pytest.mark.parametrize("overrides", [["chunk_rows=7", "fit_sample=30"], ["fit_disjoint=true", "fit_sample=10"]])
def test_a_run_on_float16_is_a_run_on_the_rounded_vectors(toy: Path, overrides: list[str]) -> None:
    found = {}
    for dtype in ("float32", "float16"):
        cfg = configuration(toy, "method=int8", f"cache_dtype={dtype}", *overrides)
        found[dtype] = Store(toy / "results").read(run(cfg, "int8"))
    assert found["float16"].run_id != found["float32"].run_id
    assert found["float16"].model.name == "toy cache_dtype=float16"
    arrays = [np.load(path) for path in (toy / "cache").glob("*.npy")]
    docs, queries = sorted((array for array in arrays if array.dtype == np.float16), key=len, reverse=True)
    vectors = {"docs": docs[::-1].astype(np.float32), "queries": queries.astype(np.float32)}
    save_file({name: np.ascontiguousarray(array) for name, array in vectors.items()}, toy / "rounded.safetensors")
    cfg = configuration(
        toy, "method=int8", f"model.path={toy / 'rounded.safetensors'}", "model.metric=dot", *overrides, model="vectors"
    )
    same = Store(toy / "results").read(run(cfg, "int8"))
    for key in ("metrics", "float32", "limits", "storage"):
        assert getattr(found["float16"], key) == getattr(same, key), key


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_over_parts_is_spread_over_workers(launcher: str, toy: Path) -> None:
    chosen = ["--config-dir", "conf", "model=toy", "dataset=folder", "dataset.path=small", "cache_dir=cache"]
    texts = [f"{'long ' * 500}{i}" for i in range(400)]
    (toy / "small" / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{i:02d}", "text": text}) + "\n" for i, text in enumerate(texts))
    )
    (toy / "notes").mkdir()
    paths = [str(toy), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TOY_NOTES": str(toy / "notes")}

    spread = [*chosen, "shard=1-4/4", *launched(launcher)]
    command = [sys.executable, "-m", "harness.cli", "encode", *spread]
    done = subprocess.run(command, cwd=toy, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "4 parts of the documents of small joined" in done.stderr
    encoded = [path.read_text().splitlines() for path in (toy / "notes").glob("document-*")]
    assert len(encoded) == 2 and sorted(text for texts in encoded for text in texts) == sorted(texts)
    assert len(list((toy / "cache").glob("*.npy"))) == 2 and not list((toy / "cache").glob("*-*"))
    parts = contents(toy / "cache")
    shutil.rmtree(toy / "cache")
    cfg = configuration(toy)
    fill(shared("dataset", cfg.dataset).load(), shared("model", cfg.model), toy / "cache")
    assert contents(toy / "cache") == parts
    assert not (toy / "results" / "runs").exists()


def work(what: str, directory: str, delay: str = "0") -> None:
    embedding_cache.CHUNK_CHARACTERS, embedding_cache.FLUSH_SECONDS = 400, 0.0
    if what == "join":
        begun = Path(directory, f"{next(Path(directory).glob('*-1of3.npy')).name.partition('-')[0]}.partial")
        embedding_cache.release = lambda *_: time.sleep(30) if begun.exists() else None  # type: ignore[assignment]
        encode(Path(directory), 3, 3)
    else:
        print(json.dumps(encode(Path(directory), 1, 2, HashEncoder(delay=float(delay))).count("document")))


if __name__ == "__main__":
    work(*sys.argv[1:])
