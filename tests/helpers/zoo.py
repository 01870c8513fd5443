"""The golden table: facts of timm's vision transformers, written and checked by hand.

Nothing here is made by the code under test. README's table of models follows from it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import timm
import torch

import vit_inspect as vi
from tests.helpers.oracle import sharpen
from vit_inspect.layout import MEAN, MEAN_PREFIX, MERGED, POOL

PATCHES, STEM, RESNET = "patch embedding", "stem convolution", "ResNet stem convolution"


class Served(NamedTuple):
    """An architecture, and what a figure of it rests on.

    prefix: names of its prefix tokens.
    positions: grid of its table of absolute positions; None where there is none.
    patch: side in px.
    grid: the one that it is tried on.
    default: its input when no size is asked for, as (rows px, columns px).
    limit: what it does not allow, for README.
    key_heads: heads of the keys and values, where timm is told them block by block.
    """

    family: str
    architecture: str
    prefix: tuple[str, ...]
    readout: str
    positions: tuple[int, int] | None
    patch: int = 16
    default: tuple[int, int] = (224, 224)
    filters: str = PATCHES
    grid: tuple[int, int] = (2, 3)
    limit: str = ""
    key_heads: int | None = None

    def of_depth(self, depth: int) -> dict[str, Any]:
        """What tells timm to make it with so many blocks."""
        fewer = {} if self.key_heads is None else {"num_kv_heads": (self.key_heads,) * depth}
        return {"depth": depth, **fewer}

    @property
    def input_px(self) -> tuple[int, int]:
        return self.grid[0] * self.patch, self.grid[1] * self.patch


def registers(count: int) -> tuple[str, ...]:
    return tuple(f"reg{number}" for number in range(1, count + 1))


CLS = ("cls",)
MERGED_CELLS = "multiples of 32 px: two patches"

SERVED = (
    Served("ViT", "vit_tiny_patch16_224", CLS, "cls", (14, 14)),
    Served("ViT", "vit_base_patch16_224", CLS, "cls", (14, 14)),
    Served("ViT", "vit_large_patch16_224", CLS, "cls", (14, 14), grid=(3, 2)),
    Served("ViT", "vit_large_patch32_224", CLS, "cls", (7, 7), 32),
    Served("ViT", "vit_medium_patch16_gap_256", (), MEAN, (16, 16), 16, (256, 256)),
    Served("ViT", "vit_betwixt_patch16_reg4_gap_256", registers(4), MEAN, (16, 16), 16, (256, 256)),
    Served("ViT", "vit_so150m_patch16_reg4_map_256", registers(4), POOL, (16, 16), 16, (256, 256)),
    Served("ViT", "vit_pwee_patch16_reg1_gap_256", registers(1), MEAN, (16, 16), 16, (256, 256)),
    Served("MAE", "vit_base_patch16_224.mae", CLS, "cls", (14, 14)),
    Served("DeiT", "deit_tiny_patch16_224", CLS, "cls", (14, 14)),
    Served("DeiT", "deit_tiny_distilled_patch16_224", ("cls", "dist"), MEAN_PREFIX, (14, 14)),
    Served("DeiT", "deit_small_distilled_patch16_224", ("cls", "dist"), MEAN_PREFIX, (14, 14)),
    Served("DeiT", "deit3_small_patch16_224", CLS, "cls", (14, 14), grid=(3, 2)),
    Served("DINO", "vit_small_patch16_224.dino", CLS, "cls", (14, 14)),
    Served("DINO", "vit_small_patch8_224", CLS, "cls", (28, 28), 8),
    Served("DINOv2", "vit_small_patch14_dinov2", CLS, "cls", (37, 37), 14, (518, 518)),
    Served("DINOv2", "vit_base_patch14_dinov2", CLS, "cls", (37, 37), 14, (518, 518)),
    Served(
        "DINOv2",
        "vit_small_patch14_reg4_dinov2",
        ("cls", *registers(4)),
        "cls",
        (37, 37),
        14,
        (518, 518),
    ),
    Served(
        "DINOv2",
        "vit_base_patch14_reg4_dinov2",
        ("cls", *registers(4)),
        "cls",
        (37, 37),
        14,
        (518, 518),
    ),
    Served(
        "DINOv3", "vit_small_patch16_dinov3", ("cls", *registers(4)), MEAN, None, 16, (256, 256)
    ),
    Served(
        "DINOv3",
        "vit_small_plus_patch16_dinov3",
        ("cls", *registers(4)),
        MEAN,
        None,
        16,
        (256, 256),
    ),
    Served(
        "DINOv3", "vit_small_patch16_lingbot", ("cls", *registers(4)), "cls", None, 16, (512, 512)
    ),
    Served(
        "Sapiens2",
        "vit_base_patch16_sapiens2",
        ("cls", *registers(8)),
        "cls",
        None,
        16,
        (1024, 768),
        key_heads=6,
    ),
    Served("BEiT", "beit_base_patch16_224", CLS, MEAN, None),
    Served("BEiT", "beitv2_base_patch16_224", CLS, MEAN, None, grid=(3, 2)),
    Served("BEiT", "beit3_base_patch16_224", CLS, MEAN, (14, 14)),
    Served("EVA", "eva_large_patch14_196", CLS, MEAN, (14, 14), 14, (196, 196)),
    Served("EVA-02", "eva02_tiny_patch14_224", CLS, MEAN, (16, 16), 14),
    Served("EVA-02", "eva02_base_patch16_clip_224", CLS, "cls", (14, 14)),
    Served("CLIP", "vit_xsmall_patch16_clip_224", CLS, "cls", (14, 14)),
    Served("CLIP", "vit_base_patch32_clip_quickgelu_224", CLS, "cls", (7, 7), 32),
    Served("SigLIP", "vit_base_patch16_siglip_224", (), POOL, (14, 14)),
    Served("SigLIP", "vit_base_patch16_siglip_gap_224", (), MEAN, (14, 14)),
    Served("SigLIP", "vit_so400m_patch14_siglip_384", (), POOL, (27, 27), 14, (378, 378)),
    Served("SigLIP 2", "vit_base_patch32_siglip_256.v2_webli", (), POOL, (8, 8), 32, (256, 256)),
    Served("PE", "vit_pe_core_tiny_patch16_384", CLS, POOL, (24, 24), 16, (384, 384)),
    Served("PE", "vit_pe_spatial_tiny_patch16_512", CLS, MEAN, (32, 32), 16, (512, 512)),
    Served("AIMv2", "aimv2_large_patch14_224", (), MEAN, (16, 16), 14),
    Served(
        "TIPSv2", "vit_base_patch14_reg1_tipsv2", ("cls", "reg1"), "cls", (32, 32), 14, (448, 448)
    ),
    Served(
        "RADIO",
        "vit_base_patch16_radio_v3",
        ("cls", *registers(7)),
        "cls",
        (32, 32),
        16,
        (512, 512),
    ),
    Served("FlexiViT", "flexivit_small", CLS, "cls", (15, 15), 16, (240, 240)),
    Served("relative positions", "vit_relpos_small_patch16_224", (), MEAN, None),
    Served("relative positions", "vit_srelpos_small_patch16_224", (), MEAN, None, grid=(3, 2)),
    Served("relative positions", "vit_relpos_base_patch16_cls_224", CLS, "cls", None),
    Served("relative positions", "vit_relpos_base_patch16_clsgap_224", CLS, MEAN, None),
    Served("RoPE ViT", "vit_small_patch16_rope_224", CLS, "cls", None),
    Served("RoPE ViT", "vit_small_patch16_rope_mixed_224", CLS, "cls", None, grid=(3, 2)),
    Served("RoPE ViT", "vit_small_patch16_rope_ape_224", CLS, "cls", (14, 14)),
    Served(
        "RoPE ViT",
        "vit_betwixt_patch16_rope_reg4_gap_256",
        registers(4),
        MEAN,
        None,
        16,
        (256, 256),
    ),
    Served(
        "SAM's encoder",
        "samvit_base_patch16_224",
        (),
        MEAN,
        None,
        grid=(14, 14),
    ),
    Served("hybrids", "vit_tiny_r_s16_p8_224", CLS, "cls", (7, 7), 32, filters=STEM),
    Served("hybrids", "vit_small_r26_s32_224", CLS, "cls", (7, 7), 32, filters=RESNET),
    Served("hybrids", "vit_base_r50_s16_384", CLS, "cls", (24, 24), 16, (384, 384), RESNET),
    Served("hybrids", "vit_large_r50_s32_224", CLS, "cls", (7, 7), 32, filters=RESNET),
    Served("hybrids", "vit_base_mci_224", CLS, "cls", (14, 14), filters=STEM),
    Served("ViTamin", "vitamin_small_224", (), MEAN, (14, 14), filters=STEM),
    Served("NaFlexViT", "naflexvit_base_patch16_gap", registers(4), MEAN, (16, 16), 16, (384, 384)),
    Served(
        "NaFlexViT",
        "naflexvit_base_patch16_parfac_gap",
        registers(4),
        MEAN,
        (16, 16),
        16,
        (384, 384),
    ),
    Served("NaFlexViT", "naflexvit_base_patch16_siglip", (), POOL, (16, 16), 16, (384, 384)),
    Served(
        "NaFlexViT",
        "naflexvit_base_patch16_radio_v3",
        ("cls", *registers(7)),
        "cls",
        (128, 128),
        16,
        (512, 512),
    ),
    Served("Qwen3-ViT", "qwen3_vit_88m", (), MEAN, (48, 48), 16, (768, 768)),
    Served(
        "Qwen3-ViT, merged",
        "qwen3_vit_88m_enc",
        (),
        MERGED,
        (48, 48),
        16,
        (768, 768),
        grid=(2, 4),
        limit=MERGED_CELLS,
    ),
    Served("Gemma4-ViT", "gemma4_vit_167m", (), MEAN, (2, 3), 16, (768, 768)),
)
"""At least one architecture of each family, and every recommended one."""


def shallow(served: Served, *, dtype: torch.dtype = torch.float64, depth: int = 2) -> vi.Model:
    """The architecture with two blocks and random weights that make peaked attention."""
    torch.manual_seed(0)
    with patch.object(timm, "create_model", partial(timm.create_model, **served.of_depth(depth))):
        model = vi.load(
            served.architecture,
            img_size=served.input_px,
            pretrained=False,
            device="cpu",
            dtype=dtype,
        )
    sharpen(model.module)
    return model
