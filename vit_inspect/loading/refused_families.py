"""Which families and blocks of timm are refused, and what are they instead?

A plain vision transformer has one grid of tokens; in each block one softmax lets all tokens attend
to all.
"""

from __future__ import annotations

import re

_CONVOLUTIONAL = "which is a convolutional network"
_MOSTLY_CONVOLUTIONAL = "which is a convolutional network with attention in a few blocks at most"
_SHRINKING = "whose grid of tokens shrinks from stage to stage"
_WINDOWS = "whose tokens attend within windows"
_SUBSAMPLED = "whose tokens attend to a subsampled grid"
_NO_ATTENTION = "which mixes its tokens without attention"

OTHER_FAMILIES = {
    "byoanet": _MOSTLY_CONVOLUTIONAL,
    "byobnet": _MOSTLY_CONVOLUTIONAL,
    "cait": "whose attention mixes its heads before and after the softmax",
    "coat": "whose attention combines keys and values first, so that no token attends to another",
    "convit": "whose attention blends its softmax with a map of positions",
    "convmixer": _CONVOLUTIONAL,
    "convnext": _CONVOLUTIONAL,
    "cpubone": _MOSTLY_CONVOLUTIONAL,
    "crossvit": "which reads the picture twice, in patches of two sizes",
    "csatv2": _MOSTLY_CONVOLUTIONAL,
    "cspnet": _CONVOLUTIONAL,
    "cspnext": _CONVOLUTIONAL,
    "davit": "which attends between tokens within windows, and between channels",
    "densenet": _CONVOLUTIONAL,
    "dla": _CONVOLUTIONAL,
    "dpn": _CONVOLUTIONAL,
    "edgenext": "which attends between channels, not between tokens",
    "efficientformer": "which attends in its last blocks only, after convolutions",
    "efficientformer_v2": "which attends in its last stages only, after convolutions",
    "efficientnet": _CONVOLUTIONAL,
    "efficientvim": _NO_ATTENTION + ", by a state space model",
    "efficientvit_mit": "whose attention is linear, without a softmax",
    "efficientvit_msra": "whose heads run one after another, each on the output of the one before",
    "fasternet": _CONVOLUTIONAL,
    "fastvit": _MOSTLY_CONVOLUTIONAL,
    "focalnet": _NO_ATTENTION + ", by focal modulation",
    "gcvit": _WINDOWS,
    "ghostnet": _CONVOLUTIONAL,
    "hardcorenas": _CONVOLUTIONAL,
    "hgnet": _CONVOLUTIONAL,
    "hiera": _WINDOWS + ", on a grid that shrinks from stage to stage",
    "hieradet_sam2": _WINDOWS + ", on a grid that shrinks from stage to stage",
    "hrnet": _CONVOLUTIONAL,
    "iformer": _MOSTLY_CONVOLUTIONAL,
    "inception_next": _CONVOLUTIONAL,
    "inception_resnet_v2": _CONVOLUTIONAL,
    "inception_v3": _CONVOLUTIONAL,
    "inception_v4": _CONVOLUTIONAL,
    "lcnetv2": _CONVOLUTIONAL,
    "levit": _SHRINKING,
    "lowformer": _MOSTLY_CONVOLUTIONAL,
    "mambaout": _NO_ATTENTION + ", by gated convolutions",
    "maxxvit": "which attends within windows or in its last stages, between convolutions",
    "metaformer": "which mixes its tokens by pooling or convolutions, at least in its first stages",
    "mlp_mixer": _NO_ATTENTION + ", by perceptrons",
    "mobilenetv3": _MOSTLY_CONVOLUTIONAL,
    "mobilenetv5": _MOSTLY_CONVOLUTIONAL,
    "mobilevit": _MOSTLY_CONVOLUTIONAL,
    "mvitv2": "whose attention pools its keys, on a grid that shrinks from stage to stage",
    "nasnet": _CONVOLUTIONAL,
    "nest": "whose tokens attend within blocks of the picture, which are merged stage by stage",
    "nextvit": _SUBSAMPLED + ", between convolutions",
    "nfnet": _CONVOLUTIONAL,
    "pit": _SHRINKING,
    "pnasnet": _CONVOLUTIONAL,
    "pvt_v2": _SUBSAMPLED,
    "rdnet": _CONVOLUTIONAL,
    "regnet": _CONVOLUTIONAL,
    "repghost": _CONVOLUTIONAL,
    "repvit": _CONVOLUTIONAL,
    "res2net": _CONVOLUTIONAL,
    "resnest": _CONVOLUTIONAL,
    "resnet": _CONVOLUTIONAL,
    "resnetv2": _CONVOLUTIONAL,
    "rexnet": _CONVOLUTIONAL,
    "selecsls": _CONVOLUTIONAL,
    "senet": _CONVOLUTIONAL,
    "sequencer": _NO_ATTENTION + ", by recurrent networks",
    "shvit": "which attends with one head on a few of its channels, between convolutions",
    "sknet": _CONVOLUTIONAL,
    "starnet": _CONVOLUTIONAL,
    "swiftformer": "whose attention is additive, so that no token attends to another",
    "tiny_vit": _WINDOWS + ", between convolutions",
    "tnt": "which runs a second transformer inside each patch",
    "tresnet": _CONVOLUTIONAL,
    "twins": "whose tokens attend to a subsampled grid or within windows",
    "vgg": _CONVOLUTIONAL,
    "visformer": _SHRINKING,
    "volo": "whose first blocks predict their attention from one token, without keys",
    "vovnet": _CONVOLUTIONAL,
    "xception": _CONVOLUTIONAL,
    "xception_aligned": _CONVOLUTIONAL,
    "xcit": "which attends between channels, not between tokens",
}
"""timm's modules whose models are not plain vision transformers, and what they are instead.

The key is the name of the module's file; the value follows the name of a model in a sentence.
"""

OTHER_BLOCKS = {
    "DiffAttention": "whose attention subtracts one softmax from another",
    "DiffParallelScalingBlock": "whose attention subtracts one softmax from another",
    "ParallelThingsBlock": "which runs two attentions in parallel in each block",
}
"""Classes of blocks in timm's plain vision transformers whose attention is not one softmax."""

OTHER_ARCHITECTURES = re.compile(r"vit_d(little|p?wee)_")
"""Names of architectures that have such blocks, among those that timm has weights of."""
