"""A run whose documents are encoded and searched in parts, by this process or by workers that Hydra's launcher starts.

    <cache_dir>/parts/<key>/        see `harness.evaluation.part_files`; removed once the run is on record
    <cache_dir>/parts/<key>.lock    held by the process that deals the parts out

The method is fitted once, by the process that was asked for the run. A worker gets the folder's key and a number, and
reads everything else from files. So a part that was lost with its worker is made again alone, and the same command goes
on where another one ended.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from numpy.typing import NDArray
from omegaconf import DictConfig, open_dict

from harness.base.errors import ConfigError, RunsFailedError, StoreError, VecbudgetError, was_interrupted
from harness.base.formatting import amount
from harness.base.memmap import in_memory, take_vectors
from harness.base.own_code import code_hash
from harness.base.resources import Stopwatch
from harness.base.sampling import evenly_spaced
from harness.evaluation.exact_search import finished, in_parts, scan, scanned, search_uncompressed
from harness.evaluation.index_build import Built, encode, teach
from harness.evaluation.index_files import CODES_FILE, STATE_FILE, read_codes, write_index
from harness.evaluation.kept_lengths import refuse_lost_lengths
from harness.evaluation.part_files import Done, PartsFolder, Plan, boundaries, work
from harness.runs.config import MethodSpec, instantiated
from harness.runs.inputs import Inputs
from methods.base import Codec, MethodError
from methods.representations import kind_of
from vecbudget.tensors import read

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

FOLDER = "parts"

SAMPLE = 8192
"""Documents on which the time that parts will take is measured."""

ROUNDS = 3
"""Times that parts without an end are dealt out in a row, none of them having ended."""

POLL_S = 0.5
"""Seconds between two looks at what is done."""


def part_name(key: str, number: int) -> str:
    """Return what a worker is told: the key of a folder and the number of a part."""
    return f"{key}-{number}"


def work_on(name: str, cache_dir: Path) -> str:
    """Do what a worker is told; return why it was not possible, "" if it was."""
    key, _, number = name.rpartition("-")
    try:
        work(PartsFolder(cache_dir / FOLDER / key), int(number), instantiated)
    except Exception as error:
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        return str(error) if isinstance(error, VecbudgetError | MethodError) else f"{type(error).__name__}: {error}"
    return ""


@dataclass(frozen=True)
class Parts:
    """How a run is dealt out.

    Attributes
    ----------
    of : int
        Parts.
    cache_dir : Path
        All workers see it.
    """

    of: int
    cache_dir: Path

    def key(self, *determined_by: Any) -> str:
        """Return the name of a folder of parts: a hash of all that determines its files, and of the code that runs."""
        content = json.dumps([self.of, code_hash(), *determined_by], sort_keys=True)
        # a letter first, since digits with an e among them would be a number to Hydra
        return f"p{hashlib.sha256(content.encode()).hexdigest()[:23]}"

    def alone(self, key: str) -> AbstractContextManager[Any]:
        """Return what keeps other processes from dealing out the same parts meanwhile."""
        from filelock import FileLock, Timeout

        lock = self.cache_dir / FOLDER / f"{key}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            return FileLock(lock).acquire(timeout=0)
        except Timeout:
            log.info("another process is working at the same parts; waiting for it")
            return FileLock(lock).acquire()

    def exact(self, queries: Float32, docs: Any, k: int, name: str) -> tuple[Float32, Int64]:
        """Return the float32 ranking as `harness.evaluation.kept_ranking.Search` does, searched in parts."""
        if kind_of(docs) != "vectors":
            return search_uncompressed(queries, docs, k)
        key = self.key("exact", name)
        folder = PartsFolder(self.cache_dir / FOLDER / key)
        with self.alone(key):
            plan = _plan(folder, docs, None)
            if plan is None:
                plan = folder.write_plan(Plan(folder.place_of(docs), self.of, k, None), queries, None)
            _say_exact(self.of, docs, queries, k)
            finish(folder, plan)
            found = folder.ranking(plan)
            folder.remove()
        return found


@dataclass(frozen=True)
class IndexInParts:
    """Builds the index of a run in parts: `harness.evaluation.index_build.Builder`.

    Attributes
    ----------
    parts : Parts
    key : str
        Of the folder.
    settings : mapping
        Of the method.
    afresh : bool
        What another run of the same left is not used.
    """

    parts: Parts
    key: str
    settings: Mapping[str, Any]
    afresh: bool = False

    @property
    def folder(self) -> PartsFolder:
        """Where the parts lie."""
        return PartsFolder(self.parts.cache_dir / FOLDER / self.key)

    def __call__(
        self,
        codec: Codec,
        fit: Callable[[], Codec],
        docs: Float32,
        queries: Float32,
        depth: int,
        chunk_rows: int | None,
        target: Path,
        watch: Stopwatch,
    ) -> Built:
        """See `Builder`; the seconds of encoding and searching are those of all workers together."""
        folder = self.folder
        if self.afresh:
            folder.remove()
        plan = _plan(folder, docs, chunk_rows)
        if plan is None:
            began = time.perf_counter()
            fit()
            seconds = time.perf_counter() - began
            refuse_lost_lengths(codec, docs)
            plan = Plan(
                docs=folder.place_of(docs),
                of=self.parts.of,
                depth=scanned(codec, depth, len(docs)),
                chunk_rows=chunk_rows,
                searched=in_parts(codec),
                method=self.settings,
                training=codec.training(),
                codebook_size=codec.codebook_size,
                fit_seconds=seconds,
            )
            plan = folder.write_plan(plan, queries, codec)
        loaded = folder.codec(instantiated(self.settings))
        _say_index(plan.of, loaded, docs, queries, depth)
        done = finish(folder, plan)
        watch.seconds["fit"] = plan.fit_seconds
        with watch.stage("encode"):
            state = read(folder.path / STATE_FILE)
            storage = write_index(target, loaded, folder.codes(plan), plan.n, state=state)
        watch.seconds["encode"] += sum(part.seconds.get("encode", 0.0) for part in done)
        if not plan.searched:
            return Built(storage, plan.training, plan.codebook_size)
        with watch.stage("search"):
            # of two tiers, the second one reads again what the first found in all parts, and no more
            joined = read_codes(target / CODES_FILE, mapped=True)
            ranking = finished(loaded, folder.queries, joined, *folder.ranking(plan), depth)
        watch.seconds["search"] += sum(part.seconds.get("search", 0.0) for part in done)
        return Built(storage, plan.training, plan.codebook_size, ranking)


def estimate(parts: Parts, inputs: Inputs, spec: MethodSpec) -> None:
    """Say what a run would take, before anything but the fit is done: bytes, seconds and workers."""
    vectors, fit = inputs.vectors(), inputs.fit_data()
    codec = teach(spec.make(), vectors.docs if fit.docs is None else fit.docs, fit.queries, fit.pairs)
    queries = in_memory(vectors.queries)
    _say_exact(parts.of, vectors.docs, queries if vectors.old_queries is None else vectors.old_queries, inputs.k)
    _say_index(parts.of, codec, vectors.docs, queries, inputs.k)


def _say_exact(of: int, docs: NDArray[Any], queries: Float32, depth: int) -> None:
    """Say what ranking with the vectors themselves will take, by what a sample of the documents takes here."""
    sample = _sample(of, docs)
    listed = _listed(depth, sample, docs)
    seconds = _seconds(lambda: search_uncompressed(queries, sample, listed)) * len(docs) / len(sample)
    log.info("float32 ranking, unless it is kept already: %s", _work(of, len(docs), seconds))


def _say_index(of: int, codec: Codec, docs: NDArray[Any], queries: Float32, depth: int) -> None:
    """Say what a fitted method's codes will take, in bytes and in seconds."""
    sample = _sample(of, docs)
    codes, times = encode(codec, sample), len(docs) / len(sample)
    seconds = _seconds(lambda: encode(codec, sample)) * times
    if in_parts(codec):
        seconds += _seconds(lambda: scan(codec, queries, codes, _listed(depth, sample, docs))) * times
    log.info("method: %s of codes; %s", amount(times * codes.nbytes), _work(of, len(docs), seconds))


def _listed(depth: int, sample: NDArray[Any], docs: NDArray[Any]) -> int:
    """Return how many of a sample to list: as large a share of it as of all, since what enters a list takes time."""
    return min(len(sample), max(1, -(-depth * len(sample) // len(docs))))


def _seconds(work: Callable[[], object]) -> float:
    """Return what some work takes once it has been done, and everything for it is compiled and loaded."""
    work()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _sample(of: int, docs: NDArray[Any]) -> Float32:
    """Return documents, evenly spaced, as many as a part has at most."""
    sample: Float32 = take_vectors(docs, evenly_spaced(len(docs), min(SAMPLE, boundaries(len(docs), of)[0][1])))
    return sample


def _work(of: int, n: int, seconds: float) -> str:
    """Return in words what is to be worked at, and how long that takes."""
    workers = launched_workers()
    shared = f", about {seconds / min(workers, of):.3g} s with {workers} workers" if workers > 1 else ""
    return f"{of} parts of up to {boundaries(n, of)[0][1]:,} documents, about {seconds:.3g} s of work{shared}"


def _plan(folder: PartsFolder, docs: NDArray[Any], chunk_rows: int | None) -> Plan | None:
    """Return the plan that another process left; None where there is none, or a damaged one, which is named."""
    try:
        return folder.resumed(folder.read_plan(), docs, chunk_rows)
    except StoreError as error:
        if folder.path.exists():
            log.warning("%s; these parts are begun again", error)
            folder.remove()
        return None


def finish(folder: PartsFolder, plan: Plan) -> list[Done]:
    """Have every part done, and return what each took.

    A part that is there and whole is left as it is. One that is damaged is named, and made again alone; so is one
    whose worker was killed.

    Raises
    ------
    VecbudgetError, MethodError
        If a part cannot be done, or its worker dies again and again.
    """
    numbers = [number for number in range(1, plan.of + 1) if plan.rows(number)[0] < plan.rows(number)[1]]
    taken: dict[int, Done] = {}
    for number in numbers:
        if folder.finished(number):
            found = _whole(folder, plan, number)
            if found is not None:
                taken[number] = found
    if taken:
        log.info("%d of %d parts are done already", len(taken), len(numbers))
    rounds, dealt = ROUNDS, False
    while missing := [number for number in numbers if number not in taken]:
        if rounds == 0:
            raise RunsFailedError(
                f"part {', '.join(map(str, missing))} of {plan.of}: no worker came to an end, perhaps for want of "
                "memory; what is finished is kept, and the same command with fewer workers or more parts does the rest"
            )
        if dealt:
            log.warning("part %s of %d: made again", ", ".join(map(str, missing)), plan.of)
        with _Progress(folder, plan, len(taken), len(numbers)):
            _deal(folder, plan, missing)
        dealt = True
        ended = {number: _whole(folder, plan, number) for number in missing if folder.finished(number)}
        done = {number: found for number, found in ended.items() if found is not None}
        rounds = ROUNDS if done else rounds - 1
        taken |= done
    largest = max(done.peak_memory_bytes for done in taken.values())
    log.info("%d parts are done, by processes of up to %s", len(numbers), amount(largest))
    return [taken[number] for number in numbers]


def _whole(folder: PartsFolder, plan: Plan, number: int) -> Done | None:
    """Return what a part that is whole took; None for one that is not, which is named and no longer there."""
    try:
        return folder.verify(plan, number)
    except StoreError as error:
        log.warning("part %d of %d: %s", number, plan.of, error)
        shutil.rmtree(folder.part(number), ignore_errors=True)
        return None


def _launcher() -> Any:
    """Return the settings of the launcher that deals out this run's parts; None where this process does them itself."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.RUN:
        return None  # in a sweep the launcher deals out the runs
    settings = HydraConfig.get().launcher
    return None if str(settings.get("_target_", "")).endswith("BasicLauncher") else settings


def launched_workers() -> int:
    """Return how many workers there are for parts."""
    settings = _launcher()
    if settings is None:
        return 1
    from hydra_plugins.vecbudget_launchers import workers

    return workers(int(settings.get("n_jobs", 1)))


def _deal(folder: PartsFolder, plan: Plan, numbers: Sequence[int]) -> None:
    """Have parts worked at; what became of them is in their files, unless they say why they cannot be done."""
    settings, cache_dir = _launcher(), folder.path.parent.parent
    names = [part_name(folder.path.name, number) for number in numbers]
    said = [work_on(name, cache_dir) for name in names] if settings is None else _launched(names)
    for number, reason in zip(numbers, said, strict=True):
        if reason:
            raise StoreError(f"part {number} of {plan.of}: {reason}")


def _launched(names: Sequence[str]) -> list[str]:
    """Have workers do what they are told; return what each said, "" also of one that was killed."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.core.utils import configure_log
    from hydra.experimental.callback import Callback
    from hydra.types import HydraContext

    node: Any = HydraConfig.get()
    overrides = list(node.overrides.task)
    config = GlobalHydra.instance().config_loader()
    composed = config.load_configuration(
        config_name=node.job.config_name,
        overrides=[*node.overrides.hydra, *overrides],
        run_mode=RunMode.RUN,
    )
    with open_dict(composed):
        composed.hydra = node
    # the callbacks of this run are no part's
    nothing: Any = Callback()
    context = HydraContext(config_loader=config, callbacks=nothing)
    launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=composed)
    try:
        returned = launcher.launch([[*overrides, f"part={name}"] for name in names], initial_job_idx=0)
    except RunsFailedError as error:
        log.warning("%s", str(error).partition(";")[0])
        return ["" for _ in names]
    finally:
        configure_log(node.job_logging, node.verbose)  # a launcher's log is a sweep's
    # a job that raised raises here; one whose worker was killed returns a number
    said = [job.return_value for job in returned]
    return [text if isinstance(text, str) else "" for text in said]


def task(cfg: DictConfig) -> str:
    """Do what a worker's configuration tells it; see `work_on`."""
    return work_on(str(cfg.part), Path(cfg.cache_dir).expanduser())


class _Progress:
    """A bar of the parts that are done, moved by looking at their files: workers may be anywhere."""

    def __init__(self, folder: PartsFolder, plan: Plan, done: int, total: int) -> None:
        from tqdm import tqdm

        self.folder, self.plan, self.ended = folder, plan, threading.Event()
        self.bar = tqdm(total=total, initial=done, desc="parts", unit=" parts", disable=None, leave=False)
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()
        self.bar.close()

    def _watch(self) -> None:
        while not self.ended.wait(POLL_S):
            done = sum(self.folder.finished(number) for number in range(1, self.plan.of + 1))
            self.bar.update(done - self.bar.n)


def checked(of: Any) -> int:
    """Return a number of parts; raises `ConfigError` for one that is none."""
    if isinstance(of, bool) or not isinstance(of, int) or of < 1:
        raise ConfigError(f"parts must be at least 1, got {of}")
    return of
