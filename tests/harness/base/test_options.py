"""Options take numbers for text where they are meant as text."""

import pytest

from harness.base.errors import ConfigError
from harness.data.datasets import Folder, MtebTask, VectorFiles


def test_a_number_is_taken_for_the_text_that_it_is_written_as() -> None:
    assert VectorFiles(docs="x.npy", name=2024, doc_ids=7).name == "2024"  # type: ignore[arg-type]
    assert VectorFiles(docs=[2023, "b"]).docs == ("2023", "b")  # type: ignore[list-item]
    assert Folder(path="x", split=1.5, train_split=2).split == "1.5"  # type: ignore[arg-type]
    assert MtebTask(name="SciFact", subset=3).subset == "3"  # type: ignore[arg-type]


def test_other_types_are_refused() -> None:
    with pytest.raises(ConfigError, match="held_out must be int"):
        VectorFiles(docs="x.npy", held_out="3")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="name must be str or null"):
        VectorFiles(docs="x.npy", name=True)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="split must be"):
        Folder(path="x", split=["test"])  # type: ignore[arg-type]
