"""Results of a run: per frame, in total, and warnings about their validity."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

from nodes.contract import topics
from nodes.contract.events import (
    RUN,
    Answered,
    Captured,
    Delivered,
    Dropped,
    EventRecord,
    Expired,
    FrameRefused,
    InferenceFailed,
    InferenceFinished,
    ItemEvent,
    Malformed,
    Received,
    SendFinished,
    SendRefused,
    SendStarted,
    TaskEvent,
    TaskReceived,
    TaskRefused,
)
from nodes.contract.intervals import wilson_interval
from nodes.contract.latency import PARTS, Latency
from nodes.contract.strict import as_shown
from testbed.measure.fidelity import LinkFidelity
from testbed.mqtt.broker_watch import BrokerRecord
from testbed.network.routes.schedule import RouteSchedule
from testbed.results.absence import Absences, absences, lines_about
from testbed.results.clock.keeping_up import Acceleration
from testbed.results.clock.passage import Passage
from testbed.results.contacts import Backlog, Loss
from testbed.results.dishes import DishUse
from testbed.results.faults import FaultRecord
from testbed.results.frames.decision import decision_of
from testbed.results.latency import (
    FrameResult,
    disconnected,
    frame_latency,
    last_step,
    outages,
    received_cut,
    sent_bytes,
    stamps_of,
    station_of,
)
from testbed.results.link_time import LinkTime
from testbed.results.nodes.board import BoardRecord
from testbed.results.nodes.clocks import NodeClock, clock_bound_s
from testbed.results.nodes.pace import NodePace
from testbed.results.nodes.power import PowerRecord
from testbed.results.tasks import TaskRecord
from testbed.results.verdict import Ending, Verdict, verdict
from testbed.scenario.dishes.desk import Turn
from testbed.scenario.model import Frame, Satellite, Scenario
from testbed.scenario.tasks import Question

_WHOLE_STEPS = {"captured", "onboard_start", "onboard_end", "sent", "received", "answered"}

NOT_ON_BOARD = "the question did not reach the satellite"

NAMED_LINKS = 4  # that were not measured; of more, the warning has the number

ENDS_WITHOUT_ANSWER = (FrameRefused, Expired, Dropped, SendRefused)

STAND_IN_NOTE = (
    "The shipped models are a small stand-in pair trained by this project; "
    "their accuracy says nothing about 2B or 7B models."
)


@dataclass(frozen=True)
class Results:
    """All figures of a run, for the table, the report and results.json.

    `malformed` counts the payloads that were refused, by the node that did so and the sender; `refusals` has
    the reason of the last, which quotes the payload as `repr` does. `machine` has
    what this machine lacked for the run, each in one line. `troubles`
    are further events that tell of a failure, each in one line. `absences` are the periods in which a node's
    program or a probe had died, by its name. `disk` says why files of the run are elsewhere. `ending` is set
    for a run that did not come to its end. `computed` and `remembered` count the models' answers that
    were computed in the run, and in an earlier one. `dishes` are the turns of satellites at stations that
    have too few dishes, and `dish_uses` what these were used for. `faults` are those of the scenario,
    `tasks` those that went up.
    `ways` are those of satellites to mission control, compared as the links are: with the sum of the links'
    delays by the routes of each moment. `shipped_models` says whether a node ran a model that ships with the
    project. `acceleration` is set for a run at a speed above 1, `passage` also for one that skips idle time.
    All times are of scenario time.
    """

    scenario: str
    shaper: str
    frames: tuple[FrameResult, ...]
    links: tuple[LinkFidelity, ...]
    link_error_bound_s: float
    ways: tuple[LinkFidelity, ...] = ()
    lost_events: Mapping[str, int] = field(default_factory=dict)
    brokers: tuple[BrokerRecord, ...] = ()
    malformed: Mapping[str, int] = field(default_factory=dict)
    refusals: Mapping[str, str] = field(default_factory=dict)
    clocks: tuple[NodeClock, ...] = ()
    boards: tuple[BoardRecord, ...] = ()
    paces: tuple[NodePace, ...] = ()
    powers: tuple[PowerRecord, ...] = ()
    machine: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()
    absences: Absences = field(default_factory=dict)
    disk: str | None = None
    backlogs: tuple[Backlog, ...] = ()
    losses: tuple[Loss, ...] = ()
    dishes: tuple[Turn, ...] = ()
    dish_uses: tuple[DishUse, ...] = ()
    faults: tuple[FaultRecord, ...] = ()
    tasks: tuple[TaskRecord, ...] = ()
    computed: int = 0
    remembered: int = 0
    ending: Ending | None = None
    shipped_models: bool = False
    acceleration: Acceleration | None = None
    passage: Passage | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the run succeeded, its exit code, and the causes if not."""
        return verdict(self.frames, self.warnings(), self.ending)

    @property
    def note(self) -> str | None:
        """What to know about the models, if they are those of this project."""
        return STAND_IN_NOTE if self.shipped_models else None

    @property
    def answered(self) -> int:
        """Frames with an answer on the ground, on whose way nothing failed."""
        return sum(f.answered for f in self.frames)

    @property
    def correct(self) -> int:
        """Frames whose answer is right."""
        return sum(f.correct for f in self.frames)

    @property
    def dropped(self) -> int:
        """Frames that a policy dropped: no answer was wanted."""
        return sum(f.dropped for f in self.frames)

    def warnings(self) -> list[str]:
        """Return the warnings, such as links beyond their bounds; failures are in the verdict."""
        found = [*filter(None, [self.disk]), *self.machine]
        if self.acceleration is not None and (warning := self.acceleration.warning()):
            found.append(warning)
        if self.passage is not None and (warning := self.passage.warning()):
            found.append(warning)
        named = [(f"link {link.link}", link) for link in self.links]
        unmeasured = [link.link for link in self.links if link.rtt_error_s(50) is None]
        if len(unmeasured) > NAMED_LINKS:
            found.append(
                f"{len(unmeasured)} of {len(self.links)} links were not measured: their figures are the "
                "configured ones"
            )
        for name, link in [*named, *((way.link, way) for way in self.ways)]:
            error_s = link.rtt_error_s(50)
            if error_s is None:
                if len(unmeasured) <= NAMED_LINKS or link.link not in unmeasured:
                    found.append(f"{name} was not measured: its figures are the configured ones")
            elif error_s > self.link_error_bound_s:
                found.append(
                    f"{name} missed its bound: median RTT error {error_s * 1e3:.2f} ms, "
                    f"bound {self.link_error_bound_s * 1e3:.3g} ms"
                )
        found += [warning for broker in self.brokers if (warning := broker.warning())]
        found += [
            f"{who}: {count} payloads were refused, the last: {self.refusals.get(who, 'malformed')}"
            for who, count in self.malformed.items()
        ]
        found += [warning for clock in self.clocks if (warning := clock.warning())]
        found += [warning for board in self.boards for warning in board.warnings()]
        found += [warning for power in self.powers for warning in power.warnings()]
        if self.acceleration is None:  # else its line has the lateness of all
            found += [warning for pace in self.paces if (warning := pace.warning())]
        found += [absence.warning(who) for who, own in self.absences.items() for absence in own]
        found += [task.line() for task in self.tasks if task.refused is not None and task.what != "question"]
        found += [
            f"{node}: {count} of its events were lost (too many at once, or a broker crashed)"
            for node, count in self.lost_events.items()
        ]
        return [as_shown(text) for text in (*found, *self.troubles)]

    def totals(self) -> dict[str, Any]:
        """Return counts of frames, the accuracy with its interval, bytes and mean latencies.

        `mean_end_to_end_s` and `mean_latency_parts_s` are over the frames that went end to end; the parts are
        those of nodes/contract/latency.py.
        """
        done = [f for f in self.frames if f.latency is not None and f.end_to_end_s is not None]
        parts_s = {name: fmean(getattr(f.latency, name) for f in done) for name in PARTS} if done else {}
        low, high = wilson_interval(self.correct, len(self.frames))
        return {
            "frames": len(self.frames),
            "answered": self.answered,
            "answered_on_board": sum(f.answered and f.answered_by == "satellite" for f in self.frames),
            "answered_on_ground": sum(f.answered and f.answered_by == "ground" for f in self.frames),
            "dropped": self.dropped,
            "failed": sum(f.failure is not None for f in self.frames),
            "correct": self.correct,
            "accuracy": self.correct / len(self.frames),
            "accuracy_95": [low, high],
            "bytes_sent": sum(f.bytes_sent for f in self.frames),
            "answers_computed": self.computed,
            "answers_remembered": self.remembered,
            "mean_end_to_end_s": fmean(f.end_to_end_s or 0.0 for f in done) if done else None,
            "mean_latency_parts_s": parts_s,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the content of results.json: everything but the probes' samples (fidelity.json).

        Keys: verdict (Verdict), scenario, shaper, acceleration (Acceleration; null at speed 1), passage
        (Passage; null where scenario time is real time), warnings, note, totals (see `totals`), links and
        ways (summaries of LinkFidelity), brokers (BrokerRecord), malformed (counts by "node, from sender"),
        refusals, clocks (NodeClock), boards (BoardRecord), paces (NodePace), powers
        (PowerRecord), absences (Absence, by program),
        lost_events, lost_events_of (by node), backlogs (Backlog) and losses (Loss) at the end of each
        contact, dishes (Turn: who had which dish when), dish_uses (DishUse, by station and satellite), faults
        (FaultRecord: what broke, when, and the frames that it hit), tasks (TaskRecord: what went up, when it
        was done, where the time of a question went), frames (FrameResult and `correct`).
        """
        return {
            "verdict": self.verdict.to_json(),
            "scenario": self.scenario,
            "shaper": self.shaper,
            "acceleration": self.acceleration.to_json() if self.acceleration is not None else None,
            "passage": self.passage.to_json() if self.passage is not None else None,
            "warnings": self.warnings(),
            "note": self.note,
            "totals": self.totals(),
            "links": [link.summary() for link in self.links],
            "ways": [way.summary() for way in self.ways],
            "brokers": [asdict(broker) for broker in self.brokers],
            "malformed": dict(self.malformed),
            "refusals": dict(self.refusals),
            "clocks": [clock.to_json() for clock in self.clocks],
            "boards": [board.to_json() for board in self.boards],
            "paces": [asdict(pace) for pace in self.paces],
            "powers": [power.to_json() for power in self.powers],
            "absences": {who: [asdict(absence) for absence in own] for who, own in self.absences.items()},
            "lost_events": sum(self.lost_events.values()),
            "lost_events_of": dict(self.lost_events),
            "backlogs": [asdict(backlog) for backlog in self.backlogs],
            "losses": [asdict(loss) for loss in self.losses],
            "dishes": [asdict(turn) for turn in self.dishes],
            "dish_uses": [asdict(use) for use in self.dish_uses],
            "faults": [asdict(fault) for fault in self.faults],
            "tasks": [{**asdict(task), "asking_to_answer_s": task.asking_to_answer_s} for task in self.tasks],
            "frames": [{**asdict(f), "correct": f.correct} for f in self.frames],
        }


def frame_results(
    scenario: Scenario,
    records: Sequence[EventRecord],
    start_monotonic_s: float,
    links: Mapping[tuple[str, str], LinkTime],
    routes: RouteSchedule | None = None,
) -> tuple[FrameResult, ...]:
    """Return one result for every frame of the scenario, also for frames without any event.

    Args:
        scenario: the scenario.
        records: the run's events.
        start_monotonic_s: scenario second 0 on CLOCK_MONOTONIC.
        links: the link of each (satellite, station).
        routes: the ways to mission control.
    """
    records = sorted(records, key=lambda record: record.monotonic_s)  # they arrive in another order
    names = [*scenario.frames(), *scenario.questions()]
    by_frame: dict[str, list[EventRecord]] = {name: [] for name in names}
    for record in records:
        name = record.event.task if isinstance(record.event, TaskEvent) else record.frame
        if name in by_frame:
            by_frame[name].append(record)
    last_s = max((record.monotonic_s for record in records), default=start_monotonic_s)
    away, lost = outages(records), absences(records)
    results = []
    for satellite in scenario.satellites:
        gaps = disconnected(records, satellite.name, last_s)
        stations = scenario.receivers_of(satellite.name)
        for frame in satellite.frames:
            own = by_frame[frame.frame]
            stamps = stamps_of(own, satellite.name)
            station = station_of(own, satellite.name)
            latency = None
            link = links.get((satellite.name, station or ""))
            if link is not None and stamps.keys() >= _WHOLE_STEPS and failure_of(own, frame.truth) is None:
                latency = frame_latency(stamps, gaps, link, sent_bytes(own))
            whole_s = stamps["answered"] - stamps["captured"] if latency else None
            lost_lines = lines_about(lost, satellite.name, stations, received="received" in stamps)
            via = _via(routes, satellite.name, station, stamps, start_monotonic_s)
            result = _frame_result(
                satellite,
                frame,
                own,
                start_monotonic_s,
                latency=latency,
                end_to_end_s=whole_s,
                station=station,
                reached="; ".join([*lost_lines, last_step(own, satellite.name, away.get(station or ""))]),
            )
            results.append(replace(result, via=via))
        results += [
            _question_result(satellite, question, by_frame[question.name], start_monotonic_s, stations, lost)
            for question in scenario.questions().values()
            if question.satellite == satellite.name
        ]
    return tuple(results)


def _question_result(
    satellite: Satellite,
    question: Question,
    records: Sequence[EventRecord],
    start_monotonic_s: float,
    stations: Sequence[str],
    lost: Absences,
) -> FrameResult:
    """Return the row of a question that went up; the parts of its time are in its TaskRecord."""
    stamps = stamps_of(records, satellite.name)
    asked_s = start_monotonic_s + question.at_s
    asked = Frame(
        frame=question.name,
        image=next(f.image for f in satellite.frames if f.frame == question.frame),
        prompt=question.prompt,
        truth=question.truth,
        also_right=question.also_right,
        capture_s=question.at_s,
        kind=question.kind,
    )
    received = any(isinstance(record.event, TaskReceived) for record in records)
    step = (
        last_step(records, satellite.name) if stamps else "it waited on board" if received else NOT_ON_BOARD
    )
    lost_lines = lines_about(lost, satellite.name, stations, received="received" in stamps)
    return _frame_result(
        satellite,
        asked,
        records,
        start_monotonic_s,
        latency=None,
        end_to_end_s=stamps["answered"] - asked_s if "answered" in stamps else None,
        station=station_of(records, satellite.name),
        reached="; ".join([*lost_lines, step]),
    )


def _frame_result(
    satellite: Satellite,
    frame: Frame,
    records: Sequence[EventRecord],
    start_monotonic_s: float,
    *,
    latency: Latency | None,
    end_to_end_s: float | None,
    station: str | None,
    reached: str,
) -> FrameResult:
    events = [record.event for record in records]
    answered = next((event for event in events if isinstance(event, Answered)), None)
    on_board = next(
        (
            record.event
            for record in records
            if isinstance(record.event, InferenceFinished) and record.node == satellite.name
        ),
        None,
    )
    captured_s = next(
        (record.monotonic_s for record in records if isinstance(record.event, Captured)),
        start_monotonic_s + frame.capture_s,
    )
    return FrameResult(
        frame=frame.frame,
        satellite=satellite.name,
        prompt=frame.prompt,
        truth=frame.truth,
        kind=frame.kind,
        capture_s=captured_s - start_monotonic_s,
        answer=answered.answer if answered else None,
        answered_by=answered.answered_by if answered else None,
        confidence=on_board.confidence if on_board else None,
        onboard_answer=on_board.answer if on_board else None,
        bytes_sent=bytes_sent(records),
        end_to_end_s=end_to_end_s,
        latency=latency,
        refused=None
        if answered
        else next((_reason(e) for e in events if isinstance(e, (*ENDS_WITHOUT_ANSWER, TaskRefused))), None),
        station=station,
        form=on_board.form if on_board else None,
        stage=on_board.stage if on_board else None,
        network=on_board.network if on_board else None,
        decision=decision_of(events, on_board),
        dropped=on_board is not None and on_board.decision == "drop",
        clock_bound_s=clock_bound_s(records),
        failure=failure_of(records, frame.truth),
        reached=reached,
        also_right=frame.also_right,
    )


def bytes_sent(records: Sequence[EventRecord]) -> int:
    """Return the bytes sent for a frame; of a message that was cut off, those that it was answered from."""
    finished = [record.event for record in records if isinstance(record.event, SendFinished)]
    cut = received_cut(records)
    if cut is not None and not any(event.what == cut.what for event in finished):
        return cut.size_bytes
    return sum(event.bytes_sent for event in finished)


def _via(
    routes: RouteSchedule | None,
    satellite: str,
    station: str | None,
    stamps: Mapping[str, float],
    start_monotonic_s: float,
) -> tuple[str, ...]:
    """Return the nodes between a satellite and mission control over which a frame's item came."""
    if routes is None or station != routes.root or not stamps.keys() >= {"sent", "received"}:
        return ()
    begin_s, end_s = (stamps[name] - start_monotonic_s for name in ("sent", "received"))
    ways = [stay.path for stay in routes.stays(satellite) if stay.begin_s < end_s and stay.end_s > begin_s]
    return tuple(dict.fromkeys(node for path in ways for node in path[1:-1]))


def failure_of(records: Sequence[EventRecord], truth: str) -> str | None:
    """Return what failed about a frame: the node and its part, where, and the error; None if nothing did.

    An answer without text is a failure too, unless that is the truth, and so are two answers that differ.
    """
    answers: list[str] = []
    for record in records:
        match record.event:
            case InferenceFailed(put_off=False) as failed:
                where = f", {failed.where}" if failed.where else ""
                return f"{failed.part or 'inference'} of {record.node}{where}: {failed.reason}"
            case Answered() as answered if not answered.answer.strip() and truth.strip():
                return f"model of the {answered.answered_by}: it answered without text"
            case Answered() as answered if answers and answered.answer != answers[0]:
                first, other = (f"{text!r:.80}" for text in (answers[0], answered.answer))
                return f"it was answered twice, and differently: {first}, then {other}"
            case Answered() as answered:
                answers.append(answered.answer)
    return None


def _reason(event: FrameRefused | Expired | Dropped | SendRefused | TaskRefused) -> str:
    if isinstance(event, Expired):
        return "it expired before it was delivered"
    return event.reason


def lost_events(records: Sequence[EventRecord]) -> dict[str, int]:
    """Return the number of events that a node numbered and that never arrived, by node.

    A node that was started again counts from 1 again. Events that arrived and were refused are none of them.

    Args:
        records: in order of arrival, which within a node is that of their numbers.
    """
    lost: Counter[str] = Counter()
    last: dict[str, int] = {}
    refused: dict[str, int] = {}
    for record in records:
        number, node = record.sequence, record.node
        if node == RUN and isinstance(record.event, Malformed):
            refused[record.event.sender] = record.event.count
        if number is None:
            continue
        before = 0 if number == 1 else last.get(node, 0)
        lost[node] += max(0, number - before - 1)
        last[node] = number if number == 1 else max(number, before)
    missing = {node: count - refused.get(topics.event(topics.slug(node)), 0) for node, count in lost.items()}
    return {node: count for node, count in missing.items() if count > 0}


def malformed_counts(records: Sequence[EventRecord]) -> dict[str, int]:
    """Return the number of rejected payloads by "node, from sender"; each event has the count so far."""
    counts: dict[str, int] = {}
    for record in records:
        if isinstance(record.event, Malformed):
            key = f"{record.node}, from {record.event.sender}"
            counts[key] = max(counts.get(key, 0), record.event.count)
    return counts


def last_refusals(records: Sequence[EventRecord]) -> dict[str, str]:
    """Return the reason of the last rejected payload by "node, from sender"."""
    return {
        f"{record.node}, from {record.event.sender}": record.event.reason
        for record in records
        if isinstance(record.event, Malformed)
    }


def busy_intervals(records: Sequence[EventRecord], satellite: str) -> list[tuple[float, float]]:
    """Return the CLOCK_MONOTONIC intervals in which `satellite` had an image or an answer on the link."""
    intervals: list[tuple[float, float]] = []
    open_since: dict[tuple[str, str], float] = {}
    for record in sorted(records, key=lambda record: record.monotonic_s):
        event = record.event
        if not isinstance(event, ItemEvent):
            continue
        key = event.frame, event.what
        if isinstance(event, SendStarted) and record.node == satellite:
            open_since.setdefault(key, record.monotonic_s)
        elif isinstance(event, Delivered | Received) and key in open_since:
            # A little more: acknowledgements are still on their way after the last byte has come.
            intervals.append((open_since.pop(key), record.monotonic_s + 0.1))
    intervals.extend((begin, math.inf) for begin in open_since.values())
    return intervals
