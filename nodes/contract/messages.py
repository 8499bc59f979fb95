"""Messages of the management plane from a run to its nodes; the topics are in nodes/contract/topics.py.

On CONTROL, retained: `{"command": "start", "start_monotonic_s": 12.5, "speed": 1.0}`, `{"command": "stop"}`.
The start is published anew whenever scenario time jumps or changes its speed.

Jumps, where the run may skip idle time: each node tells on idleness(NODE) when it changes whether it is busy
and when its next own event is due. Once none is busy, the run asks on QUESTION, and each node answers with
the same message. Answers that have the same `version` as what was told before mean that no node had anything
to do at the moment of the question: an activity in between would have another version. Then the run
publishes the start with one more piece, and each node confirms by a message with the number of pieces.

Tasks for satellites: on orders(NODE), retained, the run publishes all that it has handed to a ground program
so far, so that one which was started again, or had no connection, misses none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter, model_validator

from nodes.contract.files import NETWORK_MAX_BYTES
from nodes.contract.queueing import SendOrder
from nodes.contract.strict import Strict

CLOCK_QUESTION_MAX_BYTES = 64
IDLENESS_MAX_BYTES = 512
LATEST_MAX = 16
_Finite = Annotated[float, Field(allow_inf_nan=False)]
ScalePiece = tuple[_Finite, _Finite, Annotated[float, Field(gt=0, allow_inf_nan=False)]]


class Start(Strict):
    """Sets scenario second 0.

    Args:
        start_monotonic_s: scenario second 0 on CLOCK_MONOTONIC of the run's machine.
        speed: seconds of scenario time in one of CLOCK_MONOTONIC, at first.
        skips: whether idle time is skipped, for which nodes tell when they are idle.
        changes: number of jumps and changes of speed so far.
        latest: the last of them: (CLOCK_MONOTONIC, scenario time, speed from there on).
    """

    command: Literal["start"] = "start"
    start_monotonic_s: float = Field(allow_inf_nan=False)
    speed: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    skips: bool = False
    changes: int = Field(default=0, ge=0)
    latest: tuple[ScalePiece, ...] = Field(default=(), max_length=LATEST_MAX)

    @model_validator(mode="after")
    def _counted(self) -> Start:
        if len(self.latest) != min(self.changes, LATEST_MAX):
            raise ValueError(f"latest holds the last {LATEST_MAX} of all changes")
        return self


class RunState(Strict):
    """How far a run is, for those who watch it.

    Args:
        phase: "preparing" until scenario second 0 is set, "running", or "ended".
        time_s: scenario time; None before second 0 is set.
        speed: seconds of scenario time in a real one.
    """

    phase: Literal["preparing", "running", "ended"]
    time_s: float | None
    speed: float


class Stop(Strict):
    """Ends the nodes."""

    command: Literal["stop"] = "stop"


class Question(Strict):
    """Asks every node whether it is still idle.

    Args:
        question: number of the question, from 1.
    """

    question: int = Field(ge=1)


class Idleness(Strict):
    """What a node has to do.

    Args:
        version: counts the node's activities; one that began and ended since is seen from it.
        busy: whether it computes, sends, receives, or waits for something that is not an event of its own.
        next_s: scenario time of its next own event, such as a capture, the end of a paced inference, or an
            expiry; None if there is none.
        changes: number of changes of scenario time that the node has heard of.
        answers: number of the question that this answers; None if the node tells by itself.
        clock_bound_s: largest error of the node's scenario time, where it has a clock of its own.
    """

    version: int = Field(ge=0)
    busy: bool
    next_s: float | None = Field(default=None, allow_inf_nan=False)
    changes: int = Field(default=0, ge=0)
    answers: int | None = Field(default=None, ge=1)
    clock_bound_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class QuestionTask(Strict):
    """A new question about a frame that the satellite still holds.

    Args:
        name: name of the question, under which it is answered like a frame.
        frame: the frame.
        prompt: the question.
        value: as of a frame.
        expires_s: scenario time from which the answer is worthless; None for never.
    """

    what: Literal["question"] = "question"
    name: str = Field(min_length=1, max_length=200)
    frame: str = Field(min_length=1, max_length=200)
    prompt: str = Field(min_length=1, max_length=4000)
    value: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    expires_s: float | None = Field(default=None, allow_inf_nan=False)


class PriorityTask(Strict):
    """Another value of a frame, or another order of sending.

    Args:
        name: name of the task.
        frame: the frame whose value changes; None for none.
        value: its value.
        send_order: the order of sending from now on; None leaves it.
    """

    what: Literal["priority"] = "priority"
    name: str = Field(min_length=1, max_length=200)
    frame: str | None = Field(default=None, max_length=200)
    value: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    send_order: SendOrder | None = None


class PolicyTask(Strict):
    """Other parameters of the satellite's policy; those that are not named stay.

    Args:
        name: name of the task.
        parameters: the parameters, such as `accept_confidence`.
    """

    what: Literal["policy"] = "policy"
    name: str = Field(min_length=1, max_length=200)
    parameters: dict[str, Any] = Field(min_length=1)


class NetworkTask(Strict):
    """Another confidence network.

    Args:
        name: name of the task.
        sha256: checksum of its files (nodes/contract/files.py).
        folder: where its files are on the machine of the ground program; None on its way up.
        files: its files in base64, by name; None until the ground has read them.
    """

    what: Literal["network"] = "network"
    name: str = Field(min_length=1, max_length=200)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    folder: Path | None = None
    files: dict[str, Annotated[str, Field(max_length=NETWORK_MAX_BYTES * 4 // 3 + 4)]] | None = None


AnyTask: TypeAlias = Annotated[
    QuestionTask | PriorityTask | PolicyTask | NetworkTask, Field(discriminator="what")
]


class Order(Strict):
    """A task for a satellite, as the run hands it to the ground and as the ground sends it up.

    Args:
        number: of two tasks that set the same, the one with the higher number holds, whichever comes first.
        satellite: slug of the satellite.
        task: what it has to do.
    """

    number: int = Field(ge=1)
    satellite: str = Field(min_length=1, max_length=64)
    task: AnyTask


Command = Annotated[Start | Stop, Field(discriminator="command")]

_COMMAND: TypeAdapter[Start | Stop] = TypeAdapter(Command)
_CONTACTS: TypeAdapter[dict[str, bool]] = TypeAdapter(dict[str, bool])
_ORDERS: TypeAdapter[list[Order]] = TypeAdapter(list[Order])


def read_command(payload: bytes | bytearray) -> Start | Stop:
    """Return the command in a payload. Raises ValueError."""
    return _COMMAND.validate_json(payload)


def read_question(payload: bytes | bytearray) -> Question:
    """Return the question in a payload. Raises ValueError."""
    return Question.model_validate_json(payload)


def read_idleness(payload: bytes | bytearray) -> Idleness:
    """Return what a node has told of itself. Raises ValueError."""
    if len(payload) > IDLENESS_MAX_BYTES:
        raise ValueError(f"{len(payload)} bytes; at most {IDLENESS_MAX_BYTES} are allowed")
    return Idleness.model_validate_json(payload)


def read_contacts(payload: bytes | bytearray) -> dict[str, bool]:
    """Return whether there is contact, by station. Raises ValueError."""
    return _CONTACTS.validate_json(payload)


def contacts_json(contacts: dict[str, bool]) -> str:
    """Return the payload that `read_contacts` reads."""
    return _CONTACTS.dump_json(contacts).decode()


def read_orders(payload: bytes | bytearray) -> list[Order]:
    """Return all tasks that a ground program was handed so far. Raises ValueError."""
    return _ORDERS.validate_json(payload)


def orders_json(orders: list[Order]) -> str:
    """Return the payload that `read_orders` reads."""
    return _ORDERS.dump_json(orders).decode()


class ClockAnswer(Strict):
    """The run's answer to a node that compares its clock with the run's.

    Args:
        asked: the word in the node's question.
        received_s: CLOCK_MONOTONIC of the run's machine when the question came.
        answered_s: the same when the answer left.
    """

    asked: str
    received_s: float
    answered_s: float
