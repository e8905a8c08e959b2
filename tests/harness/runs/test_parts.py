"""Runs whose documents are encoded and searched in parts: the record is that of one process."""

import dataclasses
import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from harness.base.errors import StoreError
from harness.base.memmap import FilePlace
from harness.cli import main
from harness.evaluation.part_files import PART, RANKING, PartsFolder, Plan, boundaries, work
from harness.runs import parts
from harness.runs.config import MethodSpec
from harness.runs.run import run
from harness.runs.store import Store
from tests.conftest import Vecbudget, clustered_vectors, method_node

TIMES_AND_MACHINE = ("created", "git_commit", "seconds", "peak_memory_bytes", "machine")

COMPARED_APART = ("files", "checksum", "config", "command")

N = 601


def needs(launcher: str, module: str, *marks: pytest.MarkDecorator) -> Any:
    missing = pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")
    return pytest.param(launcher, marks=[missing, *marks])


LAUNCHERS = [
    needs("joblib", "hydra_plugins.hydra_joblib_launcher"),
    needs("submitit_local", "submitit"),
    needs("ray", "ray", pytest.mark.slow),
]

ONE_LAUNCHER = [LAUNCHERS[0], needs("submitit_local", "submitit", pytest.mark.slow), LAUNCHERS[2]]
"""For what takes long with each of them: the others when slow tests are asked for."""


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of which sixty are equal, on both sides of every border; the queries find them at the cut of k."""
    folder = tmp_path_factory.mktemp("vectors")
    docs, queries = clustered_vectors(N, 16, seed=3), clustered_vectors(12, 16, seed=4)
    docs[np.arange(60) * 10] = docs[0]
    for of in (3, 7):
        for start, stop in boundaries(N, of):
            docs[[start, stop - 1]] = docs[0]
    queries[:4] = docs[0]
    np.save(folder / "docs.npy", docs)
    np.save(folder / "queries.npy", queries)
    ids = [f"d{number:03d}" for number in np.random.default_rng(5).permutation(N)]
    (folder / "docs.txt").write_text("\n".join(ids))
    (folder / "queries.txt").write_text("\n".join(ids[: len(queries)]))
    return folder


def with_ids(vectors: Path) -> list[str]:
    """Say that documents have ids, which are not in their order, and that a query is not to find its own."""
    files = [f"dataset.doc_ids={vectors / 'docs.txt'}", f"dataset.query_ids={vectors / 'queries.txt'}"]
    return [*files, "dataset.skip_identical_ids=true"]


def given(vectors: Path) -> list[str]:
    return ["dataset=vectors", f"dataset.docs={vectors / 'docs.npy'}", f"dataset.queries={vectors / 'queries.npy'}"]


def configuration(vectors: Path, folder: Path, *overrides: str) -> DictConfig:
    where = [f"results_dir={folder}", f"cache_dir={folder / 'cache'}", "k=20"]
    with initialize_config_module("configs", version_base="1.3"):
        return compose("config", overrides=[*given(vectors), *where, *overrides])


def content(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What is to be the same of the only record in a folder: all but times and the machine, and every file's bytes."""
    (record,) = Store(folder).records()
    fields = {
        key: value
        for key, value in dataclasses.asdict(record).items()
        if key not in (*TIMES_AND_MACHINE, *COMPARED_APART)
    }
    settings = {key: value for key, value in record.config.items() if key not in ("results_dir", "cache_dir")}
    path = Store(folder).path(record.run_id)
    files = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    files.pop("run.json")
    return fields | {"config": settings}, files


METHODS = {
    "no state": ["method=int8_absmax"],
    "fitted": ["method=pq", "method.m=4", "method.bits=4"],
    "seeded": ["method=rabitq"],
    "two tiers": ["method=rescore_binary_int8"],
    "two tiers and a bound": ["method=vectorchord_rabitq1"],
}


@pytest.mark.parametrize("kind", METHODS)
def test_the_record_is_that_of_one_process(
    kind: str, vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["keep_index=true", "fit_sample=500", *METHODS[kind]]
    if kind == "fitted":
        settings += with_ids(vectors)
    name = METHODS[kind][0].partition("=")[2]
    run(configuration(vectors, tmp_path / "1", *settings), name, settings)
    expected, merged = content(tmp_path / "1"), PartsFolder.ranking
    plans: list[Plan] = []
    monkeypatch.setattr(PartsFolder, "ranking", lambda self, plan: (plans.append(plan), merged(self, plan))[1])
    for of in (3, 7):
        folder = tmp_path / str(of)
        plans.clear()
        run(configuration(vectors, folder, *settings, f"parts={of}"), name, [*settings, f"parts={of}"])
        assert content(folder) == expected
        # of two tiers, what is read again is listed by parts, and is longer than the ranking and the query itself
        depths = [plan.depth for plan in plans if plan.method is not None]
        assert len(depths) == 1 and (depths[0] > 21) == kind.startswith("two tiers")
        assert "parts" not in next(Store(folder).records()).command, "it says nothing of what came out"
        assert not [path for path in (folder / "cache" / "parts").iterdir() if path.is_dir()], "nothing is left over"


def test_what_is_encoded_together_is_not_dealt_out(
    vectors: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ["method=int8_absmax", "index=ivf", "index.lists=4", "index.nprobe=2", "measure.efforts=[]"]
    run(configuration(vectors, tmp_path / "1", *settings), "int8_absmax", settings)
    with caplog.at_level(logging.INFO):
        run(configuration(vectors, tmp_path / "3", *settings, "parts=3"), "int8_absmax", settings)
    assert "parts=3: this process does all of it, since it encodes all documents together" in caplog.text
    assert content(tmp_path / "3") == content(tmp_path / "1")


def planned(folder: Path, n: int, of: int, name: str = "int8_absmax") -> tuple[PartsFolder, Plan]:
    """A folder with a plan for n documents, of which the first and the last are equal."""
    docs, queries = clustered_vectors(n, 8, seed=3), clustered_vectors(4, 8, seed=4)
    docs[-1] = docs[0]
    spec, parted = MethodSpec(method_node(name)), PartsFolder(folder / "parts" / "key")
    codec = spec.make().fit(docs)
    plan = Plan(parted.place_of(docs), of, depth=n, chunk_rows=None, method=spec.settings)
    return parted, parted.write_plan(plan, queries, codec)


@pytest.mark.parametrize("n, of", [(1, 1), (5, 3), (6, 3), (4, 9), (1, 2)])
def test_parts_are_all_rows_once_and_no_longer_than_each_other_by_more_than_one(n: int, of: int) -> None:
    found = boundaries(n, of)
    assert [row for start, stop in found for row in range(start, stop)] == list(range(n))
    lengths = [stop - start for start, stop in found]
    assert len(lengths) == of and max(lengths) - min(lengths) <= 1


def test_more_parts_than_documents_leave_the_last_ones_empty(tmp_path: Path) -> None:
    few, plan = planned(tmp_path / "few", 4, 9)
    assert [number for number in range(1, 10) if plan.rows(number)[0] == plan.rows(number)[1]] == [5, 6, 7, 8, 9]
    assert len(parts.finish(few, plan)) == 4
    one, whole = planned(tmp_path / "one", 4, 1)
    parts.finish(one, whole)
    for mine, other in zip(few.ranking(plan), one.ranking(whole), strict=True):
        assert np.array_equal(mine, other)
    rows = few.ranking(plan)[1]
    assert rows.shape == (4, 4) and (np.argsort(rows == 0, axis=1)[:, -1] + 1 == np.argsort(rows == 3)[:, -1]).all()


@pytest.mark.parametrize("damage", ["cut off", "changed", "missing", "no list"])
def test_a_damaged_part_is_named_and_made_again_alone(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, plan = planned(tmp_path, 40, 4)
    parts.finish(folder, plan)
    before = folder.ranking(plan)
    path = folder.part(3) / ("part.json" if damage == "no list" else RANKING)
    octets = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(octets[:-3] if damage in ("cut off", "no list") else octets[:-3] + b"abc")
    made: list[int] = []
    write_part = PartsFolder.write_part
    monkeypatch.setattr(PartsFolder, "write_part", lambda *a: (made.append(a[2]), write_part(*a))[1])
    with caplog.at_level(logging.WARNING):
        parts.finish(folder, plan)
    assert made == [3] and f"part 3 of 4: {path}" in caplog.text
    for mine, other in zip(folder.ranking(plan), before, strict=True):
        assert np.array_equal(mine, other)


def test_an_interrupted_part_leaves_nothing_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, plan = planned(tmp_path, 40, 4)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (1, 2):
        work(folder, number, parts.instantiated)
    with monkeypatch.context() as patched:
        patched.setattr("harness.evaluation.part_files.scan", interrupted)
        with pytest.raises(KeyboardInterrupt):
            work(folder, 3, parts.instantiated)
    assert sorted(path.name for path in folder.path.iterdir() if path.is_dir()) == ["part-1", "part-2"]
    times = {number: (folder.part(number) / PART).stat().st_mtime_ns for number in (1, 2)}
    parts.finish(folder, plan)
    assert times == {number: (folder.part(number) / PART).stat().st_mtime_ns for number in (1, 2)}


def test_a_part_that_cannot_be_done_says_which_and_why(tmp_path: Path) -> None:
    folder, plan = planned(tmp_path, 40, 4)
    Path(plan.docs.file).write_bytes(b"shorter")
    with pytest.raises(StoreError, match=r"part 1 of 4: .*docs\.npy: its vectors cannot be read again"):
        parts.finish(folder, plan)


def test_damaged_plans_are_begun_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, plan = planned(tmp_path, 40, 4)
    docs = np.load(plan.docs.file, mmap_mode="r")
    assert parts._plan(folder, docs, None) == plan
    state = folder.path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert parts._plan(folder, docs, None) is None
    assert f"{state} differs from its checksum" in caplog.text and not folder.path.exists()


def test_documents_that_moved_meanwhile_are_found(tmp_path: Path) -> None:
    folder, plan = planned(tmp_path, 40, 4)
    work(folder, 1, parts.instantiated)
    moved = Path(plan.docs.file).rename(tmp_path / "moved.npy")
    again = parts._plan(folder, np.load(moved, mmap_mode="r"), 7)
    assert again is not None and (again.docs.file, again.chunk_rows) == (str(moved), 7)
    assert folder.read_plan() == again
    assert len(parts.finish(folder, again)) == 4


def test_a_mapped_array_is_found_again_by_another_process(tmp_path: Path) -> None:
    matrix = np.arange(60, dtype=np.float16).reshape(12, 5)
    np.save(tmp_path / "m.npy", matrix)
    mapped = np.load(tmp_path / "m.npy", mmap_mode="r")
    for view in (mapped, mapped[::-1], mapped[3:9][::-1], mapped[:, 2:4], mapped[2:3]):
        place = FilePlace.of(view)
        assert place is not None and np.array_equal(place.open(), view)
    assert FilePlace.of(matrix) is None and FilePlace.of(np.array(mapped)) is None


MORTAL = '''
"""int8 whose first worker is killed while it encodes; the process that deals the parts out is the test's child."""
import os, signal
from dataclasses import dataclass
from pathlib import Path
from methods.scalar.uniform import PerVector

@dataclass(kw_only=True, eq=False)
class Mortal(PerVector):
    def _encode(self, docs):
        died = Path(os.environ["DIED"])
        if str(os.getppid()) != os.environ["TEST"] and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._encode(docs)
'''


def command(vectors: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness.cli", "run", *given(vectors), "cache_dir=cache", "k=20", *arguments]


def environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return dict(os.environ) | {"PYTHONPATH": path, "DIED": str(folder / "died"), "TEST": str(os.getpid())}


def launched(launcher: str) -> list[str]:
    return ["parts=4", f"hydra/launcher={launcher}", "hydra.launcher.n_jobs=2"]


@pytest.mark.parametrize("launcher", ONE_LAUNCHER)
def test_a_worker_that_is_killed_is_made_up_for(
    launcher: str, vectors: Path, tmp_path: Path, vecbudget: Vecbudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mortal.py").write_text(MORTAL)
    settings = ["method=int8_absmax", "method._target_=mortal.Mortal"]
    done = subprocess.run(
        command(vectors, *settings, *launched(launcher)),
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    # submitit's launcher itself submits again what died in a job with others
    assert (tmp_path / "died").exists() and (launcher == "submitit_local" or " of 4: made again" in done.stderr)
    assert "B/vector" in done.stderr and "Traceback" not in done.stderr
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("DIED", str(tmp_path / "died"))
    monkeypatch.setenv("TEST", "")
    vecbudget(*command(vectors, *settings, "results_dir=alone")[3:], cwd=tmp_path, check=True)
    assert content(tmp_path / "results") == content(tmp_path / "alone")


def test_two_processes_at_the_same_run_do_it_once(vectors: Path, tmp_path: Path) -> None:
    asked = command(vectors, "method=int8_absmax", "parts=6")
    started = [
        subprocess.Popen(asked, cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert len(list(Store(tmp_path / "results").records())) == 1
    assert sum("B/vector" in text for text in said) == 1 and sum("recorded already" in text for text in said) == 1


def test_an_estimate_leaves_no_record(vectors: Path, tmp_path: Path, vecbudget: Vecbudget) -> None:
    done = vecbudget(
        *("run", *given(vectors), "cache_dir=cache", "method=int8_absmax", "parts=4", "estimate=true"), cwd=tmp_path
    )
    assert done.returncode == 0
    said = done.stderr.strip().splitlines()
    assert said[0].startswith("float32 ranking, unless it is kept already: 4 parts of up to 151 documents, about ")
    assert said[1].startswith("method: 9.62 kB of codes; 4 parts of up to 151 documents, about ")
    assert not (tmp_path / "results" / "runs").exists()


@pytest.mark.parametrize("of", ["0", "-3"])
def test_a_wrong_number_of_parts_is_one_readable_line(
    of: str, vectors: Path, tmp_path: Path, vecbudget: Vecbudget
) -> None:
    done = vecbudget("run", *given(vectors), "method=int8_absmax", f"parts={of}", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip() == f"vecbudget: parts must be at least 1, got {of}"


def test_what_runs_left_is_listed_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, docs = tmp_path / "cache", clustered_vectors(40, 8)
    monkeypatch.setenv("VECBUDGET_CACHE", str(cache))

    def listed(*options: str) -> list[str]:
        assert main(["cache", *options]) == 0
        return capsys.readouterr().out.splitlines()

    assert listed() == [f"no parts are left in {cache}"]
    dealt = parts.Parts(4, cache)
    folders = [PartsFolder(cache / parts.FOLDER / dealt.key(name)) for name in ("begun", "at work")]
    for folder in folders:
        plan = folder.write_plan(Plan(folder.place_of(docs), 4, 3, None), docs[:2], None)
        work(folder, 1, lambda _: pytest.fail("the vectors themselves are searched"))
        os.utime(folder.path / "docs.npy", (0, 0))
    broken = cache / parts.FOLDER / dealt.key("broken")
    broken.mkdir()
    for kept in ("mine", "pictures"):
        (cache / parts.FOLDER / kept).mkdir()
    with dealt.alone(folders[1].path.name):
        lines = listed()
        assert len(lines) == 4 and lines[-1].endswith("--remove removes what no process is working at")
        lines_of = {line.partition(" ")[0]: line for line in lines}
        begun, at_work = (lines_of[folder.path.name] for folder in folders)
        assert "1 of 4 parts of 40 documents, float32 ranking" in begun and not begun.endswith(", at work")
        assert at_work.endswith(", at work") and "no readable plan" in lines_of[broken.name]
        assert listed("--days", "1", "--remove")[-1].startswith("0 of 0 removed")
        assert listed("--remove")[-1].startswith("2 of 3 removed")
    assert folders[1].verify(plan, 1) and not folders[0].path.exists() and not broken.exists()
    assert len(listed("--remove")) == 2 and not folders[1].path.exists()
    left = {path.name for path in (cache / parts.FOLDER).iterdir() if path.is_dir()}
    assert left == {"mine", "pictures"}
