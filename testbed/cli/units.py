"""Types of options that take a quantity, for `add_argument(type=...)`.

    RATE        bit/s      9600   20M   250kbit/s   2MB/s
    DURATION    seconds    1.5    100ms   800us   24h
    SHARE       0 to 1     0.35   35%
    SIZE        bytes      4096   64kB   16MiB
    UTC         datetime   2018-01-20T00:00:00Z
    FACTOR      times      20   auto

A bare number is in the unit of the second column.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import Literal, TypeVar

from traces.errors import TraceInputError
from traces.units import parse_duration_s, parse_rate_bit_s, parse_share, parse_size_bytes
from traces.utc import parse_utc

T = TypeVar("T")
_SLOWEST_PLAUSIBLE_BIT_S = 1000.0  # of a rate without a unit


def option_type(name: str, parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return `parse` as the type of an option, whose errors argparse shows as they are.

    Args:
        name: name of the type.
        parse: function that reads a text and raises a TraceInputError.
    """

    def convert(text: str) -> T:
        try:
            return parse(text)
        except TraceInputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    convert.__name__ = convert.__qualname__ = name
    return convert


def _rate_bit_s(text: str) -> float:
    rate_bit_s = parse_rate_bit_s(text)
    if rate_bit_s < _SLOWEST_PLAUSIBLE_BIT_S and text.strip()[-1:].isdigit():
        number = f"{rate_bit_s:g}"
        warnings.warn(f"a rate of {number} is {number} bit/s; write {number}M for Mbit/s", stacklevel=2)
    return rate_bit_s


RATE = option_type("RATE", _rate_bit_s)
DURATION = option_type("DURATION", parse_duration_s)
SHARE = option_type("SHARE", parse_share)
SIZE = option_type("SIZE", parse_size_bytes)
UTC = option_type("UTC", parse_utc)


def factor(text: str) -> float | Literal["auto"]:
    """Return how many times as fast as real time, or "auto"."""
    return "auto" if text == "auto" else float(text)
