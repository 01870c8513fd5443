"""Can a map be trusted? The score as its patches are taken out of the picture, and put back.

Deletion and insertion as in RISE (Petsiuk et al. 2018, arXiv 1806.07421), patch by patch, beside
orders that know nothing of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import cosine_similarity

from vit_inspect.analyses.attention_maps import attention_maps
from vit_inspect.analyses.attention_relevance import attention_relevance
from vit_inspect.analyses.attention_rollout import attention_rollout
from vit_inspect.analyses.targets import classes_asked
from vit_inspect.device import memory_refusal
from vit_inspect.errors import BadParameter, UnsupportedModel
from vit_inspect.layout import TokenLayout
from vit_inspect.model import Model
from vit_inspect.recording.recorder import Capture
from vit_inspect.records.evidence import CENTRE, RANDOM, Faithfulness

Map = Float[np.ndarray, "image row column"]

MAPS = ("rollout", "attention", "relevance", "input × gradient", "Grad-CAM")
"""The maps that are tested unless others are given, for a class; a model may refuse some.

Attention is that of the read-out in the last layer, the mean of its heads.
"""

RANDOM_ORDERS = 5
"""Random orders beside the maps: their mean is the baseline, their spread what chance does."""

BLUR_PATCHES = 1.0
"""Standard deviation of the blur that insertion starts from, in patches.

Of a wave of two patches, the shortest that the grid of patches can show, it leaves exp(-pi^2 / 2),
0.7 %: nothing that a single patch shows is there before the patch is put back.
"""

BLUR_REACH = 6.0
"""Standard deviations within which pixels are averaged: less than 1e-8 lies beyond."""

DELETION, INSERTION = 0, 1


def faithfulness(
    capture: Capture,
    *,
    maps: Mapping[str, Map] | None = None,
    steps: int = 20,
    target: int | str | None = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> Faithfulness:
    """How fast a score falls as the patches that a map puts first go, and rises as they come.

    Deletion starts from the whole picture and replaces patches by its mean colour, as the model
    sees it, those of the largest values first; insertion starts from a blurred picture
    (`BLUR_PATCHES`) and puts them back. Of equal values the first in raster order goes first.
    Beside the maps are orders by distance to the centre and at random. The score is the
    probability of one class, or, where the model is not known to score classes, the cosine
    similarity of the output to that of the whole picture.

    maps: values of the patches, (image, row, column), by name; by default those of `MAPS` that the
        model has.
    steps: steps of each curve; at most one for each patch.
    target: number or name of the class; by default the one that is most probable for the whole
        picture.
    on_progress: is called before each forward pass with how many pictures are done and how many
        there are, and once at the end; what it raises ends the work.

    Raises `BadParameter` for maps of another shape and for other values outside these ranges,
    `UnsupportedModel` where the model has none of the default maps, `OutOfMemory` where the device
    is too small.
    """
    curves = Curves(capture, maps=maps, steps=steps, target=target)
    while curves.done < curves.total:
        if on_progress:
            on_progress(curves.done, curves.total)
        curves.advance(capture.model)
    if on_progress:
        on_progress(curves.done, curves.total)
    return curves.result()


class Curves:
    """The work of `faithfulness`, one forward pass after the other; it holds no network.

    done, total: pictures that were run and that are to be run.
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
        if steps < 1:
            raise BadParameter(f"{steps} steps", "1 or more", "choose a positive number")
        self._model, self._layout = capture.model.id, layout
        self._photographs = capture.photographs
        self.score, self.targets, self._measure = _score(capture, target)
        tested = default_maps(capture, target) if maps is None else _checked(maps, images, layout)
        orders = {**tested, **_baselines(images, layout)}
        self.maps = tuple(orders)
        self._rank = np.stack([_rank(values) for values in orders.values()], axis=1)
        self._count = np.linspace(0, patches, min(steps, patches) + 1).round().astype(int)
        pixels = capture.pixels
        mean = pixels.mean(dim=(2, 3), keepdim=True).expand_as(pixels)
        blurred = _blurred(pixels, layout.patch_px)
        # By the curve, then the image.
        self._start = self._cut(torch.stack([pixels, blurred]))
        self._end = self._cut(torch.stack([mean, pixels]))
        self._scores = np.zeros((2, images, len(orders), len(self._count)))
        whole = self._measure(capture.output, np.arange(images))[:, None]
        self._scores[DELETION, :, :, 0] = self._scores[INSERTION, :, :, -1] = whole
        wanted = np.zeros(self._scores.shape, dtype=bool)
        wanted[..., 1:-1] = True
        # With no map's patches left, or none put back, all maps show the same picture.
        wanted[DELETION, :, 0, -1] = wanted[INSERTION, :, 0, 0] = True
        self._jobs = np.argwhere(wanted)
        self.done, self.total = 0, len(self._jobs)
        self._batch = capture.model.pass_images

    def advance(self, model: Model) -> None:
        """Run one batch through the model of the capture."""
        layout = self._layout
        curve, image, order, step = self._jobs[self.done : self.done + self._batch].T
        changed = self._rank[image, order] < self._count[step][:, None]
        (rows, columns), device = layout.grid, model.device
        mask = torch.from_numpy(changed).to(device).reshape(-1, 1, rows, 1, columns, 1)
        with memory_refusal(len(image), layout.token_count, device), torch.inference_mode():
            pixels = torch.where(mask, self._end[curve, image], self._start[curve, image])
            output = model.module(pixels.reshape(-1, 3, *layout.input_px))
            self._scores[curve, image, order, step] = self._measure(output, image)
        self.done += len(image)

    def result(self) -> Faithfulness:
        """The curves, once all batches have run."""
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
        )

    def _cut(
        self, pictures: Float[Tensor, "curve image 3 row_px column_px"]
    ) -> Float[Tensor, "curve image 3 row patch_row_px column patch_column_px"]:
        (rows, columns), (height, width) = self._layout.grid, self._layout.patch_px
        return pictures.unflatten(4, (columns, width)).unflatten(3, (rows, height))


def default_maps(capture: Capture, target: int | str | None = None) -> dict[str, Map]:
    """Those of `MAPS` that the model has.

    Raises `UnsupportedModel` where it has none of them.
    """
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
            "give maps of your own as maps={name: array}",
        )
    return found


def rank_correlation(first: Float[np.ndarray, "*map"], second: Float[np.ndarray, "*map"]) -> float:
    """Spearman's correlation of two maps of the same shape: 1 where they order patches alike.

    In -1..1; equal values share their mean rank. nan where one of the maps is even.
    """
    # Imported here: it takes most of a second, and few ask for it.
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second, axis=None).statistic)


def _checked(maps: Mapping[str, Map], images: int, layout: TokenLayout) -> dict[str, Map]:
    """The same as numbers of one type; a mask is a map too."""
    shape = (images, *layout.grid)
    checked = {name: np.asarray(values, dtype=np.float64) for name, values in maps.items()}
    for name, values in checked.items():
        if name == CENTRE or name.startswith(f"{RANDOM} "):
            raise BadParameter(
                f"a map called {name!r}, as one of the baselines is", "another name", "rename it"
            )
        if values.shape != shape or not np.isfinite(values).all():
            wrong = "of the shape" if values.shape != shape else "with undefined values and of"
            raise BadParameter(
                f"the map {name!r} {wrong} {values.shape}",
                f"finite values of {images} x {layout.grid[0]} x {layout.grid[1]} patches (image, "
                "row, column)",
                "give one value for each patch of each image",
            )
    return checked


def _baselines(images: int, layout: TokenLayout) -> dict[str, Map]:
    """Orders that know nothing of the model; the same for all images, whatever the batch."""
    (rows, columns), (height, width) = layout.grid, layout.patch_px
    down = (np.arange(rows) - (rows - 1) / 2) * height
    right = (np.arange(columns) - (columns - 1) / 2) * width
    values = {CENTRE: -np.hypot(down[:, None], right)}
    for order in range(1, RANDOM_ORDERS + 1):
        values[f"{RANDOM} {order}"] = np.random.default_rng(order).random(layout.grid)
    return {name: np.broadcast_to(each, (images, *layout.grid)) for name, each in values.items()}


def _rank(values: Map) -> Int[np.ndarray, "image patch"]:
    """The place of each patch in the order of the map: 0 has the largest value."""
    flat = values.reshape(len(values), -1)
    order = np.argsort(-flat, axis=1, kind="stable")
    return np.argsort(order, axis=1)


def _area(
    scores: Float[np.ndarray, "image map step"], share: Float[np.ndarray, "step"]
) -> Float[np.ndarray, "image map"]:
    """The area under curves, by the trapezoid rule."""
    return (scores[..., 1:] + scores[..., :-1]) / 2 @ np.diff(share)


def _blurred(
    pixels: Float[Tensor, "image 3 row_px column_px"], patch_px: tuple[int, int]
) -> Float[Tensor, "image 3 row_px column_px"]:
    """A Gaussian blur; what lies beyond the border counts as nothing, not as black."""
    values = pixels.cpu().double().numpy()
    blur = partial(
        gaussian_filter,
        sigma=[BLUR_PATCHES * patch for patch in patch_px],
        mode="constant",
        truncate=BLUR_REACH,
        axes=(-2, -1),
    )
    inside = blur(np.ones(values.shape[-2:]))
    return torch.from_numpy(blur(values) / inside).to(pixels)


Measure = Callable[[Tensor, Int[np.ndarray, "picture"]], Float[np.ndarray, "picture"]]
"""The score of each output, which is of one of the capture's images."""


def _score(capture: Capture, target: int | str | None) -> tuple[str, tuple[str, ...], Measure]:
    """What is measured, of which class in each image, and how."""
    # So few numbers that the widest type costs nothing; not every device has it.
    whole = capture.output.cpu().double()
    asked = classes_asked(capture, target)
    if not asked:

        def similarity(
            output: Tensor, image: Int[np.ndarray, "picture"]
        ) -> Float[np.ndarray, "picture"]:
            found = output.cpu().double().flatten(1)
            return cosine_similarity(found, whole[image].flatten(1)).numpy()

        words = "cosine similarity to the output for the whole picture"
        return words, ("",) * len(whole), similarity
    labels, classes = capture.model.labels or (), torch.tensor(asked)

    def probability(
        output: Tensor, image: Int[np.ndarray, "picture"]
    ) -> Float[np.ndarray, "picture"]:
        logits = output.cpu().double()
        own = logits.gather(1, classes[image][:, None]).squeeze(1)
        return (own - logits.logsumexp(dim=1)).exp().numpy()

    chosen = "the class predicted for the whole picture" if target is None else "the chosen class"
    return f"probability of {chosen}", tuple(labels[each] for each in asked), probability
