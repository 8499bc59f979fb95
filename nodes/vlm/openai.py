"""A model behind an OpenAI-compatible server (vLLM, llama.cpp, ...): chat completions, images as data URLs.

    openai:http://HOST:PORT/v1            the server's only model
    openai:http://HOST:PORT/v1#NAME       the model called NAME

If the environment variable OPENAI_API_KEY is set, it is sent as the key. The server is reached directly:
proxy settings are ignored, and redirects are not followed. Images are sent as PNG, so the server sees the
same pixels as a local model.

A server is not trusted: its reply is bounded in time and size, and each part that is used is checked.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nodes.contract.models.options import ModelOptions
from nodes.contract.strict import as_shown, encodable
from nodes.errors import ModelError, ServerUnavailableError
from nodes.vlm.answer import ServerAnswer, Timings
from nodes.vlm.bounded_http import Bounds, Reply, ReplyError, send_request
from nodes.vlm.image import WARM_UP_PROMPT, warm_up_image
from nodes.vlm.loading.image_size import sized

if TYPE_CHECKING:
    from PIL.Image import Image

PREFIX = "openai:"
OVERLOADED = 429
TIMEOUT_S = 300.0  # of a whole request; a large model may take minutes to answer about its first image
CONNECT_S = 10.0
REPLY_MAX_BYTES = 4 << 20  # 4,096 tokens with a kilobyte each; as JSON it takes 20 times as much memory
LEAST_LOGPROB = -9999.0  # as OpenAI gives for a token that is next to impossible
REASON_CHARACTERS = 300
NAMED_MODELS = 20
_END = re.compile(r"(<[^<>]+>)?")  # such as <|im_end|>, </s>, <end_of_turn>


@dataclass(frozen=True)
class ServerAddress:
    """Address of a model behind a server.

    Attributes:
        url: The server.
        model: The model's name; None for the server's only model.
    """

    url: str
    model: str | None


def is_server(name: str | Path) -> bool:
    """Return whether a model's name is the address of a server."""
    return str(name).startswith(PREFIX)


def parse_address(name: str) -> ServerAddress:
    """Parse `openai:URL#model`.

    Raises:
        ModelError: The address is malformed.
    """
    url, _, model = name.removeprefix(PREFIX).partition("#")
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # the port is not a number
        valid = False
    if not valid:
        raise ModelError(f"{name} is not a server address: write {PREFIX}http://HOST:PORT/v1#model")
    return ServerAddress(url.rstrip("/"), model or None)


def connect(name: str, *, socket: Path | None = None, options: ModelOptions | None = None) -> ServerModel:
    """Connect to a server's model.

    Args:
        name: The address, as described for this module.
        socket: A Unix socket that leads to the server, if this process's network does not.
        options: How it runs, of which the size of images is seen to here.

    Returns:
        The model.

    Raises:
        ModelError: The server cannot be reached, or the address names no model and the server does not have
            exactly one.
    """
    address = parse_address(name)
    model = ServerModel(address.url, address.model or "", socket=socket, options=options)
    if address.model is None:
        model.name = _only(model.models(), address.url)
    return model


def _only(names: Sequence[str], url: str) -> str:
    if len(names) != 1:
        more = f" and {len(names) - NAMED_MODELS} more" if len(names) > NAMED_MODELS else ""
        listed = ", ".join(f"{as_shown(name):.100}" for name in names[:NAMED_MODELS]) + more
        has = f"serves {listed}: choose one" if names else "serves no model: load one"
        raise ModelError(f"{url} {has}, as in {PREFIX}{url}#{as_shown(names[0]) if names else 'model'}")
    return names[0]


class ServerModel:
    """A model behind a server, with the interface `nodes.vlm.protocol.AnsweringModel`.

    Decoding is greedy, as far as the server respects a temperature of 0.

    Args:
        url: The server's address, without a trailing slash.
        name: The model's name on the server.
        socket: A Unix socket that leads to the server.
        options: How it runs; see `connect`.

    Attributes:
        gives_logprobs: Whether the last answer had log-probabilities; None before the first.
    """

    parameters: int | None = None  # not reported by servers

    def __init__(
        self, url: str, name: str, *, socket: Path | None = None, options: ModelOptions | None = None
    ) -> None:
        self.options = options or ModelOptions()
        self._url, self.name, self._socket = url, name, socket
        key = os.environ.get("OPENAI_API_KEY")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._sends_logprobs = True
        self.gives_logprobs: bool | None = None

    @property
    def full_name(self) -> str:
        """The address with the model's name, as for `connect`."""
        return f"{PREFIX}{self._url}#{self.name}"

    def models(self) -> list[str]:
        """Return the names of the server's models.

        Raises:
            ModelError: The server cannot be reached or used.
        """
        body = self._request("GET", "/models")
        try:
            return [_text(model["id"]) for model in _list(body["data"])]
        except (TypeError, KeyError) as error:
            raise self._unexpected_reply(error) from error

    def warm_up(self) -> float:
        """Answer once about a grey image and return the duration in seconds.

        Raises:
            ModelError: The server cannot be reached or used.
        """
        return self.answer(warm_up_image(), WARM_UP_PROMPT, max_new_tokens=2).timings.total_s

    def answer(
        self, images: Image | Sequence[Image], prompt: str, *, max_new_tokens: int = 32
    ) -> ServerAnswer:
        """Answer a prompt about one or more images.

        Raises:
            ServerUnavailableError: The server is unreachable or overloaded; a retry may succeed.
            ModelError: The server cannot be used.
        """
        begin_s = time.perf_counter()
        several = list(images) if isinstance(images, Sequence) else [images]
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": data_url(image)}}
            for image in sized(several, self.options)
        ]
        content.append({"type": "text", "text": prompt})
        sent_s = time.perf_counter()
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
            choice = _list(body["choices"])[0]
            text = _text(choice["message"]["content"] or "").strip()
            tokens = _list((choice.get("logprobs") or {}).get("content") or [])
            logprobs = tuple(_logprob(token["logprob"]) for token in _without_end(tokens, text))
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise self._unexpected_reply(error) from error
        if text:
            self.gives_logprobs = bool(logprobs)
        return ServerAnswer(text, logprobs, Timings(sent_s - begin_s, 0.0, 0.0, end_s - sent_s))

    def _complete(self, request: dict[str, Any]) -> Any:
        if self._sends_logprobs:
            try:
                return self._request("POST", "/chat/completions", {**request, "logprobs": True})
            except ModelError as error:
                if "logprobs" not in str(error):
                    raise
                self._sends_logprobs = False  # some servers reject the option
        return self._request("POST", "/chat/completions", request)

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        reply = self._send(method, path, None if body is None else json.dumps(body).encode())
        if reply.status != 200:
            temporary = reply.status == OVERLOADED or reply.status >= 500
            text = f"{self._url}{path} returned status {reply.status}: {_reason(reply)}"
            if temporary:
                raise ServerUnavailableError(text, retry_after_s=reply.retry_after_s)
            raise ModelError(text)
        try:
            return _decoded(reply.body)
        except ValueError as error:
            raise self._unexpected_reply(error) from error

    def _send(self, method: str, path: str, body: bytes | None) -> Reply:
        try:
            return send_request(
                method,
                self._url + path,
                bounds=Bounds(CONNECT_S, TIMEOUT_S, REPLY_MAX_BYTES),
                body=body,
                headers={"Content-Type": "application/json", **self._headers},
                unix_socket=self._socket,
            )
        except TimeoutError as error:
            raise ServerUnavailableError(
                f"{self._url} did not answer in time: check whether the server is overloaded"
            ) from error
        except ReplyError as error:
            raise ModelError(f"{self._url}: {error}: check that it serves a model") from error
        except (OSError, HTTPException) as error:
            reason = one_line(str(error)) or type(error).__name__
            raise ServerUnavailableError(
                f"no server answers at {self._url} ({reason}): start it, or check host and port"
            ) from error
        except ValueError as error:  # a sign that a header or a path must not have
            raise ModelError(f"{self._url} cannot be asked ({one_line(str(error))}): check it") from error

    def _unexpected_reply(self, error: Exception) -> ModelError:
        return ModelError(
            f"{self._url} does not implement OpenAI's chat completions "
            f"({type(error).__name__} in its reply): check the address, which usually ends in /v1"
        )


def data_url(image: Image) -> str:
    """Return an image as a data URL with a quickly compressed PNG."""
    data = io.BytesIO()
    image.convert("RGB").save(data, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def one_line(text: str) -> str:
    """Return foreign text as one line of bounded length that a terminal can show."""
    return as_shown(" ".join(text.split()))[:REASON_CHARACTERS]


def _reason(reply: Reply) -> str:
    """Return a server's error message as one line of bounded length."""
    if reply.location is not None and 300 <= reply.status < 400:
        return f"it redirects to {one_line(reply.location)}; give that address if you trust it"
    try:
        body = _decoded(reply.body)
        error = body.get("error", body)
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        text = reply.body.decode(errors="replace")
    return one_line(text) or "no further reason"


def _decoded(body: bytes) -> Any:
    """Return what JSON says. Raises ValueError for anything else, and for JSON that is nested too deeply."""
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return str(encodable(value))


def _without_end(tokens: list[Any], text: str) -> list[Any]:
    """Return the tokens of an answer without the one that ends it.

    Local models do not count it; llama.cpp lists it as an empty text, and vLLM by its name.
    """
    last = str(tokens[-1].get("token", text)) if tokens else text
    ends = _END.fullmatch(last) is not None and (last == "" or not text.endswith(last))
    return tokens[:-1] if ends else tokens


def _logprob(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no number")
    try:
        number = float(value)
    except OverflowError:
        return math.nan
    return LEAST_LOGPROB if number < LEAST_LOGPROB else number
