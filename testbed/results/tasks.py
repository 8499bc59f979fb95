"""What became of the tasks that went up during a run, and where the time of a question went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from nodes.contract.events import (
    EventRecord,
    TaskAsked,
    TaskDone,
    TaskReceived,
    TaskRefused,
)
from testbed.results.latency import disconnected, stamps_of
from testbed.results.link_time import overlap_s
from testbed.results.nodes.clocks import clock_bound_s
from testbed.scenario.model import Scenario
from testbed.scenario.tasks import task_name


@dataclass(frozen=True, slots=True)
class QuestionTime:
    """Seconds from asking to answer by what they were spent on; they sum to the whole.

    Attributes:
        wait_up_s: Without a connection to the satellite, before it had the question.
        uplink_s: The rest of the way from the asking to the satellite.
        queue_s: Behind other frames on board.
        onboard_s: The compact model's work.
        wait_down_s: Without a connection, until the answer or the image was on the ground.
        downlink_s: The rest of that way, with its queue on board.
        ground_s: On the ground: queue, the regular model's work, reporting.
    """

    wait_up_s: float
    uplink_s: float
    queue_s: float
    onboard_s: float
    wait_down_s: float
    downlink_s: float
    ground_s: float

    @property
    def total_s(self) -> float:
        """Sum of the parts."""
        return float(sum(getattr(self, part) for part in QUESTION_PARTS))


QUESTION_PARTS = tuple(field.name for field in fields(QuestionTime))
QUESTION_LABELS = {
    "wait_up_s": "contact wait, up",
    "uplink_s": "uplink",
    "queue_s": "queue on board",
    "onboard_s": "on board",
    "wait_down_s": "contact wait, down",
    "downlink_s": "downlink",
    "ground_s": "ground",
}


@dataclass(frozen=True)
class TaskRecord:
    """A task that went up. All times are of the scenario.

    Attributes:
        task: Its name; of a question, also that of its row among the frames.
        what: Its kind.
        satellite: The satellite.
        asked_s: When it was asked.
        received_s: When the satellite had it; None if it never did.
        done_s: When it was carried out; of a question, when its answer or image was in the outbox.
        answered_s: When the answer to a question was on the ground.
        refused: Why it was not carried out.
        time: Where the time of a question went.
        network: Version of a confidence network.
        clock_bound_s: Largest error that clocks can cause in any of its times.
    """

    task: str
    what: str
    satellite: str
    asked_s: float
    received_s: float | None = None
    done_s: float | None = None
    answered_s: float | None = None
    refused: str | None = None
    time: QuestionTime | None = None
    clock_bound_s: float = 0.0
    network: str | None = None

    @property
    def asking_to_answer_s(self) -> float | None:
        """Time from asking to answer; None for a question without an answer, and for other tasks."""
        return None if self.answered_s is None else self.answered_s - self.asked_s

    def line(self) -> str:
        """Return one line for the table."""
        version = "" if self.network is None else f" ({self.network})"
        begin = f"{self.what} {self.task}{version} for {self.satellite}, asked at {self.asked_s:.1f} s"
        if self.refused is not None and self.done_s is None:
            return f"{begin}: refused: {self.refused}"
        if self.asking_to_answer_s is not None:
            parts = ""
            if self.time is not None:
                told = [f"{QUESTION_LABELS[p]} {getattr(self.time, p):.2f}" for p in QUESTION_PARTS]
                parts = f" ({', '.join(told)})"
            return f"{begin}: answered after {self.asking_to_answer_s:.2f} s{parts}"
        if self.received_s is None:
            return f"{begin}: it did not reach the satellite"
        if self.done_s is None:
            return f"{begin}: on board after {self.received_s - self.asked_s:.2f} s, and not carried out"
        done = f"{begin}: carried out after {self.done_s - self.asked_s:.2f} s"
        return done if self.refused is None else f"{done}, and given up: {self.refused}"


def task_records(
    scenario: Scenario, records: Iterable[EventRecord], start_monotonic_s: float
) -> tuple[TaskRecord, ...]:
    """Return what became of each task that was asked, in order of asking.

    Args:
        scenario: the scenario.
        records: the run's events, with stamps in scenario time.
        start_monotonic_s: scenario second 0 as a stamp.
    """
    if not scenario.tasks:
        return ()
    ordered = sorted(records, key=lambda record: record.monotonic_s)
    own: dict[str, list[EventRecord]] = {
        task_name(number, task): [] for number, task in enumerate(scenario.tasks, start=1)
    }
    for record in ordered:
        name = getattr(record.event, "task", None) or record.frame
        if name in own:
            own[name].append(record)
    last_s = max((record.monotonic_s for record in ordered), default=start_monotonic_s)
    gaps = {
        satellite: disconnected(ordered, satellite, last_s)
        for satellite in {task.satellite for task in scenario.tasks}
    }
    found = []
    for number, task in enumerate(scenario.tasks, start=1):
        name = task_name(number, task)
        stamps = _stamps(own[name], task.satellite)
        if "asked" not in stamps:
            continue
        at_s: Mapping[str, float] = {key: value - start_monotonic_s for key, value in stamps.items()}
        refused = [r.event.reason for r in own[name] if isinstance(r.event, TaskRefused)]
        found.append(
            TaskRecord(
                task=name,
                what=task.what,
                satellite=task.satellite,
                asked_s=at_s["asked"],
                received_s=at_s.get("received"),
                done_s=at_s.get("done"),
                answered_s=at_s.get("answered"),
                refused=refused[0] if refused else None,
                time=_question_time(stamps, gaps[task.satellite]),
                clock_bound_s=clock_bound_s(own[name]),
                network=next((r.event.network for r in own[name] if isinstance(r.event, TaskAsked)), None),
            )
        )
    return tuple(sorted(found, key=lambda one: one.asked_s))


def _stamps(records: Sequence[EventRecord], satellite: str) -> dict[str, float]:
    steps = stamps_of(records, satellite)
    renamed = {"received": "down"}  # of the answer or the image, on the ground
    stamps = {renamed.get(step, step): stamp for step, stamp in steps.items()}
    kinds = {TaskAsked: "asked", TaskReceived: "received", TaskDone: "done"}
    for record in records:
        if (name := kinds.get(type(record.event))) is not None:
            stamps.setdefault(name, record.monotonic_s)
    return stamps


def _question_time(stamps: Mapping[str, float], gaps: Sequence[tuple[float, float]]) -> QuestionTime | None:
    steps = ("asked", "received", "onboard_start", "onboard_end", "down", "answered")
    if not all(step in stamps for step in steps):
        return None
    asked, received, begun, ended, down, answered = (stamps[step] for step in steps)
    wait_up_s, wait_down_s = overlap_s(gaps, asked, received), overlap_s(gaps, ended, down)
    return QuestionTime(
        wait_up_s=wait_up_s,
        uplink_s=received - asked - wait_up_s,
        queue_s=begun - received,
        onboard_s=ended - begun,
        wait_down_s=wait_down_s,
        downlink_s=down - ended - wait_down_s,
        ground_s=answered - down,
    )
