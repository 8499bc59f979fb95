"""Gives the dishes of stations to satellites, moment by moment: before a run, or during it."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from testbed.errors import ScenarioError
from testbed.scenario.dishes.schedulers import DishScheduler, InView, Queue

PASS_ENDED = "its pass ended"  # noqa: S105  # no password


@dataclass(frozen=True)
class StationDishes:
    """The dishes of one station.

    Attributes:
        station: Its name.
        dishes: Their number.
        slew_s: Time that a dish needs from one satellite to another.
        scheduler: Who decides.
        named: The scheduler's name.
    """

    station: str
    dishes: int
    slew_s: float
    scheduler: DishScheduler
    named: str


@dataclass(frozen=True)
class PassInView:
    """A time in which a station sees a satellite."""

    station: str
    satellite: str
    aos_s: float
    los_s: float


@dataclass(frozen=True)
class Turn:
    """The time in which a satellite has a dish. All times are of the scenario.

    Attributes:
        station: The station.
        dish: The dish's number, from 1.
        satellite: Who has it.
        from_s: When it was given.
        open_s: When the dish has turned to the satellite, and the link is up.
        why: Why the satellite got it.
        waiting: Satellites in view that got none at that moment.
        until_s: When it was taken, or the pass ended; None while it lasts.
        ended: Why it ended.
    """

    station: str
    dish: int
    satellite: str
    from_s: float
    open_s: float
    why: str
    waiting: tuple[str, ...] = ()
    until_s: float | None = None
    ended: str = ""


@dataclass
class _Dish:
    """A dish: its turn, and where it points."""

    number: int
    turn: Turn | None = None
    points_at: str | None = None
    free_s: float = -math.inf

    def ready_s(self, satellite: str, now_s: float, slew_s: float) -> float:
        """Return when it can serve a satellite. One that was free has turned before the pass began."""
        if satellite == self.points_at:
            return now_s
        return max(now_s, (self.free_s if self.turn is None else now_s) + slew_s)


@dataclass
class Decision:
    """Turns that ended and began at one moment."""

    ended: list[Turn] = field(default_factory=list)
    begun: list[Turn] = field(default_factory=list)


class DishDesk:
    """Who has which dish of some stations.

    Args:
        stations: the stations with their dishes.
        passes: all times in which one of them sees a satellite, in order of preference of equals.
    """

    def __init__(self, stations: Sequence[StationDishes], passes: Iterable[PassInView]) -> None:
        self._stations = list(stations)
        self._passes = list(passes)
        self._dishes = {s.station: [_Dish(number + 1) for number in range(s.dishes)] for s in stations}
        self._last_served_s: dict[tuple[str, str], float] = {}
        self._waits = False
        self._edges_s = sorted({edge for one in self._passes for edge in (one.aos_s, one.los_s)})

    @property
    def every_s(self) -> float:
        """How often schedulers want to be asked while a satellite waits; infinite if none does."""
        return min((s.scheduler.every_s or math.inf for s in self._stations), default=math.inf)

    def next_s(self, after_s: float) -> float:
        """Return the moment of the next decision; infinite if there is none."""
        number = bisect.bisect_right(self._edges_s, after_s)
        edge_s = self._edges_s[number] if number < len(self._edges_s) else math.inf
        return min(edge_s, after_s + self.every_s) if self._waits else edge_s

    def decide(self, now_s: float, queues: Mapping[str, Queue] | None = None) -> Decision:
        """Return the turns that end and begin now.

        Args:
            now_s: the moment; later than that of the call before.
            queues: what the satellites reported; None before a run.

        Raises:
            ScenarioError: a scheduler failed.
        """
        made = Decision()
        in_view = [one for one in self._passes if one.aos_s <= now_s < one.los_s]
        self._waits = False
        for station in self._stations:
            seen = {one.satellite: one for one in in_view if one.station == station.station}
            for dish in self._dishes[station.station]:
                if dish.turn is not None and dish.turn.satellite not in seen:
                    made.ended.append(self._end(dish, now_s, PASS_ENDED))
        for station in self._stations:
            seen = {one.satellite: one for one in in_view if one.station == station.station}
            try:
                self._serve(station, seen, now_s, queues, made)
            except Exception as error:  # a user's class may raise anything
                text = " ".join(str(error).split())
                raise ScenarioError(
                    f"scheduler {station.named} of {station.station} failed: {type(error).__name__}: {text}"
                ) from error
        return made

    def _serve(
        self,
        station: StationDishes,
        seen: Mapping[str, PassInView],
        now_s: float,
        queues: Mapping[str, Queue] | None,
        made: Decision,
    ) -> None:
        scheduler, dishes = station.scheduler, self._dishes[station.station]
        held = {dish.turn.satellite: dish for dish in dishes if dish.turn is not None}
        elsewhere = self._served_except(station.station)
        views = {name: self._view(one, held.get(name), now_s, queues) for name, one in seen.items()}
        waiting = [name for name in seen if name not in held]
        # Whoever another station serves needs no second dish, unless one is left.
        waiting.sort(key=lambda name: (name not in elsewhere, scheduler.rank(views[name])), reverse=True)
        for name in list(waiting):
            free = [dish for dish in dishes if dish.turn is None]
            dish = min(free, key=lambda one: one.ready_s(name, now_s, station.slew_s), default=None)
            why = scheduler.reason(views[name])
            if dish is None:
                dish = self._taken_for(name, views, held, station, elsewhere, now_s)
                if dish is None or dish.turn is None:
                    continue
                loser = dish.turn.satellite
                made.ended.append(self._end(dish, now_s, f"{name} got the dish: {why}"))
                del held[loser]
                waiting.append(loser)
            ready_s = dish.ready_s(name, now_s, station.slew_s)
            if ready_s >= seen[name].los_s:
                continue
            waiting.remove(name)
            dish.turn = Turn(station.station, dish.number, name, now_s, ready_s, why)
            dish.points_at = name
            held[name] = dish
        self._waits |= bool(waiting)
        for dish in dishes:
            if dish.turn is not None and dish.turn.from_s == now_s:
                dish.turn = replace(dish.turn, waiting=tuple(waiting))
                made.begun.append(dish.turn)

    def _taken_for(
        self,
        name: str,
        views: Mapping[str, InView],
        held: Mapping[str, _Dish],
        station: StationDishes,
        elsewhere: set[str],
        now_s: float,
    ) -> _Dish | None:
        """Return the dish that a satellite takes from another; None if it takes none."""
        if name in elsewhere or now_s + station.slew_s >= views[name].los_s:
            return None
        scheduler = station.scheduler
        for other in sorted(held, key=lambda one: (one not in elsewhere, scheduler.rank(views[one]))):
            holder, turn = views[other], held[other].turn
            if turn is None or turn.from_s == now_s:
                continue
            # A dish that turned for nothing has served nobody.
            settled = now_s - turn.open_s >= station.slew_s or not scheduler.live or not holder.reported.items
            if other in elsewhere or (settled and scheduler.takes(views[name], holder)):
                return held[other]
        return None

    def _served_except(self, station: str) -> set[str]:
        return {
            dish.turn.satellite
            for other, dishes in self._dishes.items()
            if other != station
            for dish in dishes
            if dish.turn is not None
        }

    def _view(
        self, one: PassInView, dish: _Dish | None, now_s: float, queues: Mapping[str, Queue] | None
    ) -> InView:
        return InView(
            satellite=one.satellite,
            station=one.station,
            now_s=now_s,
            aos_s=one.aos_s,
            los_s=one.los_s,
            served_since_s=None if dish is None or dish.turn is None else dish.turn.open_s,
            last_served_s=self._last_served_s.get((one.station, one.satellite)),
            queue=None if queues is None else queues.get(one.satellite),
        )

    def _end(self, dish: _Dish, now_s: float, why: str) -> Turn:
        assert dish.turn is not None  # noqa: S101  # callers have seen it
        ended = replace(dish.turn, until_s=now_s, ended=why)
        self._last_served_s[ended.station, ended.satellite] = now_s
        dish.turn, dish.free_s = None, now_s
        return ended
