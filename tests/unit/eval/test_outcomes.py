"""Outcomes of the shipped pair: they agree with the wrapper, are kept, and are computed once."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nodes.confidence import END
from nodes.data import FIRST_LIGHT
from nodes.evaluation.outcomes import Cache, Outcomes, key_of, message_of, weights_id
from nodes.evaluation.pairs import Pair, read_pairs
from nodes.frame_image import ImageError
from nodes.frame_message import FrameMessage, received_frame
from nodes.model_folder import ModelError
from nodes.models import COMPACT, REGULAR
from nodes.policies import Accept, SendReduced, SendRegions, SendWhole
from nodes.regions import PayloadError

SCORES = [float(number) for number in range(16)]


@pytest.fixture(scope="module")
def pair() -> Pair:
    return read_pairs(FIRST_LIGHT)[1]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return Outcomes(str(COMPACT), str(REGULAR), tmp_path_factory.mktemp("cache"))


def test_stage_by_stage_the_answer_is_that_of_one_go(outcomes: Outcomes, pair: Pair) -> None:
    with Image.open(pair.image) as image:
        answer = outcomes.compact.answer(image, pair.prompt, max_new_tokens=8)
    known = outcomes.onboard(pair)
    assert (known.text, known.token_ids) == (answer.text, answer.token_ids)
    prompt_buckets, token_figures = 32, 3
    seen = known.features[END][-prompt_buckets - token_figures]
    assert seen == pytest.approx(answer.confidence, rel=1e-3)
    assert known.token_confidence(9) == pytest.approx(answer.confidence, rel=1e-6)
    assert set(known.features) == {0, 1, END}


def test_attention_is_a_share_per_head_and_moves_with_the_frame(outcomes: Outcomes, pair: Pair) -> None:
    attention = outcomes.onboard(pair).attention
    assert attention.shape[2] == 16
    assert (attention >= 0).all()
    assert ((attention.sum(2) > 0) & (attention.sum(2) <= 1 + 1e-5)).all()
    other = outcomes.onboard(read_pairs(FIRST_LIGHT)[5]).attention
    assert not np.allclose(attention, other, atol=1e-4)


def test_outcomes_are_computed_once(outcomes: Outcomes, pair: Pair, tmp_path: Path) -> None:
    before = [outcomes.ground(pair, decision, SCORES) for decision in (SendWhole(), SendRegions(24_000))]
    outcomes.onboard(pair)
    computed = outcomes.computed
    again = [outcomes.ground(pair, decision, SCORES) for decision in (SendWhole(), SendRegions(24_000))]
    outcomes.onboard(pair)
    assert again == before
    assert outcomes.computed == computed
    outcomes.ground(pair, SendRegions(24_000), SCORES[::-1])  # other regions: another message
    outcomes.ground(pair, SendRegions(36_000), SCORES)
    assert outcomes.computed == computed + 2


def test_what_is_sent_has_the_size_it_says(pair: Pair, outcomes: Outcomes) -> None:
    whole = pair.image.stat().st_size
    assert message_of(pair, SendWhole(), SCORES, outcomes.layout) == FrameMessage("whole")
    assert outcomes.ground(pair, SendWhole(), SCORES).size_bytes == whole
    reduced = message_of(pair, SendReduced(2), SCORES, outcomes.layout)
    regions = message_of(pair, SendRegions(30_000), SCORES, outcomes.layout)
    assert reduced.data is not None
    assert regions.data is not None
    assert (reduced.form, regions.form) == ("reduced", "regions")
    assert len(reduced.data) < whole / 2
    assert len(regions.data) <= 30_000
    with Image.open(pair.image) as frame:
        small = received_frame("reduced", io.BytesIO(reduced.data))
        assert small.size == (frame.width // 2, frame.height // 2)
        assert received_frame("regions", io.BytesIO(regions.data)).size == frame.size
    with pytest.raises(ValueError, match="sends no picture"):
        message_of(pair, Accept(), SCORES, outcomes.layout)
    with pytest.raises(PayloadError, match="not a message of regions"):
        received_frame("regions", io.BytesIO(reduced.data))


def test_a_damaged_entry_counts_as_none(tmp_path: Path) -> None:
    cache, key = Cache(tmp_path), key_of("a", b"b", 3)
    cache.put(key, {"text": "two"})
    assert cache.get(key) == {"text": "two"}
    (path,) = tmp_path.rglob("*.msgpack")
    path.write_bytes(path.read_bytes()[:3])
    assert cache.get(key) is None
    assert cache.get(key_of("other")) is None
    assert key_of("ab", "c") != key_of("a", "bc")


def test_weights_are_known_by_content(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(REGULAR, folder)
    before = weights_id(str(folder))
    (folder / "README.md").write_text("another card")
    assert weights_id(str(folder)) == before
    for name in ("vocab.txt", "pytorch_model.bin"):
        (folder / name).write_bytes(b"of the model")
        assert weights_id(str(folder)) != before
        before = weights_id(str(folder))
    assert weights_id(str(COMPACT)) == weights_id(str(COMPACT)) != weights_id(str(REGULAR))
    assert weights_id("owner/model") != weights_id("owner/other")
    with pytest.raises(ModelError):
        weights_id("/nowhere/at/all")


def test_what_is_no_picture_is_one_line(outcomes: Outcomes, pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"not a picture")
    broken = Pair("p", "a", tmp_path / "a.jpg", pair.prompt, "two")
    with pytest.raises(ImageError, match="cannot be read as an image") as caught:
        outcomes.onboard(broken)
    assert "\n" not in str(caught.value)
