"""Which settings are worth their bytes, and how sure that is: Pareto analysis over bootstrap resamples of the queries.

All of it works on `Shares`: each setting's share of float32's quality, as measured and as it would have been with other
queries. One page has them (`sample`), and so have several together (`pool`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis import pareto, statistics
from harness.analysis.budgets import ACROSS, within
from harness.analysis.settings import setting_name
from harness.analysis.significance import told_apart

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.settings import Page


Float64 = NDArray[np.float64]

KEPT = (0.99, 0.95, 0.90)

LEAST_BYTES = 8.0
"""Where the area under a frontier begins."""

LEAST_SAVING = 0.05
"""Fewer bytes than these are not worth a sentence: a share of the larger setting's."""

CERTAIN = {
    "better": "no more bytes, and significantly better",
    "fewer bytes": "fewer bytes, at no significant loss",
    "luck": "no more bytes and a higher score, which may be luck",
}
"""How a setting is beaten."""


@dataclass(frozen=True)
class Shares:
    """What r settings keep of float32's quality, and what they would have kept with other queries.

    Attributes
    ----------
    title : str
    measure : str
        What the shares are of, such as "nDCG@10".
    names, families : list of str (r,)
    cost, code_bytes : float64 (r,)
        Bytes per vector, with and without the shared state.
    float32_bytes : float
        4 d.
    estimate : float64 (r,)
        Share of float32's quality, 1 is all of it.
    resampled : float64 (r, b)
        The same in each resample of the queries, which all settings have in common.
    influence : float64 (r, m)
        How much each query moves the estimate, to first order: its variance is the sum of the squares.
    reference : int or None
        The row of float32.
    on_frontier : bool (r,)
        Whether each setting is on the frontier as measured, or not told apart from the best of its budget.
    """

    title: str
    measure: str
    names: list[str]
    families: list[str]
    cost: Float64
    code_bytes: Float64
    float32_bytes: float
    estimate: Float64
    resampled: Float64
    influence: Float64
    reference: int | None
    on_frontier: NDArray[np.bool_]

    @cached_property
    def bounds(self) -> Float64:
        """Lower 95 % bound (one-sided), and both ends of the 95 % interval: float64 (3, r)."""
        levels = [1 - statistics.CONFIDENCE, (1 - statistics.CONFIDENCE) / 2, (1 + statistics.CONFIDENCE) / 2]
        # as `harness.analysis.statistics.compare` does: what is resampled is the change against float32
        whole = 1.0 if self.measure == "nDCG@10" else 0.0
        return whole + statistics.bca(self.resampled - whole, self.estimate - whole, self.influence, levels)

    @cached_property
    def joint_bound(self) -> Float64:
        """Lower 95 % bounds that hold for all settings together: float64 (r,).

        Estimates less the 95 % quantile, over resamples, of the largest standardised error of any setting (the single
        step maximum of Westfall and Young, 1993). However a setting is picked, its bound holds.
        """
        error = np.sqrt(np.sum(self.influence**2, axis=1))
        varies = error > 0
        if not varies.any():
            return self.estimate
        largest = np.max((self.resampled - self.estimate[:, None])[varies] / error[varies, None], axis=0)
        bound: Float64 = self.estimate - np.quantile(largest, statistics.CONFIDENCE) * error
        return bound

    @cached_property
    def frontier_probability(self) -> Float64:
        """In which share of the resamples each setting is on the frontier: float64 (r,).

        It answers "would it be there with other queries", for the settings that were measured; here only the best of
        a budget is. A setting whose resampled shares all equal those of a smaller one is never there.
        """
        probability: Float64 = pareto.frontiers(self.cost, self.resampled).mean(axis=1)
        return probability


def sample(page: Page, resamples: statistics.Resamples | None = None) -> Shares | None:
    """Return what the page's settings keep, with resamples of its queries.

    Parameters
    ----------
    page : Page
        With the queries' scores, see `harness.analysis.significance.with_intervals`.
    resamples : Resamples or None
        Of the page's queries; None draws those that `harness.analysis.statistics.compare` draws.

    Returns
    -------
    Shares or None
        Of the settings whose scores are known; None without any, or if there is nDCG@10 but not float32's.
    """
    if page.scores is None:
        return None
    known, values = page.scores.known(page.quality), page.scores.values[page.quality]
    judged = page.judged
    reference = page.scores.reference if page.scores.reference in known else None
    if not len(known) or (judged and (reference is None or not values[reference].sum() > 0)):
        return None
    scores = values[known]
    m = scores.shape[1]
    place = None if reference is None else int(np.flatnonzero(known == reference)[0])
    if judged and place is not None:
        whole, base = 1.0, scores[place]
    else:
        whole, base = 0.0, np.ones(m)
    # alike rows must stay alike: a product of matrices may round the same numbers differently in two of its columns
    rows, row = np.unique(scores - whole * base, axis=0, return_inverse=True)
    means = (resamples or statistics.Resamples(m)).means(np.vstack([rows, base]))
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = whole + means[row] / means[-1]
    estimate = whole + rows.mean(axis=1)[row] / base.mean()
    settings = page.settings.iloc[known]
    return Shares(
        title=page.title,
        measure="nDCG@10" if judged else "overlap@10",
        names=[setting_name(setting) for setting in settings.to_dict("records")],
        families=settings["family"].tolist(),
        cost=settings[pareto.COST].to_numpy(dtype=np.float64),
        code_bytes=settings["code_bytes_per_vector"].to_numpy(dtype=np.float64),
        float32_bytes=page.float32_bytes,
        estimate=estimate,
        # a resample without a single relevant document found by float32 says nothing
        resampled=np.where(np.isfinite(resampled), resampled, estimate[:, None]),
        influence=(scores - estimate[:, None] * base) / (base.mean() * m),
        reference=place,
        on_frontier=settings["on_frontier"].to_numpy(dtype=np.bool_),
    )


def pool(samples: Sequence[Shares], title: str = "all collections", seed: int = 0) -> Shares | None:
    """Return the mean shares over collections of those settings that all of them have.

    The queries are resampled within each collection and the collections stay as they are: how certain a figure is for
    these collections, not for others, for which see `harness.analysis.statistics.macro_interval`. Bytes are means too.

    Parameters
    ----------
    samples : sequence of Shares
        With equally many resamples.
    title : str
    seed : int
        Of the order in which resamples of different collections meet.

    Returns
    -------
    Shares or None
        None of fewer than two collections, of different measures or widths of vectors, or without a common setting.
    """
    if len(samples) < 2 or len({(part.measure, part.float32_bytes) for part in samples}) > 1:
        return None
    tried = [{name: place for place, name in enumerate(part.names)} for part in samples]
    names = [name for name in tried[0] if all(name in places for places in tried)]
    if not names:
        return None
    rows = [np.array([places[name] for name in names]) for places in tried]
    rng = np.random.default_rng(seed)
    resampled = np.zeros((len(names), samples[0].resampled.shape[1]))
    for part, chosen in zip(samples, rows, strict=True):
        # resamples of two collections come from the same random numbers, and must not meet in the same order
        resampled += part.resampled[np.ix_(chosen, rng.permutation(resampled.shape[1]))]
    parts = list(zip(samples, rows, strict=True))
    first, chosen = parts[0]
    plain = "" if first.reference is None else first.names[first.reference]
    cost = np.mean([part.cost[own] for part, own in parts], axis=0)
    estimate = np.mean([part.estimate[own] for part, own in parts], axis=0)
    influence = np.hstack([part.influence[own] for part, own in parts]) / len(parts)
    # what each query adds to the mean share, to first order
    added = influence + estimate[:, None] / influence.shape[1]
    return Shares(
        title=title,
        measure=first.measure,
        names=names,
        families=[first.families[place] for place in chosen],
        cost=cost,
        code_bytes=np.mean([part.code_bytes[own] for part, own in parts], axis=0),
        float32_bytes=first.float32_bytes,
        estimate=estimate,
        resampled=resampled / len(parts),
        influence=influence,
        reference=names.index(plain) if plain in names else None,
        on_frontier=pareto.frontier(cost, estimate, partial(told_apart, added)),
    )


def frontier_table(shares: Shares, least: float = 0.05) -> pd.DataFrame:
    """Return the settings that are on the frontier, or might be: smallest first.

    Columns: `setting family bytes_per_vector share share_low share_high on_frontier probability`; see `Shares`.

    Parameters
    ----------
    shares : Shares
    least : float
        A setting that is not on the frontier is listed from this probability on.
    """
    import pandas as pd

    frame = pd.DataFrame(
        {
            "setting": shares.names,
            "family": shares.families,
            "bytes_per_vector": shares.cost,
            "share": shares.estimate,
            "share_low": shares.bounds[1],
            "share_high": shares.bounds[2],
            "on_frontier": shares.on_frontier,
            "probability": shares.frontier_probability,
        }
    )
    listed = frame[frame["on_frontier"] | (frame["probability"] >= least)]
    return listed.sort_values(["bytes_per_vector", "setting"], kind="stable", ignore_index=True)


def family_table(shares: Shares, least_bytes: float = LEAST_BYTES) -> pd.DataFrame:
    """Return one number for each family of methods: how good its frontier is from 8 bytes to those of float32.

    Columns: `family`; `settings`, how many were measured; `hypervolume`, between the family's frontier and the corner
    of float32's bytes and nothing kept, where a doubling of the bytes counts 1; `area`, the same over its width, which
    is the share that the best setting within a budget keeps, averaged over all budgets on a logarithmic scale;
    `area_low` and `area_high`, its 95 % interval over the queries; `first`, in which share of the resamples no other
    family has a larger one. Below its smallest setting a family keeps nothing. A family that was tried with more
    settings has an advantage.

    Parameters
    ----------
    shares : Shares
    least_bytes : float
        Smaller settings count as being this large.
    """
    import pandas as pd

    octaves = np.log2(shares.float32_bytes / least_bytes)
    cost = np.log2(np.maximum(shares.cost, least_bytes))
    corner = np.log2(shares.float32_bytes)
    families = sorted({name for name, at in zip(shares.families, cost, strict=True) if at < corner})
    members = [np.flatnonzero((np.array(shares.families) == name) & (cost < corner)) for name in families]
    volumes = np.array([pareto.hypervolume(cost[own], shares.estimate[own], corner, 0.0) for own in members])
    resampled = np.zeros((len(families), shares.resampled.shape[1]))
    influence = np.zeros((len(families), shares.influence.shape[1]))
    for place, own in enumerate(members):
        resampled[place] = pareto.hypervolumes(cost[own], shares.resampled[own], corner, 0.0)
        kept = own[pareto.undominated(cost[own], shares.estimate[own])]
        steps, first = np.unique(cost[kept], return_index=True)
        influence[place] = np.diff(np.append(steps, corner)) @ shares.influence[kept[first]]
    low, high = np.empty((2, 0))
    first_share = np.empty(0)
    if families:
        levels = [(1 - statistics.CONFIDENCE) / 2, (1 + statistics.CONFIDENCE) / 2]
        low, high = statistics.bca(resampled, volumes, influence, levels) / octaves
        first_share = (resampled == resampled.max(axis=0)).mean(axis=1)
    frame = pd.DataFrame(
        {
            "family": families,
            "settings": [len(own) for own in members],
            "hypervolume": volumes,
            "area": volumes / octaves,
            "area_low": low,
            "area_high": high,
            "first": first_share,
        }
    )
    return frame.sort_values(["area", "family"], ascending=[False, True], kind="stable", ignore_index=True)


def kept_table(shares: Shares, kept: Sequence[float] = KEPT) -> pd.DataFrame:
    """Return the smallest settings that keep a share of float32's quality with 95 % confidence.

    Columns: `keeps`; `setting bytes_per_vector share`; `share_bound`, the lower 95 % bound (one-sided) that reaches
    `keeps`; `joint_setting joint_bytes`, the smallest whose bound reaches it if the bounds are to hold for all settings
    together; `measured_setting measured_bytes`, the smallest whose measured share reaches it. A bound is for one
    setting, and the smallest of many is the one that had luck: of twenty settings that each keep a little less than the
    share, one is named in more than half of the cases. Of the joint bounds this is true in one of twenty. float32 keeps
    all of itself. Where nothing keeps that much, names are empty and figures NaN.
    """
    import pandas as pd

    bounds = {"": shares.bounds[0].copy(), "joint_": shares.joint_bound.copy(), "measured_": shares.estimate}
    if shares.reference is not None:
        for bound in bounds.values():
            bound[shares.reference] = shares.estimate[shares.reference]
    rows = []
    for least in kept:
        row: dict[str, object] = {"keeps": least}
        for name, bound in bounds.items():
            place = _cheapest(shares, bound >= least)
            row[f"{name}setting"] = "" if place is None else shares.names[place]
            row[f"{name}bytes" if name else "bytes_per_vector"] = np.nan if place is None else shares.cost[place]
            if not name:
                row["share"] = np.nan if place is None else shares.estimate[place]
                row["share_bound"] = np.nan if place is None else bound[place]
        rows.append(row)
    return pd.DataFrame(rows)


def _cheapest(shares: Shares, enough: NDArray[np.bool_]) -> int | None:
    rows = np.flatnonzero(enough & np.isfinite(shares.cost))
    return int(rows[pareto.smallest(shares.cost[rows], shares.estimate[rows])]) if len(rows) else None


def budget_table(shares: Shares, budgets: Sequence[float] = ACROSS) -> pd.DataFrame:
    """Return the best setting within each budget, see `harness.analysis.budgets.within`.

    Columns: `budget`; `setting bytes_per_vector share share_low share_high`; `probability`, in which share of the
    resamples no other setting within the budget is better; `runner_up runner_up_share`, the second best of another
    name; `candidates`, how many fit. Where nothing fits, names are empty and figures NaN.

    Parameters
    ----------
    shares : Shares
    budgets : sequence of float
    """
    import pandas as pd

    rows = []
    for budget in budgets:
        fits = np.flatnonzero(within(shares.cost, shares.code_bytes, budget))
        order = fits[np.lexsort((shares.cost[fits], -shares.estimate[fits]))]
        row: dict[str, object] = {"budget": budget, "setting": "", "runner_up": "", "candidates": len(fits)}
        figures = dict.fromkeys(
            ("bytes_per_vector", "share", "share_low", "share_high", "probability", "runner_up_share"), np.nan
        )
        if len(order):
            best = order[0]
            row["setting"] = shares.names[best]
            figures["bytes_per_vector"], figures["share"] = shares.cost[best], shares.estimate[best]
            figures["share_low"], figures["share_high"] = shares.bounds[1:, best]
            figures["probability"] = float(np.mean(shares.resampled[best] >= shares.resampled[fits].max(axis=0)))
        if len(order) > 1:
            row["runner_up"], figures["runner_up_share"] = shares.names[order[1]], shares.estimate[order[1]]
        rows.append({**row, **figures})
    columns = ["budget", "setting", "bytes_per_vector", "share", "share_low", "share_high", "probability"]
    return pd.DataFrame(rows)[[*columns, "runner_up", "runner_up_share", "candidates"]]


def beaten_table(shares: Shares, margin: float = statistics.MARGIN) -> pd.DataFrame:
    """Say of each setting that is beaten by which other one, and how surely.

    The first of these that holds: another setting costs at least 5 % fewer bytes and loses, with 95 % confidence, less
    than `margin` of the score (non-inferiority; the smallest such setting is named); it costs no more and is
    significantly better (the best such); it costs no more and scored no less, one of the two strictly, which may be
    luck (the best such). As each setting is compared with many, a candidate has to pass a normal test with
    Bonferroni's correction for their number first, and then the bootstrap bound of
    `harness.analysis.statistics.compare`. Settings that score nothing are left out.

    Parameters
    ----------
    shares : Shares
    margin : float
        The loss that is accepted, a share of the beaten setting's score.

    Returns
    -------
    DataFrame
        One row for each setting that is beaten, in the order of `shares`: `setting by how`, one of `CERTAIN`;
        `saving`, the share of the bytes that is saved; `ratio ratio_low ratio_high`, the other's score over the
        setting's, with its 95 % interval; `loss_bound`, the share of the score that is lost at most, with 95 %
        confidence; `sentence`.
    """
    import pandas as pd

    chosen = _candidates(shares, margin)
    frame = pd.DataFrame(chosen, columns=["place", "by_place", "how"])
    place, by = (frame[name].to_numpy(dtype=np.int64) for name in ("place", "by_place"))
    found, bound = _compare(shares, by, place)
    frame["ratio"], frame["ratio_low"], frame["ratio_high"] = found.estimate, found.low, found.high
    frame["loss_bound"] = bound
    frame["saving"] = 1 - shares.cost[by] / shares.cost[place]
    confirmed = (
        ((frame["how"] == "fewer bytes") & (bound < margin))
        | ((frame["how"] == "better") & (found.low > 1))
        | (frame["how"] == "luck")
    )
    frame = frame[confirmed].drop_duplicates("place").sort_values("place")
    frame["setting"] = [shares.names[row] for row in frame["place"]]
    frame["by"] = [shares.names[row] for row in frame["by_place"]]
    frame["sentence"] = [_sentence(row, shares.measure, margin) for _, row in frame.iterrows()]
    columns = ["setting", "by", "how", "saving", "ratio", "ratio_low", "ratio_high", "loss_bound", "sentence"]
    return frame[columns].reset_index(drop=True)


def _candidates(shares: Shares, margin: float) -> list[tuple[int, int, str]]:
    """Return pairs of a setting and one that may beat it, and how; the most telling first for each setting."""
    from scipy.special import ndtri

    cost, share = shares.cost, shares.estimate
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = share / share[:, None]  # of the column's setting to the row's
        gram = shares.influence @ shares.influence.T
        own = np.diag(gram)
        variance = own - 2 * ratio * gram + ratio**2 * own[:, None]
        error = np.sqrt(np.maximum(variance, 0)) / share[:, None]
        fewer = cost <= (1 - LEAST_SAVING) * cost[:, None]
        no_more = cost <= cost[:, None]
        np.fill_diagonal(no_more, False)
        tested = np.maximum(no_more.sum(axis=1), 1)
        reach = ndtri(1 - (1 - statistics.CONFIDENCE) / tested)[:, None] * error
        safe = fewer & (1 - ratio + reach < margin)
        better = no_more & (ratio - reach > 1)
        ahead = no_more & (share >= share[:, None]) & ((share > share[:, None]) | (cost < cost[:, None]))
    pairs: list[tuple[int, int, str]] = []
    by_cost, by_share = np.lexsort((-share, cost)), np.lexsort((cost, -share))
    for place in np.flatnonzero(share > 0).tolist():
        for how, candidates, order in (
            ("fewer bytes", safe, by_cost),
            ("better", better, by_share),
            ("luck", ahead, by_share),
        ):
            passed = order[candidates[place, order]]
            pairs += [(place, int(other), how) for other in passed[:1]]
    return pairs


def _compare(
    shares: Shares, first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[statistics.Interval, Float64]:
    """Return the ratios of the first settings' scores to the second ones', and upper 95 % bounds of the loss."""
    if not len(first):
        return statistics.Interval(*np.empty((3, 0))), np.empty(0)
    change = shares.estimate[first] / shares.estimate[second] - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = shares.resampled[first] / shares.resampled[second] - 1
    resampled = np.where(np.isfinite(resampled), resampled, change[:, None])
    influence = shares.influence[first] - (1 + change[:, None]) * shares.influence[second]
    levels = [(1 - statistics.CONFIDENCE) / 2, (1 + statistics.CONFIDENCE) / 2, 1 - statistics.CONFIDENCE]
    low, high, bound = statistics.bca(resampled, change, influence, levels)
    return statistics.Interval(1 + change, 1 + low, 1 + high), -bound


def _sentence(row: pd.Series[Any], measure: str, margin: float) -> str:
    saving, change = 100 * row["saving"], 100 * (row["ratio"] - 1)
    fewer = f"{saving:.0f} % fewer bytes" if saving >= 0.5 else "as many bytes"
    shift = f"{_signed(row['ratio'])} % {measure}" if abs(change) >= 0.05 else f"the same {measure}"
    interval = f"95 % interval {_signed(row['ratio_low'])} to {_signed(row['ratio_high'])} %"
    if row["how"] == "fewer bytes":
        sure = f"{shift}, and with 95 % confidence less than {100 * margin:g} % is lost"
        return f"{row['setting']} is beaten by {row['by']}: {fewer} at no significant loss ({sure})."
    if row["how"] == "better":
        return f"{row['setting']} is beaten by {row['by']}: {fewer} and {shift} ({interval})."
    return f"{row['setting']} is behind {row['by']}: {fewer} and {shift} ({interval}), which may be luck among so many."


def _signed(ratio: float) -> str:
    return f"{round(100 * (ratio - 1), 1) + 0.0:+.1f}"  # + 0.0: no minus before a zero


def analyse(pages: Sequence[Page], least: float = 0.9) -> list[Shares]:
    """Return the shares of each page that has them, then those over all collections of a model, if it has several.

    Parameters
    ----------
    pages : sequence of Page
        With the queries' scores, see `harness.analysis.significance.with_intervals`.
    least : float
        A collection on which fewer than this share of the fullest one's settings were measured is not among the
        collections that are pooled: it would take the others' settings away.
    """
    models: dict[str, list[Shares]] = {}
    for page in pages:
        shares = sample(page)
        if shares is not None:
            models.setdefault(str(page.settings["model"].iloc[0]), []).append(shares)
    found = [shares for parts in models.values() for shares in parts]
    for model, parts in models.items():
        fullest = max(len(shares.names) for shares in parts)
        full = [shares for shares in parts if len(shares.names) >= least * fullest]
        pooled = pool(full, f"{len(full)} collections · {model}")
        if pooled is not None:
            found.append(pooled)
    return found
