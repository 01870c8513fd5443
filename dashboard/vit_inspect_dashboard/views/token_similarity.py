"""View: which patches have tokens like this one's, here and in another picture?"""

from __future__ import annotations

import vit_inspect as vi
from vit_inspect.figures import token_similarity
from vit_inspect_dashboard import canvas, controls, exports, models, page, records, state

FIGURE = token_similarity.FIGURE

subject = state.current()
capture = models.capture(subject)
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
    result = records.beside(vi.token_similarity, subject, other, layer=layer, patch=patch, image=0)
    page.plot(
        token_similarity.plot(result, image=1, width=620),
        key="similar_there",
        alt=f"Similarity of the patches of {other.name} to patch {patch} of {subject.picture.name}",
    )
    exports.offer_each(FIGURE, result, subject, [subject.picture, other])
page.explain(FIGURE)
