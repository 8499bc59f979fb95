"""A model and its sessions as a node uses them; the computations are done by the process of the model."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nodes.contract.models.options import ModelOptions
from nodes.errors import ModelError, ServerUnavailableError, first_line
from nodes.vlm.answer import Answer, answer_of
from nodes.vlm.folder import check_model_folder
from nodes.vlm.protocol import answer_once
from nodes.vlm.shared.memory import AnswerMemory
from nodes.vlm.shared.wire import raise_error, receive, rgb, send
from nodes.vlm.token_grid import Box, TokenGrid
from nodes.vlm.views import read_views, shown

if TYPE_CHECKING:
    from PIL.Image import Image

CONNECT_S = 10.0  # while the process is being started
_AGAIN_S = 0.05


def connect_model(
    name_or_folder: str | Path, host: Path, options: ModelOptions | None = None, *, memory: Path | None = None
) -> SharedModel:
    """Return a model that another process holds; that process loads it, unless it did so before.

    Args:
        name_or_folder: As for `nodes.vlm.model.load_model`.
        host: Unix socket of the process.
        options: As for `nodes.vlm.model.load_model`.
        memory: Folder of answers that need not be computed again (memory.py).

    Raises:
        ModelError: The model cannot be loaded.
        ServerUnavailableError: Nobody listens on the socket.
    """
    check_model_folder(name_or_folder)
    return SharedModel(str(name_or_folder), host, options or ModelOptions(), memory)


class SharedModel:
    """A model like `nodes.vlm.model.VisionLanguageModel`, held by another process. For one thread.

    After a failed connection the next prompt connects anew; sessions of the old one are lost.

    Attributes:
        kept: Where results are kept of what need not be computed again; None if nowhere.
    """

    def __init__(self, name: str, host: Path, options: ModelOptions, memory: Path | None = None) -> None:
        try:
            self.views = read_views(name)
        except ValueError as error:
            raise ModelError(str(error)) from error
        self._name, self._host, self._memory = name, host, memory
        self.options = options
        self.kept: AnswerMemory | None = None
        self._connection: socket.socket | None = None
        self._described = self._connect()

    @property
    def parameters(self) -> int:
        """Number of weights; tied weights count once."""
        return int(self._described["parameters"])

    @property
    def place(self) -> str:
        """Device and type of its weights, as they are."""
        return str(self._described["place"])

    def now_s(self) -> float:
        """Return the monotonic time in seconds; every reply comes after its computation has ended."""
        return time.perf_counter()

    def warm_up(self) -> float:
        """Answer once about a grey image and return the duration in seconds.

        Raises:
            ModelError: The model cannot answer.
        """
        return answer_once(self)

    def answer(self, images: Image | Sequence[Image], prompt: str, *, max_new_tokens: int = 32) -> Answer:
        """Answer a prompt about a frame or several images; see `VisionLanguageModel.answer`."""
        pictures = rgb(images) if isinstance(images, Sequence) else rgb([images])[0]
        if self._connection is None:
            self._described = self._connect()
        return answer_of(
            self.request("answer", images=pictures, prompt=prompt, max_new_tokens=max_new_tokens)
        )

    def begin(
        self,
        images: Image | Sequence[Image],
        prompt: str,
        *,
        boxes: Sequence[Box] | None = None,
        max_new_tokens: int = 32,
    ) -> SharedSession:
        """Preprocess a prompt and encode its images; see `VisionLanguageModel.begin`."""
        if not isinstance(images, Sequence):
            images, shown_boxes = shown(images, self.views)
            boxes = boxes or shown_boxes
        if self._connection is None:
            self._described = self._connect()
        return SharedSession(
            self,
            self.request(
                "begin",
                images=rgb(images),
                prompt=prompt,
                boxes=None if boxes is None else [list(box) for box in boxes],
                max_new_tokens=max_new_tokens,
            ),
        )

    def request(self, do: str, **arguments: Any) -> Any:
        """Send a request and return the value of its reply; raises the error of its reply.

        Raises:
            ServerUnavailableError: The process of the model has gone.
        """
        if self._connection is None:
            raise self._gone("its session has ended")
        try:
            send(self._connection, {"do": do, **arguments})
            reply = receive(self._connection)
        except (OSError, EOFError) as error:
            self._connection.close()
            self._connection = None
            raise self._gone(first_line(error)) from error
        if "error" in reply:
            raise_error(reply["error"])
        return reply["value"]

    def _connect(self) -> Any:
        until_s = time.monotonic() + CONNECT_S
        connection = socket.socket(socket.AF_UNIX)
        while True:
            try:
                connection.connect(str(self._host))
                break
            except OSError as error:
                if time.monotonic() > until_s:
                    connection.close()
                    raise self._gone(str(error.strerror)) from error
                time.sleep(_AGAIN_S)
        try:
            send(connection, {"model": self._name, "options": self.options.loading.model_dump()})
            reply = receive(connection)  # once it is loaded
        except (OSError, EOFError) as error:
            connection.close()
            raise self._gone(first_line(error)) from error
        if "error" in reply:
            connection.close()
            raise_error(reply["error"])
        self._connection = connection
        if self._memory is not None:
            model = self.request("remember", folder=str(self._memory))
            self.kept = AnswerMemory(self._memory, model, self.options)
        return reply["value"]

    def _gone(self, why: str) -> ServerUnavailableError:
        return ServerUnavailableError(f"the process of the model does not answer at {self._host}: {why}")


class SharedSession:
    """An answer in progress, like `nodes.vlm.session.Session`.

    Attributes:
        visual_features: float32[2 * dim], as in `Session`.
    """

    def __init__(self, model: SharedModel, begun: dict[str, Any]) -> None:
        self._model, self._number = model, begun["session"]
        self.visual_features: NDArray[np.float32] = begun["visual_features"]
        self._take(begun)

    def __enter__(self) -> SharedSession:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._model.request("close", session=self._number)
        except ServerUnavailableError:
            return  # it went with its process

    def _take(self, state: dict[str, Any]) -> None:
        self.finished = bool(state["finished"])
        self.hidden_states: NDArray[np.float32] = state["hidden_states"]
        self._answer = answer_of(state["answer"])

    @property
    def tokens(self) -> list[int]:
        """Tokens of the answer so far, without the end-of-turn token."""
        return list(self._answer.token_ids)

    @property
    def logprobs(self) -> list[float]:
        """Their log-probabilities."""
        return list(self._answer.token_logprobs)

    def decode(self, max_tokens: int | None = None) -> None:
        """Decode further tokens, by default all that are left."""
        self._take(self._model.request("decode", session=self._number, max_tokens=max_tokens))

    def answer(self) -> Answer:
        """Return the answer as decoded so far; its `timings` exclude the pauses."""
        return self._answer

    @property
    def grids(self) -> list[TokenGrid]:
        """Grids of the image tokens over the frame. Raises ValueError."""
        made = self._model.request("grids", session=self._number)
        return [TokenGrid(tuple(grid["box"]), grid["rows"], grid["columns"]) for grid in made]

    def attention(self, *, all_keys: bool = False) -> NDArray[np.float32]:
        """Return the attention from the prompt to the image tokens; see `Session.attention`."""
        weights: NDArray[np.float32] = self._model.request(
            "attention", session=self._number, all_keys=all_keys
        )
        return weights
