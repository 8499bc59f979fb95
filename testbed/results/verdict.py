"""Whether a run succeeded: the source of its exit code, of the first line of its result and of results.json.

A run fails if a frame failed, if a frame has no answer although its policy did not drop it, or if the run
did not come to its end. A frame fails if its policy, its model, the model's server or the choice of its
regions fails on the satellite or on the ground, even if the ground answers it nevertheless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from nodes.contract.strict import as_shown
from testbed.results.latency import FrameResult

Status = Literal["passed", "failed", "stopped"]
_NAMED_FRAMES = 5


@dataclass(frozen=True)
class Ending:
    """Why a run did not come to its end.

    Args:
        reason: the error, or what stopped it.
        exit_code: that of the command.
        stopped: whether somebody stopped it.
    """

    reason: str
    exit_code: int
    stopped: bool = False


@dataclass(frozen=True)
class Cause:
    """One distinct failure.

    Args:
        reason: the part that failed, where, and the error.
        frames: the frames that it concerns; empty for a failure of the whole run.
    """

    reason: str
    frames: tuple[str, ...] = ()

    def line(self) -> str:
        """Return the failure in one line."""
        if not self.frames:
            return self.reason
        more = len(self.frames) - _NAMED_FRAMES
        names = ", ".join(self.frames[:_NAMED_FRAMES]) + (f" and {more} more" if more > 0 else "")
        return f"{self.reason} ({_frames(len(self.frames))}: {names})"


@dataclass(frozen=True)
class Verdict:
    """The outcome of a run in one line.

    Args:
        status: "passed", "failed" or "stopped".
        exit_code: that of the command; 0 only for "passed".
        headline: the first line of the printed result and of the report.
        causes: distinct failures, that of the run first.
    """

    status: Status
    exit_code: int
    headline: str
    causes: tuple[Cause, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return asdict(self)


def verdict(frames: Sequence[FrameResult], warnings: Sequence[str], ending: Ending | None) -> Verdict:
    """Return the verdict on a run.

    Args:
        frames: results of all frames.
        warnings: what did not make the run fail.
        ending: set if the run did not come to its end.
    """
    failed = [frame for frame in frames if frame.failure is not None]
    left = [frame for frame in frames if not (frame.answered or frame.dropped or frame.failure is not None)]
    parts = [ending.reason] if ending is not None else []
    if failed:
        parts.append(f"{len(failed)} of {_frames(len(frames))} failed")
    if left:
        parts.append(f"{len(left)} of {_frames(len(frames))} {'has' if len(left) == 1 else 'have'} no answer")
    if ending is None and not parts:
        return Verdict("passed", 0, as_shown(_passed(frames, warnings)), ())
    causes = [Cause(as_shown(ending.reason))] if ending is not None else []
    causes += _grouped([(frame.failure or "", frame.frame) for frame in failed])
    causes += _grouped([(_no_answer(frame), frame.frame) for frame in left])
    status: Status = "stopped" if ending is not None and ending.stopped else "failed"
    return Verdict(
        status,
        ending.exit_code if ending else 1,
        as_shown(f"{status.upper()}: {'; '.join(parts)}"),
        tuple(causes),
    )


def _passed(frames: Sequence[FrameResult], warnings: Sequence[str]) -> str:
    answered, dropped = sum(f.answered for f in frames), sum(f.dropped and not f.answered for f in frames)
    text = f"PASSED: {answered} of {_frames(len(frames))} answered"
    if dropped:
        text += f", {dropped} dropped by the policy"
    if len(warnings) == 1:
        return f"{text}; 1 warning: {warnings[0]}"
    return text + (f"; {len(warnings)} warnings, the first: {warnings[0]}" if warnings else "")


def _no_answer(frame: FrameResult) -> str:
    return f"no answer from {frame.satellite}: {frame.refused or frame.reached}"


def _grouped(failures: Sequence[tuple[str, str]]) -> list[Cause]:
    frames: dict[str, list[str]] = {}
    for reason, frame in failures:
        frames.setdefault(reason, []).append(frame)
    return [Cause(as_shown(reason), tuple(names)) for reason, names in frames.items()]


def _frames(count: int) -> str:
    return f"{count} frame{'s' if count != 1 else ''}"
