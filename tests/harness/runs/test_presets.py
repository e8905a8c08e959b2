"""Presets of vector stores, and the records that are theirs."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from harness.analysis.describe_setting import SPANS, recipe
from harness.base.errors import ConfigError
from harness.runs import presets
from harness.runs.catalogue import members, method_card, method_rows
from harness.runs.record import EMPTY, Identity, Record

EVERY = sorted(presets.presets())


def record(name: str, params: str = "", identity: Mapping[str, Any] | None = None, **more: Any) -> Record:
    """A record as a run writes it, as far as presets are concerned."""
    parameters = presets.preset_identity(name) if identity is None else identity
    method = replace(EMPTY.method, name=name, params=params)
    return replace(EMPTY, identity=Identity(method=dict(parameters), **more), method=method)


@pytest.mark.parametrize("name", EVERY)
def test_a_preset_says_what_its_user_needs(name: str) -> None:
    preset = presets.presets()[name]
    for text in (preset.store, preset.switch, preset.version, preset.setting, preset.summary, preset.source):
        assert text.strip() == text != ""
    assert preset.evidence in presets.DOCUMENTED
    assert method_card(members("method")[name])["family"] == "vector store"


def test_every_method_is_a_preset_or_in_the_method_table() -> None:
    assert {row[0] for row in method_rows()} | set(EVERY) == set(members("method"))
    assert not {row[0] for row in method_rows()} & set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_a_presets_own_record_is_its_own(name: str) -> None:
    assert presets.Match(presets.presets()[name]) in presets.matches(record(name))


def test_presets_with_the_same_parameters_share_a_record_under_either_name() -> None:
    for first, second in (("usearch_i8", "clickhouse_i8"), ("clickhouse_i8", "usearch_i8")):
        assert presets.preset_identity(first) == presets.preset_identity(second)
        found = {match.preset.name for match in presets.matches(record(first))}
        assert found == {first, second}
        assert presets.own_name(record(first)) is None


def test_a_record_of_a_plain_method_is_also_the_presets() -> None:
    for name, preset in (("float32", "duckdb_vss"), ("int8", "cohere_int8")):
        under_its_name, under_the_presets = record(name), record(preset)
        for one in (under_its_name, under_the_presets):
            assert preset in {match.preset.name for match in presets.matches(one)}
            assert presets.own_name(one) == name
    assert presets.matches(record("pq")) == [] and presets.own_name(record("pq")) == "pq"


def test_a_seed_makes_no_other_setting() -> None:
    identity = presets.preset_identity("qdrant_int8")

    def reseeded(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: 7 if key == "seed" else reseeded(item) for key, item in value.items()}
        return value

    other = reseeded(identity)
    assert other != identity
    assert presets.matches(record("qdrant_int8", identity=other)) == presets.matches(record("qdrant_int8"))


def test_other_parameters_are_further_rows_and_old_ones_say_so() -> None:
    identity = {**presets.preset_identity("lucene_bit1"), "spare": 5}
    (found,) = presets.matches(record("lucene_bit1", "centre=unit_mean", identity))
    assert found.name == "lucene_bit1 centre=unit_mean" and found.current
    (found,) = presets.matches(record("lucene_bit1", "", identity))
    assert found.name == "lucene_bit1 (of another version)" and not found.current
    assert presets.own_name(record("lucene_bit1", "", identity)) is None


def test_parameters_that_are_written_out_change_nothing() -> None:
    (found,) = [m for m in presets.matches(record("lucene_bit1", "centre=mean")) if m.preset.name == "lucene_bit1"]
    assert found.params == ""


@pytest.mark.parametrize("entry", [{"fit_dataset": "f" * 16}, {"fit_sample": 100}, {"fit_disjoint": True}])
def test_what_was_fitted_elsewhere_is_no_stores(entry: dict[str, Any]) -> None:
    assert presets.matches(record("qdrant_int8", **entry)) == []


@pytest.mark.parametrize(
    "text, store",
    [
        ("qdrant", "Qdrant"),
        ("QDRANT", "Qdrant"),
        ("cassandra", "JVector (Cassandra, Astra)"),
        ("mongodb", "MongoDB Atlas"),
        ("Azure AI Search", "Azure AI Search"),
        ("sqlite-vec", "sqlite-vec"),
        ("sqlite_vec", "sqlite-vec"),
        ("pgvector", "pgvector"),
        ("pgvectorscale", "pgvectorscale"),
        ("voyage", "Voyage"),
        ("voyager", "Voyager"),
        ("arctic", "Snowflake arctic-embed"),
    ],
)
def test_a_store_is_known_by_its_name(text: str, store: str) -> None:
    assert presets.store_named(text) == store


@pytest.mark.parametrize("text", ["", "search", "qdrant_binary", "pinecone"])
def test_an_unknown_store_is_told_where_the_list_is(text: str) -> None:
    count = len({preset.store for preset in presets.presets().values()})
    with pytest.raises(ConfigError, match=rf"there is no store .*'vecbudget list databases' shows all {count}$"):
        presets.store_named(text)


def test_a_typing_error_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match="did you mean 'qdrant'"):
        presets.store_named("qdrnat")
    # a store each, not three names of one
    with pytest.raises(ConfigError, match="did you mean 'elasticsearch', 'opensearch' or 'usearch'"):
        presets.store_named("elastisearch")


@pytest.mark.parametrize("name", EVERY)
def test_every_preset_can_be_put_in_words(name: str) -> None:
    found = recipe(presets.preset_identity(name))
    assert found.query and found.rescoring
    assert found.rescored == ("Rescore" in str(presets.preset_identity(name)["_target_"]))
    assert found.span is None or (found.span in SPANS and found.span_in_words and found.rounding and found.bits >= 1)


def test_words_come_from_the_parameters() -> None:
    qdrant, usearch = (recipe(presets.preset_identity(name)) for name in ("qdrant_int8", "usearch_i8"))
    assert (qdrant.span, qdrant.bits, qdrant.steps, qdrant.rescoring) == ("collection", 7, 127, "none")
    assert "quantile 0.99" in qdrant.span_in_words and qdrant.rounding == "nearest"
    assert (usearch.span, usearch.fixed, usearch.steps) == ("fixed", (-1.0, 1.0), 254)
    assert usearch.rounding.startswith("towards zero") and usearch.query == "rounded likewise"
    bbq = recipe(presets.preset_identity("elasticsearch_bbq"))
    assert (bbq.bits, bbq.query, bbq.rescoring) == (1, "4 bits", "30 for 10, as floats")
    assert recipe(presets.preset_identity("weaviate_rq8")).rescoring == "20 for 10, as floats"
    assert recipe(presets.preset_identity("opensearch_4x")).rescoring == "100 for 10, as floats"
    assert recipe(presets.preset_identity("qdrant_binary")).rescoring.startswith("10 for 10 (only put in order)")
    assert recipe(presets.preset_identity("sentence_transformers_int8")).raw
    changed = {**presets.preset_identity("qdrant_int8")}
    changed["codec"] = {**changed["codec"], "range": {"_target_": "methods.Extremes", "outside": 2.0}}
    assert recipe(changed).span_in_words == "one for all numbers: least to greatest of 98 % of them"
