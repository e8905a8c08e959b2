"""Losses that several methods share. All take batches of rows and return the mean over the rows, a scalar."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def info_nce(
    scores: torch.Tensor, temperature: float, same: torch.Tensor | None = None, hardest: int | None = None
) -> torch.Tensor:
    """Return the contrastive loss of a batch of pairs (van den Oord, Li and Vinyals, 2018).

    Parameters
    ----------
    scores : (b, b)
        Score of each first member of a pair against each second one; the diagonal holds the pairs.
    temperature : float
        Scores are divided by it.
    same : bool (b, b) or None
        Further places where left and right belong together; they are no negatives.
    hardest : int or None
        How many negatives of a row enter, those with the highest scores; None is all.
    """
    import torch
    from torch.nn.functional import cross_entropy

    b = len(scores)
    diagonal = torch.eye(b, dtype=torch.bool, device=scores.device)
    masked = diagonal if same is None else diagonal | same
    negatives = scores.masked_fill(masked, -torch.inf)
    if hardest is not None and hardest < b - 1:
        negatives = negatives.topk(hardest, dim=1).values
    logits = torch.cat([scores.diagonal()[:, None], negatives], dim=1) / temperature
    return cross_entropy(logits, torch.zeros(b, dtype=torch.long, device=scores.device))


def list_net(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the cross entropy of two lists' softmax, (b, c) scores each (Cao et al., 2007, ListNet, top one).

    Scores of unit vectors span less than 1: without a small `temperature` all lists would be nearly uniform.
    """
    from torch.nn.functional import log_softmax, softmax

    return -(softmax(teacher / temperature, dim=1) * log_softmax(student / temperature, dim=1)).sum(dim=1).mean()


def barlow_twins(first: torch.Tensor, second: torch.Tensor, weight: float, scale: float) -> torch.Tensor:
    """Return the redundancy-reduction loss of two normalised views (b, m) (Zbontar et al., 2021, equation 1).

    `weight` is that of the off-diagonal terms; `scale` multiplies the whole.
    """
    correlation = first.T @ second / len(first)
    on = (correlation.diagonal() - 1).pow(2).sum()
    off = correlation.pow(2).sum() - correlation.diagonal().pow(2).sum()
    return scale * (on + weight * off)


def similarity_gap(student: torch.Tensor, teacher: torch.Tensor, power: int = 1) -> torch.Tensor:
    """Return the mean |difference|^power of two similarity matrices (Zhang et al., 2024, Jasper and Stella)."""
    return (student - teacher).abs().pow(power).mean()
