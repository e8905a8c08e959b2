"""Entropy-coded transform coefficients: one step for all dimensions, and as many bits as each number is worth."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Codec, Codes, Float32, project, row_blocks
from methods.kernels import entropy_codes
from methods.parallel import over_rows
from methods.transform_coding.rate_search import UNGERBOECK, Quantiser, Search
from methods.transforms.linear import eigenbasis, second_moment

Int8 = NDArray[np.int8]
Int16 = NDArray[np.int16]

PER_OCTAVE = 4
"""Classes of dimensions whose deviations differ by a factor of two."""

SMALLEST, LARGEST = -10, 28
"""Classes that are coded: deviations from 2**-2.5 to 2**7 steps. Smaller ones are not worth a bit."""

STEPS_PER_CLASS = 8
"""A document's own step is the common one times 2**(scale / 32), its scale an integer."""

FINEST = -64
"""The least scale."""

LEAST_BYTES = 16
"""Below, no document has a step of its own: to name it would take too much of its bytes."""

COUPLED = {"hard": -4, "mean": SMALLEST}
"""The least class that takes part in the trellis.

Along a run of zeros the trellis is locked, so that its codes for rarely coded dimensions come in lengths that jump: a
loss where each document has its own budget, and none where the mean counts.
"""

SLOPE = 0.1
"""Squared steps that a bit is worth, on average over documents."""

TRAINING_ROWS, TRAINING_ROUNDS, SCALE_ROUNDS = 2048, 16, 2
PASSES, REFINEMENTS, SCALE_TRIALS, SLOPE_TRIALS = 14, 8, 7, 8
"""Documents trained on, rounds of training, and rounds with documents' own steps; then the most trials of a search."""

COMPARED_ROWS = 256
"""Documents on which a common step is compared with documents' own."""

DOCUMENTS_PER_CENTRE, ITERATIONS, SEEDING_ROWS = 4, 15, 8192
"""Fewest documents for a centre, iterations of k-means, and documents that its first centres are drawn from."""

SHRINKAGE = 4
"""A centre is the mean of its documents and of so many more that lie at the mean of all."""

FOLDS = 8
"""Parts of the documents; each part's residuals are turned into a basis that the other parts were fitted with."""

NO_CLASS = -100
"""Class of a dimension without deviation, below every class that is coded."""

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
        other_moment = moment - second_moment(part) * (len(part) / len(docs))
        out[fold::FOLDS] = project(residuals[fold::FOLDS], eigenbasis(other_moment)[1])
    return out


def updated(model: Model, values: Float32, numbers: Int16, quantiser_of: NDArray[np.uint8]) -> Model:
    """Return centroids and frequencies, the same on both sides of zero, drawn a little to what they were.

    Parameters
    ----------
    model : Model
    values : float32 (count,)
        In steps.
    numbers : int16 (count,)
        What the values were quantised to.
    quantiser_of : uint8 (count,)
        The quantiser of each.
    """
    levels, probabilities = model.levels.copy(), model.probabilities.copy()
    count = levels.shape[1]
    for q in range(len(levels)):
        in_quantiser = quantiser_of == q
        positions = numbers[in_quantiser] + count // 2
        mass = np.bincount(positions, minlength=count).astype(np.float64)
        total = np.bincount(positions, values[in_quantiser], minlength=count)
        mass, total = mass + mass[::-1], total - total[::-1]
        levels[q] = (total + 5 * levels[q]) / (mass + 5)
        frequencies = np.maximum((mass + 20 * probabilities[q]) / (mass.sum() + 20), 1e-6)
        probabilities[q] = frequencies / frequencies.sum()
    return Model(levels, probabilities)


@dataclass(kw_only=True, eq=False)
class EntropyCoded(Codec):
    """Quantise all dimensions with one step, and write the numbers by range coding.

    Put `methods.SVD(dim=None)` before it in a `Chain`. A document is predicted by the nearest of a few centres,
    and what is left is quantised. One step for all dimensions and an entropy code is reverse water-filling: a dimension
    takes the bits that its variance is worth, in fractions of a bit. Dimensions whose deviations are alike, measured
    in steps, share the probabilities of their numbers and the levels that they mean (the centroids), both counted on
    the fitted documents as if each had had no part in the rotation and in its centre. Which numbers a document gets
    is decided by squared error plus lambda times bits (`methods.transform_coding.rate_search`).

    A step that is longer by a quarter of an octave puts each dimension into the next lower class, so that other steps
    need no models of their own.

    Parameters
    ----------
    nbytes : int
        Bytes of a document.
    budget : {"hard", "mean"}
        *hard*: each document takes exactly `nbytes` bytes, with a lambda of its own such that it fits, and at high
        rates, where that shows less error, a step of its own.
        *mean*: one step and one lambda for all documents that are encoded together, so that each takes the bits that
        it is worth and the mean is `nbytes` bytes; they form one stream, with no lengths or offsets, that is read
        from its start.
    states : int
        1, or the states of a trellis, a power of two from 4 to 256, with which two quantisers take turns (Fischer and
        Wang, 1992). Time to encode grows with the states.
    centres : int
        Of k-means, at most; one for four fitted documents, or fewer, if there are not enough. They are stored as
        float16, two bytes for each dimension of each centre.
    seed : int
        Draws the documents that k-means starts from.

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
        self._require_at_least(1, "nbytes", "centres")
        known = ", ".join(map(str, UNGERBOECK))
        self._require(self.states == 1 or self.states in UNGERBOECK, f"states must be 1, {known}, got {self.states}")

    @property
    def row_wise(self) -> bool:  # type: ignore[override]
        """Whether each document has bytes of its own."""
        return self.budget == "hard"

    def _bits_per_dimension(self) -> Array:
        """Return the entropy of each dimension's numbers with the common step: what they take on average."""
        bits = np.zeros(self._check_fitted())
        coded, classes = self._coded(0), self._classes_at(0)
        for number in np.unique(classes).tolist():
            shares = self._models[number].probabilities.astype(np.float64)
            bits[coded[classes == number]] = np.mean(-np.sum(shares * np.log2(shares), axis=1))
        return bits

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
        unshrunk = ((masses + SHRINKAGE) / (masses + SHRINKAGE - 1)).astype(np.float32)[index]
        residuals = held_out(docs, self._residuals(docs, index) * unshrunk[:, None])
        deviation = _above_rounding(np.sqrt(np.mean(residuals**2, axis=0, dtype=np.float64)), docs)
        sample = np.linspace(0, len(docs) - 1, min(len(docs), TRAINING_ROWS)).astype(np.int64)
        residuals, spent = residuals[sample], float(np.mean(self._index_bits[index]))
        finest = float(deviation.max()) * 2 ** (-LARGEST / PER_OCTAVE)
        for turn in range(TRAINING_ROUNDS):
            step = max(step, finest)
            self._set_step(step, deviation, models)
            coded = len(self._coded(0))
            if not coded:
                break
            bits = spent + self._train(residuals, models)
            # ever smaller changes: dimensions in other classes change the bits at once, what is counted there later
            step *= 2 ** np.clip((bits - goal) / (0.75 * coded) / (1 + turn / 4), -2, 2)
        tight = self.budget == "hard" and self.nbytes < LEAST_BYTES
        while tight and self._lattice(models, 0).cheapest() > goal - 1 - self._index_bits.max():
            step *= 1.1
            self._set_step(step, deviation, models)
        self._fit_scales(residuals, goal - self._index_bits[index[sample]], models)
        used = [models[number] for number in self._classes()]
        self.levels_: Float32 = _concatenated([model.levels for model in used])
        self.probabilities_ = _concatenated([model.probabilities for model in used])

    def _fit_scales(self, residuals: Float32, limits: Array, models: dict[int, Model]) -> None:
        """Count which steps documents take, and their numbers anew with these; keep to one step if that is better."""
        self.scale_frequencies_ = np.ones(1, dtype=np.float32)
        if self.class_.max() < SMALLEST or (self.budget == "hard" and self.nbytes < LEAST_BYTES):
            return
        for number in self._classes():
            models.setdefault(number, gaussian_model(number, self._quantisers(number)))
        if self.budget == "mean":
            return
        common, scaled_models, scales = dict(models), dict(models), self._scales
        for _ in range(SCALE_ROUNDS):
            scale_numbers = self._nearest_scales(residuals, limits, scaled_models)
            # what is next to a scale that documents take is as likely as that
            near = [0.05, 0.1, 0.2, 0.3, 0.2, 0.1, 0.05]
            counts = np.convolve(np.bincount(scale_numbers, minlength=len(scales)), near, mode="same")
            self.scale_frequencies_ = (0.95 * counts / counts.sum() + 0.05 / len(counts)).astype(np.float32)
            self._train(residuals, scaled_models, scales[scale_numbers])
        few = np.linspace(0, len(residuals) - 1, min(len(residuals), COMPARED_ROWS)).astype(np.int64)
        scale_numbers = self._nearest_scales(residuals[few], limits[few], scaled_models)
        if self._error(residuals[few], limits[few], common) <= self._error(
            residuals[few], limits[few], scaled_models, scale_numbers
        ):
            self.scale_frequencies_ = np.ones(1, dtype=np.float32)
        else:
            models.update(scaled_models)

    def _error(
        self,
        residuals: Float32,
        limits: Array,
        models: dict[int, Model],
        scale_numbers: NDArray[np.int64] | None = None,
    ) -> float:
        """Return the mean squared error within the limits, with the common step or with documents' own."""
        scales = np.zeros(len(residuals), dtype=np.int64) if scale_numbers is None else self._scales[scale_numbers]
        if scale_numbers is not None:
            limits = limits + np.log2(self.scale_frequencies_.astype(np.float64))[scale_numbers]
        error = 0.0
        for lowering, rows in _grouped(scales):
            search, steps = self._lattice(models, lowering), self._steps_of(scales[rows])
            columns = self._columns(residuals[rows], lowering, steps)
            chosen = search.within(columns, SLOPE, limits[rows], PASSES, REFINEMENTS)
            error += float(np.sum((columns - chosen.levels) ** 2 * steps**2, dtype=np.float64))
            uncoded = np.delete(residuals[rows], self._coded(lowering), axis=1)
            error += float(np.sum(uncoded**2, dtype=np.float64))
        return error / len(residuals)

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
        """Set the common step and the dimensions' classes, and add a Gaussian model for each class that has none."""
        self.step_ = step
        with np.errstate(divide="ignore"):
            number = np.rint(PER_OCTAVE * np.log2(deviation / step))
        self.class_: Int8 = np.clip(number, NO_CLASS, LARGEST).astype(np.int8)
        for class_number in np.unique(self._classes_at(0)).tolist():
            models.setdefault(class_number, gaussian_model(class_number, self._quantisers(class_number)))

    @property
    def _scales(self) -> NDArray[np.int64]:
        """The scales that there may be, ascending; at the last one no dimension is coded."""
        largest = int(self.class_.max())
        least = max(FINEST, STEPS_PER_CLASS * (largest - LARGEST))
        return np.arange(least, STEPS_PER_CLASS * (largest - SMALLEST + 1) + 1)

    @property
    def _many_steps(self) -> bool:
        """Whether documents have steps of their own."""
        return len(self.scale_frequencies_) > 1

    def _classes(self) -> list[int]:
        """Return the classes that have models, ascending."""
        largest = int(self.class_.max())
        if self.budget == "hard" and self.nbytes < LEAST_BYTES:
            return [number for number in np.unique(self.class_).tolist() if number >= SMALLEST]
        return list(range(SMALLEST, max(largest, min(largest - FINEST // STEPS_PER_CLASS, LARGEST)) + 1))

    def _classes_at(self, lowering: int) -> NDArray[np.int64]:
        """Return the classes of the coded dimensions, the largest first, with steps longer by as many classes."""
        return self.class_[self._coded(lowering)].astype(np.int64) - lowering

    def _quantisers(self, number: int) -> int:
        """Return how many quantisers a class has: two if it takes part in the trellis."""
        return 2 if self.states > 1 and number >= COUPLED[self.budget] else 1

    def _coded(self, lowering: int) -> NDArray[np.int64]:
        """Return the coded dimensions, those of the largest deviations first."""
        order = np.argsort(-self.class_.astype(np.int64), kind="stable")
        return order[: int((self.class_.astype(np.int64) - lowering >= SMALLEST).sum())]

    def _steps_of(self, scales: NDArray[np.int64]) -> Float32:
        """Return the step of each scale, float32 (n,)."""
        return (self.step_ * 2 ** (scales / (PER_OCTAVE * STEPS_PER_CLASS))).astype(np.float32)

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
        """Store centres as float16 and their frequencies, mixed with equal ones so that none is 0."""
        self.__dict__.pop("_index_bits", None)
        self.centres_ = centres.astype(np.float16)
        self.frequencies_ = (0.75 * masses / masses.sum() + 0.25 / len(masses)).astype(np.float32)

    @functools.cached_property
    def _index_bits(self) -> Array:
        """Bits of each centre's number."""
        return np.asarray(-np.log2(self.frequencies_.astype(np.float64)))

    def _nearest_centre(self, docs: Float32) -> NDArray[np.int64]:
        """Return each document's centre, int64 (n,): nearest, with the bits of a centre's number added to distances."""
        centres = self.centres_.astype(np.float64)
        nearest = np.empty(len(docs), dtype=np.int64)
        bias = np.einsum("ij,ij->i", centres, centres) / 2 + np.log(2) * self._index_bits
        for start, stop in row_blocks(len(docs), 8 * max(centres.shape)):
            # float64, so that the answer does not depend on how many rows were asked for at once
            points = (docs[start:stop] - self.mean_).astype(np.float64) / self.unit_
            nearest[start:stop] = np.argmax(points @ centres.T - bias, axis=1)
        return nearest

    def _residuals(self, docs: Float32, index: NDArray[np.int64]) -> Float32:
        """Return documents (n, d) less their centres."""
        return docs - self._predictions(index)

    def _predictions(self, index: NDArray[np.int64]) -> Float32:
        """Return the centres (n, d) of documents in the documents' units."""
        predicted: Float32 = self.centres_[index] * self.unit_
        predicted += self.mean_
        return predicted

    def _columns(self, residuals: Float32, lowering: int, steps: Float32) -> Float32:
        """Return the coded coordinates of residuals in steps, float32 (coordinates, n)."""
        return np.ascontiguousarray(residuals[:, self._coded(lowering)].T / steps)

    def _lattice(self, models: dict[int, Model], lowering: int) -> Search:
        """Return the search over the coded dimensions, with steps longer by as many classes as `lowering`."""
        classes = self._classes_at(lowering).tolist()
        quantisers = {number: Quantiser(*models[number]) for number in set(classes)}
        return Search(self.states, [quantisers[number] for number in classes])

    def _bits(self, models: dict[int, Model], residuals: Float32, scales: NDArray[np.int64], slope: float) -> Array:
        """Return the bits that documents take with one lambda, for their numbers alone, float64 (n,)."""
        bits = np.empty(len(residuals))
        for lowering, rows in _grouped(scales):
            search = self._lattice(models, lowering)
            for part in _row_blocks(rows, search.rows):
                columns = self._columns(residuals[part], lowering, self._steps_of(scales[part]))
                bits[part] = search.best(columns, np.full(len(part), slope, dtype=np.float32))[0].bits
        return bits

    def _nearest_scales(self, residuals: Float32, limits: Array, models: dict[int, Model]) -> NDArray[np.int64]:
        """Return for each document the place of the finest scale, as far as a few trials tell, that fits its limit.

        It should fit: at high rates lambda saves few bits, and dearly.
        """
        scales = self._scales
        own_bits = -np.log2(self.scale_frequencies_.astype(np.float64))
        own_bits = own_bits if len(own_bits) == len(scales) else np.zeros(len(scales))
        now = np.full(len(residuals), int(np.searchsorted(scales, 0)))
        fine, fits, todo = np.full(len(residuals), -1), np.full(len(residuals), len(scales) - 1), np.arange(len(now))
        for _ in range(SCALE_TRIALS):
            at = scales[now[todo]]
            over = self._bits(models, residuals[todo], at, SLOPE) + own_bits[now[todo]] - limits[todo]
            fine[todo] = np.where(over > 0, now[todo], fine[todo])
            fits[todo] = np.where(over > 0, fits[todo], now[todo])
            move = np.ceil(over / self._bits_of_a_scale(at)).astype(np.int64)
            todo, move = todo[move != 0], move[move != 0]
            now[todo] = np.clip(now[todo] + move, fine[todo] + 1, np.maximum(fits[todo] - 1, fine[todo] + 1))
            todo = todo[fits[todo] - fine[todo] > 1]
            if not len(todo):
                break
        return fits

    def _bits_of_a_scale(self, scales: NDArray[np.int64]) -> Array:
        """Return about how many bits a document saves at the next scale."""
        counts = {lowering: len(self._coded(lowering)) for lowering, _ in _grouped(scales)}
        coded = np.array([counts[lowering] for lowering in _lowering(scales).tolist()])
        # less than that in dimensions that are mostly zero
        return np.maximum(coded / (PER_OCTAVE * STEPS_PER_CLASS), 0.5)

    def _train(self, residuals: Float32, models: dict[int, Model], scales: NDArray[np.int64] | None = None) -> float:
        """Count numbers and average values of each class anew; return the mean bits of a document before that."""
        counted: dict[int, list[tuple[Float32, Int16, NDArray[np.uint8]]]] = {}
        bits = 0.0
        scales = np.zeros(len(residuals), dtype=np.int64) if scales is None else scales
        for lowering, rows in _grouped(scales):
            search, classes = self._lattice(models, lowering), self._classes_at(lowering)
            for part in _row_blocks(rows, search.rows):
                columns = self._columns(residuals[part], lowering, self._steps_of(scales[part]))
                chosen, groups = search.best(columns, np.full(len(part), SLOPE, dtype=np.float32))
                bits += float(chosen.bits.sum())
                for number in np.unique(classes).tolist():
                    in_class = classes == number
                    counts = (columns[in_class].ravel(), chosen.numbers[in_class].ravel(), groups[in_class].ravel() % 2)
                    counted.setdefault(number, []).append(counts)
        for number, parts in counted.items():
            values, numbers, quantiser_of = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            models[number] = updated(models[number], values, numbers, quantiser_of)
        return bits / len(residuals)

    def load_state(self, arrays: Mapping[str, Array]) -> Self:
        """Take over fitted models; what is derived from them is derived again at first use."""
        self._forget()
        return super().load_state(arrays)

    def _forget(self) -> None:
        """Drop everything that is derived from the state."""
        for name in ("_models", "_index_bits", "_coder", "_all_predictions"):
            self.__dict__.pop(name, None)

    @functools.cached_property
    def _models(self) -> dict[int, Model]:
        """The models of the classes, as they were stored."""
        models, start = dict[int, Model](), 0
        for number in self._classes():
            shape = (self._quantisers(number), 2 * reach(number) + 1)
            span = slice(start, start + shape[0] * shape[1])
            models[number] = Model(self.levels_[span].reshape(shape), self.probabilities_[span].reshape(shape))
            start = span.stop
        return models

    @functools.cached_property
    def _coder(self) -> tuple[entropy_codes.Models, entropy_codes.Walk, int, int]:
        """The models, what is coded with which of them, and the places of the centres' and the scales' models."""
        probabilities = [self.frequencies_, self.scale_frequencies_]
        smallest, count = SMALLEST, max(self._classes(), default=SMALLEST) - SMALLEST + 1
        model_of, levels_of = np.zeros((2, count, 2), dtype=np.int64)
        coupled, start = np.zeros(count, dtype=np.bool_), 0
        for number, fitted in self._models.items():
            for q, of_quantiser in enumerate(fitted.probabilities):
                model_of[number - smallest, q] = len(probabilities)
                levels_of[number - smallest, q] = start
                probabilities.append(of_quantiser)
                start += len(of_quantiser)
            coupled[number - smallest] = len(fitted.probabilities) > 1
        transitions = Search(self.states, []).transitions
        walk = entropy_codes.Walk(
            dims=np.argsort(-self.class_.astype(np.int64), kind="stable"),
            classes=-np.sort(-self.class_.astype(np.int64), kind="stable"),
            smallest=smallest,
            models=model_of,
            levels=levels_of,
            reach=np.array([reach(number) for number in range(smallest, smallest + count)], dtype=np.int64),
            coupled=coupled,
            quantisers=np.array([q for q, _ in transitions], dtype=np.int64),
            after=np.array([after for _, after in transitions], dtype=np.int64),
        )
        return entropy_codes.models_of(probabilities), walk, 0, 1 if self._many_steps else -1

    def _encode(self, docs: Float32) -> Codes:
        centres = self._nearest_centre(docs)
        encode = self._encode_stream if self.budget == "mean" else self._encode_rows
        return encode(self._residuals(docs, centres), centres)

    def _encode_rows(self, residuals: Float32, centres: NDArray[np.int64]) -> Codes:
        """Return codes with `nbytes` bytes for each document."""
        limits = 8 * self.nbytes - MARGIN - self._index_bits[centres]
        scale_numbers, scales = np.zeros(len(residuals), dtype=np.int64), np.zeros(len(residuals), dtype=np.int64)
        if self._many_steps:
            scale_numbers = self._nearest_scales(residuals, limits, self._models)
            scales = self._scales[scale_numbers]
            limits = limits + np.log2(self.scale_frequencies_.astype(np.float64))[scale_numbers]
        packed = np.zeros((len(residuals), self.nbytes), dtype=np.uint8)
        for lowering, rows in _grouped(scales):
            search = self._lattice(self._models, lowering)
            for todo in _row_blocks(rows, search.rows):
                while len(todo):
                    columns = self._columns(residuals[todo], lowering, self._steps_of(scales[todo]))
                    chosen = search.within(columns, SLOPE, limits[todo], PASSES, REFINEMENTS)
                    codes, fits = np.empty((len(todo), self.nbytes), np.uint8), np.empty(len(todo), np.bool_)
                    entropy_codes.encode_rows(
                        *(chosen.numbers, lowering, centres[todo], scale_numbers[todo], *self._coder, codes, fits)
                    )
                    packed[todo[fits]] = codes[fits]
                    todo = todo[~fits]
                    limits[todo] -= 1
        return Codes.packed(packed)

    def _encode_stream(self, residuals: Float32, centres: NDArray[np.int64]) -> Codes:
        """Return codes in one stream, `nbytes` bytes a document on average."""
        goal = 8 * self.nbytes - MARGIN - float(self._index_bits[centres].mean()) if len(centres) else 0.0
        scale = self._stream_scale(residuals, goal)
        slope = self._stream_slope(residuals, scale, goal)
        lowering = int(_lowering(np.array([scale]))[0])
        search = self._lattice(self._models, lowering)
        models, walk, index_model, _ = self._coder
        code, at, low, span = np.empty(0, np.uint8), 0, 0, entropy_codes.ALL_ONES
        for part in _row_blocks(np.arange(len(residuals)), search.rows):
            columns = self._columns(residuals[part], lowering, self._steps_of(np.full(len(part), scale)))
            chosen, _ = search.best(columns, np.full(len(part), slope, dtype=np.float32))
            needed = at + entropy_codes.longest(len(part) * (len(columns) + 1))
            if needed > len(code):
                code = np.concatenate([code[:at], np.empty(max(needed, 2 * at) - at, np.uint8)])
            at, low, span = entropy_codes.append_rows(
                *(code, at, np.uint64(low), np.uint64(span), chosen.numbers, lowering, centres[part]),
                *(models, walk, index_model),
            )
        code = np.concatenate([code[:at], np.empty(entropy_codes.longest(0), np.uint8)])
        code = code[: entropy_codes.finish(code, at, np.uint64(low), np.uint64(span), -1)].copy()
        return Codes(n=len(centres), rows={}, shared={"stream": code, "scale": np.array([scale], dtype=np.int16)})

    def _stream_scale(self, residuals: Float32, goal: float) -> int:
        """Return the scale at which the mean bits come nearest to the goal, as far as a sample tells."""
        if not len(residuals) or self.class_.max() < SMALLEST:
            return 0
        sample = residuals[np.linspace(0, len(residuals) - 1, min(len(residuals), TRAINING_ROWS)).astype(np.int64)]
        scales, gaps, scale = self._scales, dict[int, float](), 0
        while scale not in gaps:
            at = np.full(len(sample), scale)
            over = float(self._bits(self._models, sample, at, SLOPE).mean()) - goal
            gaps[scale] = abs(over)
            scale += int(np.rint(over / self._bits_of_a_scale(at[:1])[0]))
            scale = int(np.clip(scale, scales[0], scales[-1]))
        return min(gaps, key=lambda tried: gaps[tried])

    def _stream_slope(self, residuals: Float32, scale: int, goal: float) -> float:
        """Return the least lambda, about, at which the mean bits are at most the goal."""
        scales, low, high, slope = np.full(len(residuals), scale), 0.0, np.inf, SLOPE
        for _ in range(SLOPE_TRIALS if len(residuals) else 0):
            over = float(self._bits(self._models, residuals, scales, slope).mean()) - goal
            low, high = (slope, high) if over > 0 else (low, slope)
            if -0.001 * abs(goal) <= over <= 0:
                break
            slope = (low + high) / 2 if np.isfinite(high) else slope * 1.5
        return high if np.isfinite(high) else slope

    def _decode(self, codes: Codes) -> Float32:
        decoded = np.empty((codes.n, self._check_fitted()), dtype=np.float32)
        is_stream = self.budget == "mean"
        common = int(codes.shared["scale"][0]) if is_stream else 0
        scales = self._scales if self._many_steps else np.array([common])
        places = np.zeros(codes.n, dtype=np.int64)
        packed = np.ascontiguousarray(codes.shared["stream"][None] if is_stream else codes.array)
        rest = *self._coder, _lowering(scales), self._steps_of(scales), self._all_predictions, self.levels_

        def work(start: int, stop: int) -> None:
            part = packed if is_stream else packed[start:stop]
            entropy_codes.decode(part, is_stream, places[start:stop], *rest, decoded[start:stop])

        over_rows(work, codes.n, codes.n if is_stream else 256)
        return decoded

    @functools.cached_property
    def _all_predictions(self) -> Float32:
        """Every centre in the documents' units, float32 (centres, d)."""
        return self._predictions(np.arange(len(self.centres_)))


def _lowering(scales: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return by how many classes dimensions are lowered at a scale."""
    return np.rint(scales / STEPS_PER_CLASS).astype(np.int64)


def _grouped(scales: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    """Return the documents of each lowering."""
    lowering = _lowering(scales)
    return [(int(value), np.flatnonzero(lowering == value)) for value in np.unique(lowering).tolist()]


def _row_blocks(rows: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """Return rows cut into parts of at most so many."""
    return [rows[start : start + most] for start in range(0, len(rows), most)]


def _above_rounding(deviation: Array, docs: Float32) -> Array:
    """Return deviations with those at zero that are nothing but rounding."""
    return np.where(deviation > 1e-6 * np.abs(docs).max(), deviation, 0)


def _concatenated(arrays: list[Array]) -> Float32:
    """Return the numbers of all arrays in one, float32."""
    return np.concatenate([np.empty(0), *(array.ravel() for array in arrays)]).astype(np.float32)
