"""Users of a real server, without a browser: each says and reads what the browser's script would.

Every number that comes back is compared with the one computed here, alone. The server runs in a
process of its own (`serving.py`) and also says what it holds in memory.
"""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

import numpy as np
import requests
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

import vit_inspect as vi
from tests.conftest import noise
from tests.dashboard.serving import ROOT
from tests.dashboard.test_explorer import unpacked
from vit_inspect.attention.rows import rows
from vit_inspect_dashboard import places

SECONDS = 300
"""How long an answer may take when all ask at once."""
ASKED = ("explore", "attention_rollout", "attention_distance")
"""The views that users ask."""
CANVAS = "canvas"
"""The key of the explorer."""
SIZES_PX = (224, 252, 336)
"""One more than there are models kept, which tells them apart by size."""
LAYERS, HEADS = 12, 6


class Server:
    """A dashboard in a process of its own, which also answers what it holds in memory."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            self.port = free.getsockname()[1]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.dashboard.serving", f"--server.port={self.port}"],
            cwd=ROOT,
            # Beside a browser and other tests, more threads are slower.
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def __enter__(self) -> Self:
        deadline = time.monotonic() + SECONDS
        while not self.healthy():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.2)
        return self

    def __exit__(self, *problem: object) -> None:
        self._process.terminate()
        self._process.communicate()
        self._log.close()

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://localhost:{self.port}/_stcore/health") as answer:
                return bool(answer.read() == b"ok")
        except OSError:
            return False

    def log(self) -> str:
        """What the server wrote so far, tracebacks included."""
        self._log.flush()
        self._log.seek(0)
        return self._log.read()

    def ask(self, question: str) -> dict[str, float]:
        """One of `PROBES`, with its argument after a space."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        answer: dict[str, float] = json.loads(self._process.stdout.readline())
        return answer


class Visitor:
    """A user's window: `open` an address, then choose, press, open maps, pin and go, one by one.

    elements: what is on the page and has a key, by that key.
    problems: the exceptions and errors that were shown since the window was opened.
    """

    def __init__(self, port: int, socket: ClientConnection) -> None:
        self.problems: list[str] = []
        self.elements: dict[str, Any] = {}
        self._port, self._socket = port, socket
        self._states: dict[str, WidgetState] = {}
        self._session = self._page = self._query = ""

    def open(self, view: str, **query: object) -> None:
        """Goes to an address, as a copied link does."""
        self.ask(view, **query)
        self._await()

    def ask(self, view: str, **query: object) -> None:
        """The same, without waiting: what a page still computes is left at the next ask."""
        self._states.clear()
        self._query, self._page = urlencode({"at": view} | query), ""
        self._send()

    def go(self, view: str) -> None:
        """Clicks on the title of a view's place, and then on its own."""
        place = places.place_of(view)
        self._switch("place", place.title)
        self._switch("view", place.views[view])

    def _switch(self, key: str, title: str) -> None:
        state = WidgetState(id=self.elements[key].id)
        state.string_array_value.data.append(title)
        self._rerun(changed=state)

    def choose(self, key: str, option: str) -> None:
        """Takes an option of a list."""
        self._rerun(changed=WidgetState(id=self.elements[key].id, string_value=option))

    def press(self, key: str) -> None:
        """Presses a button."""
        trigger = WidgetState(id=self.elements[key].id, trigger_value=True)
        self._rerun(trigger=trigger)

    def choose_map(self, **chosen: object) -> None:
        """Chooses on the canvas: its layer and column, or a query, which is a patch's index."""
        event = json.dumps([{"event": "chosen", "value": chosen}])
        identity = f"$$STREAMLIT_INTERNAL_KEY_{self.elements[CANVAS].id}__events"
        self._rerun(trigger=WidgetState(id=identity, json_trigger_value=event))

    def upload(self, name: str, data: bytes) -> None:
        """Drops a file on the place for pictures."""
        asked = BackMsg()
        asked.file_urls_request.request_id = name
        asked.file_urls_request.session_id = self._session
        asked.file_urls_request.file_names.append(name)
        self._socket.send(asked.SerializeToString())
        while (told := self._receive()).WhichOneof("type") != "file_urls_response":
            pass
        urls = told.file_urls_response.file_urls[0]
        server = f"http://localhost:{self._port}"
        with requests.Session() as web:
            web.get(f"{server}/_stcore/health").raise_for_status()
            token = {"X-Xsrftoken": web.cookies.get("_streamlit_xsrf", "")}
            web.put(
                server + urls.upload_url, files={name: (name, data)}, headers=token
            ).raise_for_status()
        state = WidgetState(id=self.elements["uploads"].id)
        file = state.file_uploader_state_value.uploaded_file_info.add()
        file.file_id, file.name, file.size = urls.file_id, name, len(data)
        file.file_urls.CopyFrom(urls)
        self._rerun(changed=state)

    def _rerun(
        self,
        *,
        changed: WidgetState | None = None,
        trigger: WidgetState | None = None,
    ) -> None:
        self._send(changed, trigger)
        self._await()

    def _send(self, changed: WidgetState | None = None, trigger: WidgetState | None = None) -> None:
        if changed:
            self._states[changed.id] = changed
        asked = BackMsg()
        asked.rerun_script.query_string = self._query
        asked.rerun_script.page_script_hash = self._page
        asked.rerun_script.widget_states.widgets.extend(self._states.values())
        if trigger:
            asked.rerun_script.widget_states.widgets.append(trigger)
        asked.rerun_script.context_info.color_scheme = "light"
        self._socket.send(asked.SerializeToString())

    def _await(self) -> None:
        while not self._finished(self._receive()):
            pass
        shown = {element.id for element in self.elements.values()}
        self._states = {key: state for key, state in self._states.items() if key in shown}

    def _receive(self) -> ForwardMsg:
        data = self._socket.recv(timeout=SECONDS)
        assert isinstance(data, bytes)
        return ForwardMsg.FromString(data)

    def _finished(self, told: ForwardMsg) -> bool:
        kind = told.WhichOneof("type")
        if kind == "new_session":
            self.elements = {}
            self._session = told.new_session.initialize.session_id or self._session
        elif kind == "navigation":
            self._page = told.navigation.page_script_hash
        elif kind == "page_info_changed":
            self._query = told.page_info_changed.query_string
        elif kind == "delta" and told.delta.WhichOneof("type") == "new_element":
            self._take(told.delta.new_element)
        elif kind == "script_finished":
            rerun = ForwardMsg.FINISHED_EARLY_FOR_RERUN
            if told.script_finished not in (ForwardMsg.FINISHED_SUCCESSFULLY, rerun):
                self.problems.append(str(told))
            return told.script_finished != rerun
        return False

    def _take(self, told: Any) -> None:
        kind = told.WhichOneof("type")
        element = getattr(told, kind)
        if kind == "exception" or (kind == "alert" and element.format == element.ERROR):
            self.problems.append(str(element))
        if identity := getattr(element, "id", ""):
            self.elements[identity.split("-", 2)[2]] = element
            # The browser takes over what the server has set, and sends it from then on.
            if getattr(element, "set_value", False) and kind == "selectbox":
                self._states[identity] = WidgetState(id=identity, string_value=element.raw_value)


@contextmanager
def visitor(port: int) -> Iterator[Visitor]:
    """A new user, whose window is closed at the end."""
    with connect(
        f"ws://localhost:{port}/_stcore/stream",
        subprotocols=[Subprotocol("streamlit")],
        max_size=None,
        compression=None,
        open_timeout=SECONDS,
        ping_timeout=None,
    ) as socket:
        yield Visitor(port, socket)


class Question(NamedTuple):
    """What a user looks at; `answer` reads it off the page, `truth` computes it alone.

    image: a sample's name, or the seed of a picture that is uploaded.
    patch: the patch whose attention is pinned; None for the class token.
    """

    view: str
    image: str | int
    size_px: int
    layer: int = LAYERS - 1
    head: int = 0
    patch: int | None = None

    def answer(self, elements: dict[str, Any]) -> dict[str, Any]:
        """The numbers on the page; their order is that of `truth`."""
        if self.view == "attention_distance":
            return self._dots(elements["distance"])
        told = unpacked(elements[CANVAS].bytes)
        layer, column = told.header["opened"]
        if self.view == "attention_rollout":
            return {"relevance": told.maps[layer, column]}
        return {
            "weights": told.weights,
            "mass": told.masses,
            "query": told.header["query"],
            "opened": (layer, column),
        }

    def _dots(self, element: Any) -> dict[str, Any]:
        figure = json.loads(element.spec)
        dots = [array(trace["y"]) for trace in figure["data"] if trace["mode"] == "markers"]
        return {"distance": np.stack(dots[::2], 1), "mass": np.stack(dots[1::2], 1)}

    def truth(self) -> dict[str, Any]:
        """The same numbers from the core, with nothing else going on."""
        capture = captured(self.image, self.size_px)
        if self.view == "attention_rollout":
            return {"relevance": vi.attention_rollout(capture).relevance[0]}
        if self.view == "attention_distance":
            distance = vi.attention_distance(capture)
            return {"distance": distance.distance_px[0], "mass": distance.prefix_mass[0]}
        layout = capture.layout
        attention = rows(capture.layers[self.layer], range(layout.token_count))
        weights = attention[0, self.head].numpy()
        return {
            "weights": weights[:, layout.prefix_count :].reshape(-1, *layout.grid),
            "mass": weights[:, : layout.prefix_count],
            "query": "Class token (CLS)" if self.patch is None else self.patch,
            "opened": (self.layer, self.head),
        }


def array(sent: Any) -> np.ndarray:
    """An array of a plotly figure, which travels as a list or as bytes in text."""
    if isinstance(sent, list):
        return np.array(sent)
    values = np.frombuffer(base64.b64decode(sent["bdata"]), sent["dtype"])
    return values.reshape([int(side) for side in sent.get("shape", "-1").split(",")])


def file_of(seed: int) -> bytes:
    """A picture of 1000 × 700 px that nobody else has."""
    file = io.BytesIO()
    small = noise((20, 14), seed)
    small.resize((1000, 700)).save(file, "PNG")
    return file.getvalue()


@lru_cache(maxsize=1)
def loaded(size_px: int) -> vi.Model:
    return vi.load("dinov2_small", img_size=size_px)


@lru_cache(maxsize=1)
def captured(image: str | int, size_px: int) -> vi.Capture:
    picture = (
        vi.sample(image)
        if isinstance(image, str)
        else vi.read_image(file_of(image), name=name_of(image))
    )
    return vi.capture(loaded(size_px), picture)


def name_of(image: str | int) -> str:
    """What the list of pictures calls it."""
    return image if isinstance(image, str) else f"own {image}.png"


def difference(answer: dict[str, Any], truth: dict[str, Any]) -> float:
    """The largest difference, relative to the largest true value; infinite for another answer."""
    worst = 0.0
    for name, true in truth.items():
        told = answer[name]
        if not isinstance(true, np.ndarray):
            worst = max(worst, 0.0 if told == true else np.inf)
        elif told.shape != true.shape:
            return float(np.inf)
        else:
            worst = max(worst, float(np.abs(told - true).max() / np.abs(true).max()))
    return worst


def visit(port: int, user: int, answers: list[tuple[Question, dict[str, Any]]]) -> list[str]:
    """One user's way through the pages, on a picture of their own and on a sample.

    Every question is asked in another way: by address, on the canvas, by an upload, by titles, by
    lists.
    """
    samples = list(vi.SAMPLES)
    size = SIZES_PX[user % len(SIZES_PX)]
    sample, layer, head = samples[user % len(samples)], user % LAYERS, user % (HEADS - 1)
    patch = 7 * user % (size // 14) ** 2

    def note(question: Question) -> None:
        answers.append((question, question.answer(window.elements)))

    with visitor(port) as window:
        window.open("explore", image=name_of(sample), size=size, layer=layer, head=head)
        question = Question("explore", sample, size, layer, head)
        note(question)
        window.choose_map(query=patch)
        note(question := question._replace(patch=patch))
        window.choose_map(layer=layer, column=head + 1)
        note(question := question._replace(head=head + 1))
        window.upload(name_of(user), file_of(user))
        note(question := question._replace(image=user))
        window.go("attention_rollout")
        note(question := question._replace(view="attention_rollout"))
        window.go("attention_distance")
        note(question := question._replace(view="attention_distance"))
        window.choose("image", name_of(sample))
        note(question._replace(image=sample))
        return window.problems


def together(port: int, users: Sequence[int]) -> tuple[list[tuple[Question, Any]], list[str]]:
    """All users at the same time; returns all answers, and what went wrong."""
    answers: list[tuple[Question, dict[str, Any]]] = []
    problems: list[str] = []

    def run(user: int) -> None:
        try:
            problems.extend(visit(port, user, answers))
        except Exception as problem:
            problems.append(f"user {user}: {problem!r}")

    threads = [threading.Thread(target=run, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers, problems
