"""Does every page take any address: empty, repeated, huge or strange values of each of its keys?

The keys are those that a page asks for while it is drawn.
"""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from tests.dashboard.apps import APP, VIEWS, refusals
from vit_inspect.loading.recommended import DEFAULT
from vit_inspect_dashboard import address, texts, told

pytestmark = pytest.mark.slow

STRANGE = {
    "empty": "",
    "many": [str(number) for number in range(address.MOST + 1)],
    "huge": "9" * 400,
    "markup": "\u202e<script>$\\frac{$</script>**x**\x00" + "e\u0301" * 100,
}
FIXED = {"model": DEFAULT, "size": "112"}
"""What makes a page quick, and is tried on one page alone."""
SAID = (*told.KEYS, texts.TEXT, texts.TEMPLATE)
"""What a page may refuse, and then shows nothing else; tried one by one."""


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


@pytest.mark.parametrize("view", VIEWS)
def test_a_page_takes_any_values_of_its_keys(view: str, asked: dict[str, tuple[str, ...]]) -> None:
    assert not opened(at=view, **FIXED).exception
    keys = {*asked} - {*FIXED, *SAID, "at"}
    assert len(keys) >= 2
    for name, value in STRANGE.items():
        asked.clear()
        app = opened(at=view, **FIXED, **dict.fromkeys(keys, value))
        assert not app.exception, name
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
