"""A compressed index in a folder, and what is needed to search it.

    manifest.json        format, method and its parameters, sizes, model, checksums, the run it comes from
    codes.safetensors    what is stored of the documents
    state.safetensors    what the method learned
    ids.safetensors      the documents' ids

A folder may come from anywhere: the only classes that are made of a manifest are this project's own methods, no file
outside the folder is read, and nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from methods import HOMES
from methods.base import Codec, Codes, Part, as_vectors, unit_rows
from methods.representations import SparseVectors, as_sparse, refuse_kind
from methods.sparse.codec import SparseCodec
from methods.token_vectors import TokenVectors, as_token_vectors
from vecbudget.former_names import TARGET, current_names
from vecbudget.tensors import TensorFileError, read

MANIFEST = "manifest.json"
CODES = "codes.safetensors"
STATE = "state.safetensors"
IDS = "ids.safetensors"
"""Files of the folder."""

FORMAT, VERSION = "vecbudget-index", 1
"""What a manifest says that it is; other versions are refused."""

MANIFEST_LIMIT = 1 << 22
"""Most bytes of a manifest: more is not read."""

NESTING_LIMIT = 8
"""Deepest nesting of parts within parts: a manifest that goes further is refused."""

ID_BLOCK = 1 << 16
"""Ids that are encoded at a time, so that no more of them are strings at once."""

Float32 = NDArray[np.float32]


class IndexFileError(ValueError):
    """An exported index that is damaged, incomplete, or not what its manifest says; names the file."""


class Ids(Sequence[str]):
    """Document ids as one run of UTF-8 and the place where each ends: no string is made before it is asked for.

    Parameters
    ----------
    text : uint8 (bytes,)
    ends : int64 (n,)
    """

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.text = text
        self.ends = ends

    @classmethod
    def of(cls, ids: Iterable[str]) -> Self:
        """Return the compact form of ids, in their order."""
        runs, lengths = [], []
        remaining = iter(ids)
        while block := list(itertools.islice(remaining, ID_BLOCK)):
            encoded = [one.encode("utf-8", "surrogatepass") for one in block]
            runs.append(b"".join(encoded))
            lengths.append(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)))
        return cls(np.frombuffer(b"".join(runs), dtype=np.uint8), np.cumsum(np.concatenate(lengths)))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[position] for position in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(f"there are {len(self)} ids, and none at {row}")
        row = row % len(self)
        start = int(self.ends[row - 1]) if row else 0
        try:
            return self.text[start : int(self.ends[row])].tobytes().decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise IndexFileError(
                f"{IDS}: the id of row {row} is no text, so the file is damaged; copy it again"
            ) from error

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """Return the ids of rows, in an array of their shape; None for row -1, which is no document."""
        ids = np.empty(rows.shape, dtype=object)
        ids.ravel()[:] = [None if row == -1 else self[int(row)] for row in rows.ravel()]
        return ids


@dataclass(frozen=True, eq=False)
class CompressedIndex:
    """An exported index.

    Attributes
    ----------
    codec : fitted Codec or SparseCodec
    codes : Codes of n documents
    ids : sequence of str
    manifest : mapping
        What the manifest says. `manifest["model"]["query"]` is what a query's vector must be made with: the prompt
        before its text, and whether it is scaled to unit length. `manifest["queries"]` is what `search` does to a
        query's vector, so that inner products rank as the run's metric does.
    """

    codec: Codec | SparseCodec
    codes: Codes
    ids: Ids
    manifest: Mapping[str, Any]

    @classmethod
    def load(cls, directory: Path | str, *, verify: bool = True, mapped: bool = False) -> Self:
        """Read an index.

        Parameters
        ----------
        directory : path
        verify : bool
            Compare all checksums. They find accidents, not a forger, who would write new ones.
        mapped : bool
            Leave codes on disk, as memory maps: for an index larger than memory, or one whose second tier is read for a
            short list only.

        Raises
        ------
        IndexFileError
            If a file is missing, damaged, or leads out of the folder, or if the manifest asks for something that is no
            method of this project.
        """
        folder = Path(directory)
        manifest = _manifest(folder, verify)
        paths = {name: _file(folder, name, manifest["files"], verify) for name in (CODES, STATE, IDS)}
        n, dim = manifest["n"], manifest["dim"]
        try:
            codec: Any = make_part(current_names(manifest.get("method")))
            if not _searches(codec):
                raise IndexFileError(f"it is a {type(codec).__name__}, and no codec")
        except IndexFileError as error:
            raise IndexFileError(f"{folder / MANIFEST}: method: {error}") from error
        stored, learned, named = (_arrays(paths[name], mapped=mapped and name == CODES) for name in (CODES, STATE, IDS))
        try:
            codes = Codes.from_arrays(n, stored)
        except (ValueError, TypeError) as error:
            raise IndexFileError(f"{paths[CODES]}: {error}; export the run again") from error
        strange = [name for name in learned if not re.fullmatch(r"(?:\w+\.)*[a-z]\w*_", name)]
        if strange:
            raise IndexFileError(f"{paths[STATE]}: '{strange[0][:40]}' is no part of a method's state")
        try:
            codec.load_state(learned)
            if codec._check_fitted() != dim:
                raise ValueError(f"it is of {codec._check_fitted()} dimensions, the manifest says {dim}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IndexFileError(f"{paths[STATE]}: not the state of {type(codec).__name__} ({error})") from error
        index = cls(codec, codes, _ids(paths[IDS], named, n), manifest)
        index._try(folder)
        return index

    def _try(self, folder: Path) -> None:
        """Search one document, so that arrays of the wrong kind are found now."""
        if not self.codec.row_wise:
            return
        try:
            self.codec.search(self._any_query(), self.codes[:1], 1)
        except Exception as error:
            message = f"{folder}: codes and state do not fit the method ({type(error).__name__}: {error})"
            raise IndexFileError(message.splitlines()[0]) from error

    def _any_query(self) -> Any:
        width = self.codec._query_width()
        if self.codec.takes == "vectors":
            return np.full((1, width), width**-0.5, dtype=np.float32)
        if self.codec.takes == "tokens":
            return TokenVectors(np.full((1, width), width**-0.5, dtype=np.float32), np.array([0, 1]))
        return SparseVectors(np.array([0, 1]), np.zeros(1, np.uint32), np.ones(1, np.float32), width)

    def __len__(self) -> int:
        return self.codes.n

    @property
    def dim(self) -> int:
        """Dimensions of the query vectors, or terms of the vocabulary."""
        return self.codec._query_width() - ("appended" in self._asked)

    @property
    def _asked(self) -> Mapping[str, Any]:
        """What a query's vector gets before it is compared; older manifests do not say."""
        asked: Mapping[str, Any] = self.manifest.get("queries", {})
        return asked

    def search(self, vectors: Any, k: int = 10) -> tuple[Float32, NDArray[np.object_]]:
        """Return the best `min(k, n)` documents of each query.

        Parameters
        ----------
        vectors : float32 (m, dim); or SparseVectors, or a scipy sparse matrix (m, dim); or TokenVectors, or a list
            Queries, as the model of the manifest gives them: vectors, terms with weights, or a list of matrices
            (tokens, dim), a vector for each token.
        k : int

        Returns
        -------
        scores : float32 (m, min(k, n))
            In descending order.
        ids : object (m, min(k, n))
            Strings; among equal scores in the order of the index. None, with a score of -inf, where lists or a graph
            found no more.

        Raises
        ------
        methods.base.MethodError
            If the vectors are no matrix of finite numbers of that width, or k is less than 1.
        """
        scores, rows = self.codec.search(self.compared(vectors), self.codes, k)
        return scores, self.ids.take(rows)

    def compared(self, vectors: Any) -> Any:
        """Return queries, float32 (m, dim), as their inner products are taken: scaled, or with one more number.

        Terms with weights, and token vectors, are compared as they are.
        """
        if self.codec.takes == "tokens" and isinstance(vectors, list | tuple | TokenVectors):
            return as_token_vectors(vectors, "queries", self.dim)
        refuse_kind(vectors, self.codec.takes, "the index")
        if self.codec.takes == "terms":
            return as_sparse(vectors, "queries", self.dim)
        queries = as_vectors(vectors, "queries", self.dim)
        if self._asked.get("unit"):
            queries = unit_rows(queries)
        if "appended" in self._asked:
            queries = np.column_stack([queries, np.full(len(queries), self._asked["appended"], dtype=np.float32)])
        return queries


def make_part(settings: Any, nesting: int = 0) -> Part:
    """Return the part that settings describe: `_target_`, the public name of a method's part, and its parameters.

    Raises
    ------
    IndexFileError
        For any other class, or parameters that it does not take.
    """
    if not isinstance(settings, dict) or nesting > NESTING_LIMIT:
        raise IndexFileError("not the description of a method")
    kind = _class(settings.get(TARGET))
    parameters = {str(name): _value(value, nesting) for name, value in settings.items() if name != TARGET}
    try:
        part: Part = kind(**parameters)
    except Exception as error:
        raise IndexFileError(f"{type(error).__name__}: {error}".splitlines()[0]) from error
    return part


def _searches(part: Part) -> bool:
    return isinstance(part, Codec | SparseCodec)


def _value(value: Any, nesting: int) -> Any:
    """Return a parameter's value, with the parts made that descriptions in it stand for."""
    if isinstance(value, dict):
        return make_part(value, nesting + 1)
    if isinstance(value, list):
        if nesting > NESTING_LIMIT:
            raise IndexFileError("not the description of a method")
        return [_value(item, nesting + 1) for item in value]
    return value


def _class(target: Any) -> type[Part]:
    """Return a part by its public name, as `methods.HOMES` lists them."""
    package, _, name = target.partition(".") if isinstance(target, str) else ("", "", "")
    if package != "methods" or name not in HOMES:
        raise IndexFileError(f"{str(target)[:80]!r} is no method of this project, and nothing else is loaded")
    try:
        kind: type[Part] = getattr(importlib.import_module(f"methods.{HOMES[name]}"), name)
    except ImportError as error:
        raise IndexFileError(f"{target} needs a package that is not installed ({error})") from error
    return kind


def seal(directory: Path, content: Mapping[str, Any], names: Iterable[str]) -> None:
    """Write the manifest of a folder: its content, the sizes and checksums of its files, and one of itself.

    Parameters
    ----------
    directory : Path
    content : mapping
        `method`, `n`, `dim` and what else is to be known.
    names : iterable of str
        Files, relative to the folder.
    """
    files = {name: {"bytes": (directory / name).stat().st_size, "sha256": _sha256(directory / name)} for name in names}
    manifest = {"format": FORMAT, "version": VERSION, **content, "files": files}
    manifest["sha256"] = manifest_checksum(manifest)
    text = json.dumps(manifest, indent=1, ensure_ascii=True, allow_nan=False)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its checksum, as JSON with sorted keys."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(folder: Path, verify: bool) -> dict[str, Any]:
    """Return the manifest once its own fields are what they must be."""
    path = folder / MANIFEST
    if not path.is_file():
        raise IndexFileError(f"{folder} holds no exported index: there is no {MANIFEST} in it")
    if path.stat().st_size > MANIFEST_LIMIT:
        raise IndexFileError(f"{path} has {path.stat().st_size} bytes, more than a manifest's {MANIFEST_LIMIT}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise IndexFileError(f"{path}: not a readable manifest ({type(error).__name__}); export again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise IndexFileError(f"{path}: not the manifest of an exported index (format is not '{FORMAT}')")
    version = manifest.get("version")
    if type(version) is not int or version != VERSION:
        raise IndexFileError(f"{path}: version {str(version)[:20]} of the format, but this release reads {VERSION}")
    if verify and manifest.get("sha256") != manifest_checksum(manifest):
        raise IndexFileError(
            f"{path}: its checksum differs, so it was damaged or changed; verify=False reads it anyway"
        )
    for name in ("n", "dim"):
        if type(manifest.get(name)) is not int or not 1 <= manifest[name] < 1 << 48:
            raise IndexFileError(f"{path}: '{name}' must be a number of at least 1, got {str(manifest.get(name))[:20]}")
    asked = manifest.get("queries", {})
    known = isinstance(asked, dict) and set(asked) <= {"unit", "appended"} and type(asked.get("unit", True)) is bool
    appended = asked.get("appended", 0.0) if known else None
    if type(appended) is not float or not abs(appended) <= float(np.finfo(np.float32).max):
        raise IndexFileError(f"{path}: 'queries' says what no query can get: {json.dumps(asked)[:80]}")
    if not isinstance(manifest.get("files"), dict):
        raise IndexFileError(f"{path}: it lists no files; export the run again")
    for name in manifest["files"]:
        if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", name):
            raise IndexFileError(f"{path}: '{name[:80]}' is no file of its folder, and nothing else is read")
    return manifest


def _file(folder: Path, name: str, listed: Mapping[str, Any], verify: bool) -> Path:
    """Return the path of a file that the manifest lists, once it is inside the folder, whole and unchanged."""
    if name not in listed:
        raise IndexFileError(f"{folder / MANIFEST}: it lists no file {name}; export the run again")
    entry, path = listed[name], folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise IndexFileError(f"{path} leads out of its folder, and nothing else is read")
    if not path.is_file():
        raise IndexFileError(f"{path} is missing; copy the whole folder, or export the run again")
    size, checksum = (entry.get("bytes"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
    if path.stat().st_size != size:
        actual = path.stat().st_size
        raise IndexFileError(f"{path} has {actual} bytes, the manifest says {str(size)[:20]}; copy it again")
    if verify and _sha256(path) != checksum:
        raise IndexFileError(f"{path}: its checksum differs, so it was damaged or changed; copy it again")
    return path


def _arrays(path: Path, mapped: bool = False) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file; a damaged one is an `IndexFileError`."""
    try:
        return read(path, mapped)
    except TensorFileError as error:
        raise IndexFileError(f"{error}; copy it again, or export the run again") from error


def _ids(path: Path, arrays: Mapping[str, NDArray[Any]], n: int) -> Ids:
    """Return the ids of n documents once their arrays are whole."""
    text, ends = arrays.get("text"), arrays.get("ends")
    sound = (
        text is not None
        and ends is not None
        and (text.dtype.name, text.ndim, ends.dtype.name, ends.shape) == ("uint8", 1, "int64", (n,))
        and ends[0] >= 0
        and ends[-1] == len(text)
        and bool((ends[1:] >= ends[:-1]).all())
    )
    if not sound:
        raise IndexFileError(f"{path}: not the ids of {n} documents; export the run again")
    assert text is not None and ends is not None
    return Ids(text, ends)
