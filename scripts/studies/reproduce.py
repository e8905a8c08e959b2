"""Regenerate results/reference/: run every study, then write every table anew.

    python scripts/studies/reproduce.py [--scifact data/scifact] [--mlquestions data/mlquestions]
        [--frontier data/scifact data/cranfield] [--learned data/scifact data/mlquestions]
        [--learned-large data/oewn-glosses] [--only quick full] [--dry-run]

SciFact and MLQuestions come from BEIR folders, or through MTEB from the Hugging Face hub where none is given. The
frontier is drawn on the built-in set and the folders given for it, or SciFact. Learned compressors take hours and are
left out unless folders are given for them. Folders are relative to the repository's root: records name them.

Records go to results/reference-runs/ (not committed); an interrupted run goes on where it stopped. `scripts/test.sh`
sets up the environment. Some pages are not written here: databases/stores.md and databases/metrics.md by
scripts/stores/check_stores.py and check_metrics.py, which need the stores themselves, learned/old_to_new.md by
scripts/studies/old_to_new.py, and paper_bitbudget/ by scripts/studies/bitbudget_claims.py and bitbudget_agreement.py,
which need vectors of several models.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORDS, TABLES_FOLDER = "results/reference-runs", "results/reference"

Command = tuple[str, ...]


@dataclass(frozen=True)
class Collection:
    """One collection: its name, the overrides that choose it, and half of its documents, rounded down."""

    name: str
    overrides: Command = ()
    half: int = 0


BUILTIN = Collection("stdlib", (), 1704)


def folder_collection(folder: Path) -> Collection:
    """Return the collection of a BEIR folder, named as the folder is."""
    with (ROOT / folder / "corpus.jsonl").open("rb") as lines:
        half = sum(1 for _ in lines) // 2
    return Collection(folder.name, ("dataset=folder", f"dataset.path={folder}", f"dataset.name={folder.name}"), half)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Folders of collections in BEIR's layout, None or empty for those that are not given."""

    scifact: Path | None = None
    mlquestions: Path | None = None
    frontier: tuple[Path, ...] = ()
    learned: tuple[Path, ...] = ()
    learned_large: Path | None = None

    def collections(self) -> dict[str, list[Collection]]:
        """Return what the studies' `collections` stand for."""

        def chosen(key: str, folder: Path | None, name: str) -> Command:
            if folder is None:
                return (f"{key}=mteb", f"{key.partition('@')[2] or key}.name={name}")
            return (f"{key}=folder", f"{key.partition('@')[2] or key}.path={folder}")

        def named(folder: Path | None, name: str) -> Command:
            return chosen("dataset", folder, name) + ((f"dataset.name={name.lower()}",) if folder else ())

        scifact = Collection("scifact", named(self.scifact, "SciFact"), 2591)
        mlquestions = Collection("mlquestions", named(self.mlquestions, "MLQuestions"))
        fitted = chosen("dataset@fit_dataset", self.mlquestions, "MLQuestions")
        # records of learned compressors go by the folder's own name
        learned = {
            folder: Collection(folder.name, ("dataset=folder", f"dataset.path={folder}")) for folder in self.learned
        }
        large = self.learned_large
        return {
            "builtin": [BUILTIN],
            "scifact": [scifact],
            "scifact, fitted on mlquestions": [Collection("scifact", scifact.overrides + fitted)],
            "mlquestions": [mlquestions],
            "frontier": [BUILTIN, *(map(folder_collection, self.frontier) if self.frontier else [scifact])],
            "learned": list(learned.values()),
            "learned, with train queries": [
                collection for folder, collection in learned.items() if (ROOT / folder / "qrels" / "train.tsv").exists()
            ],
            "learned, large": [Collection(large.name, ("dataset=folder", f"dataset.path={large}"))] if large else [],
        }


@dataclass(frozen=True, kw_only=True)
class Study:
    """An experiment on some collections, and what is kept of its report.

    Attributes
    ----------
    name : str
        The folder of its records and of its report.
    experiment : str
        A file of configs/experiment.
    collections : tuple of str
        Keys of `Inputs.collections`.
    overrides : tuple of str
        Besides those of the collection; `{half}` is half of its documents.
    apart : bool
        Each collection's records lie in a folder of their own.
    may_fail : bool
        Some methods cannot be fitted on a small collection: the others are kept.
    report : bool
        `vecbudget report` writes it up.
    keep : tuple of str
        Patterns of the names in the report's folder that stay (all).
    keep_scores : bool
        scores.parquet stays: from it the tables can be made again.
    """

    name: str
    experiment: str
    collections: tuple[str, ...]
    overrides: Command = ()
    apart: bool = False
    may_fail: bool = False
    report: bool = False
    keep: tuple[str, ...] = ("*",)
    keep_scores: bool = False


THREE = ("scifact", "mlquestions", "builtin")
STUDIES = (
    Study(name="quick", experiment="quick", collections=("builtin",), report=True, keep_scores=True),
    Study(name="scifact_zoo", experiment="scifact_zoo", collections=("scifact",), report=True),
    Study(name="paper_2505_00105", experiment="paper_2505_00105", collections=("scifact",), report=True),
    Study(name="paper_corect", experiment="paper_corect", collections=("scifact",), report=True),
    Study(
        name="paper_2505_00105_elsewhere",
        experiment="paper_2505_00105",
        collections=("scifact, fitted on mlquestions",),
        report=True,
    ),
    Study(name="full", experiment="full", collections=THREE, report=True),
    # of the stores' report, what is said of stores
    Study(
        name="databases",
        experiment="databases",
        collections=THREE,
        report=True,
        keep=("databases*", "runs.csv", "recall.md", "stores.md"),
    ),
    Study(name="frontier", experiment="frontier", collections=("frontier",), apart=True, may_fail=True),
    Study(
        name="frontier_half",
        experiment="frontier_half",
        collections=("frontier",),
        overrides=("fit_sample={half}",),
        apart=True,
        may_fail=True,
    ),
    Study(name="learned", experiment="learned", collections=("learned",)),
    Study(name="learned_trends", experiment="learned_trends", collections=("learned",)),
    Study(name="learned_titles", experiment="learned_titles", collections=("learned, with train queries",)),
    Study(name="learned_large", experiment="learned_large", collections=("learned, large",)),
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A page that a script of this folder writes from several records.

    Attributes
    ----------
    script : str
    reads : tuple of (str, str)
        Flags, each with a study whose records it is given, or `records`, the folder of all, or `scifact`, that folder.
        What there is none of is left out; without the first there is no page.
    writes : str
        In results/reference; "" for a script that knows itself where.
    studies : tuple of str
        Studies it tells of, where no flag says so.
    """

    script: str
    reads: tuple[tuple[str, str], ...] = ()
    writes: str = ""
    studies: tuple[str, ...] = ()


PAPERS = ("paper_2505_00105", "paper_2505_00105_elsewhere", "paper_corect")
TABLES = (
    Table(
        script="learned_table",
        reads=(("--runs", "learned"), ("--titles", "learned_titles")),
        writes="learned/learned.md",
    ),
    Table(script="learned_trends", reads=(("--runs", "learned_trends"),), writes="learned/trends.md"),
    Table(script="learned_table", reads=(("--runs", "learned_large"),), writes="learned/large.md"),
    Table(
        script="store_recall", reads=(("--scifact", "scifact"),), writes="databases/recall.md", studies=("databases",)
    ),
    Table(script="write_readme", studies=("quick",)),
    Table(script="paper_claims", reads=(("--runs", "records"),), writes="papers.md", studies=PAPERS),
    Table(script="frontier", reads=(("--runs", "frontier"), ("--half", "frontier_half")), writes="frontier"),
    Table(script="predictors", reads=(("--runs", "frontier"),), writes="."),
)


def sweeps(study: Study, inputs: Inputs) -> Iterator[Command]:
    """Yield the arguments of `vecbudget sweep`, a collection at a time."""
    known = inputs.collections()
    for collection in (collection for key in study.collections for collection in known[key]):
        results = f"{RECORDS}/{study.name}/{collection.name}" if study.apart else f"{RECORDS}/{study.name}"
        further = tuple(text.format(half=collection.half) for text in study.overrides)
        yield (f"experiment={study.experiment}", *collection.overrides, *further, f"results_dir={results}")


def written_by(table: Table, inputs: Inputs, studies: Sequence[Study]) -> Command | None:
    """Return the arguments of a table's script, None where what it reads is not given or not among the studies."""
    known = inputs.collections()
    sources = {
        study.name: f"{RECORDS}/{study.name}" for study in STUDIES if any(known[key] for key in study.collections)
    }
    sources["records"] = RECORDS
    if inputs.scifact:
        sources["scifact"] = str(inputs.scifact)
    told = {*table.studies, *(source for _, source in table.reads)}
    if not told & {study.name for study in studies} or (table.reads and table.reads[0][1] not in sources):
        return None
    options = [part for flag, source in table.reads if source in sources for part in (flag, sources[source])]
    if table.writes:
        options += ["--out", str(Path(TABLES_FOLDER, table.writes))]
    return (f"scripts/studies/{table.script}.py", *options)


def prune(study: Study) -> None:
    """Delete from a report what is not committed: copies in other formats, large and binary files, other matters."""
    report = ROOT / TABLES_FOLDER / study.name
    unwanted = [*report.rglob("*.svg"), *report.glob("**/tables/*.parquet")]
    if not study.keep_scores:
        unwanted += report.rglob("scores.parquet")
    unwanted += [path for path in report.iterdir() if not any(path.match(pattern) for pattern in study.keep)]
    for path in unwanted:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def call(arguments: Command, dry_run: bool, may_fail: bool = False) -> None:
    """Print a command, and run it from the repository's root unless only printing is asked for.

    Raises
    ------
    SystemExit
        With the command's status, if it failed (with `may_fail`: otherwise than with 1).
    """
    command = (sys.executable, *arguments)
    print(shlex.join(("python", *arguments)), flush=True)
    if dry_run:
        return
    # what the scripts import lies here, installed or not
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    status = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}).returncode
    if status and not (may_fail and status == 1):
        sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scifact", type=Path, metavar="DIR", help="BEIR folder (through MTEB)")
    parser.add_argument("--mlquestions", type=Path, metavar="DIR", help="BEIR folder (through MTEB)")
    parser.add_argument("--frontier", type=Path, nargs="+", default=[], metavar="DIR", help="BEIR folders (SciFact)")
    parser.add_argument("--learned", type=Path, nargs="+", default=[], metavar="DIR", help="BEIR folders (none)")
    parser.add_argument("--learned-large", type=Path, metavar="DIR", help="100,000 documents or more (none)")
    names = [study.name for study in STUDIES]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="STUDY", help=", ".join(names))
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    options = parser.parse_args(arguments)
    inputs = Inputs(
        scifact=options.scifact,
        mlquestions=options.mlquestions,
        frontier=tuple(options.frontier),
        learned=tuple(options.learned),
        learned_large=options.learned_large,
    )
    studies = [study for study in STUDIES if study.name in options.only]
    for study in studies:
        for sweep in sweeps(study, inputs):
            call(("-m", "harness.cli", "sweep", *sweep), options.dry_run, study.may_fail)
    for study in studies:
        if study.report:
            folders = ("--results", f"{RECORDS}/{study.name}", "--out", f"{TABLES_FOLDER}/{study.name}")
            call(("-m", "harness.cli", "report", "--no-site", *folders), options.dry_run)
            if not options.dry_run:
                prune(study)
    for table in TABLES:
        command = written_by(table, inputs, studies)
        if command is not None:
            call(command, options.dry_run)


if __name__ == "__main__":
    main()
