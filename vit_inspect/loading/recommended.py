"""Which checkpoint shows which figure best, and why?

A short list of examples: any other vision transformer of timm loads by its id.
"""

from __future__ import annotations

from typing import NamedTuple

DEFAULT = "dinov2_small"
"""The model that is loaded where none is named: it is bundled."""


class Checkpoint(NamedTuple):
    """A model to try: the name for `vit_inspect.load`, the figures it shows well, and why."""

    name: str
    shows: str
    why: str


ZOO = (
    Checkpoint(
        DEFAULT,
        "all figures, offline",
        "DINOv2 ViT-S/14 tuned for saliency, bundled: its heads attend to parts of objects",
    ),
    Checkpoint(
        "fashion_vit",
        "classes: predictions, relevance, lens, faithfulness, offline",
        "bundled classifier of ten garments, trained here: it is known what lies where",
    ),
    Checkpoint(
        "vit_large_patch32_224.orig_in21k",
        "embedding filters, position similarity",
        "the model of the paper's Figure 7, left and centre",
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
        "a ResNet-50 before the transformer: the hybrid of Figure 11 has hardly any local heads",
    ),
    Checkpoint(
        "vit_small_patch16_224.dino",
        "attention maps",
        "DINO: in the last layer, CLS attends to the objects",
    ),
    Checkpoint(
        "vit_base_patch14_dinov2.lvd142m",
        "attention maps, rollout",
        "DINOv2 without registers: a few artefact tokens receive most of the attention",
    ),
    Checkpoint(
        "vit_base_patch14_reg4_dinov2.lvd142m",
        "attention maps, rollout",
        "the same with four registers, which take the place of artefact tokens",
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
