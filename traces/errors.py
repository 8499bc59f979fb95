"""Everything this package raises for what the user gave; each text is one line and says what to do.

TraceInputError (ValueError)   exit code 2
├── TraceError                 a trace or its file does not hold
├── TimeError                  a time that cannot be read, or has no zone
├── TleError                   a file of element sets does not hold
│   └── UnknownSatelliteError  no element set of that name or number
├── StationError               no such ground station, or coordinates out of range
├── OrbitError                 an orbit that cannot be propagated to that time, or no such pass
├── RecordError                a live path cannot be measured: no answer, or too little of it
├── UnitError                  a quantity without the unit it needs, or none at all
├── LinkBudgetError            a radio that cannot be
└── OutputFileError            a file that cannot or must not be written

Warnings: StaleElementsWarning (UserWarning), raised through `warnings.warn`.
"""

from __future__ import annotations


class TraceInputError(ValueError):
    """Base of all errors of this package; `exit_code` is what a command ends with."""

    exit_code = 2


class TraceError(TraceInputError):
    """A trace does not hold; a file's fault is named by file, line and what was expected."""


class TimeError(TraceInputError):
    """A time that is not an ISO 8601 time with a zone."""


class TleError(TraceInputError):
    """A file of two-line element sets does not hold; names file and line."""


class UnknownSatelliteError(TleError):
    """No element set has that name or catalogue number; the text offers close ones."""


class StationError(TraceInputError):
    """No such ground station, or coordinates that are not on the ground."""


class OrbitError(TraceInputError):
    """The propagator refuses the orbit at that time, or the pass asked for does not exist."""


class LinkBudgetError(TraceInputError):
    """A radio link's parameters cannot be."""


class RecordError(TraceInputError):
    """A live path cannot be measured; the text says what to do."""

    exit_code = 1


class UnitError(TraceInputError):
    """A quantity on the command line that is none, or lacks its unit."""


class OutputFileError(TraceInputError):
    """A file cannot be written, or exists and was not to be replaced."""


class StaleElementsWarning(UserWarning):
    """Element sets are used far from their epoch; the text names the age in days."""
