"""Program of a ground station: receives answers and images, and answers the images with the regular model.

Five threads: station link, uplink of tasks, inference, a sweep for complete items without an answer, and the
main one, which supervises them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import math
import queue
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec

from nodes.contract.config import GroundConfig, check_ca_files
from nodes.contract.events import (
    Answered,
    AnsweredBy,
    Event,
    FrameRefused,
    InboxTrouble,
    InferenceFinished,
)
from nodes.contract.files import is_transient
from nodes.errors import WithdrawnError
from nodes.onboard.kept_work import KeptWork
from nodes.onboard.message import FORMS, answer_received
from nodes.profiles.pace import PacedWork
from nodes.runtime.inference import Inference, Question, StageTimes
from nodes.runtime.management import ManagementPlane
from nodes.runtime.program import Loop, Part, check_model, leave, run_program, serve
from nodes.transfer.files import BLOCK_BYTES
from nodes.transfer.inbox import Claim, Inbox, InboxItem
from nodes.transfer.pieces.parts import Parts
from nodes.transfer.station import StationLink
from nodes.transfer.uplink.station import TaskUplink
from nodes.vlm.answer import check_confidence
from nodes.vlm.protocol import AnsweringModel

SWEEP_S = 2.0
SETTLE_S = 0.25
READ_AGAIN_S = 1.0
READ_AGAIN_MAX_S = 60.0  # a disk that refuses a received image for longer has lost it
IN_MEMORY_BYTES = 32 << 20
CLAIMS_MAX = 64  # items waiting for the model; another station may take further ones
TOLD_MAX = 1000
DESCRIPTION = "Run a ground station: inbox, regular model, answers."


class SatelliteAnswer(msgspec.Struct):
    """The bytes of an answer, as a satellite sends them; unknown keys are ignored."""

    answer: str
    confidence: Annotated[float, msgspec.Meta(ge=0, le=sys.float_info.max)]


class Ground:
    """The threads of one ground station."""

    def __init__(self, config: GroundConfig) -> None:
        self._config = config
        self._management = ManagementPlane(config.management, config.name, clock=config.clock)
        self._report = self._management.report
        self._inbox = Inbox(config.inbox, limit_bytes=config.inbox_limit_bytes, report=self._report)
        self._asked: dict[Path, Claim] = {}
        self._unsettled: list[Claim] = []
        self._reported: set[Path] = set()  # items whose answer is on its way to the run
        self._taken: queue.SimpleQueue[Claim] = queue.SimpleQueue()  # whose answer the run's broker has
        self._told: set[tuple[str | None, str]] = set()
        self._inference = Inference(
            config,
            self._report,
            work=self._answer,
            on_done=self._answered,
            on_failure=self._failed,
            on_put_off=self._put_off,
            clock=self._management,
        )
        self._link = StationLink(
            name=config.name,
            broker=config.broker,
            inbox=self._inbox,
            report=self._report,
            on_complete=self._complete,
            scenario_s=self._management.now_s,
        )
        self._parts: Parts | None = None
        if config.patience_s is not None:
            self._parts = Parts(self._inbox, config.patience_s, self._report, self._management.now_s)
            self._parts.on_change = self._management.idleness.changed
            self._link.receiver.on_part = self._parts.heard
            self._management.idleness.watch(self._parts.next_cut_s)
        self._sweep = Loop("sweep", self._sweep_inbox)
        self._uplink: TaskUplink | None = None
        if config.uplink is not None:
            self._uplink = TaskUplink(
                config.uplink,
                config.uplink_bit_s,
                publish=self._link.publish,
                report=self._report,
                clock=self._management,
            )
            self._uplink.on_activity = self._management.idleness.changed
            self._link.on_task_reply = self._uplink.heard
            self._management.orders.watch(self._uplink.order)
            self._management.idleness.watch(self._uplink.due_s)
        self._inference.on_activity = self._management.idleness.changed
        self._left_over = True  # a sweep may find items to answer
        for part in (self._inference.due_s, self._sweep_due_s):
            self._management.idleness.watch(part)

    def run(self) -> int:
        """Serve until the end; return the exit status."""
        try:
            uplink = [] if self._uplink is None else [self._uplink]
            parts: list[Part] = [self._link, self._inference, self._sweep, *uplink]
            return serve(self._config, self._management, parts)
        finally:
            self._settle_taken(0.0)

    def _sweep_due_s(self) -> float:
        """Return when a sweep has something to do; see `Idleness.watch`."""
        return -math.inf if self._left_over else math.inf

    def _leave(self) -> None:
        """Leave an item to the next sweep."""
        self._left_over = True
        self._management.idleness.changed()

    def _sweep_inbox(self, stopping: threading.Event) -> None:
        """Queue complete items without an answer: left by a crash, also of another station."""
        while not stopping.is_set():
            try:
                self._sweep_once()
            except OSError as error:
                self._trouble(None, f"cannot be read: {error}")
                self._leave()
            until_s = time.monotonic() + SWEEP_S
            while not stopping.is_set():
                self._settle_taken(SETTLE_S)
                if time.monotonic() >= until_s or self._patience_has_ended():
                    break

    def _patience_has_ended(self) -> bool:
        """Return whether a message is to be answered from what has come of it."""
        time_s = self._management.now_s()
        return self._parts is not None and time_s is not None and self._parts.next_cut_s() <= time_s

    def _sweep_once(self) -> None:
        self._settle_again()
        was_left_over, self._left_over = self._left_over, False
        if self._parts is not None:
            self._parts.cut()
        for item in self._inbox.unanswered():
            self._complete(item)
        time_s = self._management.now_s()
        if time_s is not None:
            self._inbox.expire(time_s)
        self._inbox.look_around()
        if was_left_over:
            self._management.idleness.changed()

    def _complete(self, item: InboxItem) -> None:
        if len(self._asked) + len(self._reported) >= CLAIMS_MAX:
            self._leave()
            return
        if item.data_path in self._asked or item.folder in self._reported:
            return  # it came a second time, and the first question about it still waits
        try:
            claim = item.claim()
        except OSError as error:
            self._trouble(item.manifest.frame, f"{item.folder}: {error.strerror}")
            self._leave()
            return
        if claim is None:
            return  # another station's, or answered
        if item.manifest.kind == "answer":
            self._pass_on(claim)
            return
        prompt = item.manifest.metadata.get("prompt")
        if not isinstance(prompt, str):
            self._refuse(claim, "image without a prompt")
            return
        form = item.manifest.metadata.get("form", "whole")
        if form not in FORMS:
            self._refuse(claim, f"unknown form of image: {form!r:.40}")
            return
        self._asked[item.data_path] = claim
        self._inference.ask(
            Question(item.manifest.frame, item.data_path, prompt, str(form), satellite=item.satellite)
        )

    def _pass_on(self, claim: Claim) -> None:
        """Report the satellite's answer."""
        try:
            data = claim.item.data_path.read_bytes()
            if hashlib.sha256(data).digest() != claim.item.manifest.sha256:
                self._inbox.miss(claim.item)
                claim.release()
                return
            body = msgspec.msgpack.decode(data, type=SatelliteAnswer)
        except OSError as error:
            claim.release()
            self._leave()
            self._trouble(claim.item.manifest.frame, f"{claim.item.data_path}: {error.strerror}")
            return
        except Exception as error:  # msgspec raises unrelated types on foreign bytes
            self._refuse(claim, f"not an answer: {type(error).__name__}")
            return
        self._report_answer(claim, body.answer, "satellite", min(1.0, body.confidence))

    def _answer(self, model: AnsweringModel, question: Question, paced: PacedWork | None) -> Any:
        claim = self._asked[question.image]
        if not claim.holds:
            raise WithdrawnError(f"{claim.item.folder} was replaced by another program")
        with self._opened(claim) as file:
            try:
                form, prompt, most = question.form, question.prompt, self._config.max_new_tokens
                answer = KeptWork.of(model, claim.item.manifest.sha256).answer(
                    lambda: answer_received(model, form, file, prompt, most), prompt, form, most
                )
            finally:
                if not isinstance(file, io.BytesIO) and claim.item.damage() is not None:  # while it was read
                    raise self._missed(claim)
        check_confidence(answer.confidence)
        return answer if paced is None else paced.answered(answer)

    def _opened(self, claim: Claim) -> BinaryIO:
        """Return a received image with its bytes as they came; wait while a reason that passes prevents it.

        A file of up to IN_MEMORY_BYTES is read whole, so that it cannot change any more.

        Raises:
            WithdrawnError: its bytes changed after it was received; they are asked for again.
            OSError: it cannot be read.
        """
        path, until_s = claim.item.data_path, time.monotonic() + READ_AGAIN_MAX_S
        while True:
            try:
                file: BinaryIO = path.open("rb")
                break
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    raise self._missed(claim) from error
                if not is_transient(error) or time.monotonic() >= until_s:
                    raise
                self._trouble(claim.item.manifest.frame, f"{path}: {error.strerror}")
            if self._management.stopped.wait(READ_AGAIN_S):
                raise InterruptedError(errno.EINTR, "stopped", str(path))
        whole = io.BytesIO() if claim.item.manifest.size_bytes <= IN_MEMORY_BYTES else None
        digest = hashlib.sha256()
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            if whole is not None:
                whole.write(block)
        if digest.digest() != claim.item.manifest.sha256:
            file.close()
            raise self._missed(claim)
        if whole is not None:
            file.close()
            file = whole
        file.seek(0)
        return file

    def _missed(self, claim: Claim) -> WithdrawnError:
        """Have the bytes of an item asked for again."""
        try:
            self._inbox.miss(claim.item)
        except OSError as error:  # its question comes again, and finds the same
            self._trouble(claim.item.manifest.frame, f"{claim.item.folder}: {error.strerror}")
        return WithdrawnError(f"{claim.item.data_path} is not as it was received")

    def _answered(self, question: Question, answer: Any, finished_s: float) -> None:
        times = StageTimes.of(answer)
        event = InferenceFinished(
            frame=question.frame,
            answer=answer.text,
            confidence=answer.confidence,
            preprocess_s=times.preprocess_s,
            vision_s=times.vision_s,
            prefill_s=times.prefill_s,
            decode_s=times.decode_s,
            remembered=getattr(answer, "remembered", None) or None,
            satellite=question.satellite,
        )
        self._report(event, monotonic_s=finished_s)
        self._report_answer(self._asked.pop(question.image), answer.text, "ground", answer.confidence)

    def _failed(self, question: Question, reason: str) -> None:
        self._refuse(self._asked.pop(question.image), reason)

    def _put_off(self, question: Question) -> None:
        """Release a question that cannot be answered now, and leave it to a sweep."""
        self._asked.pop(question.image).release()
        self._leave()

    def _report_answer(
        self, claim: Claim, answer: str, answered_by: AnsweredBy, confidence: float | None
    ) -> None:
        frame = claim.item.manifest.frame
        event = Answered(frame=frame, answer=answer, answered_by=answered_by, confidence=confidence)
        self._report_end(event.sent_from(claim.item.satellite), claim)

    def _refuse(self, claim: Claim, reason: str) -> None:
        event = FrameRefused(frame=claim.item.manifest.frame, reason=reason)
        self._report_end(event.sent_from(claim.item.satellite), claim)

    def _report_end(self, event: Event, claim: Claim) -> None:
        """Report what ends a frame. Its item is settled once the run's broker has the event.

        A crash before that reports it twice, which a reader can see; settled before, it could be lost.
        """
        self._reported.add(claim.item.folder)
        claim.item.was_answered = True  # if its bytes are lost from now on, nobody needs them
        self._management.report(event, on_taken=lambda: self._taken.put(claim))

    def _settle_taken(self, timeout_s: float) -> None:
        """Settle items whose end was reported; wait so long for the first one."""
        try:
            while True:
                claim = self._taken.get(timeout=timeout_s) if timeout_s > 0 else self._taken.get_nowait()
                self._settle(claim)
                self._reported.discard(claim.item.folder)
        except queue.Empty:
            return

    def _settle(self, claim: Claim) -> None:
        try:
            claim.answered()
        except OSError as error:  # stays claimed, so that it is reported twice only after a restart
            self._unsettled.append(claim)
            self._trouble(
                claim.item.manifest.frame,
                f"{claim.item.folder}: cannot be marked as answered: {error.strerror}",
            )

    def _settle_again(self) -> None:
        """Mark what could not be marked before."""
        for claim in list(self._unsettled):
            with contextlib.suppress(OSError):
                claim.answered()
                self._unsettled.remove(claim)

    def _trouble(self, frame: str | None, reason: str) -> None:
        """Report a trouble of the inbox, once."""
        if (frame, reason) not in self._told:
            if len(self._told) >= TOLD_MAX:
                self._told.clear()
            self._told.add((frame, reason))
            self._report(InboxTrouble(frame=frame, reason=reason))


def check(config: GroundConfig, path: Path) -> None:
    """Check the files and the model that a configuration names. Raises ConfigError."""
    check_ca_files([config.management, config.broker], path)
    check_model(config, path)


def run(config: GroundConfig) -> int:
    """Run a ground station until it is stopped; return the exit status."""
    return Ground(config).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_program("ground", DESCRIPTION, GroundConfig, check, run, arguments)


if __name__ == "__main__":
    leave(main())
