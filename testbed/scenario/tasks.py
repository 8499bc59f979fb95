"""Tasks as a part of a scenario: what the ground asks of satellites during the run, by uplink."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from nodes.contract import messages
from nodes.contract.files import network_sha256, read_network
from nodes.contract.messages import Order
from nodes.contract.queueing import SendOrder
from nodes.contract.strict import Text
from nodes.contract.topics import slug

if TYPE_CHECKING:
    from testbed.scenario.model import Scenario

TASKS_MAX = 500  # of one run: a ground program is handed all that there are in one message


class _Task(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    at_s: float = Field(ge=0, allow_inf_nan=False)
    satellite: str = Field(min_length=1)


class Question(_Task):
    """A new question about a frame that a satellite still holds; its answer is in the results like a frame's.

    Args:
        at_s: scenario time at which it is asked.
        satellite: the satellite.
        name: unique short name, also among frames.
        frame: the frame that it is about, captured before.
        prompt: the question.
        truth: correct answer; used for scoring only and never given to a node.
        also_right: further correct answers, such as synonyms.
        kind: category of the prompt, for tables.
        expires_after_s: time after the asking from which the answer is worthless. None: never.
        value: worth of the answer beside that of others, for the send order "value".
    """

    what: Literal["question"] = "question"
    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    frame: str = Field(min_length=1)
    prompt: Text = Field(min_length=1, max_length=2000)
    truth: Text
    also_right: tuple[Text, ...] = ()
    kind: Text = ""
    expires_after_s: float | None = Field(default=None, gt=0)
    value: float = Field(default=1.0, ge=0)


class Priority(_Task):
    """Another value of a frame, or another order in which a satellite sends.

    Args:
        at_s: scenario time at which the ground decides it.
        satellite: the satellite.
        frame: the frame whose value changes; None for none.
        value: its value from now on.
        send_order: the order from now on; None leaves it.
    """

    what: Literal["priority"] = "priority"
    frame: str | None = None
    value: float | None = Field(default=None, ge=0)
    send_order: SendOrder | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Priority:
        if (self.frame is None) != (self.value is None):
            raise ValueError("set frame and value together")
        if self.frame is None and self.send_order is None:
            raise ValueError("set frame and value, or send_order: this task changes nothing")
        return self


class PolicyChange(_Task):
    """Other parameters of a satellite's policy; those that are not named stay.

    Args:
        at_s: scenario time at which the ground decides it.
        satellite: the satellite.
        accept_confidence: the parameter of this name, 0 to 1.
        parameters: any parameters. The satellite refuses those that its policy does not take.
    """

    what: Literal["policy"] = "policy"
    accept_confidence: float | None = Field(default=None, ge=0, le=1)
    parameters: dict[str, Any] = Field(default={})

    @model_validator(mode="after")
    def _changes_something(self) -> PolicyChange:
        if not self.changed:
            raise ValueError("set accept_confidence or parameters: this task changes nothing")
        return self

    @property
    def changed(self) -> dict[str, Any]:
        """All parameters that change."""
        own = {} if self.accept_confidence is None else {"accept_confidence": self.accept_confidence}
        return {**self.parameters, **own}


class NetworkChange(_Task):
    """Another confidence network for a satellite, which judges its next frames.

    Args:
        at_s: scenario time at which the ground sends it.
        satellite: the satellite.
        network: folder of the network, such as an evaluation's `confidence/`. It has to be trained for the
            weights of the satellite's model.
    """

    what: Literal["network"] = "network"
    network: Annotated[Path, AfterValidator(Path.absolute)]

    def problem(self) -> str | None:
        """Return why its files cannot go up, or None."""
        try:
            read_network(self.network)
        except OSError as error:
            return f"no confidence network at {self.network}: {error.filename}: {error.strerror}"
        except ValueError as error:
            return str(error)
        return None


Task = Annotated[Question | Priority | PolicyChange | NetworkChange, Field(discriminator="what")]


def task_name(number: int, task: Task) -> str:
    """Return the name of a task in events: a question's own, or its number in the scenario, from 1."""
    return task.name if isinstance(task, Question) else f"task-{number}"


def task_problem(scenario: Scenario) -> str | None:
    """Return what is wrong with the tasks of a scenario; None if nothing is."""
    satellites = {one.name: one for one in scenario.satellites}
    if len(scenario.tasks) > TASKS_MAX:
        return f"there are {len(scenario.tasks)} tasks; a run takes {TASKS_MAX}"
    names = {frame.frame for one in scenario.satellites for frame in one.frames}
    for number, task in enumerate(scenario.tasks, start=1):
        satellite, label = satellites.get(task.satellite), f"{task.what!r} at {task.at_s:g} s"
        if satellite is None:
            return f"{label} refers to unknown satellite {task.satellite!r}"
        if satellite.board is not None:
            return f"{label} needs an emulated satellite; {task.satellite!r} is a board"
        frame = getattr(task, "frame", None)
        own = {one.frame: one for one in satellite.frames}
        if frame is not None and frame not in own:
            return f"{label}: {task.satellite!r} has no frame {frame!r}"
        if isinstance(task, Question) and task.at_s < own[task.frame].capture_s:
            return f"{label} asks about {frame!r} before its capture at {own[task.frame].capture_s:g} s"
        if (name := task_name(number, task)) in names:
            return f"{label}: the name {name!r} is taken; every question needs its own, also among frames"
        names.add(name)
    return None


def order_of(number: int, task: Task) -> Order:
    """Return a task as nodes are given it.

    Args:
        number: its number in the scenario, from 1.
        task: the task.

    Raises:
        OSError: the files of a network cannot be read; as well ValueError.
    """
    made: messages.AnyTask
    name = task_name(number, task)
    match task:
        case Question():
            expires_s = None if task.expires_after_s is None else task.at_s + task.expires_after_s
            made = messages.QuestionTask(
                name=name, frame=task.frame, prompt=task.prompt, value=task.value, expires_s=expires_s
            )
        case Priority():
            value = 1.0 if task.value is None else task.value
            made = messages.PriorityTask(name=name, frame=task.frame, value=value, send_order=task.send_order)
        case PolicyChange():
            made = messages.PolicyTask(name=name, parameters=task.changed)
        case NetworkChange():
            sha256 = network_sha256(read_network(task.network))
            made = messages.NetworkTask(name=name, sha256=sha256, folder=task.network)
    return Order(number=number, satellite=slug(task.satellite), task=made)
