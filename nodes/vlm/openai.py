"""A model behind an OpenAI-compatible server (vLLM, llama.cpp, ...): chat completions, images as data URLs.

    openai:http://HOST:PORT/v1            the one model that the server has
    openai:http://HOST:PORT/v1#NAME       the one of this name

Where OPENAI_API_KEY is in the environment it is sent as the key. The server is reached directly: settings of
a proxy are not looked at. Images travel as PNG, so that the server sees the pixels that a local model would.
"""

from __future__ import annotations

import base64
import io
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nodes.vlm.folder import ModelError
from nodes.vlm.model import Timings

if TYPE_CHECKING:
    from PIL.Image import Image

PREFIX = "openai:"
OVERLOADED = 429
TIMEOUT_S = 300.0  # a large model's answer to the first image may take minutes
CONNECT_S = 10.0
WARM_UP_SIDE_PX = 224


class ServerUnavailableError(ModelError):
    """The server is not there, takes too long, or says 429 or 5xx; the same question may do later."""


@dataclass(frozen=True)
class ServerAddress:
    """Where a server is, and which of its models is meant; None: the only one that it has."""

    url: str
    model: str | None


def is_server(name: str | Path) -> bool:
    """Whether a model's name stands for one behind a server."""
    return str(name).startswith(PREFIX)


def parse_address(name: str) -> ServerAddress:
    """Take `openai:URL#model` apart. Raises ModelError."""
    url, _, model = name.removeprefix(PREFIX).partition("#")
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # of a port that is no number
        fits = False
    if not fits:
        raise ModelError(f"{name} is no server's address: write {PREFIX}http://HOST:PORT/v1#model")
    return ServerAddress(url.rstrip("/"), model or None)


@dataclass(frozen=True)
class ServerAnswer:
    """A server's answer; it does not say where its time went, so that all of it stands in `decode_s`."""

    text: str
    token_logprobs: tuple[float, ...]
    timings: Timings

    @property
    def confidence(self) -> float | None:
        """Geometric mean of the tokens' probabilities, 0 to 1; None where the server does not tell them."""
        if not self.token_logprobs:
            return None
        return math.exp(sum(self.token_logprobs) / len(self.token_logprobs))


def connect(name: str, *, socket: Path | None = None) -> ServerModel:
    """Find a server's model.

    Args:
        name: see the module's text.
        socket: a Unix socket that leads to the server, where this process's network does not.

    Raises ModelError (one line) when the server is not there, or has not exactly one model and none is named.
    """
    address = parse_address(name)
    model = ServerModel(address.url, address.model or "", socket=socket)
    if address.model is None:
        model.name = _only(model.models(), address.url)
    return model


def _only(names: Sequence[str], url: str) -> str:
    if len(names) != 1:
        has = f"has {', '.join(names)}: name one" if names else "has no model: start it with one"
        raise ModelError(f"{url} {has}, as in {PREFIX}{url}#{names[0] if names else 'model'}")
    return names[0]


class ServerModel:
    """Answers prompts as `nodes.vlm.model.VisionLanguageModel` does; greedy, as far as the server is."""

    parameters = None  # a server does not tell

    def __init__(self, url: str, name: str, *, socket: Path | None = None) -> None:
        try:
            import httpx  # only where there is a server
        except ImportError as error:
            raise ModelError(
                f"{error}: a model behind a server needs httpx, pip install '.[node]'"
            ) from error
        self._url, self.name = url, name
        self._http = httpx
        key = os.environ.get("OPENAI_API_KEY")
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket)) if socket is not None else None,
            timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_S),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            trust_env=False,
        )
        self._tells_logprobs = True

    @property
    def full_name(self) -> str:
        """As `connect` takes it, with the model's name."""
        return f"{PREFIX}{self._url}#{self.name}"

    def models(self) -> list[str]:
        """Names of the server's models. Raises ModelError."""
        body = self._ask("GET", "/models")
        try:
            return [str(one["id"]) for one in body["data"]]
        except (TypeError, KeyError) as error:
            raise self._strange(error) from error

    def warm_up(self) -> float:
        """Let it answer once about a grey picture; seconds. Raises ModelError."""
        from PIL import Image  # not for --help

        grey = Image.new("RGB", (WARM_UP_SIDE_PX, WARM_UP_SIDE_PX), (128, 128, 128))
        return self.answer(grey, "What is this?", max_new_tokens=2).timings.total_s

    def answer(
        self, images: Image | Sequence[Image], prompt: str, *, max_new_tokens: int = 32
    ) -> ServerAnswer:
        """Answer a prompt about one image or several. Raises ModelError, where it may pass its subclass
        ServerUnavailableError."""
        begin_s = time.perf_counter()
        several = list(images) if isinstance(images, Sequence) else [images]
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": data_url(image)}} for image in several
        ]
        content.append({"type": "text", "text": prompt})
        asked_s = time.perf_counter()
        body = self._complete(
            {
                "model": self.name,
                "messages": [{"role": "user", "content": content}],
                "max_tokens": max_new_tokens,
                "temperature": 0,
            }
        )
        end_s = time.perf_counter()
        try:
            choice = body["choices"][0]
            text = str(choice["message"]["content"] or "").strip()
            told = (choice.get("logprobs") or {}).get("content") or []
            logprobs = tuple(float(token["logprob"]) for token in told)
        except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
            raise self._strange(error) from error
        return ServerAnswer(text, logprobs, Timings(asked_s - begin_s, 0.0, 0.0, end_s - asked_s))

    def _complete(self, request: dict[str, Any]) -> Any:
        if self._tells_logprobs:
            try:
                return self._ask("POST", "/chat/completions", {**request, "logprobs": True})
            except ModelError as error:
                if "logprobs" not in str(error):
                    raise
                self._tells_logprobs = False  # some servers refuse them
        return self._ask("POST", "/chat/completions", request)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        try:
            reply = self._client.request(method, self._url + path, json=body)
        except self._http.TimeoutException as error:
            raise ServerUnavailableError(
                f"{self._url} gave no answer in time: is the server overloaded?"
            ) from error
        except self._http.HTTPError as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ServerUnavailableError(
                f"no server answers at {self._url} ({reason}): start it, or check host and port"
            ) from error
        if reply.status_code != 200:
            may_pass = reply.status_code == OVERLOADED or reply.status_code >= 500
            kind = ServerUnavailableError if may_pass else ModelError
            raise kind(f"{self._url}{path} said {reply.status_code}: {_reason(reply)}")
        try:
            return reply.json()
        except ValueError as error:
            raise self._strange(error) from error

    def _strange(self, error: Exception) -> ModelError:
        return ModelError(
            f"{self._url} does not speak OpenAI's chat completions ({type(error).__name__} in its reply): "
            "check the address, which usually ends in /v1"
        )


def data_url(image: Image) -> str:
    """An image as a data URL: PNG, packed quickly."""
    data = io.BytesIO()
    image.convert("RGB").save(data, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _reason(reply: Any) -> str:
    """What a server says about an error, on one line of bounded length."""
    try:
        told = reply.json()
        error = told.get("error", told)
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        text = str(reply.text)
    return " ".join(text.split())[:300] or "nothing more"
