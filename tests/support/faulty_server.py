"""OpenAI-compatible server that fails as the prompt says; any other prompt is answered with "yes"."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[[str, bytes], str]
"""Of (prompt, image as PNG): what the server does, in the words of a prompt; called in several threads."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaves: Behaviour

    def do_GET(self) -> None:
        self._reply(200, json.dumps({"data": [{"id": "only"}]}))

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        *images, text = request["messages"][0]["content"]
        image = base64.b64decode(images[0]["image_url"]["url"].partition(",")[2])
        match type(self).behaves(text["text"], image).split(": ")[-1]:
            case "server closes":
                self.close_connection = True
            case "server says 400":
                self._reply(400, '{"error": {"message": "this image is not to its taste"}}')
            case "server says 500":
                self._reply(500, '{"error": {"message": "out of memory"}}')
            case "server sends no JSON":
                self._reply(200, "<html>")
            case "server sends no choice":
                self._reply(200, '{"choices": []}')
            case "server answers nothing":
                self._reply(200, _completion(""))
            case "server gives NaN":
                self._reply(200, _completion("yes", "NaN"))
            case "server gives 1e6":
                self._reply(200, _completion("yes", "1e6"))
            case "server nests":
                self._reply(200, "[" * 100_000)
            case _:
                self._reply(200, _completion("yes"))

    def _reply(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in http.server
        """Print nothing."""


def _completion(text: str, logprob: str = "-0.1") -> str:
    logprobs = f'{{"content": [{{"token": "t", "logprob": {logprob}}}]}}'
    return f'{{"choices": [{{"message": {{"content": "{text}"}}, "logprobs": {logprobs}}}]}}'


@contextmanager
def faulty_server(behaves: Behaviour = lambda prompt, image: prompt) -> Iterator[str]:
    """Serve from a thread and yield the address as a scenario's model."""
    handler = type("Handler", (_Handler,), {"behaves": staticmethod(behaves)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"openai:http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
