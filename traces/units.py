"""Quantities as people write them: rates, durations, shares and sizes.

This is the only parser of quantities in the project. A bare number is in the SI unit: bit/s, seconds, a
fraction of 1, or bytes. Prefixes are decimal (`k` is 1000); sizes also take the binary `Ki`, `Mi` and `Gi`.

    rate        9600   20M   250kbit/s   2MB/s
    duration    1.5    100ms   800us   0.5s   24h
    share       0.35   35%   35percent
    size        4096   64kB   20M   16MiB

Each function also takes a number, as it comes from a TOML or JSON file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from traces.errors import UnitError

_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_BINARY_PREFIXES = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}

DURATION_UNITS_S: Final[Mapping[str, float]] = MappingProxyType(
    {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
)
"""Seconds in each unit of time."""

RATE_UNITS_BIT_S: Final[Mapping[str, float]] = MappingProxyType(
    {
        f"{prefix}{unit}": factor * bits
        for prefix, factor in _PREFIXES.items()
        for unit, bits in (("bit/s", 1.0), ("B/s", 8.0))
    }
)
"""Bits per second in each unit of rate."""

SHARE_UNITS: Final[Mapping[str, float]] = MappingProxyType({"fraction": 1.0, "percent": 1e-2, "%": 1e-2})
"""Fraction of 1 in each unit of a share."""

SIZE_UNITS_BYTES: Final[Mapping[str, float]] = MappingProxyType(
    {f"{prefix}B": factor for prefix, factor in {**_PREFIXES, **_BINARY_PREFIXES}.items()}
)
"""Bytes in each unit of size."""

_QUANTITY = re.compile(
    r"\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d{1,2})?|\.\d+(?:[eE][+-]?\d{1,2})?)\s*(\S*)\s*", re.ASCII
)
_LONGEST_TEXT = 64


def parse_rate_bit_s(quantity: str | float) -> float:
    """Return a rate in bit/s; it is above 0.

    Args:
        quantity: a number of bit/s, or text such as "20M" (the same as "20Mbit/s"), "250kbit/s" or "2MB/s".

    Raises:
        UnitError: The text is not a rate above 0.
    """
    rate_bit_s = _in_si(quantity, {**RATE_UNITS_BIT_S, **_PREFIXES})
    if not rate_bit_s > 0:
        expected = "more than 0, in bit/s or with a unit, such as 20M, 250kbit/s or 2MB/s"
        raise UnitError(f"{quantity!r} is not a rate; expected {expected}")
    return rate_bit_s


def parse_duration_s(quantity: str | float) -> float:
    """Return a duration in seconds; it is 0 or above.

    Args:
        quantity: a number of seconds, or text such as "1.5", "0.5s", "100ms", "800us" or "24h".

    Raises:
        UnitError: The text is not a duration, or has an unknown unit.
    """
    units_s = {"h": 3600.0, "min": 60.0, **DURATION_UNITS_S}
    duration_s = _in_si(quantity, {**units_s, "": 1.0})
    if not duration_s >= 0:
        expected = f"seconds, or a number with a unit ({', '.join(units_s)}), such as 100ms or 24h"
        raise UnitError(f"{quantity!r} is not a duration; expected {expected}")
    return duration_s


def parse_share(quantity: str | float) -> float:
    """Return a share, such as a probability, as a fraction from 0 to 1.

    Args:
        quantity: a fraction, or text such as "0.35", "35%" or "35percent".

    Raises:
        UnitError: The text is not a share from 0 to 1.
    """
    share = _in_si(quantity, {**SHARE_UNITS, "": 1.0})
    if not 0 <= share <= 1:
        raise UnitError(f"{quantity!r} is not a share; expected 0 to 1, or 0% to 100%")
    return share


def parse_size_bytes(quantity: str | float) -> int:
    """Return a size in whole bytes; it is 0 or above.

    Args:
        quantity: a number of bytes, or text such as "4096", "64kB", "20M" (the same as "20MB") or "16MiB".

    Raises:
        UnitError: The text is not a size, or not a whole number of bytes.
    """
    size_bytes = _exact_in_si(quantity, {**SIZE_UNITS_BYTES, **_PREFIXES, **_BINARY_PREFIXES})
    if size_bytes is None or size_bytes != int(size_bytes):
        expected = "whole bytes, or a number with a unit, such as 64kB, 20M or 16MiB"
        raise UnitError(f"{quantity!r} is not a size; expected {expected}")
    return int(size_bytes)


def _in_si(quantity: str | float, factors: Mapping[str, float]) -> float:
    """Return the float64 nearest to number times unit, or NaN if the text is not a finite quantity."""
    exact = _exact_in_si(quantity, factors)
    return math.nan if exact is None else float(exact)


def _exact_in_si(quantity: str | float, factors: Mapping[str, float]) -> Decimal | None:
    """Return number times unit, or None if the text is not a finite quantity."""
    text = str(quantity)
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if match is None or match[2] not in factors:
        return None
    # In decimal arithmetic 35% is 0.35; in floats it would be 0.35000000000000003.
    return Decimal(match[1]) * Decimal(repr(factors[match[2]]))
