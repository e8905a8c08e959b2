"""What a cheaper encoder loses: layers, precision, engines and compressed weights of one model, at whole and 48 bytes.

    python scripts/studies/cheaper_encoders.py --data data/xquad-en --out FILE.jsonl [--table FILE.md] [--only SETTING]

A setting a line of FILE.jsonl, in which settings that are there already are left alone. Calibration texts are the
collection's own documents. Documents a second are of CPU seconds, one thread, and given as a multiple of those of
the float32 model, measured in turns with it on the same documents: a busy machine slows both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis.statistics import compare, mean_interval
from harness.data.datasets import Folder
from harness.data.models.minilm import Minilm
from harness.data.models.weights.shipped import shipped_bytes
from harness.evaluation.exact_search import search, search_uncompressed
from harness.evaluation.rankings import Rankings
from harness.evaluation.retrieval_metrics import Judgements, ndcg
from harness.report.table import Table, by_place, code
from methods import SVD, Chain, TransformCode

SETTINGS = [
    "",
    "dtype=bfloat16",
    "backend=onnx compress=int8",
    "layers=5",
    "backend=onnx compress=int4",
    "compress=low_rank keep=0.5",
    "compress=prune_neurons keep=0.75",
    "compress=int4",
    "query_layers=5",
    "compress=int8",
    "layers=4",
    "backend=openvino dtype=bfloat16",
    "compress=low_rank keep=0.75",
    "compress=prune_heads keep=0.75",
    "backend=openvino",
    "backend=onnx",
    "compress=float16",
]

TIMED = 16
"""Documents whose encoding is timed."""

TURNS = 3


def options_of(setting: str, data: str) -> dict[str, Any]:
    pairs = dict(part.split("=") for part in setting.split())
    options: dict[str, Any] = {
        key: int(value) if key in ("layers", "query_layers") else float(value) if key == "keep" else value
        for key, value in pairs.items()
    }
    return options | ({"calibration": data} if "keep" in options else {})


def scores(docs: Any, queries: Any, judgements: Judgements) -> dict[str, Any]:
    """Return nDCG@10 of each query: of float32, and at 48 bytes."""
    found, rows = search_uncompressed(queries, docs, 10)
    codec = Chain(transforms=[SVD(dim=None, centre="auto")], codec=TransformCode(nbytes=48, renormalize=True))
    codes = codec.fit(docs).encode(docs)
    short, short_rows = search(codec, queries, codes, 10)
    return {
        "float32": ndcg(Rankings(rows, found, len(docs), judgements), 10).tolist(),
        "48 bytes": ndcg(Rankings(short_rows, short, len(docs), judgements), 10).tolist(),
    }


def relative_speed(model: Minilm, whole: Minilm, texts: list[str]) -> list[float]:
    """Return documents/s over those of the whole model, a number a turn."""
    ratios = []
    for _ in range(TURNS):
        seconds = []
        for each in (model, whole):
            started = time.process_time()
            each.encode(texts, "document", None)
            seconds.append(time.process_time() - started)
        ratios.append(seconds[1] / seconds[0])
    return ratios


def table_of(lines: list[dict[str, Any]]) -> str:
    whole = next(line for line in lines if not line["setting"])
    rows = []
    for line in lines:
        row = [code(line["setting"] or "float32, all layers"), f"{line['bytes'] / 1e6:.1f}", f"{line['speed']:.2f}"]
        for kind in ("float32", "48 bytes"):
            mean = float(np.mean(line[kind]))
            if line is whole:
                interval = mean_interval([line[kind]])
                row.append(f"{mean:.4f} [{interval.low[0]:.4f}, {interval.high[0]:.4f}]")
            else:
                difference = compare([line[kind]], whole[kind]).difference
                row.append(
                    f"{mean:.4f} ({difference.estimate[0]:+.4f} [{difference.low[0]:+.4f}, {difference.high[0]:+.4f}])"
                )
        rows.append(row)
    header = ["model", "MB of weights", "docs/s, float32 = 1", "nDCG@10 at 384 dimensions", "nDCG@10 at 48 bytes"]
    return Table(by_place(header, {1, 2}), rows).markdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/xquad-en")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--only", action="append", help="this setting; may be given again")
    arguments = parser.parse_args()
    dataset = Folder(path=arguments.data).load()
    judgements = Judgements.of(dataset)
    assert dataset.doc_texts is not None and dataset.query_texts is not None and judgements is not None
    wanted = SETTINGS if arguments.only is None else arguments.only
    lines = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    whole = Minilm(device="cpu")
    step = max(1, len(dataset.doc_texts) // TIMED)
    timed = dataset.doc_texts[::step][:TIMED]
    for setting in wanted:
        if any(line["setting"] == setting for line in lines):
            continue
        model = Minilm(**options_of(setting, arguments.data), device="cpu")
        vectors = [
            model.encode(texts, role, None)
            for texts, role in ((dataset.doc_texts, "document"), (dataset.query_texts, "query"))
        ]
        speeds = relative_speed(model, whole, timed)
        line = {
            "setting": setting,
            "bytes": shipped_bytes(model._packaged.loaded),
            "speed": statistics.median(speeds),
            "speeds": speeds,
            **scores(*vectors, judgements),
        }
        lines.append(line)
        with arguments.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(setting or "float32", f"{line['bytes'] / 1e6:.1f} MB", f"{line['speed']:.2f}", flush=True)
    text = table_of(sorted(lines, key=lambda line: SETTINGS.index(line["setting"])))
    print(text)
    if arguments.table is not None:
        title = f"# Cheaper forms of all-MiniLM-L6-v2 ({Path(arguments.data).name})"
        arguments.table.write_text(f"{title}\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
