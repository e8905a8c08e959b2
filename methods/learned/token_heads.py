"""A fixed number of vectors a document, learned so that late interaction ranks as with all of its vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Float32, Transform, project, unit_rows
from methods.learned import layers
from methods.learned.examples import drawn
from methods.learned.losses import list_net
from methods.learned.trainer import Learned
from methods.multivector.pooling import TokenPooling
from methods.representations import Kind
from methods.token_vectors import TokenVectors, offsets_of

if TYPE_CHECKING:
    import torch

Int64 = NDArray[np.int64]

SHARPNESS = 20.0
"""What inner products of unit vectors are multiplied by before a softmax: each mean is then one of a few vectors."""


@dataclass(kw_only=True, eq=False)
class LearnedTokens(Learned, Transform):
    """Learn a head over a model's frozen token vectors, by the scores that all of them give.

    A step takes some queries and the documents that answer them. The softmax over these documents of the scores with
    `count` vectors each is to be that of the scores with all (ListNet; Cao et al., 2007). CRISP and ConstBERT train the
    model as well, with labelled queries; what is reproduced here is their shape and not their training.

    Parameters
    ----------
    head : {"clusters", "attention", "positions"}
        *clusters*: k-means within each document, and one linear map of all vectors, learned with the means in place
        (after CRISP; Veneroso et al., 2025). It starts as the identity. *attention*: each vector is a mean of the
        document's, weighted by the softmax of inner products with a learned vector. *positions*: each is a weighted sum
        over places in the text, and then mapped (ConstBERT's linear map of the padded document; MacAvaney et al., 2025,
        as a product of one over places and one over dimensions, since its own would be a billion numbers here). It
        starts as the mean of neighbours.
    count : int
        Vectors of a document; fewer where it has fewer (*clusters*).
    query_count : int or None
        Vectors of a query, clustered as documents are, as CRISP's C4x8 has 4; None is all. For *clusters*.
    longest : int
        Places of a text that *positions* knows; later ones are left out.
    temperature : float
        Scores are means over the query's vectors, divided by it.
    """

    head: Literal["clusters", "attention", "positions"] = "clusters"
    count: int = 8
    query_count: int | None = None
    longest: int = 256
    temperature: float = 0.05
    batch: int = 32
    steps: int = 300
    sample: int = 5_000

    takes: ClassVar[Kind] = "tokens"
    gives: ClassVar[Kind] = "tokens"
    wants_queries: ClassVar[bool] = True
    wants_pairs: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "count", "query_count", "longest")
        self._require_positive("temperature")
        self._require(self.query_count is None or self.head == "clusters", "query_count is for head=clusters")

    def _fit_pairs(self, docs: TokenVectors, queries: TokenVectors | None, pairs: Int64 | None) -> None:
        rng = np.random.default_rng(self.seed)
        with self._learning() as device:
            self._start(docs, rng)
            if queries is None or pairs is None or len(pairs) < 3:
                return
            import torch

            asked = pairs[drawn(len(pairs), self.sample, self.seed)]
            asked = asked[(queries.counts[asked[:, 0]] > 0) & (docs.counts[asked[:, 1]] > 0)]
            taught, place = np.unique(asked[:, 1], return_inverse=True)
            answers = docs.take(taught).float32()
            # clusters do not change while the map of their means is learned
            given = self._pooled(answers, self.count) if self.head == "clusters" else answers
            module = torch.nn.ParameterDict(
                {name: torch.nn.Parameter(torch.tensor(vars(self)[f"{name}_"])) for name in self._weights}
            ).to(device)

            def loss(rows: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
                chosen = rows.cpu().numpy()
                found = queries.take(asked[chosen, 0]).float32()
                with torch.no_grad():
                    teacher = scores(_padded(found, device), _padded(answers.take(place[chosen]), device))
                student = scores(self._asked(found, module), self._answers(given.take(place[chosen]), module))
                return list_net(student, teacher, self.temperature)

            self._train(module, loss, len(asked), f"{len(asked)} queries with their documents", groups=place)
            for name in self._weights:
                vars(self)[f"{name}_"] = np.ascontiguousarray(module[name].detach().cpu().numpy())

    @property
    def _weights(self) -> tuple[str, ...]:
        return {"clusters": ("map",), "attention": ("seeds",), "positions": ("places", "map")}[self.head]

    def _start(self, docs: TokenVectors, rng: np.random.Generator) -> None:
        """Set the weights to what is not learned."""
        for name in ("map_", "seeds_", "places_"):
            vars(self).pop(name, None)
        if self.head == "attention":
            rows = rng.choice(max(1, docs.tokens), self.count, replace=docs.tokens < self.count)
            self.seeds_ = np.array(docs.flat()[np.sort(rows)], np.float32)
            return
        self.map_ = np.eye(docs.width, dtype=np.float32)
        if self.head == "positions":
            own = np.arange(self.longest) * self.count // self.longest
            self.places_ = (own == np.arange(self.count)[:, None]).astype(np.float32)

    def _answers(self, docs: TokenVectors, module: Any) -> torch.Tensor:
        """Return the vectors of documents under weights that are being learned, (b, c, d); zeros where there is none.

        Of head=clusters they are given pooled.
        """
        import torch

        device = next(module.parameters()).device
        if self.head == "clusters":
            return layers.unit(_padded(docs, device) @ module["map"])
        padded = _padded(docs, device)
        if self.head == "positions":
            padded = padded[:, : self.longest]
            return layers.unit(module["places"][:, : padded.shape[1]] @ padded @ module["map"])
        there = torch.arange(padded.shape[1], device=device)[None, :] < torch.tensor(docs.counts)[:, None].to(device)
        logits = SHARPNESS * module["seeds"] @ padded.transpose(1, 2)
        weights = logits.masked_fill(~there[:, None, :], -torch.inf).softmax(dim=2)
        return layers.unit(weights @ padded)

    def _asked(self, queries: TokenVectors, module: Any) -> torch.Tensor:
        device = next(module.parameters()).device
        if self.query_count is not None:
            queries = self._pooled(queries, self.query_count)
        padded = _padded(queries, device)
        return layers.unit(padded @ module["map"]) if "map" in module else padded

    def _pooled(self, docs: TokenVectors, count: int) -> TokenVectors:
        return TokenPooling(grouping="kmeans", count=count, renormalize=False)._transform_docs(docs)

    def _transform_docs(self, docs: TokenVectors) -> TokenVectors:
        if self.head == "clusters":
            pooled = self._pooled(docs, self.count)
            return TokenVectors(unit_rows(project(pooled.values, self.map_)), pooled.offsets)
        made = [self._made(matrix.astype(np.float64)) for matrix in docs.matrices()]
        filled = [matrix for matrix in made if len(matrix)] or [np.empty((0, docs.width), np.float32)]
        return TokenVectors(np.concatenate(filled), offsets_of([len(matrix) for matrix in made]))

    def _made(self, vectors: NDArray[np.float64]) -> Float32:
        """Return the vectors of one document, float32 (count, d); none of a document that has none."""
        if not len(vectors):
            return np.empty((0, vectors.shape[1]), np.float32)
        if self.head == "positions":
            known = vectors[: self.longest]
            summed = self.places_[:, : len(known)].astype(np.float64) @ known @ self.map_.astype(np.float64)
            # a short text leaves later places empty
            return unit_rows(summed[np.abs(summed).sum(axis=1) > 0].astype(np.float32))
        logits = SHARPNESS * self.seeds_.astype(np.float64) @ vectors.T
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return unit_rows((weights / weights.sum(axis=1, keepdims=True) @ vectors).astype(np.float32))

    def _transform_queries(self, queries: TokenVectors) -> TokenVectors:
        own = queries.float32() if self.query_count is None else self._pooled(queries, self.query_count)
        if "map_" not in vars(self) or not own.tokens:
            return own
        return TokenVectors(unit_rows(project(own.values, self.map_)), own.offsets)


def _padded(docs: TokenVectors, device: Any) -> torch.Tensor:
    """Return documents as one float32 tensor (b, longest, d), zeros behind each one's end."""
    import torch

    matrices = [torch.from_numpy(np.array(matrix, np.float32)) for matrix in docs.matrices()]
    return torch.nn.utils.rnn.pad_sequence(matrices, batch_first=True).to(device)


def scores(queries: torch.Tensor, docs: torch.Tensor) -> torch.Tensor:
    """Return mean-of-maxima scores (m, n) of padded queries (m, q, d) and documents (n, p, d); zeros are no vectors."""
    import torch

    similarities = torch.einsum("iqd,jpd->ijqp", queries, docs)
    nothing = (docs == 0).all(dim=2)[None, :, None, :]
    best = similarities.masked_fill(nothing, -torch.inf).amax(dim=3)
    asked = (queries != 0).any(dim=2).to(best.dtype)
    # a document without vectors scores 0
    best = torch.nan_to_num(best, neginf=0.0)
    return (best * asked[:, None, :]).sum(dim=2) / asked.sum(dim=1).clamp(min=1)[:, None]
