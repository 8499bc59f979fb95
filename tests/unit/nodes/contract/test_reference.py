"""The reference of events.jsonl agrees with the declarations."""

from __future__ import annotations

from nodes.contract.events import EVENTS
from nodes.contract.reference import events_reference
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
