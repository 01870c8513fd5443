"""Are texts the classes of a network of open_clip, scored as it scores them itself?"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.made import RECIPE
from tests.helpers.two_towers import relevance_by
from vit_inspect.layout import MEAN, POOL

open_clip = pytest.importorskip("open_clip")

from open_clip.coca_model import CoCa  # noqa: E402
from open_clip.model import CLIP, CustomTextCLIP  # noqa: E402
from open_clip.transform import PreprocessCfg, image_transform_v2  # noqa: E402

from tests.helpers.open_clips import (  # noqa: E402
    CONTEXT,
    PICTURES,
    TEXT,
    VISION,
    clip,
    letters,
    own_logits,
    perceptron,
    siglip,
    simple,
)

IMAGES = [noise((60, 40), 1), noise((40, 70), 2)]
TEXTS = ("a red shoe", "bag", "Two cats")
TEMPLATE = "it is {}!"
FILLED = [TEMPLATE.replace("{}", text) for text in TEXTS]

NETWORKS: dict[str, Callable[[], Any]] = {
    "class token": clip,
    "average": lambda: clip(pool_type="avg", quick=True),
    "norm after the average": lambda: clip(pool_type="avg", final_ln_after_pool=True),
    "its own attention": lambda: clip(qk_norm=True, scale_heads=True, scale_attn_inner=True),
    "class token of timm": perceptron,
    "attention pool of timm": siglip,
}
READOUTS = {"average": MEAN, "norm after the average": MEAN, "attention pool of timm": POOL}
CASES = tuple(NETWORKS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("letters")


def tokenizer_of(case: str, folder: Path) -> Any:
    return letters(folder, clean="canonicalize") if case == "attention pool of timm" else simple()


@pytest.fixture(scope="module")
def wholes(folder: Path) -> dict[str, tuple[Any, Any]]:
    """Each network, in float64, and its tokenizer."""
    return {case: (make().double(), tokenizer_of(case, folder)) for case, make in NETWORKS.items()}


@pytest.fixture(scope="module")
def models(wholes: dict[str, tuple[Any, Any]]) -> dict[str, vi.Model]:
    return {
        case: vi.wrap(network, tokenizer=tokenizer) for case, (network, tokenizer) in wholes.items()
    }


def pixels_of(model: vi.Model) -> Tensor:
    return torch.cat([model.prepare(image) for image in IMAGES])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_scores_are_the_networks_own(case: str, dtype: torch.dtype, folder: Path) -> None:
    network, tokenizer = NETWORKS[case]().to(dtype), tokenizer_of(case, folder)
    model = vi.with_texts(vi.wrap(network, tokenizer=tokenizer), TEXTS, template=TEMPLATE)
    capture = vi.capture(model, IMAGES)
    with torch.no_grad():
        wanted = own_logits(network, tokenizer, FILLED, pixels_of(model))
    exact = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(
        capture.output, wanted, rtol=0, atol=exact * wanted.abs().max().item()
    )
    assert wanted.std(dim=1).min() > 0.1
    assert capture.error < (1e-13 if dtype == torch.float64 else 1e-5)
    assert capture.layout.readout == READOUTS.get(case, "cls")
    one_of_them = case != "attention pool of timm"
    probability = wanted.softmax(dim=1) if one_of_them else wanted.sigmoid()
    seen = vi.predictions(capture)
    assert seen.outputs == ("single-label" if one_of_them else "multi-label")
    found = np.take_along_axis(probability.numpy(), seen.class_index, axis=1)
    np.testing.assert_allclose(seen.probability, found, rtol=1e-11 if exact < 1e-9 else 1e-4)


def explicit_relevance(
    capture: vi.Capture, network: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> np.ndarray:
    """(image, token), from the whole network, by autograd through each matrix of attention."""
    maps: list[Tensor] = []
    sides = {(17, 17), (101, 101), (16, 16), (1, 16)}

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Any = None, *_: Any, **more: Any):
        mask = more.get("attn_mask", mask)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        found = (scores if mask is None else scores + mask).softmax(dim=-1)
        if tuple(found.shape[-2:]) in sides:
            maps.append(found)
        return found @ value

    with monkeypatch.context() as patch:
        patch.setattr(nn.functional, "scaled_dot_product_attention", attend)
        pixels = capture.pixels.clone().requires_grad_()
        score = own_logits(network, tokenizer, FILLED, pixels)[:, 1]
    return relevance_by(capture, score, maps)


@pytest.mark.parametrize("case", CASES)
def test_relevance_for_a_text_is_that_of_the_whole_network(
    wholes: dict[str, tuple[Any, Any]],
    models: dict[str, vi.Model],
    case: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = vi.with_texts(models[case], TEXTS, template=TEMPLATE)
    found = vi.attention_relevance(model, IMAGES, target="bag")
    assert found.target == ("bag", "bag")
    wanted = explicit_relevance(vi.capture(model, IMAGES), *wholes[case], monkeypatch)
    both = np.concatenate([found.prefix_relevance, found.relevance.reshape(2, -1)], axis=1)
    np.testing.assert_allclose(both, wanted, rtol=1e-8, atol=1e-10 * wanted.max())
    other = vi.attention_relevance(model, IMAGES, target="a red shoe")
    assert abs(other.relevance - found.relevance).max() > 1e-3 * found.relevance.max()


@pytest.mark.parametrize("case", CASES)
def test_what_needs_the_last_steps_works(models: dict[str, vi.Model], case: str) -> None:
    capture = vi.capture(vi.with_texts(models[case], TEXTS), IMAGES[0])
    scores = vi.predictions(capture)
    best = int(scores.class_index[0, 0])
    lens = vi.logit_lens(capture, target=best)
    assert lens.readout_value[0, -1] == pytest.approx(scores.probability[0, 0], rel=1e-9)
    assert np.ptp(vi.head_importance(capture, target=best).effect) > 1e-5
    similar = vi.text_similarity(capture, "bag")
    assert np.ptp(similar.values) > 0.005


def test_a_patch_is_compared_as_the_class_token_is(
    wholes: dict[str, tuple[Any, Any]], models: dict[str, vi.Model]
) -> None:
    (network, tokenizer), model = wholes["class token"], models["class token"]
    capture = vi.capture(model, IMAGES)
    visual = network.visual
    with torch.no_grad():
        patches = visual.ln_post(visual.transformer(visual._embeds(capture.pixels)))[:, 1:]
        text = network.encode_text(tokenizer(["bag"], context_length=CONTEXT))
        wanted = torch.cosine_similarity(patches @ visual.proj, text[:, None], dim=-1)
    found = vi.text_similarity(capture, "bag").values
    np.testing.assert_allclose(found.reshape(2, -1), wanted.numpy(), atol=1e-12)


def test_the_positions_and_the_norm_are_the_networks(
    wholes: dict[str, tuple[Any, Any]], models: dict[str, vi.Model]
) -> None:
    visual = wholes["class token"][0].visual
    model = models["class token"]
    assert torch.equal(model.positions[1, 2], visual.positional_embedding[1 + 4 + 2])
    assert model.norm is visual.ln_post
    assert models["average"].norm is wholes["average"][0].visual.ln_post
    assert models["norm after the average"].norm is None
    assert torch.equal(model.filters, visual.conv1.weight)


def test_what_was_done_is_told(models: dict[str, vi.Model]) -> None:
    told = {
        case: vi.with_texts(models[case], TEXTS, template=TEMPLATE).notices
        for case in ("class token", "attention pool of timm")
    }
    start = "Its classes are texts, which its text tower reads as 'it is {}!'. "
    assert told["class token"] == (
        start + "The score of a text is 14.29 × the cosine of picture and text.",
    )
    assert told["attention pool of timm"] == (
        start + "The score of a text is 14.29 × the cosine of picture and text - 1.5.",
    )


@pytest.mark.parametrize("case", ["class token", "attention pool of timm"])
def test_a_copy_and_another_process_take_the_same_texts(
    models: dict[str, vi.Model], case: str
) -> None:
    model = vi.with_texts(models[case], TEXTS)
    there = pickle.loads(pickle.dumps(model))
    outputs = [vi.capture(each, IMAGES[0]).output for each in (model, there)]
    assert torch.equal(outputs[0], outputs[1])
    assert vi.with_texts(there, ["cat"]).labels == ("cat",)
    random = vi.randomised(model)
    # The text tower, as large as the image encoder, is not copied.
    assert random.words.compare.args[0] is model.words.compare.args[0]
    twin = vi.with_texts(random, TEXTS)
    assert torch.equal(twin.module.cosines.units, model.module.cosines.units)
    assert (vi.capture(twin, IMAGES[0]).output - outputs[0]).abs().max() > 0.1
    assert vi.logit_lens(vi.capture(twin, IMAGES[0])).labels


@pytest.mark.parametrize(("size", "grid"), [((32, 48), (4, 6)), (35, (4, 4))])
def test_inputs_need_not_be_square_or_tiled(size: Any, grid: tuple[int, int]) -> None:
    network = clip(image_size=size, pictures={**PICTURES, "size": size}).double()
    model = vi.with_texts(vi.wrap(network, tokenizer=simple()), TEXTS)
    assert model.layout.grid == grid
    found = vi.capture(model, IMAGES).output
    with torch.no_grad():
        wanted = own_logits(network, simple(), [*TEXTS], pixels_of(model))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("filter_name", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [112, (112, 88)])
def test_pictures_are_prepared_as_open_clip_does(mode: str, filter_name: str, size: Any) -> None:
    said = {**PICTURES, "size": size, "resize_mode": mode, "interpolation": filter_name}
    model = vi.wrap(clip(image_size=size, pictures=said))
    transform = image_transform_v2(PreprocessCfg(**said), is_train=False)
    std = torch.tensor(said["std"])[:, None, None]
    for sides in ((451, 300), (300, 451), (1000, 120)):
        image = vi.sample("chelsea").resize(sides, Image.Resampling.BICUBIC)
        levels = 255 * ((model.prepare(image)[0] - transform(image)) * std).abs()
        # Pillow rounds between its two passes, whose order depends on the size of the result.
        assert levels.max() < 2.01
        assert levels.mean() < 0.2


def test_the_image_encoder_alone_is_taken_too(
    wholes: dict[str, tuple[Any, Any]], models: dict[str, vi.Model]
) -> None:
    for case in ("class token", "attention pool of timm"):
        network, tokenizer = wholes[case]
        alone = vi.wrap(network.visual)
        outputs = [vi.capture(each, IMAGES).output for each in (alone, models[case])]
        assert torch.equal(outputs[0], outputs[1])
        assert (alone.labels, alone.layout) == (None, models[case].layout)
        with pytest.raises(vi.UnsupportedModel, match=r"no text tower.*get_tokenizer"):
            vi.with_texts(alone, TEXTS)
        with pytest.raises(vi.BadParameter, match=r"no text tower; .* whole network"):
            vi.wrap(network.visual, tokenizer=tokenizer)


def test_a_thousand_features_are_no_classes_of_imagenet() -> None:
    vision = {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None}
    network = CustomTextCLIP(1000, vision | {"image_size": 160}, TEXT).eval()
    assert network.visual.trunk.num_classes == 1000
    model = vi.wrap(network, transform=RECIPE)
    assert (model.labels, model.notices) == (None, ())


LONG = " ".join("a" * (CONTEXT - 1))
"""With the marks of its start and end, one token more than the text tower of CLIP reads."""

REFUSED = {
    "long": (LONG, f"would read only a part; expected at most {CONTEXT} tokens"),
    "a mark of the end": ("cat <end_of_text> dog", "the start or end of a text"),
    "a mark in HTML": ("cat &lt;end_of_text&gt; dog", "the start or end of a text"),
    "a mark of the start": ("<Start_of_Text>", "the start or end of a text"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("case", REFUSED)
def test_texts_that_open_clip_would_change_are_refused(
    models: dict[str, vi.Model], case: str
) -> None:
    text, told = REFUSED[case]
    with pytest.raises(vi.BadParameter) as refusal:
        vi.with_texts(models["class token"], ["cat", text])
    assert told in str(refusal.value)
    assert len(str(refusal.value)) < 250


def test_texts_that_a_tokenizer_of_transformers_would_change_are_refused(
    models: dict[str, vi.Model], folder: Path
) -> None:
    model = models["attention pool of timm"]
    # Its padding is also the mark of the end.
    for text in ("a" * CONTEXT, "a b " * 14):
        with pytest.raises(vi.BadParameter, match="would read only a part"):
            vi.with_texts(model, [text])
    with pytest.raises(vi.BadParameter, match=r"the text '!\?', of which .* leaves nothing"):
        vi.with_texts(model, ["!?"])
    plain = vi.wrap(siglip(), tokenizer=letters(folder, clean="whitespace"))
    with pytest.raises(vi.BadParameter, match="the start or end of a text"):
        vi.with_texts(plain, ["cat </s> dog"])


@pytest.mark.parametrize("case", ["class token", "attention pool of timm"])
def test_as_many_tokens_as_are_read_are_taken_whole(
    wholes: dict[str, tuple[Any, Any]], models: dict[str, vi.Model], case: str
) -> None:
    texts = [LONG[:-2] if case == "class token" else "a" * (CONTEXT - 1), "cat"]
    found = vi.capture(vi.with_texts(models[case], texts), IMAGES).output
    with torch.no_grad():
        wanted = own_logits(*wholes[case], texts, pixels_of(models[case]))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [CLIP, CustomTextCLIP])
def test_a_text_tower_that_reads_the_mark_of_the_end_needs_one(kind: Any, folder: Path) -> None:
    text = TEXT | {"vocab_size": 96, "pool_type": "eos"}
    tokenizer = letters(folder)
    network = kind(24, VISION, text | {"eos_id": 0}).eval().double()
    model = vi.with_texts(vi.wrap(network, transform=RECIPE, tokenizer=tokenizer), TEXTS)
    with torch.no_grad():
        wanted = own_logits(network, tokenizer, [*TEXTS], pixels_of(model))
    torch.testing.assert_close(vi.capture(model, IMAGES).output, wanted, rtol=1e-12, atol=1e-12)
    network = kind(24, VISION, text | {"eos_id": 95}).eval()
    with pytest.raises(vi.WeightsUnavailable, match="no tokenizer that fits the text tower"):
        vi.with_texts(vi.wrap(network, transform=RECIPE, tokenizer=tokenizer), TEXTS)


def test_a_text_tower_of_transformers_reads_what_the_tokenizer_fills_up(
    folder: Path, tmp_path: Path
) -> None:
    config = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    hf.BertConfig(
        **config, vocab_size=96, intermediate_size=48, max_position_embeddings=CONTEXT + 9
    ).save_pretrained(tmp_path)
    text = {"hf_model_name": str(tmp_path), "hf_model_pretrained": False}
    network = CustomTextCLIP(24, VISION, text).eval().double()
    tokenizer = letters(folder)
    assert network.context_length == CONTEXT + 9
    model = vi.wrap(network, transform=RECIPE, tokenizer=tokenizer)
    found = vi.capture(vi.with_texts(model, TEXTS), IMAGES)
    with torch.no_grad():
        wanted = network.get_logits(found.pixels, tokenizer([*TEXTS]))[0]
    torch.testing.assert_close(found.output, wanted, rtol=1e-12, atol=1e-12)
    with pytest.raises(vi.BadParameter, match=f"at most {CONTEXT} tokens"):
        vi.with_texts(model, ["a" * CONTEXT])


def test_a_tokenizer_that_marks_no_end_cuts_nothing(folder: Path) -> None:
    network, tokenizer = siglip().double(), letters(folder)
    tokenizer.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A")
    model = vi.wrap(network, tokenizer=tokenizer)
    assert vi.with_texts(model, ["ab" * (CONTEXT // 2)]).labels
    with pytest.raises(vi.BadParameter, match="would read only a part"):
        vi.with_texts(model, ["ab" * (CONTEXT // 2) + "c"])


def test_padding_on_the_left_is_no_part_of_a_text(folder: Path) -> None:
    network, tokenizer = siglip().double(), letters(folder)
    tokenizer.tokenizer.padding_side = "left"
    model = vi.with_texts(vi.wrap(network, tokenizer=tokenizer), TEXTS)
    with torch.no_grad():
        wanted = own_logits(network, tokenizer, [*TEXTS], pixels_of(model))
    torch.testing.assert_close(vi.capture(model, IMAGES).output, wanted, rtol=1e-12, atol=1e-12)
    with pytest.raises(vi.BadParameter, match="would read only a part"):
        vi.with_texts(model, ["a" * CONTEXT])


def test_a_tokenizer_of_another_network_is_refused(folder: Path) -> None:
    for network, tokenizer in (
        (siglip(), simple()),
        (clip(), letters(folder)),
        (clip(), simple(additional_special_tokens=["<more>"])),
    ):
        with pytest.raises(vi.WeightsUnavailable, match="no tokenizer that fits the text tower of"):
            vi.wrap(network, tokenizer=tokenizer)
    network, tokenizer = siglip(), letters(folder)
    tokenizer.tokenizer.add_tokens(["☃"])
    model = vi.wrap(network, tokenizer=tokenizer)
    with pytest.raises(vi.WeightsUnavailable, match="one of 96 tokens"):
        vi.with_texts(model, ["☃"])


def coca() -> Any:
    text = TEXT | {"embed_cls": True, "output_tokens": True}
    vision = VISION | {"attentional_pool": True, "output_tokens": True}
    return CoCa(24, text, text, vision).eval()


def of_timm(name: str) -> Any:
    vision = {"timm_model_name": name, "timm_pool": "avg", "timm_proj": "linear"}
    return CustomTextCLIP(24, vision | {"image_size": 224}, TEXT).eval()


LAYOUT = vi.TokenLayout(("cls",), grid=(4, 4), patch_px=(8, 8), readout="cls")
UNSERVED: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "CoCa": (coca, {}, "which is the CoCa of open_clip"),
    "ResNet": (lambda: clip(layers=(1, 1, 1, 1)), {}, "which is the ModifiedResNet of open_clip"),
    "ResNet of timm": (lambda: of_timm("resnet18"), {"transform": RECIPE}, "convolutional"),
    "Swin of timm": (
        lambda: of_timm("swin_tiny_patch4_window7_224"),
        {"transform": RECIPE},
        "whose image encoder merges its tokens from stage to stage",
    ),
    "its attentional pool": (lambda: clip(attentional_pool=True), {}, "an attentional pool"),
    "no pool": (lambda: clip(pool_type="none"), {}, "the pool_type 'none'; expected one of 'tok'"),
    "tokens too": (lambda: clip(output_tokens=True), {}, "also returns its tokens"),
    "a layout": (clip, {"layout": LAYOUT}, "a layout for CLIP of open_clip"),
    "blocks": (clip, {"blocks": [nn.Identity()]}, "blocks for CLIP of open_clip"),
    "no preparation": (lambda: clip(pictures={**PICTURES}), {}, "CLIP without a transform"),
    "pictures filled up": (
        lambda: clip(pictures={**PICTURES, "resize_mode": "longest"}),
        {},
        "the resize_mode 'longest'; expected one of 'shortest', 'squash'",
    ),
    "pictures of another size": (
        lambda: clip(pictures={**PICTURES, "size": 64}),
        {},
        "pictures of 64 × 64 px for CLIP; expected its input, 32 × 32 px",
    ),
    "a function as tokenizer": (
        clip,
        {"tokenizer": open_clip.tokenize},
        "a tokenizer that is a function; expected the SimpleTokenizer, ",
    ),
    "a tokenizer alone": (
        lambda: nn.Linear(2, 2).eval(),
        {"tokenizer": simple()},
        "a tokenizer for Linear, which is no whole network of open_clip",
    ),
    "training": (lambda: clip().train(), {}, "CLIP in training mode"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("case", UNSERVED)
def test_what_cannot_be_inspected_is_refused(case: str) -> None:
    make, options, told = UNSERVED[case]
    network = make()
    if case == "no preparation":
        network.visual.preprocess_cfg = {}
    with pytest.raises(vi.InspectError) as refusal:
        vi.wrap(network, **options)
    assert told in str(refusal.value)


def test_a_tokenizer_with_a_mode_is_refused(folder: Path) -> None:
    tokenizer = letters(folder, tokenizer_mode="clips")
    with pytest.raises(vi.BadParameter, match="a HFTokenizer of the mode 'clips'"):
        vi.wrap(siglip(), tokenizer=tokenizer)
