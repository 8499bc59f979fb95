"""The web server of the page: static files, and facts about one run that are no events.

It keeps no state. While the run goes, the management broker has its events; those before and after are in the
run's folder. Everything but the page's own files needs the token, which is in the address that is printed:
behind its #, so that browsers send it to nobody.
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

from testbed.errors import InputError

_LOG = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
LOOPBACK = "127.0.0.1"
TOKEN_BYTES = 18
IDLE_S = 10.0  # after which a connection without a request is closed
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}

Json: TypeAlias = Any
Fact: TypeAlias = "Callable[[str], Json | Path | bytes | None]"
"""Returns something about a name: JSON, a file, or a picture as JPEG; None if there is nothing."""


class PageServer:
    """Serves the page of one run, in threads of its own, for the duration of a `with` block.

    Args:
        facts: what `/NAME` and `/NAME/OF` return: a function of OF, which is "" for the former.
        on_stop: called when somebody presses the stop button; None: there is none.
        host: address to listen at.
        port: TCP port; 0 for any free one.
        broker_port: port of the broker's WebSockets, to which the page may connect; None: to none.

    Attributes:
        url: address of the page, with the token.
        token: what requests for facts must have.

    Raises:
        InputError: the address is not this machine's, or the port is in use.
    """

    def __init__(
        self,
        facts: Mapping[str, Fact],
        on_stop: Callable[[], None] | None = None,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        broker_port: int | None = None,
    ) -> None:
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        policy = _policy(broker_port)
        try:
            self._server = _Server((host, port), _Answered(facts, on_stop, self.token, policy))
        except (OSError, OverflowError) as error:
            raise cannot_listen(host, port, error) from error
        self.port: int = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}/#{self.token}"

    def __enter__(self) -> PageServer:
        threading.Thread(target=self._server.serve_forever, name="live page", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def cannot_listen(host: str, port: int, error: Exception) -> InputError:
    """Return the error for an address at which the page cannot be served; port 0 is any free one."""
    where, other = (f"{host} port {port}", " or --live-port") if port else (host, "")
    reason = getattr(error, "strerror", None) or error
    return InputError(f"the live page cannot listen at {where}: {reason}; choose another --live-host{other}")


def _policy(broker_port: int | None) -> str:
    """Return the Content-Security-Policy: nothing from other servers, and connections to the broker only."""
    broker = "" if broker_port is None else f" ws://*:{broker_port}"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        f"connect-src 'self'{broker}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@dataclass(frozen=True)
class _Answered:
    """What requests are answered from."""

    facts: Mapping[str, Fact]
    on_stop: Callable[[], None] | None
    token: str
    policy: str


class _Server(ThreadingTCPServer):  # HTTPServer asks the DNS for the name of its address
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], answered: _Answered) -> None:
        super().__init__(address, _Handler)
        self.answered = answered

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log why a request has failed, such as a page that was closed meanwhile."""
        _LOG.debug("request of %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: _Server
    timeout = IDLE_S
    server_version = "spaceverse"
    sys_version = ""

    def do_GET(self) -> None:
        """Return one of the page's files, or a fact."""
        parts = urlsplit(self.path)
        if parts.path in _FILES:
            name, kind = _FILES[parts.path]
            self._send_file(PAGE / name, kind)
        elif self._is_allowed():
            name, _, of = parts.path.lstrip("/").partition("/")
            begin = parse_qs(parts.query).get("from", ["0"])[0]
            self._send_fact(name, unquote(of), int(begin) if begin.isdecimal() else 0)

    def do_POST(self) -> None:
        """Stop the run."""
        if not self._is_allowed():
            return
        on_stop = self.server.answered.on_stop
        if self.path != "/stop" or on_stop is None:
            self._send(HTTPStatus.NOT_FOUND)
            return
        on_stop()
        self._send(HTTPStatus.NO_CONTENT)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log a request."""
        _LOG.debug(format, *args)

    def _is_allowed(self) -> bool:
        given = self.headers.get("Authorization", "")
        if hmac.compare_digest(given.encode(), f"Bearer {self.server.answered.token}".encode()):
            return True
        self._send(HTTPStatus.FORBIDDEN, b"open the address that the command printed, with its #token\n")
        return False

    def _send_fact(self, name: str, of: str, begin: int) -> None:
        fact = self.server.answered.facts.get(name)
        if fact is None:
            self._send(HTTPStatus.NOT_FOUND)
            return
        found = fact(of)
        if found is None:
            self._send(HTTPStatus.NO_CONTENT)  # for a browser, other statuses would be errors of the page
        elif isinstance(found, Path):
            self._send_file(found, "application/x-ndjson", begin)
        elif isinstance(found, bytes):
            self._send(HTTPStatus.OK, found, "image/jpeg")
        else:
            self._send(HTTPStatus.OK, json.dumps(found).encode(), "application/json")

    def _send_file(self, path: Path, kind: str, begin: int = 0) -> None:
        try:
            file = path.open("rb")
        except OSError:
            self._send(HTTPStatus.NOT_FOUND)
            return
        with file:
            file.seek(begin)
            self._send_head(HTTPStatus.OK, kind)  # its end is the connection's: the file may grow
            shutil.copyfileobj(file, self.wfile)

    def _send(self, status: HTTPStatus, content: bytes = b"", kind: str = "text/plain") -> None:
        self._send_head(status, kind, len(content))
        self.wfile.write(content)

    def _send_head(self, status: HTTPStatus, kind: str, length: int | None = None) -> None:
        self.send_response(status)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Content-Security-Policy", self.server.answered.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
