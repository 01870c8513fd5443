"""Does a map lie on the thing that it should show? Where that is known, from boxes.

The pointing game is that of Zhang et al. (Excitation Backprop, arXiv 1608.00507), without its
tolerance of 15 px: the patch of the largest value is known no better than to its own size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from vit_inspect.analyses.faithfulness import Map, baselines, checked_maps, default_maps
from vit_inspect.analyses.targets import target_classes
from vit_inspect.arguments import several
from vit_inspect.errors import BadParameter
from vit_inspect.layout import Box
from vit_inspect.recording.recorder import Capture, of_capture
from vit_inspect.records.base import Photograph
from vit_inspect.records.evidence import Localisation


@of_capture
def localisation(
    capture: Capture,
    boxes: Sequence[Sequence[float]],
    *,
    maps: Mapping[str, Map] | None = None,
    target: int | str | None = None,
) -> Localisation:
    """The share of each map inside a box, beside the share of the area; and the pointing game.

    Maps that do not depend on the model are measured too, as in `faithfulness`: the nearness to the
    centre, and random values.

    boxes: one for each photograph: (left, top, right, bottom) in its pixels, right and bottom
        exclusive. What the model did not see of a box does not count.
    maps: values of the patches, (image, row, column), by name; by default those that `faithfulness`
        tests and the model has.
    target: number or name of the class that the default maps are of; by default that of the largest
        output.

    Raises `BadParameter` for a box of another form or that the model saw nothing of, for maps of
    another shape and for a class that does not exist, `UnsupportedModel` where the model has none
    of the default maps.
    """
    layout, photographs = capture.layout, capture.photographs
    own = _checked(boxes, photographs)
    if maps is None:
        labels = capture.model.labels or ()
        targets = tuple(labels[each] for each in target_classes(capture, target))
        tested = default_maps(capture, target)
    else:
        targets, tested = (), checked_maps(maps, len(photographs), layout)
    every = {**tested, **baselines(len(photographs), layout)}
    covered, held = (
        np.stack([of(box, each, layout.grid) for box, each in zip(own, photographs, strict=True)])
        for of in (_covered, _held)
    )
    return Localisation(
        model=capture.model.id,
        layout=layout,
        photographs=photographs,
        maps=tuple(every),
        targets=targets or ("",) * len(photographs),
        boxes=own,
        inside=np.stack([_inside(values, covered) for values in every.values()], axis=1),
        area=covered.mean(axis=(1, 2)),
        hit=np.stack([_hit(values, held) for values in every.values()], axis=1),
        centres=held.mean(axis=(1, 2)),
    )


def _inside(
    values: Map, covered: Float[np.ndarray, "image row column"]
) -> Float[np.ndarray, "image"]:
    """The share of positive values in the box; NaN where there are none."""
    positive = values.clip(min=0)
    whole = positive.sum(axis=(1, 2))
    found = (positive * covered).sum(axis=(1, 2))
    return np.divide(found, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def _hit(values: Map, held: Float[np.ndarray, "image row column"]) -> Float[np.ndarray, "image"]:
    """The share of the patches of the largest value whose centre is in the box."""
    largest = values == values.max(axis=(1, 2), keepdims=True)
    return np.asarray(held.mean(axis=(1, 2), where=largest))


def _covered(
    box: Box, photograph: Photograph, grid: tuple[int, int]
) -> Float[np.ndarray, "row column"]:
    """The share of each patch's area that the box covers."""
    down, right = _edges(photograph, grid)
    return _overlap(down, box.top, box.bottom)[:, None] * _overlap(right, box.left, box.right)


def _held(
    box: Box, photograph: Photograph, grid: tuple[int, int]
) -> Float[np.ndarray, "row column"]:
    """Whether each patch's centre is in the box: 1 or 0."""
    down, right = ((edges[1:] + edges[:-1]) / 2 for edges in _edges(photograph, grid))
    rows, columns = (
        (box.top <= down) & (down < box.bottom),
        (box.left <= right) & (right < box.right),
    )
    return (rows[:, None] & columns).astype(float)


def _edges(
    photograph: Photograph, grid: tuple[int, int]
) -> tuple[Float[np.ndarray, "row_edge"], Float[np.ndarray, "column_edge"]]:
    """Where the patches begin and end on the photograph, in its pixels."""
    seen, (rows, columns) = photograph.seen, grid
    return (
        np.linspace(seen.top, seen.bottom, rows + 1),
        np.linspace(seen.left, seen.right, columns + 1),
    )


def _overlap(
    edges: Float[np.ndarray, "edge"], low: float, high: float
) -> Float[np.ndarray, "patch"]:
    """The share of each interval between edges that lies between low and high."""
    inside = edges.clip(low, high)
    return np.diff(inside) / np.diff(edges)


def _checked(
    boxes: Sequence[Sequence[float]], photographs: tuple[Photograph, ...]
) -> tuple[Box, ...]:
    """One box for each photograph; raises `BadParameter`."""
    given = several(boxes, "boxes", "[(left, top, right, bottom)]")
    if len(given) != len(photographs):
        raise BadParameter(
            f"{len(given)} boxes for {len(photographs)} photographs",
            "one for each photograph",
            "give (left, top, right, bottom) of each, in its pixels",
        )
    return tuple(map(_box, given, photographs))


def _box(given: Sequence[float], photograph: Photograph) -> Box:
    try:
        box = Box(*map(float, given))
    except (TypeError, ValueError):
        box = Box(0, 0, 0, 0)
    if not (box.left < box.right and box.top < box.bottom):
        raise BadParameter(
            f"the box {given!r:.60}",
            "(left, top, right, bottom) in pixels of the photograph, with left < right and top < "
            "bottom",
            "check the order of the four numbers",
        )
    seen = photograph.seen
    if not (
        max(box.left, seen.left) < min(box.right, seen.right)
        and max(box.top, seen.top) < min(box.bottom, seen.bottom)
    ):
        raise BadParameter(
            f"the box {tuple(box)} on {photograph.name!r}, of which the model saw nothing",
            f"one that overlaps {tuple(seen)}, what the model saw",
            "take the photograph whole (a recipe without a crop), or leave it out",
        )
    return box
