"""Paths of any name reach the configuration as they were typed."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.base.options import takes_text
from harness.data import datasets, models
from harness.runs.overrides import quoted, readable, unquoted
from methods.base import field_types

SPECIAL = "=#()[]{}'\"~&;!^<>é漢字,: \\$*?|`"


def value_of(text: str) -> object:
    return OverridesParser.create().parse_override(text).value()


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30))
def test_quoted_text_is_read_back(value: str) -> None:
    assert value_of(f"dataset.path={quoted(value)}") == value
    assert unquoted(quoted(value)) == value


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(alphabet="ab" + SPECIAL, min_size=1, max_size=12))
def test_a_path_that_exists_is_what_it_is_called(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"x{name}"
    path.mkdir(exist_ok=True)
    (text,) = readable([f"dataset.path={path}"])
    assert value_of(text) == str(path)


@pytest.mark.parametrize(
    "text",
    [
        "method=pq,opq",
        "method.m=8,16",
        "seed=range(3)",
        "dataset.docs=[a.npy,b.npy]",
        "method.bits=choice(4,8)",
        "dataset@fit_dataset=folder",
        "~model",
        "--cfg",
        "results_dir=${oc.env:HOME}/x",
        "dataset.name='my set'",
    ],
)
def test_hydra_s_own_syntax_stays(text: str) -> None:
    assert readable([text]) == [text]


@pytest.mark.parametrize("value", ["a=b.npy", "a#b", "a(b", "a[b", "a{b", "it's", 'a"b', "a&b", "a;b", "a^b", "a<b"])
def test_what_hydra_cannot_parse_is_text(value: str) -> None:
    (text,) = readable([f"dataset.docs={value}"])
    assert value_of(text) == value


NUMBERS = st.one_of(
    st.from_regex(r"[+-]?[0-9]{1,9}(\.[0-9]{0,9})?(e[+-]?[0-9]{1,2})?", fullmatch=True),
    st.sampled_from(["1_000", "007", "2024.10", "1e5", "inf", "nan", "true", "false", "-0"]),
)

TEXT_SETTINGS = sorted(
    f"{group}.{name}"
    for group, module in (("dataset", datasets), ("fit_dataset", datasets), ("model", models), ("query_model", models))
    for kind in map(vars(module).get, module.__all__)
    if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__") and kind.__name__ != "Dataset"
    for name, hint in field_types(kind).items()
    if takes_text(hint)
)


@pytest.mark.parametrize("key", [*TEXT_SETTINGS, "results_dir", "cache_dir"])
@settings(max_examples=25, deadline=None)
@given(values=st.lists(NUMBERS, min_size=1, max_size=3))
def test_a_number_where_text_is_wanted_is_text(key: str, values: list[str]) -> None:
    (text,) = readable([f"{key}={','.join(values)}"])
    override = OverridesParser.create().parse_override(text)
    read = override.value().list if override.is_sweep_override() else [override.value()]  # type: ignore[union-attr]
    assert [getattr(item, "text", item) for item in read] == values


def test_names_that_are_numbers_are_among_the_settings() -> None:
    known = {"name", "docs", "query_ids", "split", "train_split", "subset", "path", "id_column"}
    assert {f"dataset.{name}" for name in known} <= {*TEXT_SETTINGS}
    assert {"model.path", "model.name", "model.revision"} <= {*TEXT_SETTINGS}


@pytest.mark.parametrize("text", ["method.m=8", "k=10", "dataset.held_out=20", "model.batch_size=4", "seed=0,1"])
def test_numbers_stay_numbers(text: str) -> None:
    assert readable([text]) == [text]
