"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from nodes.contract.latency import SHORT_LABELS
from testbed.machine.processor_load import load_text
from testbed.measure.fidelity import LinkFidelity
from testbed.results.dishes import dish_tables
from testbed.results.frames.decision import OnboardDecision
from testbed.results.latency import FrameResult
from testbed.results.results import Results


def results_table(results: Results, width: int) -> RenderableType:
    """Return verdict, causes, warnings, frames, totals and links, for a console `width` characters wide.

    Verdict, causes and warnings are one line each, however long.
    """
    verdict = results.verdict
    parts: list[RenderableType] = [
        _line(verdict.headline, "bold green" if verdict.exit_code == 0 else "bold red"),
        *(_line(f"  {cause.line()}", "red") for cause in verdict.causes),
        *([_line(results.acceleration.line(), "bold")] if results.acceleration is not None else []),
        *([_line(results.passage.line(), "bold")] if results.passage is not None else []),
        *(_line(f"WARNING: {text}", "bold yellow") for text in results.warnings()),
    ]
    parts += [
        *_frames(results, width),
        *_decisions(results),
        _totals(results),
        *(Text(backlog.line()) for backlog in results.backlogs if backlog.items),
        *(Text(loss.line()) for loss in results.losses if loss.inside or loss.late),
        *(Text(fault.line()) for fault in results.faults),
        *(Text(task.line()) for task in results.tasks),
        *dish_tables(results.dishes, results.dish_uses),
        *(Text(power.line()) for power in results.powers),
        *(Text(board.line()) for board in results.boards),
        *(Text(clock.line()) for clock in results.clocks),
        *map(link_table, (*results.links, *results.ways)),
        *([Text(results.note, style="dim")] if results.note else []),
    ]
    return Group(*parts)


def _line(text: str, style: str) -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ignore")


def _frames(results: Results, width: int) -> list[Table]:
    """One table of everything where it fits, else one of the answers and one of the seconds."""
    title = f"{results.scenario}: seconds from capture to answer on the ground"
    whole = _table(title, _ANSWER_COLUMNS | _TIME_COLUMNS, results)
    unbounded = Console(width=10_000, markup=False, emoji=False)
    if Measurement.get(unbounded, unbounded.options, whole).minimum <= width:
        return [whole]
    times = {"frame": _ANSWER_COLUMNS["frame"]} | _TIME_COLUMNS
    return [
        _table(results.scenario, _ANSWER_COLUMNS, results, framed=False),
        _table(title, times, results, framed=False),
    ]


def _decisions(results: Results) -> list[Table]:
    """Return a table of what decided about each frame; none where no compact model had a say."""
    decisions = [frame.decision for frame in results.frames if frame.decision is not None]
    if not any(stage.stage >= 0 for decision in decisions for stage in decision.stages):
        return []
    title = "what decided: confidence by stage, and the bound it crossed"
    return [_table(title, {"frame": _ANSWER_COLUMNS["frame"]} | _DECISION_COLUMNS, results, framed=False)]


def _table(title: str, columns: dict[str, _Column], results: Results, *, framed: bool = True) -> Table:
    """Return a table of all frames; one without a frame of lines fits 80 columns."""
    table = Table(title=title) if framed else Table(title=title, box=SIMPLE, padding=0)
    for heading, column in columns.items():
        table.add_column(heading, **column.style)
    for frame in results.frames:
        table.add_row(*(column.text(frame) for column in columns.values()))
    return table


@dataclass(frozen=True)
class _Column:
    text: Callable[[FrameResult], str | Text]
    style: dict[str, Any]


def _right(frame: FrameResult) -> Text:
    if frame.failure is not None:
        return Text("failed", "red")
    return Text("yes", "green") if frame.correct else Text("no", "red")


_NUMBER: dict[str, Any] = {"justify": "right", "no_wrap": True}
_WORD: dict[str, Any] = {"no_wrap": True}
_TEXT: dict[str, Any] = {"min_width": 6, "overflow": "fold"}
_BY = {"satellite": "board", "ground": "ground", None: "-"}

_ANSWER_COLUMNS = {
    "frame": _Column(lambda f: f.frame, _WORD),
    "prompt": _Column(lambda f: f.prompt, {"min_width": 20, "overflow": "fold"}),
    "truth": _Column(lambda f: f.truth, _TEXT),
    "answer": _Column(lambda f: f.answer if f.answer is not None else (f.refused or "-"), _TEXT),
    "right": _Column(_right, _WORD),
    "by": _Column(lambda f: _BY[f.answered_by], _WORD),
    "conf": _Column(lambda f: f"{f.confidence:.2f}" if f.confidence is not None else "-", _NUMBER),
    "bytes": _Column(lambda f: str(f.bytes_sent), _NUMBER),
}


def _decided(text: Callable[[OnboardDecision], str]) -> Callable[[FrameResult], str]:
    return lambda frame: "-" if frame.decision is None else text(frame.decision)


_DECISION_COLUMNS = {
    "decided at": _Column(_decided(lambda d: d.when), _WORD),
    "confidence": _Column(_decided(lambda d: d.confidences), {"overflow": "fold"}),
    "answer by": _Column(lambda f: _BY[f.answered_by], _WORD),
    "regions": _Column(_decided(lambda d: d.sent), _NUMBER),
    "saved": _Column(
        lambda f: f"{f.saved_bytes / 1e3:.1f} kB" if f.saved_bytes is not None else "-", _NUMBER
    ),
}


def _part(name: str) -> _Column:
    return _Column(lambda f: _seconds(getattr(f.latency, name)) if f.latency else "-", _NUMBER)


_TIME_COLUMNS = {
    "taken": _Column(lambda f: f"{f.capture_s:.0f}", _NUMBER),
    **{heading: _part(name) for name, heading in SHORT_LABELS.items()},
    "total": _Column(
        lambda f: _seconds(f.end_to_end_s) if f.end_to_end_s is not None else "-",
        {**_NUMBER, "style": "bold"},
    ),
}


def _seconds(value_s: float) -> str:
    return "0" if value_s == 0 else f"{value_s:.3f}" if abs(value_s) < 10 else f"{value_s:.2f}"


def _totals(results: Results) -> Text:
    totals = results.totals()
    low, high = totals["accuracy_95"]
    mean_s = totals["mean_end_to_end_s"]
    return Text(
        f"{totals['answered']} of {totals['frames']} frames answered "
        f"({totals['answered_on_board']} on board, {totals['answered_on_ground']} on the ground)"
        + (f", {totals['dropped']} dropped" if totals["dropped"] else "")
        + (f", {totals['failed']} failed" if totals["failed"] else "")
        + "; "
        f"{totals['correct']} right: accuracy {totals['accuracy']:.2f} "
        f"(95 % interval {low:.2f} to {high:.2f}, n = {totals['frames']}); "
        f"{totals['bytes_sent']:,} bytes down; "
        + (f"mean end to end {mean_s:.2f} s" if mean_s is not None else "no frame went end to end")
        + (
            f"; {results.remembered} of {results.remembered + results.computed} answers of models were known "
            "from earlier runs"
            if results.remembered
            else ""
        )
    )


def link_table(link: LinkFidelity) -> Table:
    """Return the configured and measured figures of one link."""
    s = link.summary()
    table = Table(
        box=SIMPLE,
        padding=(0, 1, 0, 0),
        title=f"{link.link}: configured and measured",
        caption=f"trace {link.trace}; shaper {link.shaper}; clock bound {link.clock_bound_s * 1e3:.1f} ms; "
        f"probe load at most {link.probe_load_bit_s / 1e3:.0f} kbit/s"
        + (f"; {load_text(link.load)}" if link.load is not None else ""),
    )
    table.add_column("", no_wrap=True)
    for heading in ("configured", "measured", "error", "n"):
        table.add_column(heading, **_NUMBER)
    error = f"p50 {_ms(s['rtt_error_p50_s'])}, p99 {_ms(s['rtt_error_p99_s'])}"
    rtt = (_ms(s["requested_rtt_s"]), _ms(s["measured_rtt_s"]), error, str(s["rtt_samples"]))
    table.add_row("RTT, median", *rtt)
    for name, heading in (("down", "downlink, median"), ("up", "uplink, median")):
        table.add_row(
            heading,
            _mbit(s[f"requested_{name}_bit_s"]),
            _mbit(s[f"measured_{name}_bit_s"]),
            _percent(s[f"{name}_rate_error"]),
            str(s[f"{name}_rate_samples"]),
        )
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:+.1f} %"


def _ms(value_s: float | None) -> str:
    return "-" if value_s is None else f"{value_s * 1e3:.2f} ms"


def _mbit(value_bit_s: float | None) -> str:
    return "-" if value_bit_s is None else f"{value_bit_s / 1e6:.3f} Mbit/s"
