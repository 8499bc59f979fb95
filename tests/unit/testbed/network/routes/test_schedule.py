"""Routes that are computed ahead from the traces of all links."""

from __future__ import annotations

import time

import numpy as np
import pytest

from testbed.errors import InputError
from testbed.network.routes.choice import has_alternatives, most_data, shortest_delay
from testbed.network.routes.contact_graph import OpenLink, RoutedLink
from testbed.network.routes.path_trace import path_trace
from testbed.network.routes.schedule import ANYBODY, RouteSchedule, Stay
from tests.support.network.contacts import contact_trace, stepped_trace
from traces.trace import Trace

EARTH = contact_trace((0, 100), delay_s=0.02, rate_bit_s=1e9)


def link(a: str, b: str, trace: Trace) -> RoutedLink:
    return RoutedLink(f"{a} - {b}", (a, b), trace)


def open_link(a: str, b: str, delay_s: float = 0.01, bits: float = 1e6, *, closing: bool = False) -> OpenLink:
    return OpenLink(f"{a} - {b}", (a, b), delay_s, 10.0, bits, bits, closing)


def stays(schedule: RouteSchedule, node: str) -> list[tuple[float, float, str]]:
    return [(stay.begin_s, stay.end_s, ">".join(stay.path)) for stay in schedule.stays(node)]


def two_stations(first: Trace, second: Trace) -> list[RoutedLink]:
    return [link("S", "G1", first), link("S", "G2", second), link("G1", "M", EARTH), link("G2", "M", EARTH)]


def test_a_satellite_goes_from_one_station_to_the_next_before_the_first_contact_ends() -> None:
    schedule = RouteSchedule.compute(
        two_stations(contact_trace((10, 40)), contact_trace((30, 60), delay_s=0.05)), "M", closing_s=0.5
    )
    assert stays(schedule, "S") == [
        (0, 10, ""),
        (10, 39.5, "S>G1>M"),  # its delay is less, as long as it is not about to end
        (39.5, 60, "S>G2>M"),  # to its very end: there is no other way
        (60, 100, ""),
    ]
    assert stays(schedule, "G1") == [(0, 100, "G1>M")]


def test_tables_lead_up_to_the_root_and_down_to_each_node() -> None:
    links = [link("A", "B", EARTH), link("B", "G", EARTH), link("G", "M", EARTH), link("H", "M", EARTH)]
    (step,) = RouteSchedule.compute(links, "M").steps
    assert step.tables("M") == {
        "A": {ANYBODY: "B"},
        "B": {ANYBODY: "G", "A": "A"},
        "G": {ANYBODY: "M", "A": "B", "B": "B"},
        "H": {ANYBODY: "M"},
        "M": {"A": "G", "B": "G", "G": "G", "H": "H"},
    }


def test_the_shortest_of_two_open_ways_is_taken_as_their_delays_change() -> None:
    near_then_far = stepped_trace([(0, 0.001), (52, 0.030)])
    schedule = RouteSchedule.compute(
        two_stations(near_then_far, contact_trace((0, 100), delay_s=0.010)), "M", every_s=5.0
    )
    assert stays(schedule, "S") == [(0, 55, "S>G1>M"), (55, 100, "S>G2>M")]


def test_a_link_with_one_direction_down_is_no_way() -> None:
    whole = contact_trace((0, 100))
    deaf = Trace(
        whole.header, whole.time_s, whole.downlink_up, ~whole.uplink_up,
        *(getattr(whole, name) for name in ("down_bit_s", "up_bit_s", "down_delay_s", "up_delay_s")),
        whole.down_loss, whole.up_loss, whole.end_s,
    )  # fmt: skip
    schedule = RouteSchedule.compute([link("S", "G", deaf), link("G", "M", EARTH)], "M")
    assert schedule.path("S", 50) == ()
    assert schedule.path("G", 50) == ("G", "M")


def test_most_data_takes_the_way_whose_narrowest_link_carries_most() -> None:
    links = [
        open_link("S", "G1", bits=5e6, delay_s=0.001),
        open_link("S", "G2", bits=8e6),
        open_link("G1", "M", bits=1e12),
        open_link("G2", "M", bits=6e6),
    ]
    assert most_data(links, "M")["S"] == "G2"
    assert shortest_delay(links, "M")["S"] == "G1"


def test_most_data_counts_what_flows_towards_the_root() -> None:
    much_back = OpenLink("S - G1", ("S", "G1"), 0.01, 10.0, 1e3, 1e9, closing=False)
    back_is_forth = OpenLink("G2 - S", ("G2", "S"), 0.01, 10.0, 1e3, 1e6, closing=False)
    links = [much_back, back_is_forth, open_link("G1", "M", bits=1e12), open_link("G2", "M", bits=1e12)]
    assert most_data(links, "M")["S"] == "G2"


def test_a_closing_link_is_the_last_resort() -> None:
    links = [
        open_link("S", "G1", 0.001, closing=True),
        open_link("S", "G2", 5.0),
        open_link("G1", "M"),
        open_link("G2", "M"),
    ]
    assert shortest_delay(links, "M") == {"S": "G2", "G1": "M", "G2": "M"}
    assert shortest_delay(links[:1] + links[2:], "M")["S"] == "G1"


def test_ways_exist_once_or_more_than_once() -> None:
    line = [open_link("A", "B"), open_link("C", "D"), open_link("B", "C")]
    assert not has_alternatives(line)
    assert has_alternatives([*line, open_link("D", "A")])


def test_a_choice_that_names_no_neighbour_is_refused() -> None:
    links = [link("S", "G", EARTH), link("G", "M", EARTH)]
    with pytest.raises(InputError, match=r"routes at 0 s: S is to send by M, but no link"):
        RouteSchedule.compute(links, "M", lambda _links, _root: {"S": "M"})


def test_a_choice_with_a_circle_leads_nowhere() -> None:
    links = [link("A", "B", EARTH), link("B", "M", EARTH)]
    schedule = RouteSchedule.compute(links, "M", lambda _links, _root: {"A": "B", "B": "A"})
    assert schedule.path("A", 1) == ()
    assert list(schedule.stays("A")) == [Stay(0.0, 100.0, ())]


def test_the_trace_of_a_way_adds_delays_and_has_the_lowest_rate() -> None:
    links = two_stations(
        contact_trace((10, 40), rate_bit_s=2e6), contact_trace((30, 60), delay_s=0.05, rate_bit_s=3e6)
    )
    trace = path_trace(RouteSchedule.compute(links, "M", closing_s=0.5), "S")
    assert [(c.aos_s, c.los_s) for c in trace.contacts("both")] == [(10, 60)]
    assert (trace.header.satellite, trace.header.station) == ("S", "M")
    before, after = trace.row_at(39), trace.row_at(41)
    assert (before.down_bit_s, before.down_delay_s) == (2e6, pytest.approx(0.03))
    assert (after.down_bit_s, after.down_delay_s) == (3e6, pytest.approx(0.07))
    assert trace.end_s == 100


def test_a_way_over_a_link_that_was_named_the_other_way_round_has_its_directions_swapped() -> None:
    whole = contact_trace((0, 100))
    lopsided = Trace(
        whole.header, whole.time_s, whole.downlink_up, whole.uplink_up,
        whole.down_bit_s, whole.up_bit_s * 2, whole.down_delay_s, whole.up_delay_s, whole.down_loss,
        whole.up_loss + 0.5, whole.end_s,
    )  # fmt: skip
    trace = path_trace(RouteSchedule.compute([link("G", "S", lopsided), link("G", "M", EARTH)], "M"), "S")
    row = trace.row_at(1)
    assert (row.down_bit_s, row.up_bit_s, row.down_loss, row.up_loss) == (2e6, 1e6, 0.5, 0.0)


def test_a_frame_needs_its_time_on_each_link_of_a_way() -> None:
    links = [link("S", "G", contact_trace((0, 100), rate_bit_s=1e6)), link("G", "M", EARTH)]
    schedule = RouteSchedule.compute(links, "M")
    plain, framed = path_trace(schedule, "S"), path_trace(schedule, "S", frame_bytes=125)
    # A receiver adds 1 ms for the slowest link itself.
    np.testing.assert_allclose(framed.down_delay_s - plain.down_delay_s, 1e-6, atol=1e-12)


def test_hours_of_twenty_satellites_are_computed_at_once() -> None:
    rng, end_s = np.random.default_rng(1), 4 * 3600.0
    links = [link(f"G{n}", "M", contact_trace((0, end_s), end_s=end_s)) for n in range(5)]
    for satellite in range(20):
        for station in range(5):
            begins = rng.uniform(0, 5000) + np.arange(2) * 6000.0
            contacts = [(float(begin), float(begin) + 400) for begin in begins]
            links.append(link(f"S{satellite}", f"G{station}", contact_trace(*contacts, end_s=end_s)))
    begun_s = time.process_time()
    schedule = RouteSchedule.compute(links, "M")
    assert time.process_time() - begun_s < 2  # 0.08 s
    assert len(schedule.steps) > 200
