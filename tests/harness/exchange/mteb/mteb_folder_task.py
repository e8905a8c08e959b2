"""A folder in BEIR's layout as a task of MTEB, read by nothing of ours: the other side of comparisons."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np


def metadata(name: str = "FolderTask", **changes: Any) -> Any:
    """Metadata of a text retrieval task."""
    from mteb.abstasks.task_metadata import TaskMetadata

    unknown = (
        "reference date domains task_subtypes license annotations_creators dialect sample_creation bibtex_citation"
    )
    given = {
        "name": name,
        "description": "A collection in a folder.",
        "type": "Retrieval",
        "category": "t2t",
        "modalities": ["text"],
        "eval_splits": ["test"],
        "eval_langs": ["eng-Latn"],
        "main_score": "ndcg_at_10",
        "dataset": {"path": "local/folder", "revision": "1234567"},
        **dict.fromkeys(unknown.split()),
    }
    return TaskMetadata(**{**given, **changes})


def task_of(data: dict[str, dict[str, Any]], task_metadata: Any, **attributes: Any) -> Any:
    """A loaded task over `{subset: {split: RetrievalSplitData}}`; attributes go to its class."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    def load_data(self: Any, num_proc: int | None = None, **_: Any) -> None:
        self.dataset, self.data_loaded = data, True

    kind = type("LocalTask", (AbsTaskRetrieval,), {"metadata": task_metadata, "load_data": load_data, **attributes})
    task = kind()
    task.load_data()
    return task


def split_data(
    corpus: list[dict[str, Any]], queries: list[dict[str, Any]], relevant: dict[str, dict[str, int]], **more: Any
) -> dict[str, Any]:
    """One split of a task, from rows with `id`, `text` and so on."""
    from datasets import Dataset

    given = {"corpus": Dataset.from_list(corpus), "queries": Dataset.from_list(queries), "relevant_docs": relevant}
    return {**given, "top_ranked": None, **more}


def folder_task(path: str | Path, split: str = "test", **attributes: Any) -> Any:
    """A loaded `AbsTaskRetrieval` over the folder's corpus, queries and qrels/<split>.tsv."""
    folder = Path(path)

    def rows(stem: str, *keys: str) -> list[dict[str, str]]:
        with (folder / f"{stem}.jsonl").open(encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
        return [{"id": record["_id"], **{key: record.get(key) or "" for key in keys}} for record in records]

    relevant: dict[str, dict[str, int]] = {}
    with (folder / "qrels" / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            relevant.setdefault(line["query-id"], {})[line["corpus-id"]] = int(line["score"])
    data = split_data(rows("corpus", "title", "text"), rows("queries", "text"), relevant)
    return task_of({"default": {split: data}}, metadata(eval_splits=[split]), **attributes)


class Precomputed:
    """An MTEB encoder that returns rows of arrays that exist already, in the order in which it is asked."""

    def __init__(self, docs: np.ndarray, queries: np.ndarray) -> None:
        self.arrays = {"document": docs, "query": queries}
        import mteb

        self.mteb_model_meta = mteb.get_model_meta("sentence-transformers/all-MiniLM-L6-v2")

    def encode(self, inputs: Any, *, prompt_type: Any, **_: Any) -> np.ndarray:
        role = getattr(prompt_type, "value", prompt_type)
        array = self.arrays["query" if role == "query" else "document"]
        return array.copy()

    def similarity(self, left: Any, right: Any) -> Any:
        import torch

        left, right = torch.as_tensor(left, dtype=torch.float32), torch.as_tensor(right, dtype=torch.float32)
        left = torch.nn.functional.normalize(left, dim=-1)
        return left @ torch.nn.functional.normalize(right, dim=-1).T

    def similarity_pairwise(self, left: Any, right: Any) -> Any:
        raise NotImplementedError
