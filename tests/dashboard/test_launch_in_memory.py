"""Does a program open the dashboard on what it has in memory, as a user of a notebook would?

The servers run in this process. A file of pages that are tested without a server must not be in it:
such tests replace Streamlit's runtime.
"""

from __future__ import annotations

import copy
import inspect
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
import torch
import torchvision
from PIL import Image
from playwright.sync_api import Browser, Page, expect

import vit_inspect as vi
from tests.conftest import noise
from tests.dashboard import windows
from tests.dashboard.windows import ready, user_with
from vit_inspect.analyses.attention_maps import telling_head
from vit_inspect_dashboard import as_python, in_process, kept, launched, offers
from vit_inspect_dashboard.state import Subject

RECIPE = vi.Recipe(
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    interpolation="bilinear",
    crop_fraction=0.875,
    crop_mode="center",
)
MODEL = ".st-key-choose_model button:visible"
LAYOUT = vi.TokenLayout(("cls",), grid=(6, 6), patch_px=(16, 16), readout="cls")


@pytest.fixture(scope="module")
def wrapped() -> vi.Model:
    torch.manual_seed(0)
    network = torchvision.models.VisionTransformer(
        image_size=96, patch_size=16, num_layers=2, num_heads=3, hidden_dim=48, mlp_dim=64
    ).eval()
    # Torchvision begins with zeros there.
    torch.nn.init.normal_(network.heads.head.weight)
    return vi.wrap(network, layout=LAYOUT, transform=RECIPE, name="my network")


def another(model: vi.Model) -> vi.Model:
    """The same once more, with weights of its own."""
    network = copy.deepcopy(model.module.network)
    return vi.wrap(network, layout=LAYOUT, transform=RECIPE, name=model.id)


@pytest.fixture
def launch() -> Iterator[Callable[..., vi.Dashboard]]:
    """`vi.launch`, whose dashboards are closed in the end."""
    opened: list[vi.Dashboard] = []

    def launch(*arguments: Any, **options: Any) -> vi.Dashboard:
        opened.append(vi.launch(*arguments, **options))
        return opened[-1]

    yield launch
    for each in opened:
        each.close()


@pytest.fixture
def show(browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Opens an address in a window of its own."""
    with ExitStack() as opened:

        def show(url: str) -> Page:
            page = opened.enter_context(user_with(browser))
            windows.show(page, url)
            return page

        yield show


def port_of(opened: vi.Dashboard) -> int:
    return urlsplit(opened.url).port or 0


def pictures_of(page: Page) -> list[str]:
    """The names of the strip, in their order."""
    buttons = page.locator(".pictures button")
    expect(buttons.first).to_be_visible()
    return [str(each.get_attribute("title")) for each in buttons.all()]


def model_of(page: Page) -> str:
    """The name of the model that is open."""
    return page.locator(MODEL).inner_text().partition("\n")[0]


def offered_models(page: Page) -> list[str]:
    """The first names of the dialog that chooses a model."""
    page.locator(MODEL).click()
    names = page.locator(".st-key-models button")
    expect(names.first).to_be_visible()
    ready(page)
    found = names.all_inner_texts()
    page.keyboard.press("Escape")
    return found


def offered(page: Page, label: str) -> list[str]:
    """What a list of the sidebar offers."""
    page.get_by_label(label, exact=True).first.click()
    options = page.get_by_test_id("stSelectboxVirtualDropdown").get_by_role("option")
    expect(options.first).to_be_visible()
    found = options.all_text_contents()
    page.keyboard.press("Escape")
    return found


def test_it_answers_at_once_is_a_frame_in_a_notebook_and_frees_its_port(
    wrapped: vi.Model, launch: Any
) -> None:
    opened = launch(wrapped)
    assert requests.get(f"{opened.url}/_stcore/health", timeout=30).text == "ok"
    assert f'<iframe src="{opened.url}"' in opened._repr_html_()
    port = port_of(opened)
    with pytest.raises(vi.BadParameter, match=f"port {port}, which is taken"):
        vi.launch(wrapped, port=port)
    opened.close()
    with pytest.raises(requests.ConnectionError):
        requests.get(opened.url, timeout=5)
    with socket.socket() as free:
        free.bind(("localhost", port))
    opened.close()
    # The same port again, at once.
    again = launch(wrapped, port=port)
    assert port_of(again) == port
    assert requests.get(f"{again.url}/_stcore/health", timeout=30).text == "ok"


@pytest.mark.slow
def test_a_wrapped_network_of_torchvision_shows_its_maps(
    wrapped: vi.Model, launch: Any, show: Any, tmp_path: Path
) -> None:
    picture = noise((120, 90), 5)
    picture.save(tmp_path / "mine.png")
    main = sys.modules["__main__"]
    opened = launch(wrapped, images=[tmp_path / "mine.png", np.asarray(vi.sample("rocket"))])
    page = show(opened.url)
    expect(page.locator(MODEL)).to_contain_text("my network")
    assert pictures_of(page)[:3] == ["mine.png", "images[1]", vi.SAMPLES["chelsea"].title]
    assert "my network (in memory" in offered_models(page)[0]
    # What the page says is what the network computes for this picture.
    maps = vi.attention_maps(vi.capture(wrapped, picture))
    weights = maps.weights[0][telling_head(maps)]
    row, column = np.unravel_index(weights.argmax(), weights.shape)
    said = f"{weights.sum():.1%} to patches, {1 - weights.sum():.1%} to CLS; most to patch "
    said += f"({row}, {column}): {weights.max():.3g}"
    expect(page.locator("p.line")).to_contain_text(said[:-1])
    assert sys.modules["__main__"] is main
    # The network's own size is the only one.
    assert offered(page, "Model input in px") == ["96"]


@pytest.mark.slow
def test_two_at_once_show_what_each_was_given(wrapped: vi.Model, launch: Any, show: Any) -> None:
    first = launch(wrapped, images=[noise((50, 50), 1)])
    second = launch(another(wrapped), images=[noise((50, 50), 2), noise((50, 50), 3)])
    pages = [show(each.url) for each in (first, second)]
    names = [model_of(page) for page in pages]
    assert names[0] != names[1]
    assert [each.count("images[") for each in map(str, map(pictures_of, pages))] == [1, 2]
    assert names[1] not in offered_models(pages[0])
    first.close()
    again = show(second.url)
    assert model_of(again) == names[1]
    assert names[0] not in offered_models(again)


@pytest.mark.slow
def test_what_the_network_cannot_show_is_a_sentence(
    wrapped: vi.Model, launch: Any, show: Any
) -> None:
    model = another(wrapped)
    opened = launch(model)
    page = show(f"{opened.url}/?size=224")
    expect(page.get_by_test_id("stAlert")).to_contain_text(
        "Found an input of 224 × 224 px for my network, which is in memory; expected 96 × 96 px"
    )
    with torch.no_grad():
        next(model.module.parameters()).add_(0.1)
    page = show(opened.url)
    expect(page.get_by_test_id("stAlert")).to_contain_text(
        "Found my network with other weights than when it was launched"
    )
    page = show(launch(model).url)
    expect(page.locator("canvas").first).to_be_visible()


@pytest.mark.slow
def test_the_owner_keeps_the_network_and_the_dashboard_lets_it_go(
    wrapped: vi.Model, launch: Any, show: Any
) -> None:
    opened = launch(wrapped, images=[noise((60, 60), 6)])
    expect(show(opened.url).locator("canvas").first).to_be_visible()
    kept_of = [each for each in kept.captures().values() if each.model.module is wrapped.module]
    assert kept_of
    opened.close()
    assert not any(each.model.module is wrapped.module for each in kept.captures().values())
    assert vi.capture(wrapped, noise((60, 60), 6)).layer_count == 2


@pytest.mark.slow
def test_without_a_model_in_memory_it_is_a_name_or_the_bundled_one(launch: Any, show: Any) -> None:
    page = show(launch("vit_small_patch14_dinov2", images=noise((60, 60), 6)).url + "/?at=learn")
    expect(page.locator(MODEL)).to_contain_text("vit_small_patch14_dinov2")
    page = show(launch().url)
    expect(page.locator(MODEL)).to_contain_text("dinov2_small")


def test_a_name_never_stands_for_two_networks(wrapped: vi.Model) -> None:
    names = []
    for _ in range(2):
        names.append(offers.offer_network(wrapped))
        assert offers.withdraw_network(names[-1]) is wrapped
    assert names[0] != names[1]


def test_weights_that_rest_are_unchanged_and_others_are_not(wrapped: vi.Model) -> None:
    model = another(wrapped)
    name = offers.offer_network(model)
    capture = vi.capture(model, noise((40, 40), 1))
    vi.ablate(capture, heads=[(0, 0)])
    vi.attention_relevance(capture)
    vi.randomised(model)
    offers.check_unchanged(name)
    model.module.train()
    with pytest.raises(vi.BadParameter, match="in training mode"):
        offers.check_unchanged(name)
    model.module.eval()
    offers.check_unchanged(name)
    offers.withdraw_network(name)


@pytest.mark.parametrize("way", ["optimizer", "fused optimizer", "data", "shuffled"])
def test_weights_that_were_changed_are_noticed(wrapped: vi.Model, way: str) -> None:
    model = another(wrapped)
    name = offers.offer_network(model)
    weights = list(model.module.parameters())[-2]
    if way == "data":
        weights.data.add_(1e-6)
    elif way == "shuffled":
        with torch.no_grad():
            weights.copy_(weights.flip(0))
    else:
        weights.grad = torch.ones_like(weights)
        torch.optim.AdamW([weights], lr=1e-6, fused="fused" in way).step()
    with pytest.raises(vi.BadParameter, match="other weights than when it was launched"):
        offers.check_unchanged(name)
    offers.withdraw_network(name)


def test_pictures_have_names_of_their_own_and_keys_of_their_pixels(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        noise((30, 20), ord(folder)).save(tmp_path / folder / "x.png")
    given = [tmp_path / "a" / "x.png", str(tmp_path / "b" / "x.png"), noise((30, 20), 3)]
    found = in_process._pictures([*given, noise((20, 30), 3), np.asarray(noise((30, 20), 3))])
    assert [each.name for each in found] == [
        "x.png",
        "x.png (2)",
        "images[2]",
        "images[3]",
        "images[4]",
    ]
    assert found[2].key == found[4].key
    assert len({each.key for each in found}) == 4
    # A file that is written again is not another picture under the old key.
    (tmp_path / "a" / "x.png").unlink()
    assert found[0].read().tobytes() == noise((30, 20), ord("a")).tobytes()
    batch = np.stack([np.asarray(noise((30, 20), seed)) for seed in (1, 2)])
    assert len(in_process._pictures(batch)) == 2


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"model": torch.nn.Identity()}, vi.BadParameter, "an object of type Identity as model"),
        ({"port": 70_000}, vi.BadParameter, "the port 70000; expected 0 to 65535"),
        ({"port": True}, vi.BadParameter, "the port True"),
        ({"images": ["missing.png"]}, vi.BadImage, "nothing at 'missing.png'"),
        ({"images": [Image.new("L", (9, 9))]}, vi.BadParameter, "an image of mode L"),
    ],
)
def test_what_cannot_be_launched_is_refused(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        # As a user has it, without the checks of these tests.
        inspect.unwrap(vi.launch)(**arguments)


@pytest.mark.parametrize("missing", ["vit_inspect_dashboard", "streamlit.web"])
def test_a_missing_dashboard_is_a_sentence(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in ("in_process", "launch"):
        monkeypatch.delitem(sys.modules, f"vit_inspect_dashboard.{name}")
    monkeypatch.setitem(sys.modules, missing, None)
    before = list(sys.path)
    with pytest.raises(vi.DashboardMissing, match=r'pip install "vit-inspect\[dashboard\]"'):
        vi.launch()
    assert sys.path == before


def test_a_visitor_cannot_say_from_which_launch_he_comes() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])

    name = launched.HEADER
    headers = [(name.title().encode(), b"forged"), (b"host", b"here")]
    stamped = in_process._stamped(app, "true")
    with suppress(StopIteration):
        stamped({"type": "http", "headers": headers}, None, None).send(None)  # type: ignore
    assert seen == [(b"host", b"here"), (name.encode(), b"true")]


@pytest.mark.parametrize("images", [noise((70, 50), 8), [noise((70, 50), 8)]])
def test_the_lines_of_python_run_with_what_was_launched(wrapped: vi.Model, images: Any) -> None:
    name = offers.offer_network(wrapped)
    [picture] = in_process._pictures(images)
    said = (("mean", (0.1, 0.2, 0.3)),)
    lines = as_python.capture_lines(Subject(name, None, "whole", picture, said=said))
    given: dict[str, Any] = {"model": wrapped, "images": images}
    exec("\n".join(lines), given)
    capture = given["capture"]
    assert (capture.model.recipe.mean, capture.model.recipe.fit) == ((0.1, 0.2, 0.3), "whole")
    assert capture.photographs[0].sha256 == vi.capture(wrapped, images).photographs[0].sha256
    offers.withdraw_network(name)
