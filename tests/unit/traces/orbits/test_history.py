"""Files with several element sets of one satellite: the nearest to the requested time is used, and named."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from testbed.cli.main import main
from traces.errors import ElementFileWarning, UnknownSatelliteError
from traces.orbits.element_set import ElementSet
from traces.orbits.elements import find_satellite, one_set_each
from traces.orbits.tle import checksum, parse_tle

LINES = (
    "1 25544U 98067A   24130.36689744  .00016024  00000+0  27777-3 0  9992",
    "2 25544  51.6381 147.8590 0003466 150.4670 338.5502 15.51043222452521",
)
DAYS = (130, 128, 135)  # of 2024: 9, 7 and 14 May


def lines_of(day: int, number: str = "25544", name: str = "ISS (ZARYA)") -> str:
    texts = [LINES[0].replace("24130.", f"24{day:03d}."), LINES[1]]
    texts = [text.replace("25544", number)[:68] for text in texts]
    return "\n".join([name, *(f"{text}{checksum(text + ' ')}" for text in texts)]) + "\n"


HISTORY = "".join(lines_of(day) for day in DAYS)


def may(day: float) -> datetime:
    return datetime(2024, 5, 1, tzinfo=timezone.utc) + timedelta(days=day - 1)


def day_of(elements: ElementSet) -> int:
    return elements.epoch_utc.timetuple().tm_yday


@pytest.mark.parametrize("wanted", ["ISS (ZARYA)", "25544"])
@pytest.mark.parametrize(
    ("at_utc", "day", "why"),
    [
        (may(1), 128, "with the epoch nearest to 2024-05-01T00:00:00Z"),
        (may(8), 128, "with the epoch nearest to 2024-05-08T00:00:00Z"),
        (may(9), 130, "nearest to 2024-05-09"),
        (may(30), 135, "nearest to 2024-05-30"),
        (None, 135, "the newest"),
    ],
)
def test_the_nearest_epoch_is_used_and_named(wanted: str, at_utc: datetime | None, day: int, why: str):
    with pytest.warns(ElementFileWarning) as caught:
        elements = find_satellite(parse_tle(HISTORY), wanted, at_utc=at_utc)
    assert day_of(elements) == day
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith(
        f"3 element sets of ISS (ZARYA): used the one of {elements.epoch_utc:%Y-%m-%dT}"
    )
    assert why in message


def test_one_of_each_satellite_is_kept():
    text = HISTORY + lines_of(129, "00005", "VANGUARD 1") + lines_of(131, "00005", "VANGUARD 1")
    text += lines_of(130, "00006", "ALONE")
    with pytest.warns(ElementFileWarning) as caught:
        sets = one_set_each(parse_tle(text), at_utc=may(9))
    assert [(each.name, day_of(each)) for each in sets] == [
        ("ISS (ZARYA)", 130),
        ("VANGUARD 1", 129),
        ("ALONE", 130),
    ]
    (message,) = [str(warning.message) for warning in caught]
    assert message == (
        "several element sets of 2 satellites (the first: ISS (ZARYA)):"
        " used the one with the epoch nearest to 2024-05-09T00:00:00Z"
    )


def test_a_set_that_comes_twice_is_one():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sets = parse_tle(lines_of(130) * 2 + lines_of(131, "00000") + lines_of(132, "00000"))
        assert len(one_set_each(sets)) == 3
        assert day_of(find_satellite(sets, "25544")) == 130


def test_a_satellite_may_have_been_renamed():
    renamed = parse_tle(lines_of(128, name="OBJECT A") + lines_of(135))
    with pytest.warns(ElementFileWarning, match="2 element sets of OBJECT A"):
        assert day_of(find_satellite(renamed, "25544", at_utc=may(1))) == 128


def test_one_number_for_several_satellites_is_no_history():
    sets = parse_tle(lines_of(130, "99999", "SAT 1") + lines_of(130, "99999", "SAT 2"))
    with pytest.raises(UnknownSatelliteError, match="use a name: SAT 1, SAT 2"):
        find_satellite(sets, "99999")
    assert len(one_set_each(sets)) == 2


def test_of_one_epoch_the_last_is_used():
    corrected = lines_of(130).replace("51.6381", "51.6372")  # the sum of the digits is the same
    with pytest.warns(ElementFileWarning, match="2 element sets"):
        assert "51.6372" in find_satellite(parse_tle(lines_of(130) + corrected), "25544").line2


def test_commands_use_the_elements_nearest_to_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "history.tle"
    path.write_text(HISTORY)
    options = ["--tle", str(path), "--station", "45,10,100"]
    once = tmp_path / "once.tle"
    once.write_text(lines_of(128))
    start = ["--start", "2024-05-07T00:00:00Z"]
    outputs = []
    for file in (path, once):
        for satellite in ([], ["--satellite", "25544"]):
            assert main(["trace", "passes", "--tle", str(file), *options[2:], *start, *satellite]) == 0
            outputs.append(capsys.readouterr())
    assert len({output.out for output in outputs}) == 1
    assert "nearest to 2024-05-07T00:00:00Z" in outputs[0].err
    assert "used the one of 2024-05-07T08:48:19" in outputs[1].err
    assert [output.err for output in outputs[2:]] == ["", ""]
    assert main(["trace", "passes", *options]) == 0
    newest = capsys.readouterr()
    assert "2024-05-14" in newest.out
    assert "the newest" in newest.err
