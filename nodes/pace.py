"""Holds a model's answers back until the machine of a profile would have had them.

The answer is the real model's, computed here; only its time is another machine's. Where this machine is
slower than the profile nothing can be done about it: such an answer comes when it is there, and is marked by
`late_s`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from nodes.report import Report
from nodes.stage_profile import Profile

if TYPE_CHECKING:
    from nodes.vlm import Answer

SLEEP_UNTIL_S = 0.002  # before the due moment; then it looks at the clock, for a sleep ends some 0.1 ms late


class Pace:
    """The pace of one machine.

    Args:
        profile: its times.
        report: gets an event `paced` for every answer: profile, frame, asked_s (what it was to take),
        computed_s
            (what it took here), late_s (by how much it came later than asked).
    """

    def __init__(self, profile: Profile, report: Report) -> None:
        self.profile = profile
        self._report = report

    def hold(self, begin_s: float, work_s: float) -> float:
        """Return `work_s` after `begin_s` (CLOCK_MONOTONIC), or at once; by how much it is late, seconds.

        `work_s` is a sum of the profile's stages; call it after each stage where an answer is given in
        stages.
        """
        due_s = begin_s + work_s
        while (left_s := due_s - time.monotonic()) > 0:
            time.sleep(max(0.0, left_s - SLEEP_UNTIL_S))
        return max(0.0, -left_s)

    def answered(self, answer: Answer, begin_s: float, frame: str, max_new_tokens: int) -> Answer:
        """Hold a whole answer that was begun at `begin_s`; returns it with the profile's times."""
        from nodes.vlm import Timings  # noqa: PLC0415 - it is loaded when there is an answer

        computed_s = time.monotonic() - begin_s
        further = further_tokens(len(answer.token_ids), max_new_tokens)
        asked_s = self.profile.answer_s(further)
        late_s = self.hold(begin_s, asked_s) if computed_s < asked_s else computed_s - asked_s
        self._report(
            "paced",
            frame=frame,
            profile=self.profile.name,
            asked_s=asked_s,
            computed_s=computed_s,
            late_s=late_s,
        )
        stage_s = self.profile.stage_s
        return replace(
            answer,
            timings=Timings(
                preprocess_s=stage_s("preprocess"),
                vision_s=stage_s("vision"),
                prefill_s=stage_s("prefill"),
                decode_s=further * stage_s("decode"),
            ),
        )


def further_tokens(tokens: int, max_new_tokens: int) -> int:
    """Tokens decoded after the first, of an answer of `tokens` tokens without the one that ends it."""
    ended = tokens < max_new_tokens  # else it was cut off, and nothing ended it
    return max(0, tokens if ended else tokens - 1)
