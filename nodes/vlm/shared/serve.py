"""The process of one model: it takes requests of several nodes, one computation at a time."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.contract.models.options import ModelOptions
from nodes.vlm.answer import Answer
from nodes.vlm.folder import fingerprint
from nodes.vlm.shared.memory import AnswerMemory, RememberedSession
from nodes.vlm.shared.wire import error_reply, receive, send

if TYPE_CHECKING:
    from nodes.vlm.model import VisionLanguageModel
    from nodes.vlm.session import Session

NICENESS = 10  # a computing model must not starve those that serve the link


class ModelServer:
    """A model, loaded at the first connection, and the sessions of its nodes.

    Computations are done one after the other, in the order in which they were requested, as far as threads
    keep it. The timings of an answer are those of its own computations, without the wait for others.

    Args:
        model: Folder or hub name of the model.
        options: How it runs.
    """

    def __init__(self, model: str, options: ModelOptions) -> None:
        self._name, self._options = model, options
        self._model: VisionLanguageModel | None = None
        self._computing = threading.Lock()

    def serve_connections_of(self, control: socket.socket) -> None:
        """Serve each connection whose descriptor comes over `control`, until that is closed."""
        os.nice(NICENESS)
        while True:
            data, descriptors, _flags, _address = socket.recv_fds(control, 1, 1)
            if not data:
                return
            connection = socket.socket(fileno=descriptors[0])
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        node = _Node(self._loaded, self._computing, self._name, self._options)
        with connection:
            try:
                send(connection, node.reply({"do": "describe"}))
                while True:
                    send(connection, node.reply(receive(connection)))
            except (OSError, EOFError):
                return  # the node has gone; its sessions go with it

    def _loaded(self) -> VisionLanguageModel:
        if self._model is None:
            from nodes.vlm.model import load_model

            self._model = load_model(self._name, self._options)
        return self._model


class _Node:
    """The requests of one node and its sessions.

    Args:
        model: Returns the model.
        computing: Held during each computation.
        name: Folder or hub name of the model.
        options: How it runs.
    """

    def __init__(
        self,
        model: Callable[[], VisionLanguageModel],
        computing: threading.Lock,
        name: str,
        options: ModelOptions,
    ) -> None:
        self._loaded, self._computing, self._name, self._options = model, computing, name, options
        self._memory: AnswerMemory | None = None
        self._numbers = itertools.count(1)
        self._sessions: dict[int, Session | RememberedSession] = {}

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to a request: its value, or the error that it raised."""
        try:
            with self._computing:
                return {"value": getattr(self, f"_{request.pop('do')}")(**request)}
        except Exception as error:  # whatever a broken image does inside a model: the request fails
            return error_reply(error)

    def _describe(self) -> dict[str, Any]:
        model = self._loaded()
        return {"parameters": model.parameters, "place": model.place}

    def _remember(self, folder: str) -> str:
        model = fingerprint(self._name)
        self._memory = AnswerMemory(Path(folder), model, self._options)
        return model

    def _answer(self, images: Any, prompt: str, max_new_tokens: int) -> dict[str, Any]:
        several = images if isinstance(images, list) else [images]
        memory = self._memory
        key = memory.key("answer", several, prompt, len(several), max_new_tokens) if memory else ""
        if memory is not None and (known := memory.get(key)) is not None:
            return known | {"remembered": True}
        answer = asdict(self._loaded().answer(images, prompt, max_new_tokens=max_new_tokens))
        if memory is not None:
            memory.put(key, answer)
        return answer

    def _begin(
        self, images: list[Any], prompt: str, boxes: list[list[float]] | None, max_new_tokens: int
    ) -> dict[str, Any]:
        places = None if boxes is None else [(box[0], box[1], box[2], box[3]) for box in boxes]

        def begin() -> Session:
            return self._loaded().begin(images, prompt, boxes=places, max_new_tokens=max_new_tokens)

        session: Session | RememberedSession
        if self._memory is None:
            session = begin()
        else:
            key = self._memory.key("session", images, prompt, places, max_new_tokens)
            session = RememberedSession(self._memory, key, begin, self._text_of, max_new_tokens)
        number = next(self._numbers)
        self._sessions[number] = session
        return {"session": number, "visual_features": session.visual_features} | self._state(session)

    def _decode(self, session: int, max_tokens: int | None) -> dict[str, Any]:
        self._sessions[session].decode(max_tokens)
        return self._state(self._sessions[session])

    def _attention(self, session: int, all_keys: bool) -> Any:
        return self._sessions[session].attention(all_keys=all_keys)

    def _grids(self, session: int) -> list[dict[str, Any]]:
        return [asdict(grid) for grid in self._sessions[session].grids]

    def _close(self, session: int) -> None:
        if (open_session := self._sessions.pop(session, None)) is not None:
            open_session.__exit__()

    def _text_of(self, tokens: Sequence[int]) -> str:
        return str(self._loaded().processor.decode(list(tokens), skip_special_tokens=True)).strip()

    def _state(self, session: Session | RememberedSession) -> dict[str, Any]:
        answer: Answer = session.answer()
        return {
            "finished": session.finished,
            "hidden_states": session.hidden_states,
            "answer": asdict(answer),
        }
