"""Interfaces of models: of all of them, of those that answer in stages, and of those that a session runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from nodes.errors import ModelError, first_line
from nodes.vlm.image import WARM_UP_PROMPT, warm_up_image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from nodes.vlm.answer import Answer, ServerAnswer
    from nodes.vlm.peak_memory import MemoryWatch
    from nodes.vlm.token_grid import Box, TokenGrid
    from nodes.vlm.views import Views


class AnsweringModel(Protocol):
    """A model that answers prompts about images: a local one, or one behind an OpenAI-compatible server."""

    @property
    def parameters(self) -> int | None:
        """Number of weights; None if unknown, as for a server."""

    def warm_up(self) -> float:
        """Answer once about a grey image and return the duration in seconds.

        Raises:
            ModelError: The model cannot answer.
        """

    def answer(
        self, images: Image | Sequence[Image], prompt: str, *, max_new_tokens: int = 32
    ) -> Answer | ServerAnswer:
        """Answer a prompt about one or more images.

        Args:
            images: A frame, or a sequence of images for one prompt.
            prompt: The question.
            max_new_tokens: Maximum length of the answer.
        """


def answer_once(model: AnsweringModel) -> float:
    """Let a model answer once about a grey image and return the duration in seconds. Raises ModelError."""
    try:
        return model.answer(warm_up_image(), WARM_UP_PROMPT, max_new_tokens=2).timings.total_s
    except Exception as error:  # a user's model may raise anything
        raise ModelError(f"the model was loaded but cannot answer: {first_line(error)}") from error


class AnswerInProgress(Protocol):
    """An answer in progress: a `Session`, or one in another process."""

    visual_features: NDArray[np.float32]
    finished: bool

    def __exit__(self, *_: object) -> None:
        """Forget it."""

    @property
    def tokens(self) -> Sequence[int]:
        """Tokens of the answer so far."""

    @property
    def logprobs(self) -> Sequence[float]:
        """Their log-probabilities."""

    @property
    def hidden_states(self) -> NDArray[np.float32]:
        """float32[k, dim]: the state from which each token was chosen."""

    @property
    def grids(self) -> list[TokenGrid]:
        """Grids of the image tokens over the frame. Raises ValueError."""

    def decode(self, max_tokens: int | None = None) -> None:
        """Decode further tokens."""

    def attention(self, *, all_keys: bool = False) -> NDArray[np.float32]:
        """Return the attention from the prompt to the image tokens. Raises ValueError."""

    def answer(self) -> Answer:
        """Return the answer as decoded so far."""


class StagedModel(AnsweringModel, Protocol):
    """A model that answers in stages: a local one, or one that another process holds."""

    @property
    def views(self) -> Views | None:
        """The views in which a frame is shown to the model; None for the frame itself."""

    def now_s(self) -> float:
        """Return the monotonic time in seconds, once the model is idle."""

    def begin(
        self,
        images: Image | Sequence[Image],
        prompt: str,
        *,
        boxes: Sequence[Box] | None = None,
        max_new_tokens: int = 32,
    ) -> AnswerInProgress:
        """Preprocess a prompt and encode its images. Raises ValueError if the family cannot be paused."""


class PausableModel(Protocol):
    """A local model as a `Session` uses it: its network, its processor and its clock."""

    @property
    def network(self) -> Any:
        """The transformers model."""

    @property
    def processor(self) -> Any:
        """The transformers processor."""

    @property
    def end_tokens(self) -> set[int]:
        """The tokens that end an answer."""

    @property
    def memory(self) -> MemoryWatch:
        """The counter of the device's memory."""

    def now_s(self) -> float:
        """Wait until the device is idle and return the monotonic time in seconds."""

    def prepare(
        self, images: Image | Sequence[Image], prompt: str, boxes: Sequence[Box] | None = None
    ) -> Any:
        """Return the network's inputs, on its device."""
