"""Are numbers of heads the same, whether a capture is kept or not, and is what is wrong refused?

That they are the same for every family is tested beside the captures of these.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import _get_current_function_mode_stack

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.observed import check_observation
from vit_inspect.attention import blocks
from vit_inspect.attention.blocks import RowBlock, row_blocks
from vit_inspect.recording import observer
from vit_inspect.recording.observer import Observer

Make = Callable[..., vi.Model]
IMAGES = [noise((60, 40), 1), noise((40, 70), 2)]


@pytest.fixture
def tiny(small: Make) -> vi.Model:
    return small("vit_tiny_patch16_224", (32, 48))


@pytest.mark.parametrize("block_bytes", [1, 800, 3 * 2**20])
def test_numbers_are_those_of_a_capture_at_any_size_of_blocks(
    tiny: vi.Model, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(blocks, "CPU_BLOCK_BYTES", block_bytes)
    check_observation(tiny, IMAGES)


def test_analyses_of_heads_take_pictures_without_a_capture(
    tiny: vi.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = vi.capture(tiny, IMAGES)
    monkeypatch.delattr("vit_inspect.recording.recorder.Recorder.checked")
    for analyse in (
        vi.head_statistics,
        vi.attention_distance,
        partial(vi.attention_distance, definition="renormalised"),
    ):
        kept, seen = analyse(capture), analyse(tiny, IMAGES)
        assert type(kept) is type(seen)
        for name, values in seen.arrays().items():
            np.testing.assert_allclose(values, kept.arrays()[name], rtol=1e-12, atol=1e-13)
    with pytest.raises(vi.BadParameter, match="a picture and a capture"):
        vi.head_statistics(capture, IMAGES)


def test_only_what_is_asked_for_is_there(tiny: vi.Model) -> None:
    groups = {
        "distance": {"distance_px"},
        "masses": {"prefix_mass", "self_mass", "local_mass"},
        "entropy": {"entropy", "effective_tokens"},
        "nmi": {"nmi"},
    }
    for statistic, names in groups.items():
        assert set(vi.observe(tiny, IMAGES, statistics=[statistic]).arrays()) == names
    usual = vi.observe(tiny, IMAGES)
    assert set(usual.arrays()) == groups["distance"] | groups["masses"] | groups["entropy"]
    assert usual.axes()["entropy"] == ("image", "layer", "head")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("statistics", ["distance", [], ["distances"], ["distance", "mean"]])
def test_other_statistics_are_refused(tiny: vi.Model, statistics: Any) -> None:
    with pytest.raises(vi.BadParameter, match="'distance', 'masses', 'entropy', 'nmi'"):
        vi.observe(tiny, IMAGES, statistics=statistics)


def test_a_wrong_row_is_found_by_the_models_own_kernel(
    tiny: vi.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(layer: Any, **how: Any) -> Iterator[RowBlock]:
        for block in row_blocks(layer, **how):
            yield block._replace(weights=block.weights.flip(-1))

    monkeypatch.setattr(observer, "row_blocks", wrong)
    with pytest.raises(vi.UnsupportedModel, match="that differ by"):
        vi.observe(tiny, IMAGES)


def test_no_attention_is_kept(tiny: vi.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Observer[Any]] = []
    ended = Observer.ended

    def remember(self: Observer[Any], output: torch.Tensor) -> Any:
        kept.append(self)
        return ended(self, output)

    monkeypatch.setattr(Observer, "ended", remember)
    vi.observe(tiny, IMAGES)
    layers = [layer for calls in kept[0].calls.values() for layer in calls]
    assert len(layers) == len(tiny.blocks)
    tensors = [each for layer in layers for each in (layer.queries, layer.keys, layer.values)]
    assert {each.device.type for each in tensors} == {"meta"}
    assert not kept[0].returned


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(small: Make, dtype: torch.dtype) -> None:
    model = small("vit_tiny_patch16_224", (32, 48), dtype=dtype)
    kept, seen = vi.head_statistics(vi.capture(model, IMAGES)), vi.observe(model, IMAGES)
    assert seen.error > 1e-5
    for name, values in seen.arrays().items():
        assert values.dtype == np.float32
        # What the first layer attends to is the same to the bit; later ones round differently.
        np.testing.assert_allclose(values[:, 0], kept.arrays()[name][:, 0], rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_threads_that_share_a_model_get_what_each_gets_alone(small: Make) -> None:
    model = small("vit_tiny_patch16_224", (64, 96), dtype=torch.float32, depth=12)
    images = [noise((60, 40), seed) for seed in range(16)]
    alone = [vi.observe(model, image).arrays() for image in images]
    start = threading.Barrier(len(images))

    def together(image: Any) -> dict[str, np.ndarray]:
        start.wait()
        # One watches, another captures, at the same time.
        vi.capture(model, image)
        return vi.observe(model, image).arrays()

    with ThreadPoolExecutor(len(images)) as pool:
        for found, wanted in zip(pool.map(together, images), alone, strict=True):
            for name, values in found.items():
                assert np.array_equal(values, wanted[name]), name
    assert _get_current_function_mode_stack() == []
