"""Answers are computed once; what comes from the memory is the same bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nodes.models import COMPACT
from nodes.onboard.layout import Layout
from nodes.onboard.stages import StagedAnswer
from nodes.vlm.model import VisionLanguageModel, load_model
from nodes.vlm.shared.memory import AnswerMemory, RememberedSession

PROMPT, MOST = "How many ships are on the water?", 8


class Counting:
    """A model that counts the sessions that it begins, with a memory before it, as a node sees it."""

    def __init__(self, model: VisionLanguageModel, folder: Path, fingerprint: str = "weights") -> None:
        self.views, self._model = model.views, model
        self.memory = AnswerMemory(folder, fingerprint)
        self.begun = 0

    def begin(
        self, images: Sequence[Image.Image], prompt: str, *, boxes: Any, max_new_tokens: int
    ) -> RememberedSession:
        def begin() -> Any:
            self.begun += 1
            return self._model.begin(images, prompt, boxes=boxes, max_new_tokens=max_new_tokens)

        def text_of(tokens: Sequence[int]) -> str:
            return str(self._model.processor.decode(list(tokens), skip_special_tokens=True)).strip()

        key = self.memory.key("session", images, prompt, boxes, max_new_tokens)
        return RememberedSession(self.memory, key, begin, text_of, max_new_tokens)


@pytest.fixture(scope="module")
def model() -> VisionLanguageModel:
    return load_model(COMPACT, threads=1)


@pytest.fixture(scope="module")
def frame() -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 255, (300, 400, 3), dtype=np.uint8))


def stages(
    model: Any, frame: Image.Image, count: int, *, attention: bool = True, prompt: str = PROMPT
) -> Any:
    """Features, log-probabilities and text of some stages, as exact numbers."""
    made: list[Any] = []
    with StagedAnswer(model, frame, prompt, Layout(), MOST) as staged:
        for _ in range(count):
            stage = staged.advance()
            made.append((stage.stage, stage.features.tolist(), stage.logprobs, staged.answer().text))
        if attention:
            made.append(staged.attention().tolist())
    return made


def test_a_second_session_computes_nothing(
    model: VisionLanguageModel, frame: Image.Image, tmp_path: Path
) -> None:
    expected = stages(model, frame, 5)
    first, second = Counting(model, tmp_path), Counting(model, tmp_path)
    assert stages(first, frame, 5) == stages(second, frame, 5) == expected
    assert (first.begun, second.begun) == (1, 0)


def test_a_session_goes_on_where_an_earlier_one_has_stopped(
    model: VisionLanguageModel, frame: Image.Image, tmp_path: Path
) -> None:
    expected = stages(model, frame, 5)
    for count, begun in ((1, 1), (1, 0), (2, 1), (2, 0), (5, 1), (3, 0), (5, 0)):
        counting = Counting(model, tmp_path)
        assert stages(counting, frame, count, attention=False) == expected[:count]
        assert counting.begun == begun, count
    counting = Counting(model, tmp_path)
    assert stages(counting, frame, 2)[-1] == expected[-1] and counting.begun == 1, "attention was new"
    assert stages(Counting(model, tmp_path), frame, 5) == expected


def test_an_answer_says_whether_it_was_computed(
    model: VisionLanguageModel, frame: Image.Image, tmp_path: Path
) -> None:
    said = []
    for _ in range(2):
        session = Counting(model, tmp_path).begin([frame], PROMPT, boxes=None, max_new_tokens=MOST)
        session.decode()
        said.append(session.answer())
        session.__exit__()
    assert [answer.remembered for answer in said] == [False, True]
    assert said[0].token_logprobs == said[1].token_logprobs and said[0].timings == said[1].timings


def test_other_content_is_another_answer(
    model: VisionLanguageModel, frame: Image.Image, tmp_path: Path
) -> None:
    stages(Counting(model, tmp_path), frame, 1)
    changed = frame.copy()
    changed.putpixel((0, 0), (1, 2, 3))
    for fingerprint, picture, prompt in (
        ("weights", changed, PROMPT),
        ("weights", frame, "Is it cloudy?"),
        ("others", frame, PROMPT),
    ):
        counting = Counting(model, tmp_path, fingerprint)
        stages(counting, picture, 1, prompt=prompt)
        assert counting.begun == 1


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\xc7\x04\x01junk"])
def test_a_damaged_record_is_computed_again(
    model: VisionLanguageModel, frame: Image.Image, tmp_path: Path, content: bytes
) -> None:
    expected = stages(Counting(model, tmp_path), frame, 5)
    (record,) = tmp_path.glob("*/*.msgpack")
    record.write_bytes(content)
    counting = Counting(model, tmp_path)
    assert stages(counting, frame, 5) == expected and counting.begun == 1


def test_a_folder_that_cannot_be_written_costs_the_next_one_a_computation(
    model: VisionLanguageModel, frame: Image.Image, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for _ in range(2):
        counting = Counting(model, tmp_path / "file")
        stages(counting, frame, 1)
        assert counting.begun == 1
