"""What an event says, as one sentence."""

from __future__ import annotations

from nodes.contract.events import (
    Answered,
    BoardChanged,
    DishAssigned,
    Event,
    EventRecord,
    FaultBegan,
    FaultEnded,
    FrameRefused,
    InferenceFailed,
    InferenceFinished,
    LinkChanged,
    PathChanged,
    ProgramChanged,
    Ready,
    SkippingEnded,
    SpeedChanged,
    TimeJumped,
)
from nodes.contract.strict import as_shown
from testbed.results.clock.keeping_up import LATE_S
from testbed.results.clock.passage import duration_text


def sentence(record: EventRecord) -> str:
    """Return what an event says; empty for one that is not told as it happens."""
    return as_shown(_told(record))


def _told(record: EventRecord) -> str:
    node = record.node
    match record.event:
        case Ready() as ready:
            size = "" if ready.parameters is None else f", {ready.parameters / 1e6:.1f} M parameters"
            place = "" if ready.place is None else f" on {ready.place}"
            return f"{node}: model loaded in {ready.load_s:.1f} s{size}{place}"
        case LinkChanged() | PathChanged() as network:
            return _network(network, record.time_s or 0.0)
        case InferenceFinished() as finished if finished.decision is not None:
            return f"{node}: {finished.frame} {_decided(finished)}"
        case Answered() as answered:
            return f"ground: {answered.frame} answered by {answered.answered_by}: {answered.answer!r}"
        case BoardChanged() | ProgramChanged() as changed:
            who = f"board {changed.board}" if isinstance(changed, BoardChanged) else changed.program
            return f"{who} is {changed.state}" + (f": {changed.reason}" if changed.reason else "")
        case InferenceFailed() as failed:
            where = f", {failed.where}" if failed.where else ""
            return f"{node}: {failed.frame} failed: {failed.part or 'inference'}{where}: {failed.reason}"
        case FrameRefused() as refused:
            return f"{node}: {refused.frame} refused: {refused.reason}"
        case _:
            return _of_the_run(record.event)


def _of_the_run(event: Event) -> str:
    """Return what the run itself has decided, as text."""
    if isinstance(event, DishAssigned):
        wait = f"; {', '.join(event.waiting)} must wait" if event.waiting else ""
        return f"{event.station}: dish {event.dish} turns to {event.satellite}, {event.why}{wait}"
    if isinstance(event, FaultBegan):
        return f"fault: {event.what}: {event.target}: {event.effect}"
    if isinstance(event, FaultEnded):
        return f"fault is over: {event.what}: {event.target}"
    return _of_time(event)


def _of_time(event: Event) -> str:
    """Return how scenario time goes on, as text."""
    match event:
        case TimeJumped():
            return f"jump over {duration_text(event.to_s - event.from_s)} of idle time"
        case SpeedChanged():
            return f"speed {event.speed:.3g}: {event.reason}"
        case SkippingEnded():
            return f"idle time is no longer skipped: {event.reason}"
        case _:
            return ""


def _network(change: LinkChanged | PathChanged, time_s: float) -> str:
    """Return what has changed in the network, as text."""
    if isinstance(change, PathChanged):
        return f"{change.satellite}: " + (" > ".join(change.path[1:]) or "no way to mission control")
    is_late = change.lateness_s > LATE_S and time_s > 0
    late = f", {change.lateness_s * 1e3:.0f} ms late" if is_late else ""
    return f"link {change.link} is {_carrying(change)}{late}"


def _decided(finished: InferenceFinished) -> str:
    """Return a policy's decision on a frame, as text."""
    answer = f"{finished.answer!r}, " if finished.answer else ""
    if finished.confidence is not None:
        answer += f"confidence {finished.confidence:.2f}: "
    if finished.decision == "offload":
        return f"{answer}sends the image, {finished.form or 'whole'}"
    return answer + ("answers on board" if finished.decision == "answer" else "drops the frame")


def _carrying(link: LinkChanged) -> str:
    """Return which directions of a link are up."""
    if link.up and link.downlink_up is False:
        return "up, its downlink is down"
    if link.up and link.uplink_up is False:
        return "up, its uplink is down"
    return "up" if link.up else "down"
