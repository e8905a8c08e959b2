"""An index that outlived its model: documents of an older model, queries of a newer one.

    python scripts/studies/old_to_new.py --data data/scifact --folder /tmp/old_to_new [--layers 3] [--out FILE]

The old model is all-MiniLM-L6-v2 cut to its first layers, a real and weaker one; the new model is the whole. Printed is
nDCG@10 of the old system, of the new model's queries on the old index as they are and after a map was learned (from
documents that both models encode; no judgement), and of an index made anew.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from harness.data.models.minilm import Minilm
from harness.report.table import Table, by_place, code
from harness.runs.frame import load_runs

SYSTEMS = {
    "old queries, old index": (True, False, ("float32", "transform_coding", "bebr fit_queries=documents")),
    "new queries, old index": (True, True, ("float32", "transform_coding", "bebr fit_queries=none")),
    "new queries mapped to the old index": (
        True,
        True,
        (
            *(f"query_map method.transforms.0.kind={kind}" for kind in ("linear", "rotation", "shift")),
            "bebr method.query_head=own",
        ),
    ),
    "new queries, index made anew": (False, False, ("float32", "transform_coding", "bebr fit_queries=documents")),
}
"""Name -> whether documents are the old model's, whether queries are the other's, and methods."""


def cut(layers: int, folder: Path) -> None:
    """Save the packaged model's first layers as a sentence-transformers model."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(Minilm()._folder), device="cpu")
    transformer = model[0].auto_model
    transformer.encoder.layer = transformer.encoder.layer[:layers]
    transformer.config.num_hidden_layers = layers
    model.save(str(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/scifact")
    parser.add_argument("--folder", type=Path, required=True, help="for the old model and the records")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    old = options.folder / f"minilm-{options.layers}-layers"
    if not old.exists():
        cut(options.layers, old)
    rows: list[list[str]] = []
    for number, (system, (of_old, by_new, methods)) in enumerate(SYSTEMS.items()):
        results = options.folder / f"results-{number}"
        for method in methods:
            name, *settings = method.split()
            model = ["model=sentence_transformer", f"model.name={old}"] if of_old else ["model=minilm"]
            command = [
                *(sys.executable, "-m", "harness.cli", "run", "dataset=folder", f"dataset.path={options.data}", *model),
                *(["model@query_model=minilm"] if by_new else []),
                *(f"method={name}", *settings, f"results_dir={results}"),
            ]
            subprocess.run(command, check=True, env=os.environ)
        runs = load_runs(results)
        for _, run in runs.sort_values("created", kind="stable").iterrows():
            setting = f"{run['method']} {run['params']}".strip()
            rows.append(
                [
                    system,
                    code(setting),
                    f"{run['code_bytes_per_vector']:.0f}",
                    f"{run['ndcg_at_10']:.4f}",
                    "" if system.endswith("anew") else f"{run['retention']:.0%}",
                ]
            )
    header = ["system", "method", "B/doc", "nDCG@10", "of the old float32 system"]
    text = Table(by_place(header, {2, 3, 4}), rows).markdown()
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        title = f"# A new model's queries on an old model's index ({Path(options.data).name})"
        options.out.write_text(
            f"{title}\n\nThe old model: the first {options.layers} layers of the new one.\n\n{text}\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
