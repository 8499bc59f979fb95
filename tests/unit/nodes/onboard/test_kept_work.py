"""Views, messages and answers of a file are made once, and are the same bit for bit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nodes.onboard.kept_work import KEPT_PX, KeptWork
from nodes.onboard.layout import Layout
from nodes.onboard.message import FrameMessage, make_message
from nodes.policies import SendReduced, SendRegions, SendWhole
from nodes.vlm.answer import Answer, ServerAnswer, Timings
from nodes.vlm.shared.memory import AnswerMemory
from nodes.vlm.views import ShownFrame, Views

VIEWS = Views(tile_px=None, overview_px=64)
ANSWER = Answer("yes", (4, 5), (-0.1, -0.2), Timings(0.1, 0.2, 0.3, 0.4))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(3).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "f.png")
    return tmp_path / "f.png"


def model(folder: Path, views: Views | None = VIEWS, weights: str = "weights") -> Any:
    return SimpleNamespace(kept=AnswerMemory(folder / "kept", weights), views=views)


def never() -> Any:
    raise AssertionError("it was made again")


def test_views_are_made_once_for_a_content_and_a_model(file: Path, tmp_path: Path) -> None:
    made = ShownFrame.of(Image.open(file).convert("RGB"), VIEWS)
    first = KeptWork.of(model(tmp_path), file).shown(lambda: made)
    other = tmp_path / "copy.png"
    other.write_bytes(file.read_bytes())
    again = KeptWork.of(model(tmp_path), other).shown(never)
    assert first is made and (again.width, again.height) == (400, 300)
    assert [image.tobytes() for image in again.images] == [image.tobytes() for image in made.images]
    assert again.boxes == made.boxes
    for changed in (model(tmp_path, Views(None, 32)), model(tmp_path, weights="others")):
        with pytest.raises(AssertionError, match="again"):
            KeptWork.of(changed, other).shown(never)
    other.write_bytes(b"another file")
    with pytest.raises(AssertionError, match="again"):
        KeptWork.of(model(tmp_path), other).shown(never)


def test_views_as_large_as_a_frame_are_not_kept(file: Path, tmp_path: Path) -> None:
    large = ShownFrame([Image.new("RGB", (KEPT_PX, 2))], None, KEPT_PX, 2)
    assert KeptWork.of(model(tmp_path, None), file).shown(lambda: large) is large
    with pytest.raises(AssertionError, match="again"):
        KeptWork.of(model(tmp_path, None), file).shown(never)


def test_a_message_is_made_once_for_a_decision_and_its_scores(file: Path, tmp_path: Path) -> None:
    frame, layout = Image.open(file).convert("RGB"), Layout()
    scores = [0.1 * number for number in range(16)]

    def message(decision: Any, own_scores: list[float] = scores, *, again: bool = False) -> FrameMessage:
        return KeptWork.of(model(tmp_path), file).message(
            decision,
            layout,
            lambda: own_scores,
            lambda given: never() if again else make_message(decision, lambda: frame, given, layout),
        )

    for decision in (SendReduced(2), SendReduced(3), SendRegions(8_000), SendRegions(20_000)):
        assert message(decision) == message(decision, again=True)
        assert message(decision) == make_message(decision, lambda: frame, lambda: scores, layout)
    assert message(SendWhole()) == FrameMessage("whole")
    with pytest.raises(AssertionError, match="again"):
        message(SendRegions(8_000), scores[::-1], again=True)


def test_an_answer_about_a_received_file_is_given_again_as_remembered(tmp_path: Path) -> None:
    work = KeptWork.of(model(tmp_path), hashlib.sha256(b"regions").digest())
    assert work.answer(lambda: ANSWER, "?", "regions", 8) is ANSWER
    again = work.answer(never, "?", "regions", 8)
    assert isinstance(again, Answer) and again.remembered
    assert (again.text, again.token_ids, again.token_logprobs) == ("yes", (4, 5), (-0.1, -0.2))
    for other in (("??", "regions", 8), ("?", "whole", 8), ("?", "regions", 9)):
        with pytest.raises(AssertionError, match="again"):
            work.answer(never, *other)


def test_answers_of_a_server_and_a_model_without_a_memory_are_not_kept(file: Path, tmp_path: Path) -> None:
    served = ServerAnswer("yes", (), Timings(0.0, 0.0, 0.0, 1.0))
    work = KeptWork.of(model(tmp_path), b"content")
    assert work.answer(lambda: served, "?", "whole", 8) is served
    assert work.answer(lambda: ANSWER, "?", "whole", 8) is ANSWER
    without = KeptWork.of(SimpleNamespace(views=None), file)
    assert without.answer(lambda: served, "?", "whole", 8) is served
    missing = KeptWork.of(model(tmp_path), tmp_path / "missing.png")  # whoever opens it says so
    assert missing.answer(lambda: ANSWER, "?", "whole", 8) is ANSWER
