"""The judge of the campaign finds what it is to find."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.campaign.flight import Fault, Flight, judge
from tests.support.injected_run import Ended

CALM = Fault("calm", lambda flight: None)
COSTLY = Fault("costly", lambda flight: None, costs=True)
REPEATS = Fault("repeats", lambda flight: None, repeats=True)
HEADLINE = "PASSED: 2 of 2 frames answered"


class Case:
    """A run that went well: one frame of each satellite."""

    def __init__(self, folder: Path) -> None:
        self.flight = Flight(folder, random.Random(1))  # noqa: S311 - nothing is drawn
        made = folder / "runs/run"
        (made / "logs").mkdir(parents=True)
        self.log, self._events = made / "logs/a.log", made / "events.jsonl"
        self.frames: dict[str, dict[str, Any]] = {}
        for number, name in enumerate(("a0", "b0")):
            path = folder / f"{name}.png"
            Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
            self.flight.frames[name] = path
            self.flight.answers(f"send: {name}", path.read_bytes())
            self.frames[name] = {"frame": name, "answer": "yes", "answered_by": "ground"}
        self.answered = ["a0", "b0"]
        self.causes: list[dict[str, Any]] = []
        self.headline, self.code = HEADLINE, 0

    def lose(self, name: str, reason: str | None) -> None:
        self.frames[name]["answer"] = None
        self.answered.remove(name)
        self.code = 1
        if reason is not None:
            self.causes.append({"reason": reason, "frames": [name]})

    def judged(self, *faults: Fault, shown: str | None = None, code: int | None = None) -> str:
        lines = [{"event": "answered", "frame": name, "answer": "yes"} for name in self.answered]
        self._events.write_text("".join(json.dumps(line) + "\n" for line in lines))
        status = "failed" if self.code else "passed"
        verdict = {"exit_code": self.code, "headline": self.headline, "status": status, "causes": self.causes}
        results = {"verdict": verdict, "frames": list(self.frames.values())}
        ended = Ended(self.code if code is None else code, f"{shown or self.headline}\n", "", results)
        return "; ".join(judge(self.flight, list(faults) or [CALM], ended))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_run_in_which_all_went_well_passes(case: Case) -> None:
    assert case.judged() == ""


def test_a_frame_that_is_lost_needs_a_word_and_a_fault_that_explains_it(case: Case) -> None:
    case.lose("a0", None)
    assert "a0 has no answer, without a word" in case.judged(COSTLY)
    case.causes.append({"reason": "damaged", "frames": ["a0"]})
    assert "although no fault destroyed it: damaged" in case.judged()
    assert case.judged(COSTLY) == ""


def test_a_fault_explains_the_loss_of_one_frame(case: Case) -> None:
    case.frames["a1"] = {"frame": "a1", "answer": None, "answered_by": None}
    case.lose("a0", "damaged")
    case.causes.append({"reason": "damaged", "frames": ["a1"]})
    assert "2 frames were lost, and 1 destroyed" in case.judged(COSTLY)
    assert "lost" not in case.judged(COSTLY, COSTLY)


def test_no_frame_of_the_other_satellite_may_be_lost(case: Case) -> None:
    case.lose("b0", "damaged")
    assert "b0 of the other satellite: damaged" in case.judged(COSTLY)


def test_a_frame_that_is_not_in_the_results_is_missed(case: Case) -> None:
    del case.frames["a0"]
    assert "a0 is not in results.json" in case.judged()


def test_an_altered_image_and_a_wrong_answer_are_found(case: Case) -> None:
    case.flight.answers("send: a0", case.flight.frames["b0"].read_bytes())
    case.frames["b0"]["answer"] = "forged"
    wrong = case.judged(REPEATS)
    assert "another image than that of a0" in wrong and "b0 has the answer 'forged'" in wrong


def test_what_is_answered_twice_needs_a_fault_that_explains_it(case: Case) -> None:
    case.answered.append("a0")
    case.flight.answers("send: b0", case.flight.frames["b0"].read_bytes())
    wrong = case.judged()
    assert "a0 was answered 2 times" in wrong and "asked 2 times about b0" in wrong
    assert case.judged(REPEATS) == ""


def test_exit_code_first_line_and_results_have_to_agree(case: Case) -> None:
    assert "exit code 1, and 0 in results.json" in case.judged(code=1)
    assert "first line" in case.judged(shown="PASSED: 1 of 2 frames answered")
    case.code = 1
    assert "exit code 1 with 0 frames that failed" in case.judged()


def test_tracebacks_and_missing_results_are_found(case: Case) -> None:
    case.log.write_text("Traceback (most recent call last):")
    assert "a traceback in a.log" in case.judged()
    assert "no results.json" in judge(case.flight, [], Ended(1, "", "it broke", None))[0]
