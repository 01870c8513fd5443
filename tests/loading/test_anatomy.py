"""What a network is made of, against what is written here by hand from its own source."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import timm
import torch
import transformers
from torch import Tensor, nn
from torchvision.models import VisionTransformer

import vit_inspect as vi
from tests.helpers.zoo import SERVED, Served, shallow
from vit_inspect.layout import MEAN, MEAN_PREFIX, POOL
from vit_inspect.pictures.preparing import Recipe
from vit_inspect.records.anatomy import (
    Anatomy,
    Attention,
    Block,
    Chain,
    Convolution,
    ConvolutionStage,
    LayerScale,
    Linear,
    Mlp,
    Normalisation,
    Part,
    Pooling,
    Position,
    Row,
    Skip,
    Tokens,
)

RECIPE = Recipe((0.5,) * 3, (0.5,) * 3, "bicubic", 0.9, "center")
BY_NAME = {each.architecture: each for each in SERVED}


def of(architecture: str) -> Anatomy:
    """The anatomy of an architecture of timm with two blocks."""
    return vi.anatomy(shallow(BY_NAME[architecture], dtype=torch.float32))


def all_parts(found: Anatomy) -> Iterator[Part]:
    """Every part of every block, in no order."""
    yield from found.stem.parts
    yield from found.end.parts
    for stage in found.stages:
        yield from stage.merging.parts
        for block in stage.blocks:
            yield from block.parts


def norm(width: int, epsilon: float = 1e-6) -> Normalisation:
    return Normalisation("LayerNorm", width, epsilon, parameters=2 * width)


def attention(width: int, heads: int, **facts: Any) -> Attention:
    own = {"parameters": 4 * (width + 1) * width, "bias": True} | facts
    return Attention(heads, heads, width // heads, inputs=width, output=width, **own)


def mlp(width: int, hidden: int, activation: str = "GELU") -> Mlp:
    values = 2 * width * hidden + width + hidden
    return Mlp(width, hidden, width, activation, gated=False, bias=True, parameters=values)


def pre_norm(width: int, heads: int, hidden: int, epsilon: float = 1e-6) -> tuple[Part, ...]:
    """The block of the ViT paper."""
    first = norm(width, epsilon), attention(width, heads), Skip(-1)
    return (*first, norm(width, epsilon), mlp(width, hidden), Skip(2))


def patches(side: int, width: int, *, bias: bool = True) -> Convolution:
    values = (3 * side * side + bias) * width
    return Convolution((side, side), (side, side), 3, width, bias=bias, parameters=values)


def test_the_bundled_model_is_a_small_vit_with_layer_scale(dinov2: vi.Model) -> None:
    found = vi.anatomy(dinov2)
    assert found.row == Row(12, 384, 1536, 6, 22_056_192)
    assert found.variant is not None
    assert (found.variant.name, found.exact) == ("ViT-S", True)
    # The table holds the positions of a grid of 37 × 37 and of the class token.
    positions = Position(257, 384, parameters=1370 * 384)
    assert found.stem == Chain((patches(14, 384), Tokens(384), positions))
    scale = LayerScale(384, parameters=384)
    parts = (
        *(norm(384), attention(384, 6), scale, Skip(-1)),
        *(norm(384), mlp(384, 1536), scale, Skip(3)),
    )
    (stage,) = found.stages
    assert stage.blocks == (Block(parts),) * 12
    assert stage.unlike == ()
    assert found.end == Chain((norm(384),))
    assert (found.readout, found.read_after, found.output) == ("cls", 1, (384,))
    assert (found.shared, found.unread, found.notices) == (0, (), ())


@pytest.mark.slow
def test_vit_base_is_the_first_row_of_table_1() -> None:
    found = vi.anatomy(vi.load("vit_base_patch16_224", pretrained=False, device="cpu"))
    assert found.row == Row(12, 768, 3072, 12, 86_567_656)
    assert found.variant is not None
    assert (found.variant.name, found.exact) == ("ViT-Base", True)
    assert found.stem.parts == (patches(16, 768), Tokens(768), Position(197, 768, 197 * 768))
    assert found.stages[0].blocks == (Block(pre_norm(768, 12, 3072)),) * 12
    assert found.end.parts == (norm(768), Linear(768, 1000, bias=True, parameters=769_000))
    assert found.output == (1000,)


@pytest.mark.slow
def test_a_hybrid_begins_with_a_resnet_of_standardised_convolutions() -> None:
    found = of("vit_base_r50_s16_384")
    groups = ("GroupNorm",)
    assert found.stem.parts == (
        Convolution((7, 7), (2, 2), 3, 64, standardised=True, parameters=7 * 7 * 3 * 64),
        Normalisation("GroupNorm", 64, 1e-5, groups=32, parameters=128),
        Pooling("maximum", (3, 3), (2, 2)),
        # ResNet-50 without its last stage, whose blocks are in the one before: 3, 4 and 9, with
        # three convolutions each, and one more in the first of each stage.
        ConvolutionStage(3, 10, 256, (8, 12), True, groups, 215_808),
        ConvolutionStage(4, 13, 512, (4, 6), True, groups, 1_219_584),
        ConvolutionStage(9, 28, 1024, (2, 3), True, groups, 10_449_920),
        Convolution((1, 1), (1, 1), 1024, 768, bias=True, parameters=1025 * 768),
        Tokens(768),
        Position(7, 768, parameters=577 * 768),
    )
    assert found.block.parts == pre_norm(768, 12, 3072)


def test_a_stem_without_residual_blocks_is_told_step_by_step() -> None:
    parts = of("vit_tiny_r_s16_p8_224").stem.parts
    assert [type(part) for part in parts[:4]] == [Convolution, Normalisation, Pooling, Convolution]
    assert parts[3] == Convolution((8, 8), (8, 8), 64, 192, bias=True, parameters=(4096 + 1) * 192)


@pytest.fixture(scope="module")
def swin() -> vi.Model:
    return vi.load("swin_tiny_patch4_window7_224", pretrained=False, device="cpu")


@pytest.mark.slow
def test_swin_merges_its_tokens_and_attends_in_windows(swin: vi.Model) -> None:
    found = vi.anatomy(swin)
    assert found.row == Row(12, None, None, None, 28_288_354)
    assert found.variant is None
    assert [len(stage.blocks) for stage in found.stages] == [2, 2, 6, 2]
    assert [stage.grid for stage in found.stages] == [(56, 56), (28, 28), (14, 14), (7, 7)]
    assert found.stem.parts == (patches(4, 96), norm(96, 1e-5))
    assert found.stages[0].merging == Chain()
    merging = norm(4 * 192, 1e-5), Linear(4 * 192, 384, bias=False, parameters=768 * 384)
    assert found.stages[2].merging.parts == merging
    # Of relative positions in a window of 7 × 7 there are 13 × 13, with a value for each head.
    table = 13 * 13 * 12
    windowed = attention(384, 12, relative=True, window=49, parameters=4 * 385 * 384 + table)
    assert found.stage == 2
    assert found.block.parts == (
        *(norm(384, 1e-5), windowed, Skip(-1)),
        *(norm(384, 1e-5), mlp(384, 1536), Skip(2)),
    )
    assert found.end.parts == (norm(768, 1e-5), Linear(768, 1000, bias=True, parameters=769_000))
    # That of the last stage, also where another one is looked at.
    assert (found.readout, found.read_after) == (MEAN, 1)
    first = vi.anatomy(swin.at_stage(0))
    assert (first.stage, first.stages) == (0, found.stages)
    assert isinstance(first.block.parts[1], Attention)
    assert first.block.parts[1].heads == 3


def test_a_vit_of_transformers_has_the_parts_of_the_paper() -> None:
    config = transformers.ViTConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=100,
        image_size=(32, 48),
        num_labels=5,
    )
    network = transformers.ViTForImageClassification(config).eval()
    found = vi.anatomy(vi.wrap(network, transform=RECIPE))
    assert found.row.layers == 3
    assert found.stem.parts == (patches(16, 48), Tokens(48), Position(7, 48, parameters=7 * 48))
    assert found.block.parts == pre_norm(48, 3, 100, epsilon=1e-12)
    assert found.end.parts == (norm(48, 1e-12), Linear(48, 5, bias=True, parameters=49 * 5))


def torchvisions(**options: int) -> nn.Module:
    sizes = {"image_size": 48, "patch_size": 16, "num_layers": 2, "num_heads": 3}
    return VisionTransformer(
        **sizes | {"hidden_dim": 48, "mlp_dim": 80, "num_classes": 7} | options
    )


def test_a_wrapped_network_of_torchvision_is_read_without_names() -> None:
    layout = vi.TokenLayout(("cls",), (3, 3), (16, 16), "cls")
    found = vi.anatomy(vi.wrap(torchvisions().eval(), layout=layout, transform=RECIPE))
    assert found.stem.parts == (patches(16, 48), Tokens(48), Position(10, 48, parameters=480))
    assert found.stages[0].blocks == (Block(pre_norm(48, 3, 80)),) * 2
    assert found.end.parts == (norm(48), Linear(48, 7, bias=True, parameters=343))
    assert found.row == Row(2, 48, 80, 3, sum(each.numel() for each in torchvisions().parameters()))


class Encoder(nn.Module):
    """A network of one's own, with layers that normalise after each sum."""

    def __init__(self, activation: Any = "relu") -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 48, 16, 16, bias=False)
        self.cls = nn.Parameter(torch.randn(1, 1, 48))
        self.place = nn.Parameter(0.1 * torch.randn(1, 7, 48))
        layer = nn.TransformerEncoderLayer(48, 3, 96, activation=activation, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.forgotten = nn.Linear(5, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.patches(pixels).flatten(2).mT
        tokens = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], dim=1) + self.place
        return self.layers(tokens)[:, 0]


def test_what_is_in_no_part_is_told() -> None:
    layout = vi.TokenLayout(("cls",), (2, 3), (16, 16), "cls")
    found = vi.anatomy(vi.wrap(Encoder().eval(), layout=layout, transform=RECIPE))
    assert found.unread == (("network.forgotten.weight", 20), ("network.forgotten.bias", 4))
    after = norm(48, 1e-5)
    parts = attention(48, 3), Skip(-1), after, mlp(48, 96, "ReLU"), Skip(2), after
    assert found.block.parts == parts
    assert (found.end.parts, found.read_after) == ((), 0)


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (lambda values: values * torch.sigmoid(values), "SiLU"),
        (lambda values: values * torch.sigmoid(1.702 * values), "quick GELU"),
        # Another factor makes another function.
        (lambda values: values * torch.sigmoid(2 * values), None),
        (torch.sin, None),
    ],
)
def test_an_activation_that_is_written_out_has_its_name(
    activation: Callable[[Tensor], Tensor], name: str | None
) -> None:
    layout = vi.TokenLayout(("cls",), (2, 3), (16, 16), "cls")
    network = Encoder(activation).eval()
    found = vi.anatomy(vi.wrap(network, layout=layout, transform=RECIPE))
    (perceptron,) = (part for part in found.block.parts if isinstance(part, Mlp))
    assert (perceptron.activation, perceptron.gated) == (name, False)


def test_blocks_that_are_attention_alone_reach_to_the_next_one() -> None:
    from vit_pytorch import ViT

    sizes: dict[str, Any] = {"dim": 48, "heads": 3, "mlp_dim": 96, "dim_head": 16}
    layout = vi.TokenLayout(("cls",), (2, 2), (16, 16), "cls")

    def made(depth: int) -> Anatomy:
        network = ViT(image_size=32, patch_size=16, num_classes=7, depth=depth, **sizes).eval()
        return vi.anatomy(vi.wrap(network, layout=layout, transform=RECIPE))

    found = made(2)
    unbiased = attention(48, 3, bias=False, parameters=4 * 48 * 48 + 48)
    first = norm(48, 1e-5), unbiased, Skip(-1)
    assert found.stages[0].blocks == (Block((*first, norm(48, 1e-5), mlp(48, 96), Skip(2))),) * 2
    assert [type(part) for part in found.end.parts] == [Normalisation, Linear]
    (single,) = made(1).stages[0].blocks
    assert [type(part) for part in single.parts] == [Normalisation, Attention]
    assert made(1).notices[0].startswith("Where the last block ends is not known")


@pytest.mark.slow
@pytest.mark.parametrize("served", SERVED, ids=lambda served: served.architecture)
def test_no_trained_value_is_lost_or_counted_twice(served: Served) -> None:
    model = shallow(served, dtype=torch.float32)
    found = vi.anatomy(model)
    told = sum(part.parameters for part in all_parts(found))
    unread = sum(count for _, count in found.unread)
    assert told + found.shared + unread == model.parameter_count
    assert found.unread == ()
    assert found.stages[0].unlike == ()
    assert found.row.layers == len(model.blocks)


@pytest.mark.slow
def test_parts_that_only_some_networks_have() -> None:
    """Each fact was read in the source of timm."""

    def first(architecture: str, kind: type[Part]) -> Any:
        return next(part for part in of(architecture).block.parts if isinstance(part, kind))

    assert first("vit_base_patch16_sapiens2", Attention).key_heads == 6
    assert first("vit_base_patch16_sapiens2", Attention).query_norm.kind == "RMSNorm"
    assert first("eva02_base_patch16_clip_224", Attention).rotary
    assert first("eva02_base_patch16_clip_224", Attention).inner_norm.width == 768
    assert first("eva02_base_patch16_clip_224", Mlp).inner_norm.width == 2048
    assert first("eva02_base_patch16_clip_224", Mlp).gated
    assert first("vit_small_patch16_rope_mixed_224", Attention).rotary
    assert first("beit_base_patch16_224", Attention).relative
    assert first("samvit_base_patch16_224", Attention).relative
    assert not first("vit_base_patch16_224", Attention).relative
    assert not first("vit_base_patch16_224", Attention).rotary
    assert first("vit_base_patch32_clip_quickgelu_224", Mlp).activation == "quick GELU"
    assert not first("vit_base_patch32_clip_quickgelu_224", Mlp).gated
    assert first("vit_base_patch32_siglip_256.v2_webli", Mlp).activation == "GELU (tanh)"


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (timm.layers.Mlp, (192, "GELU", False)),
        # One matrix of 192 rows makes both halves.
        (timm.layers.SwiGLUPacked, (96, "GELU", True)),
        (timm.layers.SwiGLU, (192, "GELU", True)),
    ],
)
def test_two_halves_that_are_multiplied_are_a_gate(
    layer: type[nn.Module], expected: tuple[int, str, bool]
) -> None:
    network = timm.models.vision_transformer.VisionTransformer(
        img_size=32, embed_dim=48, depth=2, num_heads=3, num_classes=5, mlp_layer=layer
    )
    layout = vi.TokenLayout(("cls",), (2, 2), (16, 16), "cls")
    found = vi.anatomy(vi.wrap(network.eval(), layout=layout, transform=RECIPE))
    (perceptron,) = (part for part in found.block.parts if isinstance(part, Mlp))
    assert (perceptron.hidden, perceptron.activation, perceptron.gated) == expected


def test_a_parallel_block_has_its_mlp_beside_the_attention() -> None:
    found = of("vit_pwee_patch16_reg1_gap_256")
    kinds = [type(part) for part in found.block.parts]
    assert kinds == [Normalisation, Attention, Mlp, LayerScale, Skip]
    assert (found.block.beside, found.block.ordered) == ((2,), True)
    # One matrix makes queries, keys, values and the hidden values of the MLP.
    assert found.shared == 2 * (256 * (3 * 256 + 1280) + 3 * 256 + 1280)


def test_the_read_out_has_its_place() -> None:
    distilled = of("deit_tiny_distilled_patch16_224")
    assert (distilled.readout, distilled.read_after, distilled.end.beside) == (MEAN_PREFIX, 1, (2,))
    averaged = of("beit_base_patch16_224")
    assert (averaged.readout, averaged.read_after) == (MEAN, 0)
    pooled = of("vit_base_patch16_siglip_224")
    assert (pooled.readout, pooled.read_after) == (POOL, 1)
    kinds = [type(part) for part in pooled.end.parts]
    assert kinds == [Normalisation, Attention, Normalisation, Mlp, Skip]
    assert pooled.end.parts[-1] == Skip(1)


def test_a_block_that_differs_is_named() -> None:
    config = transformers.SamVisionConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=3,
        image_size=128,
        window_size=4,
        global_attn_indexes=[1],
        output_channels=16,
    )
    network = transformers.SamVisionModel(config).eval()
    found = vi.anatomy(vi.wrap(network, transform=RECIPE))
    assert found.stages[0].unlike == (1,)
    windows = [
        part.window
        for block in found.stages[0].blocks
        for part in block.parts
        if isinstance(part, Attention)
    ]
    assert windows == [16, None, 16]
    assert found.output == (16, 8, 8)


def test_drop_path_is_told_where_a_module_has_it(small: Callable[..., vi.Model]) -> None:
    model = small("vit_tiny_patch16_224", (32, 48), depth=2)
    assert [block.drop_path for block in vi.anatomy(model).stages[0].blocks] == [None, None]
    from timm.layers import DropPath

    network: Any = model.module
    network.blocks[1].drop_path1 = DropPath(0.25).eval()
    (stage,) = vi.anatomy(model).stages
    assert [block.drop_path for block in stage.blocks] == [None, 0.25]
    assert stage.unlike == ()


def test_the_model_is_left_as_it_was(small: Callable[..., vi.Model]) -> None:
    model = small("vit_tiny_patch16_224", (32, 48))
    before = model.weights_sha256
    hooks = [len(part._forward_hooks) for part in model.module.modules()]
    found = [vi.anatomy(model)]
    threads = [threading.Thread(target=lambda: found.append(vi.anatomy(model))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.stages for each in found] == [found[0].stages] * 4
    assert [len(part._forward_hooks) for part in model.module.modules()] == hooks
    del model.__dict__["weights_sha256"]
    assert model.weights_sha256 == before


def test_words_of_a_record_hold_its_row(dinov2: vi.Model) -> None:
    words = vi.anatomy(dinov2).words()
    assert (words["layers"], words["width"], words["mlp"]) == (12, 384, 1536)
    assert words["variant"] == "ViT-S"
