"""The float32 ranking of the cache is that of a search of the very same vectors, or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from harness.base.files import array_checksum
from harness.evaluation import kept_ranking
from harness.evaluation.exact_search import search_uncompressed
from harness.evaluation.kept_ranking import exact_ranking
from methods.representations import SparseVectors
from methods.token_vectors import TokenVectors
from tests.conftest import clustered_vectors

DOCS, QUERIES = clustered_vectors(60, 8, seed=0), clustered_vectors(5, 8, seed=1)


@pytest.fixture(autouse=True)
def small_searches_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_ranking, "LEAST_PRODUCTS", 1)


def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the searches from now on."""
    asked: list[int] = []

    def counted(queries: np.ndarray, docs: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append(k)
        return search_uncompressed(queries, docs, k)

    monkeypatch.setattr(kept_ranking, "search_uncompressed", counted)
    return asked


def test_a_collection_is_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = searches(monkeypatch)
    first, again = (exact_ranking(QUERIES, DOCS, 7, tmp_path) for _ in range(2))
    assert asked == [7]
    for found, expected in zip((*first, *again), (*search_uncompressed(QUERIES, DOCS, 7),) * 2, strict=True):
        assert found.dtype == expected.dtype and np.array_equal(found, expected)


def test_any_other_vector_or_depth_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact_ranking(QUERIES, DOCS, 7, tmp_path)
    asked = searches(monkeypatch)
    moved, turned = DOCS.copy(), QUERIES.copy()
    moved[31, 3] = np.nextafter(moved[31, 3], np.float32(2))
    turned[4, 7] = -turned[4, 7]
    others = [(QUERIES, moved, 7), (turned, DOCS, 7), (QUERIES, DOCS, 8), (QUERIES, DOCS[:59], 7)]
    others.append((QUERIES, DOCS.astype(np.float16), 7))
    for number, other in enumerate(others, start=1):
        exact_ranking(*other, tmp_path)
        assert len(asked) == number


def test_a_checksum_that_is_known_finds_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact_ranking(QUERIES, DOCS, 7, tmp_path)
    asked = searches(monkeypatch)
    exact_ranking(QUERIES, DOCS, 7, tmp_path, checksum=array_checksum(DOCS))
    assert not asked
    exact_ranking(QUERIES, DOCS, 7, tmp_path, checksum=array_checksum(DOCS[::-1]))
    assert asked == [7]


def test_terms_and_tokens_are_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terms = SparseVectors(np.array([0, 1, 3]), np.array([2, 0, 2], np.uint32), np.array([1, 2, 3], np.float32), 4)
    tokens = TokenVectors(DOCS[:6], np.array([0, 2, 6]))
    for vectors in (terms, tokens):
        expected = search_uncompressed(vectors, vectors, 2)
        asked = searches(monkeypatch)
        for _ in range(2):
            found = exact_ranking(vectors, vectors, 2, tmp_path)
            assert all(np.array_equal(own, other) for own, other in zip(found, expected, strict=True))
        assert len(asked) == 1


def test_a_damaged_file_is_no_ranking(tmp_path: Path) -> None:
    expected = exact_ranking(QUERIES, DOCS, 7, tmp_path)
    (path,) = (tmp_path / kept_ranking.FOLDER).iterdir()
    sound = load_file(path)
    for damaged in ({"rows": sound["rows"]}, {**sound, "rows": sound["rows"] + 60}, {**sound, "scores": sound["rows"]}):
        save_file(damaged, path)
        assert np.array_equal(exact_ranking(QUERIES, DOCS, 7, tmp_path)[1], expected[1])
    path.write_bytes(b"nothing")
    assert np.array_equal(exact_ranking(QUERIES, DOCS, 7, tmp_path)[1], expected[1])


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / kept_ranking.FOLDER).write_text("a file")
    assert np.array_equal(exact_ranking(QUERIES, DOCS, 7, tmp_path)[1], search_uncompressed(QUERIES, DOCS, 7)[1])


def test_small_collections_leave_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    exact_ranking(QUERIES, DOCS, 7, tmp_path)
    assert list(tmp_path.iterdir()) == []
