"""Sharing a budget of bits out among dimensions, and dimensions among bytes.

Reverse water-filling (Cover and Thomas, 2006, section 10.3.3) in whole bits: the next bit goes to the dimension whose
squared error it lowers most. With errors *measured* for the quantiser at hand this is better than the textbook rule
error = variance / 4**bits, which promises the first bit too much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from methods.base import Array, MethodError

Int64 = NDArray[np.int64]

BYTE = 8
"""Bits of a byte, and the most that a dimension gets where dimensions are packed into whole bytes."""


def allocate(distortions: Array, total_bits: int) -> Int64:
    """Return the bits of each dimension, int64 (d,), that spend `total_bits` and leave the least squared error.

    Greedy on each dimension's lower convex hull, which is optimal up to the last hull segment (Shoham and Gersho,
    1988). Of equal gains the dimension with the lower number goes first.

    Parameters
    ----------
    distortions : float (d, cap + 1)
        Column b is the squared error of each dimension with b bits.
    total_bits : int

    Raises
    ------
    MethodError
        If the dimensions cannot take so many bits.
    """
    d, cap = distortions.shape[0], distortions.shape[1] - 1
    if total_bits > d * cap:
        raise MethodError(f"{total_bits} bits do not fit into {d} dimensions of at most {cap} bits each")
    gains = convex_gains(distortions)
    first = np.argsort(-gains.ravel(), kind="stable")[:total_bits]
    return np.bincount(first // cap, minlength=d)


def convex_gains(distortions: Array) -> Array:
    """Return how much each next bit lowers the error along the lower convex hull, (d, cap), falling in each row."""
    cap = distortions.shape[1] - 1
    gains = np.full((len(distortions), cap), np.inf)
    # the hull's slopes are the least-squares falling fit to the steps: min over starts of max over ends of their means
    for start in range(cap):
        best = np.full(len(distortions), -np.inf)
        for end in range(cap, start, -1):
            best = np.maximum(best, (distortions[:, start] - distortions[:, end]) / (end - start))
            gains[:, end - 1] = np.minimum(gains[:, end - 1], best)
    return gains


def fill_bytes(bits: Int64, distortions: Array) -> tuple[Int64, list[Int64]]:
    """Put dimensions into whole bytes, so that no dimension straddles two.

    Parameters
    ----------
    bits : int64 (d,)
        An allocation of 8 * nbytes bits, at most 8 a dimension.
    distortions : float (d, cap + 1)
        As for `allocate`: where the bits of an allocation cannot be packed without a gap, a few are moved, and this
        says which moves cost least.

    Returns
    -------
    bits : int64 (d,)
        The allocation in its final form; as given wherever that packs.
    groups : list of int64 (w,)
        The dimensions of each byte, whose bits sum to 8.
    """
    cap = min(distortions.shape[1] - 1, BYTE)
    gains = convex_gains(distortions[:, : cap + 1])
    wanted_bits, bits = bits, np.zeros_like(bits)
    holes = np.full(int(wanted_bits.sum()) // BYTE, BYTE)
    groups: list[list[int]] = [[] for _ in holes]
    # first fit decreasing: stable, so that dimensions of similar variance share a byte
    for dim in np.argsort(-wanted_bits, kind="stable"):
        fits = np.flatnonzero(holes >= max(wanted_bits[dim], 1))
        if wanted_bits[dim] and len(fits):
            bits[dim] = wanted_bits[dim]
            holes[fits[0]] -= wanted_bits[dim]
            groups[fits[0]].append(int(dim))
    home = {dim: byte for byte, dims in enumerate(groups) for dim in dims}
    while holes.any():
        # one more bit where it gains most: for a dimension in a byte with room, or for one that has no byte yet
        wants = [dim for dim in range(len(bits)) if bits[dim] < cap and (dim not in home or holes[home[dim]])]
        if not wants:
            raise MethodError(f"{len(groups)} bytes cannot be filled by {len(bits)} dimensions of at most {cap} bits")
        dim = max(wants, key=lambda candidate: (gains[candidate, bits[candidate]], -candidate))
        byte = home.setdefault(dim, int(holes.argmax()))
        if bits[dim] == 0:
            groups[byte].append(dim)
        bits[dim] += 1
        holes[byte] -= 1
    return bits, [np.sort(np.array(dims, dtype=np.int64)) for dims in groups]
