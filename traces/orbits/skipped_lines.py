"""The parts of an element file that are skipped, and the warning that counts them."""

from __future__ import annotations

import warnings

from traces.errors import ElementFileWarning, TleError

_SHOWN = 60


class SkippedLines:
    """A count of what is skipped in one file.

    Args:
        source: the file's name in messages.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._lines: list[tuple[int, str]] = []
        self._faults: list[TleError] = []
        self._long_lines = 0

    @property
    def first_fault(self) -> TleError | None:
        """The error of the first invalid element set."""
        return self._faults[0] if self._faults else None

    def line(self, number: int, text: str) -> None:
        """Count a line that belongs to no element set."""
        self._lines.append((number, text))

    def fault(self, error: TleError) -> None:
        """Count an invalid element set."""
        self._faults.append(error)

    def long_line(self) -> None:
        """Count an element line with columns behind its last."""
        self._long_lines += 1

    def warn(self) -> None:
        """Issue one ElementFileWarning if anything was skipped."""
        parts = []
        if self._faults:
            reason = str(self._faults[0]).removeprefix(f"{self.source}, ")
            parts.append(f"skipped {_counted(len(self._faults), 'invalid element set')} ({reason})")
        if self._lines:
            number, text = min(self._lines)
            example = f"line {number}: {text.strip()[:_SHOWN]!r}"
            parts.append(f"skipped {_counted(len(self._lines), 'line')} outside element sets ({example})")
        if self._long_lines:
            parts.append(f"ignored the columns after 69 of {_counted(self._long_lines, 'line')}")
        if parts:
            warnings.warn(f"{self.source}: {'; '.join(parts)}", ElementFileWarning, stacklevel=2)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
