"""The reference of events.jsonl agrees with the declarations."""

from __future__ import annotations

import runpy
import warnings

import pytest

from nodes.contract.events import EVENTS
from nodes.contract.reference import _meanings, events_reference
from nodes.contract.strict import Strict
from tests.support import ROOT


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs/reference/events.md").read_text(encoding="utf-8")
    assert page == events_reference(), "run tooling/events-reference"


def test_every_event_and_field_is_on_the_page() -> None:
    page = events_reference()
    for name, kind in EVENTS.items():
        section = page.partition(f"## `{name}`\n")[2].partition("\n## ")[0]
        assert f"From: {kind.sent_by}." in section and kind.sent_by
        assert all(f"| `{field}` |" in section for field in kind.model_fields), name


class Example(Strict):
    """An example.

    Args:
        a: a meaning
            of two lines.
        b: another.
    """

    a: int
    b: int


def test_a_meaning_may_have_several_lines() -> None:
    assert _meanings(Example) == {"a": "a meaning of two lines.", "b": "another."}


def test_the_module_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it is imported already
        runpy.run_module("nodes.contract.reference", run_name="__main__")
    assert capsys.readouterr().out == events_reference()
