"""Are weights that a visitor brings kept by their bytes, loaded as they are told, and shared with
nobody?
"""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
import timm
import torch
from playwright.sync_api import Browser, expect
from safetensors.torch import save, save_file
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

import vit_inspect as vi
from tests.dashboard.apps import APP, at_once, offered_models, refusals
from tests.dashboard.serving import started
from tests.dashboard.windows import show, user_with
from vit_inspect.commands.app import app
from vit_inspect_dashboard import (
    as_python,
    brought,
    launch,
    models,
    offers,
    picker,
    pictures,
    wording,
)
from vit_inspect_dashboard.state import Subject

TINY = "test_vit"


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(TINY, num_classes=3)


def weights(seed: int = 0) -> bytes:
    return save(network(seed).state_dict())


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[brought.Store]:
    """A server that allows files of 4 MB."""
    monkeypatch.setattr(offers, "_files", {})
    monkeypatch.setattr(brought, "_store", None)
    brought.allow(4)
    assert brought._store is not None
    st.cache_resource.clear()
    yield brought._store
    st.cache_resource.clear()
    shutil.rmtree(brought._store._folder)


def add(store: brought.Store, data: bytes, name: str = "mine.safetensors") -> str:
    return store.add(memoryview(data), name)


def model_of(store: brought.Store, data: bytes, name: str = "mine.safetensors") -> str:
    return f"{name}@sha256:{add(store, data, name)}"


def opened(*, own: str | None = None, **query: str) -> AppTest:
    """The page of a visitor who has brought the weights of the name `own`."""
    page = AppTest.from_file(str(APP), default_timeout=120)
    if own is not None:
        page.session_state["brought"] = {own: None}
    page.query_params.update(query)
    return page.run()


def upload(page: AppTest, name: str, data: bytes) -> None:
    """Opens the dialog and gives it a file."""
    page.button(key="choose_model").click().run()
    [uploader] = [each for each in page.get("file_uploader") if each.label == "Your weights"]
    uploader.set_value((name, data, "application/octet-stream"))
    # Without a browser each run is of the whole page, where the dialog has to be opened.
    page.session_state["times_opened"] -= 1
    page.button(key="choose_model").click().run()


def test_a_file_lies_in_a_private_folder_under_its_hash(store: brought.Store) -> None:
    data = weights()
    digest = add(store, data, "../../etc/passwd")
    path = store.use(digest)
    assert path is not None
    assert path.name == f"{digest}.safetensors"
    assert path.read_bytes() == data
    assert path.parent.stat().st_mode & 0o077 == 0
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    # A file that somebody else brought before is the same.
    assert add(store, data, "other.safetensors") == digest


@pytest.mark.parametrize(
    ("called", "title"),
    [
        ("a" * 50 + ".safetensors", "a" * 28 + ".safetensors"),
        ("one@sha256:two.safetensors", "one.safetensors"),
        ("@sha256:two.safetensors", "weights.safetensors"),
        ("\n", "weights.safetensors"),
    ],
)
def test_a_model_is_called_by_the_name_of_its_file_alone(
    store: brought.Store, monkeypatch: pytest.MonkeyPatch, called: str, title: str
) -> None:
    monkeypatch.setattr(brought, "_forget", lambda *_: None)
    file = io.BytesIO(weights())
    file.name = called
    model = brought.take(file, "weights_1")
    assert wording.model_title(model) == title
    assert brought.path(model) is not None


def test_weights_that_go_while_they_are_loaded_are_no_other_model(
    store: brought.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = model_of(store, weights())

    def said(_: str) -> dict[str, object]:
        shutil.rmtree(store._folder)
        store._folder.mkdir()
        return {}

    monkeypatch.setattr(offers, "said", said)
    with pytest.raises(vi.WeightsUnavailable, match=r"mine\.safetensors', which were uploaded"):
        models.model(Subject(name, None, "crop", pictures.sample("chelsea")))


def test_weights_of_a_link_are_told_from_the_model_that_they_are_called_like(
    store: brought.Store,
) -> None:
    name = model_of(store, weights(), "vit_base_patch16_224.mae")
    found = picker.entry(name, {}, {})
    assert found.facts == f"Uploaded weights · sha256 {brought.digest_of(name)[:8]}"  # type: ignore[index]


def test_brought_weights_stand_beside_no_other_model(
    store: brought.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = model_of(store, weights())
    monkeypatch.setattr(picker, "listed", lambda: dict.fromkeys(("one", "two", mine), ""))
    assert picker.others("two") == ["one"]


PICKLE = io.BytesIO()
torch.save({"a": torch.ones(2)}, PICKLE)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "0 bytes in 'mine.safetensors'"),
        (b"\x80\x04N.", "no .safetensors in"),
        (PICKLE.getvalue(), "no .safetensors in"),
        (b"not weights, but long enough", "no .safetensors in"),
        (weights()[:5000], "header claims|damaged or cut off"),
        (weights()[:-1], "a damaged or cut off checkpoint 'mine.safetensors'"),
        (weights() + b"0", "a damaged or cut off checkpoint"),
        ((2**40).to_bytes(8, "little") + b"{}", "header claims 1,099,511,627,776 bytes"),
        ((2).to_bytes(8, "little") + b"{}", "no weights in"),
        (save({f"w{each}": torch.zeros(1) for each in range(10_001)}), "10,001 weights in"),
        (save({"w." * 101: torch.zeros(1)}), "names of weights of up to 202 letters"),
        (bytes(4 * 2**20 + 1), "at most 4 MB|4 MB in"),
    ],
)
def test_what_is_no_whole_safetensors_is_refused_and_not_kept(
    store: brought.Store, data: bytes, found: str
) -> None:
    with pytest.raises(vi.WeightsUnavailable, match=found):
        add(store, data)
    assert list(store._folder.iterdir()) == []
    assert not store._shares.sizes


def test_those_used_last_stay(store: brought.Store) -> None:
    padding = {"a": torch.zeros(900_000)}
    files = [save(padding | {"b": torch.tensor([number])}) for number in range(5)]
    digests = [add(store, data) for data in files[:4]]
    store.use(digests[0])
    digests.append(add(store, files[4]))
    kept = [store.use(digest) is not None for digest in digests]
    assert kept == [True, False, True, True, True]
    assert len(list(store._folder.iterdir())) == 4
    # What was let go can be brought again.
    assert add(store, files[1]) == digests[1]
    assert store.use(digests[1]) is not None


def test_small_files_are_not_kept_without_number(store: brought.Store) -> None:
    for number in range(20):
        add(store, save({"a": torch.tensor([number])}))
    assert len(list(store._folder.iterdir())) == len(store._shares.sizes) == 16


def test_many_visitors_bring_one_file_at_once(store: brought.Store) -> None:
    data, found = weights(), []
    at_once(8, lambda _: found.append(add(store, data)))
    assert len(set(found)) == 1
    assert len(list(store._folder.iterdir())) == 1


def test_a_full_disk_is_a_sentence(store: brought.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(vi.WeightsUnavailable, match="no room for 'mine"):
        add(store, weights())


@pytest.mark.slow
def test_an_upload_opens_with_what_is_said_of_it_and_only_its_visitor_has_it_in_the_list(
    store: brought.Store,
) -> None:
    page = opened(layer="1")
    upload(page, "my *model*.safetensors", weights())
    said = "Found the checkpoint 'my *model*.safetensors' without an architecture; expected "
    assert refusals(page)[0].startswith(said)
    name = model_of(store, weights(), "my *model*.safetensors")
    assert page.session_state["address"] == {"layer": ("1",), "model": (name,)}
    # Streamlit holds the bytes no longer.
    assert "weights_1" not in page.session_state
    page.query_params.update({"model": name, "architecture": TINY, "outputs": "multi-label"})
    page.run()
    assert not page.exception
    assert not page.error
    subject = page.session_state["subject"]
    model = models._kept().values()[-1]
    assert torch.equal(model.module.head.weight, network().head.weight)
    assert (model.id, model.outputs) == ("my *model*.safetensors", "multi-label")
    assert model.source == f"file my *model*.safetensors, as {TINY}"
    digest = str(brought.digest_of(name))
    shown = [each.value for each in (*page.caption, *page.text, *page.markdown, *page.title)]
    assert digest not in " ".join(shown)
    assert offered_models(page)[0] == name
    # What is computed is kept under the hash.
    assert digest in subject.key[0]
    # The same in a terminal and in Python has the visitor's file.
    assert f"--checkpoint my *model*.safetensors --architecture {TINY}" in " ".join(
        models.options(subject)
    )
    assert "checkpoint='my *model*.safetensors'" in as_python.capture_lines(subject)[-2]
    # Another visitor does not see it.
    other = opened()
    assert name not in offered_models(other)
    assert "dinov2_small" in other.button(key="choose_model").label.replace("\\", "")


@pytest.mark.slow
@pytest.mark.parametrize("held", ["model", "right_model"])
@pytest.mark.parametrize("called", ["mine.safetensors", "other.safetensors"])
def test_no_other_session_opens_weights_whose_name_and_hash_it_knows(
    store: brought.Store, held: str, called: str
) -> None:
    name = model_of(store, weights())
    owner = opened(own=name, model=name, architecture=TINY)
    assert not owner.error
    assert [each.id for each in models._kept().values()] == ["mine.safetensors"]
    # The model and all that was computed of it are kept in memory now.
    query = {"model": "fashion_vit", "at": "compare", "against": "model"}
    link = name.replace("mine.safetensors", called)
    stranger = opened(**query | {held: link, "architecture": TINY})
    [said] = refusals(stranger)
    assert said.startswith(f"Found a link to the weights '{called}', which were uploaded elsewhere")
    # Whoever has the same file has nothing to learn from it.
    assert not opened(own=link, model=name, architecture=TINY).error


@pytest.mark.slow
def test_a_link_to_weights_that_are_gone_says_so_and_opens_once_they_are_there(
    store: brought.Store,
) -> None:
    name = model_of(store, weights())
    os.remove(store.use(str(brought.digest_of(name))) or "")
    page = opened(model=name, architecture=TINY, layer="1")
    [said] = refusals(page)
    assert said == (
        "Found a link to the weights 'mine.safetensors', which were uploaded elsewhere or are no "
        "longer kept; expected the same file; open the list of models, and upload the file "
        "under 'Your weights'."
    )
    # Another file is another model; the right one goes on where the link was.
    upload(page, "mine.safetensors", weights())
    assert not page.exception
    assert not page.error
    assert dict(page.query_params) == {"model": name, "architecture": TINY, "layer": "1"}


@pytest.mark.slow
def test_weights_that_go_while_they_are_shown_are_told(store: brought.Store) -> None:
    name = model_of(store, weights())
    page = opened(own=name, model=name, architecture=TINY)
    assert not page.error
    os.remove(store.use(str(brought.digest_of(name))) or "")
    page.run()
    assert not page.exception
    assert refusals(page)[0].startswith("Found a link to the weights 'mine.safetensors'")


@pytest.mark.slow
def test_weights_that_go_while_they_wait_for_their_turn_are_told(
    store: brought.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = model_of(store, weights())

    def others_come_first(load: Callable[[], vi.Model]) -> vi.Model:
        os.remove(store.use(str(brought.digest_of(name))) or "")
        return load()

    monkeypatch.setattr(models, "on_device", others_come_first)
    [said] = refusals(opened(own=name, model=name, architecture=TINY))
    assert said.startswith("Found a link to the weights 'mine.safetensors'")


@pytest.mark.slow
def test_the_name_of_a_file_is_text(store: brought.Store) -> None:
    # Whoever sends a link chooses the name in it.
    name = f"![a](//b.c/d) <b>@sha256:{add(store, weights())}"
    page = opened(own=name, model=name, architecture=TINY)
    assert not page.error
    told = [each.value for each in (*page.caption, *page.markdown, *page.title, *page.info)]
    assert any("weights" in each for each in told)
    assert "![a](" not in " ".join(told)


@pytest.mark.slow
def test_weights_of_no_network_are_refused_by_their_own_name(store: brought.Store) -> None:
    name = model_of(store, save({"a": torch.ones(3)}))
    [said] = refusals(opened(own=name, model=name, architecture=TINY))
    assert said.startswith(f"Found no weights of {TINY} in 'mine.safetensors', only a;")
    [said] = refusals(opened(own=name, model=name, architecture="transformers"))
    assert "mine.safetensors" in said
    assert str(store._folder) not in said


def test_the_server_takes_no_weights_unless_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(brought, "_store", None)
    assert brought.limit_mb() is None
    page = opened(model=f"mine.safetensors@sha256:{'0' * 64}")
    assert refusals(page)[0].endswith("ask the operator to allow uploads of weights.")
    page.button(key="choose_model").click().run()
    assert [each.label for each in page.get("file_uploader")] == ["Your pictures"]


@pytest.mark.parametrize(
    ("words", "limit", "upload_mb"),
    [
        ([], None, None),
        (["--allow-weights"], 400, 400),
        (["--allow-weights", "--weights-mb", "50"], 50, 50),
        (["--allow-weights", "--weights-mb", "5"], 5, 20),
    ],
)
def test_the_command_sets_the_limit_of_uploads_only_where_weights_are_allowed(
    monkeypatch: pytest.MonkeyPatch, words: list[str], limit: int | None, upload_mb: int | None
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(brought, "_store", None)
    monkeypatch.setattr(launch.cli, "main", lambda told, **_: started.append(told))
    monkeypatch.setattr(launch, "warm", lambda: None)
    done = CliRunner().invoke(app, ["dashboard", "--no-browser", *words])
    assert done.exit_code == 0, done.output
    assert brought.limit_mb() == limit
    [told] = started
    told = [each for each in told if "maxUploadSize" in each]
    assert told == ([] if upload_mb is None else [f"--server.maxUploadSize={upload_mb}"])


def test_a_limit_of_weights_that_are_not_allowed_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch, "serve", lambda **_: pytest.fail("started"))
    done = CliRunner().invoke(app, ["dashboard", "--no-browser", "--weights-mb", "1500"])
    assert done.exit_code == 2
    assert "Found --weights-mb without --allow-weights" in done.output


def test_pictures_keep_their_own_limit() -> None:
    settings = (APP.parent / ".streamlit" / "config.toml").read_text()
    assert f"maxUploadSize = {pictures.LARGEST_MB}\n" in settings
    assert launch.UPLOAD_MB == pictures.LARGEST_MB
    large = bytes(pictures.LARGEST_MB * 2**20 + 1)
    assert "20 MB in 'a.png'" in str(pictures._problem("large", "a.png", large))


@pytest.mark.slow
def test_a_visitor_brings_weights_in_the_browser(tmp_path: Path, browser: Browser) -> None:
    save_file(network().state_dict(), tmp_path / "mine.safetensors")
    with started("--allow-weights") as address, user_with(browser, address) as page:
        show(page, "/?at=about")
        page.locator(".st-key-choose_model button:visible").click()
        chooser: Any = page.get_by_role("dialog").locator("input[type=file]")
        chooser.set_input_files(tmp_path / "mine.safetensors")
        expect(page.get_by_role("dialog")).to_have_count(0)
        # What the page before told stays until the next one is drawn.
        told = page.get_by_test_id("stAlert").filter(has_text="'mine.safetensors' without an")
        expect(told).to_be_visible()
        page.get_by_role("button", name="What the weights do not say").click()
        page.get_by_label("Architecture", exact=True).fill(TINY)
        page.get_by_role("button", name="Load it so").click()
        expect(page.get_by_text(f"weights: file mine.safetensors, as {TINY}")).to_be_visible()
        expect(page).to_have_url(re.compile(r"model=mine.safetensors(@|%40)sha256"))
