"""Vector stores' own graphs and lists: which preset has which, and what they take."""

import numpy as np
import pytest

from harness.runs.presets import presets
from harness.runs.store_indexes import index_of, store_indexes
from methods import HNSW, InvertedLists, PerDimension, Vamana
from tests.conftest import clustered_vectors

N, D = 2000, 16


def test_every_structure_belongs_to_a_store_and_its_presets() -> None:
    stores = {preset.store for preset in presets().values()}
    for one in store_indexes().values():
        assert one.store in stores and one.evidence in ("source", "docs")
        assert all(presets()[name].store == one.store for name in one.presets)
        assert any(index_of(name) == one for name in presets()), "nothing lies in it"


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("qdrant_int8", "HNSW, M=16"),
        ("weaviate_rq8", "HNSW, M=32"),
        ("redis_sq8", "HNSW, M=16"),
        ("redis_svs_lvq4", "Vamana, degree=32"),
        ("milvus_sq8", "IVF, lists=128"),
    ],
)
def test_a_preset_lies_in_its_stores_structure(preset: str, expected: str) -> None:
    structure = index_of(preset)
    assert structure is not None and structure.words == expected


@pytest.mark.parametrize("preset", ["qdrant_sparse_uint8", "qdrant_multivector_int8", "sqlite_vec_int8"])
def test_what_is_not_known_is_not_counted(preset: str) -> None:
    assert index_of(preset) is None


@pytest.mark.parametrize("structure", [HNSW, Vamana, InvertedLists])
def test_expected_bytes_are_those_that_are_written(structure: type) -> None:
    docs = clustered_vectors(N, D)
    sizes = {HNSW: {"M": 4}, Vamana: {"degree": 8}, InvertedLists: {"lists": 10}}[structure]
    made = structure(codec=PerDimension(bits=8), **sizes).fit(docs)
    codes = made.encode(docs)
    written = sum(np.asarray(codes.shared[name]).nbytes for name in codes.shared)
    each, shared = made.expected_bytes(N, D)
    assert each == pytest.approx(written / N, rel=0.03)
    assert shared == sum(array.nbytes for name, array in made.state().items() if name in made.structure_state([name]))
