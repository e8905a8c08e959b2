"""Layers x dimensions x bits of one model, from one pass: nDCG@10 as a table.

    python scripts/studies/layer_grid.py --data data/xquad-en [--out FILE.md]

Prefixes are scaled to unit length. `experiment=layers` makes runs of them, of which a report draws a heat map. The last
column has queries of that many layers and documents of all.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.datasets import Folder
from harness.data.models.encoder import unit_length
from harness.data.models.minilm import Minilm
from harness.evaluation.exact_search import search, search_uncompressed
from harness.evaluation.rankings import Rankings
from harness.evaluation.retrieval_metrics import Judgements, ndcg
from harness.report.table import Table, by_place
from methods import PerDimension, Sign

LAYERS = range(7)

DIMS = (384, 192, 96, 48)

BITS = {32: None, 8: PerDimension, 1: Sign}


def quality(docs: Any, queries: Any, bits: int, judgements: Judgements) -> float:
    """Return nDCG@10 of documents that are kept in so many bits a dimension."""
    make = BITS[bits]
    if make is None:
        scores, rows = search_uncompressed(queries, docs, 10)
    else:
        codec = make()
        scores, rows = search(codec, queries, codec.fit(docs).encode(docs), 10)
    return float(ndcg(Rankings(rows, scores, len(docs), judgements), 10).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/xquad-en")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    dataset = Folder(path=options.data).load()
    judgements = Judgements.of(dataset)
    assert dataset.doc_texts is not None and dataset.query_texts is not None and judgements is not None
    model = Minilm(device="cpu")
    docs = model.encode_layers(dataset.doc_texts, "document", None, LAYERS)
    queries = model.encode_layers(dataset.query_texts, "query", None, LAYERS)
    cells = [(bits, dim) for bits in BITS for dim in DIMS]
    grid = np.array(
        [
            [
                quality(unit_length(docs[layer][:, :dim]), unit_length(queries[layer][:, :dim]), bits, judgements)
                for bits, dim in cells
            ]
            for layer in LAYERS
        ]
    )
    apart = [quality(docs[-1], queries[layer], 32, judgements) for layer in LAYERS]
    columns = [f"{dim} x {bits}" for bits, dim in cells]
    rows = [[str(layer), *(f"{value:.3f}" for value in grid[layer]), f"{apart[layer]:.3f}"] for layer in LAYERS]
    header = ["layers", *columns, "documents at 6"]
    text = Table(by_place(header, set(range(1, len(header)))), rows).markdown()
    print(text)
    if options.out is not None:
        title = f"# Layers x dimensions x bits of all-MiniLM-L6-v2 ({Path(options.data).name}), nDCG@10"
        options.out.write_text(f"{title}\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
