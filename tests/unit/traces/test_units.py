"""A quantity is read the same way everywhere: number times unit, to the nearest float, or refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from traces.errors import TraceInputError, UnitError
from traces.units import (
    DURATION_UNITS_S,
    RATE_UNITS_BIT_S,
    SHARE_UNITS,
    SIZE_UNITS_BYTES,
    parse_duration_s,
    parse_rate_bit_s,
    parse_share,
    parse_size_bytes,
)

PARSERS: dict[Callable[[str | float], float], dict[str, float]] = {
    parse_rate_bit_s: dict(RATE_UNITS_BIT_S),
    parse_duration_s: dict(DURATION_UNITS_S),
    parse_share: dict(SHARE_UNITS),
    parse_size_bytes: dict(SIZE_UNITS_BYTES),
}
every_parser = pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)


@pytest.mark.parametrize(
    ("text", "rate_bit_s"),
    [
        ("20M", 20e6), ("20Mbit/s", 20e6), ("20 M", 20e6), ("2MB/s", 16e6), ("2.5MB/s", 20e6),
        ("250kbit/s", 250e3), ("9600", 9600.0), ("1G", 1e9), ("8B/s", 64.0), ("4e6", 4e6), (".5M", 500e3),
    ],
)  # fmt: skip
def test_a_rate_is_in_bit_s_and_a_bare_number_too(text, rate_bit_s):
    assert parse_rate_bit_s(text) == rate_bit_s


@pytest.mark.parametrize(
    "text", ["0", "0M", "20Mbps", "20 MBit", "-1M", "20m", "20K", "M", "", "nan", "inf", "20ms"]
)
def test_what_is_not_a_rate_above_0_is_refused(text):
    with pytest.raises(UnitError, match="is not a rate; expected more than 0"):
        parse_rate_bit_s(text)


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        ("12", 12.0), ("1.5", 1.5), ("0", 0.0), ("1e9", 1e9), ("100ms", 0.1), ("800us", 8e-4), ("0.5s", 0.5),
        ("2min", 120.0), ("24h", 86400.0),
        ("50 ns", 5e-8), (" 3s ", 3.0), ("1.", 1.0),
    ],
)  # fmt: skip
def test_a_duration_is_in_seconds_and_a_bare_number_too(text, duration_s):
    assert parse_duration_s(text) == duration_s


@pytest.mark.parametrize(
    "text", ["12 m", "ms", "-1ms", "-1", "nan s", "nan", "inf", "", "1_0", "1,5", "20M", "\u0661s"]
)
def test_what_is_not_a_duration_is_refused(text):
    with pytest.raises(UnitError, match="is not a duration; expected seconds, or a number with a unit"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "share"),
    [("0.35", 0.35), ("35%", 0.35), ("35 percent", 0.35), ("0.5%", 0.005), ("0", 0), ("1", 1), ("100%", 1)],
)
def test_a_share_is_a_fraction_or_a_percentage(text, share):
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["101%", "1.1", "-1", "x", "35", "%", "", "nan", "100.0000000001%"])
def test_what_is_not_a_share_from_0_to_1_is_refused(text):
    with pytest.raises(UnitError, match="is not a share; expected 0 to 1, or 0% to 100%"):
        parse_share(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("4096", 4096), ("0", 0), ("64kB", 64_000), ("20M", 20_000_000), ("16MiB", 16 << 20), ("1.5kB", 1500),
        ("1.1MB", 1_100_000), ("512Ki", 512 << 10), ("3 GB", 3_000_000_000), ("7B", 7),
    ],
)  # fmt: skip
def test_a_size_is_in_bytes_and_a_bare_number_too(text, size_bytes):
    parsed = parse_size_bytes(text)
    assert parsed == size_bytes
    assert isinstance(parsed, int)


@pytest.mark.parametrize("text", ["0.5", "1.0001kB", "-1", "5KB", "5 kbit", "kB", "", "nan", "inf", "20M/s"])
def test_what_is_not_a_whole_number_of_bytes_is_refused(text):
    with pytest.raises(UnitError, match="is not a size; expected whole bytes"):
        parse_size_bytes(text)


@every_parser
@given(thousandths=st.integers(1, 10**9), place=st.integers(0, 30))
def test_each_unit_means_the_same_number_of_si_units(parse, thousandths, place):
    unit, factor = sorted(PARSERS[parse].items())[place % len(PARSERS[parse])]
    number = Fraction(thousandths, 1000)
    exact = number * Fraction(repr(factor))
    if (parse is parse_share and exact > 1) or (parse is parse_size_bytes and exact.denominator != 1):
        with pytest.raises(UnitError):
            parse(f"{float(number)!r}{unit}")
    else:
        assert parse(f"{float(number)!r}{unit}") == float(exact)


@every_parser
@given(number=st.floats(1e-9, 1.0) | st.integers(1, 2**53) | st.floats(1, 1e15))
def test_a_number_from_a_file_of_options_is_the_same_as_its_text(parse, number):
    try:
        expected = parse(str(number))
    except UnitError:
        with pytest.raises(UnitError):
            parse(number)
    else:
        assert parse(number) == expected == number


@every_parser
@given(text=st.text(max_size=80) | st.from_regex(r"\A[0-9.eE+-]{0,70}[a-zA-Z/%]{0,8}\Z"))
@example(text="9" * 400)
@example(text="1e99")
@example(text="9" * 60 + "e99M")
def test_any_text_is_a_finite_quantity_or_refused_in_one_line(parse, text):
    try:
        quantity = parse(text)
    except UnitError as refusal:
        assert isinstance(refusal, TraceInputError)
        assert "\n" not in str(refusal)
    else:
        assert math.isfinite(quantity)
        assert quantity >= 0


@every_parser
@pytest.mark.parametrize("number", [True, False, -1, -0.5, math.nan, math.inf, -math.inf])
def test_a_number_that_is_no_quantity_is_refused(parse, number):
    with pytest.raises(UnitError):
        parse(number)
