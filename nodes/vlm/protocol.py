"""Interfaces of models: one shared by local models and servers, one for models that can be paused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

    from nodes.vlm.answer import Answer, ServerAnswer
    from nodes.vlm.peak_memory import MemoryWatch


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

    def prepare(self, images: Image | Sequence[Image], prompt: str) -> Any:
        """Return the network's inputs, on its device."""
