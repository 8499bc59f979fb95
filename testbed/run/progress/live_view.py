"""The live view of a run: links, frames of each satellite, last answers, in 80 columns."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from testbed.run.progress.tally import SatelliteTally, Tally
from traces.trace import Contact, Trace, TraceRow

NAME_MAX = 30  # characters of a name
TALL = 36  # lines of a terminal in which twice as many rows fit


class LinkStates:
    """The links of a run, each with its contacts.

    Args:
        traces: the traces that the links follow, by the links' names.
    """

    def __init__(self, traces: Mapping[str, Trace]) -> None:
        self._traces = dict(traces)
        self._contacts = {name: trace.contacts() for name, trace in traces.items()}
        self._ends_s = {name: [c.los_s for c in contacts] for name, contacts in self._contacts.items()}
        self.end_s = max((trace.end_s for trace in traces.values()), default=0.0)

    def table(self, now_s: float, most: int) -> Table:
        """Return links that are up, then those with the next contacts.

        Args:
            now_s: scenario time.
            most: number of links to show.
        """
        table = _table("links, Mbit/s and ms", "", "down", "up", "delay")
        links = {name: self._contact(name, now_s) for name in self._traces}
        for name in sorted(links, key=lambda name: _order(links[name], now_s))[:most]:
            trace = self._traces[name]
            row = trace.row_at(min(max(now_s, 0.0), math.nextafter(trace.end_s, 0)))
            table.add_row(_name(name), countdown(links[name], now_s), *_cells(row))
        _add_rest(table, len(links) - most)
        return table

    def _contact(self, name: str, now_s: float) -> Contact | None:
        """Return the present contact of a link, or the next one."""
        after = bisect_right(self._ends_s[name], now_s)
        contacts = self._contacts[name]
        return contacts[after] if after < len(contacts) else None


def live_view(
    tally: Tally, links: LinkStates, now_s: float, answers: Sequence[str], lines: Sequence[str], height: int
) -> RenderableType:
    """Return the view.

    Args:
        tally: where the frames are.
        links: the links.
        now_s: scenario time.
        answers: the last answers, in order.
        lines: what happened last, in order.
        height: lines of the terminal.
    """
    rows = 8 if height >= TALL else 4
    return Group(
        Text(f"{now_s:.1f} s of {links.end_s:.0f} s", "bold"),
        links.table(now_s, rows),
        _frames(tally, rows),
        Text("last answers", "bold"),
        *_cropped(answers[-rows // 2 :]),
        Text("events", "bold"),
        *_cropped(lines[-rows:]),
    )


def _frames(tally: Tally, most: int) -> Table:
    heading = f"frames, of {tally.total}"
    table = _table(heading, "on board", "MB", "in transfer", "by board", "by ground", "ended")
    waiting = sorted(tally.satellites.items(), key=lambda named: -named[1].on_board_bytes)
    for name, own in waiting[:most]:
        table.add_row(_name(name), *_counts(own))
    _add_rest(table, len(waiting) - most)
    if len(waiting) > 1:
        table.add_row("all", *_counts(tally.whole), style="bold")
    return table


def _counts(own: SatelliteTally) -> tuple[str, ...]:
    steps = own.steps
    rest = (steps["in transfer"], steps["by satellite"], steps["by ground"], steps["ended"])
    return (str(steps["on board"]), f"{own.on_board_bytes / 1e6:.2f}", *map(str, rest))


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    return table


def _add_rest(table: Table, left: int) -> None:
    if left > 0:
        table.add_row(f"and {left} more", style="dim")


def _name(name: str) -> str:
    return name if len(name) <= NAME_MAX else f"{name[: NAME_MAX - 1]}…"


def _cropped(lines: Iterable[str]) -> list[Text]:
    return [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]


def _order(contact: Contact | None, now_s: float) -> tuple[int, float]:
    """Return the order of a link: first those in contact, last those without a further one."""
    if contact is None:
        return 2, 0.0
    return (0, contact.los_s) if contact.aos_s <= now_s else (1, contact.aos_s)


def countdown(contact: Contact | None, now_s: float) -> Text:
    """Return the time to the next AOS or LOS.

    Args:
        contact: the present contact, or the next one; None without any.
        now_s: scenario time.
    """
    if contact is None:
        return Text("no further contact", "dim")
    if now_s < contact.aos_s:
        return Text(f"AOS in {contact.aos_s - now_s:.0f} s", "yellow")
    return Text(f"up, LOS in {contact.los_s - now_s:.0f} s", "green")


def _cells(row: TraceRow) -> tuple[str, str, str]:
    if not row.up:
        return "-", "-", "-"
    delay_s = row.down_delay_s if row.downlink_up else row.up_delay_s
    return _rate(row.down_bit_s, row.downlink_up), _rate(row.up_bit_s, row.uplink_up), f"{delay_s * 1e3:.2f}"


def _rate(rate_bit_s: float, up: bool) -> str:
    return f"{rate_bit_s / 1e6:.2f}" if up else "off"
