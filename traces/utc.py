"""Times as people write them: ISO 8601, always with a zone, always UTC inside."""

from __future__ import annotations

from datetime import datetime, timezone

from traces.errors import TimeError

EXAMPLE = "2018-01-20T00:00:00Z"


def parse_utc(text: str) -> datetime:
    """Read an ISO 8601 time with a zone, e.g. "2018-01-20T00:00:00Z", as UTC.

    A time without a zone is refused: guessing one has shifted whole data sets by hours.

    Raises:
        TimeError: not a time, or no zone.
    """
    plain = text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text  # Python 3.10 does not know Z
    try:
        moment = datetime.fromisoformat(plain)
    except ValueError:
        raise TimeError(f"{text!r} is not a time; write it like {EXAMPLE}") from None
    if moment.tzinfo is None:
        raise TimeError(f"{text!r} has no time zone; write it like {EXAMPLE}")
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise TimeError(f"{text!r} is out of the calendar's range; write it like {EXAMPLE}") from None


def format_utc(moment: datetime) -> str:
    """Write a UTC time so that `parse_utc` gives it back exactly (microseconds only where there are any)."""
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
