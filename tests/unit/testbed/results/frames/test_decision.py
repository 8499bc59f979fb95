"""What a run tells of a decision on board: in the table, in the drawing, and with old events."""

from __future__ import annotations

from html.parser import HTMLParser

from rich.console import Console

from nodes.contract.events import (
    Captured,
    EventRecord,
    InferenceFinished,
    Received,
    SendFinished,
    SentRegions,
    StageJudgement,
)
from testbed.results.frames.decision import KeptRegions, OnboardDecision, decision_of
from testbed.results.frames.drawing import regions_svg
from testbed.results.latency import FrameResult
from testbed.results.results import Results, bytes_sent
from testbed.results.table import results_table

JUDGED = [
    StageJudgement(stage=-1, finished=False, confidence=None),
    StageJudgement(stage=0, finished=False, confidence=0.4, offload_below=0.1),
    StageJudgement(stage=1, finished=False, confidence=0.31, offload_below=0.55, accept_from=0.9),
]
FINISHED = InferenceFinished(
    frame="f",
    answer="two",
    confidence=0.7,
    stage=1,
    decision="offload",
    form="regions",
    regions=SentRegions(rows=1, columns=2, relevance=[0.1, 0.9], reductions=[0, 2]),
    judged=JUDGED,
    message_bytes=29_000,
    why="confidence 0.31 after one token was below 0.55: sent down, 1 of 2 regions, 29 of 113 kB",
)


def decided(finished: InferenceFinished = FINISHED) -> OnboardDecision:
    made = decision_of([Captured(frame="f", size_bytes=113_000), finished], finished)
    assert made is not None
    return made


def frame(decision: OnboardDecision | None) -> FrameResult:
    return FrameResult(
        "f", "S", "?", "two", "", 0.0, "two", "ground", 0.7, None, 30_000, None, None, form="regions",
        decision=decision,
    )  # fmt: skip


def printed(*frames: FrameResult) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(results_table(Results("s", "nfqueue", frames, (), 1e-3), 80))
    return capture.get()


def test_the_table_has_stage_confidences_regions_and_bytes_saved() -> None:
    text = printed(frame(decided()))
    (row,) = [line for line in text.splitlines() if "0.31<0.55" in line]
    assert row.split() == ["f", "1", "token", "0.40", "0.31<0.55", "ground", "1/2", "83.0", "kB"]
    assert max(map(len, text.splitlines())) <= 80


def test_a_frame_for_which_the_contact_has_no_room_says_so() -> None:
    late = [JUDGED[0], JUDGED[1].model_copy(update={"offload_below": 0.5, "part_bytes": 900.0})]
    on_board = FINISHED.model_copy(
        update={"judged": late, "regions": None, "message_bytes": None, "form": None}
    )
    assert [decided(on_board).sent, decided().sent] == ["no room", "1/2"]
    accepted = on_board.model_copy(update={"judged": [late[1].model_copy(update={"confidence": 0.6})]})
    assert decided(accepted).sent == "-"
    whole = on_board.model_copy(update={"form": "whole", "message_bytes": 113_000})
    assert decided(whole).sent == "whole"


def test_a_frame_of_an_earlier_version_has_no_decision_to_tell() -> None:
    older = decided(InferenceFinished(frame="f", answer="two", confidence=0.7, decision="answer"))
    assert (older.when, older.confidences, older.why) == ("-", "-", None)
    assert "decided at" not in printed(frame(older))
    assert "decided at" not in printed(frame(None))
    before = decided(FINISHED.model_copy(update={"judged": JUDGED[:1]}))
    assert "decided at" not in printed(frame(before)), "the policy needed no model"
    assert decision_of([], None) is None


def test_bytes_are_saved_only_of_frames_with_an_answer() -> None:
    assert frame(decided()).saved_bytes == 83_000
    unanswered = FrameResult("f", "S", "?", "two", "", 0.0, None, None, None, None, 0, None, None,
                             decision=decided())  # fmt: skip
    assert unanswered.saved_bytes is None


def test_regions_are_drawn_by_relevance_and_by_what_was_sent() -> None:
    regions = KeptRegions(1, 2, (0.1, 0.9), (0, 1))
    assert [cell[3] for cell in regions.cells()] == ["overview", "own"]
    svg = regions_svg(regions, 'data:"><script>')
    assert svg.count("<rect") == 2 and "<script" not in svg and "1/2 regions sent" in svg
    HTMLParser().feed(svg)
    for odd in (
        KeptRegions(1, 3, (0.1,), (0,)),
        KeptRegions(0, 0, (), ()),
        KeptRegions(-1, -2, (1.0, 1.0), (0, 0)),
        KeptRegions(1 << 20, 1 << 20, (), ()),
    ):
        assert regions_svg(odd, "") == ""
    assert regions_svg(KeptRegions(1, 1, (0.0,), (1,)), "").count("<rect") == 1


def test_of_a_message_that_was_cut_off_the_bytes_count_that_it_was_answered_from() -> None:
    cut = Received(frame="f", what="image", size_bytes=7000, sha256_ok=True, is_cut=True)
    later = SendFinished(frame="f", what="image", bytes_sent=7100, chunks=1, resent_chunks=0)
    for events, expected in (([cut], 7000), ([cut, later], 7100), ([later], 7100), ([], 0)):
        records = [EventRecord(node="S", monotonic_s=1.0, event=event) for event in events]
        assert bytes_sent(records) == expected
