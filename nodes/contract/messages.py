"""Messages of the management plane from a run to its nodes; the topics are in nodes/contract/topics.py.

On CONTROL, retained: `{"command": "start", "start_monotonic_s": 12.5, "speed": 1.0}`, `{"command": "stop"}`.
The start is published anew whenever scenario time jumps or changes its speed.

Jumps, where the run may skip idle time: each node tells on idleness(NODE) when it changes whether it is busy
and when its next own event is due. Once none is busy, the run asks on QUESTION, and each node answers with
the same message. Answers that have the same `version` as what was told before mean that no node had anything
to do at the moment of the question: an activity in between would have another version. Then the run
publishes the start with one more piece, and each node confirms by a message with the number of pieces.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

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
    """

    version: int = Field(ge=0)
    busy: bool
    next_s: float | None = Field(default=None, allow_inf_nan=False)
    changes: int = Field(default=0, ge=0)
    answers: int | None = Field(default=None, ge=1)


Command = Annotated[Start | Stop, Field(discriminator="command")]

_COMMAND: TypeAdapter[Start | Stop] = TypeAdapter(Command)
_CONTACTS: TypeAdapter[dict[str, bool]] = TypeAdapter(dict[str, bool])


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
