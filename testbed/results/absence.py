"""Periods of a run in which a board, a node's program or a probe took no part in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from nodes.contract.events import EventRecord, ProgramChanged

MANAGEMENT = "the management broker"
MAY_MISS = "; its last events before that may be missing"


@dataclass(frozen=True)
class Absence:
    """A period in which somebody took no part in the run.

    Args:
        from_s: Scenario time at which it began; None before the start.
        why: Its reason.
        until_s: Scenario time of the return; None if there was none.
        for_good: Whether it was given up.
        killed: Whether a signal ended it, so that its last events before may be missing.
    """

    from_s: float | None
    why: str
    until_s: float | None = None
    for_good: bool = False
    killed: bool = False

    def warning(self, who: str) -> str:
        """Return the absence in words, and what it may have cost beside frames."""
        return self.line(who) + (MAY_MISS if self.killed else "")

    def line(self, who: str) -> str:
        """Return the absence in words."""
        begin = None if self.from_s is None else f"{self.from_s:.1f}"
        if self.until_s is not None:
            return f"{who} was absent from {begin or 'the start'} to {self.until_s:.1f} s: {self.why}"
        return f"{who} was lost {'before the start' if begin is None else f'at {begin} s'}: {self.why}"


Absences = Mapping[str, tuple[Absence, ...]]


def absences(records: Iterable[EventRecord]) -> dict[str, tuple[Absence, ...]]:
    """Return the absences of each program, by its name, from the run's own events.

    A program that was back before the start has cost nothing, and is left out.
    """
    found: dict[str, list[Absence]] = {}
    for record in records:
        event = record.event
        if not isinstance(event, ProgramChanged) or event.state == "finished":
            continue
        own = found.setdefault(event.program, [])
        away = bool(own) and own[-1].until_s is None
        if event.state == "ready":
            if away and record.time_s is None:
                own.pop()
            elif away:
                own[-1] = replace(own[-1], until_s=record.time_s)
        elif away:
            given_up = event.state == "given up"
            killed = own[-1].killed or event.killed
            own[-1] = replace(own[-1], why=event.reason or own[-1].why, for_good=given_up, killed=killed)
        else:
            given_up = event.state == "given up"
            own.append(Absence(record.time_s, event.reason or "", for_good=given_up, killed=event.killed))
    return {name: tuple(own) for name, own in found.items() if own}


def lines_about(found: Absences, satellite: str, stations: Iterable[str], *, received: bool) -> list[str]:
    """Return the absences that may explain why a frame has no answer.

    Args:
        found: the absences of a run.
        satellite: the satellite that took it.
        stations: the stations that the satellite has links to.
        received: whether it had reached a station; what the satellite did later does not matter then.
    """
    named = [] if received else [(satellite, absence) for absence in found.get(satellite, ())]
    for station in stations:
        named += [(station, one) for one in found.get(station, ()) if received or one.until_s is None]
    # What happened is then unknown.
    named += [(MANAGEMENT, absence) for absence in found.get(MANAGEMENT, ()) if absence.until_s is None]
    return [absence.line(who) for who, absence in named]
