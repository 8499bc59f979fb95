"""The report shows foreign text and images as they are, and survives all of them."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from testbed.measure.fidelity import LinkFidelity, Sample
from testbed.results import drawings, report
from testbed.results.dishes import DishUse
from testbed.results.faults import FaultRecord
from testbed.results.latency import FrameResult
from testbed.results.report import render
from testbed.results.results import Results
from testbed.results.verdict import Ending
from testbed.scenario.dishes.desk import Turn
from testbed.scenario.model import Scenario
from tests.support.one_way import one_way_trace

SCRIPT = "<script>alert('\"')</script>"


def huge_png(path: Path, side_px: int) -> Path:
    """Write the head of a PNG that says it is `side_px` wide and high."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def page(image: Path, text: str, name: str = "S", kept: Path = Path("/nowhere")) -> str:
    """Return the report of one frame, one turn and one fault, with `text` wherever foreign text may stand."""
    scenario = Scenario.model_validate(
        {
            "name": "s",
            "description": text,
            "satellites": [
                {
                    "name": name,
                    "model": text,
                    "frames": [{"frame": "f", "image": image, "prompt": text, "truth": text, "capture_s": 0}],
                }
            ],
            "stations": [{"name": "G", "model": text}],
            "links": [{"satellite": name, "station": "G", "follows": "t.csv"}],
        }
    )
    frame = FrameResult("f", name, text, text, text, 0.0, text, "ground", None, text, 0, None, None, text)
    results = Results(
        "s",
        "nfqueue",
        (frame,),
        (),
        1e-3,
        malformed={text: 1},
        troubles=(text,),
        ending=Ending(text, 1),
        dishes=(Turn(text, 1, text, 0.0, 1.0, text, (text,)),),
        dish_uses=(DishUse(text, text, 9, 8, 7, 6, 5),),
        faults=(FaultRecord(text, text, 1.0, None, text, (text,)),),
    )
    return render(results, scenario, {}, [], kept)


def test_foreign_text_is_text_everywhere(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "f.png")
    whole = page(tmp_path / "f.png", SCRIPT, name=SCRIPT)
    assert "<script" not in whole.lower()
    assert whole.count("&lt;script&gt;alert(&#39;&#34;&#39;)&lt;/script&gt;") >= 18
    questions = ("How right?", "How late?", "Why late?", "What was sent?", "Can I trust the link?")
    assert max(whole.index(question) for question in questions) < whole.index("<nav") < whole.index("<svg")
    assert whole.count("<h2>Dishes</h2>") == whole.count("<h2>Faults of the scenario</h2>") == 1


@pytest.mark.parametrize("side_px", [9_990, 14_000])
def test_a_picture_of_any_size_costs_its_thumbnail_only(tmp_path: Path, side_px: int) -> None:
    Image.new("RGB", (300, 200), (0, 128, 0)).save(tmp_path / "f.jpg")
    with warnings.catch_warnings(record=True) as told:
        whole = page(huge_png(tmp_path / "huge.png", side_px), "?", kept=tmp_path)
    assert whole.count("<img ") == 1, "what was kept is shown"
    assert told == []


def test_a_picture_that_takes_much_memory_or_hours_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("1", (120, 100)).save(tmp_path / "f.png")
    assert report._thumbnail(tmp_path / "f.png")
    Image.new("L", (64, 64)).save(tmp_path / "f.jpg", progressive=True)
    data = (tmp_path / "f.jpg").read_bytes()
    assert report._thumbnail(tmp_path / "f.jpg")
    (tmp_path / "f.jpg").write_bytes(data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 200 + data[-2:])
    assert not report._thumbnail(tmp_path / "f.jpg"), "large ones of many scans take hours"
    monkeypatch.setattr(report, "LARGEST_PIXELS", 11_999)
    assert not report._thumbnail(tmp_path / "f.png")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "I;16"])
def test_a_picture_of_any_kind_has_a_thumbnail(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (400, 300)).save(tmp_path / "f.tif")
    assert report._thumbnail(tmp_path / "f.tif").startswith("data:image/jpeg;base64,")


def test_a_ground_track_takes_names_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "WORLD_MAP", tmp_path / "none")  # it takes longer than the names
    here, run = np.zeros(3), np.ones(3, dtype=bool)
    names = ("$x^$", "<script>", "a$b")
    svg = drawings.ground_track([drawings.Track(name, here, here, run, name, 0.0, 0.0) for name in names])
    assert svg.startswith("<svg") and "<script" not in svg


def of_many(folder: Path, count: int) -> str:
    """Return the report of so many frames: the first failed, the last took longest."""
    Image.new("RGB", (8, 8)).save(folder / "f.png")
    names = [f"f{number}" for number in range(count)]
    taken = [
        {"frame": name, "image": folder / "f.png", "prompt": "?", "truth": "", "capture_s": 0}
        for name in names
    ]
    scenario = Scenario.model_validate(
        {
            "name": "s",
            "satellites": [{"name": "S", "model": "m", "frames": taken}],
            "stations": [{"name": "G", "model": "m"}],
            "links": [{"satellite": "S", "station": "G", "follows": "t.csv"}],
        }
    )
    frames = tuple(
        FrameResult(
            name, "S", "?", "", "two", 0.0, "two", "ground", 0.5, None, 0, 1.0 + number, None,
            failure=None if number else "failed",
        )
        for number, name in enumerate(names)
    )  # fmt: skip
    return render(Results("s", "nfqueue", frames, (), 1e-3), scenario, {}, [], Path("/nowhere"))


def test_of_many_frames_the_worst_are_pictured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.results.report.PICTURED_MAX", 2)
    few, many = of_many(tmp_path, 2), of_many(tmp_path, 4)
    assert few.count("<img") == many.count("<img") == 2
    assert 'alt="f0"' in many and 'alt="f3"' in many
    assert "<td>f1</td>" in many and "<td>f2</td>" in many
    assert "2 of 4 frames" in " ".join(many.split()) and "pictured below" not in few


def test_of_many_links_only_those_that_were_measured_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.results.report.LINKS_DRAWN_MAX", 2)
    monkeypatch.setattr(drawings, "link_record", lambda link, trace: f"<svg>{link.link}</svg>")
    Image.new("RGB", (8, 8)).save(tmp_path / "f.png")
    scenario = Scenario.model_validate(
        {
            "name": "s",
            "satellites": [
                {
                    "name": "S",
                    "model": "m",
                    "frames": [
                        {
                            "frame": "f",
                            "image": tmp_path / "f.png",
                            "prompt": "?",
                            "truth": "",
                            "capture_s": 0,
                        }
                    ],
                }
            ],
            "stations": [{"name": "G", "model": "m"}],
            "links": [{"satellite": "S", "station": "G", "follows": "t.csv"}],
        }
    )

    def drawn(count: int) -> list[str]:
        links = [
            LinkFidelity(f"L{n}", "r", "t.csv", 0.0, 0.0, (Sample(1.0, 1.0, 1.0),) * (n == 0), 0, (), ())
            for n in range(count)
        ]
        traces = {link.link: one_way_trace() for link in links}
        frame = FrameResult("f", "S", "?", "", "a", 0.0, "a", "ground", None, None, 0, None, None)
        results = Results("s", "nfqueue", (frame,), tuple(links), 1e-3)
        text = render(results, scenario, traces, [], Path("/nowhere"))
        return [link.link for link in links if f"<svg>{link.link}</svg>" in text]

    assert drawn(2) == ["L0", "L1"]
    assert drawn(3) == ["L0"]


def test_a_plot_of_many_samples_keeps_the_largest_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "SAMPLES_MAX", 3)
    samples = [Sample(float(n), 1.0, 1.0 + (n in (4, 7)) * n) for n in range(8)]
    assert drawings._thinned(samples) == [samples[0], samples[4], samples[7]]
    assert drawings._thinned(samples[:3]) == samples[:3]
    assert drawings._thinned([]) == []
