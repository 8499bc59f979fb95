"""Reports of STK and GMAT in all their forms, and pages of SatNOGS' API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.recording_samples import satnogs
from traces.errors import TraceError
from traces.recordings import Assumptions, parse_recording
from traces.recordings.formats import format_of
from traces.trace import Trace

LIGHT_M_S = 299_792_458
RATES = {"down_bit_s": 20e6, "up_bit_s": 1e6}
ACCESS = """                                                   3 Mar 2026 10:11:12
Facility-Kiruna-To-Satellite-Dove:  Access Summary Report


Kiruna-To-Dove
--------------
                  Access        Start Time (UTCG)           Stop Time (UTCG)        Duration (sec)
                  ------    ------------------------    ------------------------    --------------
                       1     1 Mar 2026 08:50:59.865     1 Mar 2026 08:55:03.365           243.500
                       2     1 Mar 2026 10:24:01.000     1 Mar 2026 10:30:01.000           360.000

Global Statistics
-----------------
Min Duration           1     1 Mar 2026 08:50:59.865     1 Mar 2026 08:55:03.365           243.500
Mean Duration                                                                              301.750
"""
AER = """
Kiruna-To-Dove - AER reported in the object's default AER frame
---------------------------------------------------------------
                             Time (UTCG)          Azimuth (deg)    Elevation (deg)    Range (km)
                      ------------------------    -------------    ---------------    -----------
                      1 Mar 2026 10:24:01.000           206.305              5.000    2000.000000
                      1 Mar 2026 10:25:01.000           172.103             47.159     800.000000
                      1 Mar 2026 10:26:01.000           137.584              5.541    2100.000000

Min Elevation         1 Mar 2026 10:24:01.000           206.305              5.000    2000.000000
                             Time (UTCG)          Azimuth (deg)    Elevation (deg)    Range (km)
                      ------------------------    -------------    ---------------    -----------
                      1 Mar 2026 12:00:00.000           206.305              5.000    1500.000000
                      1 Mar 2026 12:00:30.000           206.305              5.000    1500.000000
"""


def trace_of(text: str, form: str, **values: Any) -> Trace:
    assert format_of(text.encode(), "report.txt") == form
    return parse_recording(text.encode(), "report.txt", Assumptions(**{**RATES, **values}))


def spans(trace: Trace) -> list[tuple[float, float]]:
    return [(round(contact.aos_s, 3), round(contact.los_s, 3)) for contact in trace.contacts()]


def range_km(trace: Trace, time_s: float) -> float:
    return float(trace.row_at(time_s).down_delay_s * LIGHT_M_S / 1e3)


def test_accesses_of_stk_in_text():
    trace = trace_of(ACCESS, "stk", delay_s=0.005)
    assert spans(trace) == [(0, 243.5), (5581.135, 5941.135)]
    assert (trace.header.station, trace.header.satellite) == ("Kiruna", "Dove")
    assert trace.header.start_utc.isoformat() == "2026-03-01T08:50:59.865000+00:00"


def test_ranges_of_stk_are_delays():
    trace = trace_of(AER, "stk")
    assert spans(trace) == [(0, 120), (5759, 5789)]
    assert [range_km(trace, second) for second in (0, 30, 60, 90, 5770)] == pytest.approx(
        [2000, 1400, 800, 1450, 1500]
    )
    assert trace.up_delay_s.tolist() == trace.down_delay_s.tolist()


def test_ranges_in_csv_are_the_same():
    rows = AER.replace("-------------", "").splitlines()
    cells = (
        [cell for cell in row.strip().split("  ") if cell] for row in rows if "2026" in row or "UTCG" in row
    )
    lines = (
        '"' + '","'.join(part.strip() for part in row) + '"' if "UTCG" in row[0] else ",".join(row)
        for row in cells
    )
    text = '"Kiruna-To-Dove - AER reported"\n' + "\n".join(
        line for line in lines if not line.startswith("Min")
    )
    assert spans(trace_of(text, "stk")) == spans(trace_of(AER, "stk"))
    assert range_km(trace_of(text, "stk"), 30) == pytest.approx(1400)


def test_accesses_with_ranges_for_some_of_them():
    trace = trace_of(ACCESS + AER.split("Min Elevation", maxsplit=1)[0], "stk")
    assert spans(trace) == [(0, 243.5), (5581.135, 5941.135)]
    assert range_km(trace, 5581.135 + 60) == pytest.approx(800)
    assert any("hold the value" in note for note in trace.header.notes)


def test_times_of_stk_in_iso_and_other_units():
    iso = ACCESS.replace("(UTCG)", "(ISO-YMD)")
    for clock in ("08:50:59.865", "08:55:03.365", "10:24:01.000", "10:30:01.000"):
        iso = iso.replace(f" 1 Mar 2026 {clock}", f"2026-03-01T{clock}")
    assert spans(trace_of(iso, "stk", delay_s=0.005)) == [(0, 243.5), (5581.135, 5941.135)]
    with pytest.raises(
        TraceError, match=r"line 7: expected times in UTC or UTCG; found 'Start Time \(EpSec\)'"
    ):
        trace_of(ACCESS.replace("UTCG", "EpSec"), "stk", delay_s=0.005)
    with pytest.raises(TraceError, match=r"line 9: expected a contact with times like"):
        trace_of(ACCESS.replace("1 Mar 2026 08:55:03.365 ", "1 Mar 2026", 1), "stk", delay_s=0.005)
    with pytest.raises(TraceError, match=r"line 9: expected a day of the calendar"):
        trace_of(
            ACCESS.replace("1 Mar 2026 08:55:03.365", "31 Feb 2026 08:55:03.365", 1), "stk", delay_s=0.005
        )


MAX_ELEVATION = """Target: Dove

Observer      Start Time (UTCGregorian)     Stop Time (UTCGregorian)     Duration (s)     Maximum Elevation (deg)     Maximum Elevation Time (UTCGregorian)
--------      -------------------------     ------------------------     ------------     -----------------------     -------------------------------------
  Kiruna       01 Mar 2026 08:50:59.865     01 Mar 2026 08:55:03.365       243.500000                   12.345678                  01 Mar 2026 08:53:00.000
Svalbard       01 Mar 2026 08:51:00.000     01 Mar 2026 08:52:00.000        60.000000                    6.000000                  01 Mar 2026 08:51:30.000
  Kiruna       01 Mar 2026 10:24:01.000     01 Mar 2026 10:30:01.000       360.000000                   80.000000                  01 Mar 2026 10:27:00.000

Number of events : 3
"""  # noqa: E501


def test_gmat_with_the_maximum_elevation():
    trace = trace_of(MAX_ELEVATION, "gmat", station="Kiruna", delay_s=0.005)
    assert spans(trace) == [(0, 243.5), (5581.135, 5941.135)]
    assert (trace.header.station, trace.header.satellite) == ("Kiruna", "Dove")
    with pytest.raises(TraceError, match="expected one pair; found Dove over Kiruna; Dove over Svalbard"):
        trace_of(MAX_ELEVATION, "gmat", delay_s=0.005)
    with pytest.raises(TraceError, match="line 5: expected a contact with times like"):
        trace_of(MAX_ELEVATION.replace("01 Mar 2026 08:50:59.865", "tomorrow"), "gmat", delay_s=0.005)


@pytest.mark.parametrize(
    ("unit", "first", "last"),
    [
        ("ISO-YD", "2026-060T08:51:00.000", "2026-060T08:52:00.000"),
        ("UTC-MJD", "31100.86875000", "31100.86944444"),
        ("UTCGregorian", "01 Mar 2026 08:51:00.000", "01 Mar 2026 08:52:00.000"),
    ],
)
def test_ranges_of_gmat_in_each_form_of_time(unit, first, last):
    text = f"""Target: Dove

Pass Number     Observer     Time ({unit})                 Azimuth (deg)     Elevation (deg)     Range (km)
-----------     --------     --------------------------    -------------     ---------------     ------------
          1       Kiruna     {first}                       10.5                        5.125     2000.125
          1       Kiruna     {last}                        11.5                        6.125     1000.125
"""
    trace = trace_of(text, "gmat")
    assert trace.header.start_utc.isoformat(timespec="seconds") == "2026-03-01T08:51:00+00:00"
    assert trace.end_s == pytest.approx(60, abs=1e-3)
    assert range_km(trace, 0) == pytest.approx(2000.125)
    assert range_km(trace, 30) == pytest.approx(1500.125, abs=0.01)


def test_passes_of_gmat_are_told_apart_by_their_number():
    rows = [("1", "08:51:00", 2000), ("1", "08:52:00", 1000), ("2", "08:53:00", 900), ("2", "08:54:00", 1900)]
    table = "\n".join(
        f"  {number}       Kiruna     01 Mar 2026 {clock}.000     1.5     5.1     {km}.5"
        for number, clock, km in rows
    )
    names = "     ".join(
        ["Pass Number", "Observer", "Time (UTCGregorian)", "Azimuth (deg)", "Elevation (deg)", "Range (km)"]
    )
    text = f"Target: Dove\n\n{names}\n{table}\n"
    assert spans(trace_of(text, "gmat")) == [(0, 60), (120, 180)]


OBSERVATION = json.loads(satnogs())[0]


@pytest.mark.parametrize(
    "document",
    [
        {"count": 2, "next": None, "previous": None, "results": [OBSERVATION]},
        {
            "count": 2,
            "next": "https://network.satnogs.org/api/observations/?page=2",
            "results": [OBSERVATION],
        },
        {"results": [OBSERVATION], "next": None, "count": 2},
        [OBSERVATION],
        OBSERVATION,
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_observations_in_pages_and_lists(document, indent):
    trace = trace_of(json.dumps(document, indent=indent), "satnogs")
    assert spans(trace) == [(0, 244)]
    assert trace.down_delay_s.max() < 0.005


def test_several_pages_in_one_file():
    later = {**OBSERVATION, "id": 2, "start": "2018-01-20T13:05:00Z", "end": "2018-01-20T13:09:00Z"}
    pages = [
        {"count": 2, "next": "x", "results": [OBSERVATION]},
        {"count": 2, "next": None, "results": [later]},
    ]
    text = "\n".join(json.dumps(page) for page in pages)
    assert spans(trace_of(text, "satnogs")) == [(0, 244), (5670, 5910)]


def test_a_page_without_observations_is_refused():
    with pytest.raises(TraceError, match="line 1: expected at least one contact"):
        parse_recording(
            b'{"count": 0, "next": null, "previous": null, "results": []}', "page", Assumptions(), "satnogs"
        )
