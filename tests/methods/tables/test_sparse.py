import numpy as np
import pytest

from methods.base import MethodError, unit_rows
from methods.tables.sparse import Pruned, Sparse, better_atoms, largest, pack_places, pursue, unpack_places
from tests.conftest import clustered_vectors


def test_largest_by_hand() -> None:
    places, values = largest(np.array([[0.1, -0.9, 0.5, 0.5]], dtype=np.float32), 2)
    # among equals the lower place
    assert places.tolist() == [[1, 2]] and values.tolist() == [[pytest.approx(-0.9), 0.5]]


@pytest.mark.parametrize(("k", "count", "nbytes"), [(4, 384, 5), (42, 384, 48), (96, 384, 48), (20, 768, 25)])
def test_places_take_the_shorter_form(k: int, count: int, nbytes: int) -> None:
    rng = np.random.default_rng(0)
    places = np.sort(np.argsort(rng.random((30, count)), axis=1)[:, :k], axis=1)
    packed = pack_places(places, count)
    assert packed.shape == (30, nbytes) and np.array_equal(unpack_places(packed, k, count), places)


def test_all_bytes_are_counted() -> None:
    docs = clustered_vectors(50, 384)
    half = Sparse(k=20, dictionary="identity", value_bits=16).fit(docs).encode(docs)
    assert half.nbytes / 50 == 23 + 40
    small = Sparse(k=20, dictionary="random", atoms=768).fit(docs)
    assert small.encode(docs).nbytes / 50 == 25 + 20 + 2 and set(small.state()) == {"dim_", "width_"}


def test_pursuit_finds_a_sparse_vector_again() -> None:
    rng = np.random.default_rng(0)
    atoms = unit_rows(rng.standard_normal((60, 40)).astype(np.float32))
    true = np.zeros((200, 60))
    for row in true:
        row[rng.choice(60, size=3, replace=False)] = rng.choice([-1, 1], size=3) * rng.uniform(1, 2, size=3)
    docs = (true @ atoms).astype(np.float32)
    places, values = pursue(docs, atoms, 3)
    found = np.zeros_like(true)
    np.put_along_axis(found, places, values, axis=1)
    assert (np.abs(found - true).max(axis=1) < 1e-3).mean() > 0.9


def test_pursuit_leaves_what_its_atoms_cannot_reach() -> None:
    docs = clustered_vectors(40, 24)
    atoms = unit_rows(np.random.default_rng(0).standard_normal((50, 24)).astype(np.float32))
    places, values = pursue(docs, atoms, 6)
    assert (np.diff(places, axis=1) > 0).all()
    for doc, place, value in zip(docs, places, values, strict=True):
        left = doc - value @ atoms[place]
        assert np.abs(atoms[place] @ left).max() < 1e-5


def test_better_atoms_lower_the_error() -> None:
    docs = clustered_vectors(500, 24)
    atoms = unit_rows(np.random.default_rng(0).standard_normal((48, 24)).astype(np.float32))
    errors = []
    for _ in range(4):
        places, values = pursue(docs, atoms, 4)
        decoded = np.einsum("nk,nkd->nd", values, atoms[places])
        errors.append(((decoded - docs) ** 2).sum())
        atoms = better_atoms(docs, places, values, atoms)
        assert np.allclose(np.linalg.norm(atoms, axis=1), 1, atol=1e-5)
    assert errors[-1] < errors[1] < 0.9 * errors[0]


def test_learned_beats_random_beats_dimensions() -> None:
    docs = clustered_vectors(800, 64)
    errors = []
    for dictionary, atoms in (("learned", 128), ("random", 128), ("identity", None)):
        codec = Sparse(k=8, dictionary=dictionary, atoms=atoms).fit(docs)
        errors.append(((codec.decode(codec.encode(docs)) - docs) ** 2).sum())
    assert errors[0] < errors[1] < errors[2]


def test_eight_bits_are_within_half_a_step() -> None:
    docs = clustered_vectors(50, 32)
    codec = Sparse(k=32, dictionary="identity").fit(docs)
    step = np.abs(docs).max(axis=1, keepdims=True) / 127
    # and float16 rounds the step itself
    assert (np.abs(codec.decode(codec.encode(docs)) - docs) <= 0.5 * step + 1e-3 * np.abs(docs)).all()


def test_pruning_keeps_what_is_above_one_threshold() -> None:
    docs = np.array([[0.9, -0.8, 0.7, 0.1], [0.2, 0.1, 0.0, -0.3]], dtype=np.float32)
    codec = Pruned(keep=0.5).fit(docs)
    codes = codec.encode(docs)
    assert np.allclose(codec.decode(codes), [[0.9, -0.8, 0.7, 0], [0, 0, 0, -0.3]], atol=1e-3)
    assert codes.rows["bitmap"].nbytes == 2 and codes.shared["values"].nbytes == 8


def test_pruning_keeps_the_share_that_it_says() -> None:
    docs = clustered_vectors(300, 64)
    codes = Pruned(keep=0.125).fit(docs).encode(docs)
    assert len(codes.shared["values"]) == pytest.approx(0.125 * docs.size, abs=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k must"),
        ({"k": 9, "atoms": 8}, "atoms=8"),
        ({"k": 9, "atoms": 16, "dictionary": "identity"}, "identity"),
        ({"k": 9, "atoms": 1 << 17}, "65536"),
    ],
)
def test_parameters_that_make_no_sense(settings: dict, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        Sparse(**settings)


def test_more_numbers_than_dimensions() -> None:
    with pytest.raises(MethodError, match="k=9"):
        Sparse(k=9).fit(clustered_vectors(30, 8))
