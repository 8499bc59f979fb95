"""What a program on a node can ask: GET /state over a Unix socket, read-only, JSON.

curl --unix-socket "$SPACEVERSE_STATE" http://node/state
"""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from testbed.network.clock import Clock
from testbed.scenario.elements import element_sets_of
from testbed.scenario.model import AnyLink, Link, Orbit
from traces.orbits.element_set import ElementSet
from traces.orbits.elements import find_satellite
from traces.orbits.orbit import ground_track
from traces.trace import Trace, TraceRow

if TYPE_CHECKING:
    from typing_extensions import Self

_LOG = logging.getLogger(__name__)
VARIABLE = "SPACEVERSE_STATE"  # environment of a program: path of its node's socket
PATH = "/state"
QUIET_S = 2.0  # a client that says nothing for so long is left


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 16
    state: Callable[[], Mapping[str, Any]]

    def handle_error(self, request: Any, client_address: Any) -> None:
        _LOG.debug("a program's question failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = QUIET_S
    server: _Server

    def do_GET(self) -> None:
        """Answer with the state, or say that there is nothing else."""
        if self.path != PATH:
            self._answer(HTTPStatus.NOT_FOUND, {"error": f"ask for {PATH}"})
            return
        self._answer(HTTPStatus.OK, self.server.state())

    def address_string(self) -> str:
        """Return who asked; a Unix socket has no address."""
        return "a program"

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def _answer(self, status: HTTPStatus, content: Mapping[str, Any]) -> None:
        body = json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class StateServer:
    """Answers the questions of one node's programs; a context manager.

    Args:
        path: of the socket.
        state: returns the state.
    """

    def __init__(self, path: Path, state: Callable[[], Mapping[str, Any]]) -> None:
        self._server = _Server(str(path), _Handler)
        path.chmod(0o666)  # users of containers may not be root; the folder keeps others of this machine out
        self._server.state = state
        self._thread = threading.Thread(target=self._server.serve_forever, name="state", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class NodeState:
    """The state of one node.

    Args:
        node: its name.
        links: its links, each with the trace that it follows.
        clock: scenario time.
        queue: returns what the node last told of its queue; None if it has told nothing.
    """

    def __init__(
        self,
        node: str,
        links: Mapping[AnyLink, Trace],
        clock: Clock,
        queue: Callable[[], Mapping[str, Any] | None] = lambda: None,
    ) -> None:
        self._node, self._links, self._clock, self._queue = node, dict(links), clock, queue
        self._contacts = {
            link: [(contact.aos_s, contact.los_s) for contact in trace.contacts()]
            for link, trace in self._links.items()
        }
        self._elements: ElementSet | None = None
        self._start: datetime | None = None
        for link, trace in self._links.items():
            self._start = self._start or trace.header.start_utc
            if isinstance(link, Link) and link.satellite == node and isinstance(link.follows, Orbit):
                self._start = link.follows.start
                sets = element_sets_of(link.follows.elements, self._start)
                self._elements = find_satellite(sets, node, at_utc=self._start)
                break

    def __call__(self) -> dict[str, Any]:
        """Return the state as of now; docs/scenarios.md has the fields."""
        now_s = self._clock.now_s()
        return {
            "node": self._node,
            "time_s": now_s,
            "speed": self._clock.speed,
            "utc": self._utc(now_s),
            "position": self._position(now_s),
            "links": [self._link(link, trace, now_s) for link, trace in self._links.items()],
            "queue": self._queue(),
        }

    def _utc(self, now_s: float) -> str | None:
        return None if self._start is None else (self._start + timedelta(seconds=now_s)).isoformat()

    def _position(self, now_s: float) -> dict[str, float] | None:
        if self._elements is None or self._start is None:
            return None
        latitude, longitude = ground_track(self._elements, self._start, np.array([now_s]))
        return {"latitude_deg": float(latitude[0]), "longitude_deg": float(longitude[0])}

    def _link(self, link: AnyLink, trace: Trace, now_s: float) -> dict[str, Any]:
        row = trace.row_at(now_s) if 0 <= now_s < trace.end_s else None
        one, other = link.ends
        contact = next(((aos, los) for aos, los in self._contacts[link] if los > now_s), None)
        return {
            "name": link.name,
            "peer": other if one == self._node else one,
            "up": row is not None and row.up,
            "downlink": _way(row, "down"),
            "uplink": _way(row, "up"),
            "contact": None if contact is None else {"aos_s": contact[0], "los_s": contact[1]},
        }


def ask(path: str | Path, timeout_s: float = QUIET_S) -> dict[str, Any]:
    """Return a node's state, as a program of it would ask; for tests and examples.

    Raises:
        OSError: nobody answers.
    """
    with socket.socket(socket.AF_UNIX) as there:
        there.settimeout(timeout_s)
        there.connect(str(path))
        there.sendall(f"GET {PATH} HTTP/1.0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: there.recv(1 << 16), b""))
    state: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return state


def _way(row: TraceRow | None, way: str) -> dict[str, float] | None:
    """Return what one direction of a link does; None while it is down."""
    if row is None or not getattr(row, f"{way}link_up"):
        return None
    return {
        "rate_bit_s": float(getattr(row, f"{way}_bit_s")),
        "delay_s": float(getattr(row, f"{way}_delay_s")),
        "loss": float(getattr(row, f"{way}_loss")),
    }
