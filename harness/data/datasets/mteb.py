"""Retrieval tasks of MTEB by name, read by MTEB's own loaders (Muennighoff et al., 2023)."""

from __future__ import annotations

import dataclasses
import difflib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.base.errors import DatasetError, MissingExtraError
from harness.base.options import Options
from harness.data.datasets.dataset import Dataset, answers, document_text, unseen_queries

log = logging.getLogger(__name__)

TRAIN = "train"

REACH_SECONDS = 5.0
"""How long the Hugging Face hub may take to answer before it counts as out of reach."""

FETCHED_BEFORE = "what was fetched before is used with HF_HUB_OFFLINE=1 in the environment"

WITHOUT_HUB = "without network there are dataset=folder dataset.path=DIR (BEIR's layout) and dataset=stdlib"


@dataclass(kw_only=True, frozen=True)
class MtebTask(Options):
    """Load a text retrieval task of MTEB.

    Parameters
    ----------
    name : str
        MTEB's task name, such as SciFact or NanoSciFactRetrieval.
    split : str or None
        One of the splits on which MTEB evaluates; None is the first.
    subset : str or None
        One of the task's subsets (languages, mostly); None is the only one.
    """

    name: str
    split: str | None = None
    subset: str | None = None

    def load(self) -> Dataset:
        """Fetch the task, or take it from the local cache of `datasets`.

        Raises
        ------
        DatasetError
            For an unknown name, a task that is not text retrieval, a split or subset that it does not have, a hub
            that cannot be reached, or data that MTEB cannot load.
        MissingExtraError
            Without the package mteb.
        """
        task = _find(self.name)
        _refuse_unsupported(task)
        split, subset = _choose(task, self.split, self.subset)
        task.filter_eval_splits([split])
        if task.metadata.is_multilingual:
            task.filter_languages(None, hf_subsets=[subset])
        offline = _is_offline()
        if not offline and not Path(task.metadata.dataset["path"]).exists():
            _refuse_without_hub(self.name)
        log.info("loading %s (%s, %s) by MTEB", self.name, subset, split)
        try:
            task.load_data()
        except Exception as error:  # of whatever kind: this is code of a thousand tasks
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            hint = f"; {WITHOUT_HUB}" if isinstance(error, ConnectionError) else ""
            raise DatasetError(f"{self.name}: MTEB cannot load it: {reason}{hint}") from error
        _add_train_split(task, split, subset)
        dataset = from_task(task, split, subset)
        if offline:
            # `datasets` then takes the cached copy, of whichever revision
            return dataclasses.replace(dataset, revision=f"{dataset.revision} (from the cache, not checked)")
        return dataset


def from_task(task: Any, split: str | None = None, subset: str | None = None) -> Dataset:
    """Convert a retrieval task of MTEB, loading it if it is not loaded yet.

    Texts are what MTEB gives to a model, and judged queries are the ones that it evaluates. A judged document
    that the corpus lacks (ArguAna has five) counts as never found, as it does there.

    Parameters
    ----------
    task : mteb.abstasks.retrieval.AbsTaskRetrieval
    split, subset : str or None
        See `MtebTask`. Queries of a split "train" that is loaded too are the ones that a method may see.

    Raises
    ------
    DatasetError
        See `MtebTask`.
    """
    _refuse_unsupported(task)
    split, subset = _choose(task, split, subset)
    if not task.data_loaded:
        task.load_data()
    task.convert_v1_dataset_format_to_v2(num_proc=None)
    name = task.metadata.name
    splits = task.dataset.get(subset, {})
    if split not in splits:
        raise DatasetError(f"{name}: MTEB loaded no split '{split}' of subset '{subset}', only {_named(splits)}")
    data = splits[split]
    if data.get("top_ranked"):
        raise DatasetError(f"{name} ranks given candidates again (top_ranked), which is not a search of the corpus")
    corpus, queries = data["corpus"], data["queries"]
    doc_ids = [str(doc_id) for doc_id in corpus["id"][:]]
    query_ids = [str(query_id) for query_id in queries["id"][:]]
    query_texts = make_query_texts(queries, name)
    train_texts, train_answers = _train(splits, split, dict(zip(query_ids, query_texts, strict=True)), name)
    return Dataset.build(
        name="-".join(
            [
                name,
                *([subset] if task.metadata.is_multilingual else []),
                *([split] if split != task.metadata.eval_splits[0] else []),
            ]
        ),
        revision=str(task.metadata.revision),
        doc_ids=doc_ids,
        doc_texts=make_document_texts(corpus, name),
        titles=[title or "" for title in corpus["title"][:]] if "title" in corpus.column_names else None,
        query_ids=query_ids,
        query_texts=query_texts,
        qrels={
            str(query_id): {str(doc_id): int(grade) for doc_id, grade in grades.items()}
            for query_id, grades in data["relevant_docs"].items()
        },
        count_unknown_docs=True,
        train_query_texts=train_texts,
        train_answers=train_answers,
        skip_identical_ids=bool(task.ignore_identical_ids),
        task=name,
    )


def make_document_texts(corpus: Any, name: str = "corpus") -> list[str]:
    """Return what a model reads of each document of a `datasets.Dataset`: title and text joined.

    Raises
    ------
    DatasetError
        For a document without text.
    """
    bodies = corpus["text"][:]
    if not all(isinstance(body, str) for body in bodies):
        row = next(row for row, body in enumerate(bodies) if not isinstance(body, str))
        raise DatasetError(f"{name}: document '{corpus['id'][row]}' has no text, but {bodies[row]!r}")
    titles = corpus["title"][:] if "title" in corpus.column_names else [None] * len(bodies)
    return [document_text(title, body) for title, body in zip(titles, bodies, strict=True)]


def make_query_texts(queries: Any, name: str = "queries") -> list[str]:
    """Return what a model reads of each query of a `datasets.Dataset`.

    That is its text, and after it its instruction; or the turns of a conversation in one line, and before them the
    instruction.

    Raises
    ------
    DatasetError
        For a query that is neither text nor a conversation.
    """
    texts = queries["text"][:]
    instructions = queries["instruction"][:] if "instruction" in queries.column_names else None
    made: list[str] = []
    for row, text in enumerate(texts):
        instruction = instructions[row] if instructions else None
        if isinstance(text, str):
            made.append(text if instruction is None else f"{text} {instruction}")
        elif (turns := _turns(text)) is not None:
            made.append(turns if instructions is None else f"{instruction} {turns}")
        else:
            raise DatasetError(f"{name}: query '{queries['id'][row]}' is neither text nor a conversation: {text!r}")
    return made


def _turns(conversation: Any) -> str | None:
    if not isinstance(conversation, list) or not conversation:
        return None
    if all(isinstance(turn, str) for turn in conversation):
        return "; ".join(conversation)
    if all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in conversation):
        return "; ".join(f"{turn['role']}: {turn['content']}" for turn in conversation)
    return None


def _find(name: str) -> Any:
    try:
        import mteb
    except ImportError as error:
        raise MissingExtraError("mteb", "mteb", f"the MTEB task {name}") from error
    try:
        return mteb.get_task(name)
    except KeyError:
        pass
    # tasks in beta or superseded are had by name, but each of them would be announced here
    every = mteb.get_tasks(
        task_types=["Retrieval", "InstructionRetrieval"], modalities=["text"], exclusive_modality_filter=True
    )
    known = {task.metadata.name.casefold(): task.metadata.name for task in every if not task.is_aggregate}
    wanted = name.casefold()
    longer = sorted((key for key in known if key.startswith(wanted)), key=len) if wanted else []
    near = [known[key] for key in dict.fromkeys([*longer[:3], *difflib.get_close_matches(wanted, known, n=3)])][:3]
    hint = f"did you mean {' or '.join(near)}?" if near else "the MTEB documentation lists its retrieval tasks"
    raise DatasetError(f"MTEB has no task '{name}'; {hint}")


def _refuse_unsupported(task: Any) -> None:
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    name, kind = task.metadata.name, task.metadata.type
    if task.is_aggregate:
        parts = [part.metadata.name for part in task.metadata.tasks]
        raise DatasetError(f"{name} is a mean over {len(parts)} tasks; choose one of them: {_named(parts)}")
    if not isinstance(task, AbsTaskRetrieval) or "Reranking" in kind:
        raise DatasetError(f"{name} is a {kind} task of MTEB; what is measured here is retrieval")
    if set(task.metadata.modalities) != {"text"}:
        raise DatasetError(f"{name} has {' and '.join(sorted(task.metadata.modalities))}; only text is supported")
    if task.skip_first_result:
        raise DatasetError(f"{name} leaves out each query's first result (skip_first_result), which is not supported")


def _choose(task: Any, split: str | None, subset: str | None) -> tuple[str, str]:
    """Return the split and the subset that are meant, or refuse."""
    name = task.metadata.name
    splits, subsets = list(task.metadata.eval_splits), list(task.metadata.hf_subsets)
    if split is None:
        split = splits[0]
    elif split not in splits:
        # MTEB's loader takes another split where there is only one, without a word
        raise DatasetError(f"{name}: MTEB does not evaluate on split '{split}', only on {_named(splits)}")
    if subset is None:
        if len(subsets) > 1:
            raise DatasetError(f"{name} has {len(subsets)} subsets; choose one with dataset.subset: {_named(subsets)}")
        subset = subsets[0]
    elif subset not in subsets:
        near = difflib.get_close_matches(subset, subsets, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {_named(subsets)}"
        raise DatasetError(f"{name} has no subset '{subset}'; {hint}")
    return split, subset


def _named(names: Any, most: int = 12) -> str:
    listed = [str(name) for name in names]
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + rest or "none"


def _is_offline() -> bool:
    import datasets

    return bool(datasets.config.HF_HUB_OFFLINE)


def _refuse_without_hub(name: str) -> None:
    """Ask the hub for a sign of life: `datasets` would retry for half a minute, with a warning each time."""
    import datasets
    import huggingface_hub

    endpoint = datasets.config.HF_ENDPOINT
    try:
        huggingface_hub.get_session().head(endpoint, timeout=REACH_SECONDS)
    except Exception as error:  # its HTTP library, and so the exception, differs from version to version
        reason = str(error) or type(error).__name__
        raise DatasetError(f"{name}: cannot reach {endpoint} ({reason}); {FETCHED_BEFORE}; {WITHOUT_HUB}") from error


def _add_train_split(task: Any, split: str, subset: str) -> None:
    """Load the train split beside the one measured, where the task leaves loading to MTEB and there is one."""
    from mteb.abstasks import AbsTask
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalDatasetLoader

    kind = type(task)
    is_plain = kind.load_data is AbsTaskRetrieval.load_data and kind.dataset_transform is AbsTask.dataset_transform
    if split == TRAIN or not is_plain:
        return
    try:
        # where the hub has one split only, this returns that one: its queries are test queries, and sorted out as such
        task.dataset[subset][TRAIN] = RetrievalDatasetLoader(
            hf_repo=task.metadata.dataset["path"],
            revision=task.metadata.revision,
            split=TRAIN,
            config=subset,
        ).load()
    except ValueError as error:
        log.info("%s has no train split (%s)", task.metadata.name, str(error).strip().partition("\n")[0])
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        log.warning("%s: the train queries cannot be fetched, so there are none (%s)", task.metadata.name, reason)


def _train(splits: Any, split: str, test: dict[str, str], name: str) -> tuple[list[str], list[list[str]]]:
    """Return the texts of the train queries, and the ids of the documents relevant to each."""
    if split == TRAIN or TRAIN not in splits:
        return [], []
    data = splits[TRAIN]
    judged = {str(query_id): grades for query_id, grades in data["relevant_docs"].items() if grades}
    texts = zip(data["queries"]["id"][:], make_query_texts(data["queries"], name), strict=True)
    unseen = unseen_queries({str(query_id): text for query_id, text in texts if str(query_id) in judged}, test)
    return list(unseen.values()), [[str(doc_id) for doc_id in answers(judged[query_id])] for query_id in unseen]
