"""Vectors in NumPy's, safetensors' and PyTorch's files."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import DatasetError, MissingExtraError
from harness.data.vector_files.source import StoredVectors, VectorSource, named_array

DEFLATE_RATIO = 1032
"""Bytes that one byte of a compressed archive can stand for (the limit of DEFLATE)."""


def read_npy(path: Path, source: VectorSource) -> StoredVectors:
    """Read a .npy file, memory-mapped."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's parser of headers fails in many ways
        raise _unreadable(path, "a readable .npy file of numbers", error) from None
    if not isinstance(array, np.ndarray):
        raise DatasetError(f"{path}: not a readable .npy file of numbers: it is an archive")
    return StoredVectors(array)


def read_npz(path: Path, source: VectorSource) -> StoredVectors:
    """Read the array of a .npz archive that has the role's name, or the only one."""
    try:
        arrays = npz_arrays(path)
    except Exception as error:  # likewise
        raise _unreadable(path, "a readable .npz file of numbers", error) from None
    return StoredVectors(arrays[named_array(path, sorted(arrays), source.role, "an array")])


def npz_names(path: Path) -> list[str]:
    """Return the names of a .npz archive's arrays, sorted; none of a file that is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sorted(name.removesuffix(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return []


def npz_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an archive, after comparing the sizes that it claims with its own.

    Raises
    ------
    ValueError
        For an archive that claims other sizes than it has; NumPy's and zipfile's own errors pass.
    """
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


def tensor_names(path: Path) -> list[str]:
    """Return the names of a safetensors file's tensors, sorted."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            return sorted(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise DatasetError(f"{path}: not a readable safetensors file: {error}") from None


def read_safetensors(path: Path, source: VectorSource) -> StoredVectors:
    """Read the tensor of a safetensors file that has the role's name, or the only one."""
    from safetensors import SafetensorError, safe_open

    name = named_array(path, tensor_names(path), source.role, "a tensor")
    try:
        with safe_open(path, framework="numpy") as tensors:
            tensor: NDArray[Any] = tensors.get_tensor(name)
    except (SafetensorError, OSError, TypeError) as error:
        raise DatasetError(f"{path}: cannot read its vectors: {error}") from None
    return StoredVectors(tensor)


def read_pt(path: Path, source: VectorSource) -> StoredVectors:
    """Read a tensor that torch.save wrote, or one of a dictionary of tensors; nothing else is unpickled."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch", "models", f"reading {path}") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch's and pickle's readers fail in many ways
        raise _unreadable(path, "a .pt file of plain tensors", error) from None
    if isinstance(content, dict):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        content = tensors[named_array(path, sorted(tensors), source.role, "a tensor")]
    if not isinstance(content, torch.Tensor):
        raise DatasetError(f"{path}: expected a tensor, or a dictionary of tensors, got {type(content).__name__}")
    tensor = content.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return StoredVectors(tensor.numpy())


def _unreadable(path: Path, expected: str, error: Exception) -> DatasetError:
    reason = str(error).strip().partition("\n")[0]
    return DatasetError(f"{path}: not {expected}: {reason}")
