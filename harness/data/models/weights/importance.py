"""What heads and neurons are worth to a collection: Fisher information and the alignment of gradients.

The score is GAPrune's (Tang and Yang, 2025), summed over the weights of a structure in place of single weights, and
without its term for the size of weights alone: the sum of (F_domain - B F_general) |w|, times
1 + A cos(g_domain, g_general), with our own A and B. F is the mean squared gradient of a weight over batches, g the
mean gradient. The loss needs no queries: the first half of a document is to find its second half among those of the
batch (InfoNCE).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

TEMPERATURE = 0.05

BATCH = 16
"""Documents among whose second halves a first half finds its own."""

GENERAL_WEIGHT = 0.5
"""B: what a weight does for general text counts against it by half."""

ALIGNMENT_WEIGHT = 1.0
"""A: a structure whose gradients of both agree counts twice, one where they are opposed nothing."""


@dataclass(frozen=True)
class Gradients:
    """Mean gradients and mean squared gradients of weights, by name."""

    mean: Mapping[str, torch.Tensor]
    squared: Mapping[str, torch.Tensor]


def halves(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return the first and second half of each text that has two words or more, by its words."""
    words = [text.split() for text in texts]
    return [(" ".join(own[: len(own) // 2]), " ".join(own[len(own) // 2 :])) for own in words if len(own) > 1]


def gradients(
    embed: Callable[[Sequence[str]], torch.Tensor], weights: Mapping[str, nn.Parameter], texts: Sequence[str]
) -> Gradients:
    """Return the gradients of the loss of finding second halves, by batches of texts.

    Parameters
    ----------
    embed : callable
        Returns vectors of texts, (n, d), with their graph.
    weights : mapping of str to parameter
    texts : sequence of str
    """
    pairs = halves(texts)
    mean = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    squared = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    batches = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]
    batches = [batch for batch in batches if len(batch) > 1]  # one alone has nothing to be told from
    for batch in batches:
        firsts, seconds = (nn.functional.normalize(embed(half)) for half in zip(*batch, strict=True))
        loss = nn.functional.cross_entropy(firsts @ seconds.T / TEMPERATURE, torch.arange(len(batch)))
        found = torch.autograd.grad(loss, list(weights.values()))
        for name, gradient in zip(weights, found, strict=True):
            mean[name] += gradient / len(batches)
            squared[name] += gradient.square() / len(batches)
    return Gradients(mean, squared)


def scores(
    domain: Gradients, general: Gradients, weights: Mapping[str, torch.Tensor], axes: Mapping[str, int], count: int
) -> torch.Tensor:
    """Return what each of `count` structures is worth, float32 (count,).

    Parameters
    ----------
    domain, general : Gradients
        On texts of the collection, and on others.
    weights : mapping of str to tensor
        Those that consist of the structures' parts.
    axes : mapping of str to int
        Along which axis of each the structures lie, one after the other and equally wide.
    count : int
    """

    def summed(of: Callable[[str], torch.Tensor]) -> torch.Tensor:
        parts = [of(name).detach().movedim(axis, 0).reshape(count, -1).sum(dim=1) for name, axis in axes.items()]
        return torch.stack(parts).sum(dim=0)

    worth = summed(lambda name: (domain.squared[name] - GENERAL_WEIGHT * general.squared[name]) * weights[name].abs())
    product = summed(lambda name: domain.mean[name] * general.mean[name])
    ours = summed(lambda name: domain.mean[name].square()).sqrt()
    others = summed(lambda name: general.mean[name].square()).sqrt()
    cosine = product / (ours * others).clamp_min(1e-30)
    return worth * (1 + ALIGNMENT_WEIGHT * cosine)
