"""Are texts the classes of a network, scored as it scores them itself?"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from torch import Tensor, nn

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.made import RECIPE
from tests.helpers.two_towers import (
    CONTEXT,
    LETTERS,
    PLAIN,
    load,
    own_logits,
    relevance_by,
    saved,
    whole,
)
from vit_inspect.loading.text_towers import MAX_LETTERS, MAX_TEXTS

KINDS = ("CLIPModel", "SiglipModel")
IMAGES = [noise((60, 40), 1), noise((40, 70), 2)]
RISING = np.arange(16.0).reshape(1, 4, 4)
TEXTS = ("a red shoe", "bag", "Two cats")
TEMPLATE = "it is {}!"
FILLED = [TEMPLATE.replace("{}", text) for text in TEXTS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: saved(tmp_path_factory.mktemp("words") / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, vi.Model]:
    return {kind: load(folder, dtype=torch.float64) for kind, folder in folders.items()}


def pixels_of(model: vi.Model) -> Tensor:
    return torch.cat([model.prepare(image) for image in IMAGES])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_networks_own(
    folders: dict[str, Path], kind: str, dtype: torch.dtype
) -> None:
    model = vi.with_texts(load(folders[kind], dtype=dtype), TEXTS, template=TEMPLATE)
    network = whole(folders[kind], kind, dtype)
    capture = vi.capture(model, IMAGES)
    with torch.no_grad():
        wanted = own_logits(network, kind, FILLED, pixels_of(model))
    exact = 1e-13 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(
        capture.output, wanted, rtol=0, atol=exact * wanted.abs().max().item()
    )
    assert wanted.std(dim=1).min() > 0.1
    assert capture.error < (1e-13 if dtype == torch.float64 else 1e-5)
    assert model.labels == TEXTS
    probability = wanted.softmax(dim=1) if kind == "CLIPModel" else wanted.sigmoid()
    seen = vi.predictions(capture)
    assert seen.outputs == ("single-label" if kind == "CLIPModel" else "multi-label")
    found = np.take_along_axis(probability.numpy(), seen.class_index, axis=1)
    np.testing.assert_allclose(seen.probability, found, rtol=1e-12 if exact < 1e-9 else 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_another_input_size_is_scored_as_the_network_does(
    folders: dict[str, Path], kind: str
) -> None:
    model = load(folders[kind], dtype=torch.float64, img_size=(16, 40))
    model = vi.with_texts(model, TEXTS)
    network, pixels = whole(folders[kind], kind), pixels_of(model)
    assert pixels.shape[2:] == (16, 40)
    with torch.no_grad():
        wanted = own_logits(network, kind, [*TEXTS], pixels, interpolate_pos_encoding=True)
    torch.testing.assert_close(vi.capture(model, IMAGES).output, wanted, rtol=1e-12, atol=1e-12)


def test_what_was_done_is_told(models: dict[str, vi.Model]) -> None:
    told = {
        kind: vi.with_texts(model, TEXTS, template=TEMPLATE).notices[-1]
        for kind, model in models.items()
    }
    start = "Its classes are texts, which its text tower reads as 'it is {}!'. "
    assert told["CLIPModel"] == (
        start + "The score of a text is 14.28 × the cosine of picture and text."
    )
    assert told["SiglipModel"] == (
        start + "The score of a text is 12.18 × the cosine of picture and text - 1.5."
    )


def explicit_relevance(
    model: vi.Model, network: nn.Module, kind: str, monkeypatch: pytest.MonkeyPatch
) -> np.ndarray:
    """(image, token), from the whole network, by autograd through each matrix of attention."""
    maps: list[Tensor] = []
    sides = {(17, 17), (16, 16), (1, 16)}

    def softmax(scores: Tensor, dim: int, dtype: object = None) -> Tensor:
        found = torch.softmax(scores, dim)
        if tuple(found.shape[-2:]) in sides:
            maps.append(found)
        return found

    capture = vi.capture(model, IMAGES)
    network.set_attn_implementation("eager")
    with monkeypatch.context() as patch:
        patch.setattr(nn.functional, "softmax", softmax)
        pixels = pixels_of(model).requires_grad_()
        score = own_logits(network, kind, FILLED, pixels)[:, 1]
    return relevance_by(capture, score, maps)


@pytest.mark.parametrize("kind", KINDS)
def test_relevance_for_a_text_is_that_of_the_whole_network(
    folders: dict[str, Path],
    models: dict[str, vi.Model],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = vi.with_texts(models[kind], TEXTS, template=TEMPLATE)
    found = vi.attention_relevance(model, IMAGES, target="bag")
    assert found.target == ("bag", "bag")
    wanted = explicit_relevance(model, whole(folders[kind], kind), kind, monkeypatch)
    both = np.concatenate([found.prefix_relevance, found.relevance.reshape(2, -1)], axis=1)
    np.testing.assert_allclose(both, wanted, rtol=1e-8, atol=1e-10 * wanted.max())
    other = vi.attention_relevance(model, IMAGES, target="a red shoe")
    assert abs(other.relevance - found.relevance).max() > 1e-3 * found.relevance.max()


@pytest.mark.parametrize("kind", KINDS)
def test_every_test_of_a_classifier_works_for_texts(models: dict[str, vi.Model], kind: str) -> None:
    capture = vi.capture(vi.with_texts(models[kind], TEXTS), IMAGES[0])
    scores = vi.predictions(capture)
    best = int(scores.class_index[0, 0])
    trusted = vi.faithfulness(capture, maps={"rising": RISING}, steps=4, target=best)
    assert trusted.targets == (TEXTS[best],)
    assert trusted.deletion[0, 0, 0] == pytest.approx(scores.probability[0, 0], rel=1e-9)
    assert np.ptp(trusted.deletion[0, 0]) > 1e-4
    ablated = vi.ablate(capture, layers=[1])
    assert {*ablated.labels[0]} == {*TEXTS}
    assert abs(ablated.after - ablated.before).max() > 1e-4
    assert np.ptp(vi.head_importance(capture, target=best).effect) > 1e-5
    lens = vi.logit_lens(capture, target=best)
    assert lens.readout_value[0, -1] == pytest.approx(scores.probability[0, 0], rel=1e-9)


def test_texts_replace_those_before_and_leave_the_model_as_it_is(
    models: dict[str, vi.Model],
) -> None:
    model = models["CLIPModel"]
    first = vi.with_texts(model, ["one"])
    assert first.outputs == "scores"
    assert first.notices[-1] == "Its one output is taken for a raw score, not for a probability."
    again = vi.with_texts(first, TEXTS)
    direct = vi.with_texts(model, TEXTS)
    assert (again.labels, again.outputs, again.notices) == (
        direct.labels,
        direct.outputs,
        direct.notices,
    )
    outputs = [vi.capture(each, IMAGES[0]).output for each in (again, direct, model)]
    assert torch.equal(outputs[0], outputs[1])
    assert outputs[2].shape == (1, 32)
    assert (model.labels, model.head) == (None, None)


def test_texts_stay_where_weights_are_permuted(models: dict[str, vi.Model]) -> None:
    model = vi.with_texts(models["CLIPModel"], TEXTS)
    twin = vi.randomised(model)
    assert torch.equal(model.module.cosines.units, twin.module.cosines.units)
    outputs = [vi.capture(each, IMAGES[0]).output for each in (model, twin)]
    assert (outputs[0] - outputs[1]).abs().max() > 0.1
    # The lens refuses a head that does not give the output: it has the permuted weights too.
    assert vi.logit_lens(vi.capture(twin, IMAGES[0])).labels


LONG = "a" * (CONTEXT - 1)
"""With the marks of its start and end, one token more than the text tower of CLIP reads."""

REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a single text": ("cat", {}, "texts='cat'; expected a list"),
    "none": ([], {}, "0 texts; expected 1 to 100"),
    "too many": ([f"{each}" for each in range(MAX_TEXTS + 1)], {}, "101 texts"),
    "no text": ([3], {}, "an object of type int as a text"),
    "empty": (["cat", " \n"], {}, "an empty text"),
    "long": (["a" * (MAX_LETTERS + 1)], {}, "a text of 301 letters, 'aaaa"),
    "long with its template": (["a" * 290], {"template": f"{LETTERS}" + "{}"}, "a text of "),
    "many tokens": (["cat", LONG], {}, f"of {CONTEXT + 1} tokens; expected at most {CONTEXT}"),
    "no Unicode": (["\ud83d"], {}, "signs that cannot be printed, '\\ud83d'"),
    "two lines": (["a cat\na dog"], {}, "signs that cannot be printed, 'a cat\\na dog'"),
    "a mark of the end": (["cat <|endoftext|> dog"], {}, "the start or end of a text"),
    "twice": (["cat", "dog", "cat"], {}, "the text 'cat' twice"),
    "no place": (
        ["cat"],
        {"template": "a photo"},
        "no places for a text in the template 'a photo'",
    ),
    "two places": (["cat"], {"template": "{} {}"}, "2 places for a text"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("case", REFUSED)
def test_texts_that_cannot_be_taken_are_refused(models: dict[str, vi.Model], case: str) -> None:
    texts, options, told = REFUSED[case]
    with pytest.raises(vi.BadParameter) as refusal:
        vi.with_texts(models["CLIPModel"], texts, **options)
    assert told in str(refusal.value)
    assert len(str(refusal.value)) < 250


def test_braces_are_signs_as_others(models: dict[str, vi.Model]) -> None:
    model = vi.with_texts(models["SiglipModel"], ["{0.x}", "{}"], template="{1.y} {}")
    assert model.labels == ("{0.x}", "{}")
    assert "reads as '{1.y} {}'." in model.notices[-1]


def test_a_model_goes_to_another_process(models: dict[str, vi.Model]) -> None:
    model = vi.with_texts(models["SiglipModel"], TEXTS)
    there = pickle.loads(pickle.dumps(model))
    outputs = [vi.capture(each, IMAGES[0]).output for each in (model, there)]
    assert torch.equal(outputs[0], outputs[1])
    assert vi.with_texts(there, ["cat"]).labels == ("cat",)


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_tokens_as_are_read_are_taken_whole(
    folders: dict[str, Path], models: dict[str, vi.Model], kind: str
) -> None:
    texts = [LONG[: CONTEXT - 2], "cat"]
    found = vi.capture(vi.with_texts(models[kind], texts), IMAGES).output
    with torch.no_grad():
        wanted = own_logits(whole(folders[kind], kind), kind, texts, pixels_of(models[kind]))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_the_text_tower_is_loaded_when_it_is_used_and_once(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    load_weights = hf.CLIPModel.from_pretrained

    def watched(name: str, **options: Any) -> Any:
        loads.append(name)
        if len(loads) == 1:
            raise OSError(f"{name} is damaged")
        return load_weights(name, **options)

    monkeypatch.setattr(hf.CLIPModel, "from_pretrained", watched)
    model = load(folders["CLIPModel"])
    assert loads == []
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        vi.with_texts(model, TEXTS)
    assert refusal.value.found == "no text tower for 'CLIPModel' (CLIPModel is damaged)"
    for texts in (TEXTS, ["cat", "dog"]):
        vi.with_texts(model, texts)
    vi.with_texts(vi.randomised(model), TEXTS)
    assert len(loads) == 2


def test_nothing_is_printed_of_weights_that_are_not_needed(
    folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "transformers.modeling_utils"):
        vi.with_texts(load(folders["CLIPModel"]), TEXTS)
        assert not caplog.records
        # It prints to others as before.
        hf.CLIPVisionModel.from_pretrained(folders["CLIPModel"])
    assert "LOAD REPORT" in caplog.text


def test_a_folder_without_a_tokenizer_is_refused_until_it_is_there(
    folders: dict[str, Path], tmp_path: Path, unreachable: list[str]
) -> None:
    folder = shutil.copytree(folders["CLIPModel"], tmp_path / "mine")
    for each in ("tokenizer.json", "tokenizer_config.json"):
        (folder / each).unlink()
    model = load(folder)
    with pytest.raises(vi.WeightsUnavailable, match="no tokenizer that fits the text tower of"):
        vi.with_texts(model, TEXTS)
    for each in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folders["CLIPModel"] / each, folder)
    assert vi.with_texts(model, TEXTS).labels == TEXTS
    assert unreachable == []


def test_a_package_that_a_tokenizer_needs_is_named(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*_: object, **__: object) -> None:
        raise ImportError("\nSiglipTokenizer requires the SentencePiece library but " + 20 * "so ")

    monkeypatch.setattr(hf.AutoTokenizer, "from_pretrained", without)
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        vi.with_texts(load(folders["SiglipModel"]), TEXTS)
    assert refusal.value.found.startswith(
        "no package that the tokenizer of 'SiglipModel' needs (SiglipTokenizer requires the Sente"
    )
    assert refusal.value.remedy == "run 'pip install sentencepiece protobuf'"


def test_a_folder_is_found_from_elsewhere(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders["SiglipModel"].parent)
    model = load(Path("SiglipModel"))
    monkeypatch.chdir(tmp_path)
    assert vi.with_texts(model, TEXTS).labels == TEXTS


def test_an_unreachable_hub_is_explained(
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unreachable: list[str],
) -> None:
    monkeypatch.setattr("vit_inspect.loading.from_transformers.check_no_folder", lambda name: None)
    # What stands for the hub is a folder of the repository's name, which then goes.
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "name").symlink_to(folders["SiglipModel"])
    monkeypatch.chdir(tmp_path)
    model = vi.load("transformers:org/name", device="cpu")
    (tmp_path / "org" / "name").unlink()
    with pytest.raises(vi.WeightsUnavailable) as refusal:
        vi.with_texts(model, TEXTS)
    assert "no text tower for 'transformers:org/name' (" in refusal.value.found
    assert "connect to the hub" in refusal.value.remedy
    assert len(unreachable) == 1


def in_memory(folder: Path) -> vi.Model:
    network = hf.CLIPVisionModel(hf.CLIPVisionConfig(**PLAIN, image_size=32, patch_size=8))
    return vi.wrap(network.eval(), transform=RECIPE)


WITHOUT: tuple[Callable[[Path], vi.Model], ...] = (in_memory, partial(load, pretrained=False))


@pytest.mark.parametrize("make", WITHOUT)
def test_a_model_without_a_text_tower_is_refused(
    folders: dict[str, Path], make: Callable[[Path], vi.Model]
) -> None:
    model = make(folders["CLIPModel"])
    assert model.words is None
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.with_texts(model, TEXTS)
    assert "which has no text tower" in refusal.value.found
