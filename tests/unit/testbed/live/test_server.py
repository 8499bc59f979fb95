"""The page's server: its files are for everybody, facts and the stop button for those who have the token."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from testbed.errors import InputError
from testbed.live.server import PageServer
from tests.support.live_page import OTHER_TOKEN, LivePage


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_text("one\ntwo\n")
    return path


@pytest.fixture
def stops() -> list[str]:
    return []


@pytest.fixture
def page(events: Path, stops: list[str]) -> Iterator[LivePage]:
    facts = {
        "run.json": lambda _: {"name": "a run"},
        "events.jsonl": lambda _: events,
        "pictures": lambda name: b"jpeg" if name == "a b" else None,
    }
    with PageServer(facts, lambda: stops.append("stop"), broker_port=1234) as server:
        yield LivePage(server.url)


@pytest.mark.parametrize("path", ["/run.json", "/events.jsonl", "/pictures/a", "/unknown"])
def test_facts_need_the_token(page: LivePage, path: str) -> None:
    assert page.status(path, token="") == 403
    assert page.status(path, token=OTHER_TOKEN) == 403


def test_the_page_itself_needs_no_token_and_loads_nothing_from_elsewhere(page: LivePage) -> None:
    for path in ("/", "/page.js", "/page.css"):
        assert page.ask(path, token="")
    text = page.ask("/", token="").decode()
    assert "http" not in text and "//" not in text.replace("<!doctype", "")


def test_facts_are_json_files_and_pictures(page: LivePage) -> None:
    assert page.ask("/run.json") == {"name": "a run"}
    assert page.ask("/events.jsonl") == b"one\ntwo\n"
    assert page.ask("/events.jsonl?from=4") == b"two\n"
    assert page.ask("/pictures/a%20b") == b"jpeg"
    assert page.ask("/pictures/none") is None
    assert page.status("/unknown") == 404


@pytest.mark.parametrize(
    "path", ["/../server.py", "/page/../../server.py", "/%2e%2e/server.py", "//etc/passwd"]
)
def test_nothing_else_of_the_machine_is_served(page: LivePage, path: str) -> None:
    assert page.status(path) == 404


def test_the_stop_button_needs_the_token_and_a_post(page: LivePage, stops: list[str]) -> None:
    assert page.status("/stop", token=OTHER_TOKEN, method="POST") == 403
    assert page.status("/stop") == 404
    assert stops == []
    page.ask("/stop", method="POST")
    assert stops == ["stop"]


def test_a_page_that_is_closed_early_is_no_error(
    page: LivePage, events: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    events.write_bytes(bytes(20_000_000))
    address = urlsplit(page.url)
    with socket.create_connection((address.hostname, address.port)) as closed:
        head = f"GET /events.jsonl HTTP/1.0\r\nAuthorization: Bearer {address.fragment}\r\n\r\n"
        closed.sendall(head.encode())
        assert closed.recv(100).startswith(b"HTTP/1.0 200")
    assert page.ask("/run.json") == {"name": "a run"}
    assert capfd.readouterr().err == ""


def test_a_replay_cannot_be_stopped(events: Path) -> None:
    with PageServer({"events.jsonl": lambda _: events}) as server:
        assert LivePage(server.url).status("/stop", method="POST") == 404


def test_a_taken_port_is_one_line(page: LivePage) -> None:
    port = int(page.url.split(":")[2].split("/")[0])
    with pytest.raises(InputError, match="choose another --live-host or --live-port"):
        PageServer({}, port=port)
