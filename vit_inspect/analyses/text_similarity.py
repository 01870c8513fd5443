"""Which patches match a text? The cosine of each patch, read alone, with the text."""

from __future__ import annotations

from dataclasses import replace

import torch

from vit_inspect.analyses.readout import checked_head
from vit_inspect.analyses.tokens import block_tokens
from vit_inspect.attention.layer import compute_type
from vit_inspect.device import memory_refusal
from vit_inspect.recording.recorder import Capture, of_capture
from vit_inspect.records.evidence import PatchMap


@of_capture
def text_similarity(capture: Capture, text: str) -> PatchMap:
    """Cosine similarity of each patch token of the last layer with a text.

    text: as the text tower reads it, of at most 300 letters; no template is added.

    A patch is read alone: the model's last steps (final norm; CLIP's projection, or SigLIP's
    attention pool) get a sequence in which every token is that patch's token. The model was
    trained to match whole pictures, by its class token or its pool, and not single patches: a
    patch that matches need not show what the text says. Compare with `attention_relevance` for the
    same text.

    Values lie in [-1, 1]. They are cosines: neither the scale nor the bias of `with_texts` is
    applied. Raises `UnsupportedModel` for a model without a text tower and where the last steps
    to its output are not known, `BadParameter` for a text that cannot be taken,
    `WeightsUnavailable` where the text tower cannot be loaded.
    """
    model, layout = capture.model, capture.layout
    words, tokens = model.checked_words(), block_tokens(capture)[-1]
    # The last steps to the scores of texts go through those to the network's own output.
    checked_head(replace(capture, model=replace(model, head=model.head or words.head)))
    cosines, images = words.compare([text]).cosines, len(tokens)
    with torch.inference_mode(), memory_refusal(images, layout.token_count, model.device):
        found = []
        for patches in tokens[:, layout.prefix_count :]:
            alone = patches[:, None].expand(-1, layout.prefix_count + 1, -1)
            found.append(cosines(words.head(alone))[:, 0])
        values = torch.stack(found).clamp(-1, 1).unflatten(1, layout.grid)
    return PatchMap(
        model=model.id,
        layout=layout,
        photographs=capture.photographs,
        kind=f"similarity to '{text}'",
        values=values.to(compute_type(values.dtype)).cpu().numpy(),
    )
