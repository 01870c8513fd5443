"""Are records what the core computes, made once, and never more than memory allows?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import streamlit as st
import torch

import vit_inspect as vi
from tests.dashboard.apps import LAYERS, copied
from vit_inspect.attention import sweep
from vit_inspect.attention.layer import LayerAttention
from vit_inspect.errors import OutOfMemory
from vit_inspect.figures.printing import USUAL, Print
from vit_inspect.layout import READOUT
from vit_inspect_dashboard import device, kept, models, records, sheets
from vit_inspect_dashboard.pictures import sample
from vit_inspect_dashboard.state import Subject

SUBJECT = Subject("vit_tiny_patch16_224", 32, "crop", sample("chelsea"))
COFFEE = sample("coffee")
FIVE = [sample(name) for name in ("chelsea", "coffee", "rocket", "china", "flower")]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int | None]]]:
    """Random weights in place of a hub, and nothing of another test; yields what was loaded."""
    loaded: list[tuple[str, int | None]] = []
    real = vi.load

    def load(name: str, *, img_size: int | None) -> vi.Model:
        loaded.append((name, img_size))
        return copied(real, name, img_size, LAYERS)

    monkeypatch.setattr("vit_inspect_dashboard.models.vi.load", load)
    st.cache_resource.clear()
    yield loaded
    st.cache_resource.clear()


def test_a_selection_is_captured_once_and_its_figures_are_those_of_the_core() -> None:
    first = models.capture(SUBJECT)
    assert models.capture(SUBJECT) is first
    rollout = records.of_capture(vi.attention_rollout, SUBJECT, fusion="max")
    assert np.array_equal(rollout.relevance, vi.attention_rollout(first, fusion="max").relevance)
    assert records.of_capture(vi.attention_rollout, SUBJECT, fusion="max") is rollout
    assert records.of_capture(vi.attention_rollout, SUBJECT, fusion="min") is not rollout
    filters = records.of_model(vi.embedding_filters, SUBJECT)
    assert records.of_model(vi.embedding_filters, SUBJECT._replace(picture=COFFEE)) is filters


def test_the_fit_is_another_capture_of_the_same_network(clean: list[object]) -> None:
    whole = models.capture(SUBJECT._replace(fit="whole"))
    cropped = models.capture(SUBJECT)
    assert whole.photographs[0].seen != cropped.photographs[0].seen
    assert whole.model.module is cropped.model.module
    assert len(clean) == 1


def test_a_model_that_is_forgotten_takes_its_captures_along() -> None:
    models.capture(SUBJECT)
    for size in (48, 64):
        models.capture(SUBJECT._replace(size=size))
    sizes = [each.layout.input_px[0] for each in kept.captures().values()]
    assert sizes == [48, 64]


def test_captures_are_weighed_by_what_they_hold() -> None:
    capture = models.capture(SUBJECT)
    # Queries, keys and values of 5 tokens, 192 wide, in one tensor each layer; what the blocks
    # return; 32 × 32 px.
    tensors = LAYERS * (3 + 1) * 5 * 192 * 4 + 3 * 32 * 32 * 4
    assert kept.captures().bytes() == tensors + capture.photographs[0].pixels.nbytes


def test_a_survey_is_the_mean_of_what_each_picture_gives_alone() -> None:
    pictures, told = FIVE, []
    joined = records.of_pictures(vi.attention_distance, [SUBJECT], pictures, told.append)
    alone = [
        vi.attention_distance(models.capture(SUBJECT._replace(picture=each))) for each in pictures
    ]
    np.testing.assert_allclose(
        joined.distance_px, np.concatenate([each.distance_px for each in alone]), atol=1e-4
    )
    assert told == [0, 4, 5]


def test_surveys_of_other_analyses_or_definitions_do_not_meet() -> None:
    surveys = (
        (vi.attention_distance, {}),
        (vi.attention_distance, {"definition": "renormalised"}),
        (vi.head_statistics, {}),
    )
    for analyse, parameters in surveys * 2:
        found = records.of_pictures(analyse, [SUBJECT], FIVE[:1], lambda done: None, **parameters)
        wanted = analyse(models.capture(SUBJECT), **parameters)
        assert type(found) is type(wanted)
        # Of a batch the attention is summed inside the pass.
        np.testing.assert_allclose(found.distance_px, wanted.distance_px, rtol=1e-6)


def test_a_cancelled_survey_goes_on_where_it_was_left() -> None:
    class Cancelled(Exception):
        pass

    def cancel(done: int) -> None:
        if done:
            raise Cancelled

    pictures = FIVE
    with pytest.raises(Cancelled):
        records.of_pictures(vi.attention_distance, [SUBJECT], pictures, cancel)
    told: list[int] = []
    records.of_pictures(vi.attention_distance, [SUBJECT], pictures, told.append)
    assert told == [4, 5]
    assert not device.line().waiting


def test_a_full_device_leads_to_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    real, sizes = vi.capture, []

    def small(model: vi.Model, images: list[object]) -> vi.Capture:
        sizes.append(len(images))
        if len(images) > 1:
            raise OutOfMemory("no memory left", "room", "take fewer")
        return real(model, images)  # type: ignore[arg-type]

    monkeypatch.setattr("vit_inspect_dashboard.models.vi.capture", small)
    records.of_pictures(vi.attention_rollout, [SUBJECT], FIVE[:3], lambda done: None)
    # Each size is tried once more after what others keep was let go.
    assert sizes == [3, 3, 2, 2, 1, 1, 1]


def test_a_device_too_full_for_one_picture_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(model: vi.Model, images: list[object]) -> vi.Capture:
        raise OutOfMemory("no memory left", "room", "take fewer")

    monkeypatch.setattr("vit_inspect_dashboard.models.vi.capture", full)
    with pytest.raises(OutOfMemory):
        models.capture(SUBJECT)
    assert not device.line().waiting


@pytest.mark.parametrize(
    ("work", "ask"),
    [
        (
            "records.concatenate",
            lambda: records.beside(vi.feature_pca, SUBJECT, COFFEE, layer=2),
        ),
        ("models.vi.randomised", lambda: models.capture(SUBJECT._replace(randomised=True))),
    ],
)
def test_what_a_full_device_refuses_beside_a_capture_is_tried_again_and_told(
    monkeypatch: pytest.MonkeyPatch, work: str, ask: Callable[[], object]
) -> None:
    waiting: list[int] = []

    def full(*given: object, **named: object) -> None:
        waiting.append(len(device.line().waiting))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(f"vit_inspect_dashboard.{work}", full)
    with pytest.raises(OutOfMemory):
        ask()
    # In its turn on the device, each time.
    assert waiting == [1, 1]
    assert not device.line().waiting


def test_tokens_of_two_pictures_are_those_of_their_batch() -> None:
    found = records.beside(vi.feature_pca, SUBJECT, COFFEE, layer=1, basis="common")
    assert records.beside(vi.feature_pca, SUBJECT, COFFEE, layer=1, basis="common") is found
    batch = vi.capture(models.model(SUBJECT), [vi.sample("chelsea"), vi.sample("coffee")])
    wanted = vi.feature_pca(batch, layer=1, basis="common")
    np.testing.assert_allclose(found.components, wanted.components, atol=1e-3)
    assert [each.name for each in found.photographs] == ["chelsea.png", "coffee.png"]


@pytest.mark.parametrize("found", [False, True])
def test_another_layer_of_token_norms_sweeps_only_where_there_are_artefacts(
    monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    if found:
        for gate, loose in (("RATIO", 1), ("SEPARATION", 0), ("SHARE", 1), ("BORDERLINE", 99)):
            monkeypatch.setattr(f"vit_inspect.analyses.token_norms.{gate}", loose)
    subject, layers = SUBJECT._replace(size=96), (2, 1)
    wanted = [vi.token_norms(models.capture(subject), layer=layer) for layer in layers]
    assert [bool(each.found[0]) for each in wanted] == [found] * 2
    swept: list[int] = []
    real = sweep.row_blocks

    def row_blocks(layer: LayerAttention, *, entropy: bool) -> object:
        swept.append(1)
        return real(layer, entropy=entropy)

    monkeypatch.setattr(sweep, "row_blocks", row_blocks)
    for layer, record in zip(layers, wanted, strict=True):
        for name, array in records.token_norms(subject, layer).arrays().items():
            np.testing.assert_allclose(array, record.arrays()[name], atol=1e-6, err_msg=name)
    # All blocks once for the plain rollout, and again for each layer.
    assert len(swept) == LAYERS + 2 * LAYERS * found


def test_the_archive_is_the_bundle_of_its_capture_made_once_with_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundled: list[vi.Capture] = []
    said: list[tuple[float, str]] = []

    def bundle(capture: vi.Capture, *, print: Print, on_figure: Callable[[str], object]) -> bytes:
        assert print == USUAL
        assert len(device.line().waiting) == 1
        bundled.append(capture)
        for title in ("one", "two", *["again"] * 50):
            on_figure(title)
        return b"archive"

    monkeypatch.setattr(records, "bundle", bundle)
    assert records.kept_archive(SUBJECT, USUAL) is None
    for _ in range(2):
        assert records.archive(SUBJECT, USUAL, lambda *told: said.append(told)) == b"archive"
    assert records.kept_archive(SUBJECT, USUAL) == b"archive"
    assert records.kept_archive(SUBJECT, Print(title=False)) is None
    assert bundled == [models.capture(SUBJECT)]
    assert [words for _, words in said[:3]] == ["Computing", "Drawing: one", "Drawing: two"]
    assert 0 == said[1][0] < said[2][0] < 0.2
    # As where it begins again with less memory.
    assert said[-1][0] == 1
    assert not device.line().waiting


def test_what_is_said_of_a_model_is_not_said_of_another() -> None:
    mine = SUBJECT._replace(said=(("mean", (0.25,)),), stage=1)
    assert mine.beside("other", 48) == SUBJECT._replace(model="other", size=48)


def test_a_key_of_what_is_kept_holds_no_picture() -> None:
    models.capture(SUBJECT)
    assert SUBJECT.key == ("vit_tiny_patch16_224", 32, "crop", "chelsea", None, False, (), (), "{}")


def test_rows_and_predictions_wait_for_the_device_and_are_made_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for query in (READOUT, (0, 1), (1, 1)):
        records.of_capture(vi.attention_maps, SUBJECT, query=query)
    for patch in ((0, 1), (1, 1)):
        for layer in range(LAYERS):
            records.of_capture(vi.token_similarity, SUBJECT, patch=patch, layer=layer)
    waiting: list[int] = []

    def seen(real: Callable[..., object]) -> Callable[..., object]:
        def work(*given: object, **named: object) -> object:
            waiting.append(len(device.line().waiting))
            return real(*given, **named)

        return work

    monkeypatch.setattr(sheets, "attention_rows", seen(sheets.attention_rows))
    monkeypatch.setattr(sheets, "similarity_rows", seen(sheets.similarity_rows))
    monkeypatch.setattr(vi, "predictions", seen(vi.predictions))
    first = records.attention_sheet(SUBJECT, (0, 1), 2, 1).rows
    # Another pinned patch needs no other rows, as all of them are there.
    assert records.attention_sheet(SUBJECT, (1, 1), 2, 1).rows is first
    assert records.attention_sheet(SUBJECT, (0, 1), 2, 2).rows is not first
    similar = records.similarity_sheet(SUBJECT, (0, 1), 1).rows
    assert records.similarity_sheet(SUBJECT, (1, 1), 1).rows is similar
    records.of_capture(vi.predictions, SUBJECT, count=3)
    records.of_capture(vi.predictions, SUBJECT, count=3)
    assert waiting == [1, 1, 1, 1]


def test_of_a_large_layout_each_query_has_rows_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sheets, "MAX_BYTES", 9)
    for query in ((0, 1), (1, 1), READOUT):
        sheet = records.attention_sheet(SUBJECT, query, 2, 1)
        assert sheet.rows.queries == (query,)
        maps = vi.attention_maps(models.capture(SUBJECT), query=query)
        shown = [maps.prefix_mass[0, 2, 1], maps.weights[0, 2, 1].ravel()]
        np.testing.assert_allclose(sheet.rows.values[0], np.concatenate(shown), atol=1e-6)
    for patch in ((0, 1), (1, 1)):
        sheet = records.similarity_sheet(SUBJECT, patch, 1)
        assert sheet.rows.queries == (patch,)
        np.testing.assert_allclose(sheet.rows.values[0], sheet.values[1, 0].ravel(), atol=1e-5)


def test_rows_are_weighed_by_what_they_hold() -> None:
    rows = records.attention_sheet(SUBJECT, (0, 1), 2, 1).rows
    # All 5 tokens on 5 keys, as float32.
    assert rows.values.nbytes == 5 * 5 * 4
    assert kept._result_bytes(rows) == rows.values.nbytes
