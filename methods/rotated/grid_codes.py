"""Directions on a grid: small odd integers c and one factor f, so that z is about f c.

With b bits a coordinate is one of -(2^b - 1), ..., -3, -1, 1, 3, ..., 2^b - 1, stored as its level (c + 2^b - 1) / 2.
Only the direction of c matters, the factor does the rest: a good code has a large cosine <z, c> / (|z| |c|).

All sums are per row and in float64, so that a row's code does not depend on the rows beside it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, Float32, row_blocks

Levels = NDArray[np.uint8]
Refine = Literal["none", "adjust", "sweep"]
Scale = Literal["unbiased", "least_squares", "norm"]

ROUNDS = 6
"""Rounds of `adjust` over the coordinates, as in the published code of SAQ."""


def encode(z: Float32, bits: int, refine: Refine) -> Levels:
    """Return levels, uint8 (n, d), of the rows of z.

    *none* rounds on a grid over the row's largest magnitude, *adjust* improves that one coordinate at a time, *sweep*
    finds the code of the largest cosine.
    """
    levels = np.empty(z.shape, dtype=np.uint8)
    work = 24 * ((1 << (bits - 1)) if refine == "sweep" else 1)
    for start, stop in row_blocks(len(z), z.shape[1] * work):
        block = z[start:stop]
        if bits == 1:
            levels[start:stop] = block > 0
        elif refine == "sweep":
            levels[start:stop] = sweep(block, bits)
        else:
            rounded = round_to_grid(block, bits)
            levels[start:stop] = adjust(block, rounded, bits) if refine == "adjust" else rounded
    return levels


def grid_points(levels: Levels, bits: int) -> Float32:
    """Return the grid points c of levels (n, d): odd numbers from 1 - 2^bits to 2^bits - 1, float32."""
    points = levels.astype(np.float32)
    points *= 2
    points -= (1 << bits) - 1
    return points


def round_to_grid(z: Float32, bits: int) -> Levels:
    """Return min(floor((z + v) / (2 v / 2^b)), 2^b - 1) with v the largest magnitude of the row."""
    largest = np.maximum(z.max(axis=1), -z.min(axis=1))
    halves = np.float32(1 << (bits - 1))
    cells = np.floor((z / np.where(largest > 0, largest, 1)[:, None] + np.float32(1)) * halves)
    levels: Levels = np.clip(cells, 0, (1 << bits) - 1).astype(np.uint8)
    return levels


def adjust(z: Float32, levels: Levels, bits: int, rounds: int = ROUNDS) -> Levels:
    """Move one coordinate by one level at a time wherever that enlarges the cosine (CAQ; Li et al., 2025).

    Along one coordinate the cosine has a single peak, on the side that the sign of its derivative tells: only the step
    to that side is tried.
    """
    top = (1 << bits) - 1
    # one coordinate of all rows lies together in memory
    columns = np.ascontiguousarray(z.T, dtype=np.float64)
    points = grid_points(levels, bits).astype(np.float64)
    product = np.einsum("ij,ij->i", z.astype(np.float64), points)
    energy = np.einsum("ij,ij->i", points, points)
    grid = np.ascontiguousarray(points.T)
    for _ in range(rounds):
        moved = False
        for column, at in zip(columns, grid, strict=True):
            step = np.where(column * energy > product * at, 2.0, -2.0)
            new_product = product + step * column
            new_energy = energy + 2 * step * at + 4
            better = (new_product > 0) & (new_product**2 * energy > (1 + 1e-8) * product**2 * new_energy)
            better &= np.abs(at + step) <= top
            if better.any():
                moved = True
                at += np.where(better, step, 0)
                product = np.where(better, new_product, product)
                energy = np.where(better, new_energy, energy)
        if not moved:
            break
    adjusted: Levels = np.asarray((grid.T + top) / 2, dtype=np.uint8)
    return np.ascontiguousarray(adjusted)


def sweep(z: Float32, bits: int) -> Levels:
    """Return the code of the largest cosine, found exactly (Gao et al., 2025, "Extended RaBitQ").

    The best code is z scaled by some t and rounded. Growing t from 0, magnitude |z_i| passes to its l-th level at
    t = l / |z_i|: all these are sorted, and the cosine is known after each from running sums.
    """
    n, d = z.shape
    steps = np.arange(1, 1 << (bits - 1), dtype=np.float64)
    magnitudes = np.abs(z).astype(np.float64)
    with np.errstate(divide="ignore"):
        passes = (steps / magnitudes[:, :, None]).reshape(n, -1)
    order = np.argsort(passes, axis=1, kind="stable")
    product = np.empty((n, order.shape[1] + 1))
    product[:, 0] = magnitudes.sum(axis=1)
    np.cumsum(2 * np.take_along_axis(magnitudes, order // len(steps), axis=1), axis=1, out=product[:, 1:])
    product[:, 1:] += product[:, :1]
    energy = np.empty_like(product)
    energy[:, 0] = d
    # from level l - 1 to level l the square grows from (2 l - 1)^2 to (2 l + 1)^2
    np.cumsum(8 * steps[order % len(steps)], axis=1, out=energy[:, 1:])
    energy[:, 1:] += d
    best = np.argmax(product**2 / energy, axis=1)
    # the scale just after the best passage; before the first passage all magnitudes are at level 0
    sorted_passes = np.take_along_axis(passes, order, axis=1)
    last = np.take_along_axis(sorted_passes, np.maximum(best - 1, 0)[:, None], axis=1)
    reached = (passes <= np.where(best[:, None] > 0, last, -1.0)).reshape(n, d, -1).sum(axis=2)
    half = 1 << (bits - 1)
    levels: Levels = np.where(z > 0, half + reached, half - 1 - reached).astype(np.uint8)
    return levels


def factors(z: Float32, points: Float32, scale: Scale, norms: Array | None = None) -> Array:
    """Return the factor f of each row, float64 (n,), that makes f c stand for z; 0 where z or <z, c> is 0.

    *unbiased* is |z|^2 / <z, c> (RaBitQ, CAQ): over random rotations the dot product with any vector is right on
    average. *least_squares* is <z, c> / |c|^2, the nearest point on the ray, which is too short. *norm* is
    |z| / |c|, or `norms` / |c|: the length is kept.
    """
    product = np.einsum("ij,ij->i", z, points, dtype=np.float64)
    if scale == "least_squares":
        above, below = product, np.einsum("ij,ij->i", points, points, dtype=np.float64)
    elif scale == "unbiased":
        above, below = np.einsum("ij,ij->i", z, z, dtype=np.float64), product
    else:
        above = np.sqrt(np.einsum("ij,ij->i", z, z, dtype=np.float64)) if norms is None else norms
        below = np.sqrt(np.einsum("ij,ij->i", points, points, dtype=np.float64))
    out: Array = np.divide(above, below, out=np.zeros(len(z)), where=below > 0)
    return out
