"""View: which patches have tokens like this one's, here and in another picture, or match a text?"""

from __future__ import annotations

import vit_inspect as vi
from vit_inspect.figures import token_similarity
from vit_inspect.loading.words import PLACE
from vit_inspect_dashboard import (
    canvas,
    controls,
    exports,
    models,
    page,
    picker,
    records,
    sheets,
    state,
)

FIGURE = token_similarity.FIGURE
PATCH, TEXT = "a patch", "a text"
MATCHES = page.Words(
    "Patches that match a text",
    "Each patch is read alone, as if the picture were nothing but this patch, by the model's last "
    "steps (its final norm, then its projection or its pool). What it says is compared with the "
    "text. Compare the maps of several texts, on one scale: how much higher a patch is for one "
    "text than for the others says more than the number.",
    "The model was trained to match whole pictures with texts, and never single patches: a patch "
    "that matches need not show what the text says, and its token holds what attention brought "
    "from elsewhere. Relevance for the text says which patches its score depends on.",
    "cos(read(token of the patch), text)",
    "Radford et al. 2021, 2103.00020 (CLIP); Zhai et al. 2023, 2303.15343 (SigLIP)",
)

subject = state.current()
model, capture = models.model(subject), models.capture(subject)


def show_patches() -> None:
    """The patches like a patch, in every layer."""
    rows, columns = capture.layout.grid
    query = canvas.chosen_query(capture.layout)
    patch = (rows // 2, columns // 2) if isinstance(query, str | vi.Region) else query
    layers = capture.layer_count
    layer = canvas.chosen_number("layer", layers, start=layers - 1)
    sheet = records.similarity_sheet(subject, patch, layer)
    canvas.show(sheet, canvas.invitation(capture.layout, "which patches are like each patch"))
    canvas.export(
        sheet,
        subject,
        about=f"similarity to patch {patch}, layer {layer}",
        analysis=f"vi.token_similarity(capture, layer={layer}, patch={patch})",
        values="found.similarity",
        label="Export this map",
        all_about=f"similarity to patch {patch} after every layer",
    )
    other = controls.choose_other_picture(
        subject.picture,
        key="beside",
        none=controls.NO_OTHER,
        help="The same patch compared with all patches of another picture.",
    )
    if other is not None:
        result = records.beside(
            vi.token_similarity, subject, other, layer=layer, patch=patch, image=0
        )
        page.plot(
            token_similarity.plot(result, image=1, width=620),
            key="similar_there",
            alt=f"Similarity of the patches of {other.name} to patch {patch} of "
            f"{subject.picture.name}",
        )
        exports.offer_each(FIGURE, result, subject, [subject.picture, other])


def show_texts() -> None:
    """The patches that match each text."""
    column = canvas.chosen_name("match", subject.texts)
    read = [subject.template.replace(PLACE, text) for text in subject.texts]
    each = [records.of_capture(vi.text_similarity, subject, text=text) for text in read]
    sheet = sheets.matches(dict(zip(subject.texts, each, strict=True)), column)
    canvas.show(sheet, "Which patches match each text?", head="match")
    canvas.export(
        sheet,
        subject,
        about=each[column].kind,
        analysis=f"vi.text_similarity(capture, {read[column]!r})",
        values="found.values",
        label="Export this map",
        all_about="similarity to texts",
    )


by = PATCH
if model.words is not None:
    by = controls.choose(
        "like",
        "Patches like",
        (PATCH, TEXT),
        help="Another patch, or a text: this model was trained with texts.",
    )
if by == PATCH:
    show_patches()
elif subject.texts:
    show_texts()
else:
    picker.offer_classes(model)
page.explain(FIGURE if by == PATCH else MATCHES)
