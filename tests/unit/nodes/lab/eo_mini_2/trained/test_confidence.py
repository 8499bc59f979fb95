"""Heads are trained on recorded stages, measured on other frames, and saved as a satellite loads them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nodes.lab.eo_mini_2.__main__ import main
from nodes.lab.eo_mini_2.compose import draw_scenes
from nodes.lab.eo_mini_2.scene import REDUCED_PX
from nodes.lab.eo_mini_2.trained import confidence as confidence_module
from nodes.lab.eo_mini_2.trained import stages as stages_module
from nodes.lab.eo_mini_2.trained.confidence import qualities, thresholds, train
from nodes.lab.eo_mini_2.trained.outcomes import Outcome
from nodes.lab.eo_mini_2.trained.stages import StagedOutcome, staged_outcomes_of
from nodes.lab.evaluation import selection
from nodes.onboard.confidence import END, REGULARIZATIONS
from nodes.onboard.judge import Judge
from nodes.vlm.views import Views


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no frames and few samples, and train heads without a choice of their regularization."""
    monkeypatch.setattr(confidence_module, "_RESAMPLES", 20)
    monkeypatch.setattr(confidence_module, "fitting_scenes", list)
    monkeypatch.setattr(confidence_module, "measured_scenes", lambda _: [])
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(selection, "choose_regularization", lambda *_: REGULARIZATIONS[0])


def _answers(frames: int, seed: int) -> list[StagedOutcome]:
    """Return counts that are right where the first feature of stage 0 is large; tokens know nothing."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(frames):
        sight = rng.normal()
        right = bool(sight + 0.2 * rng.normal() > 0)
        row = Outcome(
            f"{seed}-{number}",
            True,
            30.0,
            "count ships",
            "How many?",
            "two",
            "two" if right else "one",
            (-0.5,),
        )
        seen, token = np.array([sight, 1.0, rng.normal()]), np.array([rng.normal(), 0.6])
        made.append(StagedOutcome(row, {0: seen, 1: token, END: token}))
    return made


def test_a_head_foretells_right_answers_where_tokens_do_not() -> None:
    fitting, measured = _answers(60, 1), _answers(80, 2)
    network, fitted = train(fitting)
    assert set(network.heads) == {"correctness"}
    at_0, at_1, at_end = qualities(network, measured)
    assert (at_0.stage, at_1.stage, at_end.stage) == (0, 1, END)
    assert at_0.auroc.value > 0.9
    assert at_0.tokens is None
    assert at_1.tokens is not None
    assert at_1.tokens.value == 0.5
    first = thresholds(network, fitted, fitting, measured, 0.1)[0]
    assert first.accepted > 0.3
    assert first.accepted_wrong.low <= 0.1
    assert first.offloaded > 0.3
    assert first.offloaded_right.low <= 0.1


def test_agreement_is_a_target_of_its_own() -> None:
    fitting = _answers(60, 1)
    regular = [dataclasses.replace(one.outcome, answer="one") for one in fitting]
    _, fitted = train(fitting, regular)
    # The regular model is always wrong, so that both agree exactly where the answer is wrong.
    right = np.array([one.outcome.right for one in fitting])
    values = fitted["agreement"][0]
    assert values[~right].mean() > 0.7
    assert values[right].mean() < 0.3
    with pytest.raises(ValueError, match="different prompts"):
        train(fitting, regular[::-1])


def test_the_command_saves_what_a_satellite_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"val": _answers(60, 1), "further": _answers(80, 2)}
    monkeypatch.setattr(confidence_module, "staged_outcomes_of", lambda _folder, name, *_: answers[name])
    assert main(["confidence", "--compact", str(tmp_path), "--error-rate", "2"]) == 2
    assert "between 0 and 1" in capsys.readouterr().err
    assert main(["confidence", "--compact", str(tmp_path)]) == 0
    assert "counts" in capsys.readouterr().out
    judge = Judge.load(tmp_path / "confidence")
    assert judge.layout.stage_tokens == (1, 4, 9)
    one = answers["val"][0]
    confidence = judge.confidence(0, one.features[0])
    assert confidence is not None
    assert (confidence > 0.5) == one.outcome.right
    about = json.loads((tmp_path / "confidence" / "confidence.json").read_text())
    assert about["pairs"] == 60
    assert len(about["qualities"]) == len(about["thresholds"]) == 3


def test_answers_of_one_kind_only_train_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [one for one in _answers(60, 1) if not one.outcome.right]
    monkeypatch.setattr(confidence_module, "staged_outcomes_of", lambda *_: wrong)
    assert main(["confidence", "--compact", str(tmp_path)]) == 2
    assert "all right or all wrong" in capsys.readouterr().err
    assert not (tmp_path / "confidence").exists()


class _Session:
    """A session that answers "two" or a list of three words."""

    visual_features = np.ones(4)

    def __init__(self, words: int) -> None:
        self._words = words
        self.tokens: list[int] = []

    @property
    def logprobs(self) -> list[float]:
        return [-0.25] * len(self.tokens)

    @property
    def hidden_states(self) -> list[Any]:
        return [np.full(2, float(len(self.tokens)))]

    def decode(self, count: int = 99) -> None:
        self.tokens += [0] * min(count, self._words - len(self.tokens))

    def answer(self) -> Any:
        return SimpleNamespace(text="two", token_logprobs=self.logprobs)

    def __exit__(self, *_: object) -> None:
        pass


def test_stages_are_recorded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def begin(_images: object, prompt: str, **_options: object) -> _Session:
        asked.append(prompt)
        return _Session(6 if prompt.startswith("List") else 1)

    model = SimpleNamespace(views=Views(None, REDUCED_PX), begin=begin)
    monkeypatch.setattr(stages_module, "load_model", lambda *_, **__: model)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    scenes = list(draw_scenes("val", 1, 5))
    first = staged_outcomes_of(tmp_path, "val", scenes)
    assert [sorted(one.features) for one in first[:3]] == [[END, 0, 1, 4], [END, 0, 1, 4], [END, 0, 1]]
    assert first[0].features[4][0] == 4  # the hidden state after four tokens
    again = staged_outcomes_of(tmp_path, "val", scenes)
    assert [one.outcome for one in again] == [one.outcome for one in first]
    for one, other in zip(first, again, strict=True):
        assert {stage: values.tolist() for stage, values in one.features.items()} == {
            stage: values.tolist() for stage, values in other.features.items()
        }
    assert len(asked) == 4
    (tmp_path / "model.safetensors").write_bytes(b"others!")
    staged_outcomes_of(tmp_path, "val", scenes)
    assert len(asked) == 8
