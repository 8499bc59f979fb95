"""The ground station's program: receives answers and images, answers the images with the regular model.

Three threads: station link, inference, and the main one, which watches over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack

from nodes.config import GroundConfig
from nodes.inference import Inference, Question, timings
from nodes.management import ManagementPlane
from nodes.program import check_model, leave, run_program, serve
from nodes.transfer.inbox import Inbox, InboxItem
from nodes.transfer.station import StationLink

DESCRIPTION = "Run a ground station: inbox, regular model, answers."


class Ground:
    """Wires the threads of one ground station together."""

    def __init__(self, config: GroundConfig) -> None:
        self._config = config
        self._management = ManagementPlane(config.management, config.name)
        self._report = self._management.report
        self._inbox = Inbox(config.inbox)
        self._asked: dict[Path, InboxItem] = {}
        self._inference = Inference(config, self._report, self._answered, self._failed)
        self._link = StationLink(
            name=config.name,
            broker=config.broker,
            inbox=self._inbox,
            report=self._report,
            on_complete=self._complete,
        )

    def run(self) -> int:
        """Serve until the end; the exit status."""
        for item in self._inbox.unanswered():
            self._complete(item)
        return serve(self._config, self._management, [self._link, self._inference])

    def _complete(self, item: InboxItem) -> None:
        if item.manifest.kind == "answer":
            self._pass_on(item)
            return
        prompt = item.manifest.metadata.get("prompt")
        if not isinstance(prompt, str):
            self._refuse(item, "image without a prompt")
            return
        self._asked[item.data_path] = item
        self._inference.ask(Question(item.manifest.frame, item.data_path, prompt))

    def _pass_on(self, item: InboxItem) -> None:
        """Report the answer that the satellite gave."""
        try:
            body = msgpack.unpackb(item.data_path.read_bytes())
            answer, confidence = str(body["answer"]), float(body["confidence"])
        except Exception as error:  # msgpack raises unrelated types on foreign bytes
            self._refuse(item, f"not an answer: {type(error).__name__}")
            return
        self._report_answer(item, answer, "satellite", confidence)

    def _answered(self, question: Question, answer: Any, finished_s: float) -> None:
        self._report(
            "inference_finished",
            monotonic_s=finished_s,
            frame=question.frame,
            answer=answer.text,
            confidence=answer.confidence,
            **timings(answer),
        )
        self._report_answer(self._asked.pop(question.image), answer.text, "ground", answer.confidence)

    def _failed(self, question: Question, reason: str) -> None:
        self._refuse(self._asked.pop(question.image), reason)

    def _report_answer(self, item: InboxItem, answer: str, answered_by: str, confidence: float) -> None:
        self._report(
            "answered",
            frame=item.manifest.frame,
            answer=answer,
            answered_by=answered_by,
            confidence=confidence,
        )
        # Marked after it was told: a crash in between tells it twice, which a reader can see.
        item.mark_answered()

    def _refuse(self, item: InboxItem, reason: str) -> None:
        self._report("refused", frame=item.manifest.frame, reason=reason)
        item.mark_answered()


def check(config: GroundConfig, path: Path) -> None:
    """Check what the file names. Raises ConfigError."""
    check_model(config, path)


def run(config: GroundConfig) -> int:
    """Run a ground station until it is stopped; the exit status."""
    return Ground(config).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    return run_program("ground", DESCRIPTION, GroundConfig, check, run, arguments)


if __name__ == "__main__":
    leave(main())
