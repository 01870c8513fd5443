"""The dashboard without a browser, on small models of random weights in place of a hub."""

from __future__ import annotations

import copy
import io
import json
import threading
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import timm
import torch
from streamlit.testing.v1 import AppTest

import vit_inspect as vi
from tests.dashboard.test_explorer import unpacked
from vit_inspect.catalog import FIGURES
from vit_inspect_dashboard.places import VIEW_NAMES
from vit_inspect_dashboard.state import Subject

APP = Path(__file__).parents[2] / "dashboard" / "vit_inspect_dashboard" / "app.py"
VIEWS = list(VIEW_NAMES)
PAGES = [entry for entry in FIGURES if entry.page is None]

CLASSIFIER = "vit_tiny_patch16_224"
FEATURES = "vit_small_patch14_reg4_dinov2"
POOLED = "vit_base_patch32_siglip_256"
AVERAGED = "vit_relpos_small_patch16_224"
ROTATED = "vit_small_patch16_rope_224"
STAGED = "swin_tiny_patch4_window7_224"
BIASED = "beit_base_patch16_224"
BOTH_POSITIONS = "eva02_tiny_patch14_224"
WITHOUT_POSITIONS = "samvit_base_patch16_224"
REFUSED = "xcit_nano_12_p16_224"
NAMES = (
    CLASSIFIER,
    FEATURES,
    POOLED,
    AVERAGED,
    ROTATED,
    STAGED,
    BIASED,
    BOTH_POSITIONS,
    WITHOUT_POSITIONS,
    REFUSED,
)
LAYERS, HEADS, SIDE = 3, 3, 6
"""Of the classifier, whose grid is square."""


def subject(**changed: object) -> Subject:
    """What a fresh session looks at, with the classifier."""
    from vit_inspect_dashboard.pictures import sample

    return Subject(CLASSIFIER, None, "crop", sample("chelsea"))._replace(**changed)


@cache
def prototype(
    load: Callable[..., vi.Model], name: str, img_size: int | None, depth: int
) -> vi.Model:
    """A model that others are copies of: what takes long is making one."""
    torch.manual_seed(0)
    # The windows of SAM reach over this grid.
    size = 3 * (14 if "patch14" in name else 32)
    shallow = {} if name in (STAGED, REFUSED) else {"depth": depth}
    with mock.patch("timm.create_model", partial(timm.create_model, **shallow)):
        return load(name, img_size=img_size or size, pretrained=False, device="cpu")


def copied(load: Callable[..., vi.Model], name: str, size: int | None, depth: int) -> vi.Model:
    """A model of its own, as each server has: what one forgets must not be forgotten elsewhere."""
    return copy.deepcopy(prototype(load, name, size, depth))


def opened(view: str = "about", **held: object) -> AppTest:
    """A view of the classifier, or of another model, in a new session whose link says the rest."""
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params.update({"model": CLASSIFIER, "at": view} | held)
    return app.run()


def go(app: AppTest, view: str, **held: object) -> None:
    """Opens another view in the same session, as a link does that says this beside the rest."""
    app.query_params.update({"at": view} | held)
    app.run()


def press(app: AppTest, label: str) -> None:
    [button] = [each for each in app.button if each.label == label]
    button.click().run()


def choose_model(app: AppTest, name: str) -> None:
    """Chooses a model in the dialog, as a click on its name does."""
    app.button(key="choose_model").click().run()
    app.button(key=f"take_{name}").click().run()


def offered_models(app: AppTest) -> list[str]:
    """The first names of the dialog, which stays open."""
    app.button(key="choose_model").click().run()
    return [each.key[5:] for each in app.button if str(each.key).startswith("take_")]


def labels_of_buttons(app: AppTest) -> list[str]:
    return [each.label for each in app.button]


def charts(app: AppTest) -> list[dict]:
    """What each plotly figure on the page is made of."""
    return [json.loads(each.proto.spec) for each in app.get("plotly_chart")]


def canvases(app: AppTest) -> list[SimpleNamespace]:
    """What each explorer was sent, as its browser reads it."""
    sent = (each.proto.bytes for each in app.get("bidi_component"))
    return [unpacked(data) for data in sent if data]


def canvas(app: AppTest) -> SimpleNamespace:
    """What the only explorer was sent."""
    [one] = canvases(app)
    return one


def titles_of_maps(app: AppTest) -> list[str]:
    """The first line of each chart that has one."""
    layouts = [chart["layout"] for chart in charts(app)]
    return [layout["meta"][0] for layout in layouts if layout.get("meta")]


def refusals(app: AppTest) -> list[str]:
    """The sentences of what could not be done."""
    return [each.value.replace("\\", "") for each in app.error]


def png() -> bytes:
    """A picture that a user might have."""
    file = io.BytesIO()
    vi.sample("coffee").resize((80, 60)).save(file, "PNG")
    return file.getvalue()


def at_once(count: int, work: Callable[[int], object]) -> None:
    """Does the work in so many threads, each of which knows its number."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def command(app: AppTest) -> str:
    """The command of the page, whose lines a shell joins."""
    written: str = app.code[0].value
    return written.replace(" \\\n ", "")
