"""A model's answer and the time that each of its stages took."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodes.errors import PartError
from nodes.vlm.peak_memory import PeakMemory

ROUNDING = 1e-3  # log-probabilities of 16-bit models may exceed 0 by this


@dataclass(frozen=True)
class Timings:
    """Duration of each stage of one answer; the four stages are consecutive and sum to `total_s`.

    Attributes:
        preprocess_s: Converting the images to patches and the prompt to tokens, and copying both to the
            device.
        vision_s: The vision tower. 0 for a family without a separate tower, where vision is part of
            `prefill_s`.
        prefill_s: The rest up to the first token: projection, and the language model over images and prompt.
        decode_s: All further tokens, and converting the tokens to text.
    """

    preprocess_s: float
    vision_s: float
    prefill_s: float
    decode_s: float

    @property
    def total_s(self) -> float:
        """Duration of the whole call."""
        return self.preprocess_s + self.vision_s + self.prefill_s + self.decode_s


@dataclass(frozen=True)
class Answer:
    """The answer of a local model.

    Attributes:
        text: The answer.
        token_ids: Its tokens, without the end-of-turn token.
        token_logprobs: Log-probability of each token.
        timings: Duration of each stage.
        peak_memory: Peak memory use, if it was measured.
        remembered: Whether it was computed before and taken from a memory (nodes/vlm/shared/memory.py).
    """

    text: str
    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    timings: Timings
    peak_memory: PeakMemory | None = None
    remembered: bool = False

    @property
    def confidence(self) -> float:
        """Geometric mean of the tokens' probabilities, 0 to 1; 0 for an empty answer."""
        return geometric_mean(self.token_logprobs) if self.token_logprobs else 0.0


@dataclass(frozen=True)
class ServerAnswer:
    """The answer of a model behind a server.

    Attributes:
        text: The answer.
        token_logprobs: Log-probability of each token; empty if the server does not report them.
        timings: A server does not report its stages, so `decode_s` holds the whole request.
    """

    text: str
    token_logprobs: tuple[float, ...]
    timings: Timings

    @property
    def confidence(self) -> float | None:
        """Geometric mean of the tokens' probabilities, 0 to 1; None if the server does not report them."""
        return geometric_mean(self.token_logprobs) if self.token_logprobs else None


def geometric_mean(logprobs: Sequence[float]) -> float:
    """Return the geometric mean of the probabilities, given at least one log-probability.

    It is NaN if one of them is none: NaN, or above 0 by more than rounding.
    """
    if not all(logprob <= ROUNDING for logprob in logprobs):
        return math.nan
    return math.exp(min(0.0, sum(logprobs) / len(logprobs)))


def check_confidence(confidence: float | None, whose: str = "probabilities of its tokens") -> None:
    """Check the confidence in an answer.

    Raises:
        PartError: It is not from 0 to 1.
    """
    if confidence is not None and not 0 <= confidence <= 1:
        raise PartError("model", f"the {whose} are not numbers from 0 to 1 ({confidence})")


def answer_of(fields: Mapping[str, Any]) -> Answer:
    """Return the answer whose fields `dataclasses.asdict` gave."""
    peak = fields["peak_memory"]
    return Answer(
        fields["text"],
        tuple(fields["token_ids"]),
        tuple(fields["token_logprobs"]),
        Timings(**fields["timings"]),
        None if peak is None else PeakMemory(**peak),
        fields["remembered"],
    )
