"""A replay second by second: what the link could carry, was offered and carried, under any load."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest

from testbed.measure.fidelity import LinkFidelity, QueuedSample, Sample
from testbed.network.traffic import Readings
from testbed.replay import drawing
from testbed.replay.report import render
from testbed.replay.table import Tables, tables
from testbed.replay.timeline import Timeline, timeline
from traces.trace import Trace, TraceHeader

START_S = 1000.0
COUNTERS: Mapping[str, Any] = {
    "down": {"arrived": 700, "delivered": 686, "lost": 7, "dropped_queue": 7, "purged": 0},
    "up": {"arrived": 10, "delivered": 10, "lost": 0, "dropped_queue": 0, "purged": 0},
}


def step() -> Trace:
    """4 Mbit/s for three seconds, then 2 Mbit/s, and no contact from second 6 to 8; 1 % loss downwards."""
    up = np.array([True, True, False])
    return Trace(
        TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test"),
        time_s=np.array([0.0, 3.0, 6.0]),
        downlink_up=up,
        uplink_up=up,
        down_bit_s=np.array([4e6, 2e6, 0.0]),
        up_bit_s=np.array([1e6, 1e6, 0.0]),
        down_delay_s=np.array([0.3, 0.3, 0.0]),
        up_delay_s=np.array([0.1, 0.1, 0.0]),
        down_loss=np.array([0.01, 0.01, 0.0]),
        up_loss=np.zeros(3),
        end_s=8.0,
    )


def readings(share: float = 1.0) -> Readings:
    """A program that sends 5 Mbit/s from second 0.5 to 5, over a link that carries a share of its rate."""
    found, offered, waiting = [], 0.0, 0.0
    left = [0.0] * 6  # 300 ms of the delay
    carried = 0.0
    for n in range(-10, 160):
        now_s = n * 0.05
        found.append((START_S + now_s, 0, 7000 + round(offered), 9000 + round(carried), 0))
        more = 5e6 / 8 * 0.05 if 0.5 <= now_s < 5 else 0.0
        able = (4e6 if now_s < 3 else 2e6 if now_s < 6 else 0.0) * share / 8 * 0.05 if now_s >= 0 else 0.0
        offered += more
        served = min(able, waiting + more)
        waiting = min(waiting + more - served, 100e3 if now_s < 3 else 64e3)
        left.append(served)
        carried += left.pop(0)
    return Readings(*np.array(found, dtype=np.float64).T)


NOTHING = Readings(*np.zeros((5, 0)))


def probed() -> LinkFidelity:
    rtt = (Sample(0.2, 0.4, 0.4003), Sample(5.9, 0.4, 0.4005))
    queued = (QueuedSample(1.5, 0.4, 0.1, 0.502), QueuedSample(3.5, 0.4, 0.2, 0.601))
    return LinkFidelity(
        "t", "model", "t.csv", 0.0, 5e3, rtt, 0, (), (), queued_rtt=queued, unanswered_s=(4.2,)
    )


def test_each_second_has_what_was_requested_offered_and_carried() -> None:
    played = timeline(step(), readings(), START_S, 7.5, probed())
    rows = list(csv.DictReader(io.StringIO(played.to_csv())))
    assert [(float(row["begin_s"]), float(row["end_s"])) for row in rows] == [
        *((n, n + 1) for n in range(7)), (7.0, 7.5),
    ]  # fmt: skip
    requested, offered, carried = (
        [float(row[f"down_{what}_bit_s"]) for row in rows] for what in ("requested", "offered", "carried")
    )
    assert requested == [4e6, 4e6, 4e6, 2e6, 2e6, 2e6, 0, 0]
    assert offered == pytest.approx([2.5e6, 5e6, 5e6, 5e6, 5e6, 0, 0, 0], abs=1e-3 * 5e6)
    assert carried[:3] == pytest.approx([2e6, 4e6, 4e6], rel=0.02)  # though it arrived 300 ms later
    assert carried[3:5] == pytest.approx([2e6, 2e6], rel=0.02)
    assert carried[6:] == [0, 0]
    assert [row["measured_rtt_s"] for row in rows] == ["0.4003", "0.502", "", "0.601", "", "0.4005", "", ""]
    assert [row["queue_s"] for row in rows] == ["0", "0.1", "", "0.2", "", "0", "", ""]
    assert [row["unanswered"] for row in rows] == ["0", "0", "0", "0", "1", "0", "0", "0"]
    probe_s = 512 / 4e6 + 512 / 1e6
    assert float(rows[0]["requested_rtt_s"]) == pytest.approx(0.4 + probe_s)
    assert rows[6]["requested_rtt_s"] == ""


def test_the_total_is_what_arrived_of_what_the_trace_could_carry() -> None:
    played = timeline(step(), readings(), START_S, 7.5, None).to_json()
    assert played["down"]["requested_bytes"] == pytest.approx(18e6 / 8)
    assert played["down"]["offered_bytes"] == pytest.approx(4.5 * 5e6 / 8, rel=1e-3)
    assert played["down"]["carried_bytes"] < played["down"]["requested_bytes"]
    assert played["down"]["requested_loss"] == pytest.approx(0.01)
    assert played["up"]["carried_bytes"] == played["up"]["requested_loss"] == 0
    assert json.loads(json.dumps(played, allow_nan=False)) == played


@pytest.mark.parametrize("share", [1.0, 0.9, 0.5])
def test_a_rate_is_measured_while_programs_fill_the_link_even_if_it_carries_too_little(share: float) -> None:
    down = timeline(step(), readings(share), START_S, 7.5, None).carried["down"]
    assert down.full_s >= 3
    assert down.full_rate_error == pytest.approx(share - 1, abs=0.02)


def shown(played: Timeline, fidelity: LinkFidelity | None) -> tuple[Tables, str]:
    found = tables(played, fidelity, COUNTERS)
    text = "\n".join(" | ".join(row) for row in (*found.carried, *found.accuracy)) + "\n".join(found.notes)
    return found, text


def test_tables_under_load_have_no_row_without_a_number() -> None:
    played = timeline(step(), readings(), START_S, 7.5, probed())
    found, text = shown(played, probed())
    assert [row[0] for row in found.accuracy[1:]] == [
        "RTT, no queue", "RTT + queue", "downlink, full", "downlink, loss",
    ]  # fmt: skip
    assert "RTT + queue | 550.00 ms | 551.50 ms | p50 1.50, p99 1.99 ms | 2" in text
    assert "queue: 150.00 ms (median), 200.00 ms at most" in text
    assert "downlink, loss | 1.00% | 1.01% | +0.01% | 693" in text
    assert "downlink: packets lost of 700: 7 by the link's loss, 7 by a full queue" in text
    assert "RTT probes lost: 1 of 5" in text
    assert " - " not in text


def test_without_probes_or_a_queue_there_is_still_an_answer() -> None:
    played = timeline(step(), readings(), START_S, 7.5, None)
    found, text = shown(played, None)
    assert len(found.carried) == 3
    assert "--no-probe" in text
    behind = replace(probed(), rtt=(), queued_rtt=(QueuedSample(1.5, 0.4, None, 0.502),))
    _, text = shown(timeline(step(), readings(), START_S, 7.5, behind), behind)
    assert "RTT, behind traffic | 400.00 ms + queue | 502.00 ms | - | 1" in text
    empty = timeline(step(), NOTHING, START_S, 0.0, None)
    assert empty.carried["down"].carried_bytes == 0
    assert "nan" not in shown(empty, None)[1]


def test_the_report_shows_plot_tables_and_origin() -> None:
    played = timeline(step(), readings(), START_S, 7.5, probed(), bin_s=0.25)
    figure = drawing.figure_of(step(), played, probed())
    page = render(
        "Replay of t", step(), shown(played, probed())[0], drawing.svg(figure), {"shaper": "<s>"}, ("a note",)
    )
    for part in ("<svg", "RTT + queue", "a note", "made by a test", "&lt;s&gt;", "7 by a full queue"):
        assert part in page
    labels = [axis.get_ylabel().split("\n")[0] for axis in figure.axes]
    assert labels == ["downlink", "uplink", "RTT"]
    assert drawing.png(figure).startswith(b"\x89PNG")
    drawing.figure_of(
        step(), timeline(step(), NOTHING, START_S, 0.0, None), None
    )  # nothing measured is no error
