"""A scenario holds, or says in one line what does not."""

import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from nodes.data.pairs import read_pairs
from testbed.errors import ScenarioError
from testbed.run.traces import link_trace
from testbed.scenario.file import build_scenario, load_scenario
from testbed.scenario.model import (
    Frame,
    GroundStation,
    Link,
    Orbit,
    Satellite,
    Scenario,
    one_line,
    read_frames,
    to_json,
)
from tests.support import ROOT
from traces.trace import Trace, TraceHeader
from traces.trace_file import write_trace
from traces.utc import parse_utc


def make(tmp_path: Path, **changes: object) -> Scenario:
    image, trace = tmp_path / "f1.jpg", tmp_path / "pass.csv"
    Image.new("RGB", (8, 8)).save(image)
    trace.write_text("trace")
    frame = Frame(frame="f1", image=image, prompt="is there water?", truth="yes", capture_s=1)
    parts = {
        "name": "tiny",
        "satellites": (Satellite(name="S", model="compact", frames=(frame,)),),
        "stations": (GroundStation(name="G", model="regular"),),
        "links": (Link(satellite="S", station="G", follows=trace),),
    }
    return Scenario.model_validate({**parts, **changes})


def test_a_scenario_round_trips_through_json(tmp_path: Path) -> None:
    scenario = make(tmp_path)
    path = tmp_path / "scenario.json"
    path.write_text(to_json(scenario))
    assert load_scenario(path) == scenario


def test_a_misspelled_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as caught:
        make(tmp_path, shapper="netem")
    assert "unknown field 'shapper'" in one_line(caught.value)
    assert "\n" not in one_line(caught.value)


@pytest.mark.parametrize("name", ["CSS (TIANHE)", "FLOCK 3P'-3", "Tromsø", "天宫"])
def test_names_of_element_files_are_accepted(tmp_path: Path, name: str) -> None:
    frame = make(tmp_path).satellites[0].frames[0]
    link = Link(satellite=name, station="Tromsø (N)", follows=tmp_path / "pass.csv")
    scenario = make(
        tmp_path,
        satellites=(Satellite(name=name, model="compact", frames=(frame,)),),
        stations=(GroundStation(name="Tromsø (N)", model="regular"),),
        links=(link,),
    )
    assert scenario.satellite(name).name == name


def test_a_name_that_cannot_be_shown_is_refused_with_its_field(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as caught:
        make(tmp_path, stations=({"name": "G\n", "model": "regular"},))
    assert one_line(caught.value).startswith(
        "Scenario: stations.0.name: a name has 1 to 64 printable characters, the first and last not blank"
    )


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="station 'H'"):
        make(tmp_path, links=(Link(satellite="S", station="H", follows=tmp_path / "pass.csv"),))


def test_a_satellite_without_a_link_is_refused(tmp_path: Path) -> None:
    satellites = (*make(tmp_path).satellites, make(tmp_path).satellites[0].model_copy(update={"name": "T"}))
    with pytest.raises(ValidationError):
        make(tmp_path, satellites=satellites)


def test_several_stations_are_welcome_and_names_too_alike_are_not(tmp_path: Path) -> None:
    stations = (GroundStation(name="G", model="regular"), GroundStation(name="H", model="regular"))
    links = tuple(Link(satellite="S", station=g.name, follows=tmp_path / "pass.csv") for g in stations)
    assert len(make(tmp_path, stations=stations, links=links).links) == 2
    with pytest.raises(ValidationError, match="differ only in case or punctuation: g"):
        make(tmp_path, stations=(*stations, GroundStation(name="g!", model="regular")), links=links)


def test_a_frame_named_twice_is_refused(tmp_path: Path) -> None:
    satellite = make(tmp_path).satellites[0]
    with pytest.raises(ValidationError, match="duplicate frame name: f1"):
        make(tmp_path, satellites=(satellite.model_copy(update={"frames": satellite.frames * 2}),))


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    scenario = make(tmp_path)
    (tmp_path / "f1.jpg").unlink()
    with pytest.raises(ScenarioError, match=r"frame f1: no image file at .*f1\.jpg"):
        scenario.check_files()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def scenario(): return 3", "returned int"),
        ("x = 1", "no function scenario"),
        ("def scenario(:", "SyntaxError"),
        (
            "from testbed.scenario.model import Scenario\ndef scenario(): return Scenario(nam='x')",
            "unknown field 'nam'",
        ),
        (
            "from testbed.scenario.model import GroundStation\nG = GroundStation(nmae='G', model='regular')",
            "unknown field 'nmae'",
        ),
        ("X = float('x')", "ValueError"),
        ("open('/nowhere')", "FileNotFoundError"),
    ],
)
def test_a_scenario_file_that_does_not_hold_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.py"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=message) as caught:
        load_scenario(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def foreign(tmp_path: Path, **changes: object) -> Path:
    """A scenario as JSON from somebody else, with an image."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "pass.csv").write_text("")
    satellite = {"name": "S", "model": "m", "frames": [{"frame": "f", "image": str(tmp_path / "a.png"),
        "prompt": "?", "truth": "1", "capture_s": 0}]}  # fmt: skip
    link = {"satellite": "S", "station": "G", "follows": str(tmp_path / "pass.csv")}
    station = {"name": "G", "model": "m"}
    whole = {"name": "foreign", "satellites": [satellite | changes], "stations": [station], "links": [link]}
    path = tmp_path / "scenario.json"
    path.write_text(json.dumps(whole))
    return path


def test_a_json_scenario_runs_no_code_unless_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit('it was run')")
    path = foreign(tmp_path, policy=str(tmp_path / "mine.py"))
    with pytest.raises(ScenarioError, match=r"mine\.py is a program, .* allow it with --allow-code"):
        load_scenario(path)
    assert load_scenario(path, allow_code=True).satellites[0].policy == str(tmp_path / "mine.py")


def test_a_json_scenario_copies_no_file_that_is_not_an_image(tmp_path: Path) -> None:
    secret = tmp_path / "passwords"
    secret.write_text("root:x:0:0\n")
    frame = {"frame": "f", "image": str(secret), "prompt": "?", "truth": "1", "capture_s": 0}
    with pytest.raises(ScenarioError, match=r"frame f: .*passwords is not an image"):
        load_scenario(foreign(tmp_path, frames=[frame]))
    assert load_scenario(foreign(tmp_path)).name == "foreign"
    secret.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(ScenarioError, match=r"passwords is not an image \(JPEG, PNG"):
        load_scenario(foreign(tmp_path, frames=[frame]))
    Image.new("1", (20_000, 20_000)).save(secret, "PNG")
    assert load_scenario(foreign(tmp_path, frames=[frame])), "an image, which its frame is refused for"


def test_loading_a_scenario_file_does_not_run_its_main_part(tmp_path: Path) -> None:
    path = tmp_path / "s.py"
    path.write_text("if __name__ == '__main__':\n    raise SystemExit('ran')\ndef scenario(): return 1")
    with pytest.raises(ScenarioError, match="returned int"):
        load_scenario(path)


def test_frames_are_read_with_their_capture_times(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text(
        '{"frame": "a", "image": "a.jpg", "prompt": "?", "truth": "yes", "also_right": ["sure"]}\n'
        '{"frame": "b", "image": "b.jpg", "prompt": "?", "truth": "no"}\n'
    )
    frames = read_frames(tmp_path, [1, 2])
    assert [frame.also_right for frame in frames] == [("sure",), ()]
    assert [(f.frame, f.capture_s, f.image) for f in frames] == [
        ("a", 1, tmp_path / "a.jpg"),
        ("b", 2, tmp_path / "b.jpg"),
    ]
    with pytest.raises(ScenarioError, match="has 2 frames"):
        read_frames(tmp_path, [1, 2, 3])


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x1e", "\x0c"])
def test_a_text_may_hold_what_other_files_end_lines_with(tmp_path: Path, sign: str) -> None:
    row = {"frame": "a", "image": "a.jpg", "prompt": f"a{sign}b", "truth": "yes"}
    text = json.dumps(row, ensure_ascii=sign < " ") + "\n"
    (tmp_path / "prompts.jsonl").write_text(text, encoding="utf-8")
    (frame,) = read_frames(tmp_path, [1])
    assert frame.prompt == f"a{sign}b"
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    (pair,) = read_pairs(tmp_path)
    assert pair.prompt == f"a{sign}b"


def test_a_time_needs_a_zone() -> None:
    assert Orbit(elements=Path("x.tle"), start=parse_utc("2018-01-20T00:00:00Z"), length_s=1)
    with pytest.raises(ValidationError, match="timezone"):
        Orbit(elements=Path("x.tle"), start=datetime(2018, 1, 20), length_s=1)
    with pytest.raises(ScenarioError, match="time zone"):
        build_scenario(lambda: parse_utc("2018-01-20T00:00:00"), "mine.py")


def flown(tmp_path: Path, **changes: object) -> Scenario:
    satellite = make(tmp_path).satellites[0]
    return make(tmp_path, satellites=(Satellite.model_validate({**satellite.model_dump(), **changes}),))


def test_a_policy_with_its_parameters_and_network_round_trips(tmp_path: Path) -> None:
    (tmp_path / "policies.json").write_text("{}")
    for parameters in ({"shares": [0.1, 0.2], "accept_at_end": 0.5}, tmp_path / "policies.json"):
        scenario = flown(tmp_path, policy="spaceverse", policy_parameters=parameters, confidence=tmp_path)
        path = tmp_path / "scenario.json"
        path.write_text(to_json(scenario))
        assert load_scenario(path) == scenario
        assert scenario.satellites[0].policy_parameters == parameters


def test_a_policy_file_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert flown(tmp_path, policy="mine.py").satellites[0].policy == str(tmp_path / "mine.py")


def test_files_of_a_policy_that_are_not_there_are_named(tmp_path: Path) -> None:
    for changes, text in (
        ({"policy_parameters": tmp_path / "none.json"}, r"satellite S: no policy parameters at .*none"),
        ({"confidence": tmp_path / "none"}, r"satellite S: no confidence network at .*none"),
    ):
        with pytest.raises(ScenarioError, match=text):
            flown(tmp_path, **changes).check_files()
    with pytest.raises(ValidationError, match="not both"):
        flown(tmp_path, accept_confidence=0.5, policy_parameters={"accept_confidence": 0.6})


def test_a_trace_that_no_link_can_follow_is_refused_with_its_link(tmp_path: Path) -> None:
    scenario, one = make(tmp_path), np.ones(1)
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test")
    trace = Trace(
        header, one * 0, one > 0, one > 0, one * 5, one * 1e6, *[one * 0.01] * 2, *[one * 0] * 2, 30.0
    )
    write_trace(trace, tmp_path / "pass.csv")
    with pytest.raises(ScenarioError, match="link S - G cannot follow its trace: at 0 s its down_bit_s is 5"):
        link_trace(scenario, scenario.links[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nx = [1][3]", "line 2: IndexError: list index out of range"),
        ("def f():\n    raise KeyError('q')\ndef scenario():\n    f()", "line 2: KeyError: 'q'"),
        ("def scenario():\n    return 1 / 0", "line 2: ZeroDivisionError"),
        ("def scenario():\n\n    assert 1 == 2, 'two\\nlines'", "line 3: AssertionError: two lines"),
        ("import sys\ndef scenario():\n    sys.exit('enough')", "line 3: SystemExit: enough"),
        ("import json\njson.loads('{')", "line 2: JSONDecodeError"),
        ("import json\ndef scenario(:", "line 2: SyntaxError: invalid syntax$"),
        (
            "from testbed import *\nS = Satellite('FLOCK 2P-1', board='b')",
            r"line 2: an argument without its name",
        ),
        ("from testbed import *\n\nS = Satellite(nam='S')", "line 3: Satellite: model: Field required"),
        ("raise RecursionError", "line 1: RecursionError$"),
    ],
)
def test_an_error_of_a_scenario_file_has_the_line_in_it(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.py"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=message) as caught:
        load_scenario(path)
    assert str(caught.value).startswith(f"{path}, line ")
    assert "\n" not in str(caught.value)


def test_a_capture_names_a_link_of_the_scenario() -> None:
    scenario = load_scenario(ROOT / "topologies/relay.py")
    names = ["FLOCK 2P-1 - Svalbard", "Svalbard - Mission control"]
    assert scenario.capturing(names).capturing(names[:1]).capture == tuple(names)
    with pytest.raises(ScenarioError, match="capture names a link that the scenario does not have: X - Y"):
        scenario.capturing(["X - Y"])
