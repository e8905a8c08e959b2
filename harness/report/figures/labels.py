"""Labels in a plot: placed where they cover nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    pass


Bool = NDArray[np.bool_]

Float = NDArray[np.float64]

RADII = 3.0 * 1.3 ** np.arange(20)
"""Between a marker and its label: from beside it to across the plot."""

LEADER_FROM = 7.0
"""From this distance on a thin line joins a label to its marker."""

CLEARANCE = np.array([-1.5, -1.5, 1.5, 1.5])
"""Added to a box to keep it clear of lines, which have a width."""

CROSSING, MISSING = 40.0, 30.0
"""What a line under a label costs, and a label left out, if a point of distance costs 1."""

AT_ONCE = 64
"""Places of a label that are looked at together: mostly one of the cheapest is free."""


class Request(NamedTuple):
    """A label that wants a place near its marker; y grows upwards."""

    anchor: Float
    radius: float
    size: Float
    direction: float
    reach: float


def place(requests: Sequence[Request], bounds: Float, obstacles: Float, lines: Float) -> list[Float | None]:
    """Find a place for each label, first for those with infinite reach.

    Greedy: each label in turn takes the cheapest free place around its anchor. A place is free if it lies within the
    bounds and touches no obstacle, no earlier label and no earlier label's leader. Distance costs, and so do another
    direction than the wanted one and lines underneath. The labels with infinite reach have their turns forwards or
    backwards, whichever costs less.

    Parameters
    ----------
    requests : sequence of Request
        Those with finite reach in the order of their importance.
    bounds : float (4,)
        Where labels may be: x0, y0, x1, y1.
    obstacles : float (n, 4)
        Boxes that labels keep clear of, such as markers.
    lines : float (s, 4)
        Segments x0, y0, x1, y1 that no label crosses, except those with infinite reach.

    Returns
    -------
    list of float (2,) or None
        Lower left corner of each label; None where no place is free.
    """
    taken = np.asarray(obstacles, dtype=float).reshape(-1, 4)
    under = np.asarray(lines, dtype=float).reshape(-1, 4)
    first = [index for index, request in enumerate(requests) if np.isinf(request.reach)]
    then = [index for index, request in enumerate(requests) if np.isfinite(request.reach)]
    places = [_places(request, bounds, taken, under) for request in requests]
    tried = []
    for order in (first + then, first[::-1] + then):
        corners, cost = _place_in_turn([places[index] for index in order])
        tried.append((cost, [corners[order.index(index)] for index in range(len(requests))]))
    return min(tried, key=lambda result: result[0])[1]


class _Places(NamedTuple):
    """Where a label may be whatever the others do, the cheapest first.

    Attributes
    ----------
    boxes, joins : float (c, 4)
        Boxes, and segments between them and the marker.
    costs : float (c,)
    led : bool (c,)
        Whether the segment is drawn.
    missing : float
        What it costs to leave the label out.
    """

    boxes: Float
    joins: Float
    costs: Float
    led: Bool
    missing: float


def _places(request: Request, bounds: Float, obstacles: Float, lines: Float) -> _Places:
    boxes, costs = _candidates(request)
    free = (boxes[:, :2] >= bounds[:2]).all(axis=1) & (boxes[:, 2:] <= bounds[2:]).all(axis=1)
    boxes, costs = boxes[free], costs[free]
    free = ~overlaps(boxes, obstacles).any(axis=1)
    boxes, costs = boxes[free], costs[free]
    crossing: Bool = np.logical_or.reduce(crosses(lines, boxes + CLEARANCE), axis=0)
    if np.isfinite(request.reach):
        boxes, costs, crossing = boxes[~crossing], costs[~crossing], crossing[~crossing]
    joins = leader_lines(request, boxes)
    led = np.hypot(joins[:, 2] - joins[:, 0], joins[:, 3] - joins[:, 1]) >= LEADER_FROM
    costs += CROSSING * crossing
    costs[led] += 4.0 + 8.0 * crosses(joins[led], obstacles).sum(axis=1)
    order = np.argsort(costs, kind="stable")
    missing = MISSING * (100 if np.isinf(request.reach) else 1)
    return _Places(boxes[order], joins[order], costs[order], led[order], missing)


def _place_in_turn(labels: Sequence[_Places]) -> tuple[list[Float | None], float]:
    """Give each label the cheapest place that earlier ones leave; return the lower left corners, and the cost."""
    taken, leaders = np.empty((0, 4)), np.empty((0, 4))
    corners: list[Float | None] = []
    total = 0.0
    for boxes, joins, costs, led, missing in labels:
        chosen = None
        for start in range(0, len(boxes), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            free = ~overlaps(boxes[some], taken).any(axis=1)
            free &= ~crosses(leaders, boxes[some]).any(axis=0)
            free &= ~(led[some] & crosses(joins[some], taken).any(axis=1))
            if free.any():
                chosen = start + int(np.argmax(free))
                break
        if chosen is None:
            total += missing
            corners.append(None)
            continue
        total += float(costs[chosen])
        taken = np.vstack([taken, boxes[chosen]])
        if led[chosen]:
            leaders = np.vstack([leaders, joins[chosen]])
        corners.append(boxes[chosen, :2])
    return corners, total


def overlaps(boxes: Float, others: Float) -> Bool:
    """Return whether boxes x0, y0, x1, y1 (n, 4) and (k, 4) overlap by more than an edge, bool (n, k)."""
    left, low, right, high = boxes.T[:, :, None]
    found: Bool = (left < others[:, 2]) & (low < others[:, 3]) & (others[:, 0] < right) & (others[:, 1] < high)
    return found


def crosses(segments: Float, boxes: Float) -> Bool:
    """Return whether segments x0, y0, x1, y1 (s, 4) enter boxes (k, 4), bool (s, k).

    Source: the parametric line clipping of Liang and Barsky, 1984.
    """
    low, high = np.minimum(segments[:, :2], segments[:, 2:]), np.maximum(segments[:, :2], segments[:, 2:])
    crossed: Bool = np.ones((len(segments), len(boxes)), dtype=np.bool_)
    for axis in (0, 1):
        crossed &= (low[:, axis, None] < boxes[:, axis + 2]) & (boxes[:, axis] < high[:, axis, None])
    # few segments reach far enough, and only for these it matters where they pass
    which, of = np.nonzero(crossed)
    start, low_edge, high_edge = segments[which, :2], boxes[of, :2], boxes[of, 2:]
    step = segments[which, 2:] - start
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        near, far = (low_edge - start) / step, (high_edge - start) / step
    # along an axis in which the segment does not move it is inside all the way
    still = step == 0
    enter = np.where(still, -np.inf, np.minimum(near, far)).max(axis=-1)
    leave = np.where(still, np.inf, np.maximum(near, far)).min(axis=-1)
    crossed[which, of] = np.maximum(enter, 0.0) < np.minimum(leave, 1.0)
    return crossed


def _candidates(request: Request) -> tuple[Float, Float]:
    """Return boxes (c, 4) around an anchor, and what distance and direction cost."""
    radii = request.radius + RADII[request.reach >= RADII]
    # Middles of boxes: once around a rectangle, on which each box keeps the same distance from the anchor.
    along = np.linspace(-1.0, 1.0, 9)
    side = np.ones_like(along)
    around = np.vstack([np.column_stack(way) for way in ((along, side), (along, -side), (side, along), (-side, along))])
    offsets = (around * (radii[:, None, None] + request.size / 2)).reshape(-1, 2)
    middles = request.anchor + offsets
    boxes = np.hstack([middles - request.size / 2, middles + request.size / 2])
    wanted = np.array([np.cos(request.direction), np.sin(request.direction)])
    turned = 1.0 - np.tile(around @ wanted / np.hypot(*around.T), len(radii))
    apart = np.hypot(*(request.anchor - np.clip(request.anchor, boxes[:, :2], boxes[:, 2:])).T)
    return boxes, apart + 5.0 * turned


def leader_lines(request: Request, boxes: Float) -> Float:
    """Return the segments from a marker's edge to the nearest point of each box, float (c, 4)."""
    anchor = np.asarray(request.anchor)
    nearest = np.clip(anchor, boxes[:, :2], boxes[:, 2:])
    away = nearest - anchor
    length = np.maximum(np.hypot(away[:, :1], away[:, 1:]), 1e-9)
    return np.hstack([anchor + away * np.minimum(1.0, (request.radius + 0.5) / length), nearest])
