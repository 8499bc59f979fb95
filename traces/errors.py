"""Errors that this package raises for invalid input.

TraceInputError (ValueError)   base class; exit code 2
├── TraceError                 a trace or a recording is invalid
├── TimeError                  a time cannot be parsed, or lacks its time zone
├── TleError                   a file of element sets is invalid
│   └── UnknownSatelliteError      no element set has that name or catalogue number
├── StationError               a ground station is unknown, or its coordinates are out of range
├── OrbitError                 an orbit cannot be propagated, or its parameters are invalid
├── LinkBudgetError            a radio's parameters are invalid
├── UnitError                  a quantity or an option is invalid
└── OutputFileError            a file cannot be written, or already exists

Two warnings (UserWarning) are issued by `warnings.warn`: StaleElementsWarning and ElementFileWarning.

Each message is one line that names the fault, its place and what was expected.
"""

from __future__ import annotations


class TraceInputError(ValueError):
    """Base class of this package's errors; a command that fails with one ends with `exit_code`."""

    exit_code = 2


class TraceError(TraceInputError):
    """A trace or a recording is invalid; the message names file, line and what was expected."""


class TimeError(TraceInputError):
    """A time is not in ISO 8601, or lacks its time zone."""


class TleError(TraceInputError):
    """A file of element sets is invalid; the message names file, line and what was expected."""


class UnknownSatelliteError(TleError):
    """No element set has that name or catalogue number; the message suggests similar names."""


class StationError(TraceInputError):
    """A ground station is unknown, or its coordinates are out of range."""


class OrbitError(TraceInputError):
    """An orbit cannot be propagated to the requested time, or its parameters are invalid."""


class LinkBudgetError(TraceInputError):
    """A radio's parameters are invalid."""


class UnitError(TraceInputError):
    """A quantity is invalid or has an unknown unit, or an option cannot be used."""


class OutputFileError(TraceInputError):
    """A file cannot be written, or exists and was not to be replaced."""


class StaleElementsWarning(UserWarning):
    """Element sets are used far from their epoch; the message gives their age in days."""


class ElementFileWarning(UserWarning):
    """Parts of an element file are not used; the message counts them and shows the first."""
