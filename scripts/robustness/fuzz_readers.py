"""Whether every reader of files reads a damaged file or refuses it by name.

    python scripts/robustness/fuzz_readers.py [--seconds 60] [--seed 0] [--only TEXT] [--case READER NUMBER]

Valid samples of every kind of file are damaged (flipped bits, cuts, repeated blocks, other numbers in headers, random
bytes, values of other types in JSON) and read in a process of their own with 2 GB of address space beyond what it had
before. What counts as a finding: any exception other than the project's named errors, running out of that memory (also
where it was turned into a named error), the end of the process, more than 5 seconds, and a file that reading changed.
Damage depends on the seed, the reader and its number alone: `--case` shows one again. Exits with 1 on findings.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import json
import multiprocessing
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

MEMORY = 2 << 30
SECONDS = 5.0
"""What one read may take."""
NUMBERS = (0, 1, -1, 7, 127, 255, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1)
VALUES = (
    *(None, True, 0, -1, 1.5, 10**18, 10**30, 1e308, float("inf"), float("nan"), "", "x", "\ud800", "9" * 5000),
    *([], [[]], {}, {"x": {}}, [0, -1], ["x"], "../../x"),
)
TEXTS = (
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b"9" * 5000,
    b"1e308",
    b"NaN",
    b"\xff",
    b"\x00",
    b"\t",
    b"\n",
    b'"',
    b"\\ud800",
)

Random = np.random.Generator


@dataclass(frozen=True)
class Sample:
    """A valid set of files, and how it is read.

    Attributes
    ----------
    files : dict of str to bytes
        Contents by path in a folder.
    damaged : tuple of str
        Those that are damaged, one at a time.
    read : callable
        Reads the folder.
    """

    files: dict[str, bytes]
    damaged: tuple[str, ...]
    read: Callable[[Path], object]


# --- damage ---------------------------------------------------------------------------------------------------------


def damage(name: str, content: bytes, rng: Random) -> bytes:
    """Return a content with one kind of damage, or two."""
    if name.endswith(".gz"):
        inside = gzip.decompress(content)
        return gzip.compress(damage(name[:-3], inside, rng), mtime=0) if rng.random() < 0.5 else _bytes(content, rng)
    for _ in range(int(rng.integers(1, 3))):
        kinds = [_bytes, _bytes, _numbers]
        if name.endswith((".json", ".jsonl", ".progress")):
            kinds += [_json_values] * 3
        if name.endswith(".safetensors"):
            kinds += [_safetensors_header] * 3
        if name.endswith((".npy", ".partial")):
            kinds += [_npy_header] * 3
        content = kinds[int(rng.integers(len(kinds)))](content, rng)
    return content


def _bytes(content: bytes, rng: Random) -> bytes:
    data = bytearray(content)
    start, stop = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    match int(rng.integers(9)):
        case 0 | 1 if data:
            # headers are in front, and parquet's behind
            reach = min(len(data), int(rng.choice([64, 512, len(data)])))
            for place in rng.integers(0, reach, int(rng.integers(1, 9))).tolist():
                data[place if rng.random() < 0.5 else -1 - place] ^= 1 << int(rng.integers(8))
        case 2:
            del data[start:]
        case 3:
            data[stop:stop] = data[start:stop]
        case 4:
            del data[start : min(stop, start + 64)]
        case 5:
            data[start:start] = rng.bytes(int(rng.integers(1, 64)))
        case 6:
            size = min(stop - start, 64)
            data[start : start + size] = rng.bytes(size)
        case 7:
            data[start:start] = TEXTS[int(rng.integers(len(TEXTS)))]
        case _:
            return rng.bytes(int(rng.integers(0, 200)))
    return bytes(data)


def _numbers(content: bytes, rng: Random) -> bytes:
    """Change a number: digits of a text, or a word of a header."""
    found = list(re.finditer(rb"\d+", content[:4096]))
    if found and rng.random() < 0.5:
        number = found[int(rng.integers(len(found)))]
        same_length = "".join(str(digit) for digit in rng.integers(0, 10, len(number[0])))
        other = same_length if rng.random() < 0.5 else str(NUMBERS[int(rng.integers(len(NUMBERS)))])
        return content[: number.start()] + other.encode() + content[number.end() :]
    width = int(rng.choice([1, 2, 4, 8]))
    if len(content) < width:
        return content
    reach = min(len(content) - width, int(rng.choice([64, 1024, 1 << 20])))
    place = int(rng.integers(0, reach + 1))
    place = place if rng.random() < 0.6 else len(content) - width - place
    word = (NUMBERS[int(rng.integers(len(NUMBERS)))] % (1 << 8 * width)).to_bytes(width, "little")
    return content[:place] + word + content[place + width :]


def _json_values(content: bytes, rng: Random) -> bytes:
    """Replace or remove a value of a JSON text, or of one of its lines."""
    lines = content.split(b"\n")
    whole = content.lstrip()[:1] == b"{" and lines[0].strip() == b"{"
    row = 0 if whole else int(rng.integers(len(lines)))
    try:
        value = json.loads(content if whole else lines[row])
    except (ValueError, RecursionError):
        return content
    text = json.dumps(_other_value(value, rng)).encode()
    return text if whole else b"\n".join([*lines[:row], text, *lines[row + 1 :]])


def _other_value(value: Any, rng: Random) -> Any:
    children = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not children or rng.random() < 0.1:
        return VALUES[int(rng.integers(len(VALUES)))]
    child = children[int(rng.integers(len(children)))]
    if rng.random() < 0.15:
        del value[child]
    else:
        value[child] = _other_value(value[child], rng)
    return value


def _safetensors_header(content: bytes, rng: Random) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length]
    kinds = [b'"F32"', b'"F16"', b'"BF16"', b'"BOOL"', b'"U8"', b'"I64"', b'"F64"', b'"F8_E4M3"', b'"X"']
    match int(rng.integers(4)):
        case 0:
            found = list(re.finditer(rb'"[A-Z]+\d*(_\w+)?"', header))
            if found:
                one = found[int(rng.integers(len(found)))]
                header = header[: one.start()] + kinds[int(rng.integers(len(kinds)))] + header[one.end() :]
        case 1:
            names = re.findall(rb'"([\w.]+)":\{', header)
            others = [b"fit", b"__class__", b"", b"shared.x", b"codec.dim_", b"dim_"]
            if names:
                other = others[int(rng.integers(len(others)))]
                header = header.replace(b'"%b":{' % names[int(rng.integers(len(names)))], b'"%b":{' % other, 1)
        case _:
            header = _json_values(header, rng)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _npy_header(content: bytes, rng: Random) -> bytes:
    header, data = content[10:128], content[128:]
    match int(rng.integers(4)):
        case 0:
            types = [b"<f8", b"|O", b"|S9", b"<f2", b">f4", b"|V4", b"<c8", b"<U99", b"|b1", b"<m8", b"<i4,<f4", b"?x"]
            header = header.replace(b"<f4", types[int(rng.integers(len(types)))])
        case 1:
            header = header.replace(b"False", [b"True", b"0", b"None", b"(" * 300][int(rng.integers(4))])
        case 2:
            shapes = [b"(-1, 5)", b"()", b"(0, 5)", b"(5, 0)", b"(4294967296, 4294967296)", b"(1 << 9, 1)", b"[3, 5]"]
            shapes += [b"(3.0, 5)", b"(True, 5)", b"('a', 5)", b"(99999999999999999999, 5)", b"(" + b"1," * 99 + b")"]
            header = re.sub(rb"\([\d, ]*\)", shapes[int(rng.integers(len(shapes)))], header, count=1)
        case _:
            header = _numbers(header, rng)
    header = header.rstrip(b" \n") + b" " * max(0, 117 - len(header.rstrip(b" \n"))) + b"\n"
    return content[:8] + len(header).to_bytes(4, "little")[:2] + header + data


# --- samples --------------------------------------------------------------------------------------------------------


def samples(folder: Path) -> dict[str, Sample]:
    """Write valid files with the project's own writers and return their bytes."""
    made = dict(_made(folder))
    assert all(name in sample.files for sample in made.values() for name in sample.damaged)
    return made


def _made(folder: Path) -> Iterator[tuple[str, Sample]]:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 8)).astype(np.float32)
    yield from _records(folder / "results")
    yield from _report(folder / "results", folder / "report")
    yield from _indexes(folder, vectors)
    yield from _exports(folder / "export", vectors)
    yield from _faiss_states(vectors)
    yield from _given_vectors(folder / "given", vectors)
    yield from _cached(vectors)
    yield from _beir()
    yield from _vector_files(folder, vectors)


def _contents(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _records(folder: Path) -> Iterator[tuple[str, Sample]]:
    from harness.runs.frame import load_runs
    from harness.runs.record import CHECKSUM, FILES, Record
    from harness.runs.store import PER_QUERY, RANKING, RECORD, Store

    distance = {"power": 1.0, "distortion": 0.2, "bound": 0.1, "db_over_bound": 3.01, "excess_bits_per_dim": None}
    spread = {"median": 1.0, "low": 0.5, "high": 2.0}
    record = {
        "run_id": "abc",
        "status": "ok",
        "created": "2026-01-01T00:00:00+00:00",
        "model": {"name": "m"},
        "dataset": {"name": "d", "n_docs": 1000, "n_queries": 2},
        "method": {"name": "int8", "params": "bits=4", "scoring": "asymmetric", "family": "scalar", "seed": 1},
        "dim": 384,
        "metrics": {"ndcg_at_10": 0.6, "overlap_at_10": 0.9},
        "retention": 0.95,
        "storage": {"code_bytes_per_vector": 192.0, "state_bytes": 500_000, "index_bytes": 692_000},
        "limits": {"vector": distance, "score": None},
        "seconds": {"fit": 0.5},
        "peak_memory_bytes": 123,
        "cost": {
            "seconds": {"fit": spread},
            "docs_per_second": spread,
            "single_query_ms": {"p50": spread},
            "memory": {"fit": {"peak": 5}},
            "extrapolated": {"sizes": {"1000000": {"encode_seconds": spread, "index_bytes": 9}}},
            "disturbed": False,
        },
    }
    store = Store(folder)
    ids, scores = [f"q{i}" for i in range(30)], {"ndcg_at_10": np.linspace(0, 1, 30)}
    ranking = {"rows": np.zeros((30, 3), np.int32), "scores": np.zeros((30, 3), np.float32)}
    store.commit("abc", store.draft("abc"), Record.from_json(record, "abc"), ids, scores, ranking)

    def all_records(place: Path) -> None:
        Store(place).has("abc")
        load_runs(place)

    def whole(place: Path) -> None:
        all_records(place)
        Store(place).per_query("abc")
        Store(place).ranking("abc")

    files = _contents(folder)
    yield "record", Sample(files, tuple(f"runs/abc/{name}" for name in (RECORD, PER_QUERY, RANKING)), whole)
    # without the checksums that would catch all of it
    older = {key: value for key, value in store.read("abc").to_json().items() if key not in (FILES, CHECKSUM)}
    files = files | {f"runs/abc/{RECORD}": json.dumps(older, indent=1).encode()}
    yield "run.json", Sample(files, (f"runs/abc/{RECORD}",), all_records)
    yield PER_QUERY, Sample(files, (f"runs/abc/{PER_QUERY}",), lambda place: Store(place).per_query("abc"))
    yield RANKING, Sample(files, (f"runs/abc/{RANKING}",), lambda place: Store(place).ranking("abc"))


def _report(results: Path, folder: Path) -> Iterator[tuple[str, Sample]]:
    from harness.analysis import saved
    from harness.runs.frame import load_runs
    from harness.runs.store import Store

    folder.mkdir()
    saved.save(load_runs(results), Store(results).per_query, folder)

    def read(place: Path) -> None:
        frame, per_query = saved.load(place)
        for run_id in frame.loc[frame["status"] == "ok", "run_id"]:
            with contextlib.suppress(KeyError):  # there are none of this run
                per_query(run_id)

    yield "report runs.csv", Sample(_contents(folder), (saved.RUNS,), read)
    yield "report scores.parquet", Sample(_contents(folder), (saved.SCORES,), read)


def _indexes(folder: Path, vectors: np.ndarray[Any, Any]) -> Iterator[tuple[str, Sample]]:
    from harness.evaluation.index_files import (
        CHECKSUMS_FILE,
        CODES_FILE,
        STATE_FILE,
        read_index,
        storage_of,
        write_index,
    )
    from methods.base import Codec
    from methods.composed.chain import Chain
    from methods.product.faiss_codec import FaissCodec
    from methods.scalar.lvq import LVQ
    from methods.scalar.uniform import PerDimension
    from methods.transforms.linear import SVD

    codecs: dict[str, Callable[[], Codec]] = {
        "int4": lambda: PerDimension(bits=4),
        "chain": lambda: Chain(transforms=[SVD(dim=4)], codec=LVQ(bits=4, residual_bits=3)),
        "faiss": lambda: FaissCodec(factory="PQ4x4np"),
    }

    def read(make: Callable[[], Codec], mapped: bool, place: Path) -> None:
        codec, codes = read_index(place, make(), mapped)
        for array in codes.to_arrays().values():
            # that the pages are there
            array.tobytes()
        storage_of(place, codec)

    for name, make in codecs.items():
        place = folder / name
        place.mkdir()
        codec = make().fit(vectors)
        write_index(place, codec, codec.encode(vectors))
        files = _contents(place)
        yield f"index {name}, checked", Sample(files, tuple(files), partial(read, make, False))
        # without the checksums that would catch all of it
        files = {path: content for path, content in files.items() if path != CHECKSUMS_FILE}
        for mapped in (False, True):
            how = "mapped" if mapped else "read"
            yield f"index {name}, {how}", Sample(files, (CODES_FILE, STATE_FILE), partial(read, make, mapped))


def _exports(folder: Path, vectors: np.ndarray[Any, Any]) -> Iterator[tuple[str, Sample]]:
    from harness.evaluation.index_files import write_index
    from methods.base import Codec
    from methods.composed.chain import Chain
    from methods.product.faiss_codec import FaissCodec
    from methods.scalar.uniform import PerDimension
    from methods.transforms.linear import SVD
    from vecbudget import CompressedIndex
    from vecbudget.index import CODES, IDS, MANIFEST, STATE, Ids, manifest_checksum, seal

    scalar = {"_target_": "methods.PerDimension", "bits": 4}
    pq = {"_target_": "methods.FaissCodec", "factory": "PQ2x4np"}
    svd = {"_target_": "methods.SVD", "dim": 4}
    chain = {"_target_": "methods.Chain", "transforms": [svd], "codec": pq}
    made: dict[str, tuple[Codec, dict[str, Any]]] = {
        "int4": (PerDimension(bits=4), scalar),
        "chain": (Chain(transforms=[SVD(dim=4)], codec=FaissCodec(factory="PQ2x4np")), chain),
    }

    def use(place: Path, verify: bool, mapped: bool) -> None:
        index = CompressedIndex.load(place, verify=verify, mapped=mapped)
        _ = index.search(vectors[:3, : index.dim], 5)

    def forged(place: Path) -> None:
        """Read a copy whose checksums are right."""
        with TemporaryDirectory() as copy:
            for path, content in _contents(place).items():
                (Path(copy) / path).write_bytes(content)
            try:
                manifest = json.loads((place / MANIFEST).read_bytes())
                for name in set(manifest["files"]) & {CODES, STATE, IDS}:
                    content = (place / name).read_bytes()
                    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                manifest["sha256"] = manifest_checksum(manifest)
                (Path(copy) / MANIFEST).write_text(json.dumps(manifest))
            except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
                pass
            use(Path(copy), True, False)

    for name, (codec, settings) in made.items():
        place = folder / name
        place.mkdir(parents=True)
        codec.fit(vectors)
        write_index(place, codec, codec.encode(vectors))
        (place / "checksums.json").unlink(missing_ok=True)
        ids = Ids.of(f"d{i}" for i in range(len(vectors)))
        _save(place / IDS, {"text": ids.text, "ends": ids.ends})
        seal(place, {"method": settings, "n": len(vectors), "dim": vectors.shape[1]}, (CODES, STATE, IDS))
        files = _contents(place)
        yield f"export {name}, checked", Sample(files, tuple(files), partial(use, verify=True, mapped=False))
        yield f"export {name}, mapped", Sample(files, tuple(files), partial(use, verify=False, mapped=True))
        yield f"export {name}, forged", Sample(files, tuple(files), forged)


def _faiss_states(vectors: np.ndarray[Any, Any]) -> Iterator[tuple[str, Sample]]:
    from methods.product.faiss_codec import FaissCodec

    docs = np.concatenate([vectors, vectors[::-1] + 0.1])

    def read(factory: str, place: Path) -> None:
        blob = np.frombuffer((place / "state.bin").read_bytes(), dtype=np.uint8)
        codec = FaissCodec(factory=factory).load_state({"dim_": np.array(docs.shape[1]), "index_": blob})
        _ = codec.search(docs[:3], codec.encode(docs), 5)

    for factory in ("SQ8", "EDEN2", "PQ4x4np", "RQ2x4", "LSQ2x4", "PRQ2x2x4", "PLSQ2x2x4"):
        blob = FaissCodec(factory=factory).fit(docs).index_.tobytes()
        yield f"FAISS state {factory}", Sample({"state.bin": blob}, ("state.bin",), partial(read, factory))


def _given_vectors(folder: Path, vectors: np.ndarray[Any, Any]) -> Iterator[tuple[str, Sample]]:
    """Vectors beside a dataset of texts, `model.path`."""
    from harness.data.datasets import Dataset
    from harness.data.models.vectors import VectorModel

    folder.mkdir()
    docs, queries = [f"d{i}" for i in range(len(vectors))], [f"q{i}" for i in range(5)]
    judged = {query: {doc: 1} for query, doc in zip(queries, docs, strict=False)}
    dataset = Dataset.build(
        name="d", doc_ids=docs, query_ids=queries, qrels=judged, doc_texts=docs, query_texts=queries
    )
    arrays = {"docs": vectors, "queries": vectors[:5]}
    _save(folder / "given.safetensors", arrays)
    np.savez(folder / "given.npz", **arrays)
    np.savez_compressed(folder / "small.npz", **arrays)
    files = _contents(folder)

    def read(name: str, place: Path) -> None:
        model = VectorModel(path=str(place / name))
        model.identity("document", None)
        _ = model.has_train_queries, model.supply(dataset)

    for name, content in files.items():
        yield f"model.path {name}", Sample({name: content}, (name,), partial(read, name))


def _save(path: Path, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    from safetensors.numpy import save_file

    save_file(arrays, path)


def _cached(vectors: np.ndarray[Any, Any]) -> Iterator[tuple[str, Sample]]:
    from harness.data.embedding_cache import CacheFiles, Draft, array_checksum

    identity = {"format": 1, "n": len(vectors), "role": "document", "encoder": {"name": "m"}}
    with TemporaryDirectory() as folder:
        files = CacheFiles.of(Path(folder), identity)
        np.save(files.data, vectors)
        sidecar = {"identity": identity, "shape": list(vectors.shape), "xxh3_128": array_checksum(vectors)}
        files.sidecar.write_text(json.dumps(sidecar, indent=1))
        finished = _contents(Path(folder))
        names = files.data.name, files.sidecar.name
        yield "cache .npy, .json", Sample(finished, names, lambda place: CacheFiles.of(place, identity).load())
        files.data.rename(files.partial)
        files.sidecar.unlink()
        files.progress.write_text(json.dumps({"done": 17, "dim": 8}))
        names = files.partial.name, files.progress.name

        def resume(place: Path) -> None:
            done = Draft.resume(CacheFiles.of(place, identity), len(vectors)).done
            assert type(done) is int and 0 <= done <= len(vectors)

        yield "cache .partial, .progress", Sample(_contents(Path(folder)), names, resume)


def _beir() -> Iterator[tuple[str, Sample]]:
    from harness.data.datasets.folder import Folder

    docs = [{"_id": f"d{i}", "title": "A title" if i % 2 else "", "text": f"text {i} é"} for i in range(20)]
    queries = [{"_id": f"q{i}", "text": f"query {i}"} for i in range(5)]
    corpus, asked = ("\n".join(json.dumps(line) for line in lines).encode() + b"\n" for lines in (docs, queries))
    judged = "query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i}\t{i % 3}\n" for i in range(5))
    files = {"corpus.jsonl": corpus, "queries.jsonl": asked, "qrels/test.tsv": judged.encode()}
    packed = {"corpus.jsonl.gz": gzip.compress(corpus, mtime=0), **{name: files[name] for name in list(files)[1:]}}

    def read(place: Path) -> None:
        # a fingerprint writes down all of it
        _ = Folder(path=str(place)).load().fingerprint

    for name in files:
        yield f"BEIR {Path(name).name}", Sample(files, (name,), read)
    yield "BEIR corpus.jsonl.gz", Sample(packed, ("corpus.jsonl.gz",), read)


def _vector_files(folder: Path, vectors: np.ndarray[Any, Any]) -> Iterator[tuple[str, Sample]]:
    import h5py
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    from harness.data.datasets.vectors import VectorFiles

    place = folder / "vectors"
    place.mkdir()
    small = np.abs(vectors * 50).astype(np.uint8)
    np.save(place / "docs.npy", vectors)
    save_file({"docs": vectors, "queries": vectors[:5]}, place / "docs.safetensors")
    width = np.int32(vectors.shape[1]).tobytes()
    (place / "docs.fvecs").write_bytes(b"".join(width + row.tobytes() for row in vectors))
    (place / "docs.bvecs").write_bytes(b"".join(width + row.tobytes() for row in small))
    ids = [f"d{i}" for i in range(len(vectors))]
    pq.write_table(pa.table({"id": ids, "v": vectors.tolist()}), place / "lists.parquet", row_group_size=25)
    np.savez(place / "docs.npz", docs=vectors)
    shape = np.array(vectors.shape, "<u4").tobytes()
    (place / "docs.fbin").write_bytes(shape + vectors.astype("<f4").tobytes())
    lines = [json.dumps({"id": name, "v": row.tolist()}) for name, row in zip(ids, vectors, strict=True)]
    (place / "lists.jsonl").write_text("\n".join(lines) + "\n")
    cells = [",".join(map(str, row.tolist())) for row in vectors]
    (place / "columns.csv").write_text(
        ",".join(f"x{i}" for i in range(vectors.shape[1])) + "\n" + "\n".join(cells) + "\n"
    )
    with pa.OSFile(str(place / "lists.arrow"), "wb") as sink:
        table = pa.table({"id": ids, "v": vectors.tolist()})
        with pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table)
    columns = {f"x{i}": vectors[:, i] for i in range(vectors.shape[1])}
    pq.write_table(pa.table(columns), place / "columns.parquet", compression="zstd")
    with h5py.File(place / "docs.hdf5", "w") as file:
        file.attrs["distance"] = "angular"
        file["train"], file["test"], file["neighbors"] = vectors, vectors[:5], np.zeros((5, 10), np.int32)
    (place / "ids.txt").write_text("\n".join(ids) + "\n")
    (place / "q.tsv").write_text("".join(f"{i}\t{i + 7}\t1\n" for i in range(5)))
    contents = _contents(place)

    def read(name: str, options: dict[str, str], into: Path) -> None:
        more = {key: str(into / value) for key, value in options.items()}
        _ = VectorFiles(docs=str(into / name), held_out=3, metric="dot", **more).load().fingerprint  # type: ignore[arg-type]

    kinds = (
        "docs.npy",
        "docs.safetensors",
        "docs.fvecs",
        "docs.bvecs",
        "docs.npz",
        "docs.fbin",
        "lists.jsonl",
        "columns.csv",
        "lists.arrow",
        "lists.parquet",
        "columns.parquet",
        "docs.hdf5",
    )
    for name in kinds:
        yield f"vectors {name}", Sample({name: contents[name]}, (name,), partial(read, name, {}))
    for name, options in (
        ("ids.txt", {"doc_ids": "ids.txt"}),
        ("q.tsv", {"queries": "docs.npy", "qrels": "q.tsv"}),
    ):
        files = {"docs.npy": contents["docs.npy"], name: contents[name]}
        yield f"vectors {name}", Sample(files, (name,), partial(read, "docs.npy", options))


# --- reading, in a process of its own ------------------------------------------------------------------------------


def attempt(sample: Sample, place: Path, seed: int, reader: str, number: int) -> tuple[str, str]:
    """Damage and read; return ("read" or "refused" or "finding", what happened)."""
    from harness.base.errors import VecbudgetError
    from methods.base import MethodError
    from vecbudget import IndexFileError

    rng = np.random.default_rng((seed, zlib.crc32(reader.encode()), number))
    files = dict(sample.files)
    name = sample.damaged[int(rng.integers(len(sample.damaged)))]
    files[name] = damage(name, files[name], rng)
    for path, content in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content)
    result = "read", ""
    try:
        sample.read(place)
    except (VecbudgetError, MethodError, IndexFileError) as error:
        result = "refused", str(error)
        if "\n" in str(error):
            result = "finding", f"more than a line: {error}"
        if any(isinstance(cause, MemoryError) for cause in _causes(error)):
            result = "finding", f"more than {MEMORY >> 30} GB of memory: {error}"
    except Exception as error:
        result = "finding", f"{type(error).__name__}: {error}"
    if _contents(place) != files:
        result = "finding", "reading changed the files"
    return result[0], f"{name}: {result[1]}".replace(str(place), "").replace("\n", " ")[:300]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _serve(pipe: Any, reader: str, seed: int) -> None:
    """Read damaged files of the numbers that come through the pipe."""
    import logging
    import os
    import resource

    logging.disable(logging.CRITICAL)
    # a traceback of a native abort says nothing more
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with TemporaryDirectory(prefix="vecbudget-fuzz-") as folder:
        (Path(folder) / "samples").mkdir()
        sample = samples(Path(folder) / "samples")[reader]
        place = Path(folder) / "valid"
        for path, content in sample.files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content)
        sample.read(place)  # a sample that is refused would make all else meaningless; imports happen here too
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        pipe.send("ready")
        damaged = Path(folder) / "damaged"
        while (number := pipe.recv()) is not None:
            pipe.send(attempt(sample, damaged, seed, reader, number))


@dataclass
class Tally:
    """What came of one reader's damaged files."""

    reader: str
    tried: int = 0
    refused: int = 0
    read: int = 0
    findings: dict[str, tuple[int, str]] = field(default_factory=dict)
    """The first case and its description, by the description without its numbers."""

    def add(self, number: int, outcome: str, what: str) -> None:
        self.tried += 1
        self.refused += outcome == "refused"
        self.read += outcome == "read"
        if outcome == "finding":
            # the same fault with other numbers is one finding
            self.findings.setdefault(re.sub(r"-?\d+(\.\d+)?", "#", what)[:120], (number, what))


class Reader:
    """A process that reads damaged files of one kind, and that is started again when it dies or hangs."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed = name, seed
        self._process: Any = None
        self._pipe: Any = None

    def __call__(self, number: int) -> tuple[str, str]:
        if self._process is None:
            self._start()
        try:
            self._pipe.send(number)
            if self._pipe.poll(SECONDS):
                answer: tuple[str, str] = self._pipe.recv()
                return answer
            what = f"more than {SECONDS:g} seconds"
        except (EOFError, ConnectionError):
            self._process.join()
            what = f"the process ended with {self._process.exitcode}"
        self.stop()
        return "finding", what

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self.name, self.seed), daemon=True)
        self._process.start()
        other.close()
        if not self._pipe.poll(120) or self._pipe.recv() != "ready":
            raise RuntimeError(f"{self.name}: its undamaged sample cannot be read")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def fuzz(reader: str, seed: int, seconds: float, cases: int | None = None) -> Tally:
    """Try damaged files of one reader for so long, or so many."""
    process, tally, number = Reader(reader, seed), Tally(reader), 0
    process._start()
    until = time.monotonic() + seconds
    while time.monotonic() < until and (cases is None or number < cases):
        tally.add(number, *process(number))
        number += 1
    process.stop()
    return tally


def main() -> None:
    from harness.report.table import Table, numbers, words

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="of reading, in all; starting processes comes on top"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="readers whose name contains this")
    parser.add_argument("--case", nargs=2, metavar=("READER", "NUMBER"), help="one case, in this process")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        made = samples(Path(folder))
    if options.case is not None:
        reader, number = options.case
        with TemporaryDirectory() as folder:
            print(*attempt(made[reader], Path(folder), options.seed, reader, int(number)))
        return
    names = [name for name in made if options.only in name]
    tallies = [fuzz(name, options.seed, options.seconds / len(names)) for name in names]
    rows = [(t.reader, t.tried, t.refused, t.read, len(t.findings)) for t in tallies]
    rows.append(("all", *(sum(row[place] for row in rows) for place in range(1, 5))))
    counted = enumerate(("tried", "refused by name", "read", "findings"), start=1)
    columns = [words("reader", 0), *(numbers(label, place, "{:,}".format) for place, label in counted)]
    print(Table(columns, rows).markdown())
    for tally in tallies:
        for number, what in tally.findings.values():
            print(f"--case {tally.reader!r} {number}: {what}")
    sys.exit(1 if rows[-1][-1] else 0)


if __name__ == "__main__":
    main()
