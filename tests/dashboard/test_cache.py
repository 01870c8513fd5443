"""Is what is kept bounded, made once and fair, however many ask at the same time?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import streamlit as st
import torch
from PIL import Image

import vit_inspect as vi
from dashboard import cache
from dashboard.cache import Busy, ByteCache, Line
from dashboard.selection import Subject
from vit_inspect.attention.layer import LayerAttention
from vit_inspect.catalog import FIGURES
from vit_inspect.errors import OutOfMemory
from vit_inspect.exporting.bundle import bundle

SUBJECT = Subject("vit_tiny_patch16_224", 32, "crop", "chelsea")
DISTANCE = next(spec for spec in FIGURES if spec.slug == "attention_distance")
PCA = next(spec for spec in FIGURES if spec.slug == "feature_pca")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int | None]]]:
    """Random weights in place of a hub, and nothing of another test; yields what was loaded."""
    loaded: list[tuple[str, int | None]] = []
    real = vi.load

    def load(name: str, *, img_size: int | None) -> vi.Model:
        loaded.append((name, img_size))
        torch.manual_seed(len(name))
        return real(name, img_size=img_size, pretrained=False, device="cpu")

    monkeypatch.setattr("dashboard.cache.vi.load", load)
    st.cache_resource.clear()
    yield loaded
    st.cache_resource.clear()


def together(count: int, work: Callable[[int], object]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_value_is_made_once_however_many_ask() -> None:
    kept, made, found = ByteCache[bytes](100, len), [], []

    def make() -> bytes:
        made.append(1)
        time.sleep(0.05)
        return b"x"

    together(8, lambda number: found.append(kept.get("key", make)))
    assert len(made) == 1
    assert all(value is found[0] for value in found)


def test_the_values_used_last_stay_within_the_bytes() -> None:
    kept = ByteCache[bytes](10, len)
    for key in "abc":
        kept.get(key, lambda: bytes(4))
        kept.get("a", lambda: bytes(4))
    assert list(kept.values) == ["c", "a"]
    assert kept.bytes() == 8
    kept.get("huge", lambda: bytes(99))
    assert list(kept.values) == ["huge"]


def test_what_fails_is_not_kept_and_can_be_tried_again() -> None:
    kept = ByteCache[bytes](10, len)
    with pytest.raises(ZeroDivisionError):
        kept.get("key", lambda: bytes(1 // 0))
    assert kept.get("key", lambda: b"now") == b"now"


def test_unwanted_values_are_dropped() -> None:
    kept = ByteCache[bytes](10, len)
    for key in (b"a", b"bb"):
        kept.get(key, lambda key=key: key)  # type: ignore[misc]
    kept.drop(lambda value: len(value) == 1)
    assert kept.peek(b"a") is None
    assert kept.peek(b"bb") == b"bb"


def test_one_at_a_time_in_the_order_they_came_and_told_how_many_are_before() -> None:
    line, order, told = Line(), [], {}
    running: list[int] = []

    def work(number: int) -> None:
        while len(line.waiting) < number:
            time.sleep(0.01)
        with line.turn(lambda before: told.setdefault(number, before)):
            running.append(number)
            assert running == [number]
            while number == 0 and len(line.waiting) < 4:
                time.sleep(0.01)
            time.sleep(0.1)
            order.append(number)
            running.remove(number)

    together(4, work)
    assert order == [0, 1, 2, 3]
    assert told[1] == 1
    assert told[3] == 3
    assert not line.waiting


def test_who_gives_up_waiting_leaves_the_line() -> None:
    line = Line()

    class Stopped(Exception):
        pass

    def stop(before: int) -> None:
        raise Stopped

    with line.turn(lambda before: None):
        with pytest.raises(Stopped), line.turn(stop):
            pass
        assert len(line.waiting) == 1
    with line.turn(stop):
        pass


def test_a_full_line_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WAITING", 0)
    line = Line()
    with (
        line.turn(lambda before: None),
        pytest.raises(Busy, match="1 jobs before yours on the device; expected at most 0"),
        line.turn(lambda before: None),
    ):
        pass


def test_a_selection_is_captured_once_and_its_figures_are_those_of_the_core() -> None:
    first = cache.capture(SUBJECT)
    assert cache.capture(SUBJECT) is first
    specs = {spec.slug: spec for spec in FIGURES}
    rollout = cache.result(specs["attention_rollout"], SUBJECT, fusion="max")
    assert np.array_equal(rollout.relevance, vi.attention_rollout(first, fusion="max").relevance)
    assert cache.result(specs["attention_rollout"], SUBJECT, fusion="max") is rollout
    assert cache.result(specs["attention_rollout"], SUBJECT, fusion="min") is not rollout
    filters = specs["embedding_filters"]
    assert cache.result(filters, SUBJECT) is cache.result(filters, SUBJECT._replace(image="coffee"))


def test_the_fit_is_another_capture_of_the_same_network(clean: list[object]) -> None:
    whole = cache.capture(SUBJECT._replace(fit="whole"))
    cropped = cache.capture(SUBJECT)
    assert whole.photographs[0].seen != cropped.photographs[0].seen
    assert whole.model.module is cropped.model.module
    assert len(clean) == 1


def test_a_model_that_is_forgotten_takes_its_captures_along() -> None:
    cache.capture(SUBJECT)
    for size in (48, 64):
        cache.capture(SUBJECT._replace(size=size))
    sizes = [each.layout.input_px[0] for each in cache.captures().values.values()]
    assert sizes == [48, 64]


def test_captures_are_weighed_by_what_they_hold() -> None:
    capture = cache.capture(SUBJECT)
    # Queries, keys and values of 5 tokens, 192 wide, in 12 layers, in one tensor each; what the
    # blocks return; 32 x 32 px.
    tensors = 12 * (3 + 1) * 5 * 192 * 4 + 3 * 32 * 32 * 4
    assert cache.captures().bytes() == tensors + capture.photographs[0].pixels.nbytes


def test_a_survey_is_the_mean_of_what_each_picture_gives_alone() -> None:
    images, told = ["chelsea", "coffee", "rocket", "china", "flower"], []
    joined = cache.survey(DISTANCE, [SUBJECT], images, told.append)
    alone = [
        vi.attention_distance(cache.capture(SUBJECT._replace(image=image))) for image in images
    ]
    np.testing.assert_allclose(
        joined.distance_px, np.concatenate([each.distance_px for each in alone]), atol=1e-4
    )
    assert told == [0, 4, 5]


def test_surveys_of_other_figures_or_definitions_do_not_meet() -> None:
    heads = next(spec for spec in FIGURES if spec.slug == "head_statistics")
    surveys = (DISTANCE, {}), (DISTANCE, {"definition": "renormalised"}), (heads, {})
    for spec, parameters in surveys * 2:
        found = cache.survey(spec, [SUBJECT], ["chelsea"], lambda done: None, **parameters)
        wanted = spec.analyse(cache.capture(SUBJECT), **parameters)
        assert type(found) is type(wanted)
        np.testing.assert_array_equal(found.distance_px, wanted.distance_px)


def test_a_cancelled_survey_goes_on_where_it_was_left() -> None:
    class Cancelled(Exception):
        pass

    def cancel(done: int) -> None:
        if done:
            raise Cancelled

    images = ["chelsea", "coffee", "rocket", "china", "flower"]
    with pytest.raises(Cancelled):
        cache.survey(DISTANCE, [SUBJECT], images, cancel)
    told: list[int] = []
    cache.survey(DISTANCE, [SUBJECT], images, told.append)
    assert told == [4, 5]
    assert not cache.line().waiting


def test_a_full_device_leads_to_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    real, sizes = vi.capture, []

    def small(model: vi.Model, images: list[object]) -> vi.Capture:
        sizes.append(len(images))
        if len(images) > 1:
            raise OutOfMemory("no memory left", "room", "take fewer")
        return real(model, images)  # type: ignore[arg-type]

    monkeypatch.setattr("dashboard.cache.vi.capture", small)
    cache.survey(DISTANCE, [SUBJECT], ["chelsea", "coffee", "rocket"], lambda done: None)
    # Each size is tried once more after what others keep was let go.
    assert sizes == [3, 3, 2, 2, 1, 1, 1]


def test_a_device_too_full_for_one_picture_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(model: vi.Model, images: list[object]) -> vi.Capture:
        raise OutOfMemory("no memory left", "room", "take fewer")

    monkeypatch.setattr("dashboard.cache.vi.capture", full)
    with pytest.raises(OutOfMemory):
        cache.capture(SUBJECT)
    assert not cache.line().waiting


@pytest.mark.parametrize(
    ("work", "ask"),
    [
        ("together", lambda: cache.beside(PCA, SUBJECT, "coffee", 11)),
        ("vi.randomised", lambda: cache.capture(SUBJECT._replace(randomised=True))),
    ],
)
def test_what_a_full_device_refuses_beside_a_capture_is_tried_again_and_told(
    monkeypatch: pytest.MonkeyPatch, work: str, ask: Callable[[], object]
) -> None:
    waiting: list[int] = []

    def full(*given: object, **named: object) -> None:
        waiting.append(len(cache.line().waiting))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(f"dashboard.cache.{work}", full)
    with pytest.raises(OutOfMemory):
        ask()
    # In its turn on the device, each time.
    assert waiting == [1, 1]
    assert not cache.line().waiting


def test_tokens_of_two_pictures_are_those_of_their_batch() -> None:
    found = cache.beside(PCA, SUBJECT, "coffee", 3, basis="common")
    assert cache.beside(PCA, SUBJECT, "coffee", 3, basis="common") is found
    batch = vi.capture(cache.model(SUBJECT), [vi.sample("chelsea"), vi.sample("coffee")])
    wanted = vi.feature_pca(batch, layer=3, basis="common")
    np.testing.assert_allclose(found.components, wanted.components, atol=1e-3)
    assert [each.name for each in found.photographs] == ["chelsea.png", "coffee.png"]


@pytest.mark.parametrize("found", [False, True])
def test_another_layer_of_token_norms_sweeps_only_where_there_are_artefacts(
    monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    if found:
        for gate, loose in (("RATIO", 1), ("SEPARATION", 0), ("SHARE", 1), ("BORDERLINE", 99)):
            monkeypatch.setattr(f"vit_inspect.analyses.token_norms.{gate}", loose)
    subject, layers = SUBJECT._replace(size=96), (11, 5)
    wanted = [vi.token_norms(cache.capture(subject), layer=layer) for layer in layers]
    assert [bool(each.found[0]) for each in wanted] == [found] * 2
    swept: list[int] = []
    real = attention.row_blocks

    def row_blocks(layer: LayerAttention) -> object:
        swept.append(1)
        return real(layer)

    monkeypatch.setattr(attention, "row_blocks", row_blocks)
    for layer, record in zip(layers, wanted, strict=True):
        for name, array in cache.token_norms(subject, layer).arrays().items():
            np.testing.assert_allclose(array, record.arrays()[name], atol=1e-6, err_msg=name)
    # The twelve blocks once for the plain rollout, and again for each layer.
    assert len(swept) == 12 + 24 * found


def test_the_archive_is_the_bundle_of_the_core_made_without_a_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vit_inspect.exporting.bundle.BUNDLE_FORMATS", ("csv",))
    read: list[str] = []

    def picture() -> Image.Image:
        read.append("chelsea")
        return vi.sample("chelsea")

    found = cache.archive(SUBJECT, picture)
    assert found == bundle(vi.capture(cache.model(SUBJECT), vi.sample("chelsea")))
    # A capture that is there already needs no picture.
    assert cache.archive(SUBJECT, picture) == found
    assert read == ["chelsea"]
    assert not cache.line().waiting
