"""The rule by which answers are right, and its normal form."""

from __future__ import annotations

import pytest

from nodes.contract.answers import is_right
from nodes.contract.answers.normal_form import normal_form


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Two  Ships. ", "2 ships"),
        ("The storage-tank", "storage tank"),
        ("storage_tank", "storage tank"),
        ("twenty-one", "21"),
        ("one hundred and five ships", "105 ships"),
        ("two thousand three hundred", "2300"),
        ("two three", "2 3"),
        ("twenty thirty", "20 30"),
        ("three and four", "3 and 4"),
        ("a hundred and", "100 and"),
        ("1,000", "1000"),
        ("ships, 3", "ships 3"),
        ("3.5", "3.5"),
        ("-5", "-5"),
        ("10\u2013100", "10 to 100"),
        ("57m\u00b2", "57 m2"),
        ("57 square metres", "57 m2"),
        ("it isn't", "it isnt"),
        ("None", "0"),
        ("a", "a"),
        ("", ""),
        ("ship large ; tow small", "ship large tow small"),
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert normal_form(text) == expected
    assert normal_form(expected) == expected


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        (" Two  ships.", "two ships"),
        ("The airport", "airport"),
        ("Yes, there is a dam.", "yes"),
        ("no", "No"),
        ("False", "no"),
        ("Yes, there are no clouds", "yes"),
        ("There are three ships.", "3"),
        ("3", "three"),
        ("3 ships and 3 piers", "3"),
        ("twelve", "12"),
        ("57", "between 11 and 100"),
        ("11", "between 11 and 100"),
        ("100", "between 11 and 100"),
        ("fifty-seven buildings", "between 11 and 100"),
        ("between 10 and 100", "between 11 and 100"),
        ("11-100", "between 11 and 100"),
        ("57 m2", "between 11m2 and 100m2"),
        ("1,001", "more than 1000"),
        ("over 1000", "more than 1000"),
        ("0m2", "0"),
        ("4", "at least 4"),
        ("3", "less than 4"),
        ("", ""),
    ],
)
def test_right_answers(answer: str, truth: str) -> None:
    assert is_right(answer, truth)


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("two", "three"),
        ("yes or no", "yes"),
        ("There is no dam", "yes"),
        ("Is it yes?", "yes"),
        ("", "yes"),
        ("2 or 3", "3"),
        ("more than 3", "3"),
        ("between 3 and 3", "3"),
        ("3.5", "3"),
        ("-3", "3"),
        ("none", "no"),
        ("10", "between 11 and 100"),
        ("101", "between 11 and 100"),
        ("between 1 and 10", "between 11 and 100"),
        ("5 km2", "5"),
        ("1000", "more than 1000"),
        ("4", "less than 4"),
        ("a ship or an aircraft", "ship"),
        ("", "ship"),
        ("ships", "ship"),
    ],
)
def test_wrong_answers(answer: str, truth: str) -> None:
    assert not is_right(answer, truth)


def test_further_right_answers_count_like_the_truth() -> None:
    assert not is_right("a vessel", "ship")
    assert is_right("a vessel", "ship", ["boat", "Vessel"])
    assert not is_right("vessel or boat", "ship", ["boat", "vessel"])
