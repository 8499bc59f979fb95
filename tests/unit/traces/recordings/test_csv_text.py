"""CSV as programs write it: quotes, separators, thousands, and fields without a measurement."""

from __future__ import annotations

from dataclasses import replace
from datetime import timezone

import pytest

from tests.support.recording_samples import ROAD_IPERF, STK
from traces.errors import TraceError
from traces.recordings import Assumptions, parse_recording
from traces.trace import Contact, Trace

QUOTED = b"""time,place,ping_ms,down_mbps,up_mbps
1700000000,"Springfield, XX",36.8,164.0,12.9
1700000060,"Springfield, XX",35.1,150.2,11.8
1700000120,"Springfield, XX",39.0,171.7,13.2
"""
COLUMNS = "time=time:unix-s,down=down_mbps:Mbit/s,up=up_mbps:Mbit/s"


def read(data: bytes, columns: str = COLUMNS, **beside: object) -> Trace:
    return parse_recording(data, "x.csv", Assumptions(**{"columns": columns, "delay_s": 0.02, **beside}))


@pytest.mark.parametrize(
    "data",
    [
        QUOTED,
        QUOTED.replace(b"Springfield, XX", b'Spring""field"", X,X'),
        QUOTED.replace(b"Springfield, XX", b"Spring\nfield, XX"),
        QUOTED.replace(b",", b";").replace(b"; XX", b", XX"),
        QUOTED.replace(b",", b"\t"),
        QUOTED.replace(b",", b", "),
        b'"time","place","ping_ms","down_mbps","up_mbps"\r\n'
        + QUOTED.split(b"\n", 1)[1].replace(b"\n", b"\r\n"),
        QUOTED.replace(b"164.0", b'"164.0"'),
        b"\xef\xbb\xbf" + QUOTED,
    ],
    ids=["quoted", "quotes", "lines", "semicolons", "tabs", "spaces", "heads", "numbers", "bom"],
)
def test_a_separator_within_quotes_separates_nothing(data):
    trace = read(data)
    assert trace.down_bit_s.tolist() == [164e6, 150.2e6, 171.7e6]
    assert trace.up_bit_s.tolist() == [12.9e6, 11.8e6, 13.2e6]


def test_a_separator_without_quotes_is_an_error_and_shifts_nothing():
    with pytest.raises(TraceError, match=r"line 2: expected 5 columns; found 6: .*quote a field"):
        read(QUOTED.replace(b'"', b""))


def test_thousands():
    columns = "time=time:s,down=down:bit/s,up=up:bit/s"
    trace = read(b'time,down,up\n0,"1,234,567","9,876"\n1,"12,000.5",7\n', columns)
    assert trace.down_bit_s.tolist() == [1234567, 12000.5]
    assert trace.up_bit_s.tolist() == [9876, 7]
    assert read(b"time;down;up\n0;1,234,567;1,234.5\n", columns).up_bit_s[0] == 1234.5


TWO = b"t,dl,rtt\n0,10.5,30\n1,1011.5,31.25\n"


@pytest.mark.parametrize(
    "data",
    [
        b"t;dl;rtt\n0;10,5;30\n1;1011,5;31,25\n",
        b"t;dl;rtt\n0;10,5;30\n1;1.011,5;31,25\n",
        b"t\tdl\trtt\n0\t10,5\t30\n1\t1011,5\t31,25\n",
        TWO.replace(b",", b"|"),
        b"# on the roof, since May\n# 12 m high\n" + TWO,
        TWO.replace(b"\n1,", b"\n# a pause\n1,"),
        b"#" + TWO,
        b"# " + TWO,
        TWO.replace(b"1,1011", b"t,dl,rtt\n1,1011"),
        TWO.decode().encode("utf-16"),
        b"\xef\xbb\xbf# on the roof\n" + TWO,
    ],
    ids=[
        "semicolons",
        "dots",
        "tabs",
        "bars",
        "comments",
        "within",
        "#names",
        "# names",
        "joined",
        "utf-16",
        "bom",
    ],
)
def test_files_of_spreadsheets_and_scripts(data):
    trace = read(data, "time=t:s,down=dl:Mbit/s,rtt=rtt:ms", up_bit_s=1e6, delay_s=None)
    assert trace.down_bit_s.tolist() == [10.5e6, 1011.5e6]
    assert (trace.down_delay_s + trace.up_delay_s).tolist() == [0.03, 0.03125]


def test_decimal_commas_without_names_of_columns():
    trace = read(b"0;10,5;30,25\n1;11;31\n", "time=1:s,down=2:Mbit/s,rtt=3:ms", up_bit_s=1e6, delay_s=None)
    assert trace.down_bit_s.tolist() == [10.5e6, 11e6]


def test_a_point_beside_decimal_commas_is_refused():
    with pytest.raises(
        TraceError, match="line 3: expected a number for down, with a decimal comma as in other"
    ):
        read(
            b"t;dl;rtt\n0;10,5;30\n1;11.5;31\n",
            "time=t:s,down=dl:Mbit/s,rtt=rtt:ms",
            up_bit_s=1e6,
            delay_s=None,
        )


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(TraceError, match="line 1: expected one column 'dl'; found 2: give the number"):
        read(TWO.replace(b"rtt", b"dl"), "time=t:s,down=dl:Mbit/s", up_bit_s=1e6)


def test_percent_signs():
    for unit in ("percent", "%"):
        trace = read(
            b"0,19%,5\n1,36 %,5\n", f"time=1:s,loss=2:{unit},delay=3:ms", rate_bit_s=1e6, delay_s=None
        )
        assert trace.down_loss.tolist() == [0.19, 0.36]


@pytest.mark.parametrize("number", ["1,234", "1,23,456"])
def test_a_comma_that_may_be_a_decimal_one_is_refused(number):
    expected = "line 2: expected a number for down, with a decimal point and without a comma"
    with pytest.raises(TraceError, match=expected):
        read(f"time;down;up\n0;{number};1\n".encode(), "time=time:s,down=down:bit/s,up=up:bit/s")


@pytest.mark.parametrize(
    "nothing", ["False", "false", "nan", "NaN", "", "null", "None", "N/A", '""', "--", "#N/A", "-nan"]
)
def test_a_field_without_a_measurement_holds_the_value_before(nothing):
    trace = read(QUOTED.replace(b"150.2", nothing.encode()))
    assert trace.row_at(70).down_bit_s == 164e6
    assert trace.row_at(70).up_bit_s == 11.8e6
    assert any("down_bit_s: 1 of 3 rows hold" in note for note in trace.header.notes)


def test_flags_are_words_or_numbers_and_may_be_missing():
    columns = "time=1:s,down=2:bit/s,up=2:bit/s,connected=3:flag".replace("up=2", "up=4")
    for yes, no in (("1", "0"), ("True", "False"), ("yes", "no")):
        rows = [f"0,5,{yes},5", f"1,6,{no},6", "2,7,,7", f"3,8,{yes},8", "4,9,,9"]
        trace = read("\n".join(rows).encode(), columns)
        assert trace.contacts() == [Contact(0, 1), Contact(3, 5)]


def test_loss_beside_an_rtt_is_that_of_round_trips():
    given = Assumptions(rate_bit_s=1e6)
    rtt = parse_recording(b"0,5,19\n", "x", replace(given, columns="time=1:s,rtt=2:ms,loss=3:%"))
    assert rtt.down_loss[0] == rtt.up_loss[0] == pytest.approx(0.1)
    assert any("loss is that of round trips" in note for note in rtt.header.notes)
    for columns in ("time=1:s,delay=2:ms,loss=3:%", "time=1:s,rtt=2:ms,down_loss=3:%,up_loss=4:%"):
        one_way = parse_recording(
            b"0,5,19,19\n", "x", Assumptions(columns=columns, rate_bit_s=given.rate_bit_s)
        )
        assert one_way.down_loss[0] == one_way.up_loss[0] == pytest.approx(0.19)


def test_other_readers_of_csv_know_quotes_and_fields_without_a_measurement():
    road = Assumptions(delay_s=0.01, zone=timezone.utc)
    plain = parse_recording(ROAD_IPERF, "x", road)
    quoted = parse_recording(
        ROAD_IPERF.replace(b"192.0.2.1", b'"192,0,2,1"').replace(b"67160000,,", b"67160000,False,"), "x", road
    )
    assert quoted.down_bit_s.tolist() == plain.down_bit_s.tolist()
    assert quoted.up_bit_s.tolist() == plain.up_bit_s.tolist()
    beside = Assumptions(rate_bit_s=1e6, delay_s=0.01)
    stk = parse_recording(
        STK.replace(b"1,1 Jan 2026 00:42:11.284", b'1,"1 Jan 2026 00:42:11.284"'), "x", beside
    )
    assert stk.contacts() == parse_recording(STK, "x", beside).contacts()
