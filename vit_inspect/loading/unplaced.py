"""Which weights of a file may find no place in the network, and still nothing changes?

Heads, decoders, other networks beside the one that is looked at, and what belongs to training may
go. A weight inside the network's own blocks, or one that nobody knows, changes what the network
computes: such a file is refused by the names of these weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from torch import Tensor

from vit_inspect.errors import BadParameter
from vit_inspect.loading.averages import AVERAGES, CALLBACKS
from vit_inspect.loading.weight_files import shown
from vit_inspect.loading.wrappers import WRAPPERS

_HEADS = (
    r"heads?|\w+_heads?|head_(?!norm)\w+|fc|classifier|\w+_classifier|linear|last_layer|prototypes?"
    r"|projectors?|projection|proj_head|(image|visual|vision|text|out|output|feat\w*)_proj(ection)?"
    r"|predictor|pred|\w+_pred|pre_logits|logits?|logit_\w+|pooler"
)
_DECODERS = r"decoder\w*|\w*decoder|prompt_encoder|mask_token\w*|mask_embed\w*|masked_\w+"
_TEXT = r"text\w*|txt|t|transformer|token_embedding|positional_embedding|ln_final|language_\w+"
_TRAINING = (
    r"optim\w*|\w*_optim\w*|\w*sched\w*|\w*scaler\w*|amp|\w*loss\w*|criterion\w*|center|queue\w*"
    r"|\w*_queue|\w*_ptr|rng\w*|\w*_rng\w*|\w*_states?|state|history|\w*_history|metrics?|meters?"
    r"|callbacks?|loops|hyper_parameters|hparams|args|config|cfg|epoch|step|iter\w*|best\w*|n_averaged"
    r"|num_updates|decay"
    r"|monitor|results?|scores?|class_weights?|thresholds?|temperature"
)
_NETWORKS = (
    r"base_encoder|encoder_[qk]|online\w*|target\w*|student\w*|teacher\w*|context_encoder"
    r"|discriminator|generator|" + "|".join(map(re.escape, AVERAGES))
)

MAY_GO = re.compile(f"{_HEADS}|{_DECODERS}|{_TEXT}|{_TRAINING}|{_NETWORKS}")
"""First parts of names that say: this is beside the network."""

MAY_LIE_BESIDE = re.compile(
    rf"{MAY_GO.pattern}|net(work)?|params|{'|'.join(map(re.escape, WRAPPERS))}"
)
"""Keys of entries beside the opened one: as above, or of another network in its wrapper."""

_OUTER = ("model", "backbone", "encoder", "base", "net", "network")
"""First parts of names that say nothing: the next part counts."""

_BLOCK = re.compile(r"(^|[./])(blocks|layers?|resblocks|stages|encoderblock_?)[._]?\d")

_DERIVED = re.compile(
    r"(^|[./])(relative_position_index|relative_coords_table|attn_mask|bias_mask"
    r"|num_batches_tracked|position_ids)$"
)
"""Buffers that a network computes for itself, so that no file is needed for them."""

_ROTATION = re.compile(r"(^|[./])(freqs_cos|freqs_sin|inv_freq|periods)$")
"""The same of rotary positions; in a file for a network without them, they say it is another."""


def unplaced(
    weights: Mapping[str, Tensor], unused: Iterable[str], prefix: str, *, rotary: bool
) -> list[str]:
    """The unused weights of a file that would change what the network computes.

    prefix: the start of the names of the network's own weights.
    rotary: whether the network has rotary positions.
    """
    left = [name for name in unused if not (rotary and _ROTATION.search(name))]
    return [name for name in left if not _may_go(name, weights[name], prefix)]


def dropped_keys(weights: Mapping[str, Tensor], expected: Iterable[str]) -> list[str]:
    """Trained biases of which timm keeps those of queries and values alone.

    expected: the names of the network's own weights.
    """
    separate = any(name.endswith("attn.q_bias") for name in expected)
    return [
        name
        for name, bias in weights.items()
        if separate and name.endswith("attn.qkv.bias") and bias.chunk(3)[1].any()
    ]


def strange(beside: Iterable[str]) -> list[str]:
    """Entries with weights beside those of the network, by their keys, that nobody knows."""
    return [
        each
        for each in beside
        if not MAY_LIE_BESIDE.fullmatch(each.rpartition(".")[2])
        and not each.startswith(f"{CALLBACKS}.")
    ]


def without(names: Iterable[str], ignore: Iterable[str], file: str) -> tuple[list[str], list[str]]:
    """The names that remain, and those that the user lets go: by name, part or pattern.

    Raises `BadParameter` for a name that nothing has.
    """
    names, ignore = list(names), list(ignore)
    gone = {each: [name for name in names if _named(name, each)] for each in ignore}
    if idle := [each for each, found in gone.items() if not found]:
        raise BadParameter(
            f"nothing called {shown(idle[0])!r} among what {file!r} has and the network does not",
            f"some of {', '.join(map(shown, names[:6]))}" if names else "nothing to ignore",
            "leave it out of ignore",
        )
    let_go = [name for name in names if any(_named(name, each) for each in ignore)]
    return [name for name in names if name not in let_go], let_go


def _named(name: str, asked: str) -> bool:
    return name == asked or name.startswith(f"{asked}.") or fnmatchcase(name, asked)


def _may_go(name: str, weight: Tensor, prefix: str) -> bool:
    if not weight.is_floating_point() or not weight.numel() or _DERIVED.search(name):
        return True
    if name.endswith("bias") and not weight.any():
        return True
    # The JAX programs have every weight below one of these.
    own = re.sub(r"^(opt/target|params)/", "", name.removeprefix(prefix))
    parts = re.split(r"[./]", own)
    if name.startswith(prefix) and _BLOCK.search(own):
        return bool(MAY_GO.fullmatch(parts[0]))
    telling = parts[:2] if parts[0] in _OUTER or not name.startswith(prefix) else parts[:1]
    return any(MAY_GO.fullmatch(part) for part in telling)
