"""Program of a satellite: captures frames, follows a policy, sends answers or images to the ground.

Six threads: camera, inference, downlink, tasks from the ground, power, and the main one, which supervises
them. The policy decides in the inference thread, stage by stage, with the contact and the queue as they are
at that moment.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from nodes.contract.config import ConfigError, Frame, SatelliteConfig, Station, check_ca_files, check_images
from nodes.contract.events import (
    Captured,
    DecisionName,
    Dropped,
    FrameRefused,
    InferenceFinished,
    OutboxTrouble,
    SentRegions,
    StageJudgement,
    StageReading,
    TaskRefused,
)
from nodes.contract.files import patiently
from nodes.contract.messages import Order, QuestionTask
from nodes.contract.topics import slug
from nodes.errors import ConfidenceError, ModelError, WithdrawnError
from nodes.failures import failing_as
from nodes.onboard.changes import Changes
from nodes.onboard.frame import OnboardFrame, warm_up
from nodes.onboard.judge import Judge
from nodes.onboard.judge_choice import judge_of
from nodes.onboard.link_forecast import forecast
from nodes.onboard.message import FrameMessage
from nodes.onboard.policy_inputs import surroundings
from nodes.onboard.served import lacks
from nodes.policies import (
    Accept,
    Contact,
    Decision,
    Drop,
    FramePolicy,
    Queue,
    Reading,
    decide_frame,
    flying_policy,
)
from nodes.policies.explanation import Judgements, why
from nodes.policies.send_order import SEND_ORDERS, value_of
from nodes.profiles.pace import PacedWork
from nodes.runtime.battery_supply import BatterySupply, battery_supply, check_compute_power
from nodes.runtime.contact import CarrierWatch, RouteWatch
from nodes.runtime.expected_contacts import ExpectedContacts
from nodes.runtime.inference import Inference, Question, StageTimes
from nodes.runtime.management import ManagementPlane
from nodes.runtime.program import Loop, ModelUnavailableError, Part, check_model, leave, run_program, serve
from nodes.transfer.downlink import ContactWatch, Downlink
from nodes.transfer.flow_control import chunk_size_bytes
from nodes.transfer.messages import ID_BYTES, Metadata
from nodes.transfer.outbox import VALUE, Outbox, OutboxError, TransientOutboxError
from nodes.transfer.uplink.kept_frames import KeptFrames
from nodes.transfer.uplink.satellite import Outcome, RefusedTaskError, TaskInbox
from nodes.vlm.answer import check_confidence
from nodes.vlm.openai import is_server

DESCRIPTION = "Run a satellite: camera, compact model, policy, outbox and downlink."
DROPPED_BY_POLICY = "dropped by the policy"
STORE_AGAIN_S = 1.0
SERVER_AWAY_S = 10.0  # real; from then on frames go down as captured
SOON_S = 0.2  # real; several looks at the carrier
STORE_AGAIN_MAX_S = 60.0  # a disk that refuses a frame for longer has lost it
ANSWER_MAX_CHARACTERS = 800  # fits into one message together with the frame's name


@dataclass(frozen=True)
class Decided:
    """The outcome of a frame on board: decision, last reading, answer, message of an offloaded frame.

    `network` is the version of the confidence network that judged it, `value` the policy's rating of it,
    `earlier` the stages before the last reading, `regions` what a message of regions has of each, `judged`
    what the policy compared after each stage, `why` the decision in words.
    """

    decision: Decision
    reading: Reading
    answer: Any
    message: FrameMessage | None
    network: str | None = None
    value: float | None = None
    earlier: Sequence[StageReading] = ()
    regions: SentRegions | None = None
    judged: Sequence[StageJudgement] = ()
    message_bytes: int | None = None
    why: str | None = None

    @property
    def name(self) -> DecisionName:
        """The decision as events name it."""
        if isinstance(self.decision, Accept):
            return "answer"
        return "drop" if isinstance(self.decision, Drop) else "offload"


class Satellite:
    """The threads of one satellite."""

    def __init__(self, config: SatelliteConfig, policy: FramePolicy, judge: Judge) -> None:
        self._config = config
        self._policy = policy
        self._changes = Changes(config, judge)
        self._judge = judge
        self._plans = [forecast(station.plan) for station in config.stations if station.plan is not None]
        self._capture_s = {frame.frame: frame.capture_s for frame in config.frames}
        self._management = ManagementPlane(config.management, config.name, clock=config.clock)
        self._report = self._management.report
        self._outbox = Outbox(
            config.outbox,
            slug(config.name),
            chunk_size_bytes(config.rate_bit_s),
            limit_bytes=config.outbox_limit_bytes,
            send_key=SEND_ORDERS[self._changes.send_order],
            report=self._report,
        )
        self._expires_s = {
            f.frame: f.capture_s + f.expires_after_s for f in config.frames if f.expires_after_s is not None
        }
        self._values = {frame.frame: frame.value for frame in config.frames if frame.value != 1.0}
        self._pictures = {frame.frame: _picture(frame) for frame in config.frames}
        self._prompts: dict[str, str] = {}  # of questions that came up, by name, with their frame
        self._away_since_s: float | None = None  # the model's server; CLOCK_MONOTONIC
        self._ended: set[str] = set()  # of them, those without an answer
        self._kept: KeptFrames | None = None
        self._tasks: TaskInbox | None = None
        if config.tasks is not None:
            self._kept = KeptFrames(config.tasks / "kept", config.frames_kept_bytes)
            self._tasks = TaskInbox(
                config.tasks / "inbox",
                slug(config.name),
                carry_out=self._carry_out,
                report=self._report,
                scenario_s=self._management.now_s,
            )
            self._tasks.on_activity = self._management.idleness.changed
            self._management.idleness.watch(self._tasks.due_s)
            self._changes.add_all(self._tasks.received())
            self._apply_changes()
        self._downlink = Downlink(
            satellite=config.name,
            stations={station: self._watch(station) for station in config.stations},
            outbox=self._outbox,
            rate_bit_s=config.rate_bit_s,
            report=self._report,
            heartbeat_s=config.heartbeat_s,
            clock=self._management,
            contact_ends_s=self._contact_ends_s,
        )
        self._downlink.tasks = self._tasks
        self._downlink.queue_every_s = config.queue_every_s
        self._inference = Inference(
            config,
            self._report,
            work=self._decide,
            on_done=self._decided,
            on_failure=self._failed,
            on_put_off=self._again,
            prepare=self._warm_up,
            clock=self._management,
        )
        self._inference.lacks = lambda model: lacks(model, self._policy)
        self._contacts = ExpectedContacts(station.plan for station in config.stations)
        self._downlink.expects_contact = self._expects_contact
        self._next_capture_s = -math.inf
        self._inference.on_activity = self._downlink.on_activity = self._management.idleness.changed
        self._supply = self._battery_supply()
        for part in (self._inference.due_s, self._downlink.due_s, lambda: self._next_capture_s):
            self._management.idleness.watch(part)
        self._management.on_change = self._downlink.retime
        self._camera = Loop("camera", self._take_frames)

    def run(self) -> int:
        """Serve until the end; return the exit status."""
        try:
            tasks = [] if self._tasks is None else [self._tasks]
            power = [] if self._supply is None else [self._supply]
            parts: list[Part] = [self._downlink, self._inference, self._camera, *tasks, *power]
            return serve(self._config, self._management, parts)
        finally:
            if self._management.run_ended:
                self._outbox.forget_kept()
                if self._supply is not None:
                    self._supply.forget_kept()

    def _battery_supply(self) -> BatterySupply | None:
        """Return the power supply of a satellite with a power system, after telling all that use it."""
        supply = battery_supply(self._config, self._management, self._report)
        if supply is not None:
            supply.on_activity = self._management.idleness.changed
            supply.on_switch = self._downlink.wake
            self._inference.supply = self._downlink.supply = supply
            self._management.idleness.watch(supply.due_s)
        return supply

    def _apply_changes(self) -> None:
        """Put the settings in force that tasks have changed."""
        self._policy, self._judge = self._changes.policy(), self._changes.judge
        self._outbox.order_again(SEND_ORDERS[self._changes.send_order])
        for frame, value in self._changes.values.items():
            self._values[frame] = value
            self._outbox.value_again(frame, value)

    def _carry_out(self, order: Order) -> Outcome:
        """Carry out a task from the ground. Raises RefusedTaskError."""
        if isinstance(order.task, QuestionTask):
            return self._ask_again(order.task)
        known = getattr(order.task, "frame", None)
        if known is not None and known not in self._capture_s:
            raise RefusedTaskError(f"this satellite has no frame {known}")
        try:
            self._changes.add(order)
        except ValueError as error:
            raise RefusedTaskError(str(error)) from error
        self._apply_changes()
        self._downlink.wake()
        return "done"

    def _ask_again(self, task: QuestionTask) -> Outcome:
        """Ask a question about a frame that is still on board; it is done once it needs no model any more."""
        if self._outbox.holds(task.name) or task.name in self._ended:
            return "done"
        if task.name in self._prompts:
            return "later"
        image = None if self._kept is None else self._kept.image(task.frame)
        if image is None:
            raise RefusedTaskError(f"the satellite does not hold the image of frame {task.frame}")
        now_s = self._management.now_s()
        self._prompts[task.name] = task.frame
        self._capture_s[task.name] = 0.0 if now_s is None else now_s
        self._values[task.name] = task.value
        if task.expires_s is not None:
            self._expires_s[task.name] = task.expires_s
        self._inference.ask(Question(task.name, image, task.prompt))
        return "later"

    def _end_question(self, name: str, *, answered: bool) -> None:
        """Note that a question that came up needs its image no more."""
        if self._tasks is None or self._kept is None or name not in self._prompts:
            return
        self._kept.release(self._prompts[name])
        if not answered:
            self._ended.add(name)
        self._tasks.settled(name)

    def _watch(self, station: Station) -> ContactWatch:
        if station.told:
            return self._management.contacts.watch(station.name)
        if station.routed:
            return RouteWatch(station.host, self._management.speed)
        return CarrierWatch(station.interface, self._management.speed)

    def _expects_contact(self) -> bool:
        """Return whether a contact lasts or begins soon, as forecast."""
        time_s = self._management.now_s()
        if time_s is None:
            return True
        return self._contacts.between(time_s, time_s + SOON_S * self._management.speed())

    def _contact_ends_s(self) -> float | None:
        """Return the scenario time at which this contact ends, as configured, or None if it is unknown."""
        time_s = self._management.now_s()
        if time_s is None:
            return None
        return min((ends_s for ends_s in self._config.contact_ends_s if ends_s > time_s), default=None)

    def _take_frames(self, stopping: threading.Event) -> None:
        for frame in sorted(self._config.frames, key=lambda frame: frame.capture_s):
            self._next_capture(frame.capture_s)
            if not self._management.wait_until(frame.capture_s) or stopping.is_set():
                return
            if not self._outbox.holds(frame.frame):  # else it was taken before a restart
                self._take(frame)
        self._next_capture(math.inf)

    def _next_capture(self, time_s: float) -> None:
        """Note when the camera has something to do next."""
        self._next_capture_s = time_s
        self._management.idleness.changed()

    def _take(self, frame: Frame) -> None:
        try:
            size_bytes = self._size_bytes(frame.frame, frame.image)
        except OSError as error:
            self._report(FrameRefused(frame=frame.frame, reason=f"{frame.image}: {error.strerror}"))
            return
        if self._kept is not None:
            try:
                self._kept.keep(frame.frame, frame.image)
            except OSError as error:  # questions about it will be refused
                self._report(OutboxTrouble(reason=f"frame {frame.frame} is not kept: {error}"))
        if self._supply is not None:
            self._supply.captured()
        self._report(Captured(frame=frame.frame, size_bytes=size_bytes))
        self._inference.ask(Question(frame.frame, frame.image, frame.prompt))

    def _again(self, question: Question) -> None:
        """Ask once more: the process or the server of the model went away. The ground gets it in the end."""
        now_s = time.monotonic()
        self._away_since_s = now_s if self._away_since_s is None else self._away_since_s
        if is_server(self._config.model) and now_s - self._away_since_s >= SERVER_AWAY_S:
            self._send_image(question, FrameMessage("whole"))
        else:
            self._inference.ask(question)

    def _size_bytes(self, frame: str, image: Path) -> int:
        return patiently(lambda: image.stat().st_size, lambda error: self._waits(frame, error))

    def _waits(self, frame: str, error: OSError) -> None:
        """Report that a frame waits for its image."""
        self._report(OutboxTrouble(reason=f"frame {frame} waits for its image: {error}"))

    def _warm_up(self, model: Any) -> float:
        while True:
            judge = self._judge
            try:
                return warm_up(model, judge)
            except ModelError as error:
                if not self._gave_up(judge, str(error)):
                    raise ModelUnavailableError(str(error)) from error

    def _gave_up(self, judge: Judge, reason: str) -> bool:
        """Go on with the network before one that came up and cannot be used; False of the configured one."""
        task = self._changes.give_up(judge)
        if task is None:
            return False
        self._judge = self._changes.judge
        self._report(TaskRefused(task=task, reason=f"{reason}; the network before it stays"))
        return True

    def _decide(self, model: Any, question: Question, paced: PacedWork | None) -> Decided:
        """Let the policy decide about one frame, and make the message that is sent for it."""
        judge = self._judge
        try:
            return self._decide_by(judge, model, question, paced)
        except ConfidenceError as error:
            if self._gave_up(judge, str(error)):
                raise WithdrawnError("it is judged again, by the network before") from error
            raise

    def _decide_by(self, judge: Judge, model: Any, question: Question, paced: PacedWork | None) -> Decided:
        with OnboardFrame(
            model,
            question.image,
            question.prompt,
            judge,
            self._config.max_new_tokens,
            paced,
            lambda error: self._waits(question.frame, error),
            before_stage=lambda: self._inference.rest(paced),
        ) as frame:
            judgements = Judgements(self._policy)
            whole_bytes = self._size_bytes(question.frame, question.image)
            decision, reading = decide_frame(
                self._policy,
                frame,
                question.prompt,
                whole_bytes,
                lambda: self._surroundings(self._capture_s[question.frame]),
                power=lambda: None if self._supply is None else self._supply.outlook(),
                on_decision=judgements,
            )
            check_confidence(reading.token_confidence)
            check_confidence(reading.confidence, "figures of the confidence network")
            sends = not isinstance(decision, Accept | Drop)
            with failing_as("regions"):
                message = frame.message(decision) if sends else None
            network = None if reading.confidence is None else judge.version
            with failing_as("policy"):
                value = value_of(self._policy, reading) if sends else None
            regions = None if message is None else frame.regions(message)
            earlier = frame.stages_before(reading)
            size_bytes = None
            if message is not None:
                size_bytes = whole_bytes if message.data is None else len(message.data)
            form = None if message is None else message.form
            return Decided(
                decision,
                reading,
                frame.answer(),
                message,
                network,
                value,
                earlier,
                regions,
                judged=judgements.stages,
                message_bytes=size_bytes,
                why=why(decision, judgements.stages, form, regions, size_bytes, whole_bytes),
            )

    def _surroundings(self, capture_s: float) -> tuple[Contact, Queue]:
        time_s = self._management.now_s()
        now_s = capture_s if time_s is None else time_s
        captures_s = list(self._capture_s.values())
        return surroundings(self._plans, now_s, capture_s, captures_s, self._downlink.waiting())

    def _decided(self, question: Question, decided: Decided, finished_s: float) -> None:
        self._away_since_s = None
        reading, message = decided.reading, decided.message
        times = StageTimes.of(decided.answer)
        event = InferenceFinished(
            frame=question.frame,
            answer=reading.answer,
            confidence=reading.token_confidence,
            network_confidence=reading.confidence,
            network=decided.network,
            stage=reading.stage,
            preprocess_s=times.preprocess_s,
            vision_s=times.vision_s,
            prefill_s=times.prefill_s,
            decode_s=times.decode_s,
            remembered=getattr(decided.answer, "remembered", None) or None,
            decision=decided.name,
            form=message.form if message is not None else None,
            regions=decided.regions,
            stages=list(decided.earlier) or None,
            judged=list(decided.judged) or None,
            message_bytes=decided.message_bytes,
            why=decided.why,
        )
        self._report(event, monotonic_s=finished_s)
        if message is not None:
            self._send_image(question, message, decided.value)
        elif decided.name == "answer":
            self._send_answer(question, reading)
        else:
            # Noted once the run knows: a crash before that decides again, and one after it does not.
            self._management.report(
                Dropped(frame=question.frame, what="image", reason=DROPPED_BY_POLICY),
                on_taken=lambda: self._outbox.give_up(question.frame),
            )
            self._end_question(question.frame, answered=False)

    def _failed(self, question: Question, reason: str) -> None:
        """Send a frame that the compact model could not answer: the ground may be able to."""
        self._send_image(question, FrameMessage("whole"))

    def _send_answer(self, question: Question, reading: Reading) -> None:
        text = reading.answer[:ANSWER_MAX_CHARACTERS]
        body = msgpack.packb({"answer": text, "confidence": float(reading.token_confidence or 0.0)})
        expires_s = self._expires_s.get(question.frame)
        self._store(
            question.frame,
            lambda: self._outbox.add_answer(
                question.frame, body, self._worth(question.frame), expires_s=expires_s
            ),
        )

    def _send_image(self, question: Question, message: FrameMessage, value: float | None = None) -> None:
        """Send a message of an image, with the policy's value unless scenario or task set another."""
        expires_s = self._expires_s.get(question.frame)
        rated = {} if value is None else {VALUE: value}
        metadata: Metadata = {
            "prompt": question.prompt,
            "form": message.form,
            **rated,
            **self._worth(question.frame),
        }
        data = question.image if message.data is None else message.data
        picture = self._pictures.get(self._prompts.get(question.frame, question.frame))
        self._store(
            question.frame,
            lambda: self._outbox.add_image(
                question.frame,
                data,
                metadata,
                expires_s=expires_s,
                picture=picture,
                pieces_bytes=message.pieces_bytes,
            ),
        )

    def _worth(self, frame: str) -> dict[str, float]:
        return {VALUE: self._values[frame]} if frame in self._values else {}

    def _store(self, frame: str, add: Callable[[], bool]) -> None:
        """Put a frame's message into the outbox; wait while the disk refuses it, and then give it up."""
        until_s = time.monotonic() + STORE_AGAIN_MAX_S
        waits = False
        while True:
            try:
                add()
                break
            except OutboxError as error:
                retry = isinstance(error, TransientOutboxError) and time.monotonic() < until_s
                if retry and not waits:
                    self._report(OutboxTrouble(reason=f"frame {frame} waits: {error}"))
                    waits = True
                if not retry or self._management.stopped.wait(STORE_AGAIN_S):
                    self._report(FrameRefused(frame=frame, reason=str(error)))
                    break
        self._end_question(frame, answered=self._outbox.holds(frame))
        self._downlink.wake()


def _picture(frame: Frame) -> bytes:
    """Return what is equal for all prompts about what was captured at one moment."""
    return hashlib.sha256(f"{frame.image}\0{frame.capture_s}".encode()).digest()[:ID_BYTES]


def check(config: SatelliteConfig, path: Path) -> None:
    """Check policy, confidence network, plans, images and model of a configuration. Raises ConfigError."""
    try:
        flying_policy(config.policy, config.parameters)
    except ValueError as error:
        raise ConfigError(f"{path}: policy: {error}") from error
    for station in config.stations:
        try:
            _ = station.plan and forecast(station.plan)
        except ValueError as error:
            raise ConfigError(f"{path}: plan of station {station.name}: {error}") from error
    check_images(config, path)
    check_ca_files([config.management, *config.stations], path)
    check_model(config, path)
    check_compute_power(config, path)
    try:
        judge_of(config)
    except ConfidenceError as error:
        raise ConfigError(f"{path}: confidence: {error}") from error


def run(config: SatelliteConfig) -> int:
    """Run a satellite until it is stopped; return the exit status."""
    return Satellite(config, flying_policy(config.policy, config.parameters), judge_of(config)).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_program("satellite", DESCRIPTION, SatelliteConfig, check, run, arguments)


if __name__ == "__main__":
    leave(main())
