"""Names of nodes as they stand in element files, and their slugs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from nodes.contract.config import Name
from nodes.contract.topics import slug

NAMES = TypeAdapter(Name)


@pytest.mark.parametrize(
    "name",
    [
        "ISS (ZARYA)",
        "CSS (TIANHE)",
        "FLOCK 3P'-3",
        "Tromsø",
        "IRIDIUM 33 [-]",
        "STARLINK-1007/2",
        "天宫",
        "25544",
    ],
)
def test_names_of_element_files_are_accepted(name: str):
    assert NAMES.validate_python(name) == name


@pytest.mark.parametrize("name", ["", " ", " ISS", "ISS ", "two\nlines", "tab\tbed", "x" * 65, 25544])
def test_other_names_are_refused(name: object):
    with pytest.raises(ValidationError):
        NAMES.validate_python(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CSS (TIANHE)", "css-tianhe"),
        ("FLOCK 3P'-3", "flock-3p-3"),
        ("Ångström é", "angstrom-e"),
        ("Tromsø", "troms"),
        ("../etc/passwd", "etc-passwd"),
    ],
)
def test_slugs(name: str, expected: str):
    assert slug(name) == expected


@given(st.text(min_size=1, max_size=64))
def test_a_slug_is_fit_for_topics_and_files(name: str):
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", slug(name))


def test_names_in_other_scripts_stay_apart():
    assert slug("天宫") != slug("长征")
    assert slug("天宫") == slug("天宫")
