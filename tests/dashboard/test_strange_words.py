"""Does every page show the class names of strangers, as they are or cut, and read none of them?"""

from __future__ import annotations

import io
import re
from functools import partial

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import vit_inspect as vi
from tests.conftest import noise
from tests.dashboard.apps import APP
from tests.helpers.words import CONTROLS, LITERAL, LONG
from vit_inspect.loading.bundled import FASHION
from vit_inspect_dashboard.address import LENGTH
from vit_inspect_dashboard.wording import plain

pytestmark = pytest.mark.slow

WORDS = (*LITERAL.values(), *CONTROLS.values(), LONG, "", " ")
CLASSES = 10
VIEWS = (
    *({"at": each} for each in ("about", "logit_lens", "faithfulness", "export", "compare")),
    {"at": "head_importance", "off_heads": "L0 H0"},
    {"at": "learn", "step": "8"},
    {"at": "attention_relevance"},
)
READ = re.compile(
    r"(?<!\\)(\$|<|!\[|\*\*|:red|:smile|:streamlit|:material/(?!info:|download:|code:))"
)
"""What Streamlit would read in a sentence."""


def opened(**held: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params.update({"model": FASHION, "image": "canvas_14"} | held)
    return app.run()


def check(app: AppTest, words: tuple[str, ...]) -> None:
    """Nothing failed, and where one of the words is told, each of its signs stands for itself."""
    assert not app.exception
    for kind in (app.caption, app.warning, app.error, app.info):
        for each in kind:
            for word in words:
                assert word not in each.value or word == plain(word), each.value
            assert "\x1b" not in each.value
            assert "\x00" not in each.value


@pytest.mark.parametrize("first", range(0, len(WORDS), CLASSES))
def test_pages_show_any_class_names(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = (WORDS * 2)[first : first + CLASSES]
    monkeypatch.setattr(
        "vit_inspect_dashboard.models.vi.load", partial(vi.load, labels=labels, device="cpu")
    )
    st.cache_resource.clear()
    told = tuple(word for word in labels if READ.search(word))
    for view in VIEWS:
        app = opened(**view)
        check(app, told)
        assert not app.warning
    # Each can be chosen, however long it is, and is what the link opens.
    options = app.selectbox(key="class").options
    assert len(set(options)) == CLASSES + 1
    for option in options[1:]:
        other = opened(at="attention_relevance", **{"class": option[:LENGTH]})
        check(other, told)
        assert not other.warning
        assert other.selectbox(key="class").value == option
    st.cache_resource.clear()


def test_pages_show_any_names_of_uploads() -> None:
    # No browser sends half a sign, and Streamlit refuses a name with a sign of no value.
    names = [f"{word.replace('/', '_')}.png" for word in WORDS if not {"\x00", "\udc80"} & {*word}]
    files = []
    for number, name in enumerate(names):
        file = io.BytesIO()
        noise((40, 40), number).save(file, "PNG")
        files.append((name, file.getvalue(), "image/png"))
    app = opened(at="explore")
    before = len(app.selectbox(key="image").options)
    app.file_uploader(key="uploads").set_value(files).run()
    shown = app.selectbox(key="image").options[before:]
    assert len(set(shown)) == len(names)
    for name in shown:
        assert name.isprintable()
        app.query_params.update({"image": name[:LENGTH]})
        app.run()
        check(app, tuple(names))
        assert not app.warning
        assert app.selectbox(key="image").value == name
