"""Element sets: the shipped file, checksums, and errors that name file and line."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.errors import TleError, UnknownSatelliteError
from traces.orbits.elements import find_satellite, read_elements
from traces.orbits.tle import FLOCK_TLE, checksum, parse_tle

# Example of the format in Spacetrack Report 3's successor documents (ISS, 20 September 2008).
ISS = """ISS (ZARYA)
1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927
2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537
"""


def test_the_shipped_file_holds_188_satellites_near_20_january_2018():
    sets = read_elements(FLOCK_TLE)
    assert len(sets) == 188
    assert len({one.catalogue_number for one in sets}) == 188
    assert all(abs((one.epoch_utc - datetime(2018, 1, 20, tzinfo=timezone.utc)).days) <= 3 for one in sets)


def test_a_known_element_set_is_read():
    (iss,) = parse_tle(ISS)
    assert iss.name == "ISS (ZARYA)"
    assert iss.catalogue_number == "25544"
    # Day 264.51782528 of 2008, worked by hand: 20 September, 12:25:40.104 UTC.
    expected = datetime(2008, 9, 20, 12, 25, 40, 104192, tzinfo=timezone.utc)
    assert abs((iss.epoch_utc - expected).total_seconds()) < 1e-3


def test_checksum_counts_digits_and_minus_signs():
    line = ISS.splitlines()[1]
    assert checksum(line) == 7
    assert checksum("-" * 68 + "x") == 8
    assert checksum("19" + "A+." * 22) == 0


def test_names_are_optional_and_may_begin_with_0():
    assert parse_tle("0 " + ISS)[0].name == "ISS (ZARYA)"
    assert parse_tle(ISS.split("\n", 1)[1])[0].name == "25544"
    assert parse_tle("\r\n" + ISS.replace("\n", "\r\n"))[0].line2 == ISS.splitlines()[2]


@pytest.mark.parametrize("wanted", ["FLOCK 2P-1", "flock  2p-1", "41617"])
def test_satellites_are_found_by_name_or_number(wanted):
    assert find_satellite(read_elements(FLOCK_TLE), wanted).catalogue_number == "41617"


def test_an_unknown_satellite_is_told_with_close_names():
    with pytest.raises(
        UnknownSatelliteError, match=r"no satellite 'FLOK 2P-1'.*did you mean FLOCK 2P-1"
    ) as caught:
        find_satellite(read_elements(FLOCK_TLE), "FLOK 2P-1")
    assert caught.value.exit_code == 2
    with pytest.raises(UnknownSatelliteError, match="the first is FLOCK 2P-1"):
        find_satellite(read_elements(FLOCK_TLE), "§§§")


def test_two_satellites_of_one_name_are_told_by_number():
    other = [_resummed(line.replace("25544", "25545")) for line in ISS.splitlines()[1:]]
    two = parse_tle(ISS + "\n".join(["ISS (ZARYA)", *other]))
    with pytest.raises(UnknownSatelliteError, match="use a catalogue number: 25544, 25545"):
        find_satellite(two, "ISS (ZARYA)")


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ("563537", "563538", 3, "expected checksum 7; found 8"),
        ("2927", "2928", 2, "expected checksum 7; found 8"),
        ("51.6416", "51.6417", 3, "expected checksum 8; found 7"),
        ("2 25544  51.6416", "", 3, "expected line 2"),
        ("\n2 25544  51", "\n3 25544  51", 3, "expected line 2"),
        ("1 25544U", "1 25544U ", 2, "expected 69 printable columns; found 70"),
        (ISS[12:], "", 2, "expected the two lines of an element set behind 'ISS (ZARYA)'"),
        (ISS, "", 1, "found none"),
        # Damage that keeps the sum: the fields are looked at too.
        ("51.6416", "91.x416", 3, "expected checksum"),
        ("2 25544  51.6416", "2 25544 251.6414", 3, "inclination (0 to 180)"),
        ("2 25544  51.6416", "2 25535  51.6416", 3, "expected catalogue number 25544; found 25535"),
    ],
)
def test_faults_name_file_line_and_what_was_expected(tmp_path: Path, old, new, line, expected):
    assert old in ISS
    path = tmp_path / "bad.tle"
    path.write_text(ISS.replace(old, new, 1))
    with pytest.raises(TleError) as caught:
        read_elements(path)
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert expected in str(caught.value)
    assert str(caught.value).isprintable()


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(TleError, match="No such file"):
        read_elements(tmp_path / "none.tle")
    path = tmp_path / "binary.tle"
    path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(TleError, match="expected UTF-8 text; found another byte at 0"):
        read_elements(path)


def _resummed(line: str) -> str:
    return line[:68] + str(checksum(line))


@pytest.mark.filterwarnings("ignore::traces.errors.ElementFileWarning")
@given(
    st.integers(0, len(ISS) - 1),
    st.integers(0, 10),
    st.text(st.characters(codec="ascii"), max_size=6),
    st.booleans(),
)
def test_a_damaged_file_gives_element_sets_or_a_tle_error(at: int, gone: int, put: str, resum: bool):
    text = ISS[:at] + put + ISS[at + gone :]
    if resum:  # damage that the checksum does not see
        text = "\n".join(_resummed(line) if len(line) == 69 else line for line in text.split("\n"))
    try:
        sets = parse_tle(text, source="damaged.tle")
    except TleError as fault:
        assert "damaged.tle" in str(fault)
        assert str(fault).isprintable()
    else:
        assert len(sets) == 1
