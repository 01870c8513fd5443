"""Does a session upload no more than its quota, and does no other session open its uploads?"""

from __future__ import annotations

import hashlib
import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect
from streamlit.runtime.uploaded_file_manager import DeletedFile

from tests.dashboard.apps import opened
from tests.dashboard.windows import show, user_with
from vit_inspect_dashboard import pictures, quotas


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def held(name: str, size_mb: float) -> Any:
    return SimpleNamespace(file_id=name, name=name, size=int(size_mb * quotas.MB))


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a session has uploaded where it may keep three pictures and ten megabytes."""
    files: list[Any] = []
    monkeypatch.setattr(quotas, "_chosen", quotas.ALONE._replace(pictures=3, pictures_mb=10))
    monkeypatch.setattr(pictures.st, "session_state", {"uploads": files})
    return files


def told_of_uploads() -> str | None:
    return pictures._too_many(pictures._kept_files())


def test_pictures_beyond_the_quota_are_let_go_and_told(
    uploads: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[str] = []
    monkeypatch.setattr(quotas, "let_go_of_upload", lambda file: freed.append(file.file_id))
    uploads += [held("a", 4), held("b", 7), held("c", 6)]
    assert [each.name for each in pictures._kept_files()] == ["a", "c"]
    assert freed == ["b"]
    told = told_of_uploads()
    assert told == (
        "Found 3 pictures of 17.0 MB together; expected at most 3 pictures and 10 MB of a visitor; "
        "remove some from the list; 1 of them cannot be shown."
    )
    # Streamlit has the bytes no longer, and its browser still lists the file.
    uploads[1] = DeletedFile("b")
    assert told_of_uploads() == told
    del uploads[1]
    assert told_of_uploads() is None
    uploads += [held("d", 0), held("e", 0)]
    assert [each.name for each in pictures._kept_files()] == ["a", "c", "d"]
    assert "Found 4 pictures of 10.0 MB together" in str(told_of_uploads())
    assert freed == ["b", "e"]


def test_whoever_is_alone_has_no_quota(uploads: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "_chosen", quotas.ALONE)
    uploads += [held(str(number), 20) for number in range(500)]
    assert pictures._kept_files() == uploads
    assert told_of_uploads() is None


@pytest.mark.slow
def test_the_page_shows_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "_chosen", quotas.ALONE._replace(pictures=1))
    page = opened("about")
    page.file_uploader(key="uploads").set_value(
        [(f"own_{seed}.png", picture(seed), "image/png") for seed in (0, 1)]
    ).run()
    assert not page.exception
    assert "Found 2 pictures" in page.error[0].value
    assert "own_0.png" in page.selectbox(key="image").options
    assert "own_1.png" not in page.selectbox(key="image").options


@pytest.mark.slow
def test_no_other_session_opens_a_picture_whose_name_and_hash_it_knows(
    browser: Browser, address: str
) -> None:
    data = picture(7)
    # As Streamlit names a file that it serves, and as this dashboard names a picture.
    served = hashlib.sha224(data + b"image/png").hexdigest()
    own = hashlib.sha256(data).hexdigest()
    with user_with(browser, address) as owner, user_with(browser, address) as stranger:
        show(owner, "/?at=about")
        chooser: Any = owner.locator("input[type=file]").first
        with owner.expect_request(lambda request: "upload_file" in request.url) as sent:
            chooser.set_input_files({"name": "own.png", "mimeType": "image/png", "buffer": data})
        expect(owner.get_by_text("own.png").first).to_be_visible()
        for name in ("own.png", own):
            show(stranger, f"/?at=about&image={name}")
            told = stranger.get_by_text(f"This link shows {name}, which was uploaded elsewhere")
            expect(told).to_be_visible()
        # Not even its own address gives it back, but the page as any address does.
        answer = stranger.request.get(sent.value.url)
        assert "text/html" in answer.headers["content-type"]
        assert data not in answer.body()
        for name in (served, own):
            assert stranger.request.get(f"{address}/media/{name}.png").status == 404
