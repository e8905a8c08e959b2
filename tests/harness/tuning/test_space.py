import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from harness.base.errors import ConfigError
from harness.runs.config import MethodSpec
from harness.tuning.priors import priors, ranked
from harness.tuning.space import Alternatives, Choices, Interval, Written, fixed, space

MEMBERS = {member.name: member for member in space()}
SIZED = sorted(name for name, member in MEMBERS.items() if member.sizes)

OWN = """
about:
  family: binary
  search:
    dim: b*8
    centre: [mean, none]
dim: 16
_target_: methods.Chain
transforms:
- _target_: methods.SVD
  dim: ${...dim}
codec:
  _target_: methods.Sign
centre: mean
"""


class Drawn:
    """Chooses what hypothesis draws."""

    def __init__(self, data):
        self.data = data

    def suggest_categorical(self, name, choices):
        return self.data.draw(st.sampled_from(list(choices)), label=name)

    def suggest_int(self, name, low, high, *, log=False):
        return self.data.draw(st.integers(low, high), label=name)

    def suggest_float(self, name, low, high, *, log=False):
        return self.data.draw(st.floats(low, high), label=name)


@pytest.mark.parametrize("name", MEMBERS)
def test_as_written_is_the_yaml_at_the_size_that_its_yaml_has(name):
    member = MEMBERS[name]
    sizes = {place: OmegaConf.select(member.node, place) for place in member.sizes}
    # the budget that the yaml's own sizes fill
    for nbytes in range(1, 200):
        candidate = member.as_written(nbytes, 384)
        if all(candidate.settings[place] == value for place, value in sizes.items()):
            break
    else:
        pytest.fail(f"no budget gives {sizes}")
    plain = fixed(name).as_written(1, 384)
    assert candidate.spec(0).identity() == plain.spec(0).identity()
    assert candidate.changed == tuple(member.sizes)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_whatever_is_chosen_can_be_made_and_run_from_its_yaml(data):
    member = MEMBERS[data.draw(st.sampled_from(sorted(MEMBERS)))]
    candidate = member.candidate(Drawn(data), data.draw(st.sampled_from([12, 24, 48])), 384)
    codec = candidate.spec(3).make()
    again = OmegaConf.create({"seed": 3, "method": OmegaConf.create(OmegaConf.to_yaml(candidate.node))})
    assert MethodSpec(again.method).identity() == candidate.spec(3).identity()
    assert codec.takes == "vectors"


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("width", [384, 768])
def test_sizes_grow_with_the_budget_and_fit_the_width(name, width):
    found = [MEMBERS[name].as_written(nbytes, width) for nbytes in (12, 24, 48)]
    for place in MEMBERS[name].sizes:
        values = [candidate.settings[place] for candidate in found]
        assert values == sorted(values)
        if place in ("m", "dim"):
            assert values[-1] <= width
        if place == "m":
            assert all(width % value == 0 for value in values)


def test_a_budget_that_leaves_nothing_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"0 bytes leave nothing for nbytes=b"):
        MEMBERS["transform_coding"].as_written(0, 384)


def test_alternatives_bring_their_own_changes():
    member = MEMBERS["transform_trellis"]

    class ScoreAware(Written):
        def suggest_categorical(self, name, choices):
            return "score_aware" if "score_aware" in choices else super().suggest_categorical(name, choices)

    candidate = member.candidate(ScoreAware(member), 48, 384)
    score_aware = fixed("score_aware_trellis").as_written(1, 384)
    assert candidate.spec(0).identity() == score_aware.spec(0).identity()
    assert candidate.name == "transform_trellis nbytes=48 transforms.0=score_aware"


def test_a_yaml_of_ones_own_is_searched(tmp_path: Path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text(OWN)
    (found,) = space(["mine"], tmp_path)
    assert found.as_written(3, 32).settings == {"dim": 24, "centre": "mean"}
    assert "mine" in {member.name for member in space((), tmp_path)}


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("{dim: {low: 3, high: 2}}", "low < high"),
        ("{dim: {low: 0, high: 2, log: true}}", "above 0 with log"),
        ("{dim: {}}", "must be a list of values"),
        ("{dim: spectra}", "no alternatives 'spectra'"),
        ("{dim: [[1], [2]]}", "must be a list of values"),
    ],
)
def test_what_may_vary_is_checked(tmp_path: Path, search, message):
    (tmp_path / "method").mkdir()
    text = re.sub(r"  search:\n.*\n.*\n", f"  search: {search}\n", OWN)
    (tmp_path / "method" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        space(["mine"], tmp_path)


def test_names_and_folders_that_do_not_exist_are_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no method 'opk'.*opq"):
        space(["opk"])
    with pytest.raises(ConfigError, match=r"float32 does not say what may vary"):
        space(["float32"])
    with pytest.raises(ConfigError, match=r"no method/\*.yaml"):
        space((), tmp_path)


def test_what_varies_is_among_the_values_that_the_yaml_has():
    for member in MEMBERS.values():
        for place, values in member.ranges.items():
            usual = Written(member)
            if isinstance(values, Choices):
                assert values.choose(usual, f"{member.name}.{place}") in values.values, (member.name, place)
            elif isinstance(values, Interval):
                assert values.low <= values.choose(usual, f"{member.name}.{place}") <= values.high
            else:
                assert isinstance(values, Alternatives)


def test_priors_name_methods_of_the_space_best_first():
    assert set(priors()) == {12, 24, 48, 96}
    for size, names in priors().items():
        assert set(names) <= set(MEMBERS)
        assert ranked(size, MEMBERS)[: len(names)] == list(names)
    assert sorted(ranked(40, MEMBERS)) == sorted(MEMBERS)
    assert ranked(40, MEMBERS)[0] == priors()[48][0]
