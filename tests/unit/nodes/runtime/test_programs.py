"""Configuration, command line and policies of the node programs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes import ground, satellite
from nodes.contract.topics import slug
from nodes.models import COMPACT, REGULAR
from nodes.onboard.confidence import ConfidenceNetwork, train_head
from nodes.onboard.judge import Judge
from nodes.vlm.folder import fingerprint

PLAN_OUT_OF_ORDER = {
    "rows": [{"time_s": time_s, "up": True, "down_bit_s": 1e6} for time_s in (5.0, 1.0)],
    "end_s": 9.0,
}
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "frame.jpg").write_bytes(b"not looked into")
    return {
        "name": "FLOCK 2P-1",
        "stations": [{"name": "Svalbard", "host": "10.0.0.2", "port": 1883}],
        "management": {"unix_socket": str(tmp_path / "management.sock")},
        "model": "owner/model",
        "accept_confidence": 0.75,
        "frames": [{"frame": "f1", "image": str(tmp_path / "frame.jpg"), "prompt": "?", "capture_s": 1.0}],
        "outbox": str(tmp_path / "outbox"),
        "rate_bit_s": 20e6,
    }


def check(config: dict[str, Any], folder: Path) -> int:
    path = folder / "satellite.json"
    path.write_text(json.dumps(config))
    return satellite.main(["--config", str(path), "--check"])


def test_good_configuration_passes(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(config, tmp_path) == 0
    assert not (tmp_path / "outbox").exists(), "--check must not make anything"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.update(accept_confidense=1), "unknown field 'accept_confidense'"),
        (lambda c: c["frames"][0].update(promt="?"), "unknown field 'frames.0.promt'"),
        (lambda c: c.pop("outbox"), "outbox"),
        (lambda c: c.update(rate_bit_s=0), "rate_bit_s"),
        (lambda c: c.update(rate_bit_s="fast"), "rate_bit_s"),
        (lambda c: c.update(accept_confidence=1.5), "accept_confidence"),
        (lambda c: c.update(stations=[]), "stations"),
        (lambda c: c.update(name="a\nb"), "name"),
        (lambda c: c.update(management={}), "unix_socket"),
        (lambda c: c["frames"].append(c["frames"][0]), "twice"),
        (lambda c: c["frames"][0].update(image="/none.jpg"), "/none.jpg"),
        (lambda c: c["frames"][0].update(capture_s=-1), "capture_s"),
        (lambda c: c.update(policy="coin-toss"), "offload-after"),
        (lambda c: c.update(policy="oracle", accept_confidence=None), "cannot run on a satellite"),
        (lambda c: c.update(policy="spaceverse"), "spaceverse has no parameter accept_confidence"),
        (lambda c: c.update(policy_parameters={"accept_confidence": 0.5}), "set either accept_confidence"),
        (
            lambda c: c.update(accept_confidence=None, policy_parameters={"accept": 1}),
            "has no parameter accept; its parameters: accept_confidence",
        ),
        (
            lambda c: c.update(accept_confidence=None, policy_parameters="/none.json"),
            "/none.json does not contain parameters",
        ),
        (lambda c: c.update(confidence="/nowhere"), "/nowhere holds no confidence network"),
        (lambda c: c["stations"][0].update(plan={"rows": [], "end_s": 1}), "stations.0.plan.rows"),
        (lambda c: c["stations"][0].update(plan=PLAN_OUT_OF_ORDER), "plan of station Svalbard"),
        (lambda c: c.update(model="./nowhere"), "nowhere"),
        (lambda c: c.update(model="openai:8000"), "openai:8000 is not a server address"),
        (lambda c: c.update(model="openai:http://h/v1", dtype="bfloat16"), "dtype has no effect on openai:"),
        (lambda c: c.update(model="openai:http://h/v1", confidence="c"), "gives no hidden states, which a"),
    ],
)
def test_mistake_gets_one_line_and_exit_2(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change, expected: str
) -> None:
    change(config)
    assert check(config, tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line and "satellite.json" in line


def test_a_station_may_have_its_model_behind_a_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {
        "name": "Svalbard",
        "management": {"unix_socket": "m"},
        "broker": {"unix_socket": "b"},
        "model": "openai:http://127.0.0.1:8000/v1#large",
        "inbox": str(tmp_path / "inbox"),
    }
    path = tmp_path / "ground.json"
    path.write_text(json.dumps(config))
    assert ground.main(["--config", str(path), "--check"]) == 0, "nobody is asked before the run"
    path.write_text(json.dumps(config | {"model": "openai:8000"}))
    assert ground.main(["--config", str(path), "--check"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "openai:8000 is not a server address" in line


def test_a_network_belongs_to_its_weights(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.random.default_rng(0).normal(size=(8, 4))
    head = train_head(rows, np.arange(8) % 2 == 0)
    judge = Judge(ConfidenceNetwork({"correctness": {0: head}}, {}))
    judge.save(tmp_path / "network", {"weights": fingerprint(COMPACT)})
    flying = {
        **config,
        "policy": "spaceverse",
        "accept_confidence": None,
        "confidence": str(tmp_path / "network"),
    }
    assert check({**flying, "model": str(COMPACT)}, tmp_path) == 0
    assert check({**flying, "model": str(REGULAR)}, tmp_path) == 2
    assert "was trained for other weights" in capsys.readouterr().err
    damaged = {"model": str(REGULAR), "damaged_from": str(COMPACT)}
    assert check({**flying, **damaged}, tmp_path) == 0, "the network is that of the sound weights"


@pytest.mark.parametrize("text", [None, "{", "[]", "\xff"])
def test_file_that_is_none_gets_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    path = tmp_path / "ground.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    assert ground.main(["--config", str(path), "--check"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("program", ["satellite", "ground"])
def test_help_has_examples_and_check_needs_no_torch(program: str) -> None:
    code = (
        f"import sys, nodes.{program} as program\n"
        "try:\n    program.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules and 'testbed' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout and "--check" in done.stdout


def test_slug_is_fit_for_a_topic() -> None:
    assert slug("FLOCK 2P-1") == "flock-2p-1"
    assert slug("Svalbard/+#") == "svalbard"
