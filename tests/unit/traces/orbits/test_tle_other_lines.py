"""Element files with more than element sets: headers, comments, bulletins, further columns, damage."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from testbed.cli.main import main
from traces.errors import ElementFileWarning, TleError
from traces.orbits.elements import read_elements
from traces.orbits.tle import FLOCK_TLE, checksum, parse_tle

ISS = """ISS (ZARYA)
1 25544U 98067A   24130.36689744  .00016024  00000+0  27777-3 0  9992
2 25544  51.6381 147.8590 0003466 150.4670 338.5502 15.51043222452521
"""
OLDER = """1 25544U 98067A   20312.93274306  .00001101  00000-0  27781-4 0  9994
2 25544  51.6471 357.1945 0001957  93.0945 269.7966 15.49392855254302
"""
PAIR = ISS.split("\n", 1)[1]
AMSAT = f"""SB KEPS @ AMSAT  $ORBS-24130.N
2Line Orbital Elements 24130.AMSAT

HR AMSAT ORBITAL ELEMENTS FOR AMATEUR SATELLITES IN NASA FORMAT
TO ALL RADIO AMATEURS BT

DECODE 2-LINE ELSETS WITH THE FOLLOWING KEY:
1 AAAAAU 00  0  0 BBBBB.BBBBBBBB  .CCCCCCCC  00000-0  00000-0 0  DDDZ
2 AAAAA EEE.EEEE FFF.FFFF GGGGGGG HHH.HHHH III.IIII JJ.JJJJJJJJKKKKKZ
KEY: A-CATALOGNUM B-EPOCHTIME C-DECAY D-ELSETNUM E-INCLINATION F-RAAN

{ISS}
/EX
"""


def warned_sets(text: str, expected: str):
    """Return the element sets of a text that must issue one warning."""
    with pytest.warns(ElementFileWarning) as caught:
        sets = parse_tle(text, source="file.tle")
    assert [str(warning.message) for warning in caught] == [f"file.tle: {expected}"]
    return sets


def test_hypatias_header_is_skipped():
    sets = warned_sets(
        f"1 2\nConst 0\n{OLDER}Const 1\n{PAIR}", "skipped 1 line outside element sets (line 1: '1 2')"
    )
    assert [each.name for each in sets] == ["Const 0", "Const 1"]


@pytest.mark.parametrize("header", ["1 1584", "72 22", "6 11", "1 10000"])
def test_hypatias_header_is_no_name(header: str):
    (elements,) = warned_sets(
        f"{header}\n{PAIR}", f"skipped 1 line outside element sets (line 1: '{header}')"
    )
    assert elements.name == "25544"


@pytest.mark.parametrize("comment", ["# mine", "// mine", "; mine", "<pre>", "Downloaded today\n"])
def test_comments_are_skipped(comment: str):
    example = f"skipped 1 line outside element sets (line 1: {comment.strip()!r})"
    assert [each.name for each in warned_sets(f"{comment}\n{ISS}", example)] == ["ISS (ZARYA)"]
    assert [each.name for each in warned_sets(f"{comment}\n{PAIR}", example)] == ["25544"]


def test_a_bulletin_is_skipped():
    (elements,) = warned_sets(
        AMSAT, "skipped 9 lines outside element sets (line 1: 'SB KEPS @ AMSAT  $ORBS-24130.N')"
    )
    assert (elements.name, elements.line1) == ("ISS (ZARYA)", PAIR.splitlines()[0])


def test_columns_after_the_69th_are_ignored():
    """Vallado's SGP4-VER.TLE appends the times to test."""
    long = PAIR.rstrip("\n") + "      0.00      4320.0        360.00\n"
    (elements,) = warned_sets(long, "ignored the columns after 69 of 1 line")
    assert elements.line2 == PAIR.splitlines()[1]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("338.5502", "338.5503", "line 3: expected checksum 2; found 1, so a digit is wrong"),
        ("2 25544", "2 25545", "line 3: expected checksum 2; found 1, so a digit is wrong"),
        (" 9992", " 99", "line 2: expected 69 printable columns; found 67"),
        ("2 25544  51", "3 25544  51", "line 3: expected line 2 of an element set; found '3 25544  51.6381"),
    ],
)
def test_one_bad_element_set_is_skipped_and_counted(old: str, new: str, reason: str):
    text = ISS.replace(old, new, 1) + FLOCK_TLE.read_text()
    with pytest.warns(ElementFileWarning) as caught:
        sets = parse_tle(text, source="file.tle")
    assert str(caught[0].message).startswith(f"file.tle: skipped 1 invalid element set ({reason}")
    assert [each.name for each in sets] == [each.name for each in read_elements(FLOCK_TLE)]


def test_a_damaged_line_is_no_name_of_the_next_satellite():
    broken = "X" + PAIR[1:]  # its line 1 is no longer one
    with pytest.warns(ElementFileWarning, match="skipped 2 lines outside element sets"):
        sets = parse_tle(broken + OLDER)
    assert [each.name for each in sets] == ["25544"]


def test_a_file_of_bad_element_sets_is_refused_with_the_first():
    bad = ISS.replace("338.5502", "338.5503")
    with pytest.raises(TleError, match=r"^file\.tle, line 3: expected checksum 2; found 1"):
        parse_tle(bad + bad, source="file.tle")
    with pytest.raises(TleError, match=r"line 1: expected element sets; found 'No GP data found'"):
        parse_tle("No GP data found\nsorry\n")


def test_elements_for_another_theory_are_refused():
    line = PAIR.splitlines()[0].replace("27777-3 0", "27777-3 4")[:68]
    with pytest.raises(TleError, match="expected elements for SGP4; found SGP4-XP"):
        parse_tle(f"{line}{checksum(line + ' ')}\n{PAIR.splitlines()[1]}")


@pytest.mark.parametrize("name", ["1 HOPE", "2 BE OR NOT", "1 2 3", "FLOCK 3P'-3", "ÅSGARD-1"])
def test_names_may_begin_like_element_lines(name: str):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (elements,) = parse_tle(f"{name}\n{PAIR}")
    assert elements.name == name


@pytest.mark.parametrize(
    "text",
    [
        ISS.replace("\n", "\n\n"),
        ISS.replace("\n", "\r"),
        ISS.replace("1 2", "  1 2", 1).replace("2 2", "\t2 2", 1),
        "0 " + ISS,
    ],
    ids=["double-spaced", "old line ends", "indented", "0 before the name"],
)
def test_layouts(text: str):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (elements,) = parse_tle(text)
    assert (elements.name, elements.line1, elements.line2) == ("ISS (ZARYA)", *PAIR.splitlines())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str):
    path = tmp_path / "elements.tle"
    path.write_bytes(ISS.replace("ISS (ZARYA)", "ÅSGARD").encode(encoding))
    assert [each.name for each in read_elements(path)] == ["ÅSGARD"]


def test_the_command_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "comment.tle"
    path.write_text(f"# mine\n{ISS}")
    assert main(["trace", "passes", "--tle", str(path), "--station", "45,10,100"]) == 0
    captured = capsys.readouterr()
    assert "ISS (ZARYA)" in captured.out
    assert captured.err == (
        f"spaceverse: warning: {path}: skipped 1 line outside element sets (line 1: '# mine')\n"
    )
