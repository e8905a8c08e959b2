"""Any model of MTEB's registry."""

from __future__ import annotations

import difflib
import functools
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import MissingExtraError, ModelError
from harness.base.options import Options

if TYPE_CHECKING:
    pass

from harness.data.models.encoder import (
    Identity,
    Role,
    check_device,
    check_positive,
    checked,
    chosen_device,
    first_line,
    unit_length,
)
from harness.data.models.hub import HubModel
from harness.data.models.sentence_transformer import failures_as_model_errors

Float32 = NDArray[np.float32]

log = logging.getLogger(__name__)


@dataclass(kw_only=True, frozen=True)
class MtebModel(Options):
    """A model of MTEB's registry, with the loader and the prompts that MTEB gives it for the dataset's task.

    Attributes
    ----------
    name : str
        As in `mteb.get_model_meta`.
    revision : str or None
        None is the registry's.
    device, batch_size
        As in `SentenceTransformerModel`.
    """

    name: str
    revision: str | None = None
    device: str = "auto"
    batch_size: int = 32

    def _check(self) -> None:
        check_positive(self, "batch_size")
        check_device(self)

    @property
    def label(self) -> str:
        """The registry's name."""
        return self.name

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors: the registry's entry, and the prompt of the task."""
        meta, of_task = self._meta, _task_metadata(task)
        # of all its prompts, those that can apply: another task's may change without changing these vectors
        keys = {role, of_task.name, of_task.type, f"{of_task.name}-{role}", f"{of_task.type}-{role}"}
        settings = {**meta.loader_kwargs, **(meta.experiment_kwargs or {})}
        for name in ("model_prompts", "prompts_dict"):
            if isinstance(settings.get(name), Mapping):
                settings[name] = {key: text for key, text in settings[name].items() if str(key) in keys}
        prompt = of_task.prompt
        identity = {
            "mteb": meta.name,
            "revision": meta.revision,
            "loader": _qualified(meta.loader),
            "settings": settings,
            "normalize": self._normalizes,
            "role": role,
            "task": of_task.name,
            "prompt": prompt.get(role) if isinstance(prompt, Mapping) else prompt,
        }
        plain: Identity = json.loads(json.dumps(identity, default=_qualified, sort_keys=True))
        return plain

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Float32:
        """Return the texts' vectors, through the model's MTEB interface."""
        normalizes, model = self._normalizes, self._model
        from datasets import Dataset as Table
        from mteb.types import PromptType
        from torch.utils.data import DataLoader

        texts = list(texts)
        columns = {"id": [str(i) for i in range(len(texts))], "text": texts}
        columns["body" if role == "document" else "query"] = texts
        loader: Any = DataLoader(Table.from_dict(columns), batch_size=self.batch_size)
        with failures_as_model_errors(self.name, texts, self.batch_size):
            vectors = model.encode(
                loader,
                task_metadata=_task_metadata(task),
                hf_split="test",
                hf_subset="default",
                prompt_type=PromptType.document if role == "document" else PromptType.query,
                batch_size=self.batch_size,
                show_progress_bar=False,
            )
        if hasattr(vectors, "detach"):
            vectors = vectors.detach().float().cpu().numpy()
        vectors = checked(vectors, texts, self.name)
        return unit_length(vectors) if normalizes else vectors

    @property
    def _normalizes(self) -> bool:
        similarity = self._meta.similarity_fn_name
        value = "cosine" if similarity is None else str(getattr(similarity, "value", similarity))
        if value not in ("cosine", "dot"):
            raise ModelError(f"{self.name} compares vectors by {value}; only cosine and the inner product are measured")
        return value == "cosine"

    @cached_property
    def _meta(self) -> Any:
        mteb = _mteb()
        try:
            meta = mteb.get_model_meta(self.name, self.revision)
        except KeyError:
            known = [entry.name for entry in mteb.get_model_metas()]
            raise ModelError(f"MTEB has no model '{self.name}'{_did_you_mean(self.name, known)}") from None
        except ValueError as error:
            raise ModelError(f"model.revision: {first_line(error)}") from error
        if "dense" not in meta.model_type:
            kind = ", ".join(meta.model_type)
            raise ModelError(f"{self.name} is a {kind} model; only models that give one vector for each text fit")
        return meta

    @cached_property
    def _model(self) -> Any:
        mteb = _mteb()
        frameworks = set(self._meta.framework)
        if frameworks and "API" not in frameworks:
            # the loaders would retry for a minute before they give up
            hub = HubModel(self._meta.name, self._meta.revision)
            if not hub.is_cached:
                hub.ask()
        try:
            device = None if self.device == "auto" else chosen_device(self.device)
            return mteb.get_model(self.name, self.revision, device=device)
        except Exception as error:
            raise ModelError(f"{self.name} cannot be loaded: {first_line(error)}") from error


def _mteb() -> Any:
    try:
        import mteb
    except ModuleNotFoundError as error:
        raise MissingExtraError("mteb", "mteb", "model=mteb") from error
    return mteb


@functools.cache
def _task_metadata(task: str | None) -> Any:
    """Return what MTEB knows of a task, and a plain retrieval task where it knows none."""
    mteb = _mteb()
    if task is not None:
        try:
            return mteb.get_task(task).metadata
        except KeyError:
            log.info("'%s' is no task of MTEB's: its models use their prompts for retrieval", task)
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        name="VecbudgetRetrieval",
        description="A retrieval collection that MTEB does not know.",
        dataset={"path": "local", "revision": "local"},
        type="Retrieval",
        category="t2t",
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
        prompt=AbsTaskRetrieval.abstask_prompt,
    )


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    tail = name.rpartition("/")[2].lower()
    near = [entry for entry in known if entry.rpartition("/")[2].lower() == tail]
    near += [entry for entry in difflib.get_close_matches(name, known, n=2) if entry not in near]
    return f"; did you mean {' or '.join(near[:2])}?" if near else ""


def _qualified(value: Any) -> str:
    """Return a stable name for a function, class or other object that is no JSON."""
    inner = value.func if isinstance(value, functools.partial) else value
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    return f"{named.__module__}.{named.__qualname__}"
