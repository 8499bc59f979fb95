"""HTTP server that gives one scripted reply to every request, byte for byte, and notes what it was asked."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class HostileServer:
    """What a server has seen: the head of each request, and how many bytes of its replies were taken."""

    url: str
    requests: list[str] = field(default_factory=list)
    sent_bytes: int = 0

    def send(self, connection: socket.socket, data: bytes) -> None:
        """Send, and count what the client's machine takes."""
        connection.sendall(data)
        self.sent_bytes += len(data)


Script = Callable[[HostileServer, socket.socket], None]


@contextmanager
def hostile_server(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[HostileServer]:
    """Call `script` with each connection once its request has come."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        scheme = "http" if tls is None else "https"
        server = HostileServer(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/v1")

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                head, _, rest = _until_body(connection)
                length = re.search(r"(?i)\r\ncontent-length: *(\d+)", head)
                left = int(length[1] if length else 0) - len(rest)
                while left > 0 and (block := connection.recv(1 << 20)):
                    left -= len(block)
                server.requests.append(head)
                script(server, connection)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    if tls is not None:
                        try:
                            connection = tls.wrap_socket(connection, server_side=True)
                        except OSError:
                            continue
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def _until_body(connection: socket.socket) -> tuple[str, str, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        block = connection.recv(1 << 16)
        if not block:
            break
        data += block
    head, mark, rest = data.partition(b"\r\n\r\n")
    return head.decode("latin-1"), mark.decode(), rest


def replying(body: bytes | str, status: str = "200 OK", *headers: str) -> Script:
    """Return a script that replies with a body."""
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", *headers, "", ""])

    def script(server: HostileServer, connection: socket.socket) -> None:
        server.send(connection, head.encode() + data)

    return script


def completion(content: object = "yes", logprobs: str = '{"content": [{"logprob": -0.1}]}') -> str:
    """Return a completion; `logprobs` is JSON, or no JSON."""
    message = json.dumps({"role": "assistant", "content": content})
    return f'{{"choices": [{{"message": {message}, "logprobs": {logprobs}}}]}}'
