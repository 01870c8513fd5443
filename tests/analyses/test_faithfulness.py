"""Are the curves those of plain loops? Do they find a planted patch, and obey their laws?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.made import capture_of, layout_of, peaked
from tests.helpers.planted import GRID, picture, planted
from tests.helpers.windowed import narrow_swin
from vit_inspect.analyses import faithfulness as analysis
from vit_inspect.figures.faithfulness import BEST, conclusions
from vit_inspect.layout import NONLINEAR, TokenLayout
from vit_inspect.recording.recorder import Capture
from vit_inspect.records.evidence import Outputs

LAYOUT = layout_of("cls", grid=(2, 3), patch_px=(4, 6))
IMAGES, PATCHES = 2, 6
BASELINES = ("centre", "random 1", "random 2", "random 3", "random 4", "random 5")


class Classifier(nn.Module):
    """Scores of five classes, each a fixed function of all pixels; peaked probabilities."""

    def __init__(self, layout: TokenLayout = LAYOUT) -> None:
        super().__init__()
        rows, columns = layout.input_px
        generator = torch.Generator().manual_seed(1)
        weight = torch.randn(3 * rows * columns, 5, generator=generator, dtype=torch.float64)
        self.weight = nn.Parameter(weight / 5)

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.tanh(pixels.flatten(1)) @ self.weight


class Constant(nn.Module):
    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, pixels: Tensor) -> Tensor:
        return self.output.expand(len(pixels), -1)


def seen(
    module: nn.Module, *, labels: tuple[str, ...] | None, layout: TokenLayout = LAYOUT
) -> Capture:
    """A capture of two pictures of noise by a network that has random attention beside it."""
    random = np.random.default_rng(0)
    tokens = layout.token_count
    capture = capture_of(peaked(random, 2, IMAGES, 2, tokens, tokens), layout)
    pixels = torch.from_numpy(random.normal(size=(IMAGES, 3, *layout.input_px)))
    model = replace(capture.model, module=module, labels=labels)
    return replace(capture, model=model, pixels=pixels, output=module(pixels).detach())


def classified() -> Capture:
    return seen(Classifier(), labels=tuple("abcde"))


def maps_of(random: np.random.Generator) -> dict[str, np.ndarray]:
    """A map without ties and one that is nothing but ties."""
    return {
        "own": random.normal(size=(IMAGES, 2, 3)),
        "tied": random.integers(0, 2, size=(IMAGES, 2, 3)),
    }


def blurred(pixels: np.ndarray) -> np.ndarray:
    """One patch of standard deviation; weights of the pixels inside, by the double loop."""
    _, rows, columns = pixels.shape
    height, width = LAYOUT.patch_px
    found = np.zeros_like(pixels)
    for row in range(rows):
        for column in range(columns):
            down = np.exp(-((np.arange(rows) - row) ** 2) / (2 * height**2))
            right = np.exp(-((np.arange(columns) - column) ** 2) / (2 * width**2))
            weights = np.outer(down, right) / np.outer(down, right).sum()
            found[:, row, column] = (pixels * weights).sum(axis=(1, 2))
    return found


def loop(
    capture: Capture,
    values: np.ndarray,
    image: int,
    counts: list[int],
    score: Callable[[Tensor], float],
) -> tuple[list[float], list[float]]:
    """Deletion and insertion of one image by one map (row, column), patch by patch."""
    pixels = capture.pixels[image].numpy()
    mean = pixels.mean(axis=(1, 2))
    places = [(row, column) for row in range(2) for column in range(3)]
    order = sorted(places, key=lambda place: -values[place])
    deletion, insertion = [], []
    for count in counts:
        without, restored = pixels.copy(), blurred(pixels)
        for row, column in order[:count]:
            box = (
                slice(None),
                slice(4 * row, 4 * row + 4),
                slice(6 * column, 6 * column + 6),
            )
            without[box] = mean[:, None, None]
            restored[box] = pixels[box]
        for changed, curve in ((without, deletion), (restored, insertion)):
            with torch.no_grad():
                curve.append(score(capture.model.module(torch.from_numpy(changed)[None])[0]))
    return deletion, insertion


@pytest.mark.parametrize("headless", [False, True], ids=["classes", "headless"])
@pytest.mark.parametrize(("steps", "counts"), [(3, [0, 2, 4, 6]), (20, [0, 1, 2, 3, 4, 5, 6])])
def test_the_curves_are_those_of_plain_loops(
    random: np.random.Generator, steps: int, counts: list[int], headless: bool
) -> None:
    capture = seen(Classifier(), labels=None if headless else tuple("abcde"))
    maps = maps_of(random)
    found = vi.faithfulness(capture, maps=maps, steps=steps)
    assert found.maps == ("own", "tied", *BASELINES)
    np.testing.assert_allclose(found.share, [np.array(counts) / PATCHES] * IMAGES)
    for image in range(IMAGES):
        whole = capture.output[image]

        def score(output: Tensor, whole: Tensor = whole) -> float:
            if headless:
                return float(output @ whole / output.norm() / whole.norm())
            return float(output.softmax(dim=0)[whole.argmax()])

        for place, values in enumerate(maps.values()):
            deletion, insertion = loop(capture, values[image], image, counts, score)
            np.testing.assert_allclose(found.deletion[image, place], deletion, rtol=1e-9)
            np.testing.assert_allclose(found.insertion[image, place], insertion, rtol=1e-9)
            for curve, area in (
                (deletion, found.deletion_auc),
                (insertion, found.insertion_auc),
            ):
                pieces = zip(curve, curve[1:], np.diff(counts), strict=False)
                wanted = sum((a + b) / 2 * width / PATCHES for a, b, width in pieces)
                assert area[image, place] == pytest.approx(wanted)
    assert np.ptp(found.deletion) > 0.3


class Inner(nn.Module):
    """A network that does not see the margin of its input."""

    def __init__(self, module: nn.Module, layout: TokenLayout) -> None:
        super().__init__()
        self.module, self.layout = module, layout

    def forward(self, pixels: Tensor) -> Tensor:
        assert pixels.shape[2:] == self.layout.input_px
        rows, columns = self.layout.covered_px
        return self.module(pixels[..., :rows, :columns])


def test_what_no_patch_covers_changes_no_curve(random: np.random.Generator) -> None:
    """Neither the mean colour nor the blur takes anything from there."""
    capture, maps = seen(Classifier(), labels=tuple("abcde")), maps_of(random)
    layout = replace(LAYOUT, margin_px=(3, 5))
    wider = replace(
        capture,
        model=replace(capture.model, layout=layout, module=Inner(capture.model.module, layout)),
        pixels=torch.nn.functional.pad(capture.pixels, (0, 5, 0, 3), value=99.0),
    )
    found, expected = (vi.faithfulness(each, maps=maps, steps=3) for each in (wider, capture))
    np.testing.assert_allclose(found.deletion, expected.deletion, rtol=1e-12)
    np.testing.assert_allclose(found.insertion, expected.insertion, rtol=1e-12)


def test_a_constant_score_has_an_area_of_one() -> None:
    share = np.array([0, 0.1, 0.5, 1])
    np.testing.assert_allclose(analysis._area(np.ones((1, 2, 4)), share), 1, rtol=1e-12)


NEVER = "changes by no more than rounding, whichever patches are replaced; expected a score that"


@pytest.mark.parametrize(
    ("output", "labels", "outputs", "words"),
    [
        # The softmax of a single output; a score that the picture has no part in; a cosine.
        ([7.0], ("only",), "single-label", "toy, whose probability of the class predicted for"),
        ([7.0], ("age",), "scores", f"Found toy, whose raw score of the only output {NEVER}"),
        ([7.0, 2.0], ("a", "b"), "scores", "toy, whose raw score of the largest output for the"),
        ([3.0, -1.0], None, "single-label", "toy, whose cosine similarity to the output for the"),
    ],
)
def test_a_score_that_cannot_change_is_refused(
    output: list[float], labels: tuple[str, ...] | None, outputs: Outputs, words: str
) -> None:
    capture = seen(Constant(torch.tensor(output, dtype=torch.float64)), labels=labels)
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.faithfulness(replace(capture, model=replace(capture.model, outputs=outputs)))
    assert words in str(refusal.value)
    assert NEVER in str(refusal.value)
    assert refusal.value.remedy.startswith("try a picture of more than one colour or another")


class Nearly(nn.Module):
    """One score of 100, and a part of it that the picture has."""

    def __init__(self, part: float) -> None:
        super().__init__()
        self.part = nn.Parameter(torch.tensor(part, dtype=torch.float64))

    def forward(self, pixels: Tensor) -> Tensor:
        return 100 + self.part * pixels.flatten(1)[:, :7].tanh().mean(dim=1, keepdim=True)


@pytest.mark.parametrize(("part", "refused"), [(1e-4, True), (1.0, False)])
def test_a_change_of_rounding_is_no_change(part: float, refused: bool) -> None:
    capture = seen(Nearly(part), labels=("age",))
    capture = replace(capture, model=replace(capture.model, outputs="scores"))
    maps = maps_of(np.random.default_rng(0))
    if refused:
        with pytest.raises(vi.UnsupportedModel, match="no more than rounding"):
            vi.faithfulness(capture, maps=maps)
    else:
        assert np.ptp(vi.faithfulness(capture, maps=maps).deletion) > 0.1


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_and_is_not_refused(kind: torch.dtype) -> None:
    """An age of 40 years that changes by 2 is no rounding, though bfloat16 has steps of 0.25."""
    capture, exact = seen(Nearly(2.0), labels=("age",)), Nearly(2.0)

    class Rounding(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            return (exact(pixels) - 60).to(kind)

    model = replace(capture.model, module=Rounding(), outputs="scores")
    capture = replace(capture, model=model, output=Rounding()(capture.pixels).detach())
    found = vi.faithfulness(capture, maps=maps_of(np.random.default_rng(0)))
    assert 0.2 < np.ptp(found.deletion) < 5


def test_one_picture_that_changes_is_enough() -> None:
    capture = seen(Nearly(1.0), labels=("age",))
    pixels = torch.stack([torch.zeros_like(capture.pixels[0]), capture.pixels[1]])
    model = replace(capture.model, outputs="scores")
    output = capture.model.module(pixels).detach()
    capture = replace(capture, model=model, pixels=pixels, output=output)
    found = vi.faithfulness(capture, maps=maps_of(np.random.default_rng(0)))
    assert np.ptp(found.deletion, axis=(1, 2)).tolist()[0] == 0
    with pytest.raises(vi.UnsupportedModel, match="no more than rounding"):
        vi.faithfulness(
            replace(capture, pixels=pixels[:1], output=output[:1]),
            maps={"own": np.ones((1, 2, 3))},
        )


def test_all_curves_of_a_picture_have_the_same_ends() -> None:
    capture = classified()
    found = vi.faithfulness(capture, steps=4)
    for curve in (found.deletion, found.insertion):
        assert np.ptp(curve[..., [0, -1]], axis=1).max() == 0
        assert np.ptp(curve[..., 2], axis=1).min() > 0.01
    whole = vi.predictions(capture, count=1)
    np.testing.assert_allclose(found.deletion[:, :1, 0], whole.probability, rtol=1e-12)
    np.testing.assert_allclose(found.insertion[:, :1, -1], whole.probability, rtol=1e-12)
    assert found.targets == tuple(labels[0] for labels in whole.labels)


def test_of_equal_values_the_first_patch_goes_first() -> None:
    even, falling = np.ones((IMAGES, 2, 3)), np.arange(6, 0, -1.0).reshape(1, 2, 3).repeat(2, 0)
    found = vi.faithfulness(classified(), maps={"even": even, "falling": falling})
    # The same pictures, but in other batches.
    np.testing.assert_allclose(found.deletion[:, 0], found.deletion[:, 1], rtol=1e-12)
    np.testing.assert_allclose(found.insertion[:, 0], found.insertion[:, 1], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("patch", [(2, 4), (0, 0)])
def test_the_planted_patch_is_found_at_the_first_step_by_a_map_that_points_at_it(
    patch: tuple[int, int],
) -> None:
    here = planted(patch)
    capture = vi.capture(here.model, here.image)
    pointing = np.zeros((1, 4, 6))
    pointing[0, *patch] = 1
    found = vi.faithfulness(capture, maps={"pointing": pointing, "away": -pointing}, steps=24)
    deletion, insertion = found.deletion[0], found.insertion[0]
    assert deletion[0, 0] > 0.95
    assert deletion[0, 1] < 0.1
    assert insertion[0, 0] < 0.2
    assert insertion[0, 1] > 0.9
    # Its negative keeps the patch to the last, and puts it back last.
    assert deletion[1, -2] > 0.9
    assert insertion[1, -2] < 0.2
    assert found.deletion_auc[0, 0] < 0.1 < 0.9 < found.deletion_auc[0, 1]
    assert found.insertion_auc[0, 1] < 0.2 < 0.9 < found.insertion_auc[0, 0]
    # One of 24 random orders begins with the patch.
    assert np.sum(deletion[3:, 1] < 0.9) <= 1
    assert np.sum(insertion[3:, 1] > 0.2) <= 1
    assert here.model.labels is not None
    assert found.targets == (here.model.labels[here.class_index],)


@pytest.mark.slow
def test_of_the_default_maps_those_find_the_planted_patch_that_see_its_layer() -> None:
    """The last layer attends elsewhere; gradients, and rollout, lead back to the red patch."""
    # A patch that none of the random orders has among its first three.
    here = planted((1, 2))
    found = vi.faithfulness(vi.capture(here.model, here.image))
    assert found.maps == (*analysis.MAPS, *BASELINES)
    for areas in (found.deletion_auc[0], 1 - found.insertion_auc[0]):
        area = dict(zip(found.maps, areas, strict=True))
        by_chance = min(area[name] for name in BASELINES[1:])
        for name in ("rollout", "relevance", "input × gradient"):
            assert area[name] < by_chance / 3, name
        assert area["Grad-CAM"] > by_chance


@pytest.mark.slow
def test_over_many_planted_patches_relevance_is_told_from_random_orders() -> None:
    """Their areas spread so far in a single picture that even a perfect map is not told there.

    Of random orders, any may be taken for better by chance; of these none is.
    """
    here = planted()
    places = list(np.ndindex(GRID))[1::3]
    capture = vi.capture(here.model, [picture(each, seed) for seed, each in enumerate(places)])
    shape = (len(places), *GRID)
    orders = {
        f"order {seed}": np.broadcast_to(np.random.default_rng(seed).random(GRID), shape)
        for seed in range(100, 106)
    }
    maps = {"relevance": vi.attention_relevance(capture).relevance, **orders}
    told, *others = conclusions(vi.faithfulness(capture, maps=maps, steps=6))
    assert told.startswith(f"relevance: {BEST} in both curves.")
    assert len(others) == len(orders)
    assert not [words for words in others if BEST in words]


def test_maps_that_depend_on_the_class_are_of_the_target() -> None:
    here = planted()
    capture = vi.capture(here.model, here.image)
    own = analysis.default_maps(capture)
    other = analysis.default_maps(capture, 512)
    assert np.array_equal(own["rollout"], other["rollout"])
    assert not np.allclose(own["input × gradient"], other["input × gradient"])


def test_another_class_can_be_the_target() -> None:
    capture = classified()
    found = vi.faithfulness(capture, target=3)
    assert found.targets == ("d", "d")
    wanted = capture.output.softmax(dim=1)[:, 3]
    np.testing.assert_allclose(found.deletion[:, 0, 0], wanted, rtol=1e-12)
    assert found.score == "probability of the chosen class"


def test_every_picture_has_the_curves_that_it_has_alone(small: Callable[..., vi.Model]) -> None:
    model = small("vit_tiny_patch16_224", (32, 48))
    images = [noise((90, 60), seed) for seed in (1, 2)]
    together = vi.faithfulness(vi.capture(model, images), steps=3)
    alone = vi.faithfulness(vi.capture(model, images[1]), steps=3)
    for name, array in together.of_image(1).arrays().items():
        np.testing.assert_allclose(array, alone.arrays()[name], rtol=1e-9, err_msg=name)
    assert together.of_image(1).targets == alone.targets
    assert np.abs(together.deletion[0] - together.deletion[1]).max() > 1e-4


def test_the_size_of_a_pass_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    capture, told = classified(), []
    at_once = vi.faithfulness(capture, on_progress=lambda done, total: told.append((done, total)))
    # Of 2 × 2 curves of 8 orders, 5 pictures between the ends; and one end of each curve.
    total = 4 * 8 * 5 + 4
    assert told == [(0, total), (total, total)]
    monkeypatch.setattr("vit_inspect.device.PASS_TOKENS", {"cpu": 3 * 7})
    told.clear()
    found = vi.faithfulness(capture, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(done, total) for done in (*range(0, total, 3), total)]
    for name, array in found.arrays().items():
        np.testing.assert_allclose(array, at_once.arrays()[name], rtol=1e-12)


def test_what_tell_raises_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vit_inspect.device.PASS_TOKENS", {"cpu": 7})
    capture, passes = classified(), []
    maps = {"own": np.ones((IMAGES, 2, 3))}
    capture.model.module.register_forward_pre_hook(lambda *_: passes.append(1))

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vi.faithfulness(capture, maps=maps, on_progress=stop)
    assert len(passes) == 4


@pytest.mark.slow
def test_maps_that_a_model_has_not_are_left_out() -> None:
    model = narrow_swin("swin_tiny_patch4_window7_224", None)
    found = vi.faithfulness(vi.capture(model, noise((60, 60), 0)), steps=2)
    assert found.maps == ("attention", *BASELINES)


def test_a_model_without_any_map_is_refused() -> None:
    layout = layout_of("cls", grid=(2, 3), patch_px=(4, 6), readout=NONLINEAR)
    capture = seen(Classifier(), labels=None, layout=layout)
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.faithfulness(capture)
    assert refusal.value.found == f"none of the maps {', '.join(analysis.MAPS)} of toy"
    assert refusal.value.remedy == "give your own maps as maps={name: array}"
    own = vi.faithfulness(capture, maps={"own": np.ones((IMAGES, 2, 3))})
    assert own.maps == ("own", *BASELINES)


WRONG = np.full((IMAGES, 2, 3), np.nan)


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        (tuple("abcde"), {"steps": 0}, "Found 0 steps; expected 1 or more"),
        (tuple("abcde"), {"target": 5}, "Found the class 5; expected a class of 0..4"),
        (tuple("abcde"), {"target": -1}, "Found the class -1; expected a class of 0..4"),
        (None, {"target": 1}, "toy, which has no known classes; expected no class"),
        (None, {"maps": {"a": np.ones((1, 2, 3))}}, "the map 'a' of shape (1, 2, 3); expected"),
        (None, {"maps": {"a": np.ones((2, 3, 2))}}, "finite values of 2 × 2 × 3 patches (image,"),
        (
            None,
            {"maps": {"a": WRONG}},
            "the map 'a' with infinite or NaN values, of shape (2, 2, 3)",
        ),
        (None, {"maps": {"centre": np.ones((2, 2, 3))}}, "a map called 'centre', the name of a"),
        (
            None,
            {"maps": {"random forest": np.ones((2, 2, 3))}},
            "a map called 'random forest', the name",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    labels: tuple[str, ...] | None, options: dict[str, object], words: str
) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.faithfulness(seen(Classifier(), labels=labels), **options)
    assert words in str(refusal.value)


@pytest.mark.parametrize("values", [7, 3], ids=["few ties", "many ties"])
def test_the_rank_correlation_is_spearmans(random: np.random.Generator, values: int) -> None:
    first = random.integers(0, values, (4, 6)).astype(float)
    second = first + random.integers(0, values, (4, 6))
    wanted = scipy.stats.spearmanr(first.ravel(), second.ravel()).statistic
    assert vi.rank_correlation(first, second) == pytest.approx(wanted, abs=1e-12)
    assert 0.1 < wanted < 0.95
    assert vi.rank_correlation(first, np.exp(first)) == pytest.approx(1)
    assert vi.rank_correlation(first, -first) == pytest.approx(-1)


def test_an_even_map_has_no_order_to_compare(random: np.random.Generator) -> None:
    assert np.isnan(vi.rank_correlation(np.ones((2, 3)), random.normal(size=(2, 3))))


def test_masks_have_a_rank_correlation_too() -> None:
    first = np.array([[True, False], [False, False]])
    second = np.array([[True, True], [False, False]])
    assert vi.rank_correlation(first, second) == pytest.approx(1 / 3**0.5)
