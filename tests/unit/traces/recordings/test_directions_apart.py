"""Recordings and contact plans in which one direction is down while the other one is up."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.one_way import one_way_trace
from traces.errors import TraceError
from traces.recordings import Assumptions, parse_recording, read_recording
from traces.recordings.ion import write as write_ion
from traces.recordings.mahimahi import write as write_mahimahi
from traces.trace import Contact, Trace
from traces.trace_file import write_trace

DELAY = Assumptions(delay_s=0.02)


def bytes_of(trace: Trace, way: str, begin_s: float, end_s: float) -> float:
    part = trace.cut(begin_s, end_s)
    return float(part.lengths_s() @ getattr(part, f"{way}_bit_s")) / 8


def pair(tmp_path, **changes: float) -> Trace:
    """Read 12 Mbit/s down throughout; 1.2 Mbit/s up, with nothing from 5 to 8 s."""
    (tmp_path / "down").write_text("".join(f"{ms}\n" for ms in range(1, 20_001)))
    (tmp_path / "up").write_text("".join(f"{ms}\n" for ms in range(10, 20_001, 10) if not 5000 < ms <= 8000))
    return read_recording(tmp_path / "down", Assumptions(delay_s=0.02, **changes), up_file=tmp_path / "up")


def test_an_outage_of_the_uplink_costs_the_downlink_no_byte(tmp_path):
    trace = pair(tmp_path)
    assert bytes_of(trace, "down", 5, 8) == pytest.approx(3 * 1.5e6, abs=1500)
    assert bytes_of(trace, "down", 0, 20) == pytest.approx(20 * 1.5e6)
    assert bytes_of(trace, "up", 5, 8) == 0
    assert bytes_of(trace, "up", 0, 20) == pytest.approx(17 * 150e3)
    assert trace.contacts() == trace.contacts("down") == [Contact(0, 20)]
    assert [(one.aos_s, round(one.los_s, 6)) for one in trace.contacts("both")] == [(0, 5), (8, 20)]
    assert any("a direction is down after 1 s without" in note for note in trace.header.notes)


def test_an_outage_shorter_than_the_limit_is_a_slow_time(tmp_path):
    trace = pair(tmp_path, outage_s=4)
    assert trace.contacts("both") == [Contact(0, 20)]
    assert bytes_of(trace, "up", 0, 20) == pytest.approx(17 * 150e3)


def test_a_given_uplink_is_up_through_an_outage_of_the_downlink():
    data = "".join(f"{ms}\n" for ms in range(1, 20_001) if not 5000 < ms <= 8000).encode()
    given = parse_recording(data, "x", Assumptions(delay_s=0.02, up_bit_s=2e6))
    assert given.contacts("up") == [Contact(0, 20)]
    assert len(given.contacts("down")) == 2
    assert set(given.up_bit_s.tolist()) == {2e6}
    copied = parse_recording(data, "x", DELAY)  # the uplink is taken to be like the downlink
    assert copied.contacts("up") == copied.contacts("down") == copied.contacts()
    replaced = parse_recording(data, "x", Assumptions(delay_s=0.02, down_bit_s=5e6))
    assert replaced.contacts("down") == given.contacts("down")


def test_rows_of_no_upload_take_the_uplink_down():
    head = "timestamp_start,timestamp_end,ip_protocol,transport_protocol,download,upload,site_name\n"
    row = "2024-01-01T00:00:{:02d}Z,2024-01-01T00:00:{:02d}Z,v4,tcp,{},{},Osnabrueck\n"
    rows = [row.format(t, t + 1, 50_000_000, 0 if t in (2, 3) else 5_000_000) for t in range(6)]
    for name, text in (("wetlinks", head), ("road", head.replace(",site_name", ""))):
        lines = rows if name == "wetlinks" else [line.replace(",Osnabrueck", "") for line in rows]
        trace = parse_recording((text + "".join(lines)).encode(), name, DELAY)
        assert trace.contacts("down") == [Contact(0, 6)]
        assert trace.contacts("up") == [Contact(0, 2), Contact(4, 6)]
        assert "the uplink is down in 2 rows with a rate of 0" in trace.header.notes
    columns = Assumptions(columns="time=1:s,down=2:Mbit/s,up=3:Mbit/s", delay_s=0.02)
    trace = parse_recording(b"0,50,5\n1,0,5\n2,50,0\n3,0,0\n", "x", columns)
    assert (trace.contacts("down"), trace.contacts("up"), trace.contacts()) == (
        [Contact(0, 1), Contact(2, 3)],
        [Contact(0, 2)],
        [Contact(0, 3)],
    )


def test_contacts_of_a_plan_are_of_one_direction():
    plan = b"a contact +0 +60 1 2 125000\na contact +20 +80 2 1 1000\n"
    trace = parse_recording(plan, "x", DELAY)
    assert (trace.contacts("down"), trace.contacts("up")) == ([Contact(0, 60)], [Contact(20, 80)])
    assert (trace.row_at(70).up_delay_s, trace.row_at(70).down_delay_s) == (0.02, 0)
    alone = parse_recording(plan.split(b"\n")[0], "x", Assumptions(delay_s=0.02, up_bit_s=1e6))
    assert alone.contacts("up") == alone.contacts("down") == [Contact(0, 60)]


def test_a_plan_of_a_trace_has_the_contacts_of_each_direction():
    trace = one_way_trace()
    lines = write_ion(trace).decode().splitlines()
    assert [line for line in lines if "contact" in line] == [
        "a contact +0 +20 1 2 500000",
        "a contact +0 +10 2 1 125000",
        "a contact +20 +30 2 1 125000",
    ]
    again = parse_recording(write_ion(trace), "x", DELAY)
    for way in ("down", "up"):
        assert again.contacts(way) == trace.contacts(way)


def test_mahimahi_files_are_written_for_each_direction():
    trace = one_way_trace()
    for way, seconds in (("down", [(0, 20)]), ("up", [(0, 10), (20, 30)])):
        time_ms = np.array(write_mahimahi(trace, way).split(), dtype=int)
        inside = np.any(
            [(time_ms > 1000 * begin) & (time_ms <= 1000 * end) for begin, end in seconds], axis=0
        )
        assert inside.all()
        assert len(time_ms) == int(bytes_of(trace, way, 0, 40) / 1500 + 1e-6)
    with pytest.raises(TraceError, match="up: expected 1 to"):
        write_mahimahi(trace.cut(10, 20), "up")


def test_a_gap_takes_both_directions_down():
    columns = Assumptions(columns="time=1:s,down=2:Mbit/s,up=3:Mbit/s", delay_s=0.02, gaps="down")
    trace = parse_recording(b"0,50,0\n1,50,5\n2,50,5\n13,50,5\n14,0,5\n15,50,5\n", "x", columns)
    assert trace.contacts("down") == [Contact(0, 3), Contact(13, 14), Contact(15, 16)]
    assert trace.contacts("up") == [Contact(1, 3), Contact(13, 16)]


def test_delays_of_a_trace_are_known_while_their_own_direction_is_up(tmp_path):
    write_trace(one_way_trace(), tmp_path / "delays.csv")
    (tmp_path / "x.csv").write_text("0,50,5\n30,50,5\n")
    beside = Assumptions(columns="time=1:s,down=2:Mbit/s,up=3:Mbit/s")
    trace = read_recording(tmp_path / "x.csv", beside, delay_file=tmp_path / "delays.csv")
    assert set(trace.down_delay_s.tolist()) == {0.01}  # held where the downlink is down, never 0
    assert set(trace.up_delay_s.tolist()) == {0.02}
