"""The plan of a scenario as tables of 80 columns."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table
from rich.text import Text

from testbed.planning.plan import Plan, PlannedLink
from testbed.results.clock.passage import duration_text
from testbed.run.offered_load import SatelliteLoad
from traces.utc import format_utc


def plan_table(plan: Plan, *, contacts: bool = False) -> Group:
    """Return the tables of satellites and links.

    Args:
        plan: the plan.
        contacts: list every contact, too.
    """
    begin = format_utc(plan.links[0].trace.header.start_utc)
    heading = f"{plan.scenario.name}: {duration_text(plan.end_s)} from {begin}"
    parts: list[Table | Text] = [Text(heading, "bold"), _satellites(plan), _links(plan)]
    if contacts:
        parts.append(_contacts(plan))
    if plan.note is not None:
        parts.append(Text(f"note: {plan.note}"))
    return Group(*parts)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table


def _satellites(plan: Plan) -> Table:
    table = _table(
        "images and what links carry, in MB; backlog if every image is sent whole",
        *("satellite", "images", "size", "carried", "load", "backlog", "at, s", "left", "empty, s"),
    )
    for load in plan.loads:
        table.add_row(*_satellite_row(load))
    return table


def _satellite_row(load: SatelliteLoad) -> tuple[str, ...]:
    backlog = load.backlog
    return (
        load.satellite,
        str(load.images),
        _megabytes(load.offered_bytes),
        _megabytes(load.carried_bytes),
        "-" if load.load is None else f"{load.load:.2f}",
        _megabytes(backlog.most_bytes),
        f"{backlog.most_at_s:.0f}",
        _megabytes(backlog.left_bytes),
        "never" if backlog.empty_s is None else f"{backlog.empty_s:.0f}",
    )


def _links(plan: Plan) -> Table:
    table = _table("links", "link", "contacts", "length, s", "first AOS, s", "Mbit/s", "MB")
    for link in plan.links:
        table.add_row(*_link_row(link))
    return table


def _link_row(link: PlannedLink) -> tuple[str, ...]:
    contacts, carried = link.contacts, link.carried_bytes
    if not contacts:
        return link.name, "0", "-", "-", "-", "0"
    return (
        link.name,
        str(len(contacts)),
        f"{link.contact_s:.0f}",
        f"{contacts[0].aos_s:.1f}",
        f"{carried * 8 / link.contact_s / 1e6:.3g}",
        _megabytes(carried),
    )


def _contacts(plan: Plan) -> Table:
    table = _table("contacts", "link", "AOS, s", "LOS, s", "length, s")
    rows = [(contact, link.name) for link in plan.links for contact in link.contacts]
    for contact, name in sorted(rows, key=lambda row: (row[0].aos_s, row[1])):
        table.add_row(name, f"{contact.aos_s:.1f} s", f"{contact.los_s:.1f} s", f"{contact.duration_s:.1f} s")
    return table


def _megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.3g}" if size_bytes < 1e9 else f"{size_bytes / 1e6:.0f}"
