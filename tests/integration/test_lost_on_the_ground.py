"""Images that the station loses after they were complete and confirmed: they come again, and are answered.

Meanwhile the wall clock of all programs is set forward and back, which changes nothing.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from nodes.contract.events import Delivered, EventRecord
from nodes.transfer.files import read_manifest
from tests.support.faulty_server import faulty_server
from tests.support.injected_run import DOWN, HEADER, UP, picture, processes_of, run, scenario_of
from tests.support.wall_clock import own_wall_clock

pytestmark = pytest.mark.root
FRAMES = ("first", "cut", "emptied", "flipped", "removed", "folder", "whole")
LOS_S = 6.0


def spoil(inbox: Path) -> None:
    """Lose each image in the way that its frame says."""
    for path in inbox.glob("s/*/manifest"):
        manifest = read_manifest(path)
        assert manifest is not None
        data = path.with_name("data")
        match manifest.frame:
            case "cut":
                os.truncate(data, 1000)
            case "emptied":
                os.truncate(data, 0)
            case "flipped":
                content = data.read_bytes()
                data.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            case "removed":
                data.unlink()
            case "folder":
                for file in path.parent.iterdir():
                    file.unlink()
                path.parent.rmdir()


def test_images_lost_while_the_model_is_busy_come_again_and_each_is_answered_once(tmp_path: Path) -> None:
    lost, delivered, asked = threading.Event(), set[str](), Counter[str]()

    def behaves(prompt: str, image: bytes) -> str:
        if prompt.startswith("send"):  # the model is asked something else before the first image
            asked[prompt] += 1
            lost.wait(20)  # it is busy with the first image until the others are lost
        return ""

    def at_event(record: EventRecord) -> None:
        if isinstance(record.event, Delivered):
            delivered.add(record.event.frame)
            if delivered >= set(FRAMES) and not lost.is_set():
                (inbox,) = tmp_path.glob("runs/*/inbox")
                spoil(inbox)
                for config in ("g", "s"):
                    (pid,) = processes_of(inbox.parent / "nodes" / config / "config.json")
                    assert "clock.so" in Path(f"/proc/{pid}/maps").read_text(), "it has the machine's clock"
                clock.set(7200)
                lost.set()
            elif record.event.frame == "cut":
                clock.set(-3600)

    with ExitStack() as stack:
        clock = stack.enter_context(own_wall_clock(tmp_path))
        server = stack.enter_context(faulty_server(behaves))
        frames = [
            {
                "frame": name, "image": str(picture(tmp_path, f"{name}.jpg", 120)), "truth": "yes",
                "prompt": f"send: {name}", "capture_s": 0.2 + 0.1 * number,
            }
            for number, name in enumerate(FRAMES)
        ]  # fmt: skip
        scenario = scenario_of(tmp_path, frames=frames, stations=[{"name": "G", "model": server}])
        (tmp_path / "pass.csv").write_text(
            HEADER.format(end_s=LOS_S + 0.5) + UP.format(0.0) + DOWN.format(LOS_S)
        )
        ended = run(scenario, tmp_path, at_event=at_event)
    assert lost.is_set() and ended.results is not None
    shown = {frame["frame"]: frame["answer"] for frame in ended.results["frames"]}
    assert shown == dict.fromkeys(FRAMES, "yes"), ended.output + ended.errors
    assert ended.code == 0 and ended.results["totals"]["answered"] == len(FRAMES)
    assert all(0 < frame["end_to_end_s"] < 20 for frame in ended.results["frames"])
    (log,) = tmp_path.glob("runs/*/events.jsonl")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    answered = Counter(event["frame"] for event in events if event["event"] == "answered")
    assert answered == dict.fromkeys(FRAMES, 1)
    assert asked == {f"send: {name}": 1 for name in FRAMES}, "the model saw a damaged image, or one twice"
    again = [e["frame"] for e in events if "asked for again" in e.get("reason", "")]
    assert sorted(again) == ["cut", "emptied", "flipped", "folder", "removed"]
    (outbox,) = tmp_path.glob("runs/*/nodes/s/outbox")
    assert list((outbox / "kept").iterdir()) == [], "a finished run keeps what nobody needs"
