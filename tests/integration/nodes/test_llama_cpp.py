"""The shipped compact model behind llama.cpp: answers, several clients, 8 bits, and a killed server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nodes.contract.models.options import ModelOptions
from nodes.data import FIRST_LIGHT
from nodes.data.pairs import Pair, read_pairs
from nodes.models import COMPACT
from nodes.onboard.frame import OnboardFrame
from nodes.onboard.judge import Judge
from nodes.onboard.served import lacks
from nodes.policies import Accept, Contact, Queue, SendRegions, decide_frame
from nodes.policies.spaceverse import SpaceVerse
from nodes.regions.detail import detail_scores
from nodes.vlm.answer import Answer
from nodes.vlm.image import open_image
from nodes.vlm.model import load_model
from nodes.vlm.openai import ServerModel, connect
from testbed.mqtt.broker import Broker
from tests.support.nodes.asking_ground import AskingGround
from tests.support.nodes.ends import SatelliteEnd, free_port
from tests.support.servers.gguf_files import write_gguf
from tests.support.servers.llama_cpp import fetched_llama_cpp, llama_cpp
from tests.support.waiting import wait_for

pytestmark = pytest.mark.online
SEEN_PIXELS = 224 * 224  # as the model's own processor reduces an image; llama.cpp's would do so otherwise
FRAMES = 6


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = fetched_llama_cpp(tmp_path_factory.mktemp("llama"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder


@pytest.fixture(scope="module")
def files(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_gguf(COMPACT, tmp_path_factory.mktemp("gguf"))


@pytest.fixture(scope="module")
def model(packages: Path, files: tuple[Path, Path]) -> Iterator[ServerModel]:
    port = free_port()
    with llama_cpp(packages, files, port):
        yield client(port)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return read_pairs(FIRST_LIGHT)[::2]


@pytest.fixture(scope="module")
def local(pairs: list[Pair]) -> list[Answer]:
    here = load_model(COMPACT, threads=1)
    return [here.answer([open_image(pair.image)], pair.prompt, max_new_tokens=8) for pair in pairs]


def client(port: int) -> ServerModel:
    return connect(f"openai:http://127.0.0.1:{port}/v1", options=ModelOptions(max_pixels=SEEN_PIXELS))


def test_several_clients_get_the_answers_of_the_same_model_here(
    model: ServerModel, pairs: list[Pair], local: list[Answer]
) -> None:
    def ask(pair: Pair) -> tuple[str, float | None]:
        answer = model.answer(open_image(pair.image), pair.prompt, max_new_tokens=8)
        return answer.text, answer.confidence

    with ThreadPoolExecutor(4) as clients:  # the server has two slots
        there = list(clients.map(ask, pairs))
    assert [text for text, _ in there] == [answer.text for answer in local]
    assert [confidence for _, confidence in there] == pytest.approx([a.confidence for a in local], abs=0.005)
    assert model.gives_logprobs


def test_a_policy_that_wants_hidden_states_does_with_probabilities_and_detail(
    model: ServerModel, pairs: list[Pair], local: list[Answer]
) -> None:
    pair = pairs[0]
    told = lacks(model, SpaceVerse())
    assert told is not None
    assert "confidence is that of the tokens" in told and "regions are chosen by their detail" in told
    for policy, kind in (
        (SpaceVerse(accept_from=0.0, offload_below=0.0), Accept),
        (SpaceVerse(accept_from=1.1, offload_below=1.0), SendRegions),
    ):
        with OnboardFrame(model, pair.image, pair.prompt, Judge(), 8) as frame:
            size_bytes = pair.image.stat().st_size
            decision, reading = decide_frame(
                policy, frame, pair.prompt, size_bytes, lambda: (Contact(), Queue())
            )
            assert isinstance(decision, kind)
            assert reading.confidence is None, "it has no hidden states to tell one from"
            assert reading.token_confidence == pytest.approx(local[0].confidence, abs=0.005)
            if isinstance(decision, SendRegions):
                sent = frame.regions(frame.message(decision))
                assert sent is not None
                detail = detail_scores(open_image(pair.image), sent.rows, sent.columns)
                assert sent.relevance == pytest.approx(detail, abs=0.001)


def test_a_quantised_model_answers_nearly_the_same(
    packages: Path, pairs: list[Pair], local: list[Answer], tmp_path: Path
) -> None:
    port = free_port()
    with llama_cpp(packages, write_gguf(COMPACT, tmp_path, quantised=True), port):
        there = [client(port).answer(open_image(pair.image), pair.prompt) for pair in pairs]
    same = sum(one.text == other.text for one, other in zip(there, local, strict=True))
    assert same >= len(pairs) - 1
    confidences = [answer.confidence for answer in there]
    assert confidences == pytest.approx([answer.confidence for answer in local], abs=0.05)
    assert confidences != pytest.approx([answer.confidence for answer in local], abs=1e-4), "it has 32 bits"


def test_a_server_that_is_killed_in_mid_run_costs_no_image(
    packages: Path,
    files: tuple[Path, Path],
    pairs: list[Pair],
    local: list[Answer],
    broker: Broker,
    satellite: SatelliteEnd,
    tmp_path: Path,
) -> None:
    port = free_port()
    with llama_cpp(packages, files, port) as process:
        ground = AskingGround(tmp_path, f"http://127.0.0.1:{port}", max_pixels=SEEN_PIXELS)
        try:
            wait_for(lambda: bool(ground.of("ready")), "model", 30)
            for number, pair in enumerate(pairs[:FRAMES]):
                satellite.add_image(f"frame-{number}", pair.image, prompt=pair.prompt)
            wait_for(lambda: bool(ground.of("answered")), "a first answer", 20)
            process.kill()
            process.wait()
            wait_for(lambda: bool(ground.of("inference_failed")), "word of the outage", 20)
            assert len(ground.of("answered")) < FRAMES
            with llama_cpp(packages, files, port):
                wait_for(lambda: len(ground.of("answered")) == FRAMES, "all answers", 30)
        finally:
            ground.close()
    answers = {event["frame"]: event["answer"] for event in ground.of("answered")}
    assert answers == {f"frame-{number}": answer.text for number, answer in enumerate(local[:FRAMES])}
    assert all(event["put_off"] for event in ground.of("inference_failed"))
    assert not ground.of("refused")
