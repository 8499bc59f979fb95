"""The satellite's program: takes frames, answers with the compact model, sends answers or images down.

Four threads: camera, inference, downlink, and the main one, which watches over them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack

from nodes.config import ConfigError, Frame, SatelliteConfig, Station, check_ca_files, check_images
from nodes.contact import CarrierWatch
from nodes.inference import Inference, Question, timings
from nodes.management import ManagementPlane, slug
from nodes.policies import Policy, make_policy
from nodes.program import Loop, check_model, leave, run_program, serve
from nodes.transfer.downlink import ContactWatch, Downlink
from nodes.transfer.outbox import Outbox, OutboxError
from nodes.transfer.window import chunk_size_bytes

DESCRIPTION = "Run a satellite: camera, compact model, policy, outbox and downlink."
ANSWER_MAX_CHARACTERS = 800  # so that it fits into one message, with its frame's name


class Satellite:
    """Wires the threads of one satellite together."""

    def __init__(self, config: SatelliteConfig, policy: Policy) -> None:
        self._config = config
        self._policy = policy
        self._management = ManagementPlane(config.management, config.name, clock=config.clock)
        self._report = self._management.report
        self._outbox = Outbox(
            config.outbox,
            slug(config.name),
            chunk_size_bytes(config.rate_bit_s),
            limit_bytes=config.outbox_limit_bytes,
            report=self._report,
        )
        self._expires_s = {
            f.frame: f.capture_s + f.expires_after_s for f in config.frames if f.expires_after_s is not None
        }
        self._downlink = Downlink(
            satellite=config.name,
            stations={station: self._watch(station) for station in config.stations},
            outbox=self._outbox,
            rate_bit_s=config.rate_bit_s,
            report=self._report,
            heartbeat_s=config.heartbeat_s,
            scenario_s=self._management.now_s,
            contact_ends_s=self._contact_ends_s,
        )
        self._inference = Inference(config, self._report, self._answered, self._failed)
        self._camera = Loop("camera", self._take_frames)

    def run(self) -> int:
        """Serve until the end; the exit status."""
        return serve(self._config, self._management, [self._downlink, self._inference, self._camera])

    def _watch(self, station: Station) -> ContactWatch:
        if station.told:
            return self._management.contacts.watch(station.name)
        return CarrierWatch(station.interface)

    def _contact_ends_s(self) -> float | None:
        """Scenario time at which this contact ends: as the run said last, else as configured."""
        time_s = self._management.now_s()
        if time_s is None:
            return None
        told_s = self._management.contact_ends_s
        if told_s is not None and told_s > time_s:
            return told_s
        return min((ends_s for ends_s in self._config.contact_ends_s if ends_s > time_s), default=None)

    def _take_frames(self, stopping: threading.Event) -> None:
        for frame in sorted(self._config.frames, key=lambda frame: frame.capture_s):
            if not self._management.wait_until(frame.capture_s) or stopping.is_set():
                return
            if not self._outbox.holds(frame.frame):  # else it was taken before a restart
                self._take(frame)

    def _take(self, frame: Frame) -> None:
        try:
            size_bytes = frame.image.stat().st_size
        except OSError as error:
            self._report("refused", frame=frame.frame, reason=f"{frame.image}: {error.strerror}")
            return
        self._report("captured", frame=frame.frame, size_bytes=size_bytes)
        self._inference.ask(Question(frame.frame, frame.image, frame.prompt))

    def _answered(self, question: Question, answer: Any, finished_s: float) -> None:
        decision = self._policy.decide(answer)
        self._report(
            "inference_finished",
            monotonic_s=finished_s,
            frame=question.frame,
            answer=answer.text,
            confidence=answer.confidence,
            **timings(answer),
            decision=decision,
        )
        if decision == "answer":
            self._send_answer(question, answer)
        else:
            self._send_image(question)

    def _failed(self, question: Question, reason: str) -> None:
        """What the compact model cannot read, the ground may."""
        self._send_image(question)

    def _send_answer(self, question: Question, answer: Any) -> None:
        text = answer.text[:ANSWER_MAX_CHARACTERS]
        body = msgpack.packb({"answer": text, "confidence": float(answer.confidence)})
        try:
            expires_s = self._expires_s.get(question.frame)
            self._outbox.add_answer(question.frame, body, {}, expires_s=expires_s)
        except OutboxError as error:
            self._report("refused", frame=question.frame, reason=str(error))
        self._downlink.wake()

    def _send_image(self, question: Question) -> None:
        try:
            expires_s = self._expires_s.get(question.frame)
            metadata = {"prompt": question.prompt}
            self._outbox.add_image(question.frame, question.image, metadata, expires_s=expires_s)
        except OutboxError as error:
            self._report("refused", frame=question.frame, reason=str(error))
        self._downlink.wake()


def check(config: SatelliteConfig, path: Path) -> None:
    """Check what the file names: policy, images, model. Raises ConfigError."""
    try:
        make_policy(config.policy, config.accept_confidence)
    except ValueError as error:
        raise ConfigError(f"{path}: policy: {error}") from error
    check_images(config, path)
    check_ca_files([config.management, *config.stations], path)
    check_model(config, path)


def run(config: SatelliteConfig) -> int:
    """Run a satellite until it is stopped; the exit status."""
    return Satellite(config, make_policy(config.policy, config.accept_confidence)).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    return run_program("satellite", DESCRIPTION, SatelliteConfig, check, run, arguments)


if __name__ == "__main__":
    leave(main())
