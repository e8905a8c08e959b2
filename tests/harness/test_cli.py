"""The command as a user meets it."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness import cli
from harness.cli import COMMANDS, Command, main, markdown_commands, usage
from harness.runs.catalogue import members
from harness.runs.frame import load_runs
from harness.runs.hydra_command import with_mode, with_swept_parameters
from harness.runs.store import Store
from tests.conftest import Vecbudget


@pytest.fixture
def setting(small_collection: Path, tmp_path: Path) -> list[str]:
    return [
        "dataset=folder",
        f"dataset.path={small_collection}",
        "model=vectors",
        f"model.path={small_collection / 'vectors.safetensors'}",
        f"cache_dir={tmp_path / 'cache'}",
    ]


def only_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "vecbudget run method=int8" in capsys.readouterr().out
    assert main([]) == 2


def test_an_unknown_command_suggests_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reprot"]) == 2
    assert only_line(capsys.readouterr().err) == (
        "vecbudget: there is no command 'reprot'; did you mean 'report' or 'export'? "
        f"'vecbudget --help' shows all {len(COMMANDS)}"
    )


def test_the_table_is_all_there_is_of_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new command is one entry: what shows commands, what runs them and the documentation read the same table."""
    given: list[list[str]] = []

    def noted(arguments: list[str]) -> int:
        given.append(arguments)
        return 7

    new = Command("weigh", "A [B]", "say what a document weighs", noted)
    assert "weigh" not in usage() + markdown_commands()
    monkeypatch.setattr(cli, "COMMANDS", (*COMMANDS, new))
    assert main(["weigh", "one", "--two"]) == 7 and given == [["one", "--two"]]
    assert main(["wiegh"]) == 2 and "did you mean 'weigh'?" in capsys.readouterr().err
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in (*COMMANDS, new):
        call = f"{command.name} {command.arguments}".strip()
        assert f"\n  {call} " in shown and f"| `vecbudget {call}` | {command.about} |\n" in markdown_commands()
        assert f" {command.about}\n" in shown and "\n" not in command.about
    named = re.findall(r"^  ([a-z][\w-]*) ", shown.partition("Examples:")[0], re.MULTILINE)
    assert named == [command.name for command in (*COMMANDS, new)]
    assert len(set(named)) == len(named)


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main([command, "--help"])
    except SystemExit as end:  # argparse's way
        status = int(end.code or 0)
    assert status == 0 and "vecbudget" in capsys.readouterr().out


def test_a_typo_in_a_method_gets_three_names_and_the_place_of_the_list(
    setting: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *setting, "method=transform_codin"]) == 1
    line = only_line(capsys.readouterr().err)
    near = re.findall(r"'(\w+)'", line.partition("did you mean")[2].partition("?")[0])
    assert near[0] == "transform_coding" and len(near) == 3 and set(near) <= set(members("method"))
    assert line.endswith(f"? 'vecbudget list methods' shows all {len(members('method'))}")


@pytest.mark.parametrize("what, group", [("datasets", "dataset"), ("models", "model")])
def test_list_names_every_member(what: str, group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{name} " in out for name in members(group))


def test_a_method_is_listed_once_presets_apart(capsys: pytest.CaptureFixture[str]) -> None:
    listed = {}
    for what in ("methods", "databases"):
        assert main(["list", what]) == 0
        out = capsys.readouterr().out
        listed[what] = {name for name in members("method") if f"\n{name} " in out}
        assert what == "databases" or "vecbudget list databases" in out
    assert listed["methods"] | listed["databases"] == set(members("method"))
    assert not listed["methods"] & listed["databases"]
    assert {"pq", "int8"} <= listed["methods"] and "qdrant_int8" in listed["databases"]


def test_help_and_list_import_nothing_heavy() -> None:
    script = (
        "import sys; from harness.cli import main; main(['list', 'methods']); "
        "assert not {'torch', 'pandas', 'faiss', 'mteb', 'hydra'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "overrides, expected",
    [
        (["method=int88"], "there is no method 'int88'; did you mean 'int8', "),
        (
            ["experiment=quik"],
            "there is no experiment 'quik'; did you mean 'quick'? 'vecbudget list experiments' shows ",
        ),
        (
            ["dataset@fit_dataset=foldr"],
            "there is no dataset 'foldr'; did you mean 'folder'? There are: folder, limit, mteb, ",
        ),
        (["method=jpq", "method.epoch=3"], "'vecbudget run method=jpq --cfg job' shows all "),
        (["method=int8", "method.bitts=4"], "method has no parameter 'bitts'; did you mean 'bits'? It has: bits, clip"),
        (["method=int8", "method.bits=four"], "method.bits must be int, got 'four'"),
        (["method=int8", "method.bits=9"], "method.bits must be 1 to 8, or 16, got 9"),
        (["seed=x"], "seed: Value 'x' of type 'str' could not be converted to Integer"),
        (["k=0"], "k must be at least 1, got 0"),
        (["sed=1"], "there is no option 'sed'; did you mean 'seed'? '--cfg job' shows all "),
    ],
)
def test_a_wrong_option_is_one_readable_line(
    vecbudget: Vecbudget, overrides: list[str], expected: str, setting: list[str], tmp_path: Path
) -> None:
    done = vecbudget("run", *setting, *overrides, cwd=tmp_path)
    assert done.returncode == 1
    assert expected in only_line(done.stderr)


def test_a_wrong_path_is_one_readable_line(vecbudget: Vecbudget, setting: list[str], tmp_path: Path) -> None:
    done = vecbudget("run", *setting, "dataset.path=nowhere", cwd=tmp_path)
    assert done.returncode == 1 and "nowhere" in only_line(done.stderr)


def test_a_missing_value_is_one_readable_line(vecbudget: Vecbudget, tmp_path: Path) -> None:
    done = vecbudget("run", "dataset=folder", cwd=tmp_path)
    assert done.returncode == 1
    assert only_line(done.stderr) == "vecbudget: dataset.path must be given, as in dataset.path=VALUE"


def test_a_typo_in_a_sweep_shows_before_anything_runs(vecbudget: Vecbudget, setting: list[str], tmp_path: Path) -> None:
    done = vecbudget("sweep", *setting, "method=int8,typo", cwd=tmp_path)
    assert done.returncode == 1 and "there is no method 'typo'" in only_line(done.stderr)
    assert len(load_runs(tmp_path / "results")) == 0


def test_sweep_then_report(vecbudget: Vecbudget, setting: list[str], tmp_path: Path) -> None:
    vecbudget("sweep", *setting, "method=float32,int8,random_projection", "method.scoring=asymmetric", cwd=tmp_path)
    vecbudget("sweep", *setting, "method=float32,int8,int4", cwd=tmp_path, check=True)
    assert set(load_runs(tmp_path / "results")["method"]) >= {"float32", "int8", "int4"}
    again = vecbudget("sweep", *setting, "method=float32,int8,int4", cwd=tmp_path, check=True)
    assert again.stderr.count("recorded already") == 3
    done = vecbudget("report", cwd=tmp_path, check=True)
    written = [tmp_path / line for line in done.stdout.splitlines()]
    assert {path.suffix for path in written} >= {".md", ".csv", ".png", ".svg"} and all(p.is_file() for p in written)


def test_a_parameter_of_all_swept_methods_is_given_once(
    vecbudget: Vecbudget, setting: list[str], tmp_path: Path
) -> None:
    vecbudget("sweep", *setting, "method=svd,truncate", "method.dim=8", cwd=tmp_path, check=True)
    frame = load_runs(tmp_path / "results")
    assert set(zip(frame["method"], frame["params"], strict=True)) == {("svd", "dim=8"), ("truncate", "dim=8")}
    wrong = vecbudget("sweep", *setting, "method=svd,truncate", "method.dims=8", cwd=tmp_path)
    assert wrong.returncode == 1 and "did you mean 'dim'" in only_line(wrong.stderr)


def test_parameters_of_a_swept_group_are_marked() -> None:
    given = [
        "--config-dir",
        "x=y",
        "method=pq,opq",
        "method.m=24",
        "+method.new=1",
        "model=minilm",
        "model.a=b",
        "seed=0,1",
    ]
    marked = [*given]
    marked[3] = "method.m=choice(24)"
    assert with_swept_parameters(given) == marked
    assert with_swept_parameters(["method=pq", "method.m=24,12"]) == ["method=pq", "method.m=24,12"]
    assert with_swept_parameters(["method=pq,", "method.m=24,12"]) == ["method=pq,", "method.m=24,12"]
    # for every command that sweeps, and only for these
    two = ["model=minilm,vectors", "model.batch=8"]
    assert with_mode(two, "MULTIRUN") == ["hydra.mode=MULTIRUN", two[0], "model.batch=choice(8)"]
    assert with_mode(two, "RUN") == ["hydra.mode=RUN", *two]


def test_a_failing_run_leaves_the_others_and_exits_1(vecbudget: Vecbudget, setting: list[str], tmp_path: Path) -> None:
    done = vecbudget("sweep", *setting, "method=svd", "method.dim=8,64,16", cwd=tmp_path)
    assert done.returncode == 1 and "dim=64 is wider" in done.stderr
    frame = load_runs(tmp_path / "results").set_index("params")
    assert frame["status"].to_dict() == {"dim=8": "ok", "dim=64": "failed", "dim=16": "ok"}


def test_report_without_records_says_what_to_do(vecbudget: Vecbudget, tmp_path: Path) -> None:
    done = vecbudget("report", cwd=tmp_path)
    assert done.returncode == 1 and "vecbudget" in only_line(done.stderr)


def test_an_experiment_lists_its_runs_and_the_command_line_wins(
    vecbudget: Vecbudget, setting: list[str], tmp_path: Path
) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "three.yaml").write_text(
        "# @package _global_\nhydra:\n  sweeper:\n    runs:\n"
        "      - method=int8\n      - method=svd method.dim=4,8\n      - method=random_projection method.dim=8\n"
    )
    arguments = ["--config-dir", str(tmp_path / "mine"), *setting, "experiment=three", "seed=0,1"]
    vecbudget("sweep", *arguments, cwd=tmp_path, check=True)
    frame = load_runs(tmp_path / "results")
    assert sorted(frame["method"] + " " + frame["params"]) == [
        "int8 ",
        "random_projection dim=8",
        "random_projection dim=8",
        "svd dim=4",
        "svd dim=8",
    ]
    vecbudget("sweep", *arguments, "method=binary", "results_dir=other", cwd=tmp_path, check=True)
    assert load_runs(tmp_path / "other")["method"].tolist() == ["binary"]


def test_an_interrupted_sweep_finishes_on_the_second_try(
    vecbudget: Vecbudget, setting: list[str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "harness.cli", "sweep", *setting, "method=random_projection"]
    command += ["method.dim=8", "seed=range(300)"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    runs = tmp_path / "results" / "runs"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not runs.is_dir() or len(list(runs.glob("[!.]*/run.json"))) < 2):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command does the rest" in stderr
    finished = len(load_runs(tmp_path / "results"))
    assert 2 <= finished < 300
    assert not list(runs.glob(".*")), "no draft is left"
    few = [part.replace("range(300)", f"range({finished + 2})") for part in command[3:]]
    done = vecbudget(*few, cwd=tmp_path, check=True)
    assert done.stderr.count("recorded already") == finished
    assert len(load_runs(tmp_path / "results")) == finished + 2


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_a_results_folder_that_cannot_be_written_is_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main([command, "method=float32", f"results_dir={tmp_path / 'file' / 'results'}"]) == 1
    message = capsys.readouterr().err
    assert "cannot be written (Not a directory); choose another folder: results_dir=DIR" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("name", ["a=b", "it's (1) [x] {y}", 'é#~&;!^<"', "a,b"])
def test_paths_of_any_name_are_measured_and_their_commands_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((50, 8)).astype(np.float32)
    (tmp_path / name).mkdir()
    np.save(tmp_path / name / "docs.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    monkeypatch.chdir(tmp_path)
    files = ["dataset=vectors", f"dataset.docs={name}/docs.npy", "dataset.held_out=5", "results_dir=results"]
    assert main(["run", *files, "method=int8"]) == 0
    (record,) = Store(tmp_path / "results").records()
    program, command, *overrides = shlex.split(record.command)
    assert (program, command) == ("vecbudget", "run")
    assert main([command, *overrides]) == 0
    assert len(list(Store(tmp_path / "results").records())) == 1, "the command is that of the record"
    capsys.readouterr()
    assert main(["recommend", "--results", "results", "--max-bytes", "9"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("reproduce"))
    printed = shlex.split(line.partition("vecbudget run ")[2])
    shutil.rmtree(tmp_path / "results")
    assert main(["run", *printed, "results_dir=again"]) == 0
