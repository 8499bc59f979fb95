"""Outcomes of both models, computed once and kept on disk.

A key is a hash over the models' weights, the image's bytes, the prompt, how the picture was laid out, and a
version of this code; so nothing here ever has to be invalidated. An interrupted evaluation goes on where it
was.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from nodes.contract.files import write_atomically
from nodes.data.pairs import Pair
from nodes.errors import ModelError
from nodes.onboard.confidence import END, token_confidence
from nodes.onboard.layout import Layout
from nodes.onboard.message import FrameMessage, answer_received, make_message
from nodes.onboard.stages import StagedAnswer
from nodes.policies import Decision, SendRegions
from nodes.vlm.folder import check_model_folder, is_hub_name
from nodes.vlm.image import open_image
from nodes.vlm.model import VisionLanguageModel, load_model
from nodes.vlm.openai import connect, is_server, parse_address
from nodes.vlm.protocol import AnsweringModel

VERSION = "5"  # raise it when an outcome would come out otherwise
Floats = NDArray[np.float64]


class Cache:
    """msgpack values by key, a file each; written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> Any:
        """The value, or None; a damaged file counts as none."""
        try:
            return msgpack.unpackb(self._path(key).read_bytes(), strict_map_key=False)
        except (OSError, ValueError, msgpack.exceptions.UnpackException):
            return None

    def put(self, key: str, value: Any) -> None:
        """Keep a value."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, msgpack.packb(value))

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.msgpack"


def key_of(*parts: str | bytes | int) -> str:
    """A hash over parts, and over where each of them ends."""
    digest = hashlib.sha256(VERSION.encode())
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def weights_id(name_or_folder: str) -> str:
    """A hash over a model's files; of its name only, where it is on a hub or served. Raises ModelError."""
    if is_server(name_or_folder):
        address = parse_address(name_or_folder)
        return key_of("server", address.url, address.model or "")
    check_model_folder(name_or_folder)
    if is_hub_name(name_or_folder):
        return key_of("hub", name_or_folder)
    files = sorted(p for p in Path(name_or_folder).iterdir() if p.is_file() and not _tells_of_it(p))
    return key_of(*(part for p in files for part in (p.name, _digest(p))))


def _tells_of_it(file: Path) -> bool:
    """Whether a file is about a model, and not a part of it."""
    return file.suffix in (".md", ".csv", ".log", ".new") or file.name in (
        "training.json",
        "training-state.pt",
        "video_preprocessor_config.json",
    )


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").digest()
            if hasattr(hashlib, "file_digest")
            else _by_blocks(file)
        )


def _by_blocks(file: Any) -> bytes:
    digest = hashlib.sha256()  # Python 3.10 has no file_digest
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.digest()


@dataclass(frozen=True)
class OnboardOutcome:
    """What the compact model makes of a pair."""

    text: str
    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    features: dict[int, Floats]
    attention: NDArray[np.float32]

    def token_confidence(self, tokens: int) -> float:
        """Geometric mean of the probabilities of the first tokens; 0 where there is none."""
        return token_confidence(self.token_logprobs[:tokens])


@dataclass(frozen=True)
class GroundOutcome:
    """What goes down after a decision, and what the regular model makes of it."""

    size_bytes: int
    text: str


class Outcomes:
    """Both models over pairs; loads a model only when an outcome is not known yet.

    Args:
        compact, regular: folders or hub names; the regular one may be behind a server, which is asked for its
            name at once, for another model there has other outcomes. Raises ModelError.
        cache: where outcomes are kept.
        device: as torch names it.
    """

    def __init__(
        self,
        compact: str,
        regular: str,
        cache: Path,
        *,
        layout: Layout | None = None,
        device: str = "cpu",
        threads: int = 1,
        max_new_tokens: int = 8,
    ) -> None:
        self.layout = layout or Layout()
        if is_server(compact):
            raise ModelError(f"{compact} is behind a server: the compact model has to be paused, here")
        if is_server(regular):
            regular = connect(regular).full_name
        self.ids = {"compact": weights_id(compact), "regular": weights_id(regular)}
        self._names = {"compact": compact, "regular": regular}
        self._cache = Cache(cache)
        self._device, self._threads, self._max_new_tokens = device, threads, max_new_tokens
        self.computed = 0

    def __getstate__(self) -> dict[str, Any]:
        """For another process: all but the models, which it loads for itself."""
        return {name: value for name, value in self.__dict__.items() if name not in ("compact", "regular")}

    @cached_property
    def compact(self) -> VisionLanguageModel:
        """The compact model."""
        return load_model(self._names["compact"], device=self._device, threads=self._threads)

    @cached_property
    def regular(self) -> AnsweringModel:
        """The regular model."""
        if is_server(self._names["regular"]):
            return connect(self._names["regular"])
        return load_model(self._names["regular"], device=self._device, threads=self._threads)

    def onboard(self, pair: Pair) -> OnboardOutcome:
        """The compact model's outcome."""
        layout = self.layout
        key = key_of(
            "onboard",
            self.ids["compact"],
            image_bytes(pair.image),
            pair.prompt,
            self._max_new_tokens,
            repr((layout.rows, layout.columns, layout.stage_tokens)),
        )
        known = self._cache.get(key)
        if known is None:
            known = self._compute_onboard(pair)
            self._cache.put(key, known)
        return OnboardOutcome(
            text=known["text"],
            token_ids=tuple(known["token_ids"]),
            token_logprobs=tuple(known["token_logprobs"]),
            features={
                stage: np.frombuffer(data, dtype="<f4").astype(np.float64)
                for stage, data in known["features"].items()
            },
            attention=np.frombuffer(known["attention"], dtype="<f4").reshape(known["shape"]),
        )

    def _compute_onboard(self, pair: Pair) -> dict[str, Any]:
        self.computed += 1
        features: dict[int, bytes] = {}
        with StagedAnswer(
            self.compact, open_image(pair.image), pair.prompt, self.layout, self._max_new_tokens
        ) as staged:
            attention = staged.attention()
            while END not in features:
                stage = staged.advance()
                features[stage.stage] = stage.features.astype("<f4").tobytes()
            answer = staged.answer()
        return {
            "text": answer.text,
            "token_ids": list(answer.token_ids),
            "token_logprobs": list(answer.token_logprobs),
            "features": features,
            "attention": attention.astype("<f4").tobytes(),
            "shape": list(attention.shape),
        }

    def ground(self, pair: Pair, decision: Decision, scores: Sequence[float]) -> GroundOutcome:
        """The regular model's outcome for what a decision sends; `scores` matter for regions only."""
        key = self._ground_key(pair, decision, scores)
        known = self._cache.get(key)
        if known is None:
            self.computed += 1
            message = message_of(pair, decision, scores, self.layout)
            data = pair.image.read_bytes() if message.data is None else message.data
            answer = answer_received(
                self.regular, message.form, io.BytesIO(data), pair.prompt, self._max_new_tokens
            )
            known = {"size_bytes": len(data), "text": answer.text}
            self._cache.put(key, known)
        return GroundOutcome(**known)

    def knows_ground(self, pair: Pair, decision: Decision, scores: Sequence[float]) -> bool:
        """Whether `ground` has nothing to compute."""
        return self._cache.get(self._ground_key(pair, decision, scores)) is not None

    def _ground_key(self, pair: Pair, decision: Decision, scores: Sequence[float]) -> str:
        parts: list[str | bytes | int] = ["ground", self.ids["regular"], image_bytes(pair.image), pair.prompt]
        parts += [self._max_new_tokens, repr(decision)]
        if isinstance(decision, SendRegions):
            parts += ["pasted", repr(self.layout), np.asarray(scores, dtype="<f4").tobytes()]
        return key_of(*parts)


def image_bytes(path: Path) -> bytes:
    """The file's hash."""
    return hashlib.sha256(path.read_bytes()).digest()


def message_of(pair: Pair, decision: Decision, scores: Sequence[float], layout: Layout) -> FrameMessage:
    """What a decision sends of a pair's frame."""
    return make_message(decision, lambda: open_image(pair.image), lambda: scores, layout)
