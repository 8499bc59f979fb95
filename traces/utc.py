"""Times in text: ISO 8601 with a time zone, converted to UTC."""

from __future__ import annotations

from datetime import datetime, timezone

from traces.errors import TimeError

EXAMPLE = "2018-01-20T00:00:00Z"


def parse_utc(text: str) -> datetime:
    """Parse an ISO 8601 time with a time zone, such as "2018-01-20T00:00:00Z", and return it in UTC.

    A time without a zone is rejected, since a wrong guess would shift a whole recording by hours.

    Raises:
        TimeError: The text is not a time, or has no time zone.
    """
    plain = text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text  # Python 3.10 does not accept Z
    try:
        moment = datetime.fromisoformat(plain)
    except ValueError:
        raise TimeError(f"{text!r} is not a time; write it like {EXAMPLE}") from None
    if moment.tzinfo is None:
        raise TimeError(f"{text!r} has no time zone; write it like {EXAMPLE}")
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise TimeError(f"{text!r} is outside the calendar's range; write it like {EXAMPLE}") from None


def format_utc(moment: datetime) -> str:
    """Return a time in UTC as text that `parse_utc` reads back exactly; microseconds only if not 0."""
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
