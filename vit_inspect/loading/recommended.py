"""Which checkpoint shows which figure best, and why it is worth a look.

A curated list, not a limit: any other vision transformer of timm loads by its id.
"""

from __future__ import annotations

from typing import NamedTuple

BUNDLED = "dinov2_small"


class Checkpoint(NamedTuple):
    """A model to try: the name that `vit_inspect.load` takes, what for, and why."""

    name: str
    shows: str
    why: str


ZOO = (
    Checkpoint(
        BUNDLED,
        "all figures, offline",
        "DINOv2 ViT-S/14, bundled: its heads attend to parts of objects, without any labels",
    ),
    Checkpoint(
        "vit_large_patch32_224.orig_in21k",
        "embedding filters, position similarity",
        "the very model of the paper's Figure 7, left and centre",
    ),
    Checkpoint(
        "vit_large_patch16_224.orig_in21k",
        "attention distance, rollout",
        "the paper's Figures 6, 7 right and 11: local and global heads side by side",
    ),
    Checkpoint(
        "vit_base_patch16_224.augreg_in21k_ft_in1k",
        "all figures",
        "the usual ViT-B/16 classifier, with ImageNet's 1000 classes",
    ),
    Checkpoint(
        "vit_base_r50_s16_384.orig_in21k_ft_in1k",
        "attention distance",
        "a ResNet-50 below the transformer: Figure 11's hybrid has hardly any local heads",
    ),
    Checkpoint(
        "vit_small_patch16_224.dino",
        "attention maps",
        "DINO: the last layer's class-token heads segment objects",
    ),
    Checkpoint(
        "vit_base_patch14_dinov2.lvd142m",
        "attention maps, rollout",
        "DINOv2 without registers: a few artefact tokens gather the attention",
    ),
    Checkpoint(
        "vit_base_patch14_reg4_dinov2.lvd142m",
        "attention maps, rollout",
        "the same with four registers, which take the artefacts' place",
    ),
    Checkpoint(
        "deit_small_distilled_patch16_224.fb_in1k",
        "attention maps",
        "two read-out tokens, class and distillation, whose heads are averaged",
    ),
    Checkpoint(
        "vit_base_patch16_224.mae",
        "attention distance, position similarity",
        "MAE: trained to fill in missing patches, without labels",
    ),
    Checkpoint(
        "vit_base_patch16_siglip_224.v2_webli",
        "attention maps, rollout",
        "SigLIP 2: trained with captions, read by an attention pool instead of a class token",
    ),
    Checkpoint(
        "swin_tiny_patch4_window7_224.ms_in22k_ft_in1k",
        "attention maps, distance, stage by stage",
        "Swin: attends inside windows that shift from layer to layer and widen from stage to stage",
    ),
)
