"""The search itself: an Optuna study in a folder, which any number of processes share and a killed one goes on with.

    FOLDER/study.journal   every trial, appended by whoever makes it
    FOLDER/study.json      what the study is of; another collection, model or budget is refused

A trial is a setting (`harness.tuning.space`) and what it does (`harness.tuning.objective`). It first gets a look at a
part of the collection, and the whole only if it may still reach the front.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import platform
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from harness.analysis.budgets import least_budget
from harness.base.errors import ConfigError, MissingExtraError, StoreError, VecbudgetError
from harness.evaluation.fidelity import TOP
from harness.runs.frame import CORPUS_SIZE
from harness.tuning.objective import Objective, Outcome, measured
from harness.tuning.priors import ranked
from harness.tuning.space import Candidate, Member
from methods.base import MethodError

if TYPE_CHECKING:
    import optuna

Float64 = NDArray[np.float64]

log = logging.getLogger(__name__)

Sampler = Literal["tpe", "nsga2", "nsga3"]

Speed = Literal["search", "encode"]
"""What a search may look for beside few bytes and a high overlap: settings that are searched, or encoded, faster."""

TURNS = 3
"""Encodings and searches of a setting where their time is looked for; the fastest counts."""

SIZES = (1.0, 0.75, 0.5, 0.25)
"""Shares of the budget that settings fill: what lies below it is the rest of the front."""

AT_THE_BUDGET = 3
"""One trial in so many may choose a smaller size; the others fill the budget, which is what was asked for."""

ENDED = ("COMPLETE", "PRUNED")
"""States of Optuna's trials that came to an end of their own."""

STANDARD_ERRORS = 2.0
"""A setting so many standard errors behind the best of its size at the first look is not looked at again."""


@dataclass(frozen=True)
class Limits:
    """What a setting has to keep to.

    Attributes
    ----------
    max_bytes : int
        Of a document's codes in memory.
    max_disk_bytes : int or None
        Of a document's codes on disk, floats for rescoring among them; None: as many as in memory.
    min_docs_per_second : float or None
        Encoded.
    max_query_ms : float or None
        Of a query, over as many documents as were looked at.
    corpus_size : float
        Documents that are to be stored: what `fit` learned is spread over them, and may add a byte to each.
    """

    max_bytes: int
    max_disk_bytes: int | None = None
    min_docs_per_second: float | None = None
    max_query_ms: float | None = None
    corpus_size: float = CORPUS_SIZE

    def __post_init__(self) -> None:
        """Refuse limits that nothing can keep to."""
        for name, value in (
            ("max-bytes", self.max_bytes),
            ("max-disk-bytes", self.max_disk_bytes),
            ("min-docs-per-second", self.min_docs_per_second),
            ("max-query-ms", self.max_query_ms),
            ("corpus-size", self.corpus_size),
        ):
            if value is not None and not 0 < value < np.inf:
                raise ConfigError(f"--{name} must be above 0, got {value:g}")

    def violation(self, outcome: Outcome) -> float:
        """Return by how much a setting goes beyond the limits, as a share of each; 0 or less if it does not."""
        on_disk = outcome.code_bytes - outcome.resident_bytes
        resident = outcome.resident_bytes
        least = float(least_budget(resident + outcome.state_bytes / self.corpus_size, resident))
        beyond = [least / self.max_bytes - 1]
        beyond.append(on_disk / self.max_disk_bytes - 1 if self.max_disk_bytes else on_disk)
        if self.min_docs_per_second is not None:
            beyond.append(self.min_docs_per_second / outcome.documents_per_second - 1)
        if self.max_query_ms is not None and len(outcome.overlaps):
            beyond.append(outcome.query_ms / self.max_query_ms - 1)
        return max(beyond)


@dataclass(frozen=True, eq=False)
class Trial:
    """A setting that was tried.

    Attributes
    ----------
    number : int
    candidate : Candidate
    state : {"measured", "stopped", "beyond", "failed"}
        Measured on the whole; stopped after the first look; beyond the limits; refused by the method.
    attributes : mapping
        What was seen of it; see `Outcome`.
    why : str
        For one that failed.
    """

    number: int
    candidate: Candidate
    state: Literal["measured", "stopped", "beyond", "failed"]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""

    @cached_property
    def overlaps(self) -> Float64:
        """Overlap of each query on the whole, float64 (m,)."""
        found: Float64 = np.array(self.attributes["overlaps"]) / TOP
        return found

    @property
    def quality(self) -> float:
        """The mean of them."""
        return float(self.overlaps.mean())

    @property
    def nbytes(self) -> float:
        """Bytes of a document's codes in memory."""
        return float(self.attributes["resident_bytes"])

    def cost(self, speed: Speed) -> float:
        """Return milliseconds of a query, or microseconds of a document's encoding."""
        return cost_of(self.attributes, speed)


def cost_of(seen: Mapping[str, Any], speed: Speed) -> float:
    """Return what `Trial.cost` is, of a trial's attributes: of two digits, more than which no clock tells twice."""
    exact = seen["query_ms"] if speed == "search" else 1e6 / seen["docs_per_second"]
    return float(f"{exact:.1e}")


class Study:
    """A search in a folder.

    Parameters
    ----------
    folder : Path
    members : sequence of Member
        What may be tried.
    limits : Limits
    seed : int
        The same seed gives the same trials, one process after another.
    sampler : {"tpe", "nsga2", "nsga3"}
        Tree-structured Parzen estimators (Bergstra et al., 2011; several objectives: Ozaki et al., 2022), or a genetic
        algorithm (Deb et al., 2002; Deb and Jain, 2014), by Optuna.
    speed : {"search", "encode"} or None
        A third objective. Times differ from one search to the next, and with them the trials.
    """

    def __init__(
        self,
        folder: Path,
        members: Sequence[Member],
        limits: Limits,
        seed: int = 0,
        sampler: Sampler = "tpe",
        speed: Speed | None = None,
    ) -> None:
        self.folder, self.limits, self.seed, self.sampler, self.speed = folder, limits, seed, sampler, speed
        self.members = {member.name: member for member in members}

    def search(
        self,
        objective: Objective,
        identity: Mapping[str, Any],
        *,
        trials: int | None = None,
        minutes: float | None = None,
        first: Sequence[str] = (),
    ) -> None:
        """Try settings until there are so many, or the time is over; what was tried before counts.

        Parameters
        ----------
        objective : Objective
        identity : mapping
            What the study is of.
        trials, minutes : int, float or None
            Whichever comes first; at least one of them.
        first : sequence of str
            Methods that are tried as their yamls have them, before the search begins; the others follow in the order of
            the reference results (`harness.tuning.priors`).

        Raises
        ------
        ConfigError
            If the folder holds a study of something else.
        """
        if trials is None and minutes is None:
            raise ConfigError("say when to stop: --trials N or --minutes M")
        begin = time.monotonic()
        study = self._opened(objective, identity, first)
        self._take_up_again(study)
        with tqdm(total=trials, unit=" settings", disable=None, leave=False) as bar:
            while True:
                done = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
                bar.update(done - bar.n)
                late = minutes is not None and time.monotonic() - begin >= 60 * minutes
                if late or (trials is not None and done >= trials):
                    return
                self._try_one(study, objective)

    def tried(self) -> list[Trial]:
        """Return what was tried, in order.

        Raises
        ------
        StoreError
            If there is no study in the folder.
        """
        if not (self.folder / "study.journal").exists():
            raise StoreError(f"{self.folder} holds no search: 'vecbudget tune' makes one")
        stored = self._storage_study().get_trials(deepcopy=False)
        return [trial for one in stored if (trial := self._read(one)) is not None]

    def _read(self, stored: optuna.trial.FrozenTrial) -> Trial | None:
        # of one that was killed or interrupted half is known at most
        if stored.state.name not in ENDED:
            return None
        seen = stored.user_attrs
        candidate = self._again(seen)
        if "why" in seen:
            return Trial(stored.number, candidate, "failed", seen, seen["why"])
        if seen["violation"] > 0:
            return Trial(stored.number, candidate, "beyond", seen)
        return Trial(stored.number, candidate, "measured" if "overlaps" in seen else "stopped", seen)

    def _again(self, seen: Mapping[str, Any]) -> Candidate:
        from omegaconf import DictConfig, OmegaConf

        node = OmegaConf.create(seen["node"])
        assert isinstance(node, DictConfig)
        return Candidate(seen["method"], seen["settings"], node, tuple(seen["changed"]))

    def _opened(self, objective: Objective, identity: Mapping[str, Any], first: Sequence[str]) -> optuna.Study:
        """Return the study of the folder; whoever makes it also says what is tried first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        own = {"limits": vars(self.limits), "methods": sorted(self.members)}
        own |= {"speed": self.speed} if self.speed else {}
        about = json.loads(json.dumps({**identity, **own}))
        with FileLock(self.folder / "study.lock"):
            path = self.folder / "study.json"
            if path.exists():
                there = json.loads(path.read_text(encoding="utf-8"))
                if there != about:
                    unlike = ", ".join(sorted(key for key in {*there, *about} if there.get(key) != about.get(key)))
                    raise ConfigError(f"{self.folder} holds a search with other {unlike}: choose another --out")
                return self._storage_study()
            study = self._storage_study()
            for name in dict.fromkeys([*first, *ranked(self.limits.max_bytes, self.members)]):
                study.enqueue_trial(self._defaults(self.members[name], objective.width))
            path.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        return study

    def _defaults(self, member: Member, width: int) -> dict[str, Any]:
        """Return the parameters of a trial that takes a method as it is written."""
        recorder = _Recorder(member)
        # where the budget is too small for it, the trial will say so
        with contextlib.suppress(ConfigError):
            member.candidate(recorder, self.limits.max_bytes, width)
        return {"method": member.name, "size": SIZES[0], **recorder.chosen}

    def _storage_study(self) -> optuna.Study:
        _require_optuna()
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = JournalStorage(JournalFileBackend(str(self.folder / "study.journal")))
        directions: list[Literal["minimize", "maximize"]] = ["minimize", "maximize"]
        made: optuna.Study = optuna.create_study(
            storage=storage,
            study_name="vecbudget",
            directions=[*directions, "minimize"] if self.speed else directions,
            load_if_exists=True,
        )
        return made

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return a sampler for one trial: seeded by its number, so that a search that goes on is the same search."""
        import optuna

        seed = int(np.random.default_rng([self.seed, number]).integers(1 << 31))
        made: optuna.samplers.BaseSampler
        with warnings.catch_warnings():
            # parameters of each method in a group of their own: experimental for years
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if self.sampler == "nsga2":
                made = optuna.samplers.NSGAIISampler(seed=seed)
            elif self.sampler == "nsga3":
                made = optuna.samplers.NSGAIIISampler(seed=seed)
            else:
                made = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)
        return made

    def _take_up_again(self, study: optuna.Study) -> None:
        """Try again what processes of this machine left behind when they were killed."""
        from optuna.trial import TrialState

        with FileLock(self.folder / "study.lock"):
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                host, _, pid = trial.user_attrs.get("process", "").rpartition(":")
                if host == platform.node() and not _is_alive(int(pid)):
                    study.tell(trial.number, state=TrialState.FAIL)
                    study.enqueue_trial(trial.params)

    def _try_one(self, study: optuna.Study, objective: Objective) -> None:
        from optuna.trial import TrialState

        number = len(study.get_trials(deepcopy=False))
        study.sampler = self._sampler(number)
        if number % AT_THE_BUDGET and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial({"size": SIZES[0]})
        trial = study.ask()
        trial.set_user_attr("process", f"{platform.node()}:{os.getpid()}")
        name = trial.suggest_categorical("method", sorted(self.members))
        nbytes = max(1, round(self.limits.max_bytes * trial.suggest_categorical("size", list(SIZES))))
        try:
            candidate = self.members[name].candidate(trial, nbytes, objective.width)
        except ConfigError as error:
            none: dict[str, Any] = {"method": name, "settings": {}, "changed": [], "node": {}}
            self._stated(trial, none | {"why": str(error), "violation": 1.0})
            study.tell(trial, state=TrialState.PRUNED)
            return
        seen: dict[str, Any] = {
            "method": name,
            "settings": dict(candidate.settings),
            "changed": list(candidate.changed),
            "node": _plain(candidate),
        }
        before = [one for one in self._finished(study) if one["node"] == seen["node"]]
        values = None
        if before:
            seen |= {key: value for key, value in before[0].items() if key not in ("process", *seen)}
            if "overlaps" in seen:
                values = self._values(seen)
        else:
            try:
                values = self._measured(candidate, objective, seen, study)
            except (MethodError, VecbudgetError) as error:
                seen |= {"why": str(error), "violation": 1.0}
            except KeyboardInterrupt:
                study.tell(trial, state=TrialState.FAIL)
                raise
        self._stated(trial, seen)
        log.info("%4d  %s", trial.number, self._line(candidate, seen))
        study.tell(trial, values) if values else study.tell(trial, state=TrialState.PRUNED)

    def _measured(
        self, candidate: Candidate, objective: Objective, seen: dict[str, Any], study: optuna.Study
    ) -> tuple[float, ...] | None:
        """Return the objectives on the whole, or None for a setting that is not looked at to the end."""
        spec = candidate.spec(self.seed)
        last = len(objective.looks) - 1
        for place, look in enumerate(objective.looks):
            outcome = measured(spec.make, look, self.limits.max_bytes, TURNS if self.speed else 1)
            found = np.rint(TOP * outcome.overlaps).astype(int).tolist()
            seen |= {
                "code_bytes": outcome.code_bytes,
                "resident_bytes": outcome.resident_bytes,
                "state_bytes": outcome.state_bytes,
                "docs_per_second": outcome.documents_per_second,
                "fit_seconds": outcome.fit_seconds,
                "violation": self.limits.violation(outcome),
            }
            if seen["violation"] > 0:
                return None
            seen["query_ms"] = outcome.query_ms
            if place < last:
                seen["first_overlaps"] = found
                if self.speed:
                    seen["first_cost"] = cost_of(seen, self.speed)
                if self._is_behind(seen, study):
                    return None
            else:
                seen["overlaps"] = found
        return self._values(seen)

    def _values(self, seen: Mapping[str, Any]) -> tuple[float, ...]:
        """Return bytes, quality and, where it is looked for, the time of a setting that was measured on the whole."""
        values = (seen["resident_bytes"], float(np.mean(seen["overlaps"])) / TOP)
        return (*values, cost_of(seen, self.speed)) if self.speed else values

    def _is_behind(self, seen: Mapping[str, Any], study: optuna.Study) -> bool:
        """Whether another setting, no larger and no slower, found more at the first look, beyond chance."""
        found = np.array(seen["first_overlaps"])
        rivals = [
            np.array(one["first_overlaps"])
            for one in self._finished(study)
            if "first_overlaps" in one
            and one["resident_bytes"] <= seen["resident_bytes"]
            and (self.speed is None or one["first_cost"] <= seen["first_cost"])
        ]
        best = max(rivals, key=lambda rival: float(rival.mean()), default=None)
        if best is None:
            return False
        difference = found - best
        error = float(difference.std(ddof=1)) / np.sqrt(len(difference))
        return bool(difference.mean() + STANDARD_ERRORS * error < 0)

    def _finished(self, study: optuna.Study) -> Iterator[Mapping[str, Any]]:
        """Yield what was seen of each setting that was tried to its end."""
        for stored in study.get_trials(deepcopy=False):
            if stored.state.name in ENDED and stored.user_attrs["node"]:
                yield stored.user_attrs

    def _stated(self, trial: optuna.Trial, seen: Mapping[str, Any]) -> None:
        for key, value in seen.items():
            trial.set_user_attr(key, value)
        trial.set_constraint("limits", seen["violation"])

    def _line(self, candidate: Candidate, seen: Mapping[str, Any]) -> str:
        if "why" in seen:
            return f"{candidate.name}: {seen['why']}"
        size = f"{seen['resident_bytes']:.1f} B"
        if seen["violation"] > 0:
            return f"{candidate.name}: {size} and {seen['state_bytes']:,} B of state, beyond the limits"
        if "overlaps" not in seen:
            return f"{candidate.name}: {size}, overlap@10 {np.mean(seen['first_overlaps']) / TOP:.3f} at first, stopped"
        return f"{candidate.name}: {size}, overlap@10 {np.mean(seen['overlaps']) / TOP:.4f}"


class _Recorder:
    """Takes what a yaml says, and remembers under which names a trial would be asked for it."""

    def __init__(self, member: Member) -> None:
        from harness.tuning.space import Written

        self.chosen: dict[str, Any] = {}
        self._written = Written(member)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        value = self._written.suggest_categorical(name, choices)
        return self._noted(name, value if value in choices else choices[0])

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return int(self._noted(name, min(max(self._written.suggest_int(name, low, high), low), high)))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._noted(name, min(max(self._written.suggest_float(name, low, high), low), high)))

    def _noted(self, name: str, value: Any) -> Any:
        self.chosen[name] = value
        return value


def _plain(candidate: Candidate) -> dict[str, Any]:
    from harness.runs.config import as_mapping

    return as_mapping(candidate.node, resolve=False)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _require_optuna() -> None:
    if importlib.util.find_spec("optuna") is None:
        raise MissingExtraError("optuna", "tune", "searching for the best setting")


def best_of(trials: Sequence[Trial], limits: Limits) -> Trial:
    """Return the trial of the highest quality; of equal ones the smallest, then the first.

    Raises
    ------
    ConfigError
        If none was measured: what the smallest one takes, or why they were refused.
    """
    good = [trial for trial in trials if trial.state == "measured"]
    if not good:
        raise ConfigError(_why_nothing(trials, limits))
    return max(good, key=lambda trial: (trial.quality, -trial.nbytes, -trial.number))


def _why_nothing(trials: Sequence[Trial], limits: Limits) -> str:
    """Say why no setting was measured."""
    beyond = [trial for trial in trials if trial.state == "beyond"]
    if beyond:
        least = min(beyond, key=lambda trial: trial.nbytes)
        seen = least.attributes
        return (
            f"none of {len(trials)} settings keeps to the limits (--max-bytes {limits.max_bytes}); the smallest, "
            f"{least.candidate.name}, takes {least.nbytes:.1f} B in memory and {seen['state_bytes']:,} B of state in "
            f"all, and encodes {seen['docs_per_second']:,.0f} documents a second"
        )
    failed = [trial for trial in trials if trial.state == "failed"]
    return f"none of {len(trials)} settings could be measured; {failed[0].why}" if failed else "nothing was tried"
