"""The shipped pair behind a server that this project did not write: `transformers serve`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nodes.data import FIRST_LIGHT
from nodes.data.pairs import read_pairs
from nodes.models import COMPACT
from nodes.onboard.frame import OnboardFrame
from nodes.onboard.judge import Judge
from nodes.policies import Contact, Queue, SendRegions, decide_frame
from nodes.policies.spaceverse import SpaceVerse
from nodes.vlm.image import open_image
from nodes.vlm.model import load_model
from nodes.vlm.openai import connect
from tests.support.nodes.ends import free_port
from tests.support.servers.transformers_serve import fetched_transformers_serve, transformers_serve

pytestmark = pytest.mark.online
# The server looks for the begin of Qwen's answers in the prompt, and returns it where it does not find it:
# the word tokenizer of the shipped models decodes it with a space.
PREFIX = "<|im_start|> assistant"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    packages = fetched_transformers_serve(tmp_path_factory.mktemp("serving"))
    with transformers_serve(packages, COMPACT, free_port()) as address:
        yield address


def test_a_real_server_answers_as_the_same_model_here(url: str) -> None:
    here, there = load_model(COMPACT, threads=1), connect(f"openai:{url}#{COMPACT}")
    pairs = read_pairs(FIRST_LIGHT)[:4]
    for pair in pairs:
        image = open_image(pair.image)
        local = here.answer([image], pair.prompt, max_new_tokens=8)
        answer = there.answer(image, pair.prompt, max_new_tokens=8)
        assert answer.text.removeprefix(PREFIX) == local.text
        assert answer.confidence is None and there.gives_logprobs is False, "it reports no probabilities"
    pair, around = pairs[0], (Contact(), Queue())
    with OnboardFrame(there, pair.image, pair.prompt, Judge(), 8) as frame:
        size_bytes = pair.image.stat().st_size
        decision, _ = decide_frame(SpaceVerse(), frame, pair.prompt, size_bytes, lambda: around)
        assert isinstance(decision, SendRegions), "a satellite that cannot tell its confidence offloads"
        assert frame.message(decision).data
