"""Does the address hold what is chosen, and do controls, links and Back change just that?"""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from vit_inspect_dashboard.address import LENGTH, MOST


def page() -> None:
    """Some controls of each kind; what is held is written below them."""
    import streamlit as st

    from vit_inspect_dashboard import address

    address.begin()
    st.selectbox("Layer", [0, 1, 2], **address.one_of("layer", [0, 1, 2], start=2))
    models = ["a", "b"]
    st.selectbox(
        "Model", models, accept_new_options=True, **address.one_of("model", models, typed=True)
    )
    st.toggle("Check", **address.one_of("check", (False, True), start=False))
    st.multiselect("Off", ["x", "y", "z"], **address.many_of("off", ["x", "y", "z"]))
    with st.form("said"):
        st.text_input("Mean", **address.in_form("mean"))
        st.selectbox("Crop", ["c", "s"], index=None, **address.in_form("crop", ["c", "s"]))
        st.form_submit_button("Say", on_click=address.take, args=(("mean", "crop"),))
    st.button("Click", on_click=address.put, kwargs={"layer": 0, "query": "Patch (1, 2)"})
    st.button("Work", on_click=address.stay)
    st.button("Forget", on_click=address.put, kwargs=dict.fromkeys(("layer", "mean", "off")))
    held = st.session_state["address"]
    st.text(f"{address.get('layer')} {address.get_all('layer')} {address.get('none')} {len(held)}")
    for name, options in (("left", [1, 2]), ("right", [2, 3])):
        st.selectbox(name, options, **address.one_of("both", options, start=2, control=name))
    soon = "It may come."
    late = ["now", *st.session_state.get("came", [])]
    st.selectbox("Late", late, **address.one_of("late", late, start="now", awaited=soon))
    for said in address.correct():
        st.warning(said)
    address.finish()


def opened(**held: object) -> AppTest:
    """The page of a link."""
    app = AppTest.from_function(page)
    app.query_params.update(held)
    return app.run()


def press(app: AppTest, label: str) -> None:
    [button] = [each for each in app.button if each.label == label]
    button.click().run()


def arrive(app: AppTest, **held: object) -> None:
    """The browser's address changes by itself, as by Back or a link, and the page runs."""
    app.query_params.clear()
    app.query_params.update(held)
    app.run()


def shown(app: AppTest) -> tuple[Any, ...]:
    """The values of the controls."""
    assert not app.exception
    kinds = (app.selectbox, app.toggle, app.multiselect, app.text_input)
    values = {each.key: each.value for kind in kinds for each in kind}
    return tuple(values[key] for key in ("layer", "model", "check", "off", "mean", "crop"))


START = (2, None, False, [], None, None)


def test_at_first_nothing_is_held_and_controls_are_where_they_start() -> None:
    app = opened()
    assert shown(app) == START
    assert app.query_params == {}


def test_a_link_says_what_controls_show_and_what_this_page_has_no_control_for_stays() -> None:
    link = {
        "layer": "0",
        "model": "b",
        "check": "True",
        "off": ["z", "x"],
        "mean": "0.5",
        "crop": "s",
        "query": "Patch (0, 1)",
    }
    app = opened(**link)
    assert shown(app) == (0, "b", True, ["z", "x"], "0.5", "s")
    assert app.query_params == link
    app.toggle(key="check").set_value(False).run()
    assert app.query_params == {key: value for key, value in link.items() if key != "check"}


def test_each_choice_is_written_and_where_a_control_starts_is_not() -> None:
    app = opened()
    app.selectbox(key="layer").set_value(0).run()
    assert app.query_params == {"layer": "0"}
    app.toggle(key="check").set_value(True).run()
    assert app.query_params == {"layer": "0", "check": "True"}
    app.multiselect(key="off").set_value(["y", "x"]).run()
    assert app.query_params == {"layer": "0", "check": "True", "off": ["y", "x"]}
    app.selectbox(key="layer").set_value(2).run()
    app.multiselect(key="off").set_value([]).run()
    app.toggle(key="check").set_value(False).run()
    assert app.query_params == {}
    assert shown(app) == START


def test_a_click_changes_some_and_keeps_the_rest() -> None:
    app = opened(layer="1", check="True")
    press(app, "Click")
    assert app.query_params == {"layer": "0", "check": "True", "query": "Patch (1, 2)"}
    assert shown(app)[:3] == (0, None, True)


def test_what_is_taken_back_is_gone() -> None:
    app = opened(layer="1", mean="0.5", off=["x", "y"], query="Patch (0, 1)")
    press(app, "Forget")
    assert app.query_params == {"query": "Patch (0, 1)"}
    assert shown(app) == START


def test_a_form_is_heard_once_its_button_is_pressed() -> None:
    app = opened()
    app.text_input(key="mean").set_value("0.5")
    app.selectbox(key="crop").set_value("c")
    press(app, "Say")
    assert app.query_params == {"mean": "0.5", "crop": "c"}
    app.text_input(key="mean").set_value("")
    press(app, "Say")
    assert app.query_params == {"crop": "c"}
    assert shown(app) == (2, None, False, [], None, "c")


def test_back_and_forward_are_followed() -> None:
    app = opened(layer="1")
    app.selectbox(key="layer").set_value(0).run()
    app.multiselect(key="off").set_value(["x"]).run()
    steps = [({"layer": "0"}, 0), ({"layer": "1"}, 1), ({}, 2), ({"layer": "1"}, 1)]
    for held, layer in steps:
        arrive(app, **held)
        assert shown(app) == (layer, *START[1:])
        assert app.query_params == held
        # A run for another reason changes nothing.
        app.run()
        assert shown(app) == (layer, *START[1:])
        assert app.query_params == held
    # And what is chosen after Back starts from there.
    app.toggle(key="check").set_value(True).run()
    assert app.query_params == {"layer": "1", "check": "True"}


def test_a_changed_control_goes_before_an_address_that_is_older() -> None:
    """A second change, made before the browser heard of the first, keeps both."""
    app = opened(layer="1")
    app.selectbox(key="layer").set_value(0).run()
    app.query_params.clear()
    app.query_params.update(layer="1")
    app.multiselect(key="off").set_value(["x"]).run()
    assert shown(app) == (0, None, False, ["x"], None, None)
    assert app.query_params == {"layer": "0", "off": "x"}
    # That was said once: the next address that comes alone is taken.
    arrive(app, layer="1")
    assert shown(app) == (1, *START[1:])


def test_what_leaves_the_address_as_it_is_is_no_step_back() -> None:
    app = opened(layer="1")
    app.selectbox(key="layer").set_value(0).run()
    app.query_params.clear()
    app.query_params.update(layer="1")
    press(app, "Work")
    assert shown(app)[0] == 0
    assert app.query_params == {"layer": "0"}


def told(app: AppTest) -> list[str]:
    return [each.value for each in app.warning]


@pytest.mark.parametrize("nonsense", ["4", "-1", "1.0", "true", "<b>", "9" * LENGTH])
def test_what_is_no_option_is_told_and_asked_for_no_more(nonsense: str) -> None:
    app = opened(layer=nonsense, off=[nonsense, "x"], check=nonsense, query="Patch (0, 1)")
    assert shown(app) == (2, None, False, ["x"], None, None)
    name = nonsense if len(nonsense) < LENGTH else f"{'9' * 20}…{'9' * 19}"
    sentences = [
        f"“layer={name}” of the address is not possible here. Chosen instead: 2. "
        "Possible: 0, 1, 2.",
        f"“check={name}” of the address is not possible here. Chosen instead: False. "
        "Possible: False, True.",
        f"“off={name}” of the address is not possible here. Chosen instead: x. Possible: x, y, z.",
    ]
    assert told(app) == sentences
    # The address says what is shown; what has no control here may be possible elsewhere.
    assert app.query_params == {"off": "x", "query": "Patch (0, 1)"}
    # Another run changes nothing, and a choice ends it.
    said = told(app)
    app.run()
    press(app, "Work")
    assert told(app) == said
    app.toggle(key="check").set_value(True).run()
    assert told(app) == []
    # Whoever goes back to the link is told again.
    arrive(app, layer=nonsense)
    assert told(app)[0] == sentences[0]
    assert app.query_params == {}


def test_an_option_of_more_letters_than_an_address_holds_is_chosen_by_its_beginning() -> None:
    app = opened()
    app.session_state["came"] = ["x" * 10_000]
    app.run()
    app.selectbox(key="late").set_value("x" * 10_000).run()
    for _ in range(2):
        assert app.query_params == {"late": "x" * LENGTH}
        assert app.selectbox(key="late").value == "x" * 10_000
        assert told(app) == []
        app.run()


def test_nothing_is_not_told() -> None:
    app = opened(layer="", off=["", "x"], crop="", check="", late="")
    assert (shown(app), told(app)) == ((2, None, False, ["x"], None, None), [])


def test_what_one_control_of_a_page_has_stays_and_the_other_is_told() -> None:
    app = opened(both="3")
    for _ in range(2):
        assert [app.selectbox(key=each).value for each in ("left", "right")] == [2, 3]
        [said] = told(app)
        assert said.startswith("“both=3” of the address is not possible here. Chosen instead: 2.")
        assert app.query_params == {"both": "3"}
        app.run()


def test_what_may_come_yet_is_told_and_still_asked_for() -> None:
    app = opened(late="soon")
    for _ in range(2):
        assert app.selectbox(key="late").value == "now"
        assert told(app) == ["It may come."]
        assert app.query_params == {"late": "soon"}
        app.run()
    app.session_state["came"] = ["soon"]
    app.run()
    assert app.selectbox(key="late").value == "soon"
    assert told(app) == []


def test_what_may_be_typed_is_shown_though_it_is_no_option() -> None:
    assert shown(opened(model="typed in")) == (2, "typed in", *START[2:])


def test_of_several_values_of_a_single_choice_the_last_counts() -> None:
    app = opened(layer=["0", "1"])
    assert shown(app)[0] == 1
    assert app.text[0].value == "1 ('0', '1') None 1"


def test_an_address_is_read_up_to_a_limit() -> None:
    app = opened(
        mean="m" * (LENGTH + 1),
        off=["x"] * (MOST - 1) + ["y", "z"],
        **{f"key{index}": "v" for index in range(2 * MOST)},
    )
    assert shown(app)[4] == "m" * LENGTH
    # The values of one entry, in the order of the address.
    assert shown(app)[3] == ["x"] * (MOST - 1) + ["y"]
    assert app.text[0].value.endswith(f" {MOST}")
    # And no more goes back, beside what is chosen now.
    app.toggle(key="check").set_value(True).run()
    assert len(app.query_params) == MOST + 1
    assert len(app.query_params["mean"]) == LENGTH
    assert len(app.query_params["off"]) == MOST


def test_numbers_and_lists_are_written_as_words() -> None:
    def page() -> None:
        from vit_inspect_dashboard import address

        address.begin()
        address.put(layer=3, off=("a", 1), share=0.5, nothing=[], said="")
        address.finish()

    app = AppTest.from_function(page).run()
    assert not app.exception
    assert app.query_params == {"layer": "3", "off": ["a", "1"], "share": "0.5", "said": ""}
