"""Is a hub asked where it answers, and is nobody kept waiting by one that does not?"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import huggingface_hub
import pytest

from vit_inspect.loading import hub

constants = huggingface_hub.constants


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Takes connections, and says nothing by itself."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.settimeout(10)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield listening


@pytest.mark.parametrize("cached", [False, True])
def test_a_hub_that_swallows_what_it_is_sent_is_left_alone(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    # The other one would keep the test for a minute.
    monkeypatch.setattr(hub, "PATIENCE_SECONDS", 60.0 if cached else 0.2)
    monkeypatch.setattr(hub, "PATIENCE_IF_CACHED_SECONDS", 0.2 if cached else 60.0)
    with hub.reachable_hub(cached=cached):
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 403 No\r\n\r\n", b"??\r\n"]
)
def test_whatever_a_hub_says_it_is_asked(server: socket.socket, answer: bytes) -> None:
    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with hub.reachable_hub():
        assert not constants.HF_HUB_OFFLINE
    thread.join()


def test_no_hub_is_asked_where_it_is_switched_off_or_has_no_address(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "no address")
    with hub.reachable_hub():
        assert constants.HF_HUB_OFFLINE
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "_answers", None)
    with hub.reachable_hub():
        assert constants.HF_HUB_OFFLINE
    assert constants.HF_HUB_OFFLINE
