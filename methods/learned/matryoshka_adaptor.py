"""Matryoshka-Adaptor: a residual map that moves what matters into the first dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Float32, Transform, project, unit_rows
from methods.learned import layers
from methods.learned.answers import Answers
from methods.learned.examples import drawn, neighbours, one_of
from methods.learned.losses import similarity_gap
from methods.learned.trainer import Learned
from methods.transforms.linear import eigenbasis, second_moment

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, eq=False)
class MatryoshkaAdaptor(Learned, Transform):
    """Learn x + f(x), f a perceptron with one hidden layer, and keep the first `dim` numbers (Yoon et al., 2024).

    First stage, from documents alone, with c_m the cosine of the first m numbers: the mean over prefixes m of
    |c_m - c| over pairs drawn at random (times `random_pairs`) and over a document and one of its nearest neighbours
    (the paper's top-k loss), and |f(x)| (times `rebuild`). Second stage, if there are pairs of queries and documents:
    the same, and the mean over prefixes of log(1 + exp(c_m(q, wrong) - c_m(q, right))) with the other documents of the
    batch as wrong ones. Adapters like this one are known to fit scarce labels too well: training ends when held-out
    queries stop gaining, and their loss before the second stage has to be beaten.

    f starts at zero. One adaptor serves all prefixes; what the prefix of `dim` numbers needs is kept.

    Parameters
    ----------
    dim : int
    prefixes : list of int or None
        Lengths that the loss looks at; None is half the dimensions, half of that and so on down to 24, and all. `dim`
        is always among them.
    hidden : int or None
        Width of f; None is the number of dimensions.
    loss : {"pairs", "similarity_matrix"}
        *pairs* is the above. *similarity_matrix* puts the mean squared difference of all cosines of a batch and its
        neighbours in place of both pair losses, as the dimension-reducing heads of Jasper and Stella are trained (Zhang
        et al., 2024).
    random_pairs : float
        Weight, the paper's alpha.
    rebuild : float
        Weight, the paper's beta. At 1 nothing beats the start on SciFact; 0.01 did better on train queries than 0.1.
    neighbours : int
        Nearest neighbours of each document, of which one is drawn at each step.
    supervised : bool
        Whether there is a second stage.
    negatives : int
        How many documents of the whole corpus, drawn once, are wrong ones beside those of the batch (ours: a batch has
        only documents that answer something).
    basis : {"given", "principal"}
        Which axes the residual is added to: the vectors' own, as in the paper, or the documents' principal axes, for
        models whose own prefixes mean nothing.
    """

    dim: int
    prefixes: list[int] | None = None
    hidden: int | None = None
    loss: Literal["pairs", "similarity_matrix"] = "pairs"
    random_pairs: float = 1.0
    rebuild: float = 0.01
    neighbours: int = 10
    supervised: bool = True
    negatives: int = 512
    basis: Literal["given", "principal"] = "given"

    wants_queries: ClassVar[bool] = True
    wants_pairs: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "dim", "neighbours", "hidden")
        self._require(all(m >= 1 for m in self.prefixes or []), f"prefixes must be at least 1, got {self.prefixes}")
        self._require_at_least(0, "random_pairs", "rebuild", "negatives")

    def _fit_pairs(self, docs: Float32, queries: Float32 | None, pairs: NDArray[np.int64] | None) -> None:
        d = docs.shape[1]
        lengths = prefix_lengths(d, self.dim) if self.prefixes is None else sorted({*self.prefixes, self.dim})
        longest = "dim" if lengths[-1] == self.dim else "the longest of prefixes"
        self._require(lengths[-1] <= d, f"{longest}={lengths[-1]} is wider than the vectors, which have {d} dimensions")
        sampled_docs = docs[drawn(len(docs), self.sample, self.seed)]
        near = neighbours(sampled_docs, self.neighbours)
        self.__dict__.pop("components_", None)
        with self._learning() as device:
            import torch

            residual = layers.perceptron([d, self.hidden or d, d])
            with torch.no_grad():
                residual[-1].weight.zero_()
                residual[-1].bias.zero_()
            residual = residual.to(device)
            axes = torch.eye(d, device=device)
            if self.basis == "principal":
                axes = torch.tensor(eigenbasis(second_moment(docs))[1].astype(np.float32), device=device)
                self.components_ = np.ascontiguousarray(axes[:, : self.dim].cpu().numpy())
            vectors, near_rows = torch.tensor(sampled_docs, device=device), torch.from_numpy(near)

            def adapted(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                change = residual(inputs)
                return inputs @ axes + change, change

            def preserve(inputs: torch.Tensor, twins: torch.Tensor) -> torch.Tensor:
                both = torch.cat([inputs, twins])
                moved, change = adapted(both)
                total = self._preserve(both, moved, lengths)
                return total + self.rebuild * change.norm(dim=1).mean() if self.rebuild else total

            def unsupervised(rows: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
                return preserve(vectors[rows], vectors[one_of(near_rows, rows, chance)])

            self._train(
                residual,
                unsupervised,
                len(sampled_docs),
                f"{len(sampled_docs)} documents with {near.shape[1]} neighbours",
            )
            if self.supervised and queries is not None and pairs is not None and len(pairs) > 1:
                answers = Answers(docs, queries, pairs, self.sample, self.seed, device, self.negatives)

                def ranked(numbers: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
                    asked, candidates, right = answers.at(numbers)
                    shuffled = torch.randint(len(vectors), (len(asked),), generator=chance)
                    rank = ranking(adapted(asked)[0], adapted(candidates)[0], right, lengths)
                    return rank + unsupervised(shuffled.to(asked.device), chance)

                if len(answers) > 1:
                    self._train(residual, ranked, len(answers), answers.words, groups=answers.groups)
            layers.keep(self, "residual", residual)
        arrays = vars(self)
        for name in ("residual_w1_", "residual_b1_"):
            arrays[name] = np.ascontiguousarray(arrays[name][..., : self.dim])

    def _preserve(self, inputs: torch.Tensor, moved: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """Return the mean over prefixes of what happens to cosines; the second half of the rows are neighbours."""
        old = layers.unit(inputs)
        cosines = old @ old.T
        total = inputs.new_zeros(())
        for m in lengths:
            new = layers.unit(moved[:, :m])
            if self.loss == "similarity_matrix":
                total = total + similarity_gap(new @ new.T, cosines, power=2)
                continue
            half = len(new) // 2
            total = total + similarity_gap((new[:half] * new[half:]).sum(dim=1), cosines[:half, half:].diagonal())
            if self.random_pairs:
                gap = similarity_gap(new[:half] @ new[:half].T, cosines[:half, :half])
                total = total + self.random_pairs * gap
        return total / len(lengths)

    def _transform_docs(self, docs: Float32) -> Float32:
        changed = layers.apply(self, "residual", docs)
        start = docs[:, : self.dim] if self.basis == "given" else project(docs, self.components_)
        return unit_rows(start + changed)


def prefix_lengths(d: int, dim: int) -> list[int]:
    """Return d, its half, its quarter and so on down to 24, and `dim`, ascending."""
    lengths = {d, dim}
    m = d // 2
    while m >= 24:
        lengths.add(m)
        m //= 2
    return sorted(lengths)


def ranking(asked: torch.Tensor, candidates: torch.Tensor, right: torch.Tensor, lengths: list[int]) -> Any:
    """Return the mean over prefixes, rows and wrong documents of log(1 + exp(wrong - right)) (Yoon et al., 2024).

    Parameters
    ----------
    asked : (b, d)
        Queries.
    candidates : (c, d)
        Documents, first that of each query, in the same row.
    right : bool (b, c)
        Which documents (columns) answer a query (row); these are not wrong.
    lengths : list of int
        Lengths of the prefixes.
    """
    from torch.nn.functional import softplus

    wrong = ~right
    total = asked.new_zeros(())
    for m in lengths:
        scores = layers.unit(asked[:, :m]) @ layers.unit(candidates[:, :m]).T
        lost = softplus(scores - scores.diagonal()[:, None])
        total = total + (lost * wrong).sum() / wrong.sum().clamp(min=1)
    return total / len(lengths)
