"""Vectors in HDF5 files as ann-benchmarks publishes them (Aumüller, Bernhardsson & Faithfull, 2020)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.base.errors import DatasetError
from harness.data.vector_files import hdf5_layout
from harness.data.vector_files.source import StoredVectors, VectorSource

HDF5_NAMES = {"docs": "train", "queries": "test"}
"""What ann-benchmarks calls documents and queries."""


def holds_queries(path: Path) -> bool:
    """Whether a file of documents has queries beside them."""
    return HDF5_NAMES["queries"] in hdf5_layout.read_layout(path).places


def read_hdf5(path: Path, source: VectorSource) -> StoredVectors:
    """Read the array of a role, memory-mapped, with the distance that the file names."""
    name, layout = HDF5_NAMES[source.role], hdf5_layout.read_layout(path)
    places = layout.places
    place = places.get(name)
    if place is None:
        raise DatasetError(f"{path}: expected an array '{name}'; there are {', '.join(places) or 'none'}")
    if isinstance(place, str):
        raise DatasetError(
            f"{path}: '{name}' {place}, and cannot be read without a copy; "
            f"write one that can: h5repack -f NONE -l CONTI {path.name} plain{path.suffix}"
        )
    shape, dtype = place.shape, np.dtype(place.dtype)
    if len(shape) != 2 or dtype.kind not in "fiu":
        raise DatasetError(f"{path}: '{name}' must be a matrix of real numbers, got {dtype} {shape}")
    if 0 in shape:
        raise DatasetError(f"{path}: '{name}' has nothing in it: {shape}")
    if place.offset + shape[0] * shape[1] * dtype.itemsize > path.stat().st_size:
        raise DatasetError(f"{path} is cut off: '{name}' ends beyond its {path.stat().st_size} bytes")
    vectors = np.memmap(path, dtype=dtype, mode="r", offset=place.offset, shape=shape)
    return StoredVectors(vectors, metric=layout.distance, numbers=True)
