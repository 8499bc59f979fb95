"""`spaceverse trace ...` as a user types it: what it writes, and one line with exit code 2 for mistakes."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from testbed.cli.main import main
from testbed.cli.trace.table import print_table
from tests.support.one_way import one_way_trace
from traces.orbits.tle import FLOCK_TLE
from traces.plot import figure_of
from traces.trace_file import read_trace, write_trace

MAKE = ["trace", "make", "--satellite", "FLOCK 2P-1", "--station", "Svalbard", "--mask", "10"]
DAY = ["--start", "2018-01-20T00:00:00Z", "--duration", "8h"]


def spaceverse(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_make_writes_a_trace_and_says_what_it_holds(tmp_path: Path, capsys):
    path = tmp_path / "day.csv"
    code, out, err = spaceverse(capsys, *MAKE, *DAY, "--rate-cap", "4M", "-o", path)
    assert (code, err) == (0, "")
    trace = read_trace(path)
    assert set(trace.down_bit_s[trace.up]) == {4e6}
    assert len(trace.contacts()) == 1
    assert out.startswith(f"wrote {path}: FLOCK 2P-1 over Svalbard, 1 contacts, 172 of 28800 s up")


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path, capsys):
    path = tmp_path / "day.csv"
    path.write_text("mine")
    code, _, err = spaceverse(capsys, *MAKE, *DAY, "-o", path)
    assert code == 2
    assert err == f"spaceverse: error: {path} exists; add --force to replace it, or name another file\n"
    assert path.read_text() == "mine"
    assert spaceverse(capsys, *MAKE, *DAY, "-o", path, "--force")[0] == 0
    assert read_trace(path).contacts()
    assert list(tmp_path.iterdir()) == [path]


def test_one_pass_is_cut_with_its_lead_and_tail(tmp_path: Path, capsys):
    path = tmp_path / "pass.csv"
    code, out, _ = spaceverse(
        capsys, *MAKE, *DAY, "--pass", 1, "--lead", 20, "--tail", 12.5, "-o", path, "--json"
    )
    assert code == 0
    report = json.loads(out)
    (contact,) = report["contacts"]
    assert contact["aos_s"] == pytest.approx(20, abs=2e-3)
    assert report["length_s"] == pytest.approx(contact["los_s"] + 12.5, abs=2e-3)
    assert report["start_utc"].startswith("2018-01-20T06:47:35.6")
    assert read_trace(path).end_s == report["length_s"]


def test_info_tells_what_the_file_holds(tmp_path: Path, capsys):
    path = tmp_path / "day.csv"
    spaceverse(capsys, *MAKE, *DAY, "--rate-cap", "4M", "-o", path)
    code, out, _ = spaceverse(capsys, "trace", "info", path, "--json")
    (contact,) = json.loads(out)["contacts"]
    assert code == 0
    assert contact["down_mean_bit_s"] == pytest.approx(4e6)
    assert contact["down_bytes"] == pytest.approx(4e6 / 8 * contact["duration_s"])
    code, out, _ = spaceverse(capsys, "trace", "info", path)
    assert code == 0
    assert "FLOCK 2P-1 over Svalbard" in out
    assert "5.29 to 5.67" in out


def test_passes_of_a_whole_file_over_many_stations(tmp_path: Path, capsys):
    few = tmp_path / "few.tle"
    few.write_text("".join(FLOCK_TLE.read_text().splitlines(keepends=True)[:9]))
    arguments = ["trace", "passes", "--tle", few, "--station", "all", "--duration", "6h"]
    code, out, err = spaceverse(capsys, *arguments, "--csv")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(out.splitlines()))
    assert {row["satellite"] for row in rows} == {"FLOCK 2P-1", "FLOCK 2E'-6", "FLOCK 2K-33"}
    assert len({row["station"] for row in rows}) > 8
    _, out, _ = spaceverse(capsys, *arguments, "--json")
    assert [{key: str(value) for key, value in row.items()} for row in json.loads(out)] == rows
    _, out, _ = spaceverse(capsys, *arguments)
    assert len(out.splitlines()) == len(rows) + 1


def test_what_has_come_down_is_left_out_of_a_whole_file_and_refused_by_name(tmp_path: Path, capsys):
    few = tmp_path / "few.tle"
    few.write_text("".join(FLOCK_TLE.read_text().splitlines(keepends=True)[:9]))
    arguments = ["trace", "passes", "--tle", few, "--station", "Troll", "--start", "2020-01-20T00:00:00Z"]
    code, out, err = spaceverse(capsys, *arguments, "--json")
    assert code == 0
    assert "left out FLOCK 2E'-6: SGP4 cannot propagate them to 2020-01-20" in err
    assert {row["satellite"] for row in json.loads(out)} == {"FLOCK 2P-1", "FLOCK 2K-33"}
    code, _, err = spaceverse(capsys, *arguments, "--satellite", "FLOCK 2E'-6")
    assert (code, err.count("FLOCK 2E'-6 cannot be propagated")) == (2, 1)


def test_a_walker_constellation_from_the_command_line(tmp_path: Path, capsys):
    walker = ["--walker", "53:24/3/1@550", "--station", "48.1,11.6,500", "--start", "2026-01-01T00:00:00Z"]
    code, out, err = spaceverse(capsys, "trace", "passes", *walker, "--mask", 25, "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert all(row["satellite"].startswith("Walker 53:24/3/1 P") for row in rows)
    path = tmp_path / "w.csv"
    made = ["trace", "make", *walker, "--satellite", rows[0]["satellite"], "--mask", 25, "-o", path]
    code, _, _ = spaceverse(capsys, *made, "--radio", "starlink-like", "--pass", 1)
    assert code == 0
    assert set(read_trace(path).down_bit_s) == {200e6}
    code, _, err = spaceverse(capsys, "trace", "passes", *walker[:4])
    assert (code, "add --start" in err) == (2, True)


def test_cut_keeps_what_was_asked(tmp_path: Path, capsys):
    day, part = tmp_path / "day.csv", tmp_path / "part.csv"
    spaceverse(capsys, *MAKE, "--start", "2018-01-20T00:00:00Z", "--duration", "14h", "-o", day)
    whole = read_trace(day)
    first, second = whole.contacts()[:2]
    code, out, _ = spaceverse(
        capsys, "trace", "cut", day, "--contact", 2, "--lead", 20, "--tail", 5, "-o", part, "--json"
    )
    assert code == 0
    assert json.loads(out)["contacts"] == 1
    assert read_trace(part) == whole.cut(second.aos_s - 20, second.los_s + 5)
    cut = ["trace", "cut", day, "-o", part]
    assert spaceverse(capsys, *cut, "--end", 10)[0] == 2  # it exists
    code, out, _ = spaceverse(capsys, *cut, "--end", first.los_s, "--force")
    assert (code, read_trace(part)) == (0, whole.cut(0, first.los_s))
    assert out.startswith(f"wrote {part}: from 2018-01-20T00:00:00Z, ")
    for mistake in ([], ["--begin", 1, "--contact", 1], ["--contact", 99], ["--contact", 1, "--lead", -1]):
        code, _, err = spaceverse(capsys, *cut, *mistake, "--force")
        assert (code, err.count("\n")) == (2, 1)
    assert spaceverse(capsys, *cut, "--begin", 99_999, "--force")[0] == 2


def test_passes_are_listed(capsys):
    arguments = [
        "trace",
        "passes",
        "--satellite",
        41617,
        "--station",
        "Svalbard",
        "--station",
        "Troll",
        "--duration",
        "12h",
        "--mask",
        25,
    ]
    code, out, err = spaceverse(capsys, *arguments, "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert [row["station"] for row in rows].count("Svalbard") == 2
    best = max(rows, key=lambda row: row["max_elevation_deg"])
    assert best["aos_utc"].startswith("2018-01-20T11:30:30.0")
    code, out, _ = spaceverse(capsys, *arguments)
    assert "2018-01-20 11:30:30  11:32:32  11:34:34     244.4    83.5" in out


def test_plot_draws_png_and_svg(tmp_path: Path, capsys):
    trace, png, svg = tmp_path / "pass.csv", tmp_path / "pass.png", tmp_path / "pass.svg"
    spaceverse(capsys, *MAKE, *DAY, "--pass", 1, "--lead", 10, "-o", trace)
    assert spaceverse(capsys, "trace", "plot", trace)[:2] == (0, f"wrote {png}\n")
    with Image.open(png) as image:
        assert image.size == (1350, 900)
        assert len(image.convert("RGB").getcolors(1 << 20)) > 50
    assert spaceverse(capsys, "trace", "plot", trace, "-o", svg)[0] == 0
    assert ET.fromstring(svg.read_bytes()).tag.endswith("svg")  # noqa: S314  our own file
    assert spaceverse(capsys, "trace", "plot", trace)[0] == 2


def test_the_drawn_curves_are_the_trace(tmp_path: Path, capsys):
    path = tmp_path / "pass.csv"
    spaceverse(capsys, *MAKE, *DAY, "--pass", 1, "--lead", 10, "-o", path)
    trace = read_trace(path)
    elevation, rate, delay = figure_of(trace).axes
    assert [axis.get_ylabel().split("\n")[0] for axis in (elevation, rate, delay)] == [
        "elevation",
        "rate",
        "one-way delay",
    ]
    drawn = delay.lines[0].get_ydata()
    assert np.nanmax(drawn) == trace.down_delay_s.max() * 1e3
    (shade,) = [patch for patch in rate.patches if patch.get_width() > 100]
    assert shade.get_x() == pytest.approx(trace.contacts()[0].aos_s)
    without = trace.cut(0, 5)
    assert len(figure_of(without).axes) == 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--satellite", "FLOK 2P-1"],
            "no satellite 'FLOK 2P-1' among 188 element sets; did you mean FLOCK 2P-1",
        ),
        (["--station", "Svalbord"], "no ground station 'Svalbord'; did you mean Svalbard?"),
        (["--station", "95,0,0"], "latitude 95 is out of range"),
        (["--start", "2018-01-20T00:00:00"], "--start: '2018-01-20T00:00:00' has no time zone"),
        (["--duration", "-1"], "--duration: '-1' is not a duration"),
        (["--duration", "nan"], "--duration: 'nan' is not a duration"),
        (["--duration", "0"], "the window is 0.0 s long"),
        (["--start", "9999-12-31T23:59:59Z"], "leaves the calendar"),
        (["--mask", "95"], "elevation mask 95 is out of range"),
        (["--step", "0"], "step is 0.0 s"),
        (["--rate-cap", "4X"], "--rate-cap: '4X' is not a rate"),
        (["--up-rate-cap", "0"], "--up-rate-cap: '0' is not a rate"),
        (["--radio", "dave"], "no radio preset 'dave'"),
        (["--pass", "99"], "no pass 99 of FLOCK 2P-1 over Svalbard: the window has 1;"),
        (["--pass", "0"], "no pass 0"),
        (["--pass", "1", "--lead", "nan"], "--lead: 'nan' is not a duration"),
        (["--pass", "1", "--tail", "86401"], "--tail 86401: expected at most 86400 s"),
        (["--lead", "3"], "--lead and --tail require --pass"),
        (["--tle", "none.tle"], "cannot read element sets none.tle: No such file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, capsys, options, expected):
    path = tmp_path / "x.csv"
    code, out, err = spaceverse(capsys, *MAKE, "--duration", "8h", "-o", path, *options)
    assert (code, out) == (2, "")
    assert err.startswith("spaceverse: error: ")
    assert expected in err
    assert err.count("\n") == 1
    assert not path.exists()


def test_a_broken_checksum_names_file_and_line(tmp_path: Path, capsys):
    path = tmp_path / "bad.tle"
    path.write_text(
        "FLOCK 2P-1\n"
        "1 41617U 16040U   18020.92263222  .00002489  00000-0  10617-3 0  9990\n"
        "2 41617  97.4368  87.1954 0011425  46.9108 313.3084 15.23813118 87813\n"
    )
    code, _, err = spaceverse(capsys, *MAKE, "--tle", path, "-o", tmp_path / "x.csv")
    assert code == 2
    assert err == f"spaceverse: error: {path}, line 3: expected checksum 2; found 3, so a digit is wrong\n"


def test_files_that_cannot_be_written_or_read(tmp_path: Path, capsys):
    code, _, err = spaceverse(capsys, *MAKE, *DAY, "-o", tmp_path / "none" / "x.csv")
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot write" in err
    (tmp_path / "bad.csv").write_text("nonsense")
    code, _, err = spaceverse(capsys, "trace", "info", tmp_path / "bad.csv")
    assert (code, err.count("\n")) == (2, 1)
    assert "line 1: expected '# spaceverse-trace 2'" in err
    code, _, err = spaceverse(capsys, "trace", "plot", tmp_path / "bad.csv", "-o", tmp_path / "x.gif")
    assert code == 2


def test_old_elements_are_one_warning_that_names_the_age(tmp_path: Path, capsys):
    options = ["--start", "2018-03-01T00:00:00Z", "--pass", 1, "-o", tmp_path / "x.csv"]
    code, _, err = spaceverse(capsys, *MAKE, *options)
    assert code == 0
    assert err.count("\n") == 1
    assert err.startswith("spaceverse: warning: elements of FLOCK 2P-1 are 39.")


def test_a_window_without_contact_warns(tmp_path: Path, capsys):
    code, out, err = spaceverse(capsys, *MAKE, "--duration", 60, "-o", tmp_path / "x.csv")
    assert code == 0
    assert "0 contacts" in out
    assert "no contact over Svalbard: it stays below the elevation mask of 10° (highest elevation: " in err
    assert err.endswith("lower --mask or set a longer --duration\n")


@pytest.mark.parametrize("part", ["make", "info", "plot", "passes"])
def test_help_shows_examples(part, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["trace", part, "--help"])
    assert caught.value.code == 0
    assert f"examples:\n  spaceverse trace {part}" in capsys.readouterr().out


@pytest.mark.parametrize("count", [3, 600])
def test_short_and_long_tables_look_alike(count: int, capsys):
    rows = [[f"S{number}", "Troll", f"{number / 7:.3f}"] for number in range(count)]
    print_table(["satellite", "station", "length s"], rows)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == count + 1
    assert [line.split() for line in lines[1:]] == rows
    assert {line.index("Troll") for line in lines[1:]} == {lines[0].index("station")}
    assert len({len(line.rstrip()) for line in lines}) == 1


CROSSLINK = ["--satellite", "FLOCK 2P-1", "--crosslink", "FLOCK 2K-13", "--start", "2018-01-20T00:00:00Z"]


def test_a_crosslink_is_a_trace_between_two_satellites(tmp_path: Path, capsys):
    path = tmp_path / "isl.csv"
    options = ["--duration", "3h", "--eirp", 60, "--rate-cap", "10M", "--up-rate-cap", "1M", "-o", path]
    code, out, err = spaceverse(capsys, "trace", "make", *CROSSLINK, *options)
    assert (code, err) == (0, "")
    trace = read_trace(path)
    assert (trace.header.satellite, trace.header.station) == ("FLOCK 2P-1", "FLOCK 2K-13")
    assert trace.contacts()
    assert (set(trace.down_bit_s[trace.up]), set(trace.up_bit_s[trace.up])) == ({10e6}, {1e6})
    assert trace.extra["line_altitude_m"][trace.up].min() >= 100e3 - 10
    code, out, _ = spaceverse(capsys, "trace", "passes", *CROSSLINK, "--duration", "3h", "--json")
    assert code == 0
    windows = json.loads(out)
    assert [one["duration_s"] for one in windows] == pytest.approx(
        [contact.duration_s for contact in trace.contacts()], abs=2e-3
    )
    assert windows[0]["begin_range_km"] * 1e3 / 299_792_458 == pytest.approx(
        trace.row_at(trace.contacts()[0].aos_s).down_delay_s, abs=1e-6
    )


def test_an_optical_crosslink_has_a_fixed_rate_within_range_and_slew(tmp_path: Path, capsys):
    path, lengths_s = tmp_path / "isl.csv", []
    for limits in ([], ["--max-range", 3000], ["--max-range", 3000, "--max-slew", 0.3]):
        options = ["--duration", "12h", "--rate", "100M", *limits, "-o", path, "--force"]
        assert spaceverse(capsys, "trace", "make", *CROSSLINK, *options)[0] == 0
        trace = read_trace(path)
        assert set(trace.down_bit_s[trace.up]) == set(trace.up_bit_s[trace.up]) == {100e6}
        lengths_s.append(sum(contact.duration_s for contact in trace.contacts()))
    assert lengths_s[0] > lengths_s[1] > lengths_s[2] > 0
    assert any("at most 3000 km long, turning at most 0.3" in note for note in trace.header.notes)


def test_a_higher_line_of_sight_is_shorter_and_one_window_can_be_cut_out(tmp_path: Path, capsys):
    lengths_s = []
    for grazing_km in (0, 300):
        out = spaceverse(
            capsys, "trace", "passes", *CROSSLINK, "--duration", "12h", "--grazing", grazing_km, "--csv"
        )[1]
        rows = list(csv.DictReader(out.splitlines()))
        lengths_s.append(sum(float(row["duration_s"]) for row in rows))
    assert lengths_s[0] > lengths_s[1]
    path = tmp_path / "one.csv"
    options = ["--duration", "12h", "--eirp", 60, "--pass", 1, "--tail", 5, "-o", path]
    assert spaceverse(capsys, "trace", "make", *CROSSLINK, *options)[0] == 0
    assert len(read_trace(path).contacts()) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--crosslink", "FLOCK 2P-5", "--mask", 5], "--grazing KM"),
        (["--crosslink", "FLOCK 2P-5", "--weather", "0.1%"], "--weather requires --station"),
        (["--crosslink", "NOBODY 7"], "NOBODY 7"),
        (["--station", "Svalbard", "--grazing", 5], "--grazing requires --crosslink"),
        (["--station", "Svalbard", "--eirp", 5], "--eirp requires --crosslink"),
        (["--station", "Svalbard", "--rate", "1M"], "--rate requires --crosslink"),
        (["--station", "Svalbard", "--max-range", 5], "--max-range requires --crosslink"),
        (
            ["--crosslink", "FLOCK 2P-5", "--max-slew", 0],
            "the largest slew is 0.0; expected a number above 0",
        ),
    ],
)
def test_what_does_not_belong_to_a_crosslink_is_refused(tmp_path: Path, capsys, options, said):
    path = tmp_path / "never.csv"
    code, _, err = spaceverse(capsys, "trace", "make", "--satellite", "FLOCK 2P-1", *options, "-o", path)
    assert code == 2
    assert said in err
    assert not path.exists()


def test_commands_say_how_long_each_direction_is_up(tmp_path: Path, capsys):
    path, part = tmp_path / "apart.csv", tmp_path / "part.csv"
    write_trace(one_way_trace(), path)
    code, out, err = spaceverse(capsys, "trace", "info", path)
    assert (code, err) == (0, "")
    assert "downlink/uplink up s" in out
    assert "20.0/20.0" in out
    (contact,) = json.loads(spaceverse(capsys, "trace", "info", path, "--json")[1])["contacts"]
    assert (contact["duration_s"], contact["downlink_up_s"], contact["uplink_up_s"]) == (30, 20, 20)
    assert (contact["down_bytes"], contact["up_bytes"]) == (20 * 4e6 / 8, 20 * 1e6 / 8)
    assert (contact["down_delay_least_s"], contact["up_delay_least_s"]) == (0.01, 0.02)
    code, out, _ = spaceverse(capsys, "trace", "cut", path, "--begin", 5, "--end", 25, "-o", part)
    assert code == 0
    assert f"20 s, downlink up for 15 s and uplink for 10 s, {len(read_trace(part))} rows" in out
    code, out, _ = spaceverse(capsys, "trace", "convert", path, "--to", "ion", "-o", tmp_path / "plan")
    assert code == 0
    assert "ion holds of the uplink: 20 of 20 s, 2500000 of 2500000 bytes" in out
    # A direction that is never up has no delay.
    write_trace(one_way_trace().cut(10, 20), part)
    assert " - " in spaceverse(capsys, "trace", "info", part)[1]
