"""Any method inside MTEB's own evaluation, by its `SearchProtocol` (mteb 2.26, `mteb.models.SearchProtocol`).

MTEB gives the texts and scores the rankings; the model encodes, and the method stores and searches.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError, DatasetError, ModelError
from harness.base.suggestions import not_among
from harness.data import training_queries
from harness.data.datasets import Dataset
from harness.data.datasets.mteb import make_document_texts
from harness.data.embedding_cache import Vectors
from harness.data.models import Minilm
from harness.data.models.encoder import Encoder, Role, checked, unit_length
from harness.evaluation.exact_search import search
from harness.evaluation.index_build import encode, teach
from harness.evaluation.index_files import Storage, read_index, write_index
from harness.exchange.mteb.naming import FULL_DEPTH, MINILM, compression, model_meta, mteb_package, name_of, revision_of
from harness.runs.config import MethodSpec
from methods.base import Codec, Codes

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Lesson = tuple[Float32 | None, Int64 | None]
"""Queries for `fit`, and which documents answer them."""


class CompressedSearch:
    """A model whose document vectors are stored compressed, for `mteb.evaluate(CompressedSearch(model, "pq"), task)`.

    The index is what a run here makes of the same vectors: documents in descending order of their id, so that ties
    come as trec_eval breaks them; codes and state written to files, and searched from those.

    Parameters
    ----------
    model : mteb.EncoderProtocol, SentenceTransformer, or harness.data.models.encoder.Encoder
        What encodes texts, each time anew: one object for several methods saves loading it, not encoding.
    method : str or callable
        A method as tables call it, "pq m=96 seed=1": the name of its yaml, and what differs from it. Or what returns a
        new, unfitted codec each time.
    k : int
        Depth of the ranking of a method whose short list depends on it (two tiers): the run's `k`, and one more where
        the task takes a query's own document out. Its metrics at deeper cutoffs, MTEB's 1000, are those of k documents.
        All others are searched as deep as MTEB asks.
    chunk_rows : int or None
        Documents encoded and searched at a time.
    fit_queries : {"auto", "titles", "sentences", "documents", "none"}
        What a method that learns from queries is fitted with; see `harness.data.training_queries.choose`. All are made
        of the documents, before the test queries are seen: a document's text that is a test query, too, stays.

    Attributes
    ----------
    storage : harness.evaluation.index_files.Storage or None
        Sizes of the index that was made last.

    Raises
    ------
    ConfigError
        For a method or a parameter that does not exist.
    ModelError
        For a model that gives no vectors, or compares them otherwise than by cosine or the inner product.
    MissingExtraError
        Without the package mteb.
    """

    def __init__(
        self,
        model: Any,
        method: str | Callable[[], Codec],
        *,
        k: int = FULL_DEPTH,
        chunk_rows: int | None = None,
        fit_queries: str = "auto",
    ) -> None:
        mteb_package("CompressedSearch")
        from mteb.models import SearchEncoderWrapper

        training_queries.check(fit_queries)
        make, named = _method(method)
        self.model = _as_mteb_encoder(model)
        self.fit_queries = fit_queries
        own = self.model.mteb_model_meta
        kwargs = {**(own.experiment_kwargs or {}), **named}
        if k != FULL_DEPTH:
            kwargs["k"] = k
        if fit_queries != "auto":
            kwargs["fit_queries"] = fit_queries
        self._meta = own.model_copy(update={"experiment_kwargs": kwargs})
        self._index = _Index(make, k, chunk_rows, _normalizes(own))
        self._wrapper = SearchEncoderWrapper(self.model, index_backend=self._index)

    @property
    def mteb_model_meta(self) -> Any:
        """The model's metadata, with the compression in `experiment_kwargs`."""
        return self._meta

    @property
    def storage(self) -> Storage | None:
        """Sizes of the index that was made last; None before `index`."""
        return self._index.storage

    def index(
        self,
        corpus: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Any,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Encode the corpus, fit the method on it, and store it."""
        given = {"task_metadata": task_metadata, "hf_split": hf_split, "hf_subset": hf_subset}
        self._index.teach = self._teacher(corpus, given, encode_kwargs) if self._index.make().wants_queries else None
        self._wrapper.index(corpus, **given, encode_kwargs=encode_kwargs, num_proc=num_proc)

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: Any,
        top_ranked: Any = None,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> dict[str, dict[str, float]]:
        """Return the best documents of each query and their scores, {query id: {document id: score}}.

        Raises
        ------
        DatasetError
            For a task that ranks given candidates again.
        """
        if top_ranked is not None:
            raise DatasetError(
                f"{task_metadata.name} ranks given candidates again (top_ranked), which is not a search of the corpus"
            )
        found: dict[str, dict[str, float]] = self._wrapper.search(
            queries,
            task_metadata=task_metadata,
            hf_split=hf_split,
            hf_subset=hf_subset,
            top_k=top_k,
            encode_kwargs=encode_kwargs,
            num_proc=num_proc,
        )
        return found

    def _teacher(self, corpus: Any, given: dict[str, Any], encode_kwargs: Any) -> Callable[[Float32], Lesson]:
        """Return what makes pseudo queries from the documents' vectors, in descending order of their ids."""
        documents = as_dataset(corpus, given["task_metadata"].name)
        known: Any = SimpleNamespace(label=self._meta.name)
        chosen = training_queries.choose(self.fit_queries, documents, known, documents)

        def as_queries(texts: Sequence[str], what: str) -> Float32:
            from datasets import Dataset as Table
            from mteb.types import PromptType
            from torch.utils.data import DataLoader

            texts = list(texts)
            table: Any = Table.from_dict({"id": [str(i) for i in range(len(texts))], "text": texts, "query": texts})
            loader = DataLoader(table, batch_size=encode_kwargs.get("batch_size", 32))
            vectors = self.model.encode(loader, **given, prompt_type=PromptType.query, **encode_kwargs)
            return self._index.matrix(vectors, texts)

        return lambda docs: (chosen.vectors(Vectors(docs, docs[:0], None, as_queries, {})), chosen.pairs)


class _Index:
    """The compressed corpus, as `mteb.models.SearchEncoderWrapper` asks for it (`IndexEncoderSearchProtocol`)."""

    def __init__(self, make: Callable[[], Codec], k: int, chunk_rows: int | None, normalize: bool) -> None:
        self.make = make
        self.k = k
        self.chunk_rows = chunk_rows
        self.normalize = normalize
        self.teach: Callable[[Float32], Lesson] | None = None
        self.storage: Storage | None = None
        self._loaded: tuple[Codec, Codes, Int64] | None = None

    def matrix(self, vectors: Any, texts: Sequence[str]) -> Float32:
        """Return what a model of MTEB's gave, as float32 (n, d), of unit length where the model compares by cosine."""
        if hasattr(vectors, "detach"):
            vectors = vectors.detach().float().cpu().numpy()
        matrix = checked(vectors, texts, "the model")
        return unit_length(matrix) if self.normalize else matrix

    def add_documents(self, embeddings: Any, idxs: Sequence[str]) -> None:
        """Fit, encode, write, and load what was written into a new codec."""
        ids = [str(doc_id) for doc_id in idxs]
        if len(set(ids)) < len(ids):
            raise DatasetError(f"{len(ids) - len(set(ids))} documents have the id of another one")
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__, reverse=True), dtype=np.int64)
        docs = np.ascontiguousarray(self.matrix(embeddings, ids)[order])
        codec = self.make()
        teach(codec, docs, *(self.teach(docs) if self.teach is not None else (None, None)))
        codes = encode(codec, docs, self.chunk_rows)
        with TemporaryDirectory(prefix="vecbudget-") as folder:
            self.storage = write_index(Path(folder), codec, codes)
            self._loaded = (*read_index(Path(folder), self.make()), order)

    def search(
        self,
        embeddings: Any,
        top_k: int,
        similarity_fn: Any = None,
        top_ranked: Any = None,
        query_idx_to_id: Any = None,
    ) -> tuple[list[list[float]], list[list[int]]]:
        """Return scores and positions in the corpus, best first."""
        assert self._loaded is not None
        codec, codes, order = self._loaded
        queries = self.matrix(embeddings, [f"query {row}" for row in range(len(embeddings))])
        depth = self.k if codec.searches_whole else top_k
        scores, rows = search(codec, queries, codes, depth, self.chunk_rows)
        return scores[:, :top_k].tolist(), order[rows[:, :top_k]].tolist()

    def clear(self) -> None:
        """Drop the corpus; its sizes stay known."""
        self._loaded = None


class _HarnessEncoder:
    """A model of the `model` config group as MTEB's `EncoderProtocol`."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        identity = encoder.identity("document", None)
        from mteb.models.model_meta import ScoringFunction

        base, _, settings = encoder.label.partition(" ")
        name = name_of(base, identity, MINILM if isinstance(encoder, Minilm) else None)
        kwargs = {"model_settings": settings} if settings else None
        # its vectors are final: where the model compares by cosine, they have unit length
        similarity = ScoringFunction.DOT_PRODUCT
        self.mteb_model_meta = model_meta(name, revision_of(identity), kwargs, similarity_fn_name=similarity)

    def encode(self, inputs: Any, *, task_metadata: Any, prompt_type: Any = None, **_: Any) -> Float32:
        """Return the vectors of the texts that a loader of MTEB's gives, (n, d)."""
        texts = [text for batch in inputs for text in batch["text"]]
        is_query = getattr(prompt_type, "value", prompt_type) == "query"
        role: Role = "query" if is_query else "document"
        vectors: Float32 = self.encoder.encode(texts, role, task_metadata.name)
        return vectors

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return all inner products."""
        import torch

        return torch.as_tensor(embeddings1) @ torch.as_tensor(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the inner products row by row."""
        import torch

        return (torch.as_tensor(embeddings1) * torch.as_tensor(embeddings2)).sum(dim=-1)


def _as_mteb_encoder(model: Any) -> Any:
    from mteb.models import EncoderProtocol, SentenceTransformerEncoderWrapper

    if isinstance(model, EncoderProtocol):
        return model
    if all(hasattr(model, name) for name in ("encode", "identity", "label")):
        return _HarnessEncoder(model)
    if all(hasattr(model, name) for name in ("encode", "similarity", "tokenize")):
        return SentenceTransformerEncoderWrapper(model)
    raise ModelError(
        f"CompressedSearch takes a model that encodes (mteb.get_model(NAME), a SentenceTransformer, or one of harness."
        f"encode), got {type(model).__name__}"
    )


def _normalizes(meta: Any) -> bool:
    """Return whether a model's vectors are compared by cosine, and so stored at unit length."""
    similarity = getattr(meta.similarity_fn_name, "value", meta.similarity_fn_name) or "cosine"
    if similarity not in ("cosine", "dot"):
        raise ModelError(
            f"{meta.name} compares vectors by {similarity}; only cosine and the inner product are measured"
        )
    return bool(similarity == "cosine")


def _method(method: str | Callable[[], Codec]) -> tuple[Callable[[], Codec], dict[str, Any]]:
    """Return what makes the codec, and its name in `experiment_kwargs`."""
    if isinstance(method, str):
        spec = named_method(method)
        name, _, params = method.strip().partition(" ")
        words = sorted(word for word in shlex.split(params) if not word.startswith("seed="))
        return spec.make, compression(name, " ".join(words), _scoring(spec.make()), spec.seed)
    codec = method()
    if not isinstance(codec, Codec):
        raise ConfigError(f"method must be a name such as 'pq m=96', or return a Codec, got {type(codec).__name__}")
    name = type(codec).__name__
    # the representation of a dataclass has all its parameters
    return method, compression(name, repr(codec).removeprefix(name), _scoring(codec), None)


def _scoring(codec: Codec) -> str:
    """Return the scoring convention that a codec's parts add up to."""
    inner = getattr(codec, "codec", None)
    return _scoring(inner) if codec.scoring == "asymmetric" and isinstance(inner, Codec) else codec.scoring


def named_method(setting: str) -> MethodSpec:
    """Return the method that tables call by this name, such as "int8" or "pq m=96 seed=1".

    Raises
    ------
    ConfigError
        For a method or a parameter that does not exist.
    """
    from hydra import compose, initialize_config_module
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from harness.runs.catalogue import members

    name, *params = shlex.split(setting) or [""]
    if name not in members("method"):
        raise ConfigError("there is no method " + not_among(name, list(members("method")), "vecbudget list methods"))
    changes = [word if word.startswith("seed=") else f"method.{word}" for word in params]
    try:
        with initialize_config_module("configs", version_base="1.3"):
            cfg = compose("config", overrides=["~model", "~dataset", f"method={name}", *changes])
        return MethodSpec(cfg.method)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"method '{setting}': {str(error).strip().splitlines()[0]}") from error


def as_dataset(corpus: Any, name: str) -> Dataset:
    """Return the corpus as a collection whose queries are not known."""
    return Dataset.build(
        name=name,
        doc_ids=[str(doc_id) for doc_id in corpus["id"][:]],
        doc_texts=make_document_texts(corpus, name),
        titles=[title or "" for title in corpus["title"][:]] if "title" in corpus.column_names else None,
        query_ids=["unknown"],  # a collection has one at least
        query_texts=[""],
        qrels=None,
    )
