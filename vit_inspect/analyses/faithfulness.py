"""Can a map be trusted? The score as patches are removed in the map's order, and put back.

Deletion and insertion as in RISE (Petsiuk et al. 2018, arXiv 1806.07421), patch by patch, compared
with orders that do not depend on the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad

from vit_inspect.analyses.attention_maps import attention_maps
from vit_inspect.analyses.attention_relevance import attention_relevance
from vit_inspect.analyses.attention_rollout import attention_rollout
from vit_inspect.analyses.outputs import output_values
from vit_inspect.analyses.targets import target_classes
from vit_inspect.arguments import at_least_one, of_kind
from vit_inspect.device import memory_refusal
from vit_inspect.errors import BadParameter, UnsupportedModel
from vit_inspect.layout import TokenLayout
from vit_inspect.model import Model
from vit_inspect.recording.recorder import Capture, of_capture
from vit_inspect.records.evidence import CENTRE, RANDOM, Faithfulness

Map = Float[np.ndarray, "image row column"]

MAPS = ("rollout", "attention", "relevance", "input × gradient", "Grad-CAM")
"""The maps that are tested by default, for a class; some models do not have all of them.

Attention is that of the read-out in the last layer, the mean over heads.
"""

RANDOM_ORDERS = 5
"""Number of random orders: their mean is the baseline, their spread the effect of chance."""

BLUR_PATCHES = 1.0
"""Standard deviation of the blur that insertion starts from, in patches.

It leaves exp(-pi^2 / 2), 0.7 %, of a wave of two patches, the shortest that the grid of patches can
show: the content of a single patch is not visible before that patch is put back.
"""

BLUR_REACH = 6.0
"""Standard deviations within which pixels are averaged: less than 1e-8 lies outside."""

ROUNDING = 1e-5
"""Changes up to this share of the largest score are no more than rounding can make."""

DELETION, INSERTION = 0, 1


@of_capture
def faithfulness(
    capture: Capture,
    *,
    maps: Mapping[str, Map] | None = None,
    steps: int = 20,
    target: int | str | None = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> Faithfulness:
    """How fast a score falls as patches are removed in a map's order, and rises as they return.

    Deletion starts from the whole picture and replaces patches by the mean colour of the model
    input, largest values first. Insertion starts from a blurred picture (`BLUR_PATCHES`) and puts
    the patches back in the same order. Patches of equal value follow in raster order. Two
    baselines are tested too: orders by distance to the centre, and random orders. The score is the
    probability of one class, or its raw score if the model's outputs are scores, or, for a model
    without known classes, the cosine similarity of the output to that of the whole picture.

    maps: values of the patches, (image, row, column), by name; by default those of `MAPS` that the
        model has.
    steps: steps of each curve; at most one for each patch.
    target: number or name of the class; by default that of the largest output for the whole
        picture.
    on_progress: called before each forward pass with the number of pictures done and their total,
        and once at the end; an exception in it stops the work.

    Raises `BadParameter` for maps of another shape and for other values outside these ranges,
    `UnsupportedModel` where the model has none of the default maps, or where the score of no
    picture changes by more than rounding, `OutOfMemory` where the device is too small.
    """
    curves = Curves(capture, maps=maps, steps=steps, target=target)
    while curves.done < curves.total:
        if on_progress:
            on_progress(curves.done, curves.total)
        curves.advance(capture.model)
    if on_progress:
        on_progress(curves.done, curves.total)
    found = curves.result()
    check_moves(found)
    return found


class Curves:
    """The work of `faithfulness`, one forward pass at a time; it holds no network.

    done: number of pictures that have run.
    total: number of all pictures to run.
    """

    def __init__(
        self,
        capture: Capture,
        *,
        maps: Mapping[str, Map] | None = None,
        steps: int = 20,
        target: int | str | None = None,
    ) -> None:
        layout = capture.layout
        images, patches = len(capture.pixels), layout.patch_count
        steps = at_least_one(steps, "steps")
        self._model, self._layout, self._outputs = capture.model.id, layout, capture.model.outputs
        self._photographs = capture.photographs
        self.score, self.targets, self._measure = _score(capture, target)
        tested = (
            default_maps(capture, target) if maps is None else checked_maps(maps, images, layout)
        )
        orders = {**tested, **baselines(images, layout)}
        self.maps = tuple(orders)
        self._rank = np.stack([_rank(values) for values in orders.values()], axis=1)
        self._count = np.linspace(0, patches, min(steps, patches) + 1).round().astype(int)
        rows, columns = layout.covered_px
        pixels = capture.pixels[..., :rows, :columns]
        mean = pixels.mean(dim=(2, 3), keepdim=True).expand_as(pixels)
        blurred = _blurred(pixels, layout.cell_px)
        # Axes: curve, image.
        self._start = torch.stack([pixels, blurred])
        self._end = torch.stack([mean, pixels])
        down, right = layout.cell_of_px()
        self._cells = np.ix_(down[:rows], right[:columns])
        self._scores = np.zeros((2, images, len(orders), len(self._count)))
        whole = self._measure(capture.output, np.arange(images))[:, None]
        self._scores[DELETION, :, :, 0] = self._scores[INSERTION, :, :, -1] = whole
        wanted = np.zeros(self._scores.shape, dtype=bool)
        wanted[..., 1:-1] = True
        # With all patches removed, or none put back, all maps show the same picture.
        wanted[DELETION, :, 0, -1] = wanted[INSERTION, :, 0, 0] = True
        self._jobs = np.argwhere(wanted)
        self.done, self.total = 0, len(self._jobs)
        self._batch = capture.model.pass_images

    def advance(self, model: Model) -> None:
        """Run one batch through the model of the capture."""
        layout = self._layout
        curve, image, order, step = self._jobs[self.done : self.done + self._batch].T
        changed = self._rank[image, order] < self._count[step][:, None]
        (rows, columns), device = self._cells, model.device
        cells = changed.reshape(-1, *layout.grid)[:, rows, columns]
        mask = torch.from_numpy(cells).to(device)[:, None]
        with memory_refusal(len(image), layout.token_count, device), torch.inference_mode():
            pixels = torch.where(mask, self._end[curve, image], self._start[curve, image])
            # What no patch covers is not seen: any value will do.
            output = model.module(pad(pixels, (0, layout.margin_px[1], 0, layout.margin_px[0])))
            self._scores[curve, image, order, step] = self._measure(output, image)
        self.done += len(image)

    def result(self) -> Faithfulness:
        """The record, after all batches have run."""
        deletion, insertion = self._scores
        deletion[..., -1] = deletion[:, :1, -1]
        insertion[..., 0] = insertion[:, :1, 0]
        share = self._count / self._layout.patch_count
        return Faithfulness(
            model=self._model,
            layout=self._layout,
            photographs=self._photographs,
            maps=self.maps,
            score=self.score,
            targets=self.targets,
            blur_patches=BLUR_PATCHES,
            share=np.tile(share, (len(deletion), 1)),
            deletion=deletion,
            insertion=insertion,
            deletion_auc=_area(deletion, share),
            insertion_auc=_area(insertion, share),
            outputs=self._outputs,
        )


def check_moves(found: Faithfulness) -> None:
    """Refuse a score that is the same whichever patches are replaced, in every picture.

    Raises `UnsupportedModel`.
    """
    scores = np.stack([found.deletion, found.insertion])
    moved, size = np.ptp(scores, axis=(0, 2, 3)), np.abs(scores).max(axis=(0, 2, 3))
    if (moved <= ROUNDING * size).all():
        raise UnsupportedModel(
            f"{found.model}, whose {found.score} changes by no more than rounding, whichever "
            "patches are replaced",
            "a score that depends on the picture",
            "try a picture of more than one colour or another target, or check that the weights "
            "have their head",
        )


def default_maps(capture: Capture, target: int | str | None = None) -> dict[str, Map]:
    """Those of `MAPS` that the model has; raises `UnsupportedModel` if it has none of them."""
    found: dict[str, Map] = {}
    with suppress(UnsupportedModel):
        found["rollout"] = attention_rollout(capture).relevance
    with suppress(UnsupportedModel):
        last = attention_maps(replace(capture, layers=capture.layers[-1:]))
        found["attention"] = last.weights[:, 0].mean(axis=1)
    with suppress(UnsupportedModel):
        relevance = attention_relevance(capture, target=target)
        found["relevance"] = relevance.relevance
        found["input × gradient"] = relevance.input_gradient
        found["Grad-CAM"] = relevance.grad_cam
    if not found:
        raise UnsupportedModel(
            f"none of the maps {', '.join(MAPS)} of {capture.model.id}",
            "at least one that can be tested",
            "give your own maps as maps={name: array}",
        )
    return found


def rank_correlation(
    first: Shaped[np.ndarray, "*map"], second: Shaped[np.ndarray, "*map"]
) -> float:
    """Spearman's correlation of two maps of the same shape: 1 if they order patches alike.

    In -1..1; equal values share their mean rank. NaN if all values of a map are equal.
    """
    # Imported here because it takes most of a second and is rarely needed.
    from scipy.stats import spearmanr

    # A mask is a map too.
    first, second = (np.asarray(each, dtype=np.float64) for each in (first, second))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second, axis=None).statistic)


def checked_maps(maps: Mapping[str, Map], images: int, layout: TokenLayout) -> dict[str, Map]:
    """The maps as float64, also masks; raises `BadParameter` for maps that cannot be tested."""
    of_kind(maps, Mapping, "maps", "a dictionary of names and maps")
    shape = (images, *layout.grid)
    checked = {name: np.asarray(values, dtype=np.float64) for name, values in maps.items()}
    for name, values in checked.items():
        if name == CENTRE or name.startswith(f"{RANDOM} "):
            raise BadParameter(
                f"a map called {name!r}, the name of a baseline", "another name", "rename it"
            )
        if values.shape != shape or not np.isfinite(values).all():
            wrong = "of shape" if values.shape != shape else "with infinite or NaN values, of shape"
            raise BadParameter(
                f"the map {name!r} {wrong} {values.shape}",
                f"finite values of {images} × {layout.grid[0]} × {layout.grid[1]} patches (image, "
                "row, column)",
                "give one value for each patch of each image",
            )
    return checked


def baselines(images: int, layout: TokenLayout) -> dict[str, Map]:
    """Maps that do not depend on the model; the same for every image of any batch.

    None is negative: that of the centre is 0 where a patch is farthest from it.
    """
    (rows, columns), (height, width) = layout.grid, layout.cell_px
    down = (np.arange(rows) - (rows - 1) / 2) * height
    right = (np.arange(columns) - (columns - 1) / 2) * width
    far = np.hypot(down[:, None], right)
    values = {CENTRE: far.max() - far}
    for order in range(1, RANDOM_ORDERS + 1):
        values[f"{RANDOM} {order}"] = np.random.default_rng(order).random(layout.grid)
    return {name: np.broadcast_to(each, (images, *layout.grid)) for name, each in values.items()}


def _rank(values: Map) -> Int[np.ndarray, "image patch"]:
    """The rank of each patch in the map: 0 has the largest value."""
    flat = values.reshape(len(values), -1)
    order = np.argsort(-flat, axis=1, kind="stable")
    return np.argsort(order, axis=1)


def _area(
    scores: Float[np.ndarray, "image map step"], share: Float[np.ndarray, "step"]
) -> Float[np.ndarray, "image map"]:
    """The area under curves, by the trapezoid rule."""
    return (scores[..., 1:] + scores[..., :-1]) / 2 @ np.diff(share)


def _blurred(
    pixels: Float[Tensor, "image channel row_px column_px"], cell_px: tuple[int, int]
) -> Float[Tensor, "image channel row_px column_px"]:
    """A Gaussian blur that averages only pixels inside the picture."""
    values = pixels.cpu().double().numpy()
    blur = partial(
        gaussian_filter,
        sigma=[BLUR_PATCHES * side for side in cell_px],
        mode="constant",
        truncate=BLUR_REACH,
        axes=(-2, -1),
    )
    inside = blur(np.ones(values.shape[-2:]))
    return torch.from_numpy(blur(values) / inside).to(pixels)


Measure = Callable[[Tensor, Int[np.ndarray, "picture"]], Float[np.ndarray, "picture"]]
"""Takes outputs and the index of each one's image; returns their scores."""


def _score(capture: Capture, target: int | str | None) -> tuple[str, tuple[str, ...], Measure]:
    """The score in words, the class of each image, and the function that measures the score."""
    # On the CPU: not every device has float64, and there are few numbers.
    whole = capture.output.cpu().double()
    targets, outputs = target_classes(capture, target), capture.model.outputs
    if not targets:

        def similarity(
            output: Tensor, image: Int[np.ndarray, "picture"]
        ) -> Float[np.ndarray, "picture"]:
            found = output.cpu().double().flatten(1)
            return cosine_similarity(found, whole[image].flatten(1)).numpy()

        words = "cosine similarity to the output for the whole picture"
        return words, ("",) * len(whole), similarity
    labels, classes = capture.model.labels or (), torch.tensor(targets)

    def value(output: Tensor, image: Int[np.ndarray, "picture"]) -> Float[np.ndarray, "picture"]:
        scores = output.cpu().double()
        own = scores.gather(1, classes[image][:, None])
        return output_values(own, scores, outputs).squeeze(1).numpy()

    if outputs != "scores":
        predicted = "probability of the class predicted for the whole picture"
        words = predicted if target is None else "probability of the chosen class"
    elif len(labels) == 1:
        words = "raw score of the only output"
    else:
        largest = "raw score of the largest output for the whole picture"
        words = largest if target is None else "raw score of the chosen output"
    return words, tuple(labels[each] for each in targets), value
