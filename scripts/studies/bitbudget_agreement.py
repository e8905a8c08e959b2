"""BitBudget's own code on the same vectors, beside the records of `paper_bitbudget`: was its convention read correctly?

    pip install bitbudget==0.3.1
    python scripts/studies/bitbudget_agreement.py --runs results/reference-runs/paper_bitbudget
        --vectors data/scifact/minilm.safetensors data/cranfield/e5.safetensors
        --out results/reference/paper_bitbudget/agreement.md

Each file of vectors lies in its collection's BEIR folder. BitBudget leaves the order of equal scores to `argpartition`,
so that its scores are ranked a second time, with ties in trec_eval's order as ours are.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import numpy as np

from harness.data.datasets import Folder
from harness.data.models import VectorModel
from harness.evaluation import metric_registry
from harness.evaluation.rankings import Rankings
from harness.evaluation.retrieval_metrics import Judgements
from methods import topk
from scripts.studies.bitbudget_claims import THEIRS, Records

METRIC = metric_registry.metric("ndcg_exp_at_10")
EQUAL = 1e-9

HEAD = """# BitBudget's own code and this project's records of its conventions

nDCG@10 (gain 2^grade - 1) and recall@10 against the float32 neighbours, on the same vectors. *As it is*: what
BitBudget 0.3.1 computes, ties in no certain order. *Ties ordered*: its scores, ranked as trec_eval orders ties (also
where the short list of `binary+rerank` ends). *Here*: the record of `paper_bitbudget`; of the two methods that draw at
random, the mean of the seeds, and the least and greatest of them. *Queries that differ*: those whose nDCG@10 is another
than with ties ordered. Where a collection holds documents twice (MLQuestions) its matrix product rounds their scores
apart, float32's too.

`pq` is not quite the same. BitBudget starts the k-means of each part at other documents, FAISS that of every part at
the same ones: the squared error is the same (.128 on Cranfield · MiniLM), but its parts go together, and recall@10 is
.778 to .796 there, .808 to .820 with a start for each part (BitBudget's k-means, five draws of each).

| collection · model | method | as it is | ties ordered | here | recall@10 as it is | here | queries that differ |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def rows_of(vectors: Path, records: Records) -> list[str]:
    """Return the table's rows for one file of vectors."""
    theirs = importlib.import_module("bitbudget.methods").METHODS
    metrics = importlib.import_module("bitbudget.metrics")
    dataset = Folder(path=str(vectors.parent)).load()
    docs, queries, _ = VectorModel(path=str(vectors)).supply(dataset)
    assert dataset.qrels is not None
    judgements = Judgements.of(dataset)
    # its rows in the order of the file, as it reads them
    with (vectors.parent / "corpus.jsonl").open(encoding="utf-8") as lines:
        file_ids = [json.loads(line)["_id"] for line in lines]
    row_of = {doc_id: row for row, doc_id in enumerate(dataset.doc_ids)}
    file_rows = np.array([row_of[doc_id] for doc_id in file_ids])
    positions = np.argsort(file_rows)
    ours_rows = np.tile(np.arange(len(docs)), (len(queries), 1))
    exact = queries @ docs[file_rows].T
    rows = []
    for name, (setting, _) in THEIRS.items():
        scores = theirs[name](docs[file_rows], queries)[0].astype(np.float32)
        as_it_is = metrics.ndcg_at_k(scores, dataset.query_ids, file_ids, dataset.qrels)
        recall = metrics.recall_at_k(scores, exact)
        in_our_order = scores[:, positions]
        if name == "binary+rerank":
            # its short list ends in a tie, too
            signs = theirs["binary"](docs, queries)[0].astype(np.float32)
            _, listed = topk.ordered(signs, ours_rows, 100)
            in_our_order = np.full_like(scores, -np.inf)
            np.put_along_axis(in_our_order, listed, np.take_along_axis(queries @ docs.T, listed, axis=1), axis=1)
        values, ranking = topk.ordered(in_our_order, ours_rows, 100)
        ordered = METRIC.compute(Rankings(ranking, values, len(docs), judgements))
        found = records.find((vectors.parent.name, vectors.stem), setting, METRIC.name)
        overlap = records.find((vectors.parent.name, vectors.stem), setting, "overlap_at_10")
        here, differing = f"{found.mean():.5f}", f"{int((np.abs(found[0] - ordered) > EQUAL).sum())} of {len(queries)}"
        if len(found) > 1:
            seeds = found.mean(axis=1)
            here, differing = f"{here} ({seeds.min():.5f} to {seeds.max():.5f})", "another draw"
        rows.append(
            f"| {vectors.parent.name} · {vectors.stem} | {name} | {as_it_is:.5f} | {ordered.mean():.5f} | {here} "
            f"| {recall:.4f} | {overlap.mean():.4f} | {differing} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="records of the experiment")
    parser.add_argument("--vectors", type=Path, nargs="+", required=True, help="files of vectors, each in its folder")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    records = Records(options.runs)
    rows = [row for vectors in options.vectors for row in rows_of(vectors, records)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    print(options.out)


if __name__ == "__main__":
    main()
