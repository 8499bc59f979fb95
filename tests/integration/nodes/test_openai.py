"""A regular model behind an OpenAI-compatible server: a real process, over loopback, with a shipped model."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from nodes.contract.config import GroundConfig
from nodes.contract.models.options import ModelOptions
from nodes.data import FIRST_LIGHT
from nodes.data.pairs import Pair, read_pairs
from nodes.errors import ModelError, ServerUnavailableError
from nodes.lab.evaluation.outcomes import Outcomes
from nodes.models import COMPACT
from nodes.onboard.frame import OnboardFrame
from nodes.onboard.judge import Judge
from nodes.onboard.message import FrameMessage
from nodes.onboard.served import lacks
from nodes.policies import (
    Accept,
    Contact,
    Decision,
    FramePolicy,
    Queue,
    Reading,
    SendReduced,
    SendRegions,
    SendWhole,
    decide_frame,
    policy_named,
)
from nodes.policies.spaceverse import SpaceVerse
from nodes.runtime.program import load_model as load_for
from nodes.vlm import openai as openai_model
from nodes.vlm.image import open_image
from nodes.vlm.model import VisionLanguageModel, load_model
from nodes.vlm.openai import ServerAddress, ServerModel, connect, data_url, parse_address
from testbed.run.model_relay import ModelRelay, server_of
from tests.support.openai_server import NAME, served


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(COMPACT) as address:
        yield address


@pytest.fixture(scope="module")
def here() -> VisionLanguageModel:
    return load_model(COMPACT, threads=1)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return read_pairs(FIRST_LIGHT)[:3]


def test_a_served_model_answers_as_the_same_model_here(
    url: str, here: VisionLanguageModel, pairs: list[Pair]
) -> None:
    model = connect(f"openai:{url}/v1")
    assert model.name == NAME
    assert model.warm_up() > 0
    for pair in pairs:
        image = open_image(pair.image)
        for images in (image, [image.resize((56, 56)), image]):
            there, local = (m.answer(images, pair.prompt, max_new_tokens=8) for m in (model, here))
            assert there.text == local.text
            assert there.token_logprobs == pytest.approx(local.token_logprobs, abs=1e-5)
            assert there.confidence == pytest.approx(local.confidence, abs=1e-5)
            assert 0 < there.timings.preprocess_s < there.timings.total_s


def test_an_evaluation_has_the_same_outcomes_with_it(url: str, pairs: list[Pair], tmp_path: Path) -> None:
    there = Outcomes(str(COMPACT), f"openai:{url}/v1", tmp_path)
    local = Outcomes(str(COMPACT), str(COMPACT), tmp_path)
    scores = [float(number) for number in range(16)]
    for pair in pairs:
        for decision in (SendWhole(), SendReduced(2), SendRegions(9000)):
            assert there.ground(pair, decision, scores) == local.ground(pair, decision, scores)
    assert (there.computed, local.computed) == (9, 9), "one took the other's from the cache"
    with pytest.raises(ModelError, match="must run locally, where it can be paused"):
        Outcomes(f"openai:{url}/v1", str(COMPACT), tmp_path)


def test_one_can_ask_it(url: str, here: VisionLanguageModel, pairs: list[Pair], tmp_path: Path) -> None:
    pair = pairs[0]
    ask = [sys.executable, "-m", "nodes.ask"]
    in_testbed = [sys.executable, "-m", "testbed.cli", "ask"]
    command = [*ask, f"openai:{url}/v1", str(pair.image), pair.prompt]
    told = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True).stdout)
    assert told["answer"] == here.answer(open_image(pair.image), pair.prompt).text
    assert told["confidence"] > 0
    assert told["token_ids"] is None
    table = subprocess.run(
        [*in_testbed, f"openai:{url}/plain#{NAME}", str(pair.image), pair.prompt],
        capture_output=True,
        check=True,
    ).stdout
    assert b"not reported by the server" in table
    drawn = subprocess.run(
        [*command, "--attention", str(tmp_path / "a.png")], capture_output=True, check=False
    )
    assert drawn.returncode == 2
    assert b"behind a server" in drawn.stderr


def test_a_server_that_tells_no_probabilities_will_do(url: str, here: VisionLanguageModel) -> None:
    grey = Image.new("RGB", (224, 224), (90, 90, 90))
    answer = connect(f"openai:{url}/plain#{NAME}").answer(grey, "is there water?", max_new_tokens=4)
    assert answer.text == here.answer(grey, "is there water?", max_new_tokens=4).text
    assert answer.confidence is None


def decided(
    model: ServerModel, pair: Pair, policy: FramePolicy
) -> tuple[Decision, Reading, FrameMessage | None]:
    """Let a policy decide about a frame whose compact model is behind a server."""
    around = Contact(), Queue()
    with OnboardFrame(model, pair.image, pair.prompt, Judge(), 8) as frame:
        size_bytes = pair.image.stat().st_size
        decision, reading = decide_frame(policy, frame, pair.prompt, size_bytes, lambda: around)
        answered = isinstance(decision, Accept)
        return decision, reading, None if answered else frame.message(decision)


def test_a_satellite_s_model_may_be_one(url: str, here: VisionLanguageModel, pairs: list[Pair]) -> None:
    model, pair = connect(f"openai:{url}/v1"), pairs[0]
    local = here.answer([open_image(pair.image)], pair.prompt, max_new_tokens=8)
    decision, reading, _ = decided(model, pair, SpaceVerse(accept_from=0.0, offload_below=0.0))
    assert isinstance(decision, Accept) and reading.answer == local.text
    assert reading.token_confidence == pytest.approx(local.confidence, abs=1e-5)
    decision, reading, message = decided(model, pair, SpaceVerse(offload_below=1.0, accept_from=1.1))
    assert isinstance(decision, SendRegions) and reading.stage == 1, "the stages are those of a local model"
    assert message is not None and message.form == "regions" and message.data
    assert "chosen by their detail" in (lacks(model, SpaceVerse()) or "")
    assert lacks(model, policy_named("offload-after")) is None and lacks(here, SpaceVerse()) is None


def test_without_probabilities_a_satellite_offloads(url: str, pairs: list[Pair]) -> None:
    model = connect(f"openai:{url}/plain#{NAME}")
    for name in ("spaceverse", "offload-after", "cascade", "two-threshold"):
        decision, reading, _ = decided(model, pairs[0], policy_named(name))
        assert isinstance(decision, SendWhole | SendRegions) and reading.finished, name
        assert reading.token_confidence is None and reading.answer
    assert "no log-probabilities" in (lacks(model, policy_named("offload-after")) or "")


def test_an_image_is_reduced_before_it_is_sent(url: str) -> None:
    small = connect(f"openai:{url}/v1", options=ModelOptions(max_pixels=3136))
    whole, sent = Image.effect_noise((448, 448), 80), connect(f"openai:{url}/v1")
    reduced = whole.convert("RGB").resize((56, 56), Image.Resampling.BICUBIC)
    there = small.answer(whole, "is there water?")
    assert there.token_logprobs == sent.answer(reduced, "is there water?").token_logprobs
    assert there.token_logprobs != sent.answer(whole, "is there water?").token_logprobs


def test_a_station_reaches_it_by_a_socket_where_its_network_does_not(
    url: str, here: VisionLanguageModel, pairs: list[Pair], tmp_path: Path
) -> None:
    name = f"openai:{url}/v1#{NAME}"
    server = server_of(name)
    assert server is not None
    where = {
        "name": "G",
        "management": {"unix_socket": "m"},
        "broker": {"unix_socket": "b"},
        "inbox": "inbox",
        "model_socket": str(tmp_path / "model"),
    }
    # The name's own port leads nowhere: only the socket does.
    elsewhere = name.replace(str(server[1]), str(unused_port()))
    config = GroundConfig.model_validate({**where, "model": elsewhere})
    with ModelRelay(tmp_path / "model", *server):
        model, _ = load_for(config)
        image = open_image(pairs[0].image)
        for _ in range(2):
            answer = model.answer(image, pairs[0].prompt, max_new_tokens=8)
            assert answer.text == here.answer(image, pairs[0].prompt, max_new_tokens=8).text
    with pytest.raises(ModelError, match="no server answers"):
        model.answer(image, pairs[0].prompt)
    assert not (tmp_path / "model").exists()


def test_a_relay_without_its_server_ends_the_connection(tmp_path: Path) -> None:
    relay = ModelRelay(tmp_path / "model", "127.0.0.1", unused_port())
    with relay, pytest.raises(ModelError, match="no server answers"):
        connect("openai:http://model/v1", socket=tmp_path / "model")
    until_s = time.monotonic() + 5
    while any(thread.name == "model relay" for thread in threading.enumerate()):
        assert time.monotonic() < until_s, "a thread of the relay is left"
        time.sleep(0.01)


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_what_goes_wrong_is_one_line(url: str) -> None:
    grey = Image.new("RGB", (28, 28))
    for name, text in (
        (f"openai:http://127.0.0.1:{unused_port()}/v1", r"no server answers at http://127.*check host and"),
        (
            f"openai:{url}/v1#large",
            r"returned status 404: The model `large` does not exist. This is a second line",
        ),
        (f"openai:{url}/v2#{NAME}", "returned status 404: no such path"),
        (f"openai:{url}/page", "does not implement OpenAI's chat completions"),
        ("openai:127.0.0.1:80", "is not a server address: write openai:http://HOST:PORT/v1#model"),
        ("openai:http://a:b/v1", "is not a server address"),
    ):
        with pytest.raises(ModelError, match=text) as caught:
            connect(name).answer(grey, "?")
        assert "\n" not in str(caught.value)


def test_addresses_and_images_are_taken_as_they_are() -> None:
    assert parse_address("openai:https://host/v1/#a/b") == ServerAddress("https://host/v1", "a/b")
    assert server_of("openai:https://host/v1") == ("host", 443)
    assert server_of("openai:http://[::1]:8000/v1#m") == ("::1", 8000)
    assert server_of("compact") is server_of("openai:http://a:b") is None
    assert data_url(Image.new("L", (3, 3))).startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("status", "may_pass"), [(429, True), (500, True), (503, True), (400, False), (404, False), (413, False)]
)
def test_what_may_pass_by_itself_is_told_from_what_will_not(url: str, status: int, may_pass: bool) -> None:
    with pytest.raises(ModelError, match=f"returned status {status}: as you like it") as caught:
        connect(f"openai:{url}/status/{status}#{NAME}").answer(Image.new("RGB", (28, 28)), "?")
    assert isinstance(caught.value, ServerUnavailableError) == may_pass


def test_a_server_that_hangs_or_is_not_there_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_model, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"openai:http://127.0.0.1:{listener.getsockname()[1]}/v1#{NAME}"
        with pytest.raises(ServerUnavailableError, match="did not answer in time"):
            connect(address).answer(Image.new("RGB", (28, 28)), "?")
    with pytest.raises(ServerUnavailableError, match="no server answers"):
        connect(address).answer(Image.new("RGB", (28, 28)), "?")
