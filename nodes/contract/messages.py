"""Messages of the management plane from a run to its nodes; the topics are in nodes/contract/topics.py.

On CONTROL, retained: `{"command": "start", "start_monotonic_s": 12.5, "speed": 1.0}`, `{"command": "stop"}`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from nodes.contract.strict import Strict

CLOCK_QUESTION_MAX_BYTES = 64


class Start(Strict):
    """Sets scenario second 0.

    Args:
        start_monotonic_s: scenario second 0 on CLOCK_MONOTONIC of the run's machine.
        speed: seconds of scenario time in one of CLOCK_MONOTONIC.
    """

    command: Literal["start"] = "start"
    start_monotonic_s: float = Field(allow_inf_nan=False)
    speed: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class Stop(Strict):
    """Ends the nodes."""

    command: Literal["stop"] = "stop"


Command = Annotated[Start | Stop, Field(discriminator="command")]

_COMMAND: TypeAdapter[Start | Stop] = TypeAdapter(Command)
_CONTACTS: TypeAdapter[dict[str, bool]] = TypeAdapter(dict[str, bool])


def read_command(payload: bytes | bytearray) -> Start | Stop:
    """Return the command in a payload. Raises ValueError."""
    return _COMMAND.validate_json(payload)


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
