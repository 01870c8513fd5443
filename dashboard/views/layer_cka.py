"""Page: which layers of a model, or of two, arrange the patches of a picture alike?"""

from __future__ import annotations

import streamlit as st

import vit_inspect as vi
from dashboard import cache, inputs, selection, widgets
from vit_inspect.results import join
from vit_inspect.zoo import ZOO

ITSELF = "itself"
spec, subject = widgets.SPECS["layer_cka"], widgets.current()
groups = {"this picture": [subject.image], "all samples": list(vi.SAMPLES)}
if inputs.uploaded():
    groups["your pictures"] = inputs.uploaded()
place = widgets.heading(spec.title, spec.question)
with st.container(horizontal=True, vertical_alignment="bottom"):
    name = st.selectbox(
        "Compared with",
        [ITSELF, *(each.name for each in ZOO if each.name != subject.model)],
        key="other_model",
        bind="query-params",
        accept_new_options=True,
        width=380,
        help="The layers of another model over the same pictures. Any timm id can be typed in.",
    )
    over = selection.choose(
        "over",
        "Averaged over",
        list(groups),
        help="One picture is a rough estimate.",
    )
name = str(name)[: selection.NAME_LENGTH]
other = subject._replace(model=name, size=selection.wanted_size(name), stage=None)
records, images = [], groups[over]
progress = st.empty()
for done, image in enumerate(images):
    if len(images) > 1:
        progress.progress(done / len(images), text=f"{done} of {len(images)} pictures")
    one = subject._replace(image=image)
    if name == ITSELF:
        records.append(cache.result(spec, one))
    else:
        pair = cache.capture(one), cache.capture(other._replace(image=image))
        records.append(cache.on_device(vi.cka, *pair))
progress.empty()
result = join(records)
widgets.plot(
    spec.plot(result),
    key="cka",
    alt=f"CKA between the layers of {result.model} and of {result.other_model}",
)
with place:
    widgets.export(spec, result, name=widgets.title_of(subject))
widgets.explain(spec)
