"""Names that stand for one thing each: what is called alike and is not the same gets a mark of what differs.

A collection, a model or a setting is what its record's identity says (fingerprint, encoder, parameters, depth), and its
name is a label that two of them may share. Everything that groups runs groups them by these columns, so that nothing
but seeds is ever averaged.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from harness.runs.record import Identity, Record

if TYPE_CHECKING:
    import pandas as pd

IDS = ("dataset_id", "model_id", "weights_id", "method_id")
"""Columns of a frame that say what a run's names stand for."""

SHORT = 6
"""Digits of a hash in a label; more where these do not tell labels apart."""


def identity_columns(record: Record) -> dict[str, Any]:
    """Return what a record's names stand for: a hash each of `IDS`, and the depth `k` of its rankings."""
    identity = record.identity
    return {
        "dataset_id": record.dataset.fingerprint or identity.dataset,
        "model_id": _hash(identity.model),
        "weights_id": _hash(identity.weights) if identity.weights else "",
        "method_id": _hash(_method(identity)),
        "k": identity.k or float("nan"),
    }


def with_distinct_names(frame: pd.DataFrame, copies: Literal["drop", "keep"] = "drop") -> pd.DataFrame:
    """Return runs whose `dataset`, `model` and `params` tell apart what is not the same; a run's second copy goes.

    A collection's name gets the begin of its fingerprint, in brackets, where there are several of that name; a model's
    the begin of its identity's hash, where its weights or (on one collection) its settings differ; a setting's "k=N"
    where its rankings have another depth than most beside it, and the begin of its hash where parameters differ that
    its name does not tell. A frame without the columns `IDS` is returned as it is.

    Parameters
    ----------
    frame : DataFrame
        One row a run, as `harness.runs.frame.load_runs` makes it; several may be put together.
    copies : {"drop", "keep"}
        What becomes of further rows of one run.
    """
    if frame.empty or not {*IDS, "k"} <= set(frame.columns):
        return frame
    frame = frame.drop_duplicates("run_id").reset_index(drop=True) if copies == "drop" else frame.reset_index(drop=True)
    # frames that were marked apart may have been put together
    for column, hashes in (
        ("dataset", ["dataset_id"]),
        ("model", ["model_id", "weights_id"]),
        ("params", ["method_id"]),
    ):
        known = frame[hashes].to_numpy().tolist()
        frame[column] = [_unmarked(name, map(_text, ids)) for name, ids in zip(frame[column], known, strict=True)]
    frame["params"] = [_without_depth(params, depth) for params, depth in zip(frame["params"], frame["k"], strict=True)]
    frame["dataset"] = marked(frame["dataset"], frame["dataset_id"], frame["dataset"])
    frame["model"] = marked(frame["model"], frame["weights_id"], frame["model"])
    collection = list(zip(frame["model"], frame["dataset_id"], strict=True))
    frame["model"] = marked(frame["model"], frame["model_id"], collection)
    frame["params"] = _with_depths(frame)
    columns = ("dataset", "model", "method", "params", "scoring")
    settings = list(zip(*(frame[name] for name in columns), strict=True))
    frame["params"] = marked(frame["params"], frame["method_id"], settings)
    return frame


def marks(frame: pd.DataFrame) -> list[str]:
    """Return a sentence for each name that several things of a frame share, and each collection of several names."""
    if not set(IDS) <= set(frame.columns):
        return []
    sentences = []
    for column, ids, what, by in (
        ("dataset", ["dataset_id"], "collections", "the begin of their fingerprints"),
        ("model", ["model_id", "weights_id"], "models", "the begin of the hash of their weights and settings"),
    ):
        shared: dict[str, set[str]] = {}
        for label, *hashes in frame[[column, *ids]].drop_duplicates().itertuples(index=False):
            name = _unmarked(str(label), [str(value) for value in hashes])
            if name != label:
                shared.setdefault(name, set()).add(str(label))
        sentences += [
            f"{len(labels)} {what} are called {name}; they are told apart by {by}: {', '.join(sorted(labels))}."
            for name, labels in sorted(shared.items())
        ]
    named = frame[frame["dataset_id"].astype(bool)].groupby("dataset_id")["dataset"].unique()
    sentences += [
        f"{' and '.join(sorted(map(str, names)))} are one collection; the same commands with one dataset.name= for all "
        "of them bring their settings together."
        for names in named
        if len(names) > 1
    ]
    return sentences


def _without_depth(params: str, depth: float) -> str:
    return re.sub(rf"(^| )k={depth:.0f}$", "", params) if depth == depth else params


def _unmarked(label: str, hashes: Iterable[str]) -> str:
    """Return a label without the marks that the hashes gave it, the last one first."""
    for value in hashes:
        for digits in range(min(SHORT, len(value)), len(value) + 1):
            mark = f"[{value[:digits]}]"
            if value and (label == mark or label.endswith(f" {mark}")):
                label = label.removesuffix(mark).rstrip()
                break
    return label


def marked(names: Iterable[str], ids: Iterable[Any], groups: Iterable[Hashable]) -> list[str]:
    """Return names, with the begin of the id behind those whose group has several ids."""
    names, ids = list(names), list(ids)
    meanings: dict[Hashable, set[str]] = {}
    groups = list(groups)
    for group, identifier in zip(groups, ids, strict=True):
        meanings.setdefault(group, set()).add(_text(identifier))
    marked = []
    for name, group, identifier in zip(names, groups, ids, strict=True):
        rivals = meanings[group]
        digits = next(
            (length for length in range(SHORT, 65) if len({rival[:length] for rival in rivals}) == len(rivals)), 64
        )
        mark = f"[{_text(identifier)[:digits]}]" if len(rivals) > 1 and _text(identifier) else ""
        marked.append(f"{name} {mark}".strip())
    return marked


def _text(identifier: Any) -> str:
    return identifier if isinstance(identifier, str) else ""


def _with_depths(frame: pd.DataFrame) -> list[str]:
    """Return parameters, with "k=N" where rankings have another depth than most of the collection and model."""
    usual = frame.groupby(["dataset", "model"])["k"].transform(lambda depths: depths.mode().max())
    return [
        f"{params} k={depth:.0f}".strip() if depth == depth and depth != common else params
        for params, depth, common in zip(frame["params"], frame["k"], usual, strict=True)
    ]


def _method(identity: Identity) -> dict[str, Any]:
    """Return what makes a setting, without its seeds."""
    return {
        "method": _without_seeds(identity.method),
        "fit_dataset": identity.fit_dataset,
        "fit_disjoint": identity.fit_disjoint,
        "fit_sample": identity.fit_sample,
        "fit_queries": identity.fit_queries,
    }


def _without_seeds(settings: Any) -> Any:
    if isinstance(settings, Mapping):
        return {key: _without_seeds(value) for key, value in settings.items() if key != "seed"}
    return [_without_seeds(item) for item in settings] if isinstance(settings, list) else settings


def _hash(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
