"""Is every family of vision transformers served exactly, and every other refused by its kind?"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch
from torch import Tensor, nn

import vit_inspect as vi
from scripts.support_table import support
from tests.conftest import noise
from tests.helpers.observed import check_observation
from tests.helpers.oracle import blocks_of, explicit_attention
from tests.helpers.windowed import WINDOWED
from tests.helpers.zoo import PATCHES, SERVED, Served, shallow
from vit_inspect.analyses.readout import readout_weights
from vit_inspect.attention.rows import rows
from vit_inspect.layout import MERGED
from vit_inspect.loading.bundled import BUNDLED
from vit_inspect.loading.positions import RELATIVE_RESAMPLED
from vit_inspect.loading.recommended import ZOO
from vit_inspect.loading.refused_families import OTHER_FAMILIES
from vit_inspect.loading.stages import PADDED
from vit_inspect.loading.timm_anatomy import model_of

pytestmark = pytest.mark.slow

IMAGES = [noise((60, 40), 1), noise((40, 70), 2)]


class Subject(NamedTuple):
    served: Served
    model: vi.Model
    pixels: Tensor
    alone: Tensor
    capture: vi.Capture


@pytest.fixture(scope="module", params=SERVED, ids=lambda each: each.architecture)
def subject(request: pytest.FixtureRequest) -> Subject:
    """One architecture after the other, so that only one is held."""
    model = shallow(request.param)
    pixels = torch.cat([model.prepare(image) for image in IMAGES])
    with torch.inference_mode():
        alone = model.module(pixels)
    return Subject(request.param, model, pixels, alone, vi.capture(model, IMAGES))


def test_facts_are_those_of_the_table(subject: Subject) -> None:
    served, model = subject.served, subject.model
    layout = model.layout
    assert layout.prefix == served.prefix
    assert layout.grid == served.grid
    assert layout.patch_px == (served.patch, served.patch)
    assert layout.readout == served.readout
    assert model.filters_name == served.filters
    found = None if model.positions is None else tuple(model.positions.shape[:2])
    assert found == served.positions


def test_rows_are_the_explicit_softmax(subject: Subject) -> None:
    capture, count = subject.capture, subject.model.layout.token_count
    explicit = explicit_attention(subject.model.module, subject.pixels)
    found = torch.stack([rows(layer, range(count)) for layer in capture.layers])
    # The test sees something: rows are peaked, and differ between images.
    assert explicit.amax(dim=-1).mean() > min(0.4, 2 / count)
    assert (explicit[:, 0] - explicit[:, 1]).abs().max() > 0.05
    torch.testing.assert_close(found, explicit, rtol=0, atol=1e-9)
    assert capture.error < 1e-12


def test_a_capture_does_not_change_the_output(subject: Subject) -> None:
    assert torch.equal(subject.capture.output, subject.alone)


def test_an_observation_has_the_numbers_of_the_capture(subject: Subject) -> None:
    check_observation(subject.model, IMAGES, subject.capture)


def test_the_readout_reads_the_tokens_that_it_names(subject: Subject) -> None:
    """Noise on all others after the last block leaves the output; on one of those it does not."""
    layout = subject.model.layout
    if layout.readout == MERGED:
        read = torch.ones(layout.token_count, dtype=torch.bool)
    else:
        read = readout_weights(subject.capture)[0] > 0
    torch.testing.assert_close(_output(subject, ~read), subject.alone, rtol=0, atol=1e-12)
    for token in read.nonzero()[[0, -1], 0]:
        one = torch.arange(layout.token_count) == token
        assert (_output(subject, one) - subject.alone).abs().max() > 1e-6


def _output(subject: Subject, changed: Tensor) -> Tensor:
    """What the model returns when some tokens leave the last block with noise on them."""

    def disturb(_: nn.Module, args: object, tokens: Tensor) -> Tensor:
        shape = tokens.shape
        mask = changed[None, :, None] * torch.ones(1, 1, shape[-1], dtype=tokens.dtype)
        noisy = tokens.flatten(1, -2) + mask * torch.randn(shape[-1], dtype=tokens.dtype)
        return noisy.reshape(shape)

    last = list(blocks_of(subject.model.module).children())[-1]
    handle = last.register_forward_hook(disturb)
    with torch.inference_mode():
        output = subject.model.module(subject.pixels)
    handle.remove()
    return output


def test_filters_are_what_pixels_are_multiplied_with(subject: Subject) -> None:
    """The projection of two inputs differs by the filters on the difference of their pixels."""
    if subject.served.filters != PATCHES:
        return
    model, side = subject.model, subject.served.patch
    changed = subject.pixels[:1].clone()
    patch = torch.randn(3, side, side, dtype=changed.dtype)
    changed[0, :, :side, :side] += patch
    before, after = (_projected(model, each) for each in (subject.pixels[:1], changed))
    expected = torch.einsum("fcij,cij->f", model.filters, patch)
    torch.testing.assert_close((after - before)[0, 0], expected, rtol=0, atol=1e-9)


class Stopped(Exception):
    """The tokens are there; the blocks need not run."""


def _stop(module: nn.Module, args: object) -> None:
    raise Stopped


def _projected(model: vi.Model, pixels: Tensor) -> Tensor:
    """(image, patch, width), straight out of the projection; what follows may write into it."""
    seen: list[Tensor] = []
    embed = _embed(model)
    projection = getattr(embed, "input_proj", None) or embed.proj
    handles = [
        projection.register_forward_hook(lambda _, args, output: seen.append(output.clone())),
        next(blocks_of(model.module).children()).register_forward_pre_hook(_stop),
    ]
    with torch.inference_mode(), pytest.raises(Stopped):
        model.module(pixels)
    for handle in handles:
        handle.remove()
    return seen[0].flatten(2).transpose(1, 2) if seen[0].dim() == 4 else seen[0]


def _embed(model: vi.Model) -> Any:
    trunk = getattr(model.module, "encoder", model.module)
    return getattr(trunk, "patch_embed", None) or trunk.embeds


@pytest.mark.parametrize(
    "architecture",
    [
        "vit_tiny_patch16_224",
        "vit_betwixt_patch16_reg4_gap_256",
        "naflexvit_base_patch16_gap",
        "naflexvit_base_patch16_parfac_gap",
        "qwen3_vit_88m",
        "gemma4_vit_167m",
    ],
)
def test_positions_are_what_is_added_to_the_patches(architecture: str) -> None:
    """On the table's own grid, nothing is resampled."""
    served = next(each for each in SERVED if each.architecture == architecture)
    model = shallow(served._replace(grid=served.positions), depth=1)
    first: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        first.append(args[0])
        raise Stopped

    pixels = model.prepare(IMAGES[0])
    patches = _projected(model, pixels)
    next(blocks_of(model.module).children()).register_forward_pre_hook(keep)
    with torch.inference_mode(), pytest.raises(Stopped):
        model.module(pixels)
    added = first[0][:, len(served.prefix) :] - patches.reshape(1, -1, patches.shape[-1])
    torch.testing.assert_close(added[0], model.positions.flatten(0, 1), rtol=0, atol=1e-9)
    assert model.positions.flatten(0, 1).std(dim=0).min() > 1e-3


def test_what_is_offered_is_in_the_table() -> None:
    known = {served.architecture.partition(".")[0] for served in SERVED}
    offered = {each.name.partition(".")[0] for each in ZOO} - set(BUNDLED)
    assert offered <= known | {each.architecture for each in WINDOWED}
    assert len({served.architecture for served in SERVED}) == len(SERVED)
    assert len(known) > 60


def described(
    architecture: str, *, img_size: Any = None, made: int | None = None, **options: Any
) -> vi.Model:
    """A network of one block without weights, `made` for inputs of so many px."""
    with torch.device("meta"):
        size = {"img_size": made} if made else {}
        module = timm.create_model(architecture, **({"depth": 1} | size | options))
    return model_of(architecture, module, source="", img_size=img_size)


@pytest.mark.parametrize("served", SERVED, ids=lambda each: each.architecture)
def test_the_default_input_is_the_trained_one(served: Served) -> None:
    model = described(served.architecture, **served.of_depth(1))
    assert model.layout.input_px == served.default


@pytest.mark.parametrize(
    ("architecture", "img_size", "expected", "remedy"),
    [
        ("eva02_tiny_patch14_224", (28, 30), "multiples of the patch, 14 × 14 px", "use 28 × 28"),
        ("vit_small_r26_s32_224", (48, 64), "multiples of the patch, 32 × 32 px", "use 64 × 64"),
        (
            "qwen3_vit_88m_enc",
            (48, 64),
            "multiples of the merged patches, 32 × 32 px",
            "use 64 × 64",
        ),
        (
            "gemma4_vit_167m_enc",
            (48, 64),
            "multiples of the merged patches, 48 × 48 px",
            "use 48 × 48",
        ),
        ("gemma4_vit_167m", (40, 64), "multiples of the patch, 16 × 16 px", "use 32 × 64"),
    ],
)
def test_an_input_that_tokens_do_not_tile_is_refused(
    architecture: str, img_size: tuple[int, int], expected: str, remedy: str
) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        described(architecture, img_size=img_size)
    assert refusal.value.expected == expected
    assert refusal.value.remedy == remedy


@pytest.mark.parametrize(
    ("architecture", "step_px"),
    [
        ("vit_base_patch16_224", (16, 16)),
        ("qwen3_vit_88m_enc", (32, 32)),
        ("gemma4_vit_167m_enc", (48, 48)),
        ("gemma4_vit_167m", (16, 16)),
    ],
)
def test_the_step_of_the_input_says_which_sizes_are_taken(
    architecture: str, step_px: tuple[int, int]
) -> None:
    assert described(architecture).input_step_px == step_px
    larger = (3 * step_px[0], 5 * step_px[1])
    assert described(architecture, img_size=larger).layout.input_px == larger


@pytest.mark.parametrize(
    ("architecture", "img_size", "windows"),
    [
        ("samvit_base_patch16_224", None, None),
        ("samvit_base_patch16", None, (25, True)),
        ("samvit_base_patch16_224", (448, 448), (4, False)),
        # As many tokens as one window has: only the grid tells that there are two.
        ("samvit_base_patch16_224", (112, 448), (2, True)),
        ("samvit_base_patch16_224", (112, 112), (1, True)),
    ],
)
def test_windows_are_known(
    architecture: str, img_size: tuple[int, int] | None, windows: tuple[int, bool] | None
) -> None:
    model = described(architecture, img_size=img_size)
    if windows is None:
        assert (model.stages, model.layout.padded) == ((), False)
        return
    (stage,) = model.stages
    assert model.layout == stage.layout
    assert model.layout.padded == windows[1]
    tables = [tuple(each.shape) for each in stage.windows if each is not None]
    assert tables == [(windows[0], 196)]


def test_another_size_resamples_sams_tables() -> None:
    model = described("samvit_base_patch16", img_size=(512, 768))
    assert model.notices == ("Position table resampled from 64 × 64 to 32 × 48.", PADDED)
    # Only in a layer whose tokens attend to all.
    deeper = described("samvit_base_patch16", img_size=(512, 768), global_attn_indexes=(0,))
    assert deeper.notices == (model.notices[0], RELATIVE_RESAMPLED)
    assert described("samvit_base_patch16").notices == (PADDED,)
    assert described("samvit_base_patch16", global_attn_indexes=(0,)).notices == ()
    # Made for that size, it has tables of that size.
    made = described("samvit_base_patch16", img_size=(320, 320), global_attn_indexes=(0,), made=320)
    assert made.notices == ()


@pytest.mark.parametrize(
    ("architecture", "pooling"),
    [("qwen3_vit_88m_merge", "avg"), ("qwen3_vit_88m_enc", "merge"), ("deepseek_vit_412m", "avg")],
)
def test_a_merge_before_the_readout_is_named(architecture: str, pooling: str) -> None:
    options: dict[str, Any] = {"pretrained_cfg_overlay": {"crop_mode": "center"}}
    if architecture.startswith("deepseek"):
        options |= {"encoder_pool": "align", "out_features": 64}
    model = described(architecture, **options)
    assert model.module.global_pool == pooling
    assert model.layout.readout == MERGED


def test_a_merged_readout_is_refused_by_its_kind() -> None:
    served = next(each for each in SERVED if each.readout == MERGED)
    capture = vi.capture(shallow(served, depth=1), IMAGES[0])
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.attention_rollout(capture)
    assert refusal.value.found == (
        f"the read-out of {served.architecture}, which merges neighbouring tokens"
    )
    maps = vi.attention_maps(capture, query=(0, 1))
    assert maps.weights.sum() == pytest.approx(maps.weights.shape[1] * maps.weights.shape[2])


REFUSED = {
    "resnet18": "which is a convolutional network",
    "mobilevit_s": "which is a convolutional network with attention in a few blocks at most",
    "xcit_nano_12_p16_224": "which attends between channels, not between tokens",
    "cait_xxs24_224": "whose attention mixes its heads before and after the softmax",
    "convit_tiny": "whose attention blends its softmax with a map of positions",
    "levit_128s": "whose grid of tokens shrinks from stage to stage",
    "pit_ti_224": "whose grid of tokens shrinks from stage to stage",
    "visformer_tiny": "whose grid of tokens shrinks from stage to stage",
    "crossvit_9_240": "which reads the picture twice, in patches of two sizes",
    "volo_d1_224": "whose first blocks predict their attention from one token, without keys",
    "coat_tiny": "whose attention combines keys and values first, "
    "so that no token attends to another",
    "maxvit_tiny_tf_224": "which attends within windows or in its last stages, "
    "between convolutions",
    "tnt_s_patch16_224": "which runs a second transformer inside each patch",
    "twins_svt_small": "whose tokens attend to a subsampled grid or within windows",
    "edgenext_small": "which attends between channels, not between tokens",
    "efficientformer_l1": "which attends in its last blocks only, after convolutions",
    "nextvit_small": "whose tokens attend to a subsampled grid, between convolutions",
    "hiera_tiny_224": "whose tokens attend within windows, "
    "on a grid that shrinks from stage to stage",
    "mvitv2_tiny": "whose attention pools its keys, on a grid that shrinks from stage to stage",
    "pvt_v2_b0": "whose tokens attend to a subsampled grid",
    "davit_tiny": "which attends between tokens within windows, and between channels",
    "focalnet_tiny_srf": "which mixes its tokens without attention, by focal modulation",
    "gcvit_tiny": "whose tokens attend within windows",
    "nest_tiny": "whose tokens attend within blocks of the picture, "
    "which are merged stage by stage",
    "tiny_vit_5m_224": "whose tokens attend within windows, between convolutions",
    "swiftformer_s": "whose attention is additive, so that no token attends to another",
    "efficientvit_b0": "whose attention is linear, without a softmax",
    "mixer_b16_224": "which mixes its tokens without attention, by perceptrons",
    "sequencer2d_s": "which mixes its tokens without attention, by recurrent networks",
}


@pytest.fixture
def nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("something was made or asked for")

    monkeypatch.setattr(timm, "create_model", fail)
    monkeypatch.setattr(socket, "getaddrinfo", fail)


@pytest.mark.usefixtures("nothing_is_made")
@pytest.mark.parametrize(("architecture", "kind"), REFUSED.items())
def test_other_kinds_are_refused_before_they_are_fetched(architecture: str, kind: str) -> None:
    with pytest.raises(vi.UnsupportedModel) as refusal:
        vi.load(architecture)
    assert refusal.value.found == f"'{architecture}', {kind}"
    assert refusal.value.expected == (
        "one grid of patch tokens, and in each block one softmax in which all attend to all"
    )
    assert "choose a ViT" in refusal.value.remedy


@pytest.mark.parametrize("architecture", ["resnet18", "levit_128s", "mobilevit_s"])
def test_other_kinds_under_another_name_are_refused(architecture: str) -> None:
    """As a repository of the hub names them."""
    with torch.device("meta"):
        module = timm.create_model(architecture)
    with pytest.raises(vi.UnsupportedModel) as refusal:
        model_of("hf-hub:a/b", module, source="", img_size=None)
    assert refusal.value.found == f"'hf-hub:a/b', {REFUSED[architecture]}"


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("vit_dwee_patch16_reg1_gap_256", "whose attention subtracts one softmax from another"),
        ("vit_dpwee_patch16_reg1_gap_256", "whose attention subtracts one softmax from another"),
        (
            "vit_small_patch16_18x2_224",
            "which runs two attentions in parallel in each block",
        ),
    ],
)
def test_blocks_of_another_kind_are_refused(architecture: str, kind: str) -> None:
    with pytest.raises(vi.UnsupportedModel) as refusal:
        described(architecture)
    assert refusal.value.found == f"'{architecture}', {kind}"


def test_every_other_family_is_one_of_timm() -> None:
    served = {"vision_transformer", "deit", "eva", "beit", "naflexvit", "qwen3_vit", "gemma4_vit"}
    assert OTHER_FAMILIES.keys() <= set(timm.list_modules()) - served


def test_an_unknown_family_is_refused_in_general() -> None:
    class Stranger(nn.Module):
        pretrained_cfg: dict[str, Any] = {"architecture": "stranger"}  # noqa: RUF012

    with pytest.raises(vi.UnsupportedModel) as refusal:
        model_of("stranger", Stranger(), source="", img_size=None)
    assert refusal.value.found == "'stranger', which is not a plain vision transformer"


def test_weights_that_cannot_be_resized_do_not_send_to_the_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("size mismatch for pos_embed: copying a param with shape ...")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(vi.BadParameter, match=r"an input size that .* cannot take"):
        vi.load("samvit_base_patch16", img_size=224)
    with pytest.raises(vi.WeightsUnavailable):
        vi.load("samvit_base_patch16")


def test_the_readme_has_the_table_that_follows_from_this_one() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"<!-- support -->\n(.*?)\n<!-- /support -->", readme, re.DOTALL)
    # Errors differ from machine to machine.
    shown = re.sub(r"< 1e-1\d", "< 1e-9", table)
    assert shown.splitlines() == support(lambda _: 1e-9, lambda _: 1e-9)
