"""`spaceverse eval` as a user types it, on the shipped models and a few frames."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.eval_command import POLICIES
from traces.trace import Trace

ROOT = Path(__file__).parents[2]


def spaceverse(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "testbed.cli", "eval", "--cache", str(cache), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, object]]:
    folder = tmp_path_factory.mktemp("eval")
    done = spaceverse("--quick", "--json", "--output", str(folder / "runs"), cache=folder / "cache")
    assert done.returncode == 0, done.stderr
    (made,) = (folder / "runs").iterdir()
    return folder, made, json.loads(done.stdout)


def test_quick_gives_every_policy_its_figures(quick: tuple[Path, Path, dict[str, object]]) -> None:
    _, made, results = quick
    (case,) = results["cases"]  # type: ignore[misc]
    assert set(case["policies"]) == set(POLICIES)
    for name, one in case["policies"].items():
        accuracy, timely = one["accuracy"], one["timely_accuracy"]
        assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
        assert timely["value"] <= accuracy["value"]
        assert one["latency_median_s"] <= one["latency_p95_s"]
        assert one["split_mean_s"]["wait_s"] > 0, name  # some were taken before AOS
    policies = case["policies"]
    assert policies["satellite-only"]["share_on_board"] == 1
    assert policies["ground-only"]["share_on_board"] == 0
    assert policies["ground-only"]["board_s"] == 0 < policies["satellite-only"]["board_s"]
    assert (
        policies["satellite-only"]["bytes_per_frame"]
        < policies["ground-only-downsampled"]["bytes_per_frame"]
        < policies["ground-only"]["bytes_per_frame"]
    )
    best = policies["oracle"]["accuracy"]["value"]
    assert best >= max(policies[name]["accuracy"]["value"] for name in ("satellite-only", "ground-only"))
    assert json.loads((made / "results.json").read_text()) == results


def test_quick_leaves_tables_traces_and_drawings(quick: tuple[Path, Path, dict[str, object]]) -> None:
    _, made, results = quick
    with (made / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(POLICIES) * int(results["pairs"])  # type: ignore[call-overload]
    for row in rows:
        parts = [
            name
            for name in row
            if name.endswith("_s") and name not in ("rate_bit_s", "capture_s", "latency_s")
        ]
        if row["answered"] == "True":
            assert sum(float(row[name]) for name in parts) == pytest.approx(float(row["latency_s"]))
    for name in ("accuracy-latency", "latency-cdf", "split", "reliability"):
        assert (made / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    (trace,) = (made / "traces").iterdir()
    assert len(Trace.read(trace).contacts()) == 2
    assert (made / "confidence" / "confidence.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rates", "fast"], "--rates 'fast' is no rate"),
        (["--policies", "spaceverze"], "did you mean spaceverse"),
        (["--data", "/nowhere"], "no folder of images"),
        (["--satellite", "FLOCK 2P-l"], "did you mean FLOCK 2P"),
        (["--compact", "/nowhere"], "no model folder"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: list[str], expected: str) -> None:
    done = spaceverse("--limit", "4", "--passes", "1", *arguments, "--output", str(tmp_path), cache=tmp_path)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_network_alone_can_be_trained(
    quick: tuple[Path, Path, dict[str, object]], tmp_path: Path
) -> None:
    _, made, _ = quick
    command = [
        sys.executable,
        "-m",
        "nodes.evaluation",
        str(made / "job.json"),
        "--confidence",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "token probability" in done.stdout
    trained, before = (folder / "confidence.safetensors" for folder in (tmp_path, made / "confidence"))
    assert trained.read_bytes() == before.read_bytes()
