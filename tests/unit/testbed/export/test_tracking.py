"""Runs for trackers of experiments, read back by TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from testbed.cli.main import main
from testbed.export.tracking import track_run

SATELLITE = {"model": "compact", "policy": "offload-after", "policy_parameters": {"stage": 1}}
FRAMES = [
    {"frame": "b", "capture_s": 30.0, "correct": False, "end_to_end_s": None, "bytes_sent": 5},
    {
        "frame": "a",
        "capture_s": 2.6,
        "correct": True,
        "end_to_end_s": 20.5,
        "confidence": 0.5,
        "bytes_sent": 9,
    },
]
RESULTS = {
    "frames": FRAMES,
    "totals": {"frames": 2, "accuracy": 0.5, "accuracy_95": [0, 1], "mean_end_to_end_s": None,
               "mean_latency_parts_s": {"queue_s": 0.25}},
    "links": [{"link": "S 1 - G", "rtt_error_p50_s": 0.001, "down_rate_error": None}],
}  # fmt: skip


def a_run(folder: Path, name: str = "run") -> Path:
    run = folder / name
    run.mkdir()
    scenario = {"name": "tiny|odd", "speed": 2.0, "stations": [{}], "satellites": [SATELLITE, SATELLITE]}
    (run / "scenario.json").write_text(json.dumps(scenario))
    (run / "results.json").write_text(json.dumps(RESULTS))
    return run


class Notes:
    """A tracker of a user's own."""

    def __init__(self) -> None:
        self.metrics: list[tuple[str, float, int | None]] = []
        self.files: list[str] = []

    def parameters(self, values: dict[str, str]) -> None:
        self.values = values

    def metric(self, name: str, value: float, step: int | None = None) -> None:
        self.metrics.append((name, value, step))

    def file(self, path: Path) -> None:
        self.files.append(path.name)


def test_a_tracker_of_ones_own_is_told_everything(tmp_path: Path) -> None:
    notes = Notes()
    track_run(a_run(tmp_path), notes)
    assert notes.values["policy_parameters"] == '{"stage": 1}'  # the same of both satellites
    assert (notes.values["name"], notes.values["satellites"]) == ("tiny|odd", "2")
    assert notes.metrics == [
        ("totals/frames", 2, None),
        ("totals/accuracy", 0.5, None),
        ("mean_latency_parts_s/queue_s", 0.25, None),
        ("rtt_error_p50_s/S 1 - G", 0.001, None),
        ("frames/accuracy_so_far", 1, 2),
        ("frames/end_to_end_s", 20.5, 2),
        ("frames/confidence", 0.5, 2),
        ("frames/bytes_sent", 9, 2),
        ("frames/accuracy_so_far", 0.5, 30),
        ("frames/bytes_sent", 5, 30),
    ]
    assert notes.files == ["results.json", "scenario.json"]


def test_tensorboard_reads_runs_side_by_side(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, "one"), a_run(tmp_path, "two")]
    board = tmp_path / "board"
    for again in ([], ["--force"]):
        assert main(["export", "tensorboard", *map(str, runs), "-o", str(board), *again]) == 0
    for name in ("one", "two"):
        assert len(list((board / name).iterdir())) == 1
        read = EventAccumulator(str(board / name))
        read.Reload()
        assert [event.value for event in read.Scalars("totals/accuracy")] == [0.5]
        assert [(e.step, e.value) for e in read.Scalars("frames/accuracy_so_far")] == [(2, 1), (30, 0.5)]
        assert [e.value for e in read.Scalars("rtt_error_p50_s/S_1_-_G")] == pytest.approx([0.001])
        text = read.Tensors("parameters/text_summary")[0].tensor_proto.string_val[0].decode()
        assert "| name | tiny\\|odd |" in text


def test_a_board_that_has_the_run_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, board = a_run(tmp_path), tmp_path / "board"
    (board / "run").mkdir(parents=True)
    assert main(["export", "tensorboard", str(run), "-o", str(board)]) == 2
    assert "add --force" in capsys.readouterr().err
    assert not list((board / "run").iterdir())
    (run / "scenario.json").write_text("[]")
    assert main(["export", "tensorboard", str(run), "-o", str(board), "--force"]) == 2
    assert "is not the scenario of a run" in capsys.readouterr().err
