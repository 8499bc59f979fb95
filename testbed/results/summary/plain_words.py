"""The five questions that readers of a report ask first, each answered by a figure and a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nodes.contract.intervals import wilson_interval
from nodes.contract.latency import LABELS, PARTS
from testbed.measure.fidelity import LinkFidelity
from testbed.results.clock.passage import duration_text
from testbed.results.latency import FrameResult

if TYPE_CHECKING:
    from testbed.results.results import Results

_REASONS = 2  # parts of the latency that are named


@dataclass(frozen=True, slots=True)
class PlainAnswer:
    """The answer to one question.

    Args:
        question: what a reader asks.
        figure: the shortest answer.
        text: the same with its reasons, as one or two sentences.
    """

    question: str
    figure: str
    text: str


def plain_answers(results: Results) -> list[PlainAnswer]:
    """Return how right and how late the answers were and why, what was sent, and how exact the links were."""
    records = (*results.links, *results.ways)
    return [
        _how_right(results.frames),
        _how_late(results.frames),
        _why_late(results.frames),
        _what_was_sent(results.frames),
        _link_accuracy(records, results.link_error_bound_s),
    ]


def _how_right(frames: Sequence[FrameResult]) -> PlainAnswer:
    right, answered = sum(f.correct for f in frames), sum(f.answered for f in frames)
    low, high = wilson_interval(right, len(frames))
    text = (
        f"{right:,} of {len(frames):,} frames have a right answer (95 % interval {low:.1%} to {high:.1%}); "
        f"{answered - right:,} were answered wrongly"
    )
    missing = len(frames) - answered
    text += f", {missing:,} have no answer." if missing else "."
    return PlainAnswer("How right?", f"{right / len(frames):.1%}", text)


def _how_late(frames: Sequence[FrameResult]) -> PlainAnswer:
    late_s = [f.end_to_end_s for f in frames if f.answered and f.end_to_end_s is not None]
    if not late_s:
        return PlainAnswer("How late?", "-", "No frame was answered.")
    median_s, p95_s = (float(value) for value in np.percentile(late_s, (50, 95)))
    text = (
        f"Half of {len(late_s):,} answers came within {_time(median_s)} of the capture, "
        f"95 % within {_time(p95_s)}; the slowest took {_time(max(late_s))}."
    )
    return PlainAnswer("How late?", _time(median_s), text)


def _why_late(frames: Sequence[FrameResult]) -> PlainAnswer:
    latencies = [f.latency for f in frames if f.latency is not None]
    total_s = sum(latency.total_s for latency in latencies)
    if not total_s:
        return PlainAnswer("Why late?", "-", "No frame was answered.")
    sums_s = {part: sum(getattr(latency, part) for latency in latencies) for part in PARTS}
    first, *more = sorted(PARTS, key=lambda part: -sums_s[part])[: 1 + _REASONS]
    rest = ", ".join(f"{LABELS[part]} {sums_s[part] / total_s:.1%}" for part in more)
    text = (
        f"{sums_s[first] / total_s:.1%} of the time from capture to answer was {LABELS[first]} "
        f"({_time(sums_s[first] / len(latencies))} per frame on average). Next: {rest}."
    )
    return PlainAnswer("Why late?", LABELS[first], text)


def _what_was_sent(frames: Sequence[FrameResult]) -> PlainAnswer:
    sent = sum(f.bytes_sent for f in frames)
    on_board = sum(f.answered and f.answered_by == "satellite" for f in frames)
    offloaded = [f for f in frames if f.answered and f.answered_by == "ground"]
    forms = Counter(f.form or "whole" for f in offloaded)
    text = f"{on_board:,} frames were answered on board and {len(offloaded):,} on the ground"
    if forms:
        text += f" ({', '.join(f'{count:,} sent {_form(form)}' for form, count in forms.most_common())})"
    captured = [(f.saved_bytes, f.decision.captured_bytes) for f in frames if f.decision is not None]
    known = [(saved, size) for saved, size in captured if saved is not None and size]
    if known:
        share = sum(saved for saved, _ in known) / sum(size for _, size in known)
        text += f". That saved {share:.0%} of the captured bytes"
    return PlainAnswer("What was sent?", _data_size(sent), f"{text}.")


def _form(form: str) -> str:
    return "as regions" if form == "regions" else form


def _link_accuracy(records: Sequence[LinkFidelity], bound_s: float) -> PlainAnswer:
    question = "Can I trust the link?"
    errors_s = [error for link in records if (error := link.rtt_error_s(50)) is not None]
    if not errors_s:
        text = "No link was measured: the figures shown are the configured ones."
        return PlainAnswer(question, "not measured", text)
    beyond, unmeasured = sum(error > bound_s for error in errors_s), len(records) - len(errors_s)
    text = (
        f"{len(errors_s) - beyond} of {len(errors_s)} measured links kept the {bound_s * 1e3:.3g} ms bound "
        f"on the median RTT error; the worst was {max(errors_s) * 1e3:.2f} ms"
    )
    found = [link.rate_error(way) for link in records for way in (link.down_rate, link.up_rate)]
    rates = [abs(error) for error in found if error is not None]
    if rates:
        text += f", the worst rate error {max(rates):.1%}"
    if unmeasured:
        text += f". {unmeasured} of {len(records)} links were not measured"
    figure = "no" if beyond else "partly" if unmeasured else "yes"
    return PlainAnswer(question, figure, f"{text}.")


def _time(seconds: float) -> str:
    """Return a duration as text, in finer steps than `duration_text` where answers are fast."""
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else duration_text(seconds)


def _data_size(count: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
