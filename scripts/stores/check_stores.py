"""Whether the presets named for a vector store rank as that store does, and take its bytes.

    pip install -r scripts/stores/requirements.txt
    python scripts/stores/check_stores.py [--data data/scifact | --vectors FILE] [--only qdrant,usearch] [--out FILE]

The same vectors go into the store with its quantisation switched on and into the preset of configs/method. Both are
asked for the best 10 of all documents. They agree if overlap@10 is at least 0.99, a document that ties with the last
one of the preset's short list counting as found, and if the bytes of a vector differ by 2 % at most. Where a store
draws a rotation or centroids at random, two builds of it disagree as well: what must agree then is the share of the
exact answer that is found, within 0.015. Each setting runs in a process of its own. Lucene is read from a jar,
LUCENE_JAR, as the source distribution of pyserini has one.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_module
from tqdm import tqdm

from harness.data.datasets.folder import Folder
from harness.data.embedding_cache import embed
from harness.data.models.minilm import Minilm
from harness.runs.config import MethodSpec
from methods.base import Codec
from scripts.stores.adapters.base import Answer, CannotRunError, Float32, Int64, Setting

MODULES = (
    "usearch",
    "sqlite_vec",
    "qdrant",
    "faiss",
    "milvus_lite",
    "lucene",
    "lancedb",
    "scann",
    "svs",
    "pgvector",
    "voyager",
    "clickhouse",
    "duckdb",
)
K = 10
RANKING, BYTES, FOUND = 0.99, 0.02, 0.015
HEAD = """# The presets beside the stores themselves

The same vectors (SciFact's documents and test queries under all-MiniLM-L6-v2 unless others were given) in the
store, with its quantisation switched on, and in the preset; both were asked for the best 10 of all documents.
*overlap@10*: of the two answers; *with ties*: a document that ties with the last of the preset's list counts as
found. *exact found*: share of the exact float32 answer. *again*: overlap@10 of the store with itself, built anew,
where it draws a rotation, centroids or a sample at random; of those *exact found* must agree, within 0.015, since
no two builds rank alike. Bytes are a vector's, graph and ids aside.
"""


@dataclass(frozen=True)
class Preset:
    """What a preset answers.

    Attributes
    ----------
    ids : int64 (m, K)
    tied : bool (m, n)
        Documents that the short list might as well have ended with.
    bytes_per_vector : float
        Of the part that is compared.
    """

    ids: Int64
    tied: np.ndarray
    bytes_per_vector: float


def settings(only: list[str] | None) -> Iterator[tuple[str, int]]:
    """Yield (module, place in it) of the settings wanted."""
    for name in MODULES:
        if only is None or name in only:
            module = importlib.import_module(f"scripts.stores.adapters.{name}")
            yield from ((name, place) for place in range(len(module.SETTINGS)))


def setting(name: str, place: int) -> Setting:
    """Return a setting by its place: functions do not travel between processes as easily."""
    chosen: Setting = importlib.import_module(f"scripts.stores.adapters.{name}").SETTINGS[place]
    return chosen


def load(data: str, file: str | None, count: int | None) -> tuple[Float32, Float32]:
    """Return documents and queries: a folder's by MiniLM, or `docs` and `queries` of a .safetensors or .npz file."""
    if file is None:
        cache = Path(os.environ.get("VECBUDGET_CACHE", "~/.cache/vecbudget")).expanduser()
        vectors = embed(Folder(path=data).load(), Minilm(), cache)
        docs, queries = vectors.docs, vectors.queries
    else:
        if file.endswith(".npz"):
            held = np.load(file)
        else:
            from safetensors.numpy import load_file

            held = load_file(file)
        docs, queries = held["docs"], held["queries"]
    return np.array(docs[:count], dtype=np.float32), np.array(queries, dtype=np.float32)


def top(scores: Float32) -> Int64:
    """Return the best K columns of each row; among equals the lower."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :K].astype(np.int64)


def overlap(a: Int64, b: Int64) -> float:
    """Return the mean share of a row's documents that the other's row has, too."""
    return float(np.mean([len(set(left) & set(right)) / K for left, right in zip(a.tolist(), b.tolist(), strict=True)]))


def preset(chosen: Setting, docs: Float32, queries: Float32, seed: int) -> Preset:
    """Fit, encode and search the preset of a setting, or its first tier."""
    with initialize_config_module("configs", version_base="1.3"):
        changes = []
        for name, value in chosen.options.items():
            added = "+" if name.startswith("+") else ""
            changes.append(f"{added}method.{name.removeprefix('+')}={value}")
        cfg = compose("config", overrides=["~model", "~dataset", f"method={chosen.preset}", f"seed={seed}", *changes])
        codec: Codec = MethodSpec(cfg.method).make()
    first = getattr(codec, "first", None) if hasattr(codec, "policy") else None
    length = K
    if first is not None:
        length = codec.policy.length(K, len(docs))  # type: ignore[attr-defined]
        if chosen.tier == "first":
            codec, length = first, K
    codec.fit(docs)
    codes = codec.encode(docs)
    _, ids = codec.search(queries, codes, K)
    scanned = codec if first is None or codec is first else first
    rows = codes if scanned is codec else scanned.encode(docs)
    scores = scanned.score(queries, rows)
    last = -np.partition(-scores, length - 1, axis=1)[:, length - 1 : length]
    resident = sum(array.nbytes for array in rows.rows.values()) / len(docs)
    return Preset(ids, np.abs(scores - last) <= 1e-6 * np.abs(last), resident)


def row(name: str, place: int, data: str, file: str | None, count: int | None, seed: int) -> dict[str, object]:
    """Ask the store and the preset, and return the table's row."""
    chosen = setting(name, place)
    line: dict[str, object] = {
        "store": chosen.store,
        "version": chosen.version or "",
        "setting": chosen.switch,
        "preset": chosen.preset or "",
    }
    docs, queries = load(data, file, count)
    try:
        answer: Answer = chosen.answer(docs, queries, K)
    except ImportError as error:
        return line | {"verdict": f"not installed ({error})"}
    except CannotRunError as error:
        return line | {"verdict": f"does not run here: {error}"}
    line["version"] = answer.version or chosen.version or ""
    exact = top(queries @ docs.T)
    line["store: exact found"] = found = overlap(answer.ids, exact)
    line["store: bytes"] = answer.bytes_per_vector
    if chosen.drawn:
        line["store: again"] = overlap(answer.ids, chosen.answer(docs, queries, K).ids)
    if chosen.preset is None:
        return line | {"verdict": "no preset"}
    try:
        ours = preset(chosen, docs, queries, seed)
    except Exception as error:
        return line | {"verdict": f"preset: {type(error).__name__}: {error}".splitlines()[0]}
    same = (answer.ids[:, :, None] == ours.ids[:, None, :]).any(axis=2)
    ranking = float((same | np.take_along_axis(ours.tied, answer.ids, axis=1)).mean())
    line |= {
        "overlap@10": overlap(answer.ids, ours.ids),
        "with ties": ranking,
        "preset: exact found": overlap(ours.ids, exact),
        "preset: bytes": ours.bytes_per_vector,
    }
    wrong = []
    if chosen.drawn:
        gap = overlap(ours.ids, exact) - found
        if abs(gap) > FOUND:
            wrong.append(f"finds {gap:+.3f}")
    elif ranking < RANKING:
        wrong.append("ranking")
    if answer.bytes_per_vector is not None:
        line["bytes, %"] = 100 * (ours.bytes_per_vector / answer.bytes_per_vector - 1)
        if abs(ours.bytes_per_vector / answer.bytes_per_vector - 1) > BYTES:
            wrong.append("bytes")
    agrees = "as the store, by what is found" if chosen.drawn else "as the store"
    verdict = "differs: " + ", ".join(wrong) if wrong else agrees
    return line | {"verdict": verdict}


def markdown(lines: list[dict[str, object]]) -> str:
    """Return the table."""
    names = ["store", "version", "setting", "preset", "overlap@10", "with ties", "store: exact found"]
    names += ["preset: exact found", "store: again", "store: bytes", "preset: bytes", "bytes, %", "verdict"]
    digits = {name: 1 if "bytes" in name else 3 for name in names[4:-1]}

    def cell(line: dict[str, object], name: str) -> str:
        value = line.get(name)
        return "" if value is None else f"{value:.{digits[name]}f}" if name in digits else str(value)

    rows = [names, ["---:" if name in digits else "---" for name in names]]
    rows += [[cell(line, name) for name in names] for line in lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="data/scifact", help="a folder in BEIR's layout")
    parser.add_argument("--vectors", help="a .safetensors or .npz file of docs and queries instead")
    parser.add_argument("--docs", type=int, help="the first so many documents (all)")
    parser.add_argument("--only", help=f"comma-separated, of {', '.join(MODULES)}")
    parser.add_argument("--seed", type=int, default=0, help="of the presets")
    parser.add_argument("--out", type=Path, help="a file for the table (stdout)")
    options = parser.parse_args()
    wanted = list(settings(options.only.split(",") if options.only else None))
    lines = []
    for name, place in tqdm(wanted, disable=None):
        # one process each: these libraries bring their own threads, and one of them ends the process that asks too much
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            job = pool.submit(row, name, place, options.data, options.vectors, options.docs, options.seed)
            try:
                lines.append(job.result())
            except BrokenProcessPool:
                chosen = setting(name, place)
                lines.append({"store": chosen.store, "setting": chosen.switch, "verdict": "the process ended"})
            except Exception as error:
                traceback.print_exception(error)
                chosen = setting(name, place)
                lines.append({"store": chosen.store, "setting": chosen.switch, "verdict": f"failed: {error}"[:200]})
    table = markdown(lines)
    if options.out:
        options.out.write_text(f"{HEAD}\n{table}\n")
    else:
        sys.stdout.write(table + "\n")


if __name__ == "__main__":
    main()
