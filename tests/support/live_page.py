"""A live page without a browser: reads its address from a run's output, and hears what a page would hear."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from nodes.contract import topics
from tests.support.waiting import wait_for

OTHER_TOKEN = "another"  # noqa: S105 - one that no server has
TOLD = re.compile(r"(?:live page|replay): (\S+)")


@dataclass
class LivePage:
    """The page of a run in progress.

    Attributes:
        url: its address, with the token.
        heard: (moment of CLOCK_MONOTONIC, message) of each message of the broker, in order.
    """

    url: str
    heard: list[tuple[float, dict[str, Any]]] = field(default_factory=list)

    def ask(self, path: str, *, token: str | None = None, method: str = "GET") -> Any:
        """Return what the server answers: JSON, or bytes; None for no content."""
        parts = urlsplit(self.url)
        request = urllib.request.Request(f"http://{parts.netloc}{path}", method=method)
        request.add_header("Authorization", f"Bearer {parts.fragment if token is None else token}")
        with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
            content = response.read()
            is_json = response.headers.get("Content-Type") == "application/json"
            return json.loads(content) if is_json else content or None

    def status(self, path: str, *, token: str | None = None, method: str = "GET") -> int:
        """Return the status of an answer that is an error."""
        try:
            self.ask(path, token=token, method=method)
        except urllib.error.HTTPError as error:
            return error.code
        return 200

    def connect(self) -> mqtt.Client:
        """Return a client that hears what the broker tells pages."""
        access = self.ask("/broker")
        client = page_client(urlsplit(self.url).hostname or "", **access)
        client.on_message = lambda _, __, message: self.heard.append(
            (time.monotonic(), json.loads(message.payload))
        )
        client.subscribe([(topics.event(topics.ANY), 0), (topics.STATE, 0)])
        return client


def page_client(host: str, *, port: int, username: str, password: str, client_id: str = "") -> mqtt.Client:
    """Return a client that is connected to a broker over WebSockets."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id or username, transport="websockets")
    client.username_pw_set(username, password)
    client.connect(host, port, keepalive=10)
    client.loop_start()
    wait_for(client.is_connected, "connection over WebSockets")
    return client


def page_told_by(output: IO[str], lines: list[str]) -> LivePage:
    """Return the page whose address a run prints; what it prints is kept in `lines`, also later."""
    for line in output:
        lines.append(line)
        if found := TOLD.search(line):
            threading.Thread(target=lambda: lines.extend(output), daemon=True).start()
            return LivePage(found[1])
    raise AssertionError(f"no live page: {''.join(lines)}")
