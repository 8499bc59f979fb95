"""Answers that a model gave before, by the content of model, images and prompt; each is computed once.

A session is remembered as far as it went: features, tokens with their states, attention. A later one goes on
from there, and computes only what nobody has asked for yet. The numbers are those of the first computation,
bit for bit; so are the timings, which do not tell how long it takes now: a node keeps the pace of a profile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nodes.contract.files import write_atomically
from nodes.contract.models.options import ModelOptions
from nodes.vlm.answer import Answer, answer_of
from nodes.vlm.shared.wire import packed, unpacked
from nodes.vlm.token_grid import TokenGrid

if TYPE_CHECKING:
    from PIL.Image import Image

    from nodes.vlm.session import Session

VERSION = "1"  # of the records; another one is computed anew


class AnswerMemory:
    """A folder of records; damaged and missing ones are computed again.

    Args:
        folder: Where the records are; made if missing.
        model: Fingerprint of the model (nodes/vlm/folder.py).
        options: How the model runs.
    """

    def __init__(self, folder: Path, model: str, options: ModelOptions | None = None) -> None:
        self._folder = folder
        self._model = " ".join(filter(None, (model, options.answer_key if options else "")))

    def key(self, kind: str, images: Sequence[Image], prompt: str, *settings: object) -> str:
        """Return the name of a record: a digest of all that an answer depends on."""
        digest = hashlib.sha256(repr([VERSION, self._model, kind, prompt, settings]).encode())
        for image in images:
            digest.update(repr([image.mode, image.size]).encode())
            digest.update(image.tobytes())
        return digest.hexdigest()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a record, or None."""
        try:
            record = unpacked(self._path(key).read_bytes())
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    def put(self, key: str, record: dict[str, Any]) -> None:
        """Store a record. A disk that refuses it costs the next one a computation."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, packed(record))
        except OSError:
            return

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.msgpack"


class RememberedSession:
    """An answer in progress that computes only what its record does not have.

    Args:
        memory: Where the record is.
        key: Its name.
        begin: Begins the session at the model.
        text_of: Decodes tokens.
        max_new_tokens: Maximum length of the answer.

    Attributes:
        computed: Whether something was computed for this session.
    """

    def __init__(
        self,
        memory: AnswerMemory,
        key: str,
        begin: Callable[[], Session],
        text_of: Callable[[Sequence[int]], str],
        max_new_tokens: int,
    ) -> None:
        self._memory, self._key, self._begin, self._text_of = memory, key, begin, text_of
        self._most = max_new_tokens
        self._steps: list[int] = []  # sizes of the steps so far
        self._repeated = 0  # number of them that the model itself has done
        self._count = 0
        self._session: Session | None = None
        self.computed = False
        self.finished = max_new_tokens < 1
        record = memory.get(key)
        if record is None:
            session = self._opened()
            record = {"visual_features": session.visual_features, "ended": False, "attention": None}
            record |= {"grids": None} | self._state_of(session)
        self._record = record

    def __exit__(self, *_: object) -> None:
        if self.computed:
            self._memory.put(self._key, self._record)
        if self._session is not None:
            self._session.__exit__()

    @property
    def visual_features(self) -> NDArray[np.float32]:
        """float32[2 * dim], as in `Session`."""
        features: NDArray[np.float32] = self._record["visual_features"]
        return features

    @property
    def tokens(self) -> tuple[int, ...]:
        """Tokens of the answer so far."""
        return tuple(self._record["answer"]["token_ids"][: self._count])

    @property
    def logprobs(self) -> tuple[float, ...]:
        """Their log-probabilities."""
        return tuple(self._record["answer"]["token_logprobs"][: self._count])

    @property
    def hidden_states(self) -> NDArray[np.float32]:
        """float32[k, dim], as in `Session`."""
        states: NDArray[np.float32] = self._record["hidden_states"]
        return states[: self._count] if self._count else np.zeros((0, 0), np.float32)

    def decode(self, max_tokens: int | None = None) -> None:
        """Decode further tokens, by default all that are left; those of the record are taken from there."""
        left = self._most - self._count
        step = left if max_tokens is None else min(max_tokens, left)
        if self.finished or step < 1:
            return
        self._steps.append(step)
        wanted = self._count + step
        if wanted > len(self._record["answer"]["token_ids"]) and not self._record["ended"]:
            self._go_on(wanted)
        known = len(self._record["answer"]["token_ids"])
        self._count = min(wanted, known)
        self.finished = self._count < wanted or self._count == self._most

    def answer(self) -> Answer:
        """Return the answer as decoded so far; its timings are those of the record."""
        whole = answer_of(self._record["answer"])
        tokens = whole.token_ids[: self._count]
        text = whole.text if self._count == len(whole.token_ids) else self._text_of(tokens)
        logprobs = whole.token_logprobs[: self._count]
        return replace(
            whole, text=text, token_ids=tokens, token_logprobs=logprobs, remembered=not self.computed
        )

    def attention(self, *, all_keys: bool = False) -> NDArray[np.float32]:
        """Return the attention from the prompt to the image tokens, as `Session` does."""
        if all_keys:
            return self._opened().attention(all_keys=True)
        if self._record["attention"] is None:
            self._record["attention"] = self._opened().attention()
        attention: NDArray[np.float32] = self._record["attention"]
        return attention

    @property
    def grids(self) -> list[TokenGrid]:
        """Grids of the image tokens over the frame, as in `Session`."""
        if self._record["grids"] is None:
            self._record["grids"] = [asdict(grid) for grid in self._opened().grids]
        return [
            TokenGrid(tuple(grid["box"]), grid["rows"], grid["columns"]) for grid in self._record["grids"]
        ]

    def _go_on(self, wanted: int) -> None:
        session = self._opened()
        for step in self._steps[self._repeated :]:
            session.decode(step)
        self._repeated = len(self._steps)
        self._record |= self._state_of(session)
        self._record["ended"] = len(session.tokens) < wanted

    def _opened(self) -> Session:
        self.computed = True
        if self._session is None:
            self._session = self._begin()
        return self._session

    def _state_of(self, session: Session) -> dict[str, Any]:
        return {"answer": asdict(session.answer()), "hidden_states": session.hidden_states}
