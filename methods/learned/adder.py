"""Adapted dense retrieval: a low-rank correction that pulls queries and the documents that answer them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Float32, Transform, project, unit_rows
from methods.learned import layers
from methods.learned.answers import Answers
from methods.learned.trainer import Learned

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, eq=False)
class Adder(Learned, Transform):
    """Add U V x to a vector x, with `rank` rows of V (Khatry et al., 2023, ADDER), and scale to unit length.

    Learned from pairs of queries and documents by the contrastive loss over a batch. U starts at zero, so that
    training starts at the vectors as they are; that is also where it ends if held-out queries do not gain. Without
    pairs a query's nearest document stands in for its answer, and a document's nearest neighbour where there are no
    queries: that can teach nothing but what the vectors say already, and the training record says so ("pseudo pairs").

    It shrinks nothing: a codec has to follow. The model is frozen, as in the paper.

    Parameters
    ----------
    rank : int
    sides : {"queries", "docs", "both"}
        What is corrected; with *both*, each by its own matrices.
    temperature : float
        That cosines are divided by.
    negatives : int
        How many documents of the whole corpus, drawn once, are negatives beside those of the batch. With 0 the loss
        knows only documents that answer something, and falls while the search gets worse.
    """

    rank: int = 16
    sides: Literal["queries", "docs", "both"] = "queries"
    temperature: float = 0.05
    negatives: int = 4096

    wants_queries: ClassVar[bool] = True
    wants_pairs: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "rank")
        self._require_positive("temperature")
        self._require_at_least(0, "negatives")

    def _fit_pairs(self, docs: Float32, queries: Float32 | None, pairs: NDArray[np.int64] | None) -> None:
        d = docs.shape[1]
        self._require(self.rank <= d, f"rank={self.rank} is more than the vectors' {d} dimensions")
        for name in [name for name in vars(self) if name.endswith(("down_", "up_"))]:
            delattr(self, name)
        with self._learning() as device:
            import torch
            from torch import nn
            from torch.nn.functional import cross_entropy

            answers = Answers(docs, queries, pairs, self.sample, self.seed, device, self.negatives)
            module = nn.ModuleDict({side: low_rank(d, self.rank) for side in self._corrected()}).to(device)

            def moved(side: str, inputs: torch.Tensor) -> torch.Tensor:
                return layers.unit(inputs + module[side](inputs) if side in module else inputs)

            def loss(numbers: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
                asked, candidates, right = answers.at(numbers)
                own_answer = torch.eye(*right.shape, dtype=torch.bool, device=device)
                scores = moved("queries", asked) @ moved("docs", candidates).T
                scores = scores.masked_fill(right & ~own_answer, -torch.inf)
                return cross_entropy(scores / self.temperature, torch.arange(len(asked), device=device))

            self._train(module, loss, len(answers), answers.words, groups=answers.groups)
            for side in self._corrected():
                for name, layer in zip(("down", "up"), module[side], strict=True):
                    weights = layer.weight.detach().cpu().numpy().T
                    setattr(self, f"{side}_{name}_", np.ascontiguousarray(weights))

    def _corrected(self) -> list[str]:
        """Return the sides that have an adapter: "queries", "docs" or both."""
        return ["queries", "docs"] if self.sides == "both" else [self.sides]

    def _moved(self, side: str, vectors: Float32) -> Float32:
        """Return vectors (n, d) of a side with its adapter's correction, if it has one, scaled to unit length."""
        if side in self._corrected():
            arrays = vars(self)
            vectors = vectors + project(project(vectors, arrays[f"{side}_down_"]), arrays[f"{side}_up_"])
        return unit_rows(vectors)

    def _transform_docs(self, docs: Float32) -> Float32:
        return self._moved("docs", docs)

    def _transform_queries(self, queries: Float32) -> Float32:
        return self._moved("queries", queries)


def low_rank(d: int, rank: int) -> Any:
    """Return a torch module x -> U V x with U zero."""
    import torch
    from torch import nn

    down, up = nn.Linear(d, rank, bias=False), nn.Linear(rank, d, bias=False)
    with torch.no_grad():
        up.weight.zero_()
    return nn.Sequential(down, up)
