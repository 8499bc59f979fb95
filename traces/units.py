"""Numbers with their units, as people write them on a command line: 20M, 12ms, 1.5MB/s, 0.5%."""

from __future__ import annotations

import re

from traces.errors import UnitError

TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
RATES = {
    f"{prefix}{unit}": factor * bits
    for prefix, factor in (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9))
    for unit, bits in (("bit/s", 1.0), ("B/s", 8.0))
}
SHARES = {"fraction": 1.0, "percent": 1e-2, "%": 1e-2}

_QUANTITY = re.compile(r"\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d{1,2})?|\.\d+)\s*(\S*)\s*")


def parse_rate(text: str) -> float:
    """Read a rate above 0 as bit/s: "20M" and "20Mbit/s" are the same, "2.5MB/s" too.

    Raises:
        UnitError: no rate.
    """
    value, unit = _split(text)
    unit = unit if unit.endswith("/s") else f"{unit}bit/s"
    if unit not in RATES or value <= 0:
        raise UnitError(
            f"{text!r} is no rate; expected more than 0 with a unit, such as 20M, 250kbit/s, 2MB/s"
        )
    return value * RATES[unit]


def parse_duration(text: str) -> float:
    """Read a time as seconds; the unit must be there, since half the world's delays are in ms.

    Raises:
        UnitError: no time, or no unit.
    """
    value, unit = _split(text)
    if unit not in TIMES:
        raise UnitError(f"{text!r} is no time; expected a number with its unit, such as 12ms, 0.5s, 800us")
    return value * TIMES[unit]


def parse_share(text: str) -> float:
    """Read a probability: "0.01", "1%" or "1percent".

    Raises:
        UnitError: not between 0 and 1.
    """
    value, unit = _split(text)
    share = value * SHARES.get(unit or "fraction", float("nan"))
    if not 0 <= share <= 1:
        raise UnitError(f"{text!r} is no probability; expected 0 to 1, or 0% to 100%")
    return share


def _split(text: str) -> tuple[float, str]:
    match = _QUANTITY.fullmatch(text)
    return (float(match[1]), match[2]) if match else (float("nan"), "?")
