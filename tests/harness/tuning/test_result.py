import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from harness.base.errors import ConfigError
from harness.tuning.importance import importance
from harness.tuning.result import Result, front, optimism
from harness.tuning.space import Candidate
from harness.tuning.study import Limits, Trial, best_of


def trial(number, nbytes, overlaps, method="pq", query_ms=1.0, **settings):
    candidate = Candidate(method, settings, OmegaConf.create({"n": number}), tuple(settings))
    seen = {"resident_bytes": nbytes, "overlaps": list(overlaps), "query_ms": query_ms, "docs_per_second": 1e4}
    return Trial(number, candidate, "measured", seen)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 10)), min_size=1, max_size=12))
def test_the_front_is_what_no_other_one_beats(points):
    trials = [trial(number, nbytes, [quality]) for number, (nbytes, quality) in enumerate(points)]
    kept = front(trials)
    assert all(a.nbytes < b.nbytes and a.quality < b.quality for a, b in itertools.pairwise(kept))
    for one in trials:
        assert any(other.nbytes <= one.nbytes and other.quality >= one.quality for other in kept)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=12))
def test_the_front_of_three_is_what_no_other_one_beats(points):
    trials = [trial(n, nbytes, [quality], query_ms=ms) for n, (nbytes, quality, ms) in enumerate(points)]
    kept = front(trials, "search")

    def figures(one):
        return one.nbytes, -one.quality, one.cost("search")

    def beats(other, one):
        return all(a <= b for a, b in zip(figures(other), figures(one), strict=True))

    assert not any(beats(other, one) for one, other in itertools.permutations(kept, 2))
    assert all(any(beats(other, one) for other in kept) for one in trials)
    # where all take as long, as here to be encoded, it is the front of two
    assert front(trials, "encode") == front(trials)


def test_times_that_a_clock_does_not_tell_apart_are_one():
    trials = [trial(0, 4, [5], query_ms=1.234), trial(1, 4, [6], query_ms=1.2349), trial(2, 4, [4], query_ms=0.9)]
    assert front(trials, "search") == [trials[1], trials[2]]


def test_one_setting_has_no_optimism_and_many_equal_ones_have():
    rng = np.random.default_rng(0)
    assert optimism(np.full((3, 50), 0.7)) == pytest.approx(0)
    alike = rng.integers(0, 11, (40, 100)) / 10
    alone, among = optimism(alike[:1]), optimism(alike)
    assert abs(alone) < 0.005
    # the best of 40 alike is two standard errors above their mean
    error = alike.std() / np.sqrt(100)
    assert 1.0 * error < among < 4.0 * error


def test_the_best_is_compared_with_the_first_of_the_usual_method():
    trials = [trial(0, 8, [5, 5], "usual"), trial(1, 8, [9, 5]), trial(2, 8, [7, 6], "usual"), trial(3, 6, [9, 5])]
    # of equal quality the smaller one
    assert best_of(trials, Limits(8)) is trials[3]
    assert Result.of(trials, trials[3], "usual").usual is trials[0]
    beyond = Trial(0, trials[0].candidate, "beyond", {"resident_bytes": 9})
    # one of its kind with other settings is not the method as it is
    assert Result.of([beyond, *trials[1:]], trials[3], "usual").usual is None
    with pytest.raises(ConfigError, match="nothing was tried"):
        best_of([], Limits(8))


def test_what_decides_has_the_importance():
    rng = np.random.default_rng(0)
    trials = [
        trial(n, 8, [quality], "pq", bits=int(bits), rounds=int(rounds))
        for n, (bits, rounds) in enumerate(rng.integers(1, 9, (60, 2)))
        for quality in [int(bits)]
    ]
    shares = importance(trials)
    assert next(iter(shares)) == "pq bits"
    assert shares["pq bits"] > 0.8 > 0.1 > shares["pq rounds"]
    assert importance(trials[:5]) == {}
