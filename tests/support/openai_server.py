"""OpenAI-compatible server of a shipped model: `python -m tests.support.openai_server FOLDER PORT`.

Implements enough of chat completions to test a client against a real server: a separate process, HTTP over
loopback, images as data URLs, log-probabilities. The first line of its output is the port.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from nodes.vlm.model import VisionLanguageModel, load_model

NAME = "small"


class Server(ThreadingHTTPServer):
    def __init__(self, model: VisionLanguageModel, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.model = model
        self.one_at_a_time = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._reply(200, {"object": "list", "data": [{"id": NAME, "object": "model"}]})
        elif self.path == "/page/models":
            self._reply(200, "<html>this is no such server</html>")
        else:
            self._refuse(404, f"no such path: {self.path}")

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.startswith("/status/"):
            self._refuse(int(self.path.split("/")[2]), "as you like it")
        elif self.path not in ("/v1/chat/completions", "/plain/chat/completions"):
            self._refuse(404, f"no such path: {self.path}")
        elif request["model"] != NAME:
            self._refuse(404, f"The model `{request['model']}` does not exist.\nThis is a second line.")
        elif self.path.startswith("/plain") and "logprobs" in request:
            self._refuse(400, "logprobs are not supported here")
        else:
            self._reply(200, self._completion(request))

    def _completion(self, request: dict[str, Any]) -> dict[str, Any]:
        assert request["temperature"] == 0
        (message,) = request["messages"]
        images = [_image(part["image_url"]["url"]) for part in message["content"] if "image_url" in part]
        (prompt,) = (part["text"] for part in message["content"] if part["type"] == "text")
        with self.server.one_at_a_time:
            answer = self.server.model.answer(images, prompt, max_new_tokens=request["max_tokens"])
        tokens = [
            {"token": str(t), "logprob": p}
            for t, p in zip(answer.token_ids, answer.token_logprobs, strict=True)
        ]
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": answer.text},
            "finish_reason": "stop",
        }
        if request.get("logprobs"):
            choice["logprobs"] = {"content": tokens}
        return {"object": "chat.completion", "model": NAME, "choices": [choice]}

    def _refuse(self, status: int, message: str) -> None:
        self._reply(status, {"error": {"message": message, "type": "invalid_request_error"}})

    def _reply(self, status: int, body: object) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in http.server
        """Print nothing."""


def _image(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@contextmanager
def served(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve a model from a separate process and yield the URL without its path; port 0 is any free port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.openai_server", str(folder), str(port)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    serving = Server(load_model(sys.argv[1], threads=1), int(sys.argv[2]))
    print(serving.server_address[1], flush=True)
    serving.serve_forever()
