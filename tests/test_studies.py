"""What regenerates results/reference/ asks for: the dry run of scripts/studies/reproduce.py."""

import shlex
from pathlib import Path

import pytest

from harness.runs.catalogue import members
from scripts.studies import reproduce
from tests.conftest import ROOT


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[list[str]]:
    """The commands of a dry run, without the interpreter."""
    reproduce.main([*arguments, "--dry-run"])
    commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert all(command[0] == "python" for command in commands)
    return [command[1:] for command in commands]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "own"
    (made / "qrels").mkdir(parents=True)
    (made / "corpus.jsonl").write_text("{}\n" * 7)
    return made


def test_without_folders_collections_come_through_mteb(capsys: pytest.CaptureFixture[str]) -> None:
    commands = printed(capsys)
    sweeps = [command[3:] for command in commands if command[:3] == ["-m", "harness.cli", "sweep"]]
    records = "results_dir=results/reference-runs"
    mteb = ["dataset=mteb", "dataset.name=SciFact"]
    assert sweeps[0] == ["experiment=quick", f"{records}/quick"]
    assert sweeps[1] == ["experiment=scifact_zoo", *mteb, f"{records}/scifact_zoo"]
    elsewhere = ["dataset@fit_dataset=mteb", "fit_dataset.name=MLQuestions"]
    assert [
        "experiment=paper_2505_00105",
        *mteb,
        *elsewhere,
        f"{records}/paper_2505_00105_elsewhere",
    ] in sweeps
    assert ["experiment=frontier_half", "fit_sample=1704", f"{records}/frontier_half/stdlib"] in sweeps
    assert ["experiment=frontier_half", *mteb, "fit_sample=2591", f"{records}/frontier_half/scifact"] in sweeps
    assert len(sweeps) == 5 + 3 + 3 + 4
    assert not any("learned" in " ".join(command) or "store_recall" in " ".join(command) for command in commands)
    reports = [command for command in commands if command[2:3] == ["report"]]
    assert len(reports) == 7 and ["--results", "results/reference-runs/full"] in [command[4:6] for command in reports]


def test_folders_are_taken_where_they_are_given(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["dataset=folder", f"dataset.path={folder}"]
    learned = ["--learned", str(folder), "--learned-large", str(folder)]
    commands = printed(capsys, "--scifact", str(folder), "--frontier", str(folder), *learned)
    records = "results_dir=results/reference-runs"
    sweep = ["-m", "harness.cli", "sweep"]
    # half of seven documents
    half = [*sweep, "experiment=frontier_half", *given, "dataset.name=own", "fit_sample=3"]
    assert [*half, f"{records}/frontier_half/own"] in commands
    assert [*sweep, "experiment=full", *given, "dataset.name=scifact", f"{records}/full"] in commands
    assert [*sweep, "experiment=learned", *given, f"{records}/learned"] in commands
    assert [*sweep, "experiment=learned_large", *given, f"{records}/learned_large"] in commands
    table = ["scripts/studies/learned_table.py", "--runs", "results/reference-runs/learned"]
    out = ["--out", "results/reference/learned/learned.md"]
    assert [*table, *out] in commands
    assert any(command[:3] == ["scripts/studies/store_recall.py", "--scifact", str(folder)] for command in commands)
    # titles teach where train queries could
    (folder / "qrels" / "train.tsv").write_text("")
    commands = printed(capsys, *learned)
    assert [*sweep, "experiment=learned_titles", *given, f"{records}/learned_titles"] in commands
    assert [*table, "--titles", "results/reference-runs/learned_titles", *out] in commands


def test_one_study_with_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--only", "quick") == [
        ["-m", "harness.cli", "sweep", "experiment=quick", "results_dir=results/reference-runs/quick"],
        [
            *("-m", "harness.cli", "report", "--no-site"),
            *("--results", "results/reference-runs/quick", "--out", "results/reference/quick"),
        ],
        ["scripts/studies/write_readme.py"],
    ]


def test_every_experiment_script_and_input_exists() -> None:
    known = reproduce.Inputs().collections()
    names = {study.name for study in reproduce.STUDIES}
    for study in reproduce.STUDIES:
        assert study.experiment in members("experiment") and set(study.collections) <= set(known)
    for table in reproduce.TABLES:
        assert (ROOT / "scripts" / "studies" / f"{table.script}.py").is_file()
        assert {source for _, source in table.reads} <= names | {"records", "scifact"}
        assert set(table.studies) <= names


def test_a_report_keeps_what_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    studies = {study.name: study for study in reproduce.STUDIES}
    files = ["databases.md", "databases--x.svg", "summary.md", "runs.csv", "scores.parquet", "recall.md"]
    files += ["tables/a.csv", "tables/a.parquet"]
    for name in ("databases", "quick", "full"):
        report = tmp_path / reproduce.TABLES_FOLDER / name
        (report / "tables").mkdir(parents=True)
        for file in files:
            (report / file).write_text("")
        reproduce.prune(studies[name])
        left = {str(path.relative_to(report)) for path in report.rglob("*") if path.is_file()}
        kept = {"databases.md", "runs.csv", "recall.md"}
        if name != "databases":
            kept |= {"summary.md", "tables/a.csv"}
        assert left == kept | ({"scores.parquet"} if name == "quick" else set())


def test_a_command_that_fails_ends_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # some methods of the frontier's cannot be fitted on a small collection: 1 is expected of it, and nothing else
    failing = ("-c", "raise SystemExit(1)")
    reproduce.call(failing, dry_run=False, may_fail=True)
    with pytest.raises(SystemExit):
        reproduce.call(failing, dry_run=False)
    with pytest.raises(SystemExit):
        reproduce.call(("-c", "raise SystemExit(130)"), dry_run=False, may_fail=True)
    assert capsys.readouterr().out.count("raise SystemExit") == 3
