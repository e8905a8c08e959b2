"""Deep hash embedding: a network that is asked for a document's vector by its row number."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from methods.base import Array, Codes, Float32
from methods.tables.table import TableCodec, hash_of

Layers = list[tuple[Array, Array]]


@dataclass(kw_only=True, eq=False)
class HashNetwork(TableCodec):
    """Regress the table on hashes of its row numbers (Kang et al., 2021, DHE).

    A row number is hashed `hashes` times into 10**6 buckets, scaled to [-1, 1], and goes through a perceptron of
    `depth` hidden layers with the Mish activation. The hidden width is what the budget allows. Trained by Adam on the
    squared error; the last layer is then solved by ridge regression, which is its optimum. The weights are the code.
    There is nothing in a row number to generalise from: with fewer weights than numbers, it can only forget.

    Parameters
    ----------
    hashes : int
        Inputs of the network, k of the paper.
    depth : int
        Hidden layers.
    epochs : int
        How often the training goes through the table.
    batch : int
        Rows of a training step.
    rate : float
        Learning rate.
    seed : int
    """

    hashes: int = 64
    depth: int = 2
    epochs: int = 20
    batch: int = 256
    rate: float = 1e-3
    seed: int = 0

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require_at_least(1, "hashes", "depth", "epochs", "batch")
        self._require_positive("rate")

    def _inputs(self, n: int) -> Float32:
        """Return the hashes of row numbers as the network's input, float32 (n, hashes) in [-1, 1]."""
        rows, number = np.arange(n, dtype=np.uint64)[:, None], np.arange(self.hashes, dtype=np.uint64)[None, :]
        buckets = (hash_of(rows, number, self.seed) % np.uint64(10**6)).astype(np.float32)
        inputs: Float32 = buckets * np.float32(2e-6) - 1
        return inputs

    def _width(self, n: int, d: int) -> int:
        """Return the width of the hidden layers that fits the budget of n rows, at least 1."""
        # (depth - 1) w^2 + (hashes + d + depth) w + d numbers of two bytes
        a, b, c = self.depth - 1, self.hashes + d + self.depth, d - self.nbytes * n / 2
        if c >= 0:
            return 1
        root = -c / b if a == 0 else (-b + np.sqrt(b * b - 4 * a * c)) / (2 * a)
        return max(1, int(root))

    def _learn(self, docs: Float32) -> dict[str, Array]:
        n, d = docs.shape
        rng = np.random.default_rng(self.seed)
        sizes = [self.hashes, *[self._width(n, d)] * self.depth, d]
        layers: Layers = [
            ((rng.standard_normal((a, b)) * np.sqrt(2 / a)).astype(np.float32), np.zeros(b, np.float32))
            for a, b in pairwise(sizes)
        ]
        inputs = self._inputs(n)
        self._train(layers, inputs, docs, rng)
        # float16 first, so that the last layer is the optimum for what is stored
        stored = [(w.astype(np.float16), b.astype(np.float16)) for w, b in layers]
        hidden = forward_pass([(w.astype(np.float32), b.astype(np.float32)) for w, b in stored[:-1]], inputs)[-1]
        stored[-1] = _ridge(hidden, docs)
        return {f"{kind}{i}": array for i, layer in enumerate(stored) for kind, array in zip("wb", layer, strict=True)}

    def _train(self, layers: Layers, inputs: Float32, docs: Float32, rng: np.random.Generator) -> None:
        """Train the layers in place by Adam (Kingma and Ba, 2015)."""
        flat = [array for layer in layers for array in layer]
        first, second = [np.zeros_like(a) for a in flat], [np.zeros_like(a) for a in flat]
        step = 0
        for _ in range(self.epochs):
            order = rng.permutation(len(docs))
            for start in range(0, len(docs), self.batch):
                rows = order[start : start + self.batch]
                step += 1
                gradients = weight_gradients(layers, inputs[rows], docs[rows])
                size = self.rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
                for array, m, v, gradient in zip(flat, first, second, gradients, strict=True):
                    m += np.float32(0.1) * (gradient - m)
                    v += np.float32(0.001) * (gradient**2 - v)
                    array -= np.float32(size) * m / (np.sqrt(v) + np.float32(1e-8))

    def _decode(self, codes: Codes) -> Float32:
        layers = [
            (codes.shared[f"w{i}"].astype(np.float32), codes.shared[f"b{i}"].astype(np.float32))
            for i in range(self.depth + 1)
        ]
        hidden = forward_pass(layers[:-1], self._inputs(codes.n))[-1]
        decoded: Float32 = hidden @ layers[-1][0] + layers[-1][1]
        return decoded


def forward_pass(layers: Layers, inputs: Float32) -> list[Float32]:
    """Return the activations of each hidden layer, the input first."""
    activations = [inputs]
    for weights, bias in layers:
        before = activations[-1] @ weights + bias
        activations.append(before * np.tanh(np.logaddexp(0, before)))
    return activations


def weight_gradients(layers: Layers, inputs: Float32, targets: Float32) -> list[Array]:
    """Return the gradients of the mean over rows of |error|^2, in the order of the layers' arrays."""
    activations = forward_pass(layers[:-1], inputs)
    error = 2 * (activations[-1] @ layers[-1][0] + layers[-1][1] - targets) / np.float32(len(targets))
    gradients: list[Array] = []
    for number in range(len(layers) - 1, -1, -1):
        weights = layers[number][0]
        gradients[:0] = [activations[number].T @ error, error.sum(axis=0)]
        if number:
            before = activations[number - 1] @ layers[number - 1][0] + layers[number - 1][1]
            soft = np.tanh(np.logaddexp(0, before))
            slope = soft + before * (1 - soft**2) / (1 + np.exp(-before))
            error = (error @ weights.T) * slope
    return gradients


def _ridge(hidden: Float32, targets: Float32) -> tuple[Array, Array]:
    """Return weights and bias of the linear layer with the least squared error."""
    wide = hidden.astype(np.float64)
    centre, mean = wide.mean(axis=0), targets.mean(axis=0, dtype=np.float64)
    wide -= centre
    moment = wide.T @ wide
    moment += (1e-3 * np.trace(moment) / len(moment) + 1e-9) * np.eye(len(moment))
    weights = np.linalg.solve(moment, wide.T @ (targets - mean))
    return weights, mean - centre @ weights
