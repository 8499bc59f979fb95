"""`spaceverse eval` as a user runs it, with the shipped models and a few frames."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

from nodes.contract.evaluation import POLICY_NAMES
from nodes.lab.evaluation.compute_times import ComputeTimes
from tests.support import ROOT
from tests.support.made_up_profile import MADE_UP
from tests.support.waiting import wait_for
from traces.trace_file import read_trace

TURNS = """
from nodes.policies import Accept, Continue, Drop, SendReduced, SendRegions, SendWhole

class Policy:
    '''Each frame another decision, in turn; each after another stage.'''

    turn = -1

    def decide(self, situation):
        if situation.stage < 0:
            self.turn += 1
        share = 0.3 if situation.contact.left_bytes / (1 + situation.queue.captures_left) > 1e5 else 0.1
        decision, stage = [
            (SendReduced(2), -1),
            (SendRegions(round(share * situation.whole_bytes)), 0),
            (Accept(), 1),
            (SendWhole(), 1),
            (Drop(), 0),
        ][self.turn % 5]
        return decision if situation.stage >= stage else Continue()
"""


PAIRS = "10"  # the same in all evaluations here, which share a cache of outcomes
OUTCOMES = "outcomes-of-eval"  # in pytest's cache: what measures time runs later, in another session


def spaceverse(*arguments: str, cache: Path, nice: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            "nice",
            "-n",
            str(nice),
            sys.executable,
            "-m",
            "testbed.cli.main",
            "eval",
            "--cache",
            str(cache),
            *arguments,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def quick(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> tuple[Path, dict[str, object]]:
    folder, cache = tmp_path_factory.mktemp("eval"), pytestconfig.cache.mkdir(OUTCOMES)
    shutil.rmtree(cache)  # outcomes of an earlier session
    fewer = "--quick", "--limit", PAIRS
    # It takes all cores, and other tests beside it fly in real time.
    done = spaceverse(*fewer, "--json", "--output", str(folder), cache=cache, nice=15)
    assert done.returncode == 0, done.stderr
    (made,) = folder.iterdir()
    return made, json.loads(done.stdout)


def copy_outcomes(cache: Path, to: Path) -> None:
    """Copy a cache without the times of its machine, which other tests may have kept busy."""
    for path in cache.glob("*/*.msgpack"):
        value = msgpack.unpackb(path.read_bytes(), strict_map_key=False)
        if not (isinstance(value, dict) and value.keys() == set(ComputeTimes.stored_names())):
            (to / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to / path.parent.name)


@pytest.mark.long
def test_quick_gives_every_policy_its_figures(quick: tuple[Path, dict[str, object]]) -> None:
    made, results = quick
    (case,) = results["cases"]  # type: ignore[misc]
    assert set(case["policies"]) == set(POLICY_NAMES)
    for name, one in case["policies"].items():
        accuracy, timely = one["accuracy"], one["timely_accuracy"]
        assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
        assert timely["value"] <= accuracy["value"]
        assert one["latency_median_s"] <= one["latency_p95_s"]
        assert one["latency_parts_mean_s"]["contact_wait_s"] > 0, name  # some were taken before AOS
        assert one["bytes_per_prompt"] * one["pairs"] == pytest.approx(one["bytes_per_frame"] * one["frames"])
    assert set(case["paired"]["spaceverse"]) == set(POLICY_NAMES) - {"spaceverse"}
    assert set(case["headline"]["roster"]) <= set(case["policies"])
    assert 0 < case["load"] < 1
    policies = case["policies"]
    assert policies["satellite-only"]["share_on_board"] == 1
    assert policies["ground-only"]["share_on_board"] == 0
    assert (
        policies["ground-only"]["onboard_inference_s"]
        == 0
        < policies["satellite-only"]["onboard_inference_s"]
    )
    assert (
        policies["satellite-only"]["bytes_per_frame"]
        < policies["ground-only-downsampled"]["bytes_per_frame"]
        < policies["ground-only"]["bytes_per_frame"]
    )
    best = policies["oracle"]["accuracy"]["value"]
    assert best >= max(policies[name]["accuracy"]["value"] for name in ("satellite-only", "ground-only"))
    assert json.loads((made / "results.json").read_text()) == results


@pytest.mark.long
def test_quick_leaves_tables_traces_and_drawings(quick: tuple[Path, dict[str, object]]) -> None:
    made, results = quick
    with (made / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(POLICY_NAMES) * int(results["pairs"])  # type: ignore[call-overload]
    for row in rows:
        parts = [
            name
            for name in row
            if name.endswith("_s") and name not in ("capture_s", "received_s", "latency_s", "beyond_wait_s")
        ]
        if row["answered"] == "True":
            assert sum(float(row[name]) for name in parts) == pytest.approx(float(row["latency_s"]))
    for name in ("accuracy-latency", "latency-cdf", "latency-parts", "reliability"):
        assert (made / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    (trace,) = (made / "traces").iterdir()
    assert len(read_trace(trace).contacts()) == 2
    assert (made / "confidence" / "confidence.safetensors").is_file()


def test_a_file_gives_the_options_and_the_command_line_overrides_it(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text('rates = ["fast"]\n')
    done = spaceverse(str(job), cache=tmp_path)
    assert done.returncode == 2 and f"{job}: rates: 'fast' is not a rate" in done.stderr, done.stderr
    job.write_text(f'passes = 0\nlimit = 4\noutput = "{tmp_path / "runs"}"\nrates = ["2M"]\n')
    done = spaceverse(str(job), cache=tmp_path)
    assert done.returncode == 2 and "--passes, --interval and --lead must be above 0" in done.stderr
    done = spaceverse(str(job), "--passes", "1", "--data", "/nowhere", cache=tmp_path)
    assert done.returncode == 2 and "no folder of images" in done.stderr, done.stderr
    job.write_text('rate = "2M"\n')
    done = spaceverse(str(job), cache=tmp_path)
    assert done.returncode == 2
    assert f"{job}: unknown option 'rate'; did you mean rates?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rates", "fast"], "--rates: 'fast' is not a rate"),
        (["--threads", "0"], "threads: Input should be greater than or equal to 1"),
        (["--passes", "0"], "--passes, --interval and --lead must be above 0"),
        (["--policies", "spaceverze"], "did you mean spaceverse"),
        (["--data", "/nowhere"], "no folder of images"),
        (["--satellite", "FLOCK 2P-l"], "did you mean FLOCK 2P"),
        (["--compact", "/nowhere"], "no model folder"),
        (["--regular", "openai:http://127.0.0.1:1/v1"], "no server answers at http://127.0.0.1:1/v1"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: list[str], expected: str) -> None:
    few = ("--limit", "4", "--passes", "1", "--output", str(tmp_path / "runs"))
    done = spaceverse(*few, *arguments, cache=tmp_path)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_no_results_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    done = spaceverse("--quick", "--output", str(tmp_path / "runs"), cache=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "choose another --output" in line


@pytest.mark.root
def test_what_a_stopped_evaluation_leaves_is_the_users_who_called_sudo(tmp_path: Path) -> None:
    stage = {"p50_s": 0.1, "p95_s": 0.1, "count": 1}
    measured = dict.fromkeys(("attend", "whole", "reduced", "regions", "pass_on"), stage)
    # With the times of all steps, so that none is measured before the first outcome.
    (tmp_path / "times.json").write_text(json.dumps(MADE_UP | {"stages": MADE_UP["stages"] | measured}))
    # What a shell runs in the background is born deaf to SIGINT, and hands that on.
    python = ["env", "--default-signal=INT", sys.executable]
    options = ["--quick", "--times", "times.json", "--output", "runs", "--cache", "cache"]
    with subprocess.Popen(
        [*python, "-m", "testbed.cli.main", "eval", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SUDO_UID": "65534", "SUDO_GID": "65534"},
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        # The first outcomes: before them, it may not have begun to watch for Ctrl-C.
        wait_for(lambda: any(path.is_file() for path in tmp_path.glob("cache/**/*")), "an outcome", 120)
        assert list(tmp_path.glob("runs/*/job.json"))
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in said and b"evaluation: stopped" in said
    made = [tmp_path / "runs", *tmp_path.glob("runs/**/*")]
    assert len(made) > 3
    assert {path.stat().st_uid for path in made} == {65534}


@pytest.mark.long
def test_the_network_alone_can_be_trained(quick: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    made, _ = quick
    command = [
        sys.executable,
        "-m",
        "nodes.lab.evaluation",
        str(made / "job.json"),
        "--confidence",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "token probability" in done.stdout
    trained, before = (folder / "confidence.safetensors" for folder in (tmp_path, made / "confidence"))
    assert trained.read_bytes() == before.read_bytes()


@pytest.mark.alone
@pytest.mark.root
def test_over_the_emulated_network_every_decision_has_the_modelled_answer(
    pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    copy_outcomes(pytestconfig.cache.mkdir(OUTCOMES), cache)
    policy = tmp_path / "turns.py"
    policy.write_text(TURNS)
    cases = ["--limit", PAIRS, "--passes", "1", "--rates", "2M", "--lead", "12", "--interval", "2"]
    output = ["--policies", str(policy), "oracle", "--emulated", "28", "--output", str(tmp_path), "--json"]
    done = spaceverse(*cases, *output, cache=cache)
    assert done.returncode == 0, done.stderr
    (made,) = tmp_path.glob("*-eval")
    (one,) = json.loads((made / "emulated.json").read_text())
    assert one["frames"] >= 10
    assert one["dropped_emulated"] == one["dropped_modelled"] == one["frames"] // 5
    assert one["same"] == one["compared"] == one["frames"] - one["dropped_modelled"]
    assert abs(one["latency_difference"]) < 0.05, one
    assert abs(one["latency_difference_at_pace"]) < 0.03, one
    assert "answers equal" in done.stderr

    (run,) = (made / "runs").iterdir()
    frames = json.loads((run / "results.json").read_text())["frames"]
    assert {frame["form"] for frame in frames} == {"whole", "reduced", "regions", None}
    drawn = {path.stem for path in (run / "kept").iterdir()}
    assert drawn == {frame["frame"] for frame in frames if frame["form"] in ("reduced", "regions")}
    assert (run / "report.html").read_text().count("<figure>") == len(drawn)
    with (made / "modelled.csv").open(newline="") as file:
        modelled = {row["pair"]: row for row in csv.DictReader(file) if row["policy"] == str(policy)}
    for frame in frames:
        row = modelled[frame["frame"]]
        assert frame["stage"] == int(row["stage"])
        if frame["form"] is not None:  # a manifest for each, and of the prompt in it the model knows nothing
            assert frame["bytes_sent"] == pytest.approx(int(row["bytes_down"]), abs=200)
