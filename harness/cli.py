"""The `vecbudget` command.

`COMMANDS` is the table of commands, and a new one is one entry of it. `run`, `sweep`, `encode` and `inspect` hand over
to Hydra, so every override works; the rest are plain commands. Imports are lazy: `--help` and `list` answer at once.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.base.errors import VecbudgetError, was_interrupted
from harness.base.suggestions import not_among
from harness.runs.hydra_command import GROUPS, hand_over, with_mode

INTERRUPTED = "interrupted; what is finished is kept, and the same command does the rest"


def _run(overrides: list[str]) -> int:
    from harness.runs import run
    from harness.runs.config import RunConfig

    run.failures.clear()
    hand_over(run.main, RunConfig, with_mode(overrides, "RUN"))
    return int(bool(run.failures))


def _sweep(overrides: list[str]) -> int:
    from harness.runs import run
    from harness.runs.config import RunConfig

    run.failures.clear()
    hand_over(run.main, RunConfig, with_mode(overrides, "MULTIRUN"))
    return int(bool(run.failures))


def _encode(overrides: list[str]) -> int:
    from harness.data.shards import expanded
    from harness.runs import fill_cache

    given = [expanded(text) for text in overrides]
    mode = "MULTIRUN" if fill_cache.is_sweep(given) else "RUN"
    hand_over(fill_cache.main, fill_cache.EncodeConfig, with_mode(given, mode))
    return int(bool(fill_cache.failures))


def _inspect(overrides: list[str]) -> int:
    from harness.analysis.inspection import InspectConfig
    from harness.report import inspection

    hand_over(inspection.main, InspectConfig, with_mode(overrides, "RUN"))
    return 0


def _report(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vecbudget report",
        description="Write a Pareto table (markdown, CSV) and plot (PNG, SVG) for each dataset and model on record.",
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="where the records are (results)")
    parser.add_argument("--out", type=Path, help="folder to write into (RESULTS/report)")
    parser.add_argument(
        "--corpus-size",
        type=int,
        default=1_000_000,
        metavar="N",
        help="documents over which codebooks and matrices are spread in bytes per vector (1000000)",
    )
    parser.add_argument("--columns", default="", metavar="A,B", help="of the tables of settings in tables/")
    parser.add_argument("--filter", default="", metavar="EXPR", help="of them, such as 'bytes_per_vector <= 64'")
    parser.add_argument("--baseline", default="best", metavar="NAME", help="what significance marks are against (best)")
    parser.add_argument("--no-site", action="store_true", help="leave out the leaderboard, site/index.html")
    parser.add_argument("--decimals", type=int, default=3, metavar="N", help="of scores between 0 and 1 (3)")
    options = parser.parse_args(arguments)
    from harness.report.view import TableOptions
    from harness.report.write import write_report
    from harness.runs.frame import load_runs
    from harness.runs.store import Store

    everything = load_runs(options.results, options.corpus_size, subsets=True)
    frame = everything[everything["subset_of"] == ""].reset_index(drop=True)
    out = options.out or options.results / "report"
    table = TableOptions(
        columns=tuple(name for name in options.columns.split(",") if name),
        filter=options.filter,
        baseline=options.baseline,
        decimals=options.decimals,
    )
    store, site = Store(options.results), not options.no_site
    # several pages ask for each
    records = functools.cache(store.read)

    def per_query(run_id: str) -> Any:
        return store.per_query(run_id, records(run_id))

    written = []
    if len(frame) < len(everything):
        from harness.report.corpus_growth import write_growth

        written += write_growth(everything, out, per_query, "vecbudget report")
    if len(frame) or not written:
        written += write_report(frame, out, per_query=per_query, options=table, records=records, site=site)
    for path in written:
        sys.stdout.write(f"{path}\n")
    return 0


def _compare(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vecbudget compare",
        description="Compare two settings on every collection on which both were measured, paired over the queries; or "
        "two results folders: what changed?",
    )
    parser.add_argument("first", help="a setting as the tables call it, such as 'pq m=48'; or a results folder")
    parser.add_argument("second", help="another one")
    parser.add_argument(
        "--metric", default="", metavar="NAME", help="of two settings: what to compare them by, such as recall_at_100"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="where the records are (results)")
    options = parser.parse_args(arguments)
    from harness.report.compare_settings import versus_markdown
    from harness.runs.frame import load_runs
    from harness.runs.store import Store

    folders = [Path(name) for name in (options.first, options.second)]
    if all((folder / "runs").is_dir() for folder in folders):
        from harness.base.errors import ConfigError
        from harness.report.compare_results import changes_markdown

        if options.metric:
            raise ConfigError(
                "--metric is for two settings; of two results folders, each collection's quality is compared"
            )
        before, after = folders
        stores = Store(before), Store(after)
        text = changes_markdown(load_runs(before), load_runs(after), stores[0].per_query, stores[1].per_query)
        sys.stdout.write(text)
        return 0
    frame = load_runs(options.results)
    per_query = Store(options.results).per_query
    sys.stdout.write(versus_markdown(frame, options.first, options.second, per_query, options.metric))
    return 0


def _fuse(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vecbudget fuse",
        description="Fuse the rankings of every pair of runs of different models, and say which pairs are worth their "
        "bytes. Nothing is searched again, but with --verify.",
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="where the records are (results)")
    parser.add_argument("--rule", default="minmax", metavar="A,B", help="minmax, zscore, none, rrf (minmax)")
    parser.add_argument(
        "--weights", default="0.5", metavar="A,B", help="of the second part, 0 to 1; the first has the rest (0.5)"
    )
    parser.add_argument("--depth", type=int, default=100, metavar="N", help="documents of each part (100)")
    parser.add_argument("--write", action="store_true", help="put what is printed on record, for reports")
    parser.add_argument(
        "--verify",
        type=int,
        metavar="N",
        help="search both parts of what is printed again, to N documents, and fuse all",
    )
    options = parser.parse_args(arguments)
    from harness.base.errors import ConfigError
    from harness.report.hybrids import fuse_markdown
    from harness.runs.store import Store

    try:
        weights = [float(text) for text in options.weights.split(",")]
    except ValueError:
        raise ConfigError(f"--weights must be numbers from 0 to 1, got {options.weights!r}") from None
    if not all(0 <= weight <= 1 for weight in weights):
        raise ConfigError(f"--weights must be from 0 to 1, got {options.weights}")
    rules = options.rule.split(",")
    store = Store(options.results)
    sys.stdout.write(fuse_markdown(store, rules, weights, options.depth, options.write, options.verify))
    return 0


def _recommend(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vecbudget recommend",
        description="Say which setting to store vectors with: the best for a budget, or the smallest good enough.",
    )
    parser.add_argument("--max-bytes", metavar="B", help="the best whose codes take at most so many bytes per vector")
    parser.add_argument("--min-retention", metavar="R", help="the smallest that keeps this share of float32's score")
    parser.add_argument("--confidence", metavar="C", help="with which it does (0.95)")
    parser.add_argument("--corpus-size", metavar="N", help="vectors that are to be stored, such as 40e6 (1000000)")
    parser.add_argument("--ram", metavar="SIZE", help="memory for what must be resident of them, such as 8GB")
    parser.add_argument("--max-query-ms", metavar="MS", help="milliseconds that a query may take")
    parser.add_argument("--dataset", nargs="+", default=[], metavar="NAME", help="collections that count (all)")
    parser.add_argument("--model", metavar="NAME", help="the embedding model, if there are several on record")
    parser.add_argument("--model-mb", metavar="MB", help="choose a model too: its files take at most so many megabytes")
    parser.add_argument("--database", metavar="STORE", help="among this vector store's switches; bytes are in memory")
    parser.add_argument(
        "--trust-fitted", action="store_true", help="figures count that were seen on documents known by heart"
    )
    parser.add_argument(
        "--results", type=Path, nargs="+", default=[Path("results")], metavar="DIR", help="where records are (results)"
    )
    options = parser.parse_args(arguments)
    from harness.analysis.needs import Needs
    from harness.analysis.recommend import recommend
    from harness.report.recommendation import recommendation_text

    needs = Needs.parse(
        max_bytes=options.max_bytes,
        min_retention=options.min_retention,
        confidence=options.confidence,
        datasets=options.dataset,
        model=options.model,
        max_query_ms=options.max_query_ms,
        corpus_size=options.corpus_size,
        ram=options.ram,
        database=options.database,
        model_mb=options.model_mb,
        trust_fitted=options.trust_fitted,
    )
    frame, per_query, records = _records(options.results)
    if needs.model_bytes is not None:
        from harness.analysis.recommend_models import recommend_over_models
        from harness.report.recommendation import models_text

        sys.stdout.write(models_text(*recommend_over_models(frame, needs, per_query, records)))
        return 0
    budget = needs.bytes_per_document
    ended = frame[frame["status"] == "ok"]
    kinds = ended["representation"].nunique() if "representation" in ended else 1
    if budget is not None and needs.model is None and kinds > 1:
        from harness.report.representations_view import recommendation_by_representation

        sys.stdout.write(recommendation_by_representation(frame, budget, needs.datasets, per_query))
        return 0
    answer = recommend(frame, needs, per_query, records)
    sys.stdout.write(recommendation_text(answer))
    return int(answer.choice is None)


def _tune(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vecbudget tune",
        description="Search for the setting that finds most within a budget: methods and their parameters, on queries "
        "that are no test queries; then measure the best one on these, once. Ended early, the same command goes on.",
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="model=, dataset= and so on, as for a run")
    parser.add_argument("--max-bytes", type=int, required=True, metavar="B", help="of a document's codes in memory")
    parser.add_argument("--max-disk-bytes", type=int, metavar="B", help="of what is read for a short list (0)")
    parser.add_argument("--min-docs-per-second", type=float, metavar="N", help="documents encoded a second")
    parser.add_argument("--max-query-ms", type=float, metavar="MS", help="a query, on the documents looked at")
    parser.add_argument(
        "--corpus-size",
        type=float,
        default=1e6,
        metavar="N",
        help="documents that are to be stored: what is learned may add a byte to each (1000000)",
    )
    parser.add_argument("--trials", type=int, metavar="N", help="settings to try in all, those of before included")
    parser.add_argument("--minutes", type=float, metavar="M", help="time to spend now (15, without --trials)")
    parser.add_argument("--methods", default="", metavar="A,B", help="among these only (all that may be searched)")
    parser.add_argument(
        "--queries", default="auto", metavar="KIND", help="train, titles, sentences or documents (the first there is)"
    )
    parser.add_argument("--sampler", choices=["tpe", "nsga2", "nsga3"], default="tpe", help="of Optuna (tpe)")
    parser.add_argument(
        "--speed",
        choices=["search", "encode"],
        help="look for settings that are fast, too: a front of three objectives",
    )
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="that share the search (1)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the search (RESULTS/tune/...)")
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="with methods of your own: DIR/method/*.yaml")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args(arguments)
    import logging

    from harness.report.tuning import tuned_text, write_tuned
    from harness.tuning.dataset_search import Search, tuned
    from harness.tuning.study import Limits

    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("harness").setLevel(logging.INFO)
    search = Search(
        limits=Limits(
            options.max_bytes,
            options.max_disk_bytes,
            options.min_docs_per_second,
            options.max_query_ms,
            options.corpus_size,
        ),
        trials=options.trials,
        minutes=15.0 if options.trials is None and options.minutes is None else options.minutes,
        methods=tuple(name for name in options.methods.split(",") if name),
        queries=options.queries,
        sampler=options.sampler,
        speed=options.speed,
        processes=options.processes,
        out=options.out,
        config_dir=options.config_dir,
    )
    found = tuned(search, options.overrides, worker=options.worker)
    if found is not None:
        write_tuned(found)
        sys.stdout.write(tuned_text(found))
    return 0


def _advise(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vecbudget advise",
        description="From a file of vectors to what to store: a dozen settings for the budget, tried on a sample.",
    )
    parser.add_argument("docs", metavar="DOCS", help="documents' vectors: parquet, npy, safetensors and others")
    parser.add_argument("queries", nargs="?", metavar="QUERIES", help="queries' vectors (documents are held out)")
    parser.add_argument("qrels", nargs="?", metavar="QRELS", help="judgements: query-id, corpus-id, score")
    parser.add_argument("--max-bytes", metavar="B", help="bytes of codes a document, in memory")
    parser.add_argument("--ram", metavar="SIZE", help="memory for all of them, such as 8GB")
    parser.add_argument("--corpus-size", metavar="N", help="documents that are to be stored, such as 40e6 (1000000)")
    parser.add_argument("--database", metavar="STORE", help="among this vector store's switches")
    parser.add_argument(
        "--metric", choices=["auto", "dot", "cosine", "l2"], default="auto", help="of the vectors (auto)"
    )
    parser.add_argument("--minutes", type=float, default=5.0, metavar="M", help="time to spend (5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (0)")
    parser.add_argument("--out", type=Path, default=Path("advice.html"), metavar="FILE", help="the page (advice.html)")
    options = parser.parse_args(arguments)
    import logging

    from harness.analysis.needs import Needs
    from harness.report.advice import advice_text, write_advice
    from harness.tuning.advise import advise, read

    logging.getLogger("faiss").setLevel(logging.WARNING)
    needs = Needs.parse(
        max_bytes=options.max_bytes, ram=options.ram, corpus_size=options.corpus_size, database=options.database
    )
    files = {"docs": options.docs, "queries": options.queries, "qrels": options.qrels, "metric": options.metric}
    given = {name: value for name, value in files.items() if value is not None}
    found = advise(read(**given), needs, options.minutes, options.seed)
    overrides = ["dataset=vectors", *(f"dataset.{name}={value}" for name, value in given.items() if value != "auto")]
    write_advice(found, overrides, options.out)
    sys.stdout.write(advice_text(found, overrides))
    sys.stdout.write(f"{options.out}\n")
    return 0


def _records(folders: Sequence[Path]) -> tuple[Any, Callable[[str], Any], Callable[[str], Any]]:
    """Return the runs of all folders, and what reads the queries' scores and the record of one."""
    import pandas as pd

    from harness.base.errors import StoreError
    from harness.runs.distinct_names import with_distinct_names
    from harness.runs.frame import load_runs
    from harness.runs.store import Store

    frames = {folder: load_runs(folder) for folder in dict.fromkeys(folders)}
    empty = [str(folder) for folder, frame in frames.items() if frame.empty]
    if empty:
        raise StoreError(f"no runs are on record in {', '.join(empty)}: measure some, e.g. 'vecbudget run method=int8'")
    homes: dict[str, Store] = {}
    for folder, frame in frames.items():
        for run_id in frame.loc[frame["status"] == "ok", "run_id"]:
            homes.setdefault(run_id, Store(folder))
    return (
        with_distinct_names(pd.concat(frames.values(), ignore_index=True)),
        lambda run_id: homes[run_id].per_query(run_id),
        lambda run_id: homes[run_id].read(run_id),
    )


def _export(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vecbudget export",
        description="Write a run's compressed index into a folder, which vecbudget.CompressedIndex.load reads.",
    )
    parser.add_argument("run_id", metavar="RUN_ID", help="a run, by the name of its folder in RESULTS/runs")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="what lies elsewhere now: dataset.path=DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder, new or empty")
    parser.add_argument(
        "--to",
        action="append",
        default=[],
        metavar="TARGET",
        help="also for faiss, numpy, usearch, or the vector store that the method is a preset of; repeatable",
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="where the record is (results)")
    parser.add_argument("--no-check", action="store_true", help="even if it ranks otherwise than the run did")
    options = parser.parse_intermixed_args(arguments)
    from harness.exchange.index_export import export

    done = export(
        options.run_id,
        options.out,
        results=options.results,
        targets=options.to,
        overrides=options.overrides,
        check=not options.no_check,
    )
    checked = f"{done.checked} queries ranked as the run ranked them" if done.checked else "not compared with the run"
    sys.stdout.write(f"{done.path}: {done.n} documents, {checked}\n")
    for target, notes in done.notes.items():
        sys.stdout.write("".join(f"  {target}: {note}\n" for note in notes))
    return 0


def _merge(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vecbudget merge",
        description="Bring several results folders into one; refuse, and copy nothing, where records disagree.",
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="results folders, which are not changed")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="results folder, new or with records")
    options = parser.parse_args(arguments)
    from harness.runs.merge import merge, merged_text

    sys.stdout.write(merged_text(merge(options.folders, options.into), options.into))
    return 0


def _export_mteb(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vecbudget export-mteb", description="Write the records as MTEB's task results, for its ResultCache."
    )
    _mteb_names(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="to be read by mteb.ResultCache(DIR)")
    options = parser.parse_args(arguments)
    from harness.exchange.mteb.export import export
    from harness.runs.store import Store

    records = [record for folder in options.results for record in Store(folder).records()]
    done = export(records, options.out, tasks=dict(options.task), models=dict(options.model))
    for name in done.shared_names:
        sys.stderr.write(
            f"vecbudget: several collections are {name}; each has the begin of its fingerprint behind it\n"
        )
    for run_id, reason in done.skipped.items():
        sys.stderr.write(f"vecbudget: run {run_id} is left out: {reason}\n")
    sys.stdout.write(f"{len(done.files)} task results written to {options.out}\n")
    return int(not done.files)


def _check_mteb(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vecbudget check-mteb",
        description="Compare the float32 figures on record with those that MTEB has published; 1 if any differs.",
    )
    parser.add_argument("published", type=Path, help="a task result (JSON), or a folder of them such as MTEB's results")
    _mteb_names(parser)
    options = parser.parse_args(arguments)
    from harness.exchange.mteb.published import compare_published, published_text
    from harness.runs.store import Store

    records = [record for folder in options.results for record in Store(folder).records()]
    baselines, without = compare_published(
        records, options.published, tasks=dict(options.task), models=dict(options.model)
    )
    sys.stdout.write(published_text(baselines, without))
    return int(not baselines or any(baseline.off() for baseline in baselines))


def _mteb_names(parser: argparse.ArgumentParser) -> None:
    def pair(text: str) -> tuple[str, str]:
        name, separator, value = text.partition("=")
        if not (name and separator and value):
            raise argparse.ArgumentTypeError(f"'{text}' is not of the form OURS=MTEB'S")
        return name, value

    parser.add_argument("--results", type=Path, nargs="+", default=[Path("results")], metavar="DIR", help="(results)")
    parser.add_argument(
        "--task", type=pair, nargs="+", default=[], metavar="DATASET=TASK", help="MTEB's names, as scifact=SciFact"
    )
    parser.add_argument(
        "--model", type=pair, nargs="+", default=[], metavar="MODEL=ORG/NAME", help="likewise, for models in folders"
    )


def _list(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="vecbudget list", description="Show what there is to choose from.")
    parser.add_argument("what", choices=[*GROUPS, "databases"], nargs="?", default="methods")
    parser.add_argument("--markdown", action="store_true", help="the methods as a markdown table")
    options = parser.parse_args(arguments)
    if options.what == "databases":
        from harness.runs.presets import listing

        sys.stdout.write(listing())
        return 0
    from harness.runs.catalogue import catalogue, markdown_methods

    table = markdown_methods() if options.markdown and options.what == "methods" else catalogue(GROUPS[options.what])
    sys.stdout.write(table)
    return 0


def _cache(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vecbudget cache",
        description="List the parts that runs in parts have left in the cache, with which the same command goes on. "
        "What is removed has to be done again if it is still wanted; parts that a process is working at stay.",
    )
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="($VECBUDGET_CACHE, or ~/.cache/vecbudget)")
    parser.add_argument("--remove", action="store_true", help="remove what is listed")
    parser.add_argument(
        "--days", type=float, default=0.0, metavar="N", help="list only what was not touched for N days"
    )
    options = parser.parse_args(arguments)
    import time

    from omegaconf import OmegaConf

    from harness.base.formatting import amount
    from harness.runs.config import RunConfig
    from harness.runs.left_parts import left_parts, remove

    # where a run looks that is told nothing else
    usual = OmegaConf.create({"cache_dir": RunConfig.cache_dir})["cache_dir"]
    cache_dir = Path(options.cache_dir or usual).expanduser()
    before = time.time() - 86400 * options.days
    found = [one for one in left_parts(cache_dir) if one.touched <= before]
    sys.stdout.write("".join(f"{one.line()}\n" for one in found))
    done = remove(found) if options.remove else []
    size = amount(sum(one.size for one in (done if options.remove else found)))
    if options.remove:
        sys.stdout.write(f"{len(done)} of {len(found)} removed, {size}\n")
    elif found:
        sys.stdout.write(f"{size} in {cache_dir}; --remove removes what no process is working at\n")
    else:
        sys.stdout.write(f"no parts are left in {cache_dir}\n")
    return 0


@dataclass(frozen=True)
class Command:
    """A command: one entry here is all that there is to add.

    Attributes
    ----------
    name : str
    arguments : str
        As `vecbudget --help` shows them.
    about : str
        What it does, in a line.
    function : callable
        Takes the arguments, returns the exit status; imports what it needs when it is called.
    """

    name: str
    arguments: str
    about: str
    function: Callable[[list[str]], int]


COMMANDS = (
    Command("run", "[OVERRIDE ...]", "measure one configuration: model=, dataset=, method= and their parameters", _run),
    Command("sweep", "[OVERRIDE ...]", "measure many: experiment=quick, or comma-separated choices", _sweep),
    Command(
        "encode",
        "[OVERRIDE ...]",
        "only fill the cache with embeddings; in parts, over workers: shard=1-8/8",
        _encode,
    ),
    Command("report", "", "write Pareto tables and plots from the records", _report),
    Command(
        "compare",
        "A B",
        "two settings, query by query: is the difference real? or two results folders: what changed?",
        _compare,
    ),
    Command("fuse", "", "hybrids: which pairs of runs are worth their bytes, from their rankings", _fuse),
    Command(
        "recommend",
        "",
        "which setting to store vectors with: --max-bytes 64, or --min-retention 0.99",
        _recommend,
    ),
    Command(
        "advise",
        "DOCS [QUERIES QRELS]",
        "from a file of vectors to what to store: --ram 8GB --corpus-size 40e6, in minutes",
        _advise,
    ),
    Command(
        "tune",
        "--max-bytes B [OVERRIDE ...]",
        "search methods and parameters for the best within a budget, on queries that are no test queries",
        _tune,
    ),
    Command(
        "inspect",
        "[OVERRIDE ...]",
        "what a model's vectors are like: model=, dataset=, out=FOLDER",
        _inspect,
    ),
    Command(
        "export",
        "RUN_ID --out DIR",
        "a run's compressed index, to use elsewhere: --to faiss, or the vector store of a preset",
        _export,
    ),
    Command(
        "merge",
        "A B --into C",
        "several people's results in one folder, if they agree on what they measured",
        _merge,
    ),
    Command("export-mteb", "", "write the records as MTEB's task results, for its ResultCache", _export_mteb),
    Command("check-mteb", "PATH", "our float32 figures beside those that MTEB has published", _check_mteb),
    Command("cache", "", "the parts that abandoned runs left in the cache: list them, or --remove them", _cache),
    Command(
        "list",
        "",
        "show the methods, models, datasets, experiments or databases' switches there are",
        _list,
    ),
)
"""Every command: `usage`, `markdown_commands` and `main` read this table, and nothing else names them all."""

USAGE = """\
usage: vecbudget COMMAND ...

How much retrieval quality does each byte of an embedding buy?

{commands}

Examples:
  vecbudget run method=int8
  vecbudget run dataset=folder dataset.path=data/scifact method=int8 method.bits=4
  vecbudget sweep method=int8,int4,binary seed=0,1,2
  vecbudget report --results results
  vecbudget compare "pq m=48" "opq m=48"
  vecbudget advise docs.parquet --ram 8GB --corpus-size 40e6
  vecbudget recommend --ram 8GB --corpus-size 40e6
  vecbudget recommend --model-mb 50 --max-bytes 64
  vecbudget recommend --database qdrant --ram 8GB --corpus-size 40e6

`vecbudget run --help` and `vecbudget run --cfg job` show the configuration; so do sweep, encode and inspect.
"""


def usage() -> str:
    """Return what `vecbudget --help` shows."""
    shown = {f"{command.name} {command.arguments}".strip(): command.about for command in COMMANDS}
    width = max(map(len, shown))
    return USAGE.format(commands="\n".join(f"  {call:{width}s} {about}" for call, about in shown.items()))


def markdown_commands() -> str:
    """Return the commands as a Markdown table, for the documentation."""
    rows = [f"| `{f'vecbudget {one.name} {one.arguments}'.strip()}` | {one.about} |" for one in COMMANDS]
    return "\n".join(["| command | what it does |", "| --- | --- |", *rows]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status (0 only when everything asked for is done)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command, rest = (given[0], given[1:]) if given else ("", [])
    commands = {one.name: one.function for one in COMMANDS}
    if command in ("", "-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0 if command else 2
    if command == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"vecbudget {version('vecbudget')}\n")
        return 0
    if command not in commands:
        return _fail("there is no command " + not_among(command, list(commands), "vecbudget --help"), 2)
    try:
        return commands[command](rest)
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, 130)
    except BrokenPipeError:
        # the reader (head, say) has gone; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if was_interrupted(error):
            return _fail(INTERRUPTED, 130)
        if isinstance(error, VecbudgetError):
            return _fail(str(error))
        raise


def _fail(message: str, status: int = 1) -> int:
    sys.stderr.write(f"vecbudget: {message}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
