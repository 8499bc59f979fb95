"""The five answers at the top of a report follow from the frames and the links."""

from __future__ import annotations

from nodes.contract.latency import Latency
from testbed.measure.fidelity import LinkFidelity, Sample
from testbed.results.latency import FrameResult
from testbed.results.results import Results
from testbed.results.summary.plain_words import plain_answers


def _frame(
    answer: str | None, *, by: str | None, late_s: float | None, sent: int, form: str | None
) -> FrameResult:
    latency = None if late_s is None else Latency(0, 1.0, late_s - 1, 0, 0, 0, 0, 0)
    return FrameResult(
        "f", "S", "?", "two", "n", 0.0, answer, by, 0.5, None, sent, late_s, latency, form=form
    )


def _link(name: str, error_s: float | None) -> LinkFidelity:
    rtt = () if error_s is None else (Sample(1.0, 0.04, 0.04 + error_s),)
    return LinkFidelity(name, "r", "t.csv", 0.0, 0.0, rtt, 0, (Sample(1.0, 100.0, 98.0),) * len(rtt), ())


def _answers(*links: LinkFidelity, frames: tuple[FrameResult, ...]) -> dict[str, tuple[str, str]]:
    found = plain_answers(Results("s", "nfqueue", frames, links, 1e-3))
    return {answer.question: (answer.figure, answer.text) for answer in found}


def test_each_question_is_answered_with_its_figure_and_reason() -> None:
    frames = (
        _frame("two", by="ground", late_s=300.0, sent=1_500_000, form="regions"),
        _frame("two", by="satellite", late_s=3.0, sent=40, form=None),
        _frame("six", by="satellite", late_s=2.0, sent=40, form=None),
        _frame(None, by=None, late_s=None, sent=0, form=None),
    )
    found = _answers(_link("A", 0.0004), frames=frames)
    assert found["How right?"][0] == "50.0%"
    assert "1 were answered wrongly, 1 have no answer." in found["How right?"][1]
    assert found["How late?"][0] == "3.0 s" and "the slowest took 5 min" in found["How late?"][1]
    assert found["Why late?"][0] == "contact wait" and found["Why late?"][1].startswith("99.0% of the time")
    assert found["What was sent?"][0] == "1.5 MB" and "(1 sent as regions)" in found["What was sent?"][1]
    figure, text = found["Can I trust the link?"]
    assert figure == "yes" and "rate error 2.0%" in text


def test_a_link_beyond_its_bound_or_not_measured_is_not_called_exact() -> None:
    frames = (_frame(None, by=None, late_s=None, sent=0, form=None),)
    question = "Can I trust the link?"
    assert _answers(_link("A", 0.0004), _link("B", 0.002), frames=frames)[question][0] == "no"
    assert _answers(_link("A", 0.0004), _link("B", None), frames=frames)[question][0] == "partly"
    assert _answers(_link("B", None), frames=frames)[question][0] == "not measured"
    assert _answers(frames=frames)["How late?"] == ("-", "No frame was answered.")
