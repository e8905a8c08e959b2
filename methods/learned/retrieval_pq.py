"""Product quantisation trained for retrieval: Distill-VQ, MoPQ, JPQ, RepCONC and Poeem on frozen documents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Codec, Codes, Float32, added_parameter, project, row_blocks
from methods.learned import layers
from methods.learned.examples import Pairs, nearest, query_pairs, sampled
from methods.learned.losses import info_nce, list_net
from methods.learned.trainer import Learned
from methods.product.faiss_codec import FaissCodec, codec_of_codebooks
from methods.transforms.opq import OPQ

if TYPE_CHECKING:
    import torch

Int64 = NDArray[np.int64]

WATCHED = 10
"""Best documents of a query that `watch="overlap"` looks for."""


@dataclass(kw_only=True, eq=False)
class RetrievalPQ(Learned, Codec):
    """A product quantiser whose codebooks are trained on what a search does, started from OPQ.

    The systems of the literature differ in a loss, in how documents get their codes in training, and in whether the
    rotation moves. Each is one setting:

    =========== ============ ========== ======== =======================================
    system      objective    codes      rotation source
    =========== ============ ========== ======== =======================================
    Distill-VQ  distillation nearest    queries  Xiao et al., 2022 (no labels)
    MoPQ        contrastive  soft       fixed    Xiao et al., 2021
    JPQ         contrastive  fixed      fixed    Zhan et al., 2021 (centroids only)
    RepCONC     contrastive  balanced   fixed    Zhan et al., 2022 (centroids only)
    Poeem       contrastive  nearest    learned  Zhang et al., 2021
    =========== ============ ========== ======== =======================================

    All of them train the encoders of queries or documents too; here the vectors are given and stay. With
    `renormalize=True` the scores that are trained are those of decoded documents scaled to unit length, as search has
    them.

    Parameters
    ----------
    m, bits : int
        Sub-quantisers, and bits of each; ceil(m bits / 8) bytes a document.
    objective : {"distillation", "contrastive"}
        *distillation*: ListNet between the float scores and the quantised ones over a query's candidates, its best
        documents and those of the other queries of the batch; needs no labels. *contrastive*: a query's document
        against the other candidates (the pairs given, else its nearest document).
    codes : {"nearest", "soft", "fixed", "balanced"}
        *nearest*: the nearest codeword, found anew at each step. *soft*: the same, with the gradient of
        softmax(-distance^2 / softness) as well, straight through. *fixed*: those of the start, for ever: a document's
        codes are found with the codebooks that training started from, which are then stored beside the trained ones.
        *balanced*: in training all codewords of a batch are used alike (Sinkhorn-Knopp); documents get the nearest.
    rotation : {"fixed", "queries", "learned"}
        *fixed*: OPQ's. *queries*: a linear map of the queries, which starts there. *learned*: a rotation of both, moved
        along with the codebooks, straight through the codes.
    temperature : float
        Temperature of the softmax over scores. The scores of unit vectors span less than 1: the papers' 1 is for longer
        ones.
    reconstruction : float
        Weight of the squared error of the candidates, relative to their second moment.
    candidates : int
        How many of a query's best documents its negatives are drawn from.
    negatives : int
        Drawn for each query and step; all queries of the batch share them.
    hard : bool
        Draw negatives from what the quantised search finds, looked up again 10 times, instead of the float search's.
    softness : float
        For codes=soft, relative to the mean squared error of the start.
    sinkhorn : int
        Rounds of codes=balanced.
    epsilon : float
        Entropy of codes=balanced, with distances scaled to [-1, 1].
    rounds : int
        Rounds of OPQ at the start.
    watch : {"loss", "overlap"}
        What early stopping looks at: the loss of held-out queries, or the share of their ten best documents that the
        quantised scores do not find among all (of `sample`). A loss can creep down while the ranking gets worse.
    """

    m: int
    bits: int = 8
    objective: Literal["distillation", "contrastive"] = "distillation"
    codes: Literal["nearest", "soft", "fixed", "balanced"] = "nearest"
    rotation: Literal["fixed", "queries", "learned"] = "fixed"
    temperature: float = 0.05
    reconstruction: float = 0.0
    candidates: int = 200
    negatives: int = 7
    hard: bool = False
    softness: float = 0.1
    sinkhorn: int = 5
    epsilon: float = 0.003
    rounds: int = 3
    watch: Literal["loss", "overlap"] = added_parameter("loss")

    wants_queries: ClassVar[bool] = True
    wants_pairs: ClassVar[bool] = True

    @property
    def codebook_size(self) -> int:
        """Centroids of each codebook."""
        return int(1 << self.bits)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "m", "candidates", "negatives", "sinkhorn")
        self._require_positive("temperature", "softness", "epsilon")
        self._require(1 <= self.bits <= 12, f"bits must be 1 to 12, got {self.bits}")
        self._require_at_least(0, "reconstruction", "rounds")

    def _fit_pairs(self, docs: Float32, queries: Float32 | None, pairs: Int64 | None) -> None:
        self.__dict__.pop("_scanner", None)
        start = OPQ(m=self.m, bits=self.bits, rounds=self.rounds, seed=self.seed).fit(docs)
        rotated = start.transform_docs(docs)
        plain = FaissCodec(factory="PQ{m}x{bits}np", m=self.m, bits=self.bits, seed=self.seed).fit(rotated)
        self.rotation_ = start.rotation_
        codebooks = _codebooks(plain)
        if self.codes == "fixed":
            self.start_codebooks_ = codebooks
        taught, answers = sampled(docs, pairs, self.sample, self.seed)
        examples = query_pairs(taught, queries, answers)
        with self._learning() as device:
            self._learn(taught, examples, codebooks, device)

    def _learn(self, docs: Float32, examples: Pairs, codebooks: Float32, device: str) -> None:
        import torch

        module = _module(
            torch.tensor(codebooks, device=device), torch.tensor(self.rotation_, device=device), self.rotation
        )
        x, q, positive = (
            torch.tensor(docs, device=device),
            torch.tensor(examples.queries, device=device),
            torch.tensor(examples.rows, device=device),
        )
        pool = torch.tensor(nearest(examples.queries, docs, self.candidates), device=device)
        # copied, since the pool is refreshed with what a quantised search finds
        best = pool[:, :WATCHED].clone()
        scale = float((x**2).sum(dim=1).mean())
        fixed = None
        if self.codes == "fixed":
            fixed = torch.tensor(_nearest_codes(project(docs, self.rotation_), codebooks), device=device)
        softness = (
            self.softness * float(_mean_error(x @ module.rotation(), codebooks=module.codebooks).detach()) / self.m
        )

        def scored(decoded: torch.Tensor) -> torch.Tensor:
            return layers.unit(decoded) if self.renormalizes else decoded

        def loss(rows: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
            drawn = torch.randint(pool.shape[1], (len(rows), self.negatives), generator=chance).to(device)
            negatives = pool[rows].gather(1, drawn).ravel()
            listed = torch.cat([positive[rows], negatives])
            inputs = x[listed]
            z = inputs @ module.rotation()
            if fixed is not None:
                decoded = gathered_codewords(module.codebooks, fixed[listed])
            elif self.codes == "balanced" and module.training:
                decoded = gathered_codewords(
                    module.codebooks, balanced_codes(z, module.codebooks, self.epsilon, self.sinkhorn)
                )
            else:
                decoded = assigned_codewords(z, module.codebooks, softness if self.codes == "soft" else None)
            if self.rotation == "learned":
                # straight through: the forward value is the code's, the gradient reaches the rotation as well
                decoded = decoded + z - z.detach()
            scores = module.queries(q[rows]) @ scored(decoded).T
            if self.objective == "distillation":
                value = list_net(scores, q[rows] @ inputs.T, self.temperature)
            else:
                value = _contrast(scores, listed, self.temperature)
            if self.reconstruction:
                value = value + self.reconstruction * (z - decoded).pow(2).sum(dim=1).mean() / scale
            return value

        def refresh(step: int) -> None:
            if step % max(1, self.steps // 10) == 0:
                with torch.no_grad():
                    z = x @ module.rotation()
                    codes = fixed if fixed is not None else _codes(z, module.codebooks)
                    hardest = _best_rows(
                        module.queries(q), scored(gathered_codewords(module.codebooks, codes)), pool.shape[1]
                    )
                    pool.copy_(hardest)

        def after(step: int) -> None:
            if self.rotation == "learned":
                orthonormalize(module.turn)
            if self.hard:
                refresh(step)

        def missed(rows: torch.Tensor) -> float:
            codes = fixed if fixed is not None else _codes(x @ module.rotation(), module.codebooks)
            found = _best_rows(
                module.queries(q[rows]), scored(gathered_codewords(module.codebooks, codes)), best.shape[1]
            )
            return 1 - float((found[:, :, None] == best[rows][:, None]).any(dim=2).double().mean())

        # distillation has no labels that could be known by heart
        groups = examples.groups if self.objective == "contrastive" else None
        watched = missed if self.watch == "overlap" else None
        self._train(module, loss, len(positive), examples.words, after_step=after, groups=groups, watched=watched)
        with torch.no_grad():
            self.codebooks_ = module.codebooks.cpu().numpy()
            if self.rotation == "learned":
                self.rotation_ = module.rotation().cpu().numpy()
            if self.rotation == "queries":
                self.query_map_ = module.map.cpu().numpy()

    @cached_property
    def _scanner(self) -> FaissCodec:
        """FAISS's quantiser with the trained codebooks."""
        return codec_of_codebooks(self.codebooks_, self.bits)

    def load_state(self, arrays: Any) -> Any:
        """Take over codebooks and rotations; FAISS's quantiser is made of them at first use."""
        self.__dict__.pop("_scanner", None)
        return super().load_state(arrays)

    def _encode(self, docs: Float32) -> Codes:
        scanner = codec_of_codebooks(self.start_codebooks_, self.bits) if self.codes == "fixed" else self._scanner
        return scanner.encode(project(docs, self.rotation_))

    def _decode(self, codes: Codes) -> Float32:
        return self._scanner.decode(codes)

    def _project_queries(self, queries: Float32) -> Float32:
        return project(queries, self.query_map_ if self.rotation == "queries" else self.rotation_)

    def _search(self, queries: Float32, codes: Codes, k: int) -> tuple[Float32, Int64]:
        if self.scoring != "asymmetric" or self.renormalizes:
            return super()._search(queries, codes, k)
        return self._scanner.search(self._project_queries(queries), codes, k)


def _codebooks(codec: FaissCodec) -> Float32:
    """Return a product quantiser's codewords, float32 (m, 2^bits, d / m)."""
    import faiss

    pq = codec._index.pq
    return np.array(faiss.vector_to_array(pq.centroids), dtype=np.float32).reshape(pq.M, pq.ksub, pq.dsub)


def _nearest_codes(vectors: Float32, codebooks: Float32) -> Int64:
    """Return the number of the nearest codeword of each part, int64 (n, m)."""
    import torch

    numbers = np.empty((len(vectors), len(codebooks)), dtype=np.int64)
    words = torch.tensor(codebooks)
    for start, stop in row_blocks(len(vectors), 4 * codebooks.shape[0] * codebooks.shape[1]):
        numbers[start:stop] = _codes(torch.tensor(vectors[start:stop]), words).numpy()
    return numbers


def _module(codebooks: torch.Tensor, rotation: torch.Tensor, moves: str) -> Any:
    """Return the torch module of codebooks (m, K, s) and of the map that `moves` says is trained with them."""
    import torch

    class Quantiser(torch.nn.Module):  # type: ignore[misc]
        """Codebooks, and how documents and queries get into their space."""

        start: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.codebooks = torch.nn.Parameter(codebooks.clone())
            self.register_buffer("start", rotation)
            if moves == "learned":
                self.turn = torch.nn.Parameter(rotation.clone())
            if moves == "queries":
                self.map = torch.nn.Parameter(rotation.clone())

        def rotation(self) -> torch.Tensor:
            return self.turn if moves == "learned" else self.start

        def queries(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs @ (self.map if moves == "queries" else self.rotation())

    return Quantiser()


def orthonormalize(matrix: torch.Tensor) -> None:
    """Move a matrix, in place, to the rotation nearest to it; it must be close to one already (Bjorck, 1971)."""
    import torch

    with torch.no_grad():
        for _ in range(3):
            matrix.copy_(1.5 * matrix - 0.5 * matrix @ (matrix.T @ matrix))


def _distances(z: torch.Tensor, codebooks: torch.Tensor) -> torch.Tensor:
    """Return squared distances less |z|^2, (m, n, K)."""
    import torch

    parts = z.reshape(len(z), codebooks.shape[0], -1).transpose(0, 1)
    return torch.baddbmm(codebooks.pow(2).sum(dim=2)[:, None], parts, codebooks.transpose(1, 2), alpha=-2)


def _codes(z: torch.Tensor, codebooks: torch.Tensor) -> torch.Tensor:
    """Return the numbers of the nearest codewords, (n, m)."""
    return _distances(z, codebooks).argmin(dim=2).T


def gathered_codewords(codebooks: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Return the codewords (n, d) that codes (n, m) name."""
    import torch

    parts = torch.arange(codebooks.shape[0], device=codes.device)
    return codebooks[parts, codes].flatten(1)


def assigned_codewords(z: torch.Tensor, codebooks: torch.Tensor, softness: float | None) -> torch.Tensor:
    """Return the nearest codewords of rows (n, d); with `softness`, with the gradient of a soft choice."""
    import torch

    if softness is None:
        with torch.no_grad():
            codes = _codes(z, codebooks)
        return gathered_codewords(codebooks, codes)
    distances = _distances(z, codebooks)
    share = torch.softmax(-distances / softness, dim=2)
    # codewords are moved as the nearest ones that they are, choices as the soft ones: the forward value is the nearest
    soft = torch.bmm(share, codebooks.detach()).transpose(0, 1).flatten(1)
    return gathered_codewords(codebooks, distances.argmin(dim=2).T) + soft - soft.detach()


def balanced_codes(z: torch.Tensor, codebooks: torch.Tensor, epsilon: float, rounds: int) -> torch.Tensor:
    """Return codes (n, m) that use all codewords alike: Sinkhorn-Knopp (Cuturi, 2013) on distances in [-1, 1]."""
    import torch

    with torch.no_grad():
        distances = _distances(z, codebooks)
        low, high = distances.amin(dim=(1, 2), keepdim=True), distances.amax(dim=(1, 2), keepdim=True)
        # in float64, since e^(2 / 0.003) is beyond float32
        kernel = ((low - distances) * (2 / (epsilon * (high - low).clamp_min(1e-12)))).double().exp_()
        words = torch.ones_like(kernel[:, 0, :, None])
        for _ in range(rounds):
            rows = 1 / torch.bmm(kernel, words).clamp_min(1e-300)
            words = 1 / torch.bmm(kernel.transpose(1, 2), rows).clamp_min(1e-300)
        return (kernel * words.transpose(1, 2)).argmax(dim=2).T


def _contrast(scores: torch.Tensor, listed: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return InfoNCE of queries (b) against candidates (b + ...), of which number i is query i's own."""
    import torch

    b = len(scores)
    if len(listed) == b:
        return info_nce(scores, temperature, listed[:, None] == listed[None, :])
    own_scores = scores.diagonal()[:, None]
    # the own document may be listed again, as another query's candidate
    other_scores = scores.masked_fill(listed[None, :] == listed[:b, None], -torch.inf)
    logits = torch.cat([own_scores, other_scores], dim=1) / temperature
    return torch.nn.functional.cross_entropy(logits, torch.zeros(b, dtype=torch.long, device=scores.device))


def _mean_error(z: torch.Tensor, codebooks: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error, a scalar, of a sample of the documents."""
    import torch

    with torch.no_grad():
        sampled_rows = z[:: max(1, len(z) // 2000)]
        return (sampled_rows - assigned_codewords(sampled_rows, codebooks, None)).pow(2).sum(dim=1).mean()


def _best_rows(queries: torch.Tensor, decoded: torch.Tensor, k: int) -> torch.Tensor:
    """Return the rows of each query's k best documents, (b, k), best first."""
    import torch

    return torch.cat([(part @ decoded.T).topk(k, dim=1).indices for part in queries.split(512)])
