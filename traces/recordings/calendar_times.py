"""Times as GMAT and STK write them, in UTC; strptime would depend on the locale.

25 Apr 2022 08:50:59.865        UTCG of STK, UTCGregorian of GMAT
2022-04-25T08:50:59.865         ISO-YMD
2022-115T08:50:59.865           ISO-YD, with the day of the year
29694.86874                     UTC-MJD of GMAT: days since 5 January 1941, 12:00
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from traces.errors import TraceError

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
TIME_UNITS = ("UTC", "UTCG", "UTCGregorian", "ISO-YMD", "ISO-YD", "UTC-MJD")
"""Names of these forms in the columns of a report."""

_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d\d):(?P<second>\d\d(?:\.\d{1,12})?)"
_FORMS = (
    re.compile(rf"(?P<day>\d{{1,2}}) (?P<name>[A-Za-z]{{3}}) (?P<year>\d{{4}}) {_CLOCK}"),
    re.compile(rf"(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d)[T ]{_CLOCK}Z?"),
    re.compile(rf"(?P<year>\d{{4}})-(?P<day_of_year>\d{{3}})[T ]{_CLOCK}Z?"),
    re.compile(r"(?P<days>\d{5}\.\d{1,12})"),
)
_MJD_0 = datetime(1941, 1, 5, 12, tzinfo=timezone.utc)


def calendar_time(where: str, text: str) -> datetime | None:
    """Return the time; None if the text has none of the forms.

    Raises:
        TraceError: It has, but is no day of the calendar.
    """
    match = next((found for form in _FORMS if (found := form.fullmatch(text.strip()))), None)
    if match is None:
        return None
    parts = match.groupdict()
    try:
        if "days" in parts:
            return _MJD_0 + timedelta(days=float(parts["days"]))
        month = MONTHS.index(parts["name"].lower()) + 1 if "name" in parts else int(parts.get("month") or 1)
        day = datetime(int(parts["year"]), month, int(parts.get("day") or 1), tzinfo=timezone.utc)
        if "day_of_year" in parts:
            day += timedelta(days=int(parts["day_of_year"]) - 1)
            if not int(parts["day_of_year"]) or day.year != int(parts["year"]):
                raise ValueError
        if not (int(parts["hour"]) < 24 and int(parts["minute"]) < 60):
            raise ValueError
        return day + timedelta(
            hours=int(parts["hour"]), minutes=int(parts["minute"]), seconds=float(parts["second"])
        )
    except (ValueError, OverflowError):
        raise TraceError(f"{where}: expected a day of the calendar and a time; found {match[0]!r}") from None
