"""What a cheaper encoder loses: precision, layers, engines, compressed weights and static distillates of models.

    python scripts/studies/cheaper_encoders.py --data data/scifact --data data/xquad-en --out FILE.jsonl
        [--model FOLDER] [--documents N] [--timed N] [--all] [--only SETTING] [--cache FOLDER] [--table FILE.md]

A model, a collection and a setting a line of FILE.jsonl; those that are there already are left alone, so that several
commands fill one file. The table is of all its lines. Depths are read off one pass of the whole model. Prefixes of the
dimensions are scaled to unit length; 48 bytes are `transform_coding` of each setting's own vectors. Calibration texts
are the collection's own documents. Documents a second are of CPU seconds, one thread, on the first collection that a
setting is measured on, and compared with those of the float32 model, measured in turns with it on the same documents: a
busy machine slows both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis.statistics import compare, mean_interval
from harness.base.formatting import digits
from harness.base.sampling import evenly_spaced
from harness.data.datasets import Dataset, Folder
from harness.data.datasets.subset import subset
from harness.data.embedding_cache import embed
from harness.data.layer_pass import fill_layers
from harness.data.models.encoder import Encoder, unit_length
from harness.data.models.minilm import Minilm
from harness.data.models.sentence_transformer import SentenceTransformerModel
from harness.data.models.static import PACKAGED, StaticModel
from harness.evaluation.exact_search import search, search_uncompressed
from harness.evaluation.rankings import Rankings
from harness.evaluation.retrieval_metrics import Judgements, ndcg
from harness.report.table import Table, by_place, code
from methods import SVD, Chain, TransformCode

Whole = Minilm | SentenceTransformerModel

SETTINGS = [
    "",
    "dtype=bfloat16",
    "backend=onnx compress=int8",
    "backend=onnx compress=int4",
    "layers=11",
    "layers=10",
    "layers=5",
    "layers=4",
    "static",
]

OTHERS = [
    "compress=int8",
    "compress=int4",
    "compress=float16",
    "backend=onnx",
    "backend=openvino",
    "backend=openvino dtype=bfloat16",
    "compress=low_rank keep=0.75",
    "compress=low_rank keep=0.5",
    "compress=prune_neurons keep=0.75",
    "compress=prune_heads keep=0.75",
    "query_layers=5",
]

CODED = "48 bytes"

KEPT = "Of collections: nDCG@10 in % of float32's in all dimensions; in all dimensions / at 48 bytes a document."

PREFIX = 384
"""Dimensions that a wider model's vectors are cut to."""

TURNS = 3


def whole_model(name: str, **options: Any) -> Whole:
    if name == PACKAGED:
        return Minilm(device="cpu", **options)
    return SentenceTransformerModel(name=name, device="cpu", **options)


def model_of(name: str, setting: str, data: str, cache: Path) -> Any:
    """Return the model of a setting; `data` is the folder of the collection, for calibration."""
    if setting == "static":
        return StaticModel(name=name, device="cpu", kept_in=str(cache))
    pairs = dict(part.split("=") for part in setting.split())
    options: dict[str, Any] = {
        key: int(value) if key in ("layers", "query_layers") else float(value) if key == "keep" else value
        for key, value in pairs.items()
    }
    return whole_model(name, **options, **({"calibration": data} if "keep" in options else {}))


def depth_of(model: Whole) -> int:
    return int(model.of_role("document").loaded[0].auto_model.config.num_hidden_layers)


def layers_of(setting: str, depth: int) -> int | None:
    """Return how many layers a setting runs, if that is all that it says."""
    if not setting:
        return depth
    return int(setting.removeprefix("layers=")) if setting.startswith("layers=") and " " not in setting else None


def scores(docs: Any, queries: Any, judgements: Judgements) -> dict[str, list[float]]:
    """Return nDCG@10 of each query: of float32, of a prefix where there are more dimensions, and at 48 bytes."""

    def exact(width: int) -> list[float]:
        found, rows = search_uncompressed(unit_length(queries[:, :width]), unit_length(docs[:, :width]), 10)
        return ndcg(Rankings(rows, found, len(docs), judgements), 10).tolist()

    codec = Chain(transforms=[SVD(dim=None, centre="auto")], codec=TransformCode(nbytes=48, renormalize=True))
    found, rows = search(codec, queries, codec.fit(docs).encode(docs), 10)
    coded = ndcg(Rankings(rows, found, len(docs), judgements), 10).tolist()
    widths = sorted({docs.shape[1], min(PREFIX, docs.shape[1])}, reverse=True)
    return {**{f"{width} dimensions": exact(width) for width in widths}, CODED: coded}


def rates(model: Encoder, whole: Encoder, texts: list[str]) -> list[tuple[float, float]]:
    """Return documents a CPU second of a model and of the whole one, a pair a turn; of no texts, nothing."""
    found: list[tuple[float, float]] = []
    if not texts:
        return found
    for each in (model, whole):
        each.encode(texts[:1], "document", None)  # loads it
    for _ in range(TURNS):
        turn = []
        for each in (model, whole):
            started = time.process_time()
            each.encode(texts, "document", None)
            turn.append(len(texts) / (time.process_time() - started))
        found.append((turn[0], turn[1]))
    return found


def measure(
    name: str, setting: str, layers: int | None, dataset: Dataset, data: str, whole: Whole, cache: Path, timed: int
) -> dict[str, Any]:
    """Return a line; `layers` are those whose vectors one pass has left in the cache, if that is so."""
    model = model_of(name, setting, data, cache)
    assert dataset.doc_texts is not None
    judgements = Judgements.of(dataset)
    assert judgements is not None
    vectors = embed(dataset, model if layers is None else whole.cut_after(layers), cache)
    some = evenly_spaced(len(dataset.doc_texts), timed) if timed else []
    pairs = rates(model, whole, [dataset.doc_texts[row] for row in some])
    return {
        "model": whole.label,
        "data": dataset.name,
        "setting": setting,
        "documents": len(dataset.doc_texts),
        "queries": len(dataset.query_ids),
        "bytes": model.model_bytes if pairs else None,
        "rates": [own for own, _ in pairs],
        "speeds": [own / others for own, others in pairs],
        "scores": scores(np.asarray(vectors.docs), np.asarray(vectors.queries), judgements),
    }


def in_order(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    places = [*SETTINGS, *OTHERS]
    return sorted(lines, key=lambda line: places.index(line["setting"]))


def called(setting: str) -> Any:
    return code(setting) if setting else "float32, all layers"


def first_kind(line: dict[str, Any]) -> str:
    """Return what tables call all dimensions of a line's model."""
    return next(iter(line["scores"]))


def section(lines: Sequence[dict[str, Any]]) -> str:
    """Return the table of a model and a collection; the first line is the whole model's."""
    whole = lines[0]
    rows = []
    for line in lines:
        row = [called(line["setting"])]
        for kind, own in line["scores"].items():
            mean = float(np.mean(own))
            if line is whole:
                interval = mean_interval([own])
                row.append(f"{mean:.4f} [{interval.low[0]:.4f}, {interval.high[0]:.4f}]")
            else:
                difference = compare([own], whole["scores"][kind]).difference
                low, high = difference.low[0], difference.high[0]
                row.append(f"{mean:.4f} ({difference.estimate[0]:+.4f} [{low:+.4f}, {high:+.4f}])")
        rows.append(row)
    header = ["model", *(f"nDCG@10, {kind}" for kind in whole["scores"])]
    return Table(by_place(header, set()), rows).markdown()


def overview(groups: Sequence[Sequence[dict[str, Any]]]) -> str:
    """Return what each setting of a model takes, and what it keeps of float32 in all dimensions on each collection."""
    taken: dict[str, list[str]] = {}
    kept: dict[str, dict[int, str]] = {}
    for place, lines in enumerate(groups):
        whole = first_kind(lines[0])
        reference = np.mean(lines[0]["scores"][whole])
        for line in lines:
            shares = (100 * np.mean(line["scores"][kind]) / reference for kind in (whole, CODED))
            kept.setdefault(line["setting"], {})[place] = " / ".join(f"{share:.1f}" for share in shares)
            if line["speeds"]:
                speeds = line["speeds"]
                taken[line["setting"]] = [
                    f"{line['bytes'] / 1e6:.1f}",
                    digits(statistics.median(line["rates"])),
                    f"{digits(statistics.median(speeds))} ({digits(min(speeds))} to {digits(max(speeds))})",
                ]
    header = ["model", "MB", "documents a CPU second", "of float32's", *(lines[0]["data"] for lines in groups)]
    rows = [
        [called(setting), *taken[setting], *(kept[setting].get(place, "") for place in range(len(groups)))]
        for setting in [*SETTINGS, *OTHERS]
        if setting in taken
    ]
    return Table(by_place(header, set(range(1, len(header)))), rows).markdown()


def page(lines: Sequence[dict[str, Any]]) -> str:
    models: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for line in in_order(lines):
        models.setdefault(line["model"], {}).setdefault(line["data"], []).append(line)
    parts = ["# What to make cheaper first"]
    for model, collections in sorted(models.items()):
        groups = [own for _, own in sorted(collections.items()) if not own[0]["setting"]]
        parts += ["", f"## {model}", "", overview(groups), "", KEPT]
        for own in groups:
            first = own[0]
            size = f"{first['documents']:,} documents, {first['queries']:,} queries"
            parts += ["", f"### {model}, {first['data']}: {size}", "", section(own)]
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", help="a folder; may be given again (data/xquad-en)")
    parser.add_argument(
        "--model", default=PACKAGED, help="all-MiniLM-L6-v2 from its package, or a folder (%(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "vecbudget")
    parser.add_argument(
        "--documents", type=int, help="of a larger collection, so many: all that are judged, and others"
    )
    parser.add_argument("--timed", type=int, default=16, help="documents whose encoding is timed (%(default)s)")
    parser.add_argument("--all", action="store_true", help="other engines, calibrated and torch's own compression too")
    parser.add_argument("--only", action="append", help="this setting; may be given again")
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    done = {(line["model"], line["data"], line["setting"]) for line in lines}
    whole = whole_model(arguments.model)
    depth = depth_of(whole)
    asked = arguments.only or [*SETTINGS, *(OTHERS if arguments.all else [])]
    settings = [setting for setting in asked if setting == "" or (layers_of(setting, depth) or 0) < depth]
    for data in arguments.data or ["data/xquad-en"]:
        dataset = Folder(path=data).load()
        if arguments.documents is not None and arguments.documents < len(dataset.doc_ids):
            dataset = subset(dataset, arguments.documents / len(dataset.doc_ids), seed=0)
        missing = [setting for setting in settings if (whole.label, dataset.name, setting) not in done]
        if not missing:
            continue
        depths = {setting: layers for setting in missing if (layers := layers_of(setting, depth)) is not None}
        if len(depths) > 1:
            fill_layers(dataset, whole, list(depths.values()), arguments.cache)
        else:
            depths = {}
        for setting in missing:
            known = any(line["speeds"] for line in lines if (line["model"], line["setting"]) == (whole.label, setting))
            timed = 0 if known else arguments.timed
            line = measure(arguments.model, setting, depths.get(setting), dataset, data, whole, arguments.cache, timed)
            lines.append(line)
            with arguments.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            kept = ", ".join(f"{np.mean(own):.4f} at {kind}" for kind, own in line["scores"].items())
            print(f"{dataset.name} {setting or 'float32'}: {kept}", flush=True)
    text = page(lines)
    print(text)
    if arguments.table is not None:
        arguments.table.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
