"""Windows of a browser, and when one rests: what was asked of the server is answered and drawn.

Nothing here waits for a while and hopes: on a slow machine it only takes longer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, WebSocket, expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

SECONDS = 120
"""How long one thing may take; beside other tests, on a slow machine, some take a quarter of it."""
SCREEN = ViewportSize(width=1440, height=900)
PHONE: dict[str, Any] = {
    "viewport": ViewportSize(width=390, height=844),
    "has_touch": True,
    "is_mobile": True,
}
RESTS = """() => {
  const every = (selector, holds, root = document) =>
    [...root.querySelectorAll(selector)].every(holds);
  return (
    document.querySelector("[data-testid=stApp]")?.dataset.testScriptState === "notRunning" &&
    every("[data-stale=true], [data-testid=stSkeleton]", () => false) &&
    every(".js-plotly-plot", (plot) => plot._fullLayout && plot._ev?.eventNames().length) &&
    every("[data-testid=stBidiComponentIsolated]", ({ shadowRoot }) =>
      shadowRoot?.childElementCount &&
      every("canvas.picture", (canvas) => canvas.dataset.shown, shadowRoot) &&
      every("img", (image) => image.complete, shadowRoot)
    )
  );
}"""
"""Nothing of the run before is left; plots and components are there, drawn, and hear the cursor."""
FRAMES = """async () => {
  await document.fonts.ready;
  for (const _ of [0, 1]) await new Promise(requestAnimationFrame);
}"""
"""What has happened until now is on the screen."""


class Talk:
    """Whether a window asked its server for something that is not answered yet."""

    def __init__(self, page: Page) -> None:
        self.waits = self._begun = False
        page.on("websocket", self._follow)

    def _follow(self, socket: WebSocket) -> None:
        socket.on("framesent", self._sent)
        socket.on("framereceived", self._received)

    def _sent(self, frame: Any) -> None:
        if BackMsg.FromString(frame).WhichOneof("type") == "rerun_script":
            self.waits, self._begun = True, False

    def _received(self, frame: Any) -> None:
        told = ForwardMsg.FromString(frame)
        kind = told.WhichOneof("type")
        if kind == "new_session":
            self._begun = True
        elif kind == "script_finished" and self._begun:
            # A run that is ended for another one answers nothing.
            self.waits = told.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN


_talks: WeakKeyDictionary[Page, Talk] = WeakKeyDictionary()


def new_window(context: BrowserContext) -> Page:
    """A window of this user of which `ready` can tell."""
    page = context.new_page()
    _talks[page] = Talk(page)
    return page


@contextmanager
def user_with(browser: Browser, address: str | None = None, **options: Any) -> Iterator[Page]:
    """The window of a user of their own, such as one with a `PHONE`; closed in the end."""
    context = browser.new_context(**{"base_url": address, "viewport": SCREEN} | options)
    context.set_default_timeout(SECONDS * 1000)
    yield new_window(context)
    context.close()


def ready(page: Page) -> None:
    """Waits until a window rests, after whatever it was asked for before."""
    deadline = time.monotonic() + SECONDS
    page.evaluate(FRAMES)
    while True:
        while _talks[page].waits:
            assert time.monotonic() < deadline, "no answer from the server"
            page.wait_for_timeout(20)
        page.evaluate(FRAMES)
        page.wait_for_function(RESTS)
        page.evaluate(FRAMES)
        # What was drawn may have asked for more: a narrow page is laid out once again.
        if not _talks[page].waits:
            return


def show(page: Page, path: str) -> None:
    """Opens an address."""
    page.goto(path)
    ready(page)
    expect(page.locator("h1, [data-testid=stAlert]")).not_to_have_count(0)
