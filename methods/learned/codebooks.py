"""Product quantisers whose codebooks are written as a product of two matrices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32
from methods.kernels import k_means
from methods.kernels.packing import unpack
from methods.learned.examples import drawn
from methods.learned.trainer import Learned
from methods.product.faiss_codec import FaissCodec, codec_of_codebooks
from methods.transforms.linear import eigenbasis

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, eq=False)
class FactoredPQ(Learned, Codec):
    """A product quantiser with the codebooks C_j = F_j P_j + o_j, j = 1..m, trained by gradient descent.

    The loss is the squared error to the nearest codeword, over the mean square of the documents. Vectors are frozen, so
    that of the two terms of a vector-quantised autoencoder's loss only the codebook's is left. The codebooks that come
    out are those of an ordinary product quantiser, and FAISS encodes, decodes and searches; state is the factors.

    Parameters
    ----------
    m, bits : int
        Parts of a vector, and bits of each part's code.
    """

    m: int
    bits: int = 8

    @property
    def codebook_size(self) -> int:
        """Centroids of each codebook."""
        return int(1 << self.bits)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "m")
        self._require(1 <= self.bits <= 8, f"bits must be 1 to 8, got {self.bits}")

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        import torch

        n, d = docs.shape
        count = 2**self.bits
        self._require(d % self.m == 0, f"m={self.m} does not divide the {d} dimensions of the vectors")
        self._require(n > count, f"{n} documents are not more than the {count} codewords of bits={self.bits}")
        self.__dict__.pop("_quantiser", None)
        docs = docs[drawn(n, self.sample, self.seed)]
        with self._learning() as device:
            parts = torch.from_numpy(docs.reshape(len(docs), self.m, d // self.m)).to(device)
            power = float(parts.pow(2).sum(dim=2).mean()) or 1.0
            factors = self._factors(docs[np.sort(self._split(len(docs))[1].numpy())])
            module = torch.nn.ParameterDict()
            for name, (array, learned) in factors.items():
                value = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device)
                module[name] = torch.nn.Parameter(value, requires_grad=learned)

            def loss(batch: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
                books = torch.matmul(module["words"], module["maps"]) + module["offsets"][:, None, :]
                return nearest_error(parts[batch].transpose(0, 1), books) / power

            self._train(module, loss, len(docs), f"{len(docs)} documents in {self.m} parts")
            trained = {name: module[name].detach().cpu().numpy() for name in factors}
        self.maps_: Float32 = trained["maps"]
        self.offsets_: Float32 = trained["offsets"]
        if factors["words"][1]:
            self.words_: Float32 = trained["words"]

    @abstractmethod
    def _factors(self, docs: Float32) -> dict[str, tuple[Array, bool]]:
        """Return `words` F (m, 2^bits, r), `maps` P (m, r, d / m), `offsets` o (m, d / m), and whether each learns."""

    @abstractmethod
    def _words(self) -> Float32:
        """Return F, float32 (m, 2^bits, r), of a fitted codec."""

    def codebooks(self) -> Float32:
        """Return the codewords of each part, float32 (m, 2^bits, d / m)."""
        self._check_fitted()
        wide = self._words().astype(np.float64) @ self.maps_.astype(np.float64) + self.offsets_[:, None, :]
        return np.asarray(wide, dtype=np.float32)

    def usage(self, codes: Codes) -> Array:
        """Return the share of each part's codewords that some document has, float64 (m,)."""
        numbers = unpack(codes.array, self.bits, self.m)
        counts: Array = np.array([len(np.unique(column)) for column in numbers.T])
        return counts / (1 << self.bits)

    @cached_property
    def _quantiser(self) -> FaissCodec:
        """FAISS's product quantiser with the codebooks, which encodes, decodes and searches."""
        return codec_of_codebooks(self.codebooks(), self.bits)

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over factors; the codebooks are multiplied out at first use."""
        self.__dict__.pop("_quantiser", None)
        return super().load_state(arrays)

    def _encode(self, docs: Float32) -> Codes:
        return self._quantiser._encode(docs)

    def _decode(self, codes: Codes) -> Float32:
        return self._quantiser._decode(codes)

    def _search(self, queries: Float32, codes: Codes, k: int) -> tuple[Float32, NDArray[np.int64]]:
        if self.scoring == "asymmetric" and not self.renormalizes:
            return self._quantiser._search(queries, codes, k)
        return super()._search(queries, codes, k)


@dataclass(kw_only=True, eq=False)
class SimVQ(FactoredPQ):
    """Codebooks that are a linear map of random ones (Zhu et al., 2024, one linear layer; SimVQ).

    The codewords of a part are drawn from a normal distribution and stay; a linear map learns to lay them over the
    documents. Since every document moves the map, and with it all codewords, none is left unused, which is what the
    paper is after at up to 262,144 codewords. k-means has no such trouble at 256 and places each freely: on frozen
    vectors the map can win nothing but its size, (r + 1) d numbers for 2^bits d, as the random codewords are drawn
    again from the seed.

    Parameters
    ----------
    width : int or None
        Numbers of a random codeword, r; None is d / m, as in the paper. At 2^bits any codebook could be learned.

    Notes
    -----
    Here the map starts where the codewords have the documents' mean and covariance, part by part, which is where a
    linear map can bring them without looking at anything else; the paper starts at random and trains longer.
    """

    width: int | None = None

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "width")

    def _factors(self, docs: Float32) -> dict[str, tuple[Array, bool]]:
        """Return random words, and maps that give codewords the covariance of the documents' parts."""
        d = docs.shape[1]
        size = d // self.m
        width = self.width or size
        self._require(width >= size, f"width={width} is less than the {size} dimensions of a part")
        maps = np.zeros((self.m, width, size))
        for part in range(self.m):
            block = docs[:, part * size : (part + 1) * size].astype(np.float64)
            values, vectors = eigenbasis(np.cov(block, rowvar=False, bias=True).reshape(size, size))
            # a codeword's entries have variance 1 / width
            maps[part, :size] = np.sqrt(width * np.maximum(values, 0))[:, None] * vectors.T
        offsets = docs.mean(axis=0, dtype=np.float64).reshape(self.m, size)
        return {"words": (self._drawn(width), False), "maps": (maps, True), "offsets": (offsets, True)}

    def _drawn(self, width: int) -> Float32:
        """Return the random words, float32 (m, 2^bits, width), which the seed determines."""
        rng = np.random.default_rng(self.seed)
        words: Float32 = (rng.standard_normal((self.m, 1 << self.bits, width)) / np.sqrt(width)).astype(np.float32)
        return words

    def _words(self) -> Float32:
        return self._drawn(self.maps_.shape[1])


@dataclass(kw_only=True, eq=False)
class LowRankVQ(FactoredPQ):
    """Codewords of fewer numbers than a part has, projected up (Zhu et al., 2022, low-rank representation VQ).

    Clusters are formed in `rank` dimensions, and one projection for each part says what they mean. The paper compresses
    a network's weights and lets its task loss train both; here it is the squared error of the documents, from the start
    that k-means on each part's leading axes gives.

    Parameters
    ----------
    rank : int
        Numbers of a codeword, at most d / m.
    """

    rank: int = 4

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "rank")

    def _factors(self, docs: Float32) -> dict[str, tuple[Array, bool]]:
        """Return k-means codewords in each part's principal axes, and these axes as maps."""
        d = docs.shape[1]
        size, count = d // self.m, 2**self.bits
        self._require(self.rank <= size, f"rank={self.rank} is more than the {size} dimensions of a part")
        maps, projections = (
            np.empty((self.m, self.rank, size)),
            np.empty((len(docs), self.m * self.rank), dtype=np.float32),
        )
        offsets = docs.mean(axis=0, dtype=np.float64).reshape(self.m, size)
        for part in range(self.m):
            block = docs[:, part * size : (part + 1) * size] - offsets[part]
            axes = eigenbasis(block.T @ block)[1][:, : self.rank]
            maps[part] = axes.T
            projections[:, part * self.rank : (part + 1) * self.rank] = block @ axes
        self._require(len(docs) >= count, f"{len(docs)} documents to learn from are fewer than the {count} codewords")
        words = k_means.codebooks(projections, self.m, count, self.seed, iterations=25)
        return {"words": (words, True), "maps": (maps, True), "offsets": (offsets, True)}

    def _words(self) -> Float32:
        return self.words_


def nearest_error(parts: torch.Tensor, books: torch.Tensor) -> torch.Tensor:
    """Return the mean squared distance of (m, b, s) parts to the nearest of their (m, K, s) codewords."""
    import torch

    with torch.no_grad():
        distances = books.pow(2).sum(dim=2)[:, None, :] - 2 * torch.matmul(parts, books.transpose(1, 2))
        chosen = distances.argmin(dim=2)
    nearest = books.gather(1, chosen[:, :, None].expand(-1, -1, books.shape[2]))
    return (parts - nearest).pow(2).sum(dim=2).mean()
