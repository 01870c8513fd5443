"""The page opens on real figures, and a bad upload is a sentence."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest

from vit_inspect.catalog import FIGURES

APP = Path(__file__).parents[1] / "dashboard" / "app.py"


def test_the_page_shows_every_figure_and_refuses_what_is_no_picture() -> None:
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not app.exception
    assert [header.value for header in app.header] == [spec.title for spec in FIGURES]
    assert len(app.get("plotly_chart")) == len(FIGURES)
    app.file_uploader[0].upload("text.png", b"no picture", "image/png").run()
    assert not app.exception
    assert [error.value for error in app.error] == [
        "Found text in 'text.png'; expected a PNG, JPEG, WebP, BMP, GIF or TIFF picture of at most "
        "40 megapixels and 100 MB; choose another file."
    ]
