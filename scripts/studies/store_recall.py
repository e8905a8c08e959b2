"""Recall@10 of the vector stores' codes, before anything is read again, beside another implementation of the sources.

    python scripts/studies/store_recall.py --scifact data/scifact [--out results/reference/databases/recall.md]

The other figures were made by somebody who wrote every store's formulas anew, on SciFact's titles and training claims
and on a built-in set of an earlier state (3,291 documents, 800 queries; here it is the present one). The model is
all-MiniLM-L6-v2, and recall is against the exact float32 ranking. No judgement is used.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_module

from harness.data.datasets.stdlib import StandardLibrary
from harness.data.models.minilm import Minilm
from harness.report.table import Table, by_place, code
from harness.runs.config import MethodSpec
from methods.base import Codec
from methods.composed.rescore import Rescore

QUERIES = 800
CLOSE = 0.015
CANDIDATES = "among 30"


@dataclass(frozen=True)
class Row:
    """A code, what it takes to make it here, and the other implementation's recall on the two sets."""

    bits: float
    code: str
    method: str
    scifact: float
    builtin: float
    depth: int = 10


ROWS = (
    Row(1, "ASH, half of the dimensions, 2 bits", "ash dim=192 bits=2", 0.814, 0.826),
    Row(1, "SAQ, inner products", "saq nbytes=56 factors=two_float32 objective=ip", 0.793, 0.812),
    Row(1, "SAQ, squared error", "saq nbytes=56 factors=two_float32 objective=mse", 0.805, 0.811),
    Row(1, "PCA to half, rotated, 2 bits", "mrq dim=192 bits=2", 0.802, 0.815),
    Row(1, "ASH, all dimensions, 1 bit", "ash dim=384 bits=1", 0.770, 0.769),
    Row(1, "RaBitQ, float query", "rabitq bits=1", 0.736, 0.743),
    Row(1, "Elasticsearch BBQ", "elasticsearch_bbq", 0.735, 0.730),
    Row(1, "Qdrant TurboQuant", "qdrant_turbo1", 0.728, 0.750),
    Row(1, "TurboQuant, renormalised", "turboquant bits=1 renormalize=true", 0.716, 0.723),
    Row(1, "Weaviate RQ-1", "weaviate_rq1", 0.719, 0.721),
    Row(1, "Qdrant binary, 8-bit query", "qdrant_binary_scalar8", 0.716, 0.714),
    Row(1, "Lucene, unit mean (cosine)", "lucene_bit1 centre=unit_mean", 0.673, 0.679),
    Row(1, "OpenSearch ADC", "opensearch_32x_adc", 0.647, 0.622),
    Row(1, "sign about the mean, Hamming", "opensearch_32x_legacy", 0.612, 0.591),
    Row(1, "sign, Hamming", "weaviate_bq", 0.601, 0.593),
    Row(1.5, "Qdrant 1.5 bits, Hamming", "qdrant_binary_1_5", 0.611, 0.606),
    Row(1.5, "Qdrant 1.5 bits, 8-bit query", "qdrant_binary_1_5_scalar8", 0.706, 0.723),
    Row(2, "SAQ, inner products", "saq nbytes=104 factors=two_float32 objective=ip", 0.911, 0.916),
    Row(2, "SAQ, squared error", "saq nbytes=104 factors=two_float32 objective=mse", 0.887, 0.891),
    Row(2, "ASH, half of the dimensions, 4 bits", "ash dim=192 bits=4", 0.901, 0.917),
    Row(2, "Qdrant TurboQuant", "qdrant_turbo2", 0.865, 0.872),
    Row(2, "CAQ", "caq bits=2", 0.864, 0.863),
    Row(2, "Lucene", "lucene_bit2", 0.844, 0.839),
    Row(2, "Qdrant 2 bits = pgvectorscale, Hamming", "pgvectorscale_sbq", 0.680, 0.690),
    Row(2, "Qdrant 2 bits, 8-bit query", "qdrant_binary_2_scalar8", 0.793, 0.802),
    Row(4, "SAQ, inner products", "saq nbytes=200 factors=two_float32 objective=ip", 0.975, 0.977),
    Row(4, "SAQ, squared error", "saq nbytes=200 factors=two_float32 objective=mse", 0.965, 0.965),
    Row(4, "Qdrant TurboQuant", "qdrant_turbo4", 0.957, 0.964),
    Row(4, "CAQ", "caq bits=4", 0.956, 0.956),
    Row(4, "Weaviate RQ-4", "weaviate_rq4", 0.954, 0.950),
    Row(4, "Lucene", "lucene_int4", 0.937, 0.935),
    Row(8, "Weaviate RQ-8", "weaviate_rq8", 0.996, 0.996),
    Row(8, "Lucene", "lucene_int8", 0.995, 0.996),
    Row(8, "Weaviate SQ", "weaviate_sq", 0.991, 0.991),
    Row(8, "Qdrant int8, quantile 0.99", "qdrant_int8", 0.986, 0.987),
    Row(8, "usearch i8", "usearch_i8", 0.956, 0.960),
    Row(8, "sqlite-vec int8", "sqlite_vec_int8", 0.953, 0.957),
    Row(1, f"Elasticsearch BBQ, {CANDIDATES}", "elasticsearch_bbq", 0.965, 0.966, 30),
    Row(1, f"Lucene, unit mean, {CANDIDATES}", "lucene_bit1 centre=unit_mean", 0.913, 0.929, 30),
    Row(1, f"RaBitQ, float query, {CANDIDATES}", "rabitq bits=1", 0.962, 0.967, 30),
    Row(1, f"sign, Hamming, {CANDIDATES}", "weaviate_bq", 0.842, 0.858, 30),
)


def codec_of(text: str) -> Codec:
    """Return the code that is scanned: the first tier where there are two."""
    name, *settings = text.split()
    with initialize_config_module("configs", version_base="1.3"):
        given = [f"method={name}", *(f"method.{setting}" for setting in settings)]
        codec = MethodSpec(compose("config", overrides=["~model", "~dataset", *given]).method).make()
    return codec.first if isinstance(codec, Rescore) else codec


def recall(codec: Codec, docs: np.ndarray, queries: np.ndarray, exact: np.ndarray, depth: int) -> float:
    _, rows = codec.search(queries, codec.fit(docs).encode(docs), depth)
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, rows, strict=True)]))


def titles_and_claims(folder: Path, model: Minilm) -> tuple[np.ndarray, np.ndarray]:
    titles = [json.loads(line)["title"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    judged = {line.split("\t")[0] for line in (folder / "qrels" / "train.tsv").read_text().splitlines()[1:]}
    asked = map(json.loads, (folder / "queries.jsonl").read_text().splitlines())
    claims = [query["text"] for query in asked if query["_id"] in judged]
    return model.encode(titles, "document", None), model.encode(claims, "query", None)


def builtin(model: Minilm) -> tuple[np.ndarray, np.ndarray]:
    dataset = StandardLibrary().load()
    docs, queries = list(dataset.doc_texts), list(dataset.query_texts)[:QUERIES]
    return model.encode(docs, "document", None), model.encode(queries, "query", None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scifact", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    model = Minilm()
    sets = [titles_and_claims(arguments.scifact, model), builtin(model)]
    exact = [np.argsort(-(queries @ docs.T), axis=1)[:, :10] for docs, queries in sets]
    cells, missed = [], 0
    for row in ROWS:
        mine = [recall(codec_of(row.method), *both, best, row.depth) for both, best in zip(sets, exact, strict=True)]
        far = [abs(mine[0] - row.scifact) > CLOSE, abs(mine[1] - row.builtin) > CLOSE]
        missed += sum(far)
        figures = [f"{mine[i]:.3f}{' !' if far[i] else ''}" for i in range(2)]
        figures = [figures[0], f"{row.scifact:.3f}", figures[1], f"{row.builtin:.3f}"]
        cells.append([f"{row.bits:g}", row.code, code(row.method), *figures])
        print(row.bits, row.code, row.method, *figures, flush=True)
    lengths = [float(np.linalg.norm(docs.mean(axis=0))) for docs, _ in sets]
    (titles, claims), (functions, sentences) = sets
    columns = by_place(["bits", "code", "method", "SciFact", "other", "built-in", "other"], {0, 3, 4, 5, 6})
    text = [
        "# Recall@10 of the stores' codes, before anything is read again",
        "",
        f"SciFact: {len(titles):,} titles, {len(claims)} training claims, |mean| {lengths[0]:.2f}. Built-in set: "
        f"{len(functions):,} functions, {len(sentences)} queries, |mean| {lengths[1]:.2f}. all-MiniLM-L6-v2, against "
        "the exact float32 ranking; learned on the documents themselves. The columns headed *other* are another "
        "implementation of the same sources, on an earlier state of the built-in set. "
        f"{missed} of {2 * len(ROWS)} figures differ by more than {CLOSE} (marked !).",
        "",
        Table(columns, cells).markdown(),
    ]
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
