"""A Hydra sweeper that takes a list of configurations as well as products of choices.

An experiment names its runs one by one, `runs: ["method=int8", "method=pq method.m=24,48"]`: methods have different
parameters, so their grid is no product. A comma inside an entry still sweeps. What stands on the command line
multiplies every entry and wins over it; a `method=` there replaces the list.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import configure_log

from harness.base.errors import RunsFailedError
from harness.runs import recognition
from harness.runs.catalogue import members, options, parameters
from harness.runs.recognition import RECORDED

log = logging.getLogger(__name__)

GROUPS = ("method", "index", "dataset", "model")


def without_idle_seed(job: list[str]) -> list[str]:
    """Drop `seed=` from a job whose method and index draw no random numbers: three seeds of int8 are one run."""
    chosen = {text.partition("=")[0]: text.partition("=")[2] for text in job}
    method, index = members("method").get(chosen.get("method", "")), members("index").get(chosen.get("index", "flat"))
    if method is None or index is None or any("${seed}" in entry.read_text("utf-8") for entry in (method, index)):
        return job
    return [text for text in job if not text.startswith("seed=")]


def is_sound(job: list[str]) -> bool:
    """Return whether all names in a job are known: groups' members, their parameters, a run's options.

    False means "not seen at a glance": a yaml of somebody else's, say, or a parameter two levels down.
    """
    chosen = {text.partition("=")[0]: text.partition("=")[2] for text in job}
    for key, value in chosen.items():
        group, _, parameter = key.partition(".")
        if key == "experiment":
            if value not in members(key):
                return False
        elif group in GROUPS:
            entry = members(group).get(chosen.get(group, ""))
            if entry is None or (parameter and parameter not in parameters(entry)):
                return False
        elif key not in options() or "=" in value:
            return False
    return True


class GridSweeper(BasicSweeper):
    """Sweep over `runs`, times the product of everything else.

    Parameters
    ----------
    max_batch_size, params
        The parameters of Hydra's basic sweeper.
    runs : list of str
        Overrides of one configuration (or small product) each, separated by blanks.
    """

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: dict[str, str] | None = None,
        runs: list[str] | None = None,
    ) -> None:
        super().__init__(max_batch_size=max_batch_size, params=params)
        self.runs = list(runs or [])
        self.listed: list[str] = []
        self.finished = 0

    def sweep(self, arguments: list[str]) -> Any:
        """Launch all configurations; a failing one does not stop the others.

        Raises
        ------
        RunsFailedError
            At the end of the sweep, if any run failed.
        """
        batches = super().sweep(arguments)
        statuses = [job.return_value for batch in batches for job in batch]
        failed = sum(1 for status in statuses if status)
        if failed:
            raise RunsFailedError(
                f"{failed} of {len(statuses) + self.finished} runs failed; the others are kept, and the same command "
                "tries these again"
            )
        return batches

    def split_arguments(self, overrides: Any, max_batch_size: int | None) -> list[list[list[str]]]:  # type: ignore[override]
        """Return batches of configurations, each a list of overrides."""
        assert self.hydra_context is not None
        command_line_keys = {override.get_key_element() for override in overrides}
        replaced = "method" in command_line_keys
        entries = [] if replaced else [entry.split() for entry in self.runs]
        if replaced and self.runs and self.config is not None:
            # what is typed is not one of the experiment's list: each job's own configuration says so
            self.config.hydra.overrides.hydra.append("hydra.sweeper.runs=[]")
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        jobs: list[list[str]] = []
        for entry in entries or [[]]:
            entry_overrides = [
                override
                for override in parser.parse_overrides(entry)
                if override.get_key_element() not in command_line_keys
            ]
            for job in super().split_arguments([*entry_overrides, *overrides], None)[0]:
                job = without_idle_seed(job)
                if job not in jobs:
                    jobs.append(job)
        self.listed = [] if replaced else self.runs
        size = max_batch_size or len(jobs)
        return [jobs[start : start + size] for start in range(0, len(jobs), size)]

    def get_job_batch(self) -> list[list[str]]:
        """Return the next batch, less the jobs whose runs are seen to be on record without composing them."""
        batch = [list(job) for job in super().get_job_batch()]
        assert self.config is not None
        cache_dir = Path(str(self.config.cache_dir)).expanduser()
        due = []
        configure_log(self.config.hydra.job_logging, self.config.hydra.verbose)
        for job in batch:
            name = recognition.note_name(job, self.config.hydra, self.listed)
            found = None if name is None else recognition.recognised(name, cache_dir)
            if found is None:
                due.append(job)
            else:
                log.info(RECORDED, found.setting, "", found.path)
        self.finished += len(batch) - len(due)
        return due

    def validate_batch_is_legal(self, batch: Any) -> None:
        """Find wrong names before anything runs; compose only what reading the yamls cannot vouch for.

        Composing takes longer than skipping a finished run, and Hydra composes each job once more to launch it.
        """
        super().validate_batch_is_legal([job for job in batch if not is_sound(job)] or list(batch)[:1])
