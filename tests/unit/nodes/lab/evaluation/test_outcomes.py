"""Outcomes of the shipped pair: they agree with the wrapper, are kept, and are computed once."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nodes.data import FIRST_LIGHT
from nodes.data.pairs import Pair, read_pairs
from nodes.errors import ImageError, ModelError, PayloadError
from nodes.lab.evaluation.compute_times import ComputeTimes
from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.lab.evaluation.outcomes import Cache, Outcomes, key_of, message_of, weights_id
from nodes.lab.evaluation.workers.executor import ThisProcess
from nodes.lab.evaluation.workers.precompute import precompute_ground
from nodes.lab.evaluation.workers.processes import LocalProcesses
from nodes.models import COMPACT, REGULAR
from nodes.onboard.confidence import END
from nodes.onboard.judge import Judge
from nodes.onboard.message import FrameMessage, received_frame
from nodes.policies import Accept, SendReduced, SendRegions, SendWhole
from tests.support import ROOT
from tests.support.waiting import wait_for

SCORES = [float(number) for number in range(16)]
FREE = ComputeTimes(*[0.0] * len(fields(ComputeTimes)))


class Counted:
    """A bar that counts."""

    done = 0

    @contextmanager
    def step(self, description: str, total: int) -> Iterator[Callable[[], None]]:
        yield self._tick

    def _tick(self) -> None:
        self.done += 1


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


def test_several_processes_compute_what_one_would(tmp_path: Path) -> None:
    pairs = read_pairs(FIRST_LIGHT)[1:3]
    decisions = [SendReduced(4), SendRegions(24_000)]
    alone, together = (Outcomes(str(COMPACT), str(REGULAR), tmp_path / name) for name in ("a", "t"))
    judge = Judge()
    asked = {
        outcomes: [
            (EvaluatedPair(pair, outcomes, FREE, judge), decision) for pair in pairs for decision in decisions
        ]
        for outcomes in (alone, together)
    }
    bars = Counted()
    precompute_ground(ThisProcess(alone), alone, asked[alone], "alone", bars)
    processes = LocalProcesses(together, 2)
    try:
        precompute_ground(processes, together, asked[together], "together", bars)
        assert bars.done == 2 * len(asked[together])
        assert alone.computed == together.computed + len(asked[alone]), "processes compute elsewhere"
        before = together.computed
        for (subject, decision), (other, _) in zip(asked[together], asked[alone], strict=True):
            assert subject.sent(decision) == other.sent(decision)
        assert together.computed == before
        precompute_ground(processes, together, asked[together], "again", bars)
        assert bars.done == 2 * len(asked[together])
    finally:
        processes.close()


def test_a_picture_that_is_none_ends_several_processes_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"not a picture")
    first = read_pairs(FIRST_LIGHT)[0]
    outcomes = Outcomes(str(COMPACT), str(REGULAR), tmp_path / "cache")
    subject = EvaluatedPair(replace(first, image=tmp_path / "a.jpg"), outcomes, FREE, Judge())
    subject.__dict__["scores"] = SCORES  # the compact model cannot look at it either
    processes = LocalProcesses(outcomes, 2)
    with pytest.raises(ImageError, match=r"a\.jpg"):
        precompute_ground(processes, outcomes, [(subject, SendReduced(2))], "several", Counted())
    processes.close()


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
    with pytest.raises(ValueError, match="sends no image"):
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


MANY = """
import sys
from pathlib import Path
from nodes.data import FIRST_LIGHT
from nodes.lab.evaluation.outcomes import Outcomes
from nodes.data.pairs import read_pairs
from nodes.lab.evaluation.workers.precompute import precompute_ground
from nodes.lab.evaluation.workers.processes import LocalProcesses
from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.onboard.judge import Judge
from nodes.models import COMPACT, REGULAR
from nodes.policies import SendReduced
from tests.unit.nodes.lab.evaluation.test_outcomes import FREE, Counted

if __name__ == "__main__":
    outcomes = Outcomes(str(COMPACT), str(REGULAR), Path(sys.argv[1]))
    subject = EvaluatedPair(read_pairs(FIRST_LIGHT)[0], outcomes, FREE, Judge())
    asked = [(subject, SendReduced(times)) for times in range(4, 100)]
    precompute_ground(LocalProcesses(outcomes, 2), outcomes, asked, "many", Counted())
"""


def descendants(pid: int | str) -> list[str]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return children + [later for child in children for later in descendants(child)]


def test_several_processes_end_with_the_one_that_began_them(tmp_path: Path) -> None:
    (script := tmp_path / "many.py").write_text(MANY)
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "cache")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_for(lambda: len([*tmp_path.rglob("*.msgpack")]) > 1, "the ground's first outcome", 60)
        children = descendants(process.pid)
        assert len(children) >= 4  # two that compute, the one that forked them, and one that tidies up
        process.kill()
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children), "their end", 20)
