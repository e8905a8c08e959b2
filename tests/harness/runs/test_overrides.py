"""Paths of any name reach the configuration as they were typed."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.runs.overrides import quoted, readable, unquoted

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
