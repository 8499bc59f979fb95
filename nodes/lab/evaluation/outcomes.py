"""Outcomes of both models, computed once and cached on disk.

A key is a hash of the models' weights, the image, the prompt, the layout and a version of this code, so
entries never have to be invalidated. An interrupted evaluation resumes from the cache.
"""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from nodes.contract.files import write_atomically
from nodes.contract.models.options import ModelOptions
from nodes.data.pairs import Pair
from nodes.errors import ModelError
from nodes.onboard.confidence import END, token_confidence
from nodes.onboard.layout import Layout
from nodes.onboard.message import Form, FrameMessage, answer_received, make_message
from nodes.onboard.stages import StagedAnswer
from nodes.policies import Decision, SendRegions
from nodes.vlm.folder import check_model_folder, is_hub_name
from nodes.vlm.image import open_image
from nodes.vlm.loading.checks import check_options
from nodes.vlm.model import VisionLanguageModel, load_model
from nodes.vlm.openai import connect, is_server, parse_address
from nodes.vlm.protocol import AnsweringModel

VERSION = "6"  # increase it with changes that affect outcomes
Floats = NDArray[np.float64]


class Cache:
    """Values by key, each in a msgpack file that is written atomically."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> Any:
        """Return a value; None if it is missing or its file is damaged."""
        try:
            return msgpack.unpackb(self._path(key).read_bytes(), strict_map_key=False)
        except (OSError, ValueError, msgpack.exceptions.UnpackException):
            return None

    def put(self, key: str, value: Any) -> None:
        """Store a value."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, msgpack.packb(value))

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.msgpack"


def key_of(*parts: str | bytes | int) -> str:
    """Return a hash of the parts and of their boundaries."""
    digest = hashlib.sha256(VERSION.encode())
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def weights_id(name_or_folder: str) -> str:
    """Return a hash of a model's files, or of its name if it is on a hub or behind a server.

    Raises:
        ModelError: There is no such model.
    """
    if is_server(name_or_folder):
        address = parse_address(name_or_folder)
        return key_of("server", address.url, address.model or "")
    check_model_folder(name_or_folder)
    if is_hub_name(name_or_folder):
        return key_of("hub", name_or_folder)
    files = sorted(p for p in Path(name_or_folder).iterdir() if p.is_file() and not _is_description(p))
    return key_of(*(part for p in files for part in (p.name, _digest(p))))


def _is_description(file: Path) -> bool:
    """Return whether a file describes a model without affecting its outcomes."""
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
    """The compact model's outcome for a pair.

    Attributes:
        text: The answer.
        token_ids: Tokens of the answer.
        token_logprobs: Log probability of each token.
        features: Features of the confidence heads by stage.
        attention: Attention to each region by layer and head; float32[layers, heads, regions].
    """

    text: str
    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    features: dict[int, Floats]
    attention: NDArray[np.float32]

    def token_confidence(self, tokens: int) -> float:
        """Return the geometric mean of the probabilities of the first tokens; 0 without tokens."""
        return token_confidence(self.token_logprobs[:tokens])


@dataclass(frozen=True)
class GroundOutcome:
    """The message that a decision sends, and the regular model's answer to it.

    Attributes:
        size_bytes: Size of the message.
        text: The answer.
        form: Form of the message.
        pieces: Digest and bytes of each piece of a message of regions, in the order of sending. Messages of
            one frame share the pieces that they have in common.
    """

    size_bytes: int
    text: str
    form: Form
    pieces: tuple[tuple[str, int], ...]


class Outcomes:
    """Outcomes of both models, from the cache if possible; a model is loaded only when it is needed.

    Args:
        compact: Folder or hub name of the compact model.
        regular: Folder, hub name or server address of the regular model. A server is queried for the name of
            its model at once, because the name is a part of cache keys.
        cache: Folder of the cache.
        layout: Division of frames into regions, and the stages of an answer.
        options: How both models run.

    Raises:
        ModelError: There is no such model, the server does not answer, or the compact model is a server's.
    """

    def __init__(
        self,
        compact: str,
        regular: str,
        cache: Path,
        *,
        layout: Layout | None = None,
        options: ModelOptions | None = None,
    ) -> None:
        self.layout = layout or Layout()
        if is_server(compact):
            raise ModelError(
                f"{compact} is a server: the compact model must run locally, where it can be paused"
            )
        self._options = options or ModelOptions(model_threads=1)
        self._max_new_tokens = self._options.max_new_tokens
        if is_server(regular):
            regular = connect(regular).full_name
        self.ids = {"compact": self._id(compact), "regular": self._id(regular)}
        self._names = {"compact": compact, "regular": regular}
        self.cache = Cache(cache)
        self.computed = 0

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for another process, which loads the models itself."""
        return {name: value for name, value in self.__dict__.items() if name not in ("compact", "regular")}

    def with_cache(self, cache: Cache) -> Outcomes:
        """Return the same outcomes over another cache, for another process."""
        other = copy.copy(self)
        other.cache = cache
        return other

    def check_models(self) -> None:
        """Compare the models on this machine with those that these outcomes were made for.

        Raises:
            ModelError: A model is missing, or has other weights.
        """
        for which, name in self._names.items():
            if self._id(name) != self.ids[which]:
                raise ModelError(f"{name} has other weights than where the evaluation was started")

    def _id(self, name: str) -> str:
        """Return what answers depend on: the weights, and how the model runs where that changes them."""
        weights, runs = weights_id(name), self._options
        if is_server(name):
            runs = ModelOptions(min_pixels=runs.min_pixels, max_pixels=runs.max_pixels)
        else:
            check_options(name, runs)
        return key_of(weights, runs.answer_key) if runs.answer_key else weights

    @cached_property
    def compact(self) -> VisionLanguageModel:
        """The compact model."""
        return load_model(self._names["compact"], self._options)

    @property
    def regular_is_here(self) -> bool:
        """Whether the regular model computes on this machine, not behind a server."""
        return not is_server(self._names["regular"])

    @cached_property
    def regular(self) -> AnsweringModel:
        """The regular model."""
        if not self.regular_is_here:
            return connect(self._names["regular"], options=self._options)
        return load_model(self._names["regular"], self._options)

    def onboard(self, pair: Pair) -> OnboardOutcome:
        """Return the compact model's outcome for a pair."""
        key = self._onboard_key(pair)
        known = self.cache.get(key)
        if known is None:
            known = self._compute_onboard(pair)
            self.cache.put(key, known)
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

    def knows_onboard(self, pair: Pair) -> bool:
        """Return whether the outcome that `onboard` returns is cached."""
        return self.cache.get(self._onboard_key(pair)) is not None

    def _onboard_key(self, pair: Pair) -> str:
        layout = self.layout
        return key_of(
            "onboard",
            self.ids["compact"],
            image_digest(pair.image),
            pair.prompt,
            self._max_new_tokens,
            repr((layout.rows, layout.columns, layout.stage_tokens)),
        )

    def ground(self, pair: Pair, decision: Decision, scores: Sequence[float]) -> GroundOutcome:
        """Return the regular model's outcome for a decision; `scores` are used for regions only."""
        key = self._ground_key(pair, decision, scores)
        known = self.cache.get(key)
        if known is None:
            self.computed += 1
            message = message_of(pair, decision, scores, self.layout)
            data = pair.image.read_bytes() if message.data is None else message.data
            answer = answer_received(
                self.regular, message.form, io.BytesIO(data), pair.prompt, self._max_new_tokens
            )
            pieces = pieces_of(data, message.pieces_bytes)
            known = {"size_bytes": len(data), "text": answer.text, "form": message.form, "pieces": pieces}
            self.cache.put(key, known)
        pieces = [(digest, size_bytes) for digest, size_bytes in known["pieces"]]
        return GroundOutcome(known["size_bytes"], known["text"], known["form"], tuple(pieces))

    def knows_ground(self, pair: Pair, decision: Decision, scores: Sequence[float]) -> bool:
        """Return whether the outcome that `ground` returns is cached."""
        return self.cache.get(self._ground_key(pair, decision, scores)) is not None

    def _ground_key(self, pair: Pair, decision: Decision, scores: Sequence[float]) -> str:
        parts: list[str | bytes | int] = [
            "ground",
            self.ids["regular"],
            image_digest(pair.image),
            pair.prompt,
        ]
        parts += [self._max_new_tokens, repr(decision)]
        if isinstance(decision, SendRegions):
            parts += ["pasted", repr(self.layout), np.asarray(scores, dtype="<f4").tobytes()]
        return key_of(*parts)


def image_digest(path: Path) -> bytes:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).digest()


def pieces_of(data: bytes, sizes_bytes: Sequence[int]) -> list[tuple[str, int]]:
    """Return digest and bytes of each piece of a message."""
    parts = [data[begin:end] for begin, end in pairwise(accumulate(sizes_bytes, initial=0))]
    return [(hashlib.sha256(part).hexdigest(), len(part)) for part in parts]


def message_of(pair: Pair, decision: Decision, scores: Sequence[float], layout: Layout) -> FrameMessage:
    """Return the message that a decision sends of a pair's frame."""
    return make_message(decision, lambda: open_image(pair.image), lambda: scores, layout)
