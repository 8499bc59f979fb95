"""OMM in CSV, XML, KVN and the ways in which JSON comes; catalogue numbers compared as numbers."""

from __future__ import annotations

import json
import warnings
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sgp4.alpha5 import to_alpha5

from testbed.cli.main import main
from traces.errors import ElementFileWarning, TleError
from traces.orbits.catalogue_number import catalogue_number_of
from traces.orbits.element_set import ElementSet
from traces.orbits.elements import find_satellite, read_elements
from traces.orbits.omm import parse_omm

CELESTRAK_CSV = """OBJECT_NAME,OBJECT_ID,EPOCH,MEAN_MOTION,ECCENTRICITY,INCLINATION,RA_OF_ASC_NODE,\
ARG_OF_PERICENTER,MEAN_ANOMALY,EPHEMERIS_TYPE,CLASSIFICATION_TYPE,NORAD_CAT_ID,ELEMENT_SET_NO,REV_AT_EPOCH,\
BSTAR,MEAN_MOTION_DOT,MEAN_MOTION_DDOT
EXAMPLE 1,2026-001A,2024-05-09T08:48:19.938816,15.51043222,.0003466,51.6381,147.8590,150.4670,338.5502,0,U,\
270001,999,45252,.27777E-3,.16024E-3,0
"""
ALPHA_5 = """EXAMPLE 2
1 T0000U          20341.14572529  .00000446  00000-0  15605-2 0  9998
2 T0000  90.2902 300.0888 0031941  22.1325 338.1165 12.95152933 48676
"""
LINES = (
    "1 25544U 98067A   24130.36689744  .00016024  00000+0  27777-3 0  9992",
    "2 25544  51.6381 147.8590 0003466 150.4670 338.5502 15.51043222452521",
)
VALUES = dict(
    zip(*(line.split(",") for line in CELESTRAK_CSV.splitlines()), strict=True)  # as text, as in every format
)


def kvn(values: dict[str, str]) -> str:
    metadata = {
        "CENTER_NAME": "EARTH",
        "REF_FRAME": "TEME",
        "TIME_SYSTEM": "UTC",
        "MEAN_ELEMENT_THEORY": "SGP/SGP4",
    }
    begin = {"CCSDS_OMM_VERS": "2.0", "CREATION_DATE": "2024-05-09T12:00:00", "ORIGINATOR": ""}
    units = {"MEAN_MOTION": " [rev/day]", "INCLINATION": " [deg]", "BSTAR": " [1/ER]"}
    names = {key: values[key] for key in ("OBJECT_NAME", "OBJECT_ID")}
    rows = {**begin, **names, **metadata, **values}
    return "COMMENT from a test\n" + "".join(f"{k:20}= {v}{units.get(k, '')}\n" for k, v in rows.items())


def xml(*records: dict[str, str]) -> str:
    def tags(values: dict[str, str], *keys: str) -> str:
        return "".join(f"<{key}>{values[key]}</{key}>" for key in keys)

    elements = ("EPOCH", "MEAN_MOTION", "ECCENTRICITY", "INCLINATION", "RA_OF_ASC_NODE", "ARG_OF_PERICENTER")
    messages = (
        f'<omm id="CCSDS_OMM_VERS" version="2.0"><header><ORIGINATOR/></header><body><segment><metadata>'
        f"{tags(values, 'OBJECT_NAME', 'OBJECT_ID')}<MEAN_ELEMENT_THEORY>SGP4</MEAN_ELEMENT_THEORY>"
        "</metadata>"
        f"<data><meanElements>{tags(values, *elements, 'MEAN_ANOMALY')}</meanElements><tleParameters>"
        f"{tags(values, 'NORAD_CAT_ID', 'BSTAR')}</tleParameters></data></segment></body></omm>"
        for values in records
    )
    schema = 'xmlns="http://www.ccsds.org/schema/ndmxml"'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<ndm {schema}>{"".join(messages)}</ndm>\n'


def ndm_json(values: dict[str, str]) -> str:
    data = {"meanElements": values, "tleParameters": {"BSTAR": values["BSTAR"]}}
    segment = {"metadata": {"OBJECT_NAME": values["OBJECT_NAME"]}, "data": data}
    return json.dumps({"ndm": {"omm": [{"header": {"ORIGINATOR": "x"}, "body": {"segment": segment}}]}})


def only(sets: list[ElementSet]) -> ElementSet:
    (elements,) = sets
    return elements


FORMATS = {
    "csv": CELESTRAK_CSV,
    "csv with semicolons": CELESTRAK_CSV.replace(",", ";"),
    "csv with comment, quotes and CRLF": "# mine\r\n"
    + CELESTRAK_CSV.replace("EXAMPLE 1", '"EXAMPLE 1"').replace("\n", "\r\n"),
    "csv joined": CELESTRAK_CSV.splitlines()[0] + "\n" + CELESTRAK_CSV,
    "xml": xml(VALUES),
    "kvn": kvn(VALUES),
    "json": json.dumps([VALUES]),
    "json inside of an answer": json.dumps({"meta": {"count": 1}, "data": [VALUES]}),
    "json by number": json.dumps({"270001": VALUES}),
    "json lines": json.dumps(VALUES) + "\n",
    "ndm in json": ndm_json(VALUES),
    "lower-case keys": json.dumps({key.lower(): value for key, value in VALUES.items()}),
}


@pytest.mark.parametrize("text", FORMATS.values(), ids=FORMATS)
def test_every_format_gives_the_same_elements(tmp_path: Path, text: str):
    path = tmp_path / "elements"
    path.write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ElementFileWarning)
        elements = only(read_elements(path))
    assert (elements.name, elements.catalogue_number) == ("EXAMPLE 1", "270001")
    assert elements.epoch_utc == datetime(2024, 5, 9, 8, 48, 19, 938816, tzinfo=timezone.utc)
    assert elements.omm == only(parse_omm(CELESTRAK_CSV)).omm


def second() -> dict[str, str]:
    return VALUES | {"OBJECT_NAME": "EXAMPLE 2", "NORAD_CAT_ID": "270002", "INCLINATION": "97.5"}


@pytest.mark.parametrize(
    "text",
    [
        kvn(VALUES) + "\n" + kvn(second()),
        "\n".join(kvn(each).split("\n", 4)[4] for each in (VALUES, second())),  # no line begins a message
        xml(VALUES, second()),
        json.dumps(VALUES) + "\n\n" + json.dumps(second()),
        CELESTRAK_CSV + ",".join(second().values()),
        json.dumps({"a": VALUES, "b": second()}),
    ],
    ids=["kvn", "kvn without headers", "xml", "json lines", "csv", "json by name"],
)
def test_two_satellites_stay_two(text: str):
    sets = parse_omm(text)
    assert [(each.name, each.catalogue_number) for each in sets] == [
        ("EXAMPLE 1", "270001"),
        ("EXAMPLE 2", "270002"),
    ]
    assert [json.loads(each.omm)["INCLINATION"] for each in sets] == [51.6381, 97.5]


@pytest.mark.parametrize(
    "record",
    [
        {"tle0": "0 ISS (ZARYA)", "tle1": LINES[0], "tle2": LINES[1], "norad_cat_id": 25544},  # SatNOGS DB
        {"TLE_LINE0": "0 ISS (ZARYA)", "TLE_LINE1": LINES[0], "TLE_LINE2": LINES[1]},  # Space-Track
        {"name": "ISS (ZARYA)", "line1": LINES[0], "line2": LINES[1]},
        {"name": "ISS (ZARYA)", "tle": "\r\n".join(LINES)},
    ],
)
@pytest.mark.parametrize("page", [False, True])
def test_json_may_hold_the_lines_of_a_tle(record: dict[str, object], page: bool):
    text = json.dumps({"count": 1, "next": None, "results": [record]} if page else record)
    elements = only(parse_omm(text))
    assert (elements.name, elements.line1, elements.line2) == ("ISS (ZARYA)", *LINES)


@pytest.mark.parametrize(
    ("epoch", "micros"),
    [
        ("2024-05-09T08:48:19.938816Z", 938816),
        ("2024-05-09T08:48:19.938816+00:00", 938816),
        ("2024-05-09T10:48:19.938816+02:00", 938816),
        ("2024-130T08:48:19.938816", 938816),
        ("2024-05-09 08:48:19.93881649", 938816),
        ("2024-05-09T08:48:19", 0),
    ],
)
def test_epochs_have_many_forms(epoch: str, micros: int):
    elements = only(parse_omm(json.dumps(VALUES | {"EPOCH": epoch})))
    assert elements.epoch_utc == datetime(2024, 5, 9, 8, 48, 19, micros, tzinfo=timezone.utc)


def test_space_track_has_the_microseconds_apart():
    record = VALUES | {"EPOCH": "2024-05-09 08:48:19", "EPOCH_MICROSECONDS": "38816"}
    assert only(parse_omm(json.dumps(record))).epoch_utc.microsecond == 38816


@pytest.mark.parametrize(
    "epoch", ["2023-366T00:00:00", "2024-000T00:00:00", "2024-05-09", "2024-05-09T08:48:61"]
)
def test_epochs_that_cannot_be(epoch: str):
    with pytest.raises(TleError, match="expected EPOCH like"):
        parse_omm(json.dumps(VALUES | {"EPOCH": epoch}))


@pytest.mark.parametrize("theory", ["SGP4", "SGP/SGP4", "sgp4"])
def test_names_of_sgp4(theory: str):
    assert only(parse_omm(json.dumps(VALUES | {"MEAN_ELEMENT_THEORY": theory}))).name == "EXAMPLE 1"


def test_elements_for_another_theory_are_refused():
    with pytest.raises(TleError, match="expected EPHEMERIS_TYPE 0; found '4'"):
        parse_omm(json.dumps(VALUES | {"EPHEMERIS_TYPE": 4}))


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (CELESTRAK_CSV + "short,row\n", r"skipped 1 invalid element set \(line 3: expected an object"),
        (
            json.dumps([VALUES, VALUES | {"BSTAR": "x"}, 3]),
            r"skipped 2 invalid element sets \(record 2: expec",
        ),
        (json.dumps(VALUES) + '\n{"OBJECT_NAME": "EX', r"skipped 1 invalid element set \(line 2: "),
        (kvn(VALUES) + "what is this?\n", r"skipped 1 line outside element sets \(line 26: 'what is this\?'"),
    ],
)
def test_one_bad_record_is_skipped_and_counted(text: str, warning: str):
    with pytest.warns(ElementFileWarning, match=warning) as caught:
        assert only(parse_omm(text, source="file")).name == "EXAMPLE 1"
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"data": [{"OBJECT_NAME": "X"}]}', "record 1: expected MEAN_MOTION, 0.01 to 18; it is missing"),
        ('{"data": []}', "expected element sets; found none"),
        (CELESTRAK_CSV.splitlines()[0], "expected element sets; found none"),
        ("<ndm><meanElements></ndm>", "expected XML; mismatched tag"),
        ('<!DOCTYPE a [<!ENTITY a "b">]><meanElements/>', "without entity declarations"),
        (xml(VALUES | {"MEAN_MOTION": "fast"}), "record 1: expected MEAN_MOTION"),
        (kvn(VALUES | {"MEAN_MOTION": "fast"}), "message at line 2: expected MEAN_MOTION"),
    ],
)
def test_faults_of_whole_files(tmp_path: Path, text: str, error: str):
    path = tmp_path / "bad"
    path.write_text(text)
    with pytest.raises(TleError) as caught:
        read_elements(path)
    assert str(caught.value).startswith(str(path))
    assert error in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.integers(0, 339_999))
def test_alpha_5_is_a_number(number: int):
    assert catalogue_number_of(to_alpha5(number)) == number
    assert catalogue_number_of(f" {number} ") == number
    assert catalogue_number_of(f"{number:09d}") == number


@pytest.mark.parametrize("text", ["", "I0000", "O1234", "ISS", "5.0", "-5", "²", "T000"])
def test_texts_that_are_no_number(text: str):
    assert catalogue_number_of(text) is None


@pytest.mark.parametrize("wanted", ["270000", "T0000", "t0000", "000270000"])
def test_alpha_5_is_found_by_its_number(tmp_path: Path, wanted: str):
    (tmp_path / "a5.tle").write_text(ALPHA_5)
    assert find_satellite(read_elements(tmp_path / "a5.tle"), wanted).name == "EXAMPLE 2"


@pytest.mark.parametrize("number", [5, "00005", 5.0, "5.0"])
@pytest.mark.parametrize("wanted", ["5", "00005"])
def test_zeros_in_front_do_not_count(number: object, wanted: str):
    sets = parse_omm(json.dumps([VALUES, VALUES | {"OBJECT_NAME": "VANGUARD 1", "NORAD_CAT_ID": number}]))
    assert find_satellite(sets, wanted).name == "VANGUARD 1"


def test_passes_accept_csv_and_numbers_after_alpha_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "omm.csv").write_text(CELESTRAK_CSV)
    (tmp_path / "a5.tle").write_text(ALPHA_5)
    station = ["--station", "Svalbard"]
    omm = ["--tle", str(tmp_path / "omm.csv"), "--satellite", "270001", "--station", "45,10,100"]
    assert main(["trace", "passes", *omm]) == 0
    assert "EXAMPLE 1" in capsys.readouterr().out
    assert (
        main(["trace", "passes", "--tle", str(tmp_path / "a5.tle"), "--satellite", "270000", *station]) == 0
    )
    assert "EXAMPLE 2" in capsys.readouterr().out
