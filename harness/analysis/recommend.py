"""Which setting to store vectors with: a budget or a quality in, one answer out, and how sure it is.

Settings that the queries cannot tell apart are interchangeable: of those that score within 1 % of the highest and not
significantly less (randomisation test, Holm's correction), a small and simple one is recommended.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis import memory, pareto, statistics
from harness.analysis import settings as settings_module
from harness.analysis.budgets import SAME_BUDGET, least_budget, one_budget, within
from harness.analysis.evidence import CollectionScores, Estimate, Evidence
from harness.analysis.long_mean import advice
from harness.analysis.needs import Needs
from harness.analysis.representations import kind_of_page
from harness.analysis.significance import PerQuery, load_scores
from harness.base.errors import ConfigError, StoreError
from harness.base.formatting import TOLERANCE, amount, count, milliseconds, per_vector
from harness.evaluation.reference import REFERENCE
from harness.runs.portable_command import portable
from harness.runs.presets import Preset, matches, of_store, own_name, presets
from harness.runs.record import Record
from harness.runs.store_indexes import index_of

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.settings import Page

Float64 = NDArray[np.float64]

Records = Callable[[str], Record]

FEW_COLLECTIONS = 3

FEW_QUERIES = 100

MANY_SETTINGS = 10

FAR = 10
"""A corpus this many times as large as those measured is another matter."""

CONVENTION = "convention"
"""The family of what other papers measured, which scores a query by the queries beside it: nothing to deploy."""

COMPLICATIONS = {"tiers": "a second tier", "taught": "training queries", "seeded": "random numbers"}
"""What a setting may need: a column of the settings, and its name."""


@dataclass(frozen=True)
class Setting:
    """A setting and what is expected of it.

    Attributes
    ----------
    name, method, params, family : str
        As tables call it, and the parts of it.
    bytes_per_vector, code_bytes, resident_bytes, disk_bytes : float
        Of each vector; the first with its share of the state, the last two without. Where collections differ, the most.
        Among a database's presets the first is what must be in memory.
    state_bytes : float
    index_bytes, memory_bytes : float
        Of the index of the corpus asked for, and of what must be resident of it.
    structure_bytes : float
        Of links or ids of each vector, as a database's own graph or lists take them; they are part of the last two, and
        of no other figure. 0 without a database, or where its structure is not known.
    compression : float
        How much smaller than float32; NaN for a hybrid, whose parts have no one size.
    query_ms : float
        Search time of one query, in proportion to the documents; NaN if unknown.
    quality : Estimate
        Mean of the metric.
    share : Estimate or None
        Of float32's; None if float32 was not measured.
    bound : float
        What it keeps with the confidence asked for, one-sided; NaN if unknown.
    lowest : (float, str) or None
        Lowest share, and the collection; None for one collection.
    runs : int
        Seeds averaged, on the collection with the fewest.
    complications : tuple of str
        What makes it less simple than others, of `COMPLICATIONS`.
    command : str
        Of the record, on the largest collection.
    by_heart, unseen : bool
        Whether its figures are those of documents that it knows by heart, or of others that stand in for them.
    fitted_on_few : str
        Why it knows documents by heart, there; "" if it does not. See `harness.analysis.memory`.
    run_ids : tuple of str
        For each collection its runs, one a seed, with spaces between them.
    """

    name: str
    method: str
    params: str
    family: str
    bytes_per_vector: float
    code_bytes: float
    resident_bytes: float
    disk_bytes: float
    state_bytes: float
    index_bytes: float
    memory_bytes: float
    compression: float
    query_ms: float
    quality: Estimate
    share: Estimate | None
    bound: float
    lowest: tuple[float, str] | None
    runs: int
    complications: tuple[str, ...]
    command: str
    by_heart: bool = False
    unseen: bool = False
    fitted_on_few: str = ""
    run_ids: tuple[str, ...] = ()
    structure_bytes: float = 0.0


@dataclass(frozen=True)
class Rival:
    """A setting that was not chosen.

    Attributes
    ----------
    setting : Setting
    difference : float
        Its score over the choice's, less 1.
    p : float
        Of the difference: paired randomisation test; corrected where it was picked among many (Holm).
    interchangeable : bool
        Within 1 %, and not significantly different.
    """

    setting: Setting
    difference: float
    p: float
    interchangeable: bool


@dataclass(frozen=True)
class Collection:
    """Where the evidence comes from."""

    dataset: str
    model: str
    documents: int
    queries: int


@dataclass(frozen=True)
class Recommendation:
    """The answer.

    Attributes
    ----------
    needs : Needs
    measure : str
        The metric, such as "nDCG@10".
    choice : Setting or None
        None if nothing on record will do.
    why_none : str
        Then, the reason; else empty.
    runner_up : Rival or None
        For a budget: the highest measured, or if that is the choice, the highest of another method. For a share to
        keep: the next smallest of another method that keeps it.
    near_miss : Setting or None
        For a share to keep: of the smaller settings, the one that came closest.
    compared : int
        Settings that were compared on the same queries.
    interchangeable : int
        For a budget: how many of them are interchangeable with the highest, that one counted.
    collections : tuple of Collection
        The largest first.
    thin : tuple of str
        Why the evidence is too thin to rely on.
    notes : tuple of str
        What else to know.
    preset : Preset or None
        For a database: what the choice is of.
    own : Rival or None
        For a database: the highest of the project's own methods that need no more memory than the choice.
    geometry : tuple of str
        What the length of the mean document means for stores' switches, see `harness.analysis.long_mean`.
    reproduce, export : str
        Commands; empty if the record holds none.
    """

    needs: Needs
    measure: str
    choice: Setting | None
    why_none: str
    runner_up: Rival | None
    near_miss: Setting | None
    compared: int
    interchangeable: int
    collections: tuple[Collection, ...]
    thin: tuple[str, ...]
    notes: tuple[str, ...]
    preset: Preset | None = None
    own: Rival | None = None
    geometry: tuple[str, ...] = ()

    @property
    def reproduce(self) -> str:
        """The command that measures the choice again, without the paths of the machine where it was measured."""
        return "" if self.choice is None else self.choice.command

    @property
    def export(self) -> str:
        """The command that leaves its index in the results folder; a record that exists is measured again."""
        return f"{self.reproduce} keep_index=true overwrite=true" if self.reproduce else ""


def recommend(frame: pd.DataFrame, needs: Needs, per_query: PerQuery, records: Records | None = None) -> Recommendation:
    """Choose a setting.

    For a budget: of the settings that are interchangeable with the highest measured, those that are one budget with the
    smallest (`harness.analysis.budgets.one_budget`). For a share to keep: of the settings whose lower confidence bound
    reaches it, likewise. Of these it is the one that needs the fewest of a second tier, training queries and random
    numbers; and then the one of the highest score, or bound.

    Settings count that were measured on every collection, on the documents that they were fitted on. One that knows
    these by heart is judged by others, or stands back (`harness.analysis.memory`). Those of other papers' conventions
    do not count. For a database it is its presets that count, found by their parameters, whichever preset's name a
    record bears.

    Parameters
    ----------
    frame : DataFrame
        One row a run, as `harness.runs.frame.load_runs` returns it; of several folders, one after the other.
    needs : Needs
    per_query : callable
        Returns the queries' scores of a run id.
    records : callable or None
        Returns the record of a run id; needed for a database, and for what the geometry of the vectors means.

    Returns
    -------
    Recommendation
        Without a choice if nothing on record will do.

    Raises
    ------
    ConfigError
        If a collection or model is not on record, or several models are and none is named, or a share of float32 is
        asked for where float32 was not measured.
    StoreError
        If there is no run, or none whose queries' scores are on record.
    """
    settings_module.check(frame)
    runs = _relevant(frame, needs)
    if needs.database is not None:
        runs = _of_database(runs, needs, records)
    runs, per_query = memory.with_unseen_figures(runs, frame, per_query, needs.trust_fitted)
    pages = [page for page in settings_module.pages(runs) if len(page.settings)]
    notes = []
    judged = [page for page in pages if page.judged]
    if judged and len(judged) < len(pages):
        unjudged = ", ".join(page.title for page in pages if not page.judged)
        notes.append(f"{unjudged}: left out, as there are no relevance judgements")
        pages = judged
    # the largest comes first, and its command is shown
    pages.sort(key=lambda page: (-float(page.settings["n_docs"].iloc[0]), page.title))
    table, incomplete = _complete(pages, runs, needs)
    table, others = table[~table["aside"]].reset_index(drop=True), table[table["aside"]].reset_index(drop=True)
    if incomplete:
        notes.append(
            f"{count(incomplete, 'setting')} not measured on all {len(pages)} collections left out; "
            "--dataset NAME considers fewer collections"
        )
    fits, reasons = _fitting(table, needs)
    fits, stood_back = memory.set_aside(table, fits, needs.trust_fitted)
    others = others[needs.trust_fitted | ~others["by_heart"].astype(bool)]
    notes += stood_back
    collections = tuple(_collection(page) for page in pages)
    measure = "nDCG@10" if judged else "overlap@10"
    geometry = () if records is None else _geometry(pages, records, needs)
    if not fits.any():
        return replace(_nothing(needs, measure, collections, "; ".join(reasons), notes), geometry=geometry)
    evidence = _with_scores(table[fits].reset_index(drop=True), pages, per_query, measure)
    unscored = int(fits.sum()) - len(evidence.table)
    if unscored:
        notes.append(f"{count(unscored, 'setting')} without these queries' scores on record left out")
    plain = REFERENCE.method(kind_of_page(pages[0]))
    if needs.min_retention is not None and not evidence.known_shares:
        where = " and ".join(evidence.lacking)
        raise ConfigError(
            f"--min-retention needs {plain}'s scores on {where}: measure it there by 'vecbudget run method={plain}'"
        )
    choose = _smallest_keeping if needs.min_retention is not None else _best_within
    answer = choose(evidence, needs, collections)
    if answer.choice is not None and needs.database is not None:
        rival = _own(answer.choice, evidence.table, others, pages, per_query, needs)
        answer = replace(answer, preset=presets().get(answer.choice.method), own=rival)
    return replace(answer, thin=_thin(answer), notes=(*notes, *_notes(answer, plain)), geometry=geometry)


def _geometry(pages: Sequence[Page], records: Records, needs: Needs) -> tuple[str, ...]:
    """Say what the mean document means for stores' switches, on the collection where it is longest.

    Older records do not know it; the newest of each page is asked.
    """
    longest: tuple[float, Page] | None = None
    for page in pages:
        good = page.runs[page.runs["status"] == "ok"]
        known = records(str(good.sort_values("created", kind="stable")["run_id"].iloc[-1])).geometry
        if known and (longest is None or known["mean_length"] > longest[0]):
            longest = known["mean_length"], page
    if longest is None:
        return ()
    length, page = longest
    whole = page.settings[(page.settings["params"] == "") & page.settings["retention"].notna()]
    kept = {row["method"]: float(row["retention"]) for _, row in whole.iterrows() if row["method"] in presets()}
    return tuple(advice(length, page.title, kept, needs.database))


def _relevant(frame: pd.DataFrame, needs: Needs) -> pd.DataFrame:
    """Return the successful runs on the collections and with the model that were asked for, each once."""
    import pandas as pd

    for option, column, asked in (
        ("--dataset", "dataset", needs.datasets),
        ("--model", "model", () if needs.model is None else (needs.model,)),
    ):
        known = sorted(frame[column].dropna().astype(str).unique())
        for name in asked:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean '{near[0]}'? On record are" if near else "on record are"
                raise ConfigError(f"{option}: nothing was measured on '{name}'; {hint}: {', '.join(known)}")
        if asked:
            frame = frame[frame[column].isin(asked)]
    params = frame["params"].fillna("").astype(str)
    elsewhere = params.str.contains("|".join(rf"(?:^|\s){re.escape(start)}" for start in settings_module.ELSEWHERE))
    kept = (frame["status"] == "ok") & ~elsewhere & (np.array(settings_module.families(frame)) != CONVENTION)
    runs = frame[kept].drop_duplicates("run_id")
    if runs.empty:
        raise StoreError(
            "no run to recommend is on record: methods fitted elsewhere and conventions of other papers do not count"
        )
    models = sorted(runs["model"].unique())
    if len(models) > 1:
        raise ConfigError(f"several models are on record, choose one by --model: {', '.join(models)}")
    codes, state = (pd.to_numeric(runs[name], errors="coerce") for name in ("code_bytes_per_vector", "state_bytes"))
    if needs.database is not None and "resident_bytes_per_vector" in runs:
        codes = pd.to_numeric(runs["resident_bytes_per_vector"], errors="coerce").fillna(codes)
    words = runs[["params", "scoring"]].fillna("")
    found: pd.DataFrame = runs.assign(**words, **{pareto.COST: codes + state / needs.size})
    return found


def _of_database(runs: pd.DataFrame, needs: Needs, records: Records | None) -> pd.DataFrame:
    """Return the store's runs under their presets' names, and the project's own runs, which stand aside.

    A record that several presets share bears the name of one of them; its command becomes that of the preset.
    """
    import pandas as pd

    if records is None:
        raise ConfigError("--database needs the records: presets are told apart by their parameters")
    rows: list[dict[str, Any]] = []
    for entry in runs.to_dict("records"):
        row = {str(key): value for key, value in entry.items()}
        record = records(row["run_id"])
        own = own_name(record)
        if own is not None:
            rows.append(row | {"aside": True, "method": own, "current": True})
        for match in matches(record):
            if match.preset.store == needs.database:
                name, same = match.preset.name, match.preset.name == row["method"]
                command = row.get("command") if same else _renamed(row.get("command"), name)
                rows.append(
                    row
                    | {"aside": False, "method": name, "params": match.params, "scoring": ""}
                    | {"command": command, "current": match.current}
                )
    found = pd.DataFrame(rows)
    if found.empty or found["aside"].all():
        names = ",".join(preset.name for preset in of_store(str(needs.database)))
        raise StoreError(f"nothing of {needs.database} is on record: measure it by 'vecbudget sweep method={names}'")
    # records of an earlier version of a preset count as long as there are no others
    replaced = ~found["current"] & found["method"].isin(found.loc[found["current"], "method"])
    replaced &= found["params"] == ""
    # in one piece: pandas warns where columns are added to a frame of many
    return found[~replaced].astype({"seed": "Int64"}).copy()


def _renamed(command: Any, name: str) -> Any:
    """Return a command with another method's name, without what was set of the old one."""
    if not isinstance(command, str) or not command:
        return command
    kept = [text for text in shlex.split(command) if not text.startswith("method.")]
    return shlex.join(f"method={name}" if text.startswith("method=") else text for text in kept)


def _complete(pages: Sequence[Page], runs: pd.DataFrame, needs: Needs) -> tuple[pd.DataFrame, int]:
    """Return the settings that all pages have, one row each, smallest first, and how many others there are.

    Figures that differ between collections are the largest. `places` are the rows in the pages' settings.
    """
    import pandas as pd

    parts = []
    for number, page in enumerate(pages):
        rows = page.settings.assign(page=number, place=np.arange(len(page.settings)))
        codes = rows["code_bytes_per_vector"]
        rows["resident"] = rows.get("resident_bytes_per_vector", codes).fillna(codes)
        per_vector = rows["search_seconds"] / rows["n_queries"] / rows["n_docs"]
        # hybrids' parts have no one size
        rows["float32_bytes"] = np.where(rows["compression_ratio"].notna(), page.float32_bytes, np.nan)
        rows["query_ms"] = 1000 * per_vector * (rows["n_docs"] if needs.corpus_size is None else needs.size)
        parts.append(rows)
    groups = pd.concat(parts).groupby(settings_module.SETTING, sort=True)
    largest = ["bytes_per_vector", "code_bytes_per_vector", "state_bytes", "resident", "query_ms", "float32_bytes"]
    # an unknown figure on any collection is unknown
    table = groups[largest].agg(_largest)
    table["runs"], table["places"] = groups["runs"].min(), groups["place"].agg(list)
    table["family"], table["pages"] = groups["family"].first(), groups["page"].size()
    own = (
        runs[[*settings_module.SETTING]]
        .assign(
            seeded=runs["seed"].notna(),
            taught=~runs.get("fit_queries", pd.Series("", index=runs.index)).fillna("").isin(("", "none")),
            aside=runs.get("aside", pd.Series(False, index=runs.index)),
            by_heart=runs["by_heart"],
            unseen=runs["unseen"],
        )
        .groupby(settings_module.SETTING)[["seeded", "taught", "aside", "by_heart", "unseen"]]
    )
    table = table.join(own.any()).reset_index()
    table["name"] = [settings_module.setting_name(row) for _, row in table.iterrows()]
    table["structure"], table["structure_shared"] = _structures(table["method"], table["float32_bytes"], needs)
    table["tiers"] = table["resident"] < table["code_bytes_per_vector"] - TOLERANCE
    complete = table["pages"] == len(pages)
    good = table[complete].sort_values([pareto.COST, "name"], kind="stable", ignore_index=True)
    return good, int((~complete & ~table["aside"].astype(bool)).sum())


def _structures(methods: pd.Series[str], float32_bytes: pd.Series[float], needs: Needs) -> tuple[Float64, Float64]:
    """Return the bytes of each vector's links or ids, and of centroids, in the database's own structures, (r,)."""
    found = np.zeros((2, len(methods)))
    if needs.database is not None:
        for place, (name, plain) in enumerate(zip(methods, float32_bytes, strict=True)):
            structure = index_of(name) if name in presets() else None
            if structure is not None:
                found[:, place] = structure.bytes_of(needs.size, 0 if np.isnan(plain) else int(plain) // 4)
    return found[0], found[1]


def _largest(column: pd.Series[Any]) -> Any:
    return column.max(skipna=False)


def _fitting(table: pd.DataFrame, needs: Needs) -> tuple[NDArray[np.bool_], list[str]]:
    """Mark the settings within all limits; and say which limit none keeps, or that none keeps all of them."""
    if table.empty:
        return np.zeros(0, dtype=np.bool_), ["no setting was measured on all collections; name one by --dataset"]
    cost, names = table[pareto.COST].to_numpy(), table["name"].tolist()
    fits, reasons = np.isfinite(cost), []
    checks: list[tuple[NDArray[np.bool_], Float64, Callable[[float], str]]] = []
    if needs.max_bytes is not None:
        codes = table["code_bytes_per_vector" if needs.database is None else "resident"]
        checks.append((within(cost, codes, needs.max_bytes), least_budget(cost, codes), per_vector))
    if needs.ram_bytes is not None:
        each, shared = table["resident"] + table["structure"], table["state_bytes"] + table["structure_shared"]
        memory = (each * needs.size + shared).to_numpy()
        checks.append((memory <= needs.ram_bytes, memory, amount))
    if needs.max_query_ms is not None:
        times = table["query_ms"].to_numpy()
        checks.append((times <= needs.max_query_ms, times, milliseconds))
    limits = needs.limits()
    for (kept, figures, written), asked in zip(checks, limits, strict=True):
        fits = fits & kept
        if not kept.any():
            known = np.flatnonzero(np.isfinite(figures))
            least = "".join(
                f": {names[row]}, which needs least, needs {written(float(figures[row]))}"
                for row in known[np.argsort(figures[known], kind="stable")][:1]
            )
            reasons.append(f"nothing on record is {asked}{least}")
    if not fits.any() and not reasons:
        reasons.append(f"nothing on record is {' and '.join(limits)} at once" if limits else "no bytes are on record")
    return fits, reasons


def _with_scores(table: pd.DataFrame, pages: Sequence[Page], per_query: PerQuery, measure: str) -> Evidence:
    """Read the queries' scores, and leave out the settings that lack them on any collection."""
    parts = []
    known = np.ones(len(table), dtype=np.bool_)
    for number, page in enumerate(pages):
        places = [places[number] for places in table["places"]]
        plain = np.flatnonzero(REFERENCE.marks(page.settings["method"]))[:1].tolist()
        # float32 comes first, so that its queries are those of all
        rows = page.settings.iloc[[*plain, *places]]
        scores = load_scores(replace(page, settings=rows), per_query).values[page.quality]
        values = scores[len(plain) :]
        known &= np.isfinite(values).all(axis=1) & (values.shape[1] > 0)
        judged = page.judged
        parts.append(
            CollectionScores(
                page, values, _usable(scores[0] if plain else None) if judged else np.ones(values.shape[1])
            )
        )
    if not known.any():
        raise StoreError(
            "the queries' scores (per_query.parquet) of the runs in question are not on record: measure them again"
        )
    lacking = tuple(_collection(part.page).dataset for part in parts if part.base is None)
    if lacking:
        parts = [replace(part, base=None) for part in parts]
    kept = [replace(part, values=part.values[known]) for part in parts]
    return Evidence(table[known].reset_index(drop=True), kept, measure, lacking)


def _usable(plain: Float64 | None) -> Float64 | None:
    """Return float32's scores, if they are known and say anything."""
    if plain is None or not len(plain) or not np.isfinite(plain).all() or not plain.mean() > 0:
        return None
    return plain


def _best_within(evidence: Evidence, needs: Needs, collections: tuple[Collection, ...]) -> Recommendation:
    scores, cost = evidence.scores, evidence.table[pareto.COST].to_numpy()
    best = int(np.lexsort((cost, -scores))[0])
    others = np.delete(np.arange(len(scores)), best)
    p = np.ones(len(scores))
    p[others] = statistics.holm(evidence.p_values(others, best))
    alike = (_over(scores, scores[best]) > -statistics.MARGIN) & (p >= statistics.ALPHA)
    alike[best] = True
    choice = _simplest(evidence.table, scores, alike & one_budget(cost, cost[alike].min()))
    runner: int | None = best
    if choice == best:
        runner = _of_another_method(evidence.table, choice, others[np.lexsort((cost[others], -scores[others]))])
    # every p is of a difference from the highest, which is one of the two
    pair = choice if runner == best else runner
    rows = [choice, *([] if runner is None else [runner])]
    settings = _settings(evidence, rows, needs, np.full(len(scores), np.nan))
    rival = None
    if runner is not None:
        difference = float(_over(scores[runner], scores[choice]))
        rival = Rival(settings[1], difference, float(p[pair]), bool(alike[pair]))
    return Recommendation(
        needs=needs,
        measure=evidence.measure,
        choice=settings[0],
        why_none="",
        runner_up=rival,
        near_miss=None,
        compared=len(scores),
        interchangeable=int(alike.sum()),
        collections=collections,
        thin=(),
        notes=(),
    )


def _simplest(table: pd.DataFrame, scores: Float64, alike: NDArray[np.bool_]) -> int:
    """Return the row to prefer among those that are alike.

    It needs the fewest of a second tier, training queries and random numbers; among these it has the highest score;
    then it is the smaller, the one with fewer parameters, and the first by name.
    """
    rows = np.flatnonzero(alike)
    complications = table[list(COMPLICATIONS)].to_numpy(dtype=np.int64).sum(axis=1)
    parameters = np.array([len(params.split()) for params in table["params"]])
    names = np.unique(table["name"].to_numpy(dtype=str), return_inverse=True)[1]
    keys = (names, parameters, table[pareto.COST].to_numpy(), -scores, complications)
    return int(rows[np.lexsort([key[rows] for key in keys])[0]])


def _smallest_keeping(evidence: Evidence, needs: Needs, collections: tuple[Collection, ...]) -> Recommendation:
    assert needs.min_retention is not None
    scores, bounds = evidence.scores, evidence.bounds(needs.level)
    cost = evidence.table[pareto.COST].to_numpy()
    keeps = bounds >= needs.min_retention - TOLERANCE
    closest = int(np.argmax(bounds))
    if not keeps.any():
        near_miss = _settings(evidence, [closest], needs, bounds)[0]
        limits = "".join(f" {limit}," for limit in needs.limits()).rstrip(",")
        why = f"nothing on record{limits} is sure to {needs.keep(evidence.measure)}"
        return replace(_nothing(needs, evidence.measure, collections, why, []), near_miss=near_miss, compared=len(cost))
    smallest = cost[keeps].min()
    choice = _simplest(evidence.table, bounds, keeps & one_budget(cost, smallest))
    order = np.lexsort((-bounds, cost))
    runner = _of_another_method(evidence.table, choice, order[keeps[order] & (order != choice)])
    smaller = np.flatnonzero((cost < smallest) & ~one_budget(cost, smallest))
    missed = int(smaller[np.argmax(bounds[smaller])]) if len(smaller) else None
    rows = [row for row in (choice, runner, missed) if row is not None]
    settings = dict(zip(rows, _settings(evidence, rows, needs, bounds), strict=True))
    rival = None
    if runner is not None:
        p = float(evidence.p_values(np.array([runner]), choice)[0])
        difference = float(_over(scores[runner], scores[choice]))
        rival = Rival(settings[runner], difference, p, abs(difference) < statistics.MARGIN and p >= statistics.ALPHA)
    return Recommendation(
        needs=needs,
        measure=evidence.measure,
        choice=settings[choice],
        why_none="",
        runner_up=rival,
        near_miss=None if missed is None else settings[missed],
        compared=len(cost),
        interchangeable=0,
        collections=collections,
        thin=(),
        notes=(),
    )


def _of_another_method(table: pd.DataFrame, choice: int, ordered: NDArray[np.int64]) -> int | None:
    """Return the first of the rows that is of another method, or else the first."""
    methods = table["method"].to_numpy()
    others = [int(row) for row in ordered if methods[row] != methods[choice]]
    return others[0] if others else int(ordered[0]) if len(ordered) else None


def _over(scores: Any, other: float) -> Any:
    """Return by which share scores are above another one: 0 where both are 0."""
    return scores / other - 1 if other > 0 else np.where(np.asarray(scores) > 0, np.inf, 0.0)


def _own(
    choice: Setting,
    table: pd.DataFrame,
    others: pd.DataFrame,
    pages: Sequence[Page],
    per_query: PerQuery,
    needs: Needs,
) -> Rival | None:
    """Return the highest of the project's own settings that need no more memory than the choice."""
    import pandas as pd

    limit = choice.bytes_per_vector
    others = others[within(others[pareto.COST], others["resident"], limit)]
    if others.empty:
        return None
    joined = pd.concat([table[table["name"] == choice.name], others], ignore_index=True)
    evidence = _with_scores(joined, pages, per_query, "")
    if len(evidence.table) < 2 or evidence.table["aside"].iloc[0]:
        return None
    scores, rows = evidence.scores, np.arange(1, len(evidence.table))
    best = int(rows[np.lexsort((evidence.table[pareto.COST].to_numpy()[1:], -scores[1:]))[0]])
    p = float(statistics.holm(evidence.p_values(rows, 0))[best - 1])
    difference = float(_over(scores[best], scores[0]))
    setting = _settings(evidence, [best], needs, np.full(len(scores), np.nan))[0]
    return Rival(setting, difference, p, abs(difference) < statistics.MARGIN and p >= statistics.ALPHA)


def _nothing(
    needs: Needs, measure: str, collections: tuple[Collection, ...], why: str, notes: Sequence[str]
) -> Recommendation:
    return Recommendation(needs, measure, None, why, None, None, 0, 0, collections, (), tuple(notes))


def _settings(evidence: Evidence, rows: Sequence[int], needs: Needs, bounds: Float64) -> list[Setting]:
    found = []
    places = np.array(rows, dtype=np.int64)
    collection_names = [_collection(part.page).dataset for part in evidence.parts]
    shares = np.array([part.shares(places).mean(axis=1) for part in evidence.parts])
    for number, (row, (quality, share)) in enumerate(zip(rows, evidence.estimates(places), strict=True)):
        entry = evidence.table.iloc[row]
        code, state = float(entry["code_bytes_per_vector"]), float(entry["state_bytes"])
        resident, structure = float(entry["resident"]), float(entry["structure"])
        shared = state + float(entry["structure_shared"])
        lowest = None
        if share is not None and len(evidence.parts) > 1:
            worst = int(np.argmin(shares[:, number]))
            lowest = (float(shares[worst, number]), collection_names[worst])
        found.append(
            Setting(
                name=entry["name"],
                method=entry["method"],
                params=entry["params"],
                family=entry["family"],
                bytes_per_vector=float(entry[pareto.COST]),
                code_bytes=code,
                resident_bytes=resident,
                disk_bytes=code - resident,
                state_bytes=state,
                index_bytes=(code + structure) * needs.size + shared,
                memory_bytes=(resident + structure) * needs.size + shared,
                compression=float(entry["float32_bytes"]) / float(entry[pareto.COST]),
                query_ms=float(entry["query_ms"]),
                quality=quality,
                share=share,
                bound=float(bounds[row]),
                lowest=lowest,
                runs=int(entry["runs"]),
                complications=tuple(name for column, name in COMPLICATIONS.items() if entry[column]),
                command=_command(evidence.parts[0].page, int(entry["places"][0])),
                by_heart=bool(entry["by_heart"]),
                unseen=bool(entry["unseen"]),
                fitted_on_few=_fitted_on_few(evidence, entry["places"]),
                run_ids=tuple(
                    str(part.page.settings["run_ids"].iloc[place])
                    for part, place in zip(evidence.parts, entry["places"], strict=True)
                ),
                structure_bytes=structure,
            )
        )
    return found


def _fitted_on_few(evidence: Evidence, places: Sequence[int]) -> str:
    """Return why a setting knows the documents of a collection by heart, of the first where it does."""
    rows = [part.page.settings.iloc[place] for part, place in zip(evidence.parts, places, strict=True)]
    return next((why for why in map(memory.reason, rows) if why), "")


def _command(page: Page, place: int) -> str:
    """Return the command of a setting's first seed, or "" if it is not on record."""
    row = page.settings.iloc[place]
    runs = page.runs[page.runs["run_id"].isin(row["run_ids"].split()) & (page.runs["method"] == row["method"])]
    runs = runs.sort_values("seed", kind="stable")
    recorded = runs["command"].iloc[0] if "command" in runs.columns else None
    return portable(recorded, row["dataset"]) if isinstance(recorded, str) and recorded else ""


def _collection(page: Page) -> Collection:
    row = page.settings.iloc[0]
    return Collection(row["dataset"], row["model"], int(row["n_docs"]), int(row["n_queries"]))


def _thin(answer: Recommendation) -> tuple[str, ...]:
    """Say why the evidence may be too thin to rely on."""
    reasons = []
    where = answer.collections
    if len(where) < FEW_COLLECTIONS:
        reasons.append(f"{count(len(where), 'collection')} only: others may rank the methods differently")
    few = [f"{one.queries:,} on {one.dataset}" for one in where if one.queries < FEW_QUERIES]
    if few:
        reasons.append(f"fewer than {FEW_QUERIES} queries tell little: {', '.join(few)}")
    largest = max(one.documents for one in where)
    if answer.needs.corpus_size is not None and answer.needs.corpus_size > FAR * largest:
        reasons.append(
            f"measured on at most {largest:,} documents: {answer.needs.corpus_size:,} hold more that are nearly alike, "
            "and compressed vectors keep less"
        )
    return tuple(reasons)


def _notes(answer: Recommendation, plain: str) -> list[str]:
    """Return what else to know of an answer; `plain` is the method that compresses nothing."""
    choice = answer.choice
    if choice is None:
        return []
    notes = []
    if answer.compared >= MANY_SETTINGS and answer.needs.min_retention is None:
        notes.append(
            f"the highest of {answer.compared} settings on the same queries had some luck: expect a little less of it"
        )
    elif answer.compared >= MANY_SETTINGS:
        notes.append(
            f"{answer.compared} settings were tested on the same queries, each by itself: the smallest that passes may "
            "have done so by luck"
        )
    if answer.interchangeable > 1:
        notes.append(
            f"{answer.interchangeable} of {answer.compared} settings are interchangeable (within "
            f"{100 * statistics.MARGIN:g} % of the highest, not significantly less): chosen for the fewest bytes (less "
            f"than {100 * SAME_BUDGET:g} % is no difference), then for needing no second tier, training queries or "
            "random numbers, then for the score"
        )
    notes += memory.note(choice.fitted_on_few, choice.by_heart, choice.unseen)
    if 1 < len(answer.collections) < 5:
        notes.append("with fewer than five collections the interval is too narrow")
    if choice.share is None:
        notes.append(f"{plain} was not measured, so the share of its score is unknown: vecbudget run method={plain}")
    if COMPLICATIONS["seeded"] in choice.complications and choice.runs == 1:
        notes.append("it draws random numbers and was measured with one seed only")
    if answer.needs.max_query_ms is not None:
        scaled = ", in proportion to the documents" if answer.needs.corpus_size is not None else ""
        notes.append(f"search times are of the recorded machine, an exhaustive search of all queries at once{scaled}")
    if "PATH/" in choice.command:
        notes.append("in the commands, PATH is where your copy of the collection lies")
    return notes
