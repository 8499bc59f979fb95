"""Models in another process answer as local ones do, bit for bit, and outlive each other's failures."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nodes.contract.models.options import ModelOptions
from nodes.errors import ModelError, PartError, ServerUnavailableError
from nodes.onboard.confidence import END
from nodes.onboard.layout import Layout
from nodes.onboard.stages import StagedAnswer
from nodes.vlm.model import load_model
from nodes.vlm.protocol import StagedModel
from nodes.vlm.shared.remote import connect_model
from nodes.vlm.shared.wire import receive, send
from tests.support import ROOT
from tests.support.waiting import wait_for

COMPACT, REGULAR = ROOT / "nodes/models/compact", ROOT / "nodes/models/regular"
ONE = ModelOptions(model_threads=1)
PROMPT = "How many ships are on the water?"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    path = tmp_path_factory.mktemp("models") / "models.sock"
    process = subprocess.Popen([sys.executable, "-m", "nodes.vlm.shared", "--socket", str(path)])
    connect_model(COMPACT, path, ONE)  # waits until it listens
    yield path, process
    process.terminate()
    assert process.wait(10) == 0
    assert not path.exists()


@pytest.fixture(scope="module")
def frame() -> Image.Image:
    pixels = np.random.default_rng(7).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((800, 600))


def in_stages(model: StagedModel, frame: Image.Image) -> list[object]:
    made: list[object] = []
    with StagedAnswer(model, frame, PROMPT, Layout(), 8) as staged:
        stage = staged.advance()
        while stage.stage != END:
            made += [stage.stage, stage.features.tolist(), stage.logprobs]
            stage = staged.advance()
        made += [stage.features.tolist(), staged.attention().tolist()]
        answer = staged.answer()
        assert answer.timings.vision_s > 0 < answer.timings.prefill_s
        return [*made, answer.text, answer.token_ids, answer.token_logprobs]


def processes_of(process: subprocess.Popen[bytes]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(child) for child in children.split()]


def test_stages_and_answers_are_those_of_a_local_model(
    host: tuple[Path, subprocess.Popen[bytes]], frame: Image.Image
) -> None:
    for folder in (COMPACT, REGULAR):
        local, shared = load_model(folder, threads=1), connect_model(folder, host[0], ONE)
        assert in_stages(shared, frame) == in_stages(local, frame)
        there, here = (model.answer(frame, PROMPT, max_new_tokens=8) for model in (shared, local))
        assert (there.text, there.token_logprobs) == (here.text, here.token_logprobs)
        assert shared.parameters == local.parameters
        assert shared.warm_up() > 0


def test_nodes_with_the_same_model_share_a_process_and_take_turns(
    host: tuple[Path, subprocess.Popen[bytes]], frame: Image.Image
) -> None:
    one, other = connect_model(COMPACT, host[0], ONE), connect_model(COMPACT, host[0], ONE)
    before = processes_of(host[1])
    first, second = (
        one.begin(frame, PROMPT, max_new_tokens=8),
        other.begin(frame, "Is it cloudy?", max_new_tokens=8),
    )
    first.decode(1)
    second.decode(1)
    first.decode()
    second.decode()
    for session, prompt in ((first, PROMPT), (second, "Is it cloudy?")):
        assert session.answer().token_ids == one.answer(frame, prompt, max_new_tokens=8).token_ids
        session.__exit__()
    assert processes_of(host[1]) == before


def test_a_killed_process_of_a_model_costs_its_sessions_only(
    host: tuple[Path, subprocess.Popen[bytes]], frame: Image.Image
) -> None:
    bystander = connect_model(COMPACT, host[0], ONE)
    others = set(processes_of(host[1]))
    model = connect_model(COMPACT, host[0], ModelOptions(model_threads=3))
    (own,) = set(processes_of(host[1])) - others
    session = model.begin(frame, PROMPT, max_new_tokens=8)
    os.kill(own, signal.SIGKILL)
    with pytest.raises(
        ServerUnavailableError, match=r"the process of the model does not answer at .*models.sock"
    ):
        session.decode()
    with pytest.raises(ServerUnavailableError, match="its session has ended"):
        session.decode()
    session.__exit__()
    expected = bystander.answer(frame, PROMPT, max_new_tokens=8)
    assert model.answer(frame, PROMPT, max_new_tokens=8).token_ids == expected.token_ids


def test_errors_come_back_as_they_were_raised(
    host: tuple[Path, subprocess.Popen[bytes]], frame: Image.Image, tmp_path: Path
) -> None:
    model = connect_model(COMPACT, host[0], ONE)
    with pytest.raises(ValueError, match=r"1 boxes for 2 images: pass one per image"):
        model.begin([frame, frame], PROMPT, boxes=[(0.0, 0.0, 1.0, 1.0)])
    with pytest.raises(PartError) as failed:
        model.request("decode", session=99, max_tokens=1)
    assert failed.value.part == "model"
    assert "KeyError: 99" in failed.value.reason and "serve.py, line" in str(failed.value.where)
    folder = tmp_path / "broken"
    shutil.copytree(COMPACT, folder)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("qwen2_vl", "qwen0_vl"))
    with pytest.raises(ModelError, match=r"cannot load a vision-language model from .*broken"):
        connect_model(folder, host[0], ONE)
    (folder / "config.json").write_text(config)
    assert connect_model(folder, host[0], ONE).parameters == model.parameters


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:  # closed with unread bytes
        return True


def test_rubbish_closes_its_own_connection_only(host: tuple[Path, subprocess.Popen[bytes]]) -> None:
    for rubbish in (b"\xff" * 40, (3).to_bytes(8, "big") + b"\xc1\xc1\xc1", b""):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(host[0]))
            stranger.sendall(rubbish)
            stranger.shutdown(socket.SHUT_WR)
            assert is_closed(stranger)
    with socket.socket(socket.AF_UNIX) as node:
        node.connect(str(host[0]))
        send(node, {"model": str(COMPACT), "options": ONE.model_dump()})
        assert receive(node)["value"]["parameters"] > 0
        send(node, {"do": "fly", "to": "the moon"})
        assert "AttributeError" in receive(node)["error"]["text"]
        send(node, ["no", "request"])
        assert "error" in receive(node)
        node.sendall((1 << 40).to_bytes(8, "big"))
        assert is_closed(node)
    assert connect_model(COMPACT, host[0], ONE).parameters > 0


def test_models_end_with_the_process_that_holds_them(tmp_path: Path) -> None:
    path = tmp_path / "models.sock"
    with subprocess.Popen([sys.executable, "-m", "nodes.vlm.shared", "--socket", str(path)]) as process:
        connect_model(COMPACT, path, ONE)
        (child,) = processes_of(process)
        process.kill()
    wait_for(lambda: not Path(f"/proc/{child}").exists(), "end of the model's process", 5)
    with subprocess.Popen(
        [sys.executable, "-m", "nodes.vlm.shared", "--socket", str(path)], stderr=subprocess.PIPE, text=True
    ) as second:
        assert second.stderr is not None
        assert second.stderr.read() == f"models: {path}: Address already in use\n"
    assert second.returncode == 2


def test_no_process_of_models_is_a_server_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.vlm.shared.remote.CONNECT_S", 0.1)
    with pytest.raises(ServerUnavailableError, match="No such file or directory"):
        connect_model(COMPACT, tmp_path / "none.sock", ONE)


def test_another_way_to_run_a_model_is_another_process(
    host: tuple[Path, subprocess.Popen[bytes]], frame: Image.Image
) -> None:
    whole = connect_model(COMPACT, host[0], ONE)
    before = set(processes_of(host[1]))
    small = connect_model(COMPACT, host[0], ModelOptions(model_threads=1, dtype="bfloat16", max_pixels=3136))
    assert len(set(processes_of(host[1])) - before) == 1
    assert (whole.place, small.place) == ("cpu float32", "cpu bfloat16")
    confidences = {model.answer(frame, PROMPT).confidence for model in (whole, small)}
    assert len(confidences) == 2
    before = set(processes_of(host[1]))
    connect_model(COMPACT, host[0], ModelOptions(model_threads=1, max_new_tokens=3))
    assert set(processes_of(host[1])) == before, "the length of an answer is not part of a loaded model"
