"""Entropy-coded transform coefficients: one step for all dimensions, and as many bits as each number is worth."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from methods import range_coder
from methods.base import Array, Codec, Codes, Float32, project, row_blocks
from methods.linear import eigenbasis, second_moment
from methods.rate_search import UNGERBOECK, Quantiser, Search

Int8 = NDArray[np.int8]
Int16 = NDArray[np.int16]

PER_OCTAVE = 4
"""Classes of dimensions whose deviations differ by a factor of two."""

SMALLEST, LARGEST = -10, 20
"""Classes that are coded: deviations from 2**-2.5 to 2**5 steps. Smaller ones are not worth a bit."""

COUPLED = {"hard": -4, "mean": SMALLEST}
"""The least class that takes part in the trellis.

Along a run of zeros the trellis is locked, so that its codes for rarely coded dimensions come in lengths that jump: a
loss where each document has its own budget, and none where the mean counts.
"""

SLOPE = 0.1
"""Squared steps that a bit is worth, on average over documents."""

TRAINING_ROWS, TRAINING_ROUNDS = 2048, 16
PASSES, REFINEMENTS = 14, 8
DOCUMENTS_PER_CENTRE, ITERATIONS, SEEDING_ROWS = 4, 15, 8192
SHRINKAGE = 4
"""A centre is the mean of its documents and of so many more that lie at the mean of all."""
FOLDS = 8
MARGIN = 0.05
"""Bits that the range coder may need beyond the ideal length."""


class Model(NamedTuple):
    """Levels in steps and probabilities of a class's numbers -reach..reach, float64 (quantisers, 2 * reach + 1)."""

    levels: Array
    probabilities: Array


def reach(number: int) -> int:
    """Return the largest number of a class: 4.5 deviations."""
    return int(np.ceil(4.5 * 2 ** (number / PER_OCTAVE) + 1.5))


def gaussian_model(number: int, quantisers: int) -> Model:
    """Return where training starts from: cells of a Gaussian, with the middle one widened by a fifth of a step."""
    from scipy.special import ndtr

    deviation = 2 ** (number / PER_OCTAVE)
    numbers = np.arange(-reach(number), reach(number) + 1)
    # the second quantiser's levels lie half-way between the first one's, but for 0, which both have
    levels = np.stack([np.sign(numbers) * np.maximum(np.abs(numbers) - q / 2, 0) for q in range(quantisers)])
    edges = (levels[:, 1:] + levels[:, :-1]) / 2
    below = ndtr((edges + 0.1 * np.sign(edges)) / deviation)
    mass = np.diff(below, axis=1, prepend=0, append=1) + 1e-5
    shrink = deviation**2 / (deviation**2 + 1 / 16)
    return Model(levels * shrink, mass / mass.sum(axis=1, keepdims=True))


def held_out(docs: Float32, residuals: Float32) -> Float32:
    """Return residuals in bases that their documents had no part in, where `docs` are in the basis fitted to them.

    In its own eigenbasis a sample's small variances look smaller than those of other documents. Coordinates that are
    uncorrelated on just these documents come from a rotation fitted to them. Then each of a few folds is rotated
    to the eigenbasis of the second moment of the others.
    """
    moment = second_moment(docs)
    correlated = np.sum(moment**2) - np.sum(np.diag(moment) ** 2)
    if len(docs) < 2 or correlated > 1e-6 * np.sum(moment**2):
        return residuals
    out = np.empty_like(residuals)
    for fold in range(min(FOLDS, len(docs))):
        part = docs[fold::FOLDS]
        others = moment - second_moment(part) * (len(part) / len(docs))
        out[fold::FOLDS] = project(residuals[fold::FOLDS], eigenbasis(others)[1])
    return out


def updated(model: Model, values: Float32, numbers: Int16, which: NDArray[np.uint8]) -> Model:
    """Return centroids and frequencies, the same on both sides of zero, drawn a little to what they were.

    Parameters
    ----------
    model : Model
    values : float32 (count,)
        In steps.
    numbers : int16 (count,)
        What the values were quantised to.
    which : uint8 (count,)
        The quantiser of each.
    """
    levels, probabilities = model.levels.copy(), model.probabilities.copy()
    count = levels.shape[1]
    for q in range(len(levels)):
        own = which == q
        places = numbers[own] + count // 2
        mass = np.bincount(places, minlength=count).astype(np.float64)
        total = np.bincount(places, values[own], minlength=count)
        mass, total = mass + mass[::-1], total - total[::-1]
        levels[q] = (total + 5 * levels[q]) / (mass + 5)
        frequencies = np.maximum((mass + 20 * probabilities[q]) / (mass.sum() + 20), 1e-6)
        probabilities[q] = frequencies / frequencies.sum()
    return Model(levels, probabilities)


@dataclass(kw_only=True, eq=False)
class EntropyCoded(Codec):
    """Quantise all dimensions with one step, and write the numbers by range coding.

    Put `methods.linear.SVD(dim=None)` before it in a `Chain`. A document is predicted by the nearest of a few centres,
    and what is left is quantised. One step for all dimensions and an entropy code is reverse water-filling: a dimension
    takes the bits that its variance is worth, in fractions of a bit. Dimensions whose deviations are alike, measured
    in steps, share the probabilities of their numbers and the levels that they mean (the centroids), both counted on
    the fitted documents as if each had had no part in the rotation and in its centre. Which numbers a document gets
    is decided by squared error plus lambda times bits (`methods.rate_search`).

    Parameters
    ----------
    nbytes : int
        Bytes of a document.
    budget : {"hard", "mean"}
        *hard*: each document takes exactly `nbytes` bytes, with a lambda of its own such that it fits. *mean*: one
        lambda for all, so that a document takes the bits that it is worth, about `nbytes` bytes on average; they form
        one stream, with no lengths or offsets, that is read from its start.
    states : int
        1, or the states of a trellis, a power of two from 4 to 256, with which two quantisers take turns (Fischer and
        Wang, 1992). Time to encode grows with the states.
    centres : int
        Of k-means, at most; one for four fitted documents, or fewer, if there are not enough. They are stored as
        float16, two bytes for each dimension of each centre.
    seed : int
        Draws the documents that k-means starts from.

    Raises
    ------
    MethodError
        If constriction is not installed.

    Notes
    -----
    Uniform quantisation with an entropy code loses 1.53 dB, a quarter of a bit, to the rate-distortion bound of a
    Gaussian at high rates (Gish and Pierce, 1968), and less at low ones. What the levels cannot reach, beyond 4.5
    deviations, is cut.
    """

    nbytes: int
    budget: Literal["hard", "mean"] = "hard"
    states: int = 8
    centres: int = 256
    seed: int = 0

    def _check_parameters(self) -> None:
        self._require(self.nbytes >= 1, f"nbytes must be at least 1, got {self.nbytes}")
        self._require(self.centres >= 1, f"centres must be at least 1, got {self.centres}")
        known = ", ".join(map(str, UNGERBOECK))
        self._require(self.states == 1 or self.states in UNGERBOECK, f"states must be 1, {known}, got {self.states}")

    @property
    def row_wise(self) -> bool:  # type: ignore[override]
        """Whether each document has bytes of its own."""
        return self.budget == "hard"

    def _fit(self, docs: Float32, queries: Float32 | None) -> None:
        self._forget()
        self.mean_ = docs.mean(axis=0, dtype=np.float64).astype(np.float32)
        deviation = _above_rounding(docs.std(axis=0, dtype=np.float64), docs)
        goal, models = 8 * self.nbytes - MARGIN, dict[int, Model]()
        step = self._first_step(deviation, goal)
        self._fit_centres(docs, deviation, step)
        index = self._nearest_centre(docs)
        masses = np.bincount(index, minlength=len(self.centres_))
        # as if a document had had no part in its own centre, nor in the rotation: others have none
        own = ((masses + SHRINKAGE) / (masses + SHRINKAGE - 1)).astype(np.float32)[index]
        residuals = held_out(docs, self._residuals(docs, index) * own[:, None])
        deviation = _above_rounding(np.sqrt(np.mean(residuals**2, axis=0, dtype=np.float64)), docs)
        sample = np.linspace(0, len(docs) - 1, min(len(docs), TRAINING_ROWS)).astype(np.int64)
        residuals, spent = residuals[sample], float(np.mean(self._index_bits[index]))
        finest = float(deviation.max()) * 2 ** (-LARGEST / PER_OCTAVE)
        for turn in range(TRAINING_ROUNDS):
            step = max(step, finest)
            self._set_step(step, deviation, models)
            coded = len(self._coded)
            if not coded:
                break
            bits = spent + self._train(residuals, models)
            # ever smaller changes: dimensions in other classes change the bits at once, what is counted there later
            step *= 2 ** np.clip((bits - goal) / (0.75 * coded) / (1 + turn / 4), -2, 2)
        while self.budget == "hard" and self._quantisation(models).cheapest() > goal - 1 - self._index_bits.max():
            step *= 1.1
            self._set_step(step, deviation, models)
        used = [models[number] for number in self._classes()]
        self.levels_: Float32 = _joined([model.levels for model in used])
        self.probabilities_ = _joined([model.probabilities for model in used])

    def _first_step(self, deviation: Array, goal: float) -> float:
        """Return the step at which uniform quantisers of Gaussians take `goal` bits at high rate."""
        positive = deviation[deviation > 0]
        if not len(positive):
            return 1.0
        low, high = float(positive.min()) * 1e-3, float(positive.max()) * 10
        for _ in range(60):
            step = float(np.sqrt(low * high))
            bits = np.log2(np.maximum(positive / step * np.sqrt(12), 1)).sum()
            low, high = (step, high) if bits > goal else (low, step)
        return high * (1.5 if self.states > 1 else 1.0)

    def _set_step(self, step: float, deviation: Array, models: dict[int, Model]) -> None:
        self.step_ = step
        with np.errstate(divide="ignore"):
            number = np.rint(PER_OCTAVE * np.log2(deviation / step))
        self.class_: Int8 = np.where(number < SMALLEST, SMALLEST - 1, np.minimum(number, LARGEST)).astype(np.int8)
        for number in self._classes():
            models.setdefault(number, gaussian_model(number, self._quantisers(number)))

    def _classes(self) -> list[int]:
        """Return the classes of the coded dimensions, ascending."""
        return [number for number in np.unique(self.class_).tolist() if number >= SMALLEST]

    def _quantisers(self, number: int) -> int:
        return 2 if self.states > 1 and number >= COUPLED[self.budget] else 1

    @property
    def _coded(self) -> NDArray[np.int64]:
        """The coded dimensions, those of the largest deviations first."""
        order = np.argsort(-self.class_.astype(np.int64), kind="stable")
        return order[: int((self.class_ >= SMALLEST).sum())]

    def _fit_centres(self, docs: Float32, deviation: Array, step: float) -> None:
        """Fit centres by k-means, in units in which a distance is what it costs to code it."""
        from scipy.sparse import csr_array
        from sklearn.cluster import kmeans_plusplus

        self.unit_ = np.sqrt(deviation**2 + step**2 / 12).astype(np.float32)
        count = int(max(1, min(self.centres, len(docs) // DOCUMENTS_PER_CENTRE, 2 ** min(4 * self.nbytes, 62))))
        points = (docs - self.mean_) / self.unit_
        centres = np.zeros((1, docs.shape[1]))
        if count > 1:
            sample = points[np.linspace(0, len(docs) - 1, min(len(docs), SEEDING_ROWS)).astype(np.int64)]
            centres, _ = kmeans_plusplus(sample, count, random_state=self.seed)
        masses = np.full(count, len(docs) / count)
        for _ in range(ITERATIONS if count > 1 else 0):
            self._set_centres(centres, masses)
            index = self._nearest_centre(docs)
            masses = np.bincount(index, minlength=count)
            sums = csr_array((np.ones(len(docs)), (index, np.arange(len(docs)))), shape=(count, len(docs))) @ points
            centres = sums / (masses + SHRINKAGE)[:, None]
        self._set_centres(centres, masses)

    def _set_centres(self, centres: Array, masses: Array) -> None:
        self.__dict__.pop("_index_bits", None)
        self.centres_ = centres.astype(np.float16)
        self.frequencies_ = (0.75 * masses / masses.sum() + 0.25 / len(masses)).astype(np.float32)

    @functools.cached_property
    def _index_bits(self) -> Array:
        """Bits of each centre's number."""
        return np.asarray(-np.log2(self.frequencies_.astype(np.float64)))

    def _nearest_centre(self, docs: Float32) -> NDArray[np.int64]:
        centres = self.centres_.astype(np.float64)
        nearest = np.empty(len(docs), dtype=np.int64)
        bias = np.einsum("ij,ij->i", centres, centres) / 2 + np.log(2) * self._index_bits
        for start, stop in row_blocks(len(docs), 8 * max(centres.shape)):
            # float64, so that the answer does not depend on how many rows were asked for at once
            points = (docs[start:stop] - self.mean_).astype(np.float64) / self.unit_
            nearest[start:stop] = np.argmax(points @ centres.T - bias, axis=1)
        return nearest

    def _residuals(self, docs: Float32, index: NDArray[np.int64]) -> Float32:
        return docs - self._predictions(index)

    def _predictions(self, index: NDArray[np.int64]) -> Float32:
        predicted: Float32 = self.centres_[index] * self.unit_
        predicted += self.mean_
        return predicted

    def _columns(self, residuals: Float32) -> Float32:
        """Return the coded coordinates of residuals in steps, float32 (coordinates, n)."""
        return np.ascontiguousarray(residuals[:, self._coded].T * np.float32(1 / self.step_))

    def _quantisation(self, models: dict[int, Model]) -> Search:
        quantisers = {number: Quantiser(*models[number]) for number in self._classes()}
        return Search(self.states, [quantisers[number] for number in self.class_[self._coded].tolist()])

    def _train(self, residuals: Float32, models: dict[int, Model]) -> float:
        """Count numbers and average values of each class anew; return the mean bits of a document before that."""
        search, columns = self._quantisation(models), self._columns(residuals)
        slope = np.full(len(residuals), SLOPE, dtype=np.float32)
        groups = np.empty(columns.shape, dtype=np.uint8)
        numbers = np.empty(columns.shape, dtype=np.int16)
        bits = 0.0
        for start in range(0, len(residuals), search.rows):
            part = slice(start, start + search.rows)
            groups[:, part] = search.paths(columns[:, part], slope[part])
            chosen = search.choose(columns[:, part], groups[:, part], slope[part])
            numbers[:, part] = chosen.numbers
            bits += float(chosen.bits.sum())
        classes = self.class_[self._coded]
        for number in self._classes():
            own = classes == number
            which = groups[own].ravel() % 2
            models[number] = updated(models[number], columns[own].ravel(), numbers[own].ravel(), which)
        return bits / len(residuals)

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over models; what is derived from them is derived again at first use."""
        self._forget()
        return super().load_state(arrays)

    def _forget(self) -> None:
        for name in ("_models", "_steps", "_index_bits", "_index_model"):
            self.__dict__.pop(name, None)

    @functools.cached_property
    def _models(self) -> dict[int, Model]:
        """The models of the classes, as they were stored."""
        models, start = dict[int, Model](), 0
        for number in self._classes():
            shape = (self._quantisers(number), 2 * reach(number) + 1)
            own = slice(start, start + shape[0] * shape[1])
            models[number] = Model(self.levels_[own].reshape(shape), self.probabilities_[own].reshape(shape))
            start = own.stop
        return models

    @functools.cached_property
    def _steps(self) -> list[list[_Step]]:
        """What may come at each coordinate, by the state of the trellis; one thing only for those outside of it."""
        transitions, starts, start = self._quantisation(self._models).transitions, dict[int, list[int]](), 0
        models: dict[int, list[Any]] = {}
        for number, fitted in self._models.items():
            count = fitted.levels.shape[1]
            starts[number] = [start + q * count for q in range(len(fitted.levels))]
            models[number] = [range_coder.model(probabilities) for probabilities in fitted.probabilities]
            start += fitted.levels.size
        steps: dict[int, list[_Step]] = {}
        for number in self._classes():
            states = transitions if self._quantisers(number) > 1 else [(0, (0, 0))]
            # the coder's numbers count from -reach, which may be odd
            flip = -1 if reach(number) % 2 else 1
            steps[number] = [_Step(models[number][q], starts[number][q], after[::flip]) for q, after in states]
        return [steps[number] for number in self.class_[self._coded].tolist()]

    @functools.cached_property
    def _index_model(self) -> Any:
        return range_coder.model(self.frequencies_)

    def _write(self, coder: Any, index: int, numbers: Sequence[int]) -> None:
        coder.encode(index, self._index_model)
        state = 0
        for steps, number in zip(self._steps, numbers, strict=True):
            step = steps[state] if len(steps) > 1 else steps[0]
            coder.encode(number, step.model)
            state = step.after[number & 1]

    def _read(self, coder: Any) -> list[int]:
        """Return a document's centre, and the places of its levels in `levels_`."""
        state, places = 0, [coder.decode(self._index_model)]
        for steps in self._steps:
            model, start, after = steps[state] if len(steps) > 1 else steps[0]
            number = coder.decode(model)
            places.append(start + number)
            state = after[number & 1]
        return places

    def _encode(self, docs: Float32) -> Codes:
        search = self._quantisation(self._models)
        shift = np.array([reach(number) for number in self.class_[self._coded].tolist()])
        packed = np.zeros((len(docs), self.nbytes), dtype=np.uint8)
        stream, limit = range_coder.encoder(), 8 * self.nbytes - MARGIN
        for start in range(0, len(docs), search.rows):
            part = docs[start : start + search.rows]
            centres = self._nearest_centre(part)
            columns, limits = self._columns(self._residuals(part, centres)), limit - self._index_bits[centres]
            if self.budget == "mean":
                chosen = search.best(columns, np.full(len(part), SLOPE, dtype=np.float32))
                for index, numbers in zip(centres.tolist(), (chosen.numbers.T + shift).tolist(), strict=True):
                    self._write(stream, index, numbers)
                continue
            todo = np.arange(len(part))
            while len(todo):
                chosen = search.within(columns[:, todo], SLOPE, limits[todo], PASSES, REFINEMENTS)
                left = []
                for row, numbers in zip(todo.tolist(), (chosen.numbers.T + shift).tolist(), strict=True):
                    coder = range_coder.encoder()
                    self._write(coder, int(centres[row]), numbers)
                    code = range_coder.point(coder, self.nbytes)
                    if code is None:
                        left.append(row)
                    else:
                        packed[start + row] = code
                todo = np.array(left, dtype=np.int64)
                limits[todo] -= 1
        if self.budget == "hard":
            return Codes.packed(packed)
        code = range_coder.point(stream)
        assert code is not None
        return Codes(n=len(docs), rows={}, shared={"stream": code})

    def _decode(self, codes: Codes) -> Float32:
        if self.budget == "hard":
            read = [self._read(range_coder.decoder(code)) for code in codes.array]
        else:
            stream = range_coder.decoder(codes.shared["stream"])
            read = [self._read(stream) for _ in range(codes.n)]
        places = np.array(read, dtype=np.int64)
        decoded = self._predictions(places[:, 0])
        decoded[:, self._coded] += np.float32(self.step_) * self.levels_[places[:, 1:]]
        return decoded


def _above_rounding(deviation: Array, docs: Float32) -> Array:
    """Return deviations with those at zero that are nothing but rounding."""
    return np.where(deviation > 1e-6 * np.abs(docs).max(), deviation, 0)


def _joined(arrays: list[Array]) -> Float32:
    return np.concatenate([np.empty(0), *(array.ravel() for array in arrays)]).astype(np.float32)


class _Step(NamedTuple):
    """A model of the range coder, where its first level stands, and the next states after an even and an odd number."""

    model: Any
    start: int
    after: tuple[int, ...]
