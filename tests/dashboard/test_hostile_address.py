"""Does every page take any address: empty, repeated, huge or strange values of each of its keys?

The keys are those that a page asks for while it is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest

import vit_inspect as vi
from tests.conftest import noise
from tests.dashboard.apps import APP, VIEWS, refusals
from vit_inspect.loading.bundled import FASHION
from vit_inspect.loading.recommended import DEFAULT
from vit_inspect_dashboard import address, surveyed, texts, told

pytestmark = pytest.mark.slow

STRANGE = {
    "empty": "",
    "many": [str(number) for number in range(20)],
    "huge": "9" * 400,
    "markup": "\u202e<script>$\\frac{$</script>**x**\x00" + "e\u0301" * 100,
}
FIXED = {"model": DEFAULT}
"""What makes a page quick, and is tried on one page alone."""
SAID = (*told.KEYS, texts.TEXT, texts.TEMPLATE)
"""What a page may refuse, and then shows nothing else; tried one by one."""
ANY = {"width", "right_model", "other_model"}
"""What may be typed, and is refused where it is used."""
OPENED: list[tuple[str, dict[str, str]]] = [
    *((view, {}) for view in VIEWS),
    *(("learn", {"step": str(step)}) for step in range(2, 9)),
    *(("compare", {"against": each}) for each in ("model", "layer or head")),
    ("compare", {"figure": "Token norms", "against": "layer"}),
    *(("attention_relevance", {"target": each}) for each in ("a patch", "another picture")),
    *(("surveys", {"groups": each}) for each in ("two labels", "a range of values")),
    ("surveys", {"survey": "training: training"}),
    *((view, {"model": FASHION}) for view in ("attention_relevance", "learn", "logit_lens")),
    ("learn", {"model": FASHION, "step": "8"}),
]
"""Each page, and again with what it has more choices for."""


@pytest.fixture(scope="module", autouse=True)
def surveys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two surveys that are offered, of pictures of three labels, and one of a training."""
    pictures, folder = tmp_path_factory.mktemp("pictures"), tmp_path_factory.mktemp("surveys")
    for number in range(6):
        place = pictures / "abc"[number % 3]
        place.mkdir(exist_ok=True)
        noise((40, 40), number).save(place / f"{number}.png")
    model = vi.load(img_size=56, device="cpu")
    for name in ("first", "second", "training/step-00000001", "training/step-00000002"):
        vi.survey(model, pictures, folder / name, statistics=["entropy"], label_from="folder")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(surveyed, "_folders", [folder])
        yield


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, ...]]:
    """The keys that a page asks for, and what it finds."""
    found: dict[str, tuple[str, ...]] = {}
    real = address.get_all

    def get_all(key: str) -> tuple[str, ...]:
        return found.setdefault(key, real(key))

    monkeypatch.setattr(address, "get_all", get_all)
    return found


def opened(**held: object) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params.update(held)
    return app.run()


@pytest.mark.parametrize(("view", "held"), OPENED)
def test_a_page_takes_any_values_of_its_keys_and_tells_what_it_shows_instead(
    view: str, held: dict[str, str], asked: dict[str, tuple[str, ...]]
) -> None:
    assert not opened(**{"at": view, **FIXED, **held}).exception
    keys = {*asked} - {*FIXED, *SAID, *held, "at"}
    assert len(keys) >= 2
    for name, value in STRANGE.items():
        asked.clear()
        app = opened(**{"at": view, **FIXED, **held}, **dict.fromkeys(keys, value))
        assert not app.exception, name
        said = " ".join(each.value for each in app.warning).replace("\\", "")
        assert len(said) < 500 * len(keys)
        for key in ({*asked} & keys) - {*ANY, "image"} if name in ("huge", "markup") else ():
            assert f"“{key}=" in said, (name, key)
            assert key not in app.query_params, (name, key)
        assert ("“" in said) == (name != "empty")
        assert ("uploaded elsewhere" in said) == (name != "empty")
        # A print may be too wide, but nothing is asked for by nothing.
        assert name != "empty" or not app.error
        some = asked["image"]
        assert len(some) == (1 if isinstance(value, str) else min(len(value), address.MOST))
        assert some[0] == (value if isinstance(value, str) else value[0])[: address.LENGTH]


@pytest.mark.parametrize("key", ["at", *FIXED, *SAID])
def test_what_says_which_page_and_which_model_it_is_may_be_refused_in_a_sentence(key: str) -> None:
    for name, value in STRANGE.items():
        app = opened(**{"at": "about", **FIXED, key: value})
        assert not app.exception, name
        for sentence in refusals(app):
            assert len(sentence) < 1_000, name
