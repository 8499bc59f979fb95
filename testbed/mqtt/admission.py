"""Which events of a node a run accepts: of its own role, frames and links, at plausible times.

An account at the management broker writes its own topic only, so the sender is known. A node with a bug, or
with bad intentions, can therefore spoil its own results, but not those of others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from nodes.contract.events import EventRecord, FrameEvent, TaskEvent
from nodes.contract.topics import slug

AGENT, SATELLITE, GROUND = "agent", "satellite", "ground station"

_ROLES = {AGENT: "board's agent", SATELLITE: SATELLITE, GROUND: GROUND}

AHEAD_S = 5.0  # of now; clocks of other machines are compared to within some milliseconds
BEHIND_S = 86400.0  # a board may have kept events for as long as it had no contact
KEPT_MAX_BYTES = 512 << 20  # of one node's events: the run keeps them in memory
EVENT_BYTES = 600  # that an event takes beside its texts
SKIPPED_MAX = 1_000_000  # a node that has no broker keeps 10,000 events, and counts those that it drops


class Admission:
    """Decides on each event of a node.

    Args:
        satellites: the frames and tasks of each satellite, by the satellite's name.
        links: (satellite, station) of each link.
        agents: names of the boards, whose agents report as well.
    """

    def __init__(
        self,
        satellites: Mapping[str, Collection[str]],
        links: Iterable[tuple[str, str]],
        agents: Iterable[str] = (),
    ) -> None:
        self._owner = {frame: satellite for satellite, frames in satellites.items() for frame in frames}
        self._peers: dict[str, set[str]] = {satellite: set() for satellite in satellites}
        self._roles: dict[str, set[str]] = {}
        self._last: dict[str, int] = {}
        self._kept_bytes: Counter[str] = Counter()
        for satellite, station in links:
            self._peers.setdefault(satellite, set()).add(station)
            self._peers.setdefault(station, set()).add(satellite)
            self._roles.setdefault(station, set()).add(GROUND)
        for satellite in satellites:
            self._roles.setdefault(satellite, set()).add(SATELLITE)
        for agent in agents:
            self._roles.setdefault(agent, set()).add(AGENT)

    def problem(self, record: EventRecord, now_s: float, size_bytes: int = 0) -> str | None:
        """Return why an event is refused, in one line; None for one that is accepted.

        Args:
            record: the event.
            now_s: CLOCK_MONOTONIC of the run's machine.
            size_bytes: size of the message.
        """
        node, event = record.node, record.event
        roles = self._roles.get(node)
        if roles is None:
            return f"{node!r:.60} takes no part in this run"
        if roles.isdisjoint(event.roles()):
            names = " or ".join(sorted(_ROLES[role] for role in roles))
            return f"{event.event_name} is not for a {names} to report"
        if not now_s - BEHIND_S <= record.monotonic_s <= now_s + AHEAD_S + record.clock_bound_s:
            return f"it happened {record.monotonic_s - now_s:+.0f} s from now"
        if self._kept_bytes[node] >= KEPT_MAX_BYTES:
            return f"more than {KEPT_MAX_BYTES} bytes of events"
        problem = self._foreign_frame(record) or self._foreign_peer(record) or self._skipped(record)
        self._kept_bytes[node] += size_bytes + EVENT_BYTES if problem is None else 0
        return problem

    def _foreign_frame(self, record: EventRecord) -> str | None:
        if isinstance(record.event, TaskEvent):
            frame = record.event.task
        elif isinstance(record.event, FrameEvent):
            frame = record.event.frame
        else:
            return None
        owner = self._owner.get(frame)
        if owner is None:
            return f"no satellite of this run has a frame {frame!r:.60}"
        if owner != record.node and owner not in self._peers[record.node]:
            return f"frame {frame!r:.60} is {owner}'s"
        sender = getattr(record.event, "satellite", None)
        if sender is not None and sender != slug(owner):
            return f"frame {frame!r:.60} is {owner}'s, but {sender} sent it"
        return None

    def _foreign_peer(self, record: EventRecord) -> str | None:
        peers = {slug(name) for name in (record.node, *self._peers.get(record.node, ()))}
        for field in ("station", "satellite"):
            named = getattr(record.event, field, None)
            if isinstance(named, str) and slug(named) not in peers:
                return f"{record.node} has no link to {named!r:.60}"
        return None

    def _skipped(self, record: EventRecord) -> str | None:
        number, last = record.sequence, self._last.get(record.node, 0)
        if number is None:
            return None
        if not 1 <= number <= last + SKIPPED_MAX:
            return f"event number {number!r:.30} after number {last}"
        self._last[record.node] = number if number == 1 else max(number, last)
        return None
