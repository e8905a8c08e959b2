"""Launchers of a sweep's runs: processes of this machine (joblib), Slurm (submitit), a Ray cluster.

Each caps the threads of its workers, so that they do not compete for cores, and on Ctrl-C ends its workers and removes
what they had begun. A run whose worker is killed is a failed run; with joblib it ends the sweep. Workers find
embeddings in the cache and map them: the system keeps one copy of these in memory, however many workers read them.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from harness.base.errors import ConfigError, MissingExtraError, RunsFailedError
from harness.runs.store import Store

log = logging.getLogger(__name__)

Overrides = Sequence[str]

THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    *("NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"),
)
"""What NumPy's and SciPy's BLAS, FAISS, torch, numba and tokenizers read when they are loaded."""

GRACE_S = 20.0
"""How long interrupted workers may take to end."""

INTERRUPT_S = 3.0
"""How long Ray's may, before they are killed."""
LOG_S = 1.0
"""Wait for the log of Ray's workers before the cluster is left."""


NAMES = ("joblib", "submitit_local", "submitit_slurm", "ray")


class OwnLauncherConfigs(SearchPathPlugin):
    """Make `hydra/launcher=joblib` and the others mean this project's yaml, whatever packages are installed."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Drop the configurations that launchers' packages register: Hydra validates a yaml of the same name by them.

        Hydra calls this between loading all plugins and composing.
        """
        registered = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
        for name in NAMES:
            registered.pop(f"{name}.yaml", None)


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers(n_jobs: int) -> int:
    """Return a number of workers: of -1, one for each core."""
    if n_jobs == 0 or n_jobs < -1:
        raise ConfigError(f"hydra.launcher.n_jobs must be at least 1, or -1 for all cores, got {n_jobs}")
    return cores() if n_jobs == -1 else n_jobs


@contextmanager
def capped(threads: int) -> Iterator[None]:
    """Cap the threads of libraries loaded in the block, by it or by processes started in it; a lower cap stays."""
    before = {name: os.environ.get(name) for name in THREADS}
    for name, value in before.items():
        cap = int(value) if value is not None and value.isdecimal() and int(value) else threads
        os.environ[name] = str(min(cap, threads))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class WorkersLauncher(Launcher):
    """The base of the launchers: how many workers there are, and the threads that each may use.

    Parameters
    ----------
    n_jobs : int
        Workers; -1 is one for each core.
    threads : int or None
        Most threads of each; None is cores // n_jobs.
    """

    def __init__(self, n_jobs: int, threads: int | None) -> None:
        self.n_jobs, self.threads = n_jobs, threads

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take over what is to be run; raise `ConfigError` for a wrong number of workers."""
        # here, because Hydra wraps what a constructor raises
        self.n_jobs = workers(self.n_jobs)
        self.threads = self.threads or max(1, cores() // self.n_jobs)
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Overrides], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all configurations; return what each returned, in their order.

        Raises
        ------
        MissingExtraError
            If the package that starts the workers is not installed.
        """
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        results = Path(str(self.config.hydra.sweep.dir))
        results.mkdir(parents=True, exist_ok=True)
        jobs = list(enumerate(job_overrides, start=initial_job_idx))
        if not jobs:
            return []
        try:
            return self._launch(jobs)
        except KeyboardInterrupt:
            # a new draft removes those of processes that were killed
            if Store(results).runs.is_dir():
                Store(results).draft("interrupted").rmdir()
            raise

    def _launch(self, jobs: list[tuple[int, Overrides]]) -> Sequence[JobReturn]:
        """Run numbered jobs on the workers; return what each returned, in their order."""
        raise NotImplementedError

    def _cap(self) -> int:
        """Return the most threads that a worker may use."""
        assert self.threads is not None
        return self.threads

    def _worker(self) -> Callable[[list[tuple[int, Overrides]]], list[JobReturn]]:
        """Return a function that runs configurations one after the other in another process, of any machine."""
        context, config, task = self.hydra_context, self.config, self.task_function
        threads, directory, state = self._cap(), str(Path.cwd()), Singleton.get_state()

        def work(jobs: list[tuple[int, Overrides]]) -> list[JobReturn]:
            return run_jobs(jobs, context, config, task, state, threads, directory)

        return work


def run_jobs(
    jobs: Sequence[tuple[int, Overrides]],
    context: HydraContext,
    config: DictConfig,
    task: TaskFunction,
    state: dict[Any, Any],
    threads: int,
    directory: str,
) -> list[JobReturn]:
    """Run configurations in this process as Hydra does in a sweep's own, in a folder that all machines share."""
    from threadpoolctl import threadpool_limits

    os.chdir(directory)
    returned = []
    # libraries loaded before read no variables any more
    with capped(threads), threadpool_limits(limits=threads):
        for number, overrides in jobs:
            setup_globals()
            Singleton.set_state(state)
            job = context.config_loader.load_sweep_config(config, list(overrides))
            with open_dict(job):
                job.hydra.job.id = f"{job.hydra.job.name}_{number}"
                job.hydra.job.num = number
            HydraConfig.instance().set_config(job)
            returned.append(
                run_job(
                    hydra_context=context,
                    task_function=task,
                    config=job,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            )
    return returned


def _plain(settings: Any) -> dict[str, Any]:
    """Return settings as a plain dictionary, interpolations resolved."""
    plain = OmegaConf.to_container(OmegaConf.create(settings), resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def _lost(overrides: Overrides, reason: str) -> JobReturn:
    """Say that a run's worker died, and return what a failed run does."""
    log.error("vecbudget: %s: its worker ended before it did: %s", " ".join(overrides), reason)
    lost = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
    lost.return_value = 1
    return lost


class VecbudgetJoblib(WorkersLauncher):
    """Hydra's joblib launcher, with a cap that also holds where the user set a higher one."""

    def __init__(self, n_jobs: int = -1, threads: int | None = None, **settings: Any) -> None:
        super().__init__(n_jobs, threads)
        self.settings = settings

    def _launch(self, jobs: list[tuple[int, Overrides]]) -> Sequence[JobReturn]:
        try:
            from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher
        except ImportError:
            raise MissingExtraError("hydra-joblib-launcher", "joblib", "hydra/launcher=joblib") from None
        launcher = JoblibLauncher(n_jobs=self.n_jobs, **self.settings)
        launcher.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
        try:
            with capped(self._cap()):
                returned: Sequence[JobReturn] = launcher.launch([job for _, job in jobs], initial_job_idx=jobs[0][0])
        except BrokenExecutor as error:
            reason = str(error).splitlines()[0].partition(". ")[0]
            raise RunsFailedError(
                f"a worker was killed, perhaps for want of memory ({reason}); what is finished is kept, and the same "
                "command with a smaller hydra.launcher.n_jobs does the rest"
            ) from error
        return returned


class VecbudgetSubmitit(WorkersLauncher):
    """Jobs of Slurm, or of submitit's local executor: `n_jobs` of them, each with its share of the runs.

    Parameters
    ----------
    cluster : {"slurm", "local"}
    folder : str
        Folder of submitit's files: the jobs' logs, what they are given and what they return.
    parameters : mapping
        Parameters of `submitit.AutoExecutor.update_parameters`, such as `slurm_partition`; None leaves one out.
    """

    def __init__(
        self, cluster: str, folder: str, parameters: dict[str, Any], n_jobs: int, threads: int | None = None
    ) -> None:
        self.parameters = {name: value for name, value in _plain(parameters).items() if value is not None}
        # Slurm's cores are those of a job, not those of the machine that submits it
        super().__init__(n_jobs, threads or (self.parameters.get("cpus_per_task", 1) if cluster == "slurm" else None))
        self.cluster, self.folder = cluster, folder

    def _launch(self, jobs: list[tuple[int, Overrides]]) -> Sequence[JobReturn]:
        # read by the import, in the jobs too
        os.environ.setdefault("SUBMITIT_LOG_LEVEL", "WARNING")
        try:
            import submitit
        except ImportError:
            raise MissingExtraError("submitit", "slurm", f"hydra/launcher=submitit_{self.cluster}") from None
        # neighbours in a sweep take similar times: deal them out
        shares = [share for start in range(self.n_jobs) if (share := jobs[start :: self.n_jobs])]
        submitted: list[Any] = []
        returned: dict[int, JobReturn] = {}
        try:
            try:
                executor = submitit.AutoExecutor(folder=f"{self.folder}/%j", cluster=self.cluster)
                executor.update_parameters(**self.parameters)
                submitted += self._submit(executor, shares)
            except (RuntimeError, NameError, TypeError, submitit.core.utils.FailedJobError) as error:
                raise ConfigError(f"hydra/launcher=submitit_{self.cluster}: {str(error).splitlines()[0]}") from error
            for job, share in zip(list(submitted), shares, strict=True):
                results = self._results(job)
                if results is None and len(share) > 1:
                    # those of its runs that are finished answer at once, and those that did not get their turn do
                    results = []
                    for item in share:
                        submitted += self._submit(executor, [[item]])
                        results += self._results(submitted[-1]) or [_lost(item[1], f"see {submitted[-1].paths.stderr}")]
                elif results is None:
                    results = [_lost(share[0][1], f"see {job.paths.stderr}")]
                returned |= {number: result for (number, _), result in zip(share, results, strict=True)}
        except BaseException:
            for job in submitted:
                job.cancel(check=False)
            deadline = time.monotonic() + GRACE_S
            with suppress(KeyboardInterrupt):
                while time.monotonic() < deadline and not all(job.done() for job in submitted):
                    time.sleep(0.1)
            raise
        return [returned[number] for number, _ in jobs]

    def _submit(self, executor: Any, shares: list[list[tuple[int, Overrides]]]) -> list[Any]:
        """Submit a job for each share; what submitit's local processes say on Ctrl-C goes to a file."""
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        sys.stderr.flush()
        terminal = os.dup(2)
        try:
            with capped(self._cap()), Path(self.folder, "submitit.log").open("a") as file:
                os.dup2(file.fileno(), 2)
                jobs: list[Any] = executor.map_array(self._worker(), shares)
                return jobs
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)

    def _results(self, job: Any) -> list[JobReturn] | None:
        """Wait for a job, pass on what its runs said, and return what they returned; None if it was killed."""
        import submitit

        try:
            results: list[JobReturn] = job.result()
        except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as error:
            log.debug("job %s", job.job_id, exc_info=error)
            return None
        sys.stderr.write(job.stderr() or "")
        return results


class VecbudgetRay(WorkersLauncher):
    """Tasks of a Ray cluster.

    Parameters
    ----------
    address : str or None
        Address of a running cluster, such as "auto"; None starts one on this machine, with `n_jobs` workers.
    num_cpus : int or None
        Cores of each run, which are its threads too; None is cores // n_jobs, or 1 in a cluster that runs.
    num_gpus : float
        Accelerators of each run.
    init : mapping
        More of what `ray.init` takes.
    """

    def __init__(
        self,
        address: str | None = None,
        n_jobs: int = -1,
        num_cpus: int | None = None,
        num_gpus: float = 0,
        init: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(n_jobs, num_cpus or (None if address is None else 1))
        self.address, self.num_gpus = address, num_gpus
        self.init = _plain(init or {})

    def _launch(self, jobs: list[tuple[int, Overrides]]) -> Sequence[JobReturn]:
        # read by the import; otherwise runs that say the same are told once
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        try:
            import ray
        except ImportError:
            raise MissingExtraError("ray", "ray", "hydra/launcher=ray") from None
        where: dict[str, Any] = {"address": self.address}
        if self.address is None:
            # "local": a cluster that RAY_ADDRESS names is not meant
            where = {"address": "local", "num_cpus": self.n_jobs * self._cap(), "include_dashboard": False}
        try:
            ray.init(**{"logging_level": logging.ERROR, "configure_logging": False} | where | self.init)
        except (ConnectionError, ValueError, TypeError) as error:
            raise ConfigError(f"hydra/launcher=ray: {str(error).splitlines()[0]}") from error
        try:
            # a run that failed says so; one that died would die again
            task = ray.remote(num_cpus=self._cap(), num_gpus=self.num_gpus, max_retries=0)(self._worker())
            pending = [task.remote([job]) for job in jobs]
            try:
                return [self._collect(ref, overrides) for ref, (_, overrides) in zip(pending, jobs, strict=True)]
            except BaseException:
                with suppress(KeyboardInterrupt):
                    # an interrupt does not reach a run before the library call that it is in returns
                    for force in (False, True):
                        for ref in pending:
                            ray.cancel(ref, force=force)
                        _, pending = ray.wait(pending, num_returns=len(pending), timeout=INTERRUPT_S)
                        if not pending:
                            break
                raise
        finally:
            # the workers' last lines come by a log monitor that looks several times a second
            time.sleep(LOG_S)
            ray.shutdown()

    def _collect(self, ref: Any, overrides: Overrides) -> JobReturn:
        """Wait for a task and return what its run returned; a failed run if its worker died."""
        import ray

        try:
            returned: JobReturn = ray.get(ref)[0]
        except ray.exceptions.RayError as error:
            return _lost(overrides, type(error).__name__)
        return returned
