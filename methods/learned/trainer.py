"""The one training loop: batches, schedule, early stopping on held-out examples, progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Part
from methods.parallel import one_thread

if TYPE_CHECKING:
    import torch

    Int64 = NDArray[np.int64]
    Loss = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
    """(numbers of examples int64 (b,), source of chance) -> mean loss of these examples, a scalar."""

CHECKS = 20
"""Times that the held-out loss is looked at."""


@dataclass(kw_only=True, eq=False)
class Learned(Part):
    """What all trained parts share: the budget and how it is spent.

    The loss on a held-out share of the training examples, or what a part watches in its place, is looked at 20 times,
    before the first step as well. Training ends when it has not fallen for `patience` looks, and the weights of the
    best look are kept: where training does not help, that is the start.

    Parameters
    ----------
    steps : int
        Gradient steps at most: what training costs, whatever the number of documents.
    batch : int
        Examples of a step.
    rate : float
        Largest learning rate of AdamW (Loshchilov and Hutter, 2019); after a warm-up over the first twentieth of the
        steps it falls to zero along a cosine.
    weight_decay : float
    held_out : float
        Share of the training examples that early stopping looks at.
    patience : int
        Looks without an improvement after which training ends.
    sample : int
        Training documents at most, drawn at random.
    device : {"auto", "cpu", "cuda"}
        Where `fit` runs; *auto* is a GPU if there is one. On the CPU the same seed gives the same bytes.
    seed : int
    """

    steps: int = 600
    batch: int = 256
    rate: float = 1e-3
    weight_decay: float = 0.0
    held_out: float = 0.1
    patience: int = 5
    sample: int = 50_000
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "steps", "patience", "sample")
        self._require_at_least(2, "batch")
        self._require_positive("rate")
        self._require_at_least(0, "weight_decay")
        self._require(0 < self.held_out < 1, f"held_out must be between 0 and 1, got {self.held_out}")

    def training(self) -> list[dict[str, Any]]:
        """Return what the last `fit` did: one entry a training run. Empty after `load_state`."""
        return list(vars(self).get("_history", []))

    @contextmanager
    def _learning(self) -> Iterator[str]:
        """Yield the device; in the body torch draws from this part's seed, on one thread."""
        import torch

        self._history: list[dict[str, Any]] = []
        there = torch.cuda.is_available()
        self._require(self.device != "cuda" or there, "device=cuda, but torch finds no GPU: use auto or cpu")
        threads = torch.get_num_threads()
        with one_thread(), torch.random.fork_rng():
            torch.manual_seed(self.seed)
            torch.set_num_threads(1)
            try:
                yield "cpu" if self.device == "cpu" or not there else "cuda"
            finally:
                torch.set_num_threads(threads)

    def _split(
        self, examples: int, chance: torch.Generator | None = None, groups: Int64 | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the numbers of the examples that `_train` holds out, and of those that it learns from.

        A start that is fitted to examples, such as k-means, must leave the first alone: they would tell nothing.
        Examples of one group are held out together.
        """
        import torch

        chance = chance or torch.Generator(device="cpu").manual_seed(self.seed)
        if groups is None or (groups == groups[:1]).all():
            groups = np.arange(examples)
        names, group = np.unique(groups, return_inverse=True)
        count = len(names)
        order = torch.randperm(count, generator=chance)
        held_count = min(max(1, round(self.held_out * count)), count - 1)
        members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group, minlength=count))[:-1])

        def of(chosen: torch.Tensor) -> torch.Tensor:
            rows = [members[number] for number in chosen.tolist()]
            return torch.from_numpy(np.concatenate(rows) if rows else np.empty(0, dtype=np.int64))

        return of(order[:held_count]), of(order[held_count:])

    def _train(
        self,
        module: torch.nn.Module,
        loss: Loss,
        examples: int,
        data: str,
        after_step: Callable[[int], None] | None = None,
        groups: Int64 | None = None,
        watched: Callable[[torch.Tensor], float] | None = None,
    ) -> None:
        """Minimise a loss over a module's parameters; leave it in `eval` mode with the best weights.

        Parameters
        ----------
        module : torch.nn.Module
            On its device. In `train` mode while it learns and in `eval` mode at each look.
        loss : callable
        examples : int
            They are called by their numbers, 0 to examples - 1.
        data : str
            What they are, in words: "5183 documents with 5 neighbours each".
        after_step : callable or None
            Called with the number of each step that was made.
        groups : int64 (examples,) or None
            Examples that know of each other have the same number, and are held out together.
        watched : callable or None
            Returns what should fall, given the numbers of the held-out examples; None is their loss.
        """
        import torch
        from tqdm import tqdm

        device = next(module.parameters()).device
        chance = torch.Generator(device="cpu").manual_seed(self.seed)
        held_rows, train_rows = self._split(examples, chance, groups)
        self._require(len(held_rows) >= 1, f"{examples} training example(s) are too few: {data}")
        # more are no surer and take longer than the steps between two looks
        tested = held_rows[: 16 * self.batch]
        batch = min(self.batch, len(train_rows))
        learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=self.rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._pace)

        def look() -> float:
            module.eval()
            with torch.no_grad():
                value = held_out_loss() if watched is None else watched(tested.to(device))
            module.train()
            return value

        def held_out_loss() -> float:
            fixed = torch.Generator(device="cpu").manual_seed(self.seed + 1)
            total = 0.0
            for part in tested.split(batch):
                # a batch of one has no in-batch negatives
                if len(part) > 1 or len(tested) == 1:
                    total += float(loss(part.to(device), fixed)) * len(part)
            return total / len(tested)

        watches = "held-out loss" if watched is None else "what is watched"
        started = time.perf_counter()
        first = best = look()
        best_weights, best_step, stale, step = _copy(module), 0, 0, 0
        every = max(1, self.steps // CHECKS)
        queue: list[torch.Tensor] = []
        bar = tqdm(total=self.steps, desc=f"{type(self).__name__} on {data}", disable=None, leave=False)
        with bar:
            while step < self.steps and stale < self.patience:
                if not queue:
                    shuffled = train_rows[torch.randperm(len(train_rows), generator=chance)]
                    # an epoch's last batch is dropped where it is short: batch norm would see other statistics
                    queue = [part for part in shuffled.split(batch) if len(part) == batch]
                rows = queue.pop().to(device)
                optimizer.zero_grad(set_to_none=True)
                value = loss(rows, chance)
                value.backward()
                torch.nn.utils.clip_grad_norm_(module.parameters(), 5.0)
                optimizer.step()
                schedule.step()
                step += 1
                bar.update()
                if after_step is not None:
                    after_step(step)
                if step % every == 0 or step == self.steps:
                    current = look()
                    bar.set_postfix_str(f"{watches} {current:.4f}", refresh=False)
                    # a loss of NaN is no improvement
                    if current < best:
                        best, best_step, stale, best_weights = current, step, 0, _copy(module)
                    else:
                        stale += 1
        module.load_state_dict(best_weights)
        module.eval()
        self._history.append(
            {
                "part": type(self).__name__,
                "data": data,
                "held_out": len(tested),
                "examples": len(train_rows),
                "parameters": sum(parameter.numel() for parameter in learned),
                "steps": step,
                "best_step": best_step,
                "loss_before": first,
                "loss": best,
                "seconds": round(time.perf_counter() - started, 3),
                "device": str(device.type),
            }
        )

    def _pace(self, step: int) -> float:
        """Return the learning rate of a step relative to `rate`: a linear warm-up, then half a cosine down to 0."""
        warm = max(1, self.steps // 20)
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, self.steps - warm))))


def _copy(module: torch.nn.Module) -> dict[str, Any]:
    """Return a copy of a module's weights."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
