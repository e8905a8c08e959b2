"""A run's compressed index, to be used elsewhere: `vecbudget export RUN_ID --out DIR`.

The folder is what `vecbudget.CompressedIndex.load` reads; each target (`--to`) adds a folder of its own inside. All of
it is written under another name first, and compared with the run's own ranking.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from harness.base.errors import ConfigError, MissingExtraError, StoreError
from harness.base.files import whole_folder
from harness.base.memmap import in_memory
from harness.data.datasets import Dataset
from harness.data.metric import Asked
from harness.data.models import VectorModel
from harness.evaluation.index_files import CODES_FILE, STATE_FILE
from harness.exchange.store_loaders import LIBRARIES, chosen_preset, write_store
from harness.runs import run as runs
from harness.runs.config import RunConfig
from harness.runs.inputs import Split, collection_of, load_vectors, model_of, split_off
from harness.runs.record import Record
from harness.runs.store import INDEX, Store
from methods.base import Codec, MethodError
from methods.representations import IN_WORDS
from vecbudget.index import CODES, IDS, STATE, CompressedIndex, Ids, IndexFileError, seal

OURS = r"(methods|harness\.data\.(datasets|models)(\.[a-z]\w*)?)\.[A-Z]\w*"
"""Classes that a record may name: a record may be another person's."""

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    path : Path
    n : int
        Documents.
    checked : int
        Queries that were ranked by the index, all as the run had ranked them.
    rebuilt : bool
        False where the run had kept its index.
    notes : mapping of str to tuple of str
        For each target, what its user must know.
    """

    path: Path
    n: int
    checked: int
    rebuilt: bool
    notes: Mapping[str, tuple[str, ...]]


def export(
    run_id: str,
    out: Path,
    *,
    results: Path = Path("results"),
    targets: Sequence[str] = (),
    overrides: Sequence[str] = (),
    check: bool = True,
) -> Exported:
    """Write a run's index into a new folder.

    The index that the run kept is copied; where it kept none, the run is made again from the cached vectors.

    Parameters
    ----------
    run_id : str
    out : Path
        A folder that does not exist, or is empty.
    results : Path
        Where the record is.
    targets : sequence of str
        "faiss", "numpy", "usearch", or a vector store by its name, or "store", the one that the method is a preset of.
    overrides : sequence of str
        What lies elsewhere now, such as "dataset.path=DIR" or "cache_dir=DIR".
    check : bool
        Refuse an index that ranks the run's queries otherwise than the run did.

    Raises
    ------
    StoreError
        If there is no such run, it failed, its collection, model or method are others by now, the index ranks
        otherwise, or the folder cannot be written.
    ConfigError
        For a target that there is not, or that cannot hold the codes.
    """
    run = _Run.read(run_id, Store(results), overrides)
    presets = {name: chosen_preset(name, run.record) for name in dict.fromkeys(targets) if name not in LIBRARIES}
    if targets and run.record.representation != "vectors":
        has = {**IN_WORDS}.get(run.record.representation, run.record.representation)  # type: ignore[call-overload]
        raise ConfigError(f"--to {targets[0]} is for one vector a document, and run {run_id} has {has}; leave --to out")
    with whole_folder(out) as draft:
        rebuilt = run.write_index(draft)
        arrays = Ids.of(run.dataset.doc_ids)
        _save(draft / IDS, {"text": arrays.text, "ends": arrays.ends})
        seal(draft, run.manifest(), (CODES, STATE, IDS))
        try:
            index = CompressedIndex.load(draft)
        except IndexFileError as error:
            raise StoreError(f"run {run_id} cannot be exported: {error}") from error
        checked = run.compare(index) if check else 0
        notes: dict[str, tuple[str, ...]] = {}
        for name in dict.fromkeys(targets):
            preset = presets.get(name)
            folder = draft / (name if preset is None else preset.folder)
            folder.mkdir()
            if preset is None:
                notes[name] = (*_convert(name, folder, index), *filter(None, [str(run.asked)]))
            else:
                notes[name] = write_store(folder, preset, run.docs, run.dataset.doc_ids, run.asked)
            (folder / "NOTES.txt").write_text("".join(f"{line}\n" for line in notes[name]), encoding="utf-8")
        written = sorted(path.relative_to(draft).as_posix() for path in draft.rglob("*") if path.is_file())
        seal(draft, run.manifest(), [name for name in written if name != "manifest.json"])
    return Exported(out, len(index), checked, rebuilt, notes)


@dataclass(frozen=True, eq=False)
class _Run:
    """A record, and what it was made of."""

    record: Record
    cfg: DictConfig
    store: Store

    @classmethod
    def read(cls, run_id: str, store: Store, overrides: Sequence[str]) -> _Run:
        if not re.fullmatch(r"\w+", run_id):
            raise StoreError(f"'{run_id[:80]}' is no run id; those of {store.runs} are the names of its folders")
        record = store.read(run_id)
        if record.parts:
            commands = " and ".join(f"'vecbudget export {part}'" for part in record.parts)
            raise ConfigError(f"run {run_id} is a hybrid, whose indexes are those of its parts: {commands}")
        if not record.ok:
            raise StoreError(f"run {run_id} failed ({str(record.error)[:200]}), so that it has no index")
        cfg = _configuration(record, overrides)
        foreign = [name for name in _classes(record.identity.method) if not name.startswith("methods.")]
        if foreign:
            raise StoreError(f"run {run_id} uses {foreign[0]}, and only methods of this project are exported")
        return cls(record, cfg, store)

    @property
    def run_id(self) -> str:
        return self.record.run_id

    @cached_property
    def _whole(self) -> Dataset:
        dataset = collection_of(self.cfg)
        if dataset.fingerprint != self.record.identity.dataset:
            raise StoreError(
                f"{dataset.name} is not the collection that run {self.run_id} was made on (its fingerprint is "
                f"{dataset.fingerprint}, not {self.record.identity.dataset}); name that one: dataset.path=DIR"
            )
        return dataset

    @cached_property
    def _split(self) -> Split | None:
        return split_off(self._whole, self.cfg.fit_sample) if self.cfg.fit_disjoint else None

    @property
    def dataset(self) -> Dataset:
        """What was searched."""
        return self._whole if self._split is None else self._split.searched

    @cached_property
    def _vectors(self) -> Any:
        encoder = model_of(self.cfg)
        for role in ("document", "query"):
            if encoder.identity(role, self._whole.task) != self.record.identity.model.get(role):
                raise StoreError(
                    f"{encoder.label} is not the model that run {self.run_id} was made with: its files or settings "
                    "are others; run it again, or name the model: model.name=, model.revision=, model.path="
                )
        return load_vectors(self._whole, encoder, self.cfg.cache_dir)

    @property
    def docs(self) -> Float32:
        """The float32 vectors, in the order of the index."""
        docs: Float32 = self._vectors.docs
        return docs if self._split is None else docs[self._split.searched_rows]

    @cached_property
    def asked(self) -> Asked:
        """What was done to the queries' vectors, and is to be done to others."""
        encoder = model_of(self.cfg)
        # a subset's vectors are some of those of the whole collection
        return encoder.asked(self._whole.whole or self._whole) if isinstance(encoder, VectorModel) else Asked()

    def write_index(self, draft: Path) -> bool:
        """Write codes and state; return whether they had to be made again."""
        kept = self.store.path(self.run_id) / INDEX
        if kept.is_dir():
            storage = self.record.storage
            for name, size in ((CODES_FILE, storage.codes_file_bytes), (STATE_FILE, storage.state_bytes)):
                if not (kept / name).is_file() or (kept / name).stat().st_size != size:
                    raise StoreError(f"{kept / name} is missing or damaged: {size} bytes are on record; run it again")
            self.store.verify(self.run_id)
            _copy(kept, draft)
            return False
        _ = self._vectors
        with tempfile.TemporaryDirectory(prefix=".again-", dir=draft.parent) as place:
            changed = {"results_dir": place, "keep_index": True, "overwrite": False, "measure": {"cost": False}}
            again = OmegaConf.merge(self.cfg, changed)
            assert isinstance(again, DictConfig)
            found = runs.run(again, self.record.method.name)
            if found != self.run_id:
                raise StoreError(
                    f"run {self.run_id} cannot be made again: by this version its settings are those of run {found}; "
                    "measure it again and export that one"
                )
            _copy(Store(Path(place)).path(found) / INDEX, draft)
        return True

    def manifest(self) -> dict[str, Any]:
        """Return what a manifest says beyond its files."""
        record, told_of_run = self.record, self.record.to_json()
        told = ("created", "git_commit", "identity", "dataset", "method", "fit_queries", "metrics", "float32")
        return {
            "method": record.identity.method,
            "n": len(self.dataset.doc_ids),
            "dim": record.dim,
            "metric": "inner product",
            "queries": self.asked.to_json(),
            "model": {"name": record.model.name, **record.identity.model},
            "run": {
                "run_id": self.run_id,
                **{key: told_of_run[key] for key in (*told, "retention", "storage", "versions") if key in told_of_run},
            },
        }

    def compare(self, index: CompressedIndex) -> int:
        """Rank the run's queries and return their number; refuse another ranking than the run's."""
        from harness.evaluation.exact_search import own_rows, search, without_own

        expected = self.store.ranking(self.run_id)["rows"]
        queries, k = in_memory(self._vectors.queries), self.cfg.k
        own = own_rows(self.dataset)
        depth = k if own is None else k + 1
        codec = cast(Codec, index.codec)  # a code for terms answers to the same calls
        scores, rows = search(codec, queries, index.codes, depth, self.cfg.chunk_rows)
        if own is not None:
            scores, rows = without_own(scores, rows, own, k)
        same = (rows == expected).all(axis=1) if rows.shape == expected.shape else np.zeros(len(queries), bool)
        if not same.all():
            raise StoreError(
                f"the index of run {self.run_id} ranks {int((~same).sum())} of {len(same)} queries otherwise than the "
                "record: it was made with other versions or on another machine, or is damaged; run it again with "
                "keep_index=true overwrite=true, or export it as it is: --no-check"
            )
        return len(same)


def _configuration(record: Record, overrides: Sequence[str]) -> DictConfig:
    """Return the configuration of a record, as this machine has it."""
    wrong = [text for text in overrides if not re.match(r"[\w.]+=", text)]
    if wrong:
        raise ConfigError(f"'{wrong[0]}' is no override; they look like dataset.path=DIR or cache_dir=DIR")
    try:
        cfg = OmegaConf.merge(
            OmegaConf.structured(RunConfig),
            # its parameters in full: the yaml may have others by now
            OmegaConf.create({**record.config, "method": record.identity.method, "index": None}),
            OmegaConf.from_dotlist(list(overrides)),
        )
    except Exception as error:
        message = str(error).splitlines()[0]
        raise ConfigError(f"the configuration of run {record.run_id} does not fit: {message}") from error
    assert isinstance(cfg, DictConfig)
    if not Path(cfg.cache_dir).expanduser().is_dir():
        cfg.cache_dir = OmegaConf.structured(RunConfig).cache_dir
    foreign = [name for name in _classes(OmegaConf.to_container(cfg, resolve=True)) if not re.fullmatch(OURS, name)]
    if foreign:
        raise StoreError(f"run {record.run_id} names {foreign[0][:80]}, no class of this project: it is not made again")
    trusting = isinstance(cfg.model, DictConfig) and cfg.model.get("trust_remote_code", False)
    if trusting and "model.trust_remote_code=true" not in overrides:
        raise ConfigError(
            f"run {record.run_id} ran Python code that comes with its model; allow it: model.trust_remote_code=true"
        )
    return cfg


def _classes(settings: Any) -> Iterator[str]:
    """Yield every `_target_` in a configuration."""
    if isinstance(settings, Mapping):
        if "_target_" in settings:
            yield str(settings["_target_"])
        settings = list(settings.values())
    if isinstance(settings, list):
        for item in settings:
            yield from _classes(item)


def _convert(name: str, folder: Path, index: CompressedIndex) -> tuple[str, ...]:
    """Write an index for another library; keys are rows, and `ids.json` has the ids."""
    codec = cast(Codec, index.codec)
    try:
        if name == "faiss":
            import faiss as untyped

            from vecbudget.to_faiss import faiss_index

            faiss: Any = untyped
            made = faiss_index(codec, index.codes)
            write = faiss.write_index_binary if made.binary else faiss.write_index
            write(made.index, str(folder / "index.faiss"))
            notes = made.notes
        elif name == "usearch":
            from vecbudget.to_usearch import usearch_index

            graph, notes = usearch_index(codec, index.codes)
            graph.save(folder / "index.usearch")
        else:
            from vecbudget.to_numpy import write_arrays

            notes = write_arrays(folder, codec, index.codes)
    except MethodError as error:
        raise ConfigError(f"--to {name}: {error}") from error
    except ModuleNotFoundError as error:
        raise MissingExtraError(name, name, f"--to {name}") from error
    except RuntimeError as error:
        # what FAISS and usearch raise when they cannot write
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OSError(f"--to {name}: {message}") from error
    with (folder / "ids.json").open("w", encoding="utf-8") as file:
        for row, name in enumerate(index.ids):
            file.write(("[\n" if row == 0 else ",\n") + json.dumps(name))
        file.write("\n]\n")
    return ("a document is its row; ids.json is the list of their ids", *notes)


def _copy(index: Path, draft: Path) -> None:
    for source, target in ((CODES_FILE, CODES), (STATE_FILE, STATE)):
        shutil.copyfile(index / source, draft / target)


def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
