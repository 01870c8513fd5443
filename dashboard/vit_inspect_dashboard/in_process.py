"""How does the dashboard run inside a program, beside the program's own work?

Streamlit has one runtime in a process. It runs in a thread of its own, once it is needed and until
the process ends. Each launch has a port, where a small server hands on to that runtime; to close a
launch is to end this server.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from streamlit import runtime
from streamlit.starlette import App
from streamlit.web import bootstrap

import vit_inspect as vi
from vit_inspect.errors import BadParameter
from vit_inspect.pictures.given import Picture as Given
from vit_inspect.pictures.given import as_picture
from vit_inspect.pictures.samples import EVERY
from vit_inspect_dashboard import launched, offers, pictures
from vit_inspect_dashboard.launch import APP, warm
from vit_inspect_dashboard.pictures import Picture

SECONDS = 5
"""How long a page may take to take leave."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_starting = threading.Lock()


def launch(
    model: vi.Model | str | None, images: Given | Sequence[Given] | None, port: int
) -> vi.Dashboard:
    """The dashboard on a model and pictures at a port; as `vit_inspect.launch` says."""
    brought = _pictures(images)
    bound = _bound(port)
    try:
        with _starting:
            loop, app = _running()
    except BaseException:
        bound.close()
        raise
    name = offers.offer_network(model) if isinstance(model, vi.Model) else model
    key = secrets.token_hex(16)
    launched.add(key, launched.Launched(name, brought))
    server = uvicorn.Server(
        uvicorn.Config(
            _stamped(app, key),
            # The runtime outlives each server.
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=SECONDS,
        )
    )
    serving = asyncio.run_coroutine_threadsafe(server.serve(sockets=[bound]), loop)
    threading.Thread(target=warm, args=(name,), daemon=True).start()

    def stop() -> None:
        server.should_exit = True
        serving.result(timeout=2 * SECONDS)
        launched.remove(key)
        if name is not None and (network := offers.withdraw_network(name)) is not None:
            from vit_inspect_dashboard import models

            models.let_go(network)

    return vi.Dashboard(f"http://localhost:{bound.getsockname()[1]}", stop)


@cache
def _running() -> tuple[asyncio.AbstractEventLoop, App]:
    """Streamlit's application, and the loop in which it runs; started once."""
    if runtime.exists():
        raise BadParameter(
            "another Streamlit app in this process",
            "a program or a notebook of its own",
            "launch the dashboard from there",
        )
    # Streamlit puts the folder of its script first for each run, unless it is there. The program's
    # own modules have to come before those of the dashboard.
    if str(APP.parent) not in sys.path:
        sys.path.append(str(APP.parent))
    app = App(APP)
    # Now it knows where the settings lie; it may have read others before.
    bootstrap.load_config_options({})
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="vit_inspect dashboard", daemon=True).start()
    return loop, app


def _stamped(app: Application, key: str) -> Application:
    """The application, which is told by a header of each request from which launch it comes."""
    name = launched.HEADER.encode()

    async def stamped(scope: Scope, receive: Receive, send: Send) -> None:
        others = [each for each in scope.get("headers", ()) if each[0].lower() != name]
        await app({**scope, "headers": [*others, (name, key.encode())]}, receive, send)

    return stamped


def _bound(port: int) -> socket.socket:
    """A socket that listens at a port of this computer."""
    bound = socket.socket()
    try:
        if os.name != "nt":
            # A port that was closed a moment ago is free; on Windows it would take one that is not.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("localhost", port))
        bound.listen()
    except OSError as error:
        bound.close()
        raise BadParameter(
            f"port {port}, which is taken or not allowed", "a free port", "use 0 for any free one"
        ) from error
    return bound


def _pictures(images: Given | Sequence[Given] | None) -> tuple[Picture, ...]:
    """What is given as pictures, by names that differ; raises for what is none."""
    if images is None:
        return ()
    several = isinstance(images, Sequence) and not isinstance(images, str)
    batch = isinstance(images, np.ndarray) and images.ndim == 4
    given: Any = images if several or batch else [images]
    found: dict[str, Picture] = {}
    for index, each in enumerate(given):
        picture = _picture(each, f"images[{index}]" if several or batch else "images")
        name = pictures.unlike(picture.name, {*EVERY, *found})
        found[name] = replace(picture, name=name)
    return tuple(found.values())


def _picture(given: Given, written: str) -> Picture:
    """One picture; a file is read once, so that it cannot change under its key.

    written: what it is called in Python, and so on the page, if it is no file.
    """
    image = as_picture(given)
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        data = path.read_bytes()
        key = hashlib.sha256(data).hexdigest()
        return Picture(key, path.name, partial(vi.read_image, data, name=path.name))
    kept = image.copy()
    key = hashlib.sha256(f"{kept.size} ".encode() + kept.tobytes()).hexdigest()
    return Picture(key, written, kept.copy, written)
