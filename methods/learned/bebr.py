"""Binary embedding-based retrieval: a network writes a few bits for each of its outputs, one after the other."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, unit_rows
from methods.kernels.packing import UInt8, pack, unpack
from methods.learned import layers
from methods.learned.examples import Pairs, drawn, query_pairs
from methods.learned.losses import info_nce
from methods.learned.trainer import Learned
from methods.tables.table import as_half
from methods.transforms.hashing import procrustes

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, eq=False)
class BEBR(Learned, Codec):
    """Binarise recurrently (Gan et al., 2023, binary embedding-based retrieval, section 3).

    A document f of unit length becomes b_0 = sign(W(f)), and each further bit looks at what the ones before it missed:
    f_i = normalise(R_i(b_i)), r_i = sign(V_i(f - f_i)), b_(i+1) = b_i + 2^-(i+1) r_i. W, R_i and V_i are perceptrons.
    A number of the last b takes 2^bits equidistant levels, of which the number is stored.

    The start may be what a training-free quantiser does: W and V_i a rotation to `dim` dimensions (of the principal
    axes where they are fewer, a tight frame where they are more), R_i its transpose, and beside each of them a
    perceptron that adds nothing yet. Then training has only to improve on the signs of rotated vectors and of what
    they missed, and early stopping falls back on these.

    Training pulls pairs together: symmetric InfoNCE on the cosine of the two sides' codes, with the hardest negatives
    of the batch. Signs hand gradients on as a clipped identity. The given pairs of queries and documents teach; without
    queries, documents and their nearest neighbours do.

    Scores are cosines of levels. *symmetric*: the query is binarised too, as in the paper (which computes them by
    tables of four-bit products). *asymmetric*: the query's signs are replaced by clip(., -1, 1), the function whose
    gradient the signs are trained with.

    Parameters
    ----------
    dim : int
        Numbers of a code; 512 or 1024 in the paper.
    bits : int
        Bits of each, 1 to 4: one more than the paper's u, which is 1.
    hidden : int
        Width of the perceptrons' hidden layers, each with batch norm and ReLU; 0 makes them linear. 2048 in the paper.
    blocks : int
        Hidden layers of each perceptron; 1 in the paper.
    temperature : float
        0.05 in the paper.
    hardest : int
        Negatives of a row that enter its softmax; 5 in the paper.
    neighbours : int
        Without queries: how many nearest documents are a document's partners.
    query_head : {"shared", "own"}
        *own*: documents get a head from documents and their neighbours alone, as an older model's index would have;
        then a second head learns to write queries, pairs saying where they belong, while the documents' codes stay as
        they are (backward-compatible learning, section 3.4). It starts as the first would be if all documents were
        rotated to where their queries are (orthogonal Procrustes).
    start : {"rotation", "random"}
        *random*: perceptrons alone with normal weights (Glorot and Bengio, 2010), as in the paper.
    stored_norm : bool
        Store the length of a document's levels as float16, as the paper's scan does to save computing it: two bytes a
        document that say nothing new.

    Notes
    -----
    Here the vectors are frozen and thousands, not 118,000 pairs of pictures and captions in batches of 4096 under SGD:
    hidden layers are narrower and AdamW does fewer steps. There is no queue of past batches; the paper's settings leave
    it off too. All of it is state, the other direction R_i included: 1.8 MB each at 384 dimensions.
    """

    dim: int = 384
    bits: int = 2
    hidden: int = 384
    blocks: int = 1
    temperature: float = 0.05
    hardest: int = 5
    neighbours: int = 5
    query_head: Literal["shared", "own"] = "shared"
    start: Literal["rotation", "random"] = "rotation"
    stored_norm: bool = False
    rate: float = 3e-4

    wants_queries: ClassVar[bool] = True
    wants_pairs: ClassVar[bool] = True

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "dim", "blocks", "hardest", "neighbours")
        self._require(1 <= self.bits <= 4, f"bits must be 1 to 4, got {self.bits}")
        self._require_at_least(0, "hidden")
        self._require_positive("temperature")

    def _fit_pairs(self, docs: Float32, queries: Float32 | None, pairs: NDArray[np.int64] | None) -> None:
        self._require(len(docs) >= 4, f"{len(docs)} documents are too few: batch norm and pairs need 4")
        few = docs[drawn(len(docs), self.sample, self.seed)]
        # all documents stay where pairs name them
        answer_docs = few if queries is None or pairs is None else docs
        with self._learning() as device:
            head = self._head(few).to(device)
            if self.query_head == "own":
                self._learn(head, few, query_pairs(few, None, None, self.neighbours))
                asking, asked = copy.deepcopy(head), self._pairs(answer_docs, queries, pairs)
                if queries is not None and pairs is not None:
                    train_rows = self._split(len(asked.queries), groups=asked.groups)[1].numpy()
                    turn(
                        asking,
                        procrustes(
                            unit_rows(asked.queries[train_rows]).T @ unit_rows(answer_docs[asked.rows[train_rows]])
                        ),
                    )
                self._learn(asking, answer_docs, asked, gallery=head)
                self._keep("query", asking)
            else:
                self._learn(head, answer_docs, self._pairs(answer_docs, queries, pairs))
            self._keep("doc", head)

    def _pairs(self, docs: Float32, queries: Float32 | None, pairs: NDArray[np.int64] | None) -> Pairs:
        """Return the pairs to learn from: given ones, or those of nearest documents."""
        return query_pairs(docs, queries, pairs, 1 if queries is not None else self.neighbours)

    def _head(self, docs: Float32) -> Any:
        """Return the torch modules W, R_0, V_0, R_1, ... for documents like these."""
        from torch import nn

        d = docs.shape[1]
        between = [self.hidden] * self.blocks if self.hidden else []
        sizes = {"first": (d, self.dim)}
        for step in range(self.bits - 1):
            sizes |= {f"back{step}": (self.dim, d), f"next{step}": (d, self.dim)}
        if self.start == "rotation":
            there = layers.rotation_start(docs, self.dim, self.seed)
            starts = {name: there.T if name.startswith("back") else there for name in sizes}
            return nn.ModuleDict({name: layers.bypassed(start, between, norm=True) for name, start in starts.items()})
        head = nn.ModuleDict({name: layers.perceptron([a, *between, b], norm=True) for name, (a, b) in sizes.items()})
        for module in head.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)
        return head

    def _learn(self, head: Any, docs: Float32, pairs: Pairs, gallery: Any = None) -> None:
        import torch

        device = next(head.parameters()).device
        unit_queries, rows = (
            torch.from_numpy(unit_rows(pairs.queries)).to(device),
            torch.from_numpy(pairs.rows).to(device),
        )
        unit_docs = torch.from_numpy(unit_rows(docs)).to(device)
        stored = None
        if gallery is not None:
            with torch.no_grad():
                stored = layers.unit(binarised(gallery.eval(), unit_docs))

        def loss(batch: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
            asked, answers = unit_queries[batch], unit_docs[rows[batch]]
            if stored is None:
                both = layers.unit(binarised(head, torch.cat([asked, answers])))
                ours, theirs = both[: len(batch)], both[len(batch) :]
            else:
                ours, theirs = layers.unit(binarised(head, asked)), stored[rows[batch]]
            # a document may be the answer of two queries, or, among documents, be asked and found in one batch
            same = (rows[batch][:, None] == rows[batch][None, :]) | (asked @ answers.T > 1 - 1e-5)
            same |= asked @ asked.T > 1 - 1e-5
            scores = ours @ theirs.T
            there = info_nce(scores, self.temperature, same, self.hardest)
            back = info_nce(scores.T, self.temperature, same.T, self.hardest)
            return (there + back) / 2

        self._train(head, loss, len(unit_queries), pairs.words, groups=pairs.groups)

    def _keep(self, side: str, head: Any) -> None:
        """Store a trained head as state under the names of a side, "doc" or "query"."""
        for name, module in head.items():
            layers.keep(self, f"{side}_{name}", module)

    def _signs(self, vectors: Float32, side: str) -> tuple[UInt8, Float32]:
        """Return the level numbers, uint8 (n, dim), and the levels with clipped numbers for signs, float32 (n, dim)."""
        f = unit_rows(vectors)
        before = layers.apply(self, f"{side}_first", f)
        numbers = (before > 0).astype(np.uint8)
        clipped = np.clip(before, -1, 1)
        for step in range(self.bits - 1):
            back = unit_rows(layers.apply(self, f"{side}_back{step}", levels(numbers, step + 1)))
            before = layers.apply(self, f"{side}_next{step}", f - back)
            numbers = 2 * numbers + (before > 0).astype(np.uint8)
            clipped = clipped + np.float32(2.0 ** -(step + 1)) * np.clip(before, -1, 1)
        return numbers, clipped

    def _codes(self, numbers: UInt8) -> Codes:
        """Return level numbers, uint8 (n, dim), packed, with their length as float16 if it is stored."""
        rows: dict[str, Array] = {"codes": pack(numbers, self.bits)}
        if self.stored_norm:
            lengths = np.linalg.norm(levels(numbers, self.bits).astype(np.float64), axis=1)
            rows["norm"] = as_half(lengths, "BEBR")
        return Codes(n=len(numbers), rows=rows)

    def _encode(self, docs: Float32) -> Codes:
        return self._codes(self._signs(docs, "doc")[0])

    def _encode_queries(self, queries: Float32) -> Codes:
        return self._codes(self._signs(queries, self._query_side)[0])

    def _project_queries(self, queries: Float32) -> Float32:
        return unit_rows(self._signs(queries, self._query_side)[1])

    @property
    def _query_side(self) -> str:
        """Return the side whose head queries go through."""
        return "query" if self.query_head == "own" else "doc"

    def _decode(self, codes: Codes) -> Float32:
        values = self._levels(codes)
        return unit_rows(values, codes.rows["norm"].astype(np.float64) if self.stored_norm else None)

    def _levels(self, codes: Codes) -> Float32:
        return levels(unpack(codes.rows["codes"], self.bits, self.dim), self.bits)


def levels(numbers: UInt8, bits: int) -> Float32:
    """Return what level numbers of `bits` bits mean: the sum over i of 2^-i, plus or minus, first bit first."""
    centred = 2 * numbers.astype(np.float32) - np.float32(2**bits - 1)
    return np.asarray(centred / np.float32(2 ** (bits - 1)), dtype=np.float32)


def binarised(head: Any, vectors: torch.Tensor) -> torch.Tensor:
    """Return the recurrent levels of unit vectors in torch, (n, d) -> (n, dim), with gradients."""
    values = sign(layers.run(head["first"], vectors))
    step = 0
    while f"back{step}" in head:
        back = layers.unit(layers.run(head[f"back{step}"], values))
        values = values + 2.0 ** -(step + 1) * sign(layers.run(head[f"next{step}"], vectors - back))
        step += 1
    return values


def turn(head: Any, rotation: Array) -> None:
    """Change a head so that it makes of R v what it made of v; R is orthogonal, (d, d)."""
    import torch
    from torch import nn

    for name, module in head.items():
        r = torch.as_tensor(rotation, dtype=torch.float32, device=next(module.parameters()).device)
        with torch.no_grad():
            for chain in module.values() if isinstance(module, nn.ModuleDict) else [module]:
                if name.startswith("back"):
                    chain[-1].weight.copy_(r @ chain[-1].weight)
                    if chain[-1].bias is not None:
                        chain[-1].bias.copy_(r @ chain[-1].bias)
                else:
                    chain[0].weight.copy_(chain[0].weight @ r.T)


def sign(values: torch.Tensor) -> torch.Tensor:
    """Return +1 where positive and -1 elsewhere; backwards it is clip(., -1, 1) (Hubara et al., 2016)."""
    clipped = values.clamp(-1, 1)
    return clipped + ((values > 0).to(values.dtype) * 2 - 1 - clipped).detach()
