"""Is an argument of a wrong type refused in one sentence, and is a number of numpy a number?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vit_inspect as vi
from tests.conftest import noise
from vit_inspect.arguments import several, whole

LAYER = "; expected a layer of 0..2; choose one of these"
ROW = "expected the name of a special token, or a patch as (row, column)"
WRONG: dict[str, tuple[Callable[[vi.Capture], Any], str]] = {
    "layer of floats": (lambda c: vi.feature_pca(c, layer=1.0), f"the layer 1.0{LAYER}"),
    "layer of words": (lambda c: vi.token_norms(c, layer="1"), f"the layer '1'{LAYER}"),
    "layer of truth": (lambda c: vi.token_similarity(c, layer=True), f"the layer True{LAYER}"),
    "start layer": (lambda c: vi.attention_rollout(c, start_layer=0.5), "the start layer 0.5"),
    "discard": (lambda c: vi.attention_rollout(c, discard="a"), "the discard share 'a'"),
    "head of words": (lambda c: vi.ablate(c, heads=[(0, "3")]), "the head '3' of layer 0"),
    "one number as heads": (lambda c: vi.ablate(c, heads=5), "heads=5; expected a list"),
    "numbers as heads": (lambda c: vi.ablate(c, heads=(5,)), "the head 5; expected a pair"),
    "three numbers": (lambda c: vi.ablate(c, heads=[(0, 1, 2)]), "the head (0, 1, 2); expected a"),
    "one layer": (lambda c: vi.ablate(c, layers=1), "layers=1; expected a list"),
    "one token": (lambda c: vi.ablate(c, tokens="cls"), "tokens='cls'; expected a list"),
    "half a step": (lambda c: vi.faithfulness(c, steps=1.5), "1.5 steps; expected 1 or more"),
    "no step": (lambda c: vi.faithfulness(c, steps=0), "0 steps; expected 1 or more"),
    "count": (lambda c: vi.predictions(c, count="3"), "'3' classes; expected 1 or more"),
    "top": (lambda c: vi.logit_lens(c, top=2.5), "2.5 classes; expected 1 or more"),
    "image": (lambda c: vi.token_similarity(c, image=0.0), "the image 0.0; expected an image of 0"),
    "stage": (lambda c: c.model.at_stage("1"), "the stage '1'; expected stage 0, the only one"),
    "class": (
        lambda c: vi.attention_relevance(c, target=np.zeros((9, 9))),
        "the class of type ndarray; expected a class of 0..999",
    ),
    "three numbers as query": (
        lambda c: vi.attention_maps(c, query=np.array([1, 2, 0])),
        f"the token array([1, 2, 0]); {ROW}",
    ),
    "floats as query": (
        lambda c: vi.attention_maps(c, query=np.array([1.0, 2.0])),
        f"the token array([1., 2.]); {ROW}",
    ),
    "number as patch": (lambda c: vi.token_similarity(c, patch=3), f"the token 3; {ROW}"),
    "picture as capture": (
        lambda c: vi.attention_maps(noise((64, 64), 1)),
        "an object of type Image as capture; expected what vit_inspect.capture(model, picture) ret",
    ),
    "capture as model": (
        lambda c: vi.embedding_filters(model=c),
        "an object of type Capture as model; expected what vit_inspect.load or",
    ),
    "nothing as model": (
        lambda c: vi.capture(None, noise((64, 64), 1)),
        "an object of type NoneType as model",
    ),
    "picture explained": (
        lambda c: vi.attention_relevance(noise((64, 64), 1)),
        "an object of type Image as model; expected what vit_inspect.load or",
    ),
    "no folder": (
        lambda c: vi.export(c, None),
        "an object of type NoneType as folder; expected a path",
    ),
    "model exported": (
        lambda c: vi.export(c.model, "never"),
        "an object of type Model as capture",
    ),
    "network as name": (
        lambda c: vi.load(c.model.module),
        "an object of type VisionTransformer as name; expected the name of a model, or vit_i",
    ),
    "model compared": (
        lambda c: vi.cka(c, other=c.model),
        "an object of type Model as other; expected what vit_inspect.capture(model, picture) ret",
    ),
    "capture randomised": (lambda c: vi.randomised(c), "an object of type Capture as model"),
    "filters": (lambda c: vi.embedding_filters(c.model, count=2.5), "2.5 components; expected 1"),
    "maps": (
        lambda c: vi.faithfulness(c, maps=[1]),
        "an object of type list as maps; expected a dictionary of names and maps",
    ),
    "workers": (lambda c: vi.export(c, "never", workers=1.5), "1.5 workers; expected 1 or more"),
    "formats": (lambda c: vi.export(c, "never", formats=5), "formats=5; expected a list"),
    "no network": (lambda c: vi.wrap(5), "an object of type int as module; expected a network of"),
    "no layout": (
        lambda c: vi.wrap(c.model.module, layout=(14, 14)),
        "an object of type tuple as layout; expected a TokenLayout",
    ),
    "positions": (
        lambda c: vi.wrap(c.model.module, positions=5),
        "an object of type int as positions; expected a tensor (grid row, grid column, width)",
    ),
    "blocks": (lambda c: vi.wrap(c.model.module, blocks=5), "blocks=5; expected a list"),
    "labels": (lambda c: vi.wrap(c.model.module, labels="cat"), "labels='cat'; expected a list"),
    "mean": (lambda c: vi.load("test_vit", mean=0.5), "mean=0.5; expected a list; give mean=(0.5"),
    "dtype": (
        lambda c: vi.load("test_vit", dtype="float32"),
        "an object of type str as dtype; expected a type of torch, such as torch.float32",
    ),
    "nothing to read": (
        lambda c: vi.read_image(None),
        "an object of type NoneType in place of a file; expected a path, bytes or an open file",
    ),
    "size": (
        lambda c: vi.load("test_vit", img_size=[64.0, 64], pretrained=False),
        "the input size [64.0, 64]; expected a positive number of px",
    ),
}


@pytest.fixture(scope="module")
def capture(small: Callable[..., vi.Model]) -> vi.Capture:
    model = small("vit_tiny_patch16_224", (64, 48))
    return vi.capture(model, noise((64, 48), 1))


@pytest.mark.parametrize(("call", "words"), WRONG.values(), ids=WRONG)
@pytest.mark.usefixtures("unchecked")
def test_a_wrong_type_is_one_sentence(
    capture: vi.Capture,
    call: Callable[[vi.Capture], Any],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(vi.BadParameter) as refusal:
        call(capture)
    assert words in str(refusal.value)
    assert not [*tmp_path.iterdir()], "nothing is made for it"


NUMBERS: list[Callable[[int], Any]] = [np.int64, np.uint8, torch.tensor, np.array]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.usefixtures("unchecked")
def test_a_number_of_another_library_is_a_number(
    capture: vi.Capture, number: Callable[[int], Any]
) -> None:
    one = number(1)
    assert vi.feature_pca(capture, layer=one).layer == 1
    assert vi.predictions(capture, count=one).value.shape == (1, 1)
    assert vi.ablate(capture, heads=[(one, one)]).off == ("L1 H1",)
    assert vi.ablate(capture, tokens=[(one, one)]).off == ("patch (1, 1)",)
    assert vi.attention_rollout(capture, start_layer=one).growth.shape[1] == 2
    target = vi.attention_relevance(capture, target=one).target
    assert target == vi.attention_relevance(capture, target=1).target


@pytest.mark.parametrize("query", [np.array([1, 2]), torch.tensor([1, 2]), [1, 2]])
@pytest.mark.usefixtures("unchecked")
def test_an_array_of_two_numbers_is_a_patch(capture: vi.Capture, query: Any) -> None:
    found, expected = (vi.attention_maps(capture, query=each) for each in (query, (1, 2)))
    assert (found.query, found.patch) == (expected.query, expected.patch)
    np.testing.assert_array_equal(found.weights, expected.weights)
    assert vi.token_similarity(capture, patch=query).patch == (1, 2)


def test_what_counts_is_a_number_of_python() -> None:
    assert [type(whole(each(3))) for each in NUMBERS] == [int] * 4
    for wrong in (True, 1.0, "1", None, np.array([1, 2]), torch.tensor(1.0), np.bool_(True)):
        assert whole(wrong) is None
    assert several(iter([1, 2]), "layers", "[2]") == (1, 2)


def test_what_is_decorated_keeps_its_name_and_its_arguments(capture: vi.Capture) -> None:
    assert vi.attention_maps.__name__ == "attention_maps"
    twin = replace(capture)
    assert vi.attention_maps(capture=twin).weights.shape == (1, 3, 3, 4, 3)
