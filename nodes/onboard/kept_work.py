"""What was made before of an image file with the same content: views, messages, answers.

Kept beside a model's answers (nodes/vlm/shared/memory.py). To decode a frame of 1344 px and to pack its
regions takes 70 ms, which is much for an answer that is only repeated: scenario time may run fifty times as
fast.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nodes.onboard.layout import Layout
from nodes.onboard.message import FrameMessage
from nodes.policies import Decision, SendReduced, SendRegions
from nodes.vlm.answer import Answer, ServerAnswer, answer_of
from nodes.vlm.protocol import AnsweringModel
from nodes.vlm.shared.memory import AnswerMemory
from nodes.vlm.views import ShownFrame, Views

KEPT_PX = 1 << 18  # of a frame's views; larger ones take as long to read as to make

Scores = Callable[[], Sequence[float]]
Make = Callable[[], dict[str, Any] | None]


class KeptWork:
    """Results of the work on one file.

    Args:
        memory: Where they are kept; None if nowhere, so that all is made anew.
        content: Digest of the file; empty without a memory.
        views: Views in which the model is shown frames.
    """

    def __init__(self, memory: AnswerMemory | None, content: str, views: Views | None) -> None:
        self._memory, self._content, self._views = memory, content, views

    @classmethod
    def of(cls, model: AnsweringModel, source: Path | bytes) -> KeptWork:
        """Return what a model's memory has of a file.

        Args:
            model: The model; most have no memory.
            source: The file, or the SHA-256 of its content.
        """
        memory, content = getattr(model, "kept", None), ""
        if memory is not None:
            try:
                digest = source if isinstance(source, bytes) else hashlib.sha256(source.read_bytes()).digest()
                content = digest.hex()
            except OSError:
                memory = None  # whoever opens the file says what is wrong
        return cls(memory, content, getattr(model, "views", None))

    def shown(self, make: Callable[[], ShownFrame]) -> ShownFrame:
        """Return the file's views.

        Args:
            make: Makes them.
        """

        def made() -> dict[str, Any] | None:
            self_made.append(make())
            frame = self_made[0]
            if sum(image.width * image.height for image in frame.images) > KEPT_PX:
                return None
            return {"images": list(frame.images), "size": [frame.width, frame.height], "boxes": frame.boxes}

        self_made: list[ShownFrame] = []
        record = self._record(made, "views", self._views)
        if self_made or record is None:
            return self_made[0]
        boxes = record["boxes"] and [(box[0], box[1], box[2], box[3]) for box in record["boxes"]]
        return ShownFrame(record["images"], boxes, *record["size"])

    def message(
        self, decision: Decision, layout: Layout, scores: Scores, make: Callable[[Scores], FrameMessage]
    ) -> FrameMessage:
        """Return the message of a decision.

        Args:
            decision: The decision.
            layout: Grid of regions and codec.
            scores: Returns the relevance of each region.
            make: Makes the message, given a function like `scores`.
        """
        if self._memory is None or not isinstance(decision, SendReduced | SendRegions):
            return make(scores)
        values = list(scores()) if isinstance(decision, SendRegions) else []
        record = self._record(
            lambda: asdict(make(lambda: values)),
            "message in pieces",
            decision,
            layout,
            [float(v) for v in values],
        )
        if record is None:
            return make(scores)
        return FrameMessage(record["form"], record["data"], tuple(record["pieces_bytes"]))

    def answer(
        self, make: Callable[[], Answer | ServerAnswer], prompt: str, form: str, max_new_tokens: int
    ) -> Answer | ServerAnswer:
        """Return an answer about the file.

        Args:
            make: Lets the model answer.
            prompt: The question.
            form: Form of the file (nodes/onboard/message.py).
            max_new_tokens: Maximum length of the answer.
        """
        answers: list[Answer | ServerAnswer] = []

        def made() -> dict[str, Any] | None:
            answers.append(make())
            return asdict(answers[0]) if isinstance(answers[0], Answer) else None

        record = self._record(made, "received", prompt, form, self._views, max_new_tokens)
        return answers[0] if answers or record is None else answer_of(record | {"remembered": True})

    def _record(self, make: Make, kind: str, *of: object) -> dict[str, Any] | None:
        """Return a record that is kept, or one that is made and then kept."""
        memory = self._memory
        if memory is None:
            return make()
        key = memory.key(kind, (), self._content, *of)
        if (known := memory.get(key)) is not None:
            return known
        if (record := make()) is not None:
            memory.put(key, record)
        return record
