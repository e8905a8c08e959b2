from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis import frontier_uncertainty, pareto, statistics
from harness.analysis.frontier_uncertainty import Shares, pool, sample
from harness.analysis.settings import pages
from harness.analysis.significance import with_intervals
from harness.report import frontier
from tests.harness.analysis.test_significance import page_of, records

UNTIMED = settings(deadline=None)
NAN = float("nan")


def shares_of(
    cost: list[float],
    scores: np.ndarray,
    families: list[str] | None = None,
    reference: int | None = None,
    count: int = 2000,
    names: list[str] | None = None,
) -> Shares:
    """Shares of settings whose queries scored `scores` (r, m); the last one is float32 unless said otherwise."""
    r, m = scores.shape
    plain = r - 1 if reference is None else reference
    means = statistics.Resamples(m, count).means(scores)
    estimate = scores.mean(axis=1) / scores[plain].mean()
    return Shares(
        title="t",
        measure="nDCG@10",
        names=names or [f"s{place}" for place in range(r)],
        families=families or ["a"] * r,
        cost=np.array(cost, dtype=float),
        code_bytes=np.array(cost, dtype=float),
        float32_bytes=1536.0,
        estimate=estimate,
        resampled=means / means[plain],
        influence=(scores - estimate[:, None] * scores[plain]) / (scores[plain].mean() * m),
        reference=plain,
        on_frontier=pareto.frontier(cost, estimate),
    )


def queries(*losses: float, noise: float = 0.1, m: int = 400, seed: int = 0) -> np.ndarray:
    """Scores of settings that lose so much on average, each with noise of its own; float32 comes last."""
    rng = np.random.default_rng(seed)
    exact = rng.uniform(0.3, 0.9, m)
    rows = [exact - loss + noise * rng.standard_normal(m) for loss in losses]
    return np.clip(np.vstack([*rows, exact]), 0, 1)


# --- many frontiers at once


@UNTIMED
@given(st.integers(0, 6), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_many_frontiers_and_hypervolumes_are_those_of_each_set(n: int, b: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.array([NAN, -np.inf, np.inf, 0.0, 1.0, 2.0])
    cost, quality = rng.choice(values[[0, 2, 3, 4, 5]], n), rng.choice(values, (n, b))
    expected = [pareto.frontier(cost, column) for column in quality.T]
    assert np.array_equal(pareto.frontiers(cost, quality), np.reshape(expected, (b, n)).T)
    close = np.where(cost == 2, 1.01, cost)  # one budget with 1
    one_by_one = [pareto.frontier(close, column) for column in quality.T]
    assert np.array_equal(pareto.frontiers(close, quality), np.reshape(one_by_one, (b, n)).T)
    for column, on in zip(quality.T, expected, strict=True):
        for i in range(n):
            known = not np.isnan([cost[i], column[i]]).any()
            beaten = any(
                cost[j] <= cost[i] and column[j] >= column[i] and (cost[j] < cost[i] or column[j] > column[i])
                for j in range(n)
            )
            assert on[i] == (known and not beaten)
    finite = np.where(np.isinf(quality), NAN, quality)
    volumes = pareto.hypervolumes(cost, finite, 1.5, 0.5)
    squares = [  # by counting: steps at 0 and 1, the corner at 1.5
        max(np.nanmax([0.5, *column[cost <= 0]]) - 0.5, 0) * 1
        + max(np.nanmax([0.5, *column[cost <= 1]]) - 0.5, 0) * 0.5
        for column in finite.T
    ]
    assert volumes == pytest.approx(squares)


# --- shares of a page


def test_a_page_has_the_shares_and_bounds_that_its_table_shows() -> None:
    page = page_of(*records())
    shares = sample(page)
    assert shares is not None and shares.reference == page.settings["method"].tolist().index("float32")
    assert shares.estimate == pytest.approx(page.settings["retention"].to_numpy())
    others = page.settings["loss_bound"].notna().to_numpy()
    table = page.settings[others]
    assert 1 - shares.bounds[0][others] == pytest.approx(table["loss_bound"].to_numpy(), abs=1e-7)
    assert shares.bounds[1][others] == pytest.approx(table["retention_low"].to_numpy(), abs=1e-7)
    assert shares.bounds[2][others] == pytest.approx(table["retention_high"].to_numpy(), abs=1e-7)
    assert shares.bounds[:, shares.reference] == pytest.approx(1)


def test_influences_give_the_spread_of_the_resamples() -> None:
    shares = sample(page_of(*records()))
    assert shares is not None
    expected = shares.resampled.std(axis=1)
    assert np.sqrt((shares.influence**2).sum(axis=1)) == pytest.approx(expected, rel=0.03, abs=1e-9)


def test_without_judgements_the_share_is_the_overlap() -> None:
    frame, per_query = records()
    frame[["ndcg_at_10", "retention"]] = NAN
    page = with_intervals(pages(frame)[0], lambda run_id: per_query(run_id).drop(columns="ndcg_at_10"))
    shares = sample(page)
    assert shares is not None and shares.measure == "overlap@10"
    assert shares.estimate == pytest.approx(page.settings["overlap_at_10"].to_numpy())


def test_a_page_without_scores_or_without_float32_has_no_shares() -> None:
    frame, per_query = records()
    assert sample(pages(frame)[0]) is None
    assert sample(page_of(frame[frame["method"] != "float32"], per_query)) is None


def test_alike_settings_stay_alike_in_every_resample() -> None:
    shares = sample(page_of(*records()))
    assert shares is not None
    places = [shares.names.index(name) for name in ("float16", "float32")]
    assert np.array_equal(*shares.resampled[places])
    # float16 is on the frontier wherever nothing smaller is as good, and float32 never
    assert shares.frontier_probability[places[1]] == 0


# --- probability of being on the frontier


def test_probabilities_of_a_clear_case_and_of_a_coin_flip() -> None:
    rng = np.random.default_rng(1)
    base = rng.uniform(0.2, 0.8, 500)
    swing = 0.1 * np.where(np.arange(500) % 2, 1, -1)  # the same mean as base: a coin flip
    scores = np.vstack([base - 0.15, base, base + swing, base - 0.1, base + 0.15])
    shares = shares_of([10, 20, 30, 40, 1536], scores, count=10_000)
    probability = shares.frontier_probability
    assert probability[[0, 1, 3, 4]].tolist() == [1, 1, 0, 1]
    assert probability[2] == pytest.approx(0.5, abs=0.03)
    table = frontier_uncertainty.frontier_table(shares)
    assert table["setting"].tolist() == ["s0", "s1", "s2", "s4"]
    assert table["on_frontier"].tolist() == shares.on_frontier[[0, 1, 2, 4]].tolist()


def test_the_probability_is_how_often_other_queries_agree() -> None:
    """The bootstrap's answer for one sample of queries, against fresh samples of queries."""
    true = [
        pareto.frontier([10, 20, 30], queries(0.06, 0.05, noise=0.2, m=300, seed=seed).mean(axis=1))[1]
        for seed in range(400)
    ]
    said = [
        shares_of([10, 20, 30], queries(0.06, 0.05, noise=0.2, m=300, seed=seed), count=500).frontier_probability[1]
        for seed in range(1000, 1040)
    ]
    assert 0.6 < np.mean(true) < 0.9
    assert np.mean(said) == pytest.approx(np.mean(true), abs=0.1)


# --- over collections


def pooled_by_hand() -> tuple[Shares, Shares, Shares]:
    first = shares_of([10, 20, 1536], queries(0.1, 0.0), names=["a", "b", "float32"])
    second = shares_of(
        [1536, 12, 22], queries(0.2, 0.1, m=300, seed=3)[[2, 0, 1]], reference=0, names=["float32", "a", "c"]
    )
    both = pool([first, second])
    assert both is not None
    return first, second, both


def test_pooled_shares_are_means_of_the_settings_that_all_have() -> None:
    first, second, both = pooled_by_hand()
    assert both.names == ["a", "float32"] and both.reference == 1
    assert both.cost.tolist() == [11, 1536]
    assert both.estimate[0] == pytest.approx((first.estimate[0] + second.estimate[1]) / 2)
    assert both.resampled[1] == pytest.approx(1)
    # independent collections: variances add
    expected = np.sqrt(first.resampled[0].var() + second.resampled[1].var()) / 2
    assert both.resampled[0].std() == pytest.approx(expected, rel=0.06)
    assert np.sqrt((both.influence[0] ** 2).sum()) == pytest.approx(expected, rel=0.06)


def test_what_cannot_be_pooled() -> None:
    first, second, _ = pooled_by_hand()
    assert pool([first]) is None
    assert pool([first, replace(second, measure="overlap@10")]) is None
    assert pool([first, replace(second, float32_bytes=4096.0)]) is None
    assert pool([first, replace(second, names=["x", "y", "z"])]) is None


def test_collections_that_miss_many_settings_are_not_pooled() -> None:
    frame, per_query = records(("scifact", "nfcorpus", "arguana"))
    few = frame[(frame["dataset"] != "arguana") | (frame["method"] == "float32")]
    found = frontier_uncertainty.analyse([with_intervals(page, per_query) for page in pages(few)])
    assert [shares.title for shares in found] == [
        "arguana · minilm",
        "nfcorpus · minilm",
        "scifact · minilm",
        "2 collections · minilm",
    ]
    assert len(found[-1].names) == 6


# --- one number a family


def test_the_area_by_hand() -> None:
    share = np.array([0.5, 1.0, 1.0])
    scores = share[:, None] * np.full((3, 50), 0.8)
    shares = shares_of([8, 96, 1536], scores, ["a", "a", "cast"])
    table = frontier_uncertainty.family_table(shares).set_index("family")
    # from 8 to 96 bytes half is kept, from 96 to 1536 all: log2(12) and 4 octaves of log2(192)
    octaves = np.log2(12) * 0.5 + 4
    assert table.index.tolist() == ["a"]  # float32 itself leaves nothing between it and the corner
    assert table.loc["a", "hypervolume"] == pytest.approx(octaves)
    assert table.loc["a", ["area", "area_low", "area_high"]].tolist() == pytest.approx([octaves / np.log2(192)] * 3)
    assert table.loc["a", "first"] == 1


def test_the_area_grows_with_the_settings_and_its_interval_holds_the_truth() -> None:
    inside, better = 0, []
    for seed in range(60):
        shares = shares_of(
            [16, 64, 16, 64, 1536],
            queries(0.2, 0.02, 0.3, 0.05, noise=0.15, m=200, seed=seed),
            [*"aabb", "cast"],
            count=500,
        )
        table = frontier_uncertainty.family_table(shares).set_index("family")
        better.append(table.loc["a", "area"] > table.loc["b", "area"])
        # rng.uniform(0.3, 0.9) has mean 0.6; nothing is clipped often enough to matter
        truth = (2 * (1 - 0.2 / 0.6) + np.log2(24) * (1 - 0.02 / 0.6)) / np.log2(192)
        inside += table.loc["a", "area_low"] <= truth <= table.loc["a", "area_high"]
    assert np.mean(better) > 0.95
    assert 51 <= inside <= 60


def test_cheaper_than_eight_bytes_counts_as_eight() -> None:
    shares = shares_of([2, 1536], np.full((2, 30), 0.5), ["a", "cast"])
    assert frontier_uncertainty.family_table(shares)["area"].tolist() == pytest.approx([1])


# --- bytes for a share, shares for bytes


def test_the_smallest_with_confidence_is_no_smaller_than_the_smallest_as_measured() -> None:
    table = frontier_uncertainty.kept_table(
        shares_of([16, 32, 64, 1536], queries(0.04, 0.029, 0.0, noise=0.2)), (0.99, 0.95, 0.9, 0.5)
    )
    assert (table["bytes_per_vector"] >= table["measured_bytes"]).all()
    assert (table["share_bound"] >= table["keeps"]).all() and (table["share"] > table["share_bound"]).any()
    assert table["setting"].iloc[-1] == "s0"


def test_float32_keeps_all_of_itself_and_nothing_is_said_where_nothing_keeps_enough() -> None:
    scores = queries(0.3, 0.2)
    assert frontier_uncertainty.kept_table(shares_of([16, 32, 1536], scores), [0.99])["setting"].tolist() == ["s2"]
    without = replace(shares_of([16, 32, 1536], scores), reference=None)
    without = replace(
        without,
        names=without.names[:2],
        cost=without.cost[:2],
        estimate=without.estimate[:2],
        resampled=without.resampled[:2],
        influence=without.influence[:2],
        on_frontier=without.on_frontier[:2],
    )
    (row,) = frontier_uncertainty.kept_table(without, [0.99]).to_dict("records")
    assert row["setting"] == "" and np.isnan(row["bytes_per_vector"])


def test_a_claim_about_one_setting_is_wrong_no_more_than_five_times_in_a_hundred() -> None:
    """The setting truly keeps 95 %: "keeps 95 % with confidence" is then a mistake that may happen to one in twenty."""
    wrong = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        exact = rng.uniform(0.2, 1.0, 250)
        scores = np.vstack([0.95 * exact + 0.1 * rng.standard_normal(250), exact])
        wrong += (
            frontier_uncertainty.kept_table(shares_of([48, 1536], scores, count=1000), [0.95])["setting"].iloc[0]
            == "s0"
        )
    assert 3 <= wrong <= 27


def test_the_joint_claim_is_rarely_wrong_even_for_the_smallest_of_many() -> None:
    alone, joint = 0, 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        exact = rng.uniform(0.2, 1.0, 300)
        scores = np.vstack([0.949 * exact + 0.1 * rng.standard_normal((20, 300)), exact])
        (row,) = frontier_uncertainty.kept_table(shares_of([*range(10, 30), 1536], scores, count=500), [0.95]).to_dict(
            "records"
        )
        alone += row["setting"] != "s20"
        joint += row["joint_setting"] != "s20"
    assert alone > 60 and joint <= 18


def test_the_joint_bound_finds_what_is_clear() -> None:
    shares = shares_of([16, 32, 1536], queries(0.3, 0.01, noise=0.02))
    assert frontier_uncertainty.kept_table(shares, [0.95])["joint_setting"].tolist() == ["s1"]
    assert (shares.joint_bound[:2] < shares.bounds[0][:2] + 1e-3).all()


def test_best_at_a_budget_by_hand() -> None:
    shares = shares_of([10, 16.4, 16.8, 40, 1536], queries(0.3, 0.2, 0.1, 0.01, noise=0.0))
    shares = replace(shares, code_bytes=np.array([10, 16, 16.5, 40, 1536]))
    table = frontier_uncertainty.budget_table(shares, [8, 16, 32, 64])
    assert table["setting"].tolist() == ["", "s1", "s2", "s3"]
    assert table["runner_up"].tolist() == ["", "s0", "s1", "s2"]
    assert table["candidates"].tolist() == [0, 2, 3, 4]
    assert table["probability"].tolist()[1:] == [1, 1, 1] and np.isnan(table["probability"].iloc[0])


def test_the_best_at_a_budget_is_that_of_the_report() -> None:
    page = page_of(*records())
    shares = sample(page)
    assert shares is not None
    for budget, name in frontier_uncertainty.budget_table(shares)[["budget", "setting"]].itertuples(index=False):
        row = pareto.best_within(page.settings, budget)
        assert name == ("" if row is None else f"{row['method']} {row['params']}".strip())


# --- what is beaten


def beaten(*given: object, **options: object) -> dict[str, tuple[str, str]]:
    table = frontier_uncertainty.beaten_table(shares_of(*given, **options))  # type: ignore[arg-type]
    return {row["setting"]: (row["by"], row["how"]) for row in table.to_dict("records")}


def test_beaten_in_three_ways_and_not_at_all() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.9, 400)
    even = np.where(np.arange(400) % 2, 1.0, -1.0)
    scores = np.vstack(
        [
            base - 0.2,  # 0: the smallest
            base - 0.05,  # 1: same bytes as 2 and better
            base - 0.1 + 0.01 * even,  # 2: beaten by 1
            base - 0.05 + 0.0005 * even,  # 3: twice the bytes of 1, and no better
            base - 0.002 + 0.3 * rng.permuted(even),  # 4
            base - 0.002 + 0.3 * rng.permuted(even) - 0.003,  # 5: 3 % larger than 4 and a little worse: luck
            base,  # float32: nothing else keeps it all for sure
        ]
    )
    assert beaten([8, 16, 16, 32, 100, 103, 1536], scores) == {
        "s2": ("s1", "better"),
        "s3": ("s1", "fewer bytes"),
        "s5": ("s4", "luck"),
    }


def test_the_sentence_names_bytes_and_loss() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.9, 400)
    scores = np.vstack([base - 0.001, base, base + 0.1])
    shares = shares_of([28.8, 48, 1536], scores, names=["rabitq bits=2", "int4", "float32"])
    (sentence,) = frontier_uncertainty.beaten_table(shares)["sentence"]
    assert sentence == (
        "int4 is beaten by rabitq bits=2: 40 % fewer bytes at no significant loss "
        "(-0.2 % nDCG@10, and with 95 % confidence less than 1 % is lost)."
    )


def test_the_bound_is_that_of_the_paired_comparison() -> None:
    rng = np.random.default_rng(5)
    base = rng.uniform(0.3, 0.9, 300)
    scores = np.vstack([base - 0.001 + 0.02 * rng.standard_normal(300), base - 0.0005, base])
    shares = shares_of([16, 32, 1536], scores, count=statistics.RESAMPLES)
    row = frontier_uncertainty.beaten_table(shares).set_index("setting").loc["s1"]
    expected = statistics.compare(scores[:1], scores[1], flips=0)
    assert row["loss_bound"] == pytest.approx(expected.loss_bound[0], abs=1e-5)
    assert row[["ratio", "ratio_low", "ratio_high"]].tolist() == pytest.approx(
        [expected.ratio.estimate[0], expected.ratio.low[0], expected.ratio.high[0]], abs=1e-5
    )


def test_a_setting_is_rarely_called_beaten_by_settings_that_lose_too_much() -> None:
    """Twenty smaller settings that each truly lose 1 %: any is named in no more than one of twenty."""
    wrong = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        base = rng.uniform(0.3, 0.9, 300)
        scores = np.vstack([0.99 * base + 0.05 * rng.standard_normal((20, 300)), base])
        wrong += (
            "s20"
            in frontier_uncertainty.beaten_table(shares_of([*range(10, 30), 1536], scores, count=500))
            .query("how == 'fewer bytes'")["setting"]
            .tolist()
        )
    assert wrong <= 14


def test_nothing_is_beaten_by_itself_or_by_its_copy() -> None:
    scores = np.repeat(queries(0.1)[:1], 3, axis=0)
    assert beaten([16, 16, 16], scores) == {}


def test_a_setting_that_scores_nothing_is_handled() -> None:
    scores = queries(0.1, 0.05)
    scores[0] = 0
    assert beaten([8, 16, 1536], scores) == {}
    assert frontier_uncertainty.budget_table(shares_of([8, 16, 1536], scores), [8])["share"].tolist() == [0]


# --- all of it


def test_the_markdown_has_all_parts_and_escapes_names() -> None:
    frame, per_query = records(("sci_fact", "nfcorpus"))
    found = frontier_uncertainty.analyse([with_intervals(page, per_query) for page in pages(frame)])
    text = frontier.dominance_markdown(found[-1])
    for part in ("The frontier", "The best for a budget", "keeps a share", "Families in one number", "What is beaten"):
        assert f"\n## {part}" in text or part in text
    assert "nan" not in text
    assert "sci\\_fact" in frontier.dominance_markdown(found[1])
    above, width = "", 0
    for line in text.splitlines():
        if line.startswith("| ---"):
            assert above.count("|") == line.count("|")
            width = line.count("|")
        elif line.startswith("|") and above.startswith("|") and width:
            assert line.count("|") == width
        above = line


@pytest.mark.parametrize("table", ["frontier", "family", "kept", "budget", "beaten"])
def test_tables_of_a_single_setting(table: str) -> None:
    found = getattr(frontier_uncertainty, f"{table}_table")(shares_of([48], np.full((1, 20), 0.5)))
    assert isinstance(found, pd.DataFrame)
