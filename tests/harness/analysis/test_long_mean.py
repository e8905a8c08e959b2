"""What is said of stores' switches where the mean document is long, and where it is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.long_mean import LONG_MEAN, advice, switches_that_hold, switches_that_lose
from harness.runs.presets import presets


def test_by_hand() -> None:
    kept = {"qdrant_binary": 0.51, "qdrant_binary_2": 0.983, "elasticsearch_bbq": 0.998, "vectorchord_rabitq1": 1.0}
    avoid, hold = advice(0.904, "x · e5", kept, "Qdrant")
    assert avoid.startswith("the mean document of x · e5 has length 0.90: avoid qdrant_binary (keeps 51.0 % here), ")
    assert "qdrant_binary_2 (keeps 98.3 % here)" in hold and "qdrant_turbo1" in hold and "elasticsearch" not in hold
    avoid, hold = advice(0.904, "x", kept)
    assert "avoid qdrant_binary (keeps 51.0 % here), azure_binary" in avoid and " more; " in avoid
    # its codes lose, but it was measured and reads enough again
    assert "vectorchord_rabitq1 (keeps 100.0 % here)" in hold and "vectorchord" not in avoid
    assert advice(0.9, "x", {}, "pgvector")[1] == "pgvector has no binary switch that holds"
    assert advice(0.9, "x", {}, "Lucene") == [
        "the mean document of x has length 0.90: none of Lucene's switches is known to lose by that"
    ]
    assert advice(0.3, "x", kept) == [] and "safe" in advice(0.3, "x", kept, "Qdrant")[0]


@given(st.floats(0, 1), st.sampled_from([None, *{preset.store for preset in presets().values()}]))
def test_no_switch_is_both_warned_of_and_praised(length: float, store: str | None) -> None:
    lines = advice(length, "x", {}, store)
    assert len(lines) <= 2 and (store is not None or bool(lines) == (length >= LONG_MEAN))
    lose, hold = ({preset.name for preset in found} for found in (switches_that_lose(store), switches_that_hold(store)))
    assert not lose & hold
    for name in lose if length >= LONG_MEAN and store else ():
        assert name in lines[0].replace(",", " ").replace(";", " ").split()
    assert not any(name in line.split() for line in lines[1:] for name in lose)


def test_plain_signs_are_among_the_first_and_bbq_among_the_second() -> None:
    lose, hold = ({preset.name for preset in found} for found in (switches_that_lose(), switches_that_hold()))
    assert {"qdrant_binary", "pgvector_bit", "weaviate_bq"} < lose and {"elasticsearch_bbq", "lucene_bit1"} < hold


@pytest.mark.parametrize("store", ["Qdrant", None])
def test_lines_are_short_enough_to_be_read(store: str | None) -> None:
    assert sum(map(len, advice(0.9, "x", {}, store))) < 700
