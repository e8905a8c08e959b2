"""Sweeps whose runs are other processes' work."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.runs.store import PER_QUERY, RANKING, Store
from hydra_plugins.vecbudget_launchers import THREADS, capped, cores, workers
from tests.conftest import Vecbudget, clustered_vectors

PROBE = '''
"""float32 that notes in which process it is fitted, on what, and with how many threads; or does something else."""
import json, os, signal, time
from dataclasses import dataclass
from pathlib import Path
from threadpoolctl import threadpool_info
from harness.base.memmap import mapping_of
from methods.base import MethodError
from methods.scalar.cast import Cast

@dataclass(kw_only=True, eq=False)
class Probe(Cast):
    number: int = 0
    does: str = "note"

    def fit(self, docs, queries=None):
        if self.does in ("note", "fail"):
            time.sleep(0.5)
        if self.does == "fail" and self.number == 1:
            raise MethodError("number 1 fails")
        if self.does == "die" and self.number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.does == "wait" and self.number > 1:
            time.sleep(60)
        import faiss
        notes = {
            "process": os.getpid(),
            "mapped": mapping_of(docs) is not None,
            "threads": max(pool["num_threads"] for pool in threadpool_info()),
            "variables": [os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"]],
        }
        Path(os.environ["PROBE_NOTES"], str(self.number)).write_text(json.dumps(notes))
        return super().fit(docs, queries)
'''

SLURM = """#!{python}
'''What submitit needs of Slurm, on this machine: sbatch starts an array's jobs, srun one's task.'''
import os, re, subprocess, sys
from pathlib import Path

here = Path(__file__).parent
name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
if name == "sbatch":
    script = Path(arguments[-1]).read_text()
    array = re.search(r"--array=0-([0-9]+)", script)
    (here / "submitted.sh").write_text(script)
    for task in range(int(array[1]) + 1):
        job = {{"SLURM_JOB_ID": f"9{{task}}", "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": str(task)}}
        job |= {{"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}}
        job |= {{"SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "here"}}
        quiet = subprocess.DEVNULL
        subprocess.Popen(["bash", arguments[-1]], env=os.environ | job, stdout=quiet, stderr=quiet)
    print("Submitted batch job 77")
elif name == "srun":
    files = {{}}
    while arguments[0].startswith("-"):
        option = arguments.pop(0)
        if option in ("--output", "--error"):
            path = arguments.pop(0).replace("%A", "77").replace("%a", os.environ["SLURM_ARRAY_TASK_ID"])
            files[option] = open(path.replace("%t", "0"), "w")
    sys.exit(subprocess.run(arguments, stdout=files["--output"], stderr=files["--error"]).returncode)
elif name == "sacct":
    print("JobID|State|NodeList")
    print("".join(f"77_{{task}}|RUNNING|here\\n" for task in range(2)))
"""

PROBED = ["method=float32", "++method._target_=vecbudget_probe.Probe", "++method.number=0,1,2,3"]


def needs(launcher: str, package: str, *marks: pytest.MarkDecorator) -> Any:
    absent = importlib.util.find_spec(package) is None
    return pytest.param(launcher, marks=[*marks, pytest.mark.skipif(absent, reason=f"{package} is not installed")])


LAUNCHERS = [
    needs("joblib", "hydra_plugins.hydra_joblib_launcher"),
    needs("submitit_local", "submitit"),
    needs("ray", "ray", pytest.mark.slow),
]

ONE_LAUNCHER = [LAUNCHERS[0], needs("submitit_local", "submitit", pytest.mark.slow), LAUNCHERS[2]]
"""For what takes long with each of them: the others when slow tests are asked for."""


def prepared(folder: Path) -> list[str]:
    """Put what sweeps need into a folder, in which they are to run; return what says so."""
    (folder / "vecbudget_probe.py").write_text(PROBE)
    (folder / "notes").mkdir()
    np.save(folder / "docs.npy", clustered_vectors(1000, 384, seed=3))
    np.save(folder / "queries.npy", clustered_vectors(40, 384, seed=4))
    return ["dataset=vectors", "dataset.docs=docs.npy", "dataset.queries=queries.npy", "k=20"]


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    return prepared(tmp_path)


def environment(folder: Path) -> dict[str, str]:
    free = {name: value for name, value in os.environ.items() if name not in THREADS}
    return free | {"PYTHONPATH": str(folder), "PROBE_NOTES": str(folder / "notes"), "VECBUDGET_CACHE": str(folder)}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness.cli", "sweep", *arguments]


def sweep(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=cwd, env=environment(cwd) | variables, capture_output=True, text=True, timeout=120
    )


def contents(results: Path) -> dict[str, tuple[object, ...]]:
    """Return what is to be the same of each run, however it was launched."""
    store = Store(results)
    return {
        record.run_id: (
            *(getattr(record, key) for key in ("status", "command", "metrics", "storage", "float32", "limits")),
            (store.path(record.run_id) / PER_QUERY).read_bytes(),
            (store.path(record.run_id) / RANKING).read_bytes(),
        )
        for record in store.records()
    }


def without_results(records: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Leave out the command, which names the results folder."""
    return {run_id: (entry[0], *entry[2:]) for run_id, entry in records.items()}


def launched(launcher: str) -> list[str]:
    return [f"hydra/launcher={launcher}", "hydra.launcher.n_jobs=2"]


SIX = ["method=int8,svd,random_projection,pq", "seed=0,1"]
"""A sweep of six runs: int8 and svd draw no random numbers."""

ONE = dict.fromkeys(THREADS, "1")


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[object, ...]]:
    """What a sweep without a launcher records."""
    folder = tmp_path_factory.mktemp("serial")
    done = sweep(*prepared(folder), *SIX, "results_dir=serial", cwd=folder, **ONE)
    assert done.returncode == 0, done.stderr
    found = without_results(contents(folder / "serial"))
    assert len(found) == 6
    return found


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_records_are_those_of_a_serial_sweep(
    launcher: str, arguments: list[str], tmp_path: Path, serial: dict[str, tuple[object, ...]], vecbudget: Vecbudget
) -> None:
    arguments += [*SIX, "results_dir=parallel"]
    parallel = sweep(*arguments, *launched(launcher), cwd=tmp_path, **ONE)
    assert parallel.returncode == 0, parallel.stderr
    assert without_results(contents(tmp_path / "parallel")) == serial
    assert parallel.stderr.count("B/vector") == 6, "each run says what it found"
    again = vecbudget("sweep", *arguments, cwd=tmp_path)
    assert again.returncode == 0 and again.stderr.count("recorded already") == 6


@pytest.mark.parametrize("launcher", ONE_LAUNCHER)
def test_workers_share_mapped_vectors_cap_their_threads_and_outlive_a_failing_run(
    launcher: str, arguments: list[str], tmp_path: Path
) -> None:
    done = sweep(*arguments, *PROBED, "++method.does=fail", *launched(launcher), cwd=tmp_path)
    assert done.returncode == 1
    assert "number 1 fails" in done.stderr
    assert "vecbudget: 1 of 4 runs failed; the others are kept" in done.stderr
    statuses = [record.status for record in Store(tmp_path / "results").records()]
    assert sorted(statuses) == ["failed", "ok", "ok", "ok"]
    notes = [json.loads(path.read_text()) for path in (tmp_path / "notes").iterdir()]
    assert len(notes) == 3
    assert len({note["process"] for note in notes}) == 2
    assert all(note["mapped"] for note in notes)
    most = max(1, cores() // 2)
    assert {note["threads"] for note in notes} == {most}
    assert all(note["variables"] == [str(most)] * 2 for note in notes)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_worker_that_is_killed_ends_nothing_but_its_run(launcher: str, arguments: list[str], tmp_path: Path) -> None:
    done = sweep(*arguments, *PROBED, "++method.does=die", *launched(launcher), cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    records = contents(tmp_path / "results")
    assert all(entry[0] == "ok" for entry in records.values())
    if launcher == "joblib":
        # its pool breaks, and the run beside the killed one with it
        assert last.startswith("vecbudget: a worker was killed") and 2 <= len(records) <= 3
    else:
        assert "method.number=3 ++method.does=die: its worker ended before it did" in done.stderr
        assert last.startswith("vecbudget: 1 of 4 runs failed; the others are kept") and len(records) == 3


@pytest.mark.parametrize("launcher", ONE_LAUNCHER)
def test_an_interrupted_sweep_leaves_nothing_half_written(launcher: str, arguments: list[str], tmp_path: Path) -> None:
    waiting = [*arguments, *PROBED, "++method.does=wait", *launched(launcher)]
    process = subprocess.Popen(
        command(*waiting), cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE, text=True
    )
    runs = tmp_path / "results" / "runs"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (len(list(runs.glob("[!.]*/run.json"))) == 2 and list(runs.glob(".*"))):
        time.sleep(0.05)
    owners = {int(draft.name.split("@")[2]) for draft in runs.glob(".*")}
    assert owners
    started = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert time.monotonic() - started < 30, "nobody waits for the runs"
    assert "interrupted; what is finished is kept" in stderr and "Traceback" not in stderr
    assert len(list(runs.iterdir())) == 2, "two records, no draft"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(Path(f"/proc/{owner}").exists() for owner in owners):
        time.sleep(0.1)
    assert not [owner for owner in owners if Path(f"/proc/{owner}").exists()], "no worker is left"


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="submitit is not installed")
def test_slurm_gets_a_job_array_with_the_parameters_asked_for(arguments: list[str], tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel"):
        (programs / name).write_text(SLURM.format(python=sys.executable))
        (programs / name).chmod(0o755)
    asked = ["hydra.launcher.parameters.slurm_partition=long", "hydra.launcher.parameters.cpus_per_task=1"]
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = sweep(*arguments, *PROBED, *launched("submitit_slurm"), *asked, cwd=tmp_path, PATH=path)
    assert done.returncode == 0, done.stderr
    script = (programs / "submitted.sh").read_text()
    for flag in ("--partition=long", "--cpus-per-task=1", "--array=0-1", "--mem=16GB", "--time=240"):
        assert flag in script
    assert "--account" not in script, "what is not given is the cluster's choice"
    assert len(contents(tmp_path / "results")) == 4
    notes = [json.loads(path.read_text()) for path in (tmp_path / "notes").iterdir()]
    assert len({note["process"] for note in notes}) == 2
    assert {note["threads"] for note in notes} == {1}


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="submitit is not installed")
def test_a_machine_without_slurm_is_one_readable_line(
    arguments: list[str], tmp_path: Path, vecbudget: Vecbudget
) -> None:
    if shutil.which("sbatch"):
        pytest.skip("this machine has Slurm")
    done = vecbudget("sweep", *arguments, "method=int8", "hydra/launcher=submitit_slurm", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("vecbudget: hydra/launcher=submitit_slurm: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_threads_are_capped_for_what_is_started_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "64")
    with capped(4):
        assert os.environ["OMP_NUM_THREADS"] == "1", "a lower cap of the user's stays"
        assert os.environ["MKL_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "4"
    assert os.environ["MKL_NUM_THREADS"] == "64"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_a_number_of_workers() -> None:
    assert workers(3) == 3
    assert workers(-1) == cores() >= 1


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_a_wrong_number_of_workers_is_one_readable_line(
    launcher: str, arguments: list[str], tmp_path: Path, vecbudget: Vecbudget
) -> None:
    launching = [f"hydra/launcher={launcher}", "hydra.launcher.n_jobs=0"]
    done = vecbudget("sweep", *arguments, "method=int8", *launching, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip() == "vecbudget: hydra.launcher.n_jobs must be at least 1, or -1 for all cores, got 0"


@pytest.mark.parametrize(
    "launcher, module, package, extra",
    [
        ("joblib", "joblib", "hydra-joblib-launcher", "joblib"),
        ("submitit_slurm", "submitit", "submitit", "slurm"),
        ("ray", "ray", "ray", "ray"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    launcher: str,
    module: str,
    package: str,
    extra: str,
    arguments: list[str],
    tmp_path: Path,
    vecbudget: Vecbudget,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocked = "hydra_plugins.hydra_joblib_launcher.joblib_launcher" if module == "joblib" else module
    monkeypatch.setitem(sys.modules, blocked, None)
    done = vecbudget("sweep", *arguments, "method=int8", f"hydra/launcher={launcher}", cwd=tmp_path)
    assert done.returncode == 1
    assert f"needs the package '{package}': pip install 'vecbudget[{extra}]'" in done.stderr
