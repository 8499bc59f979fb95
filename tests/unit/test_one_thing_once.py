"""What every room needs stands in one place: topics, slugs, names of events, units, replacing files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nodes.contract.events import EVENTS
from tests.support import ROOT

SOURCES = [
    path
    for package in ("nodes", "testbed", "traces", "topologies")
    for path in (ROOT / package).rglob("*.py")
]

# What is looked for, and the only modules that may hold it.
PLACES = {
    "an MQTT topic": (r'"spaceverse/|\{_ROOT\}/', {"nodes/contract/topics.py"}),
    "the slug of a name": (r"\[\^a-z0-9\]", {"nodes/contract/topics.py"}),
    "an event read as a bare dictionary": (r'\["event"\]|get\("event"\)', set()),
    "a parser of units": (r"def parse_(rate|duration|share|size)", {"traces/units.py"}),
    "the socket option of arrival stamps": (r"setsockopt\(.*TIMESTAMP", {"testbed/kernel/timestamps.py"}),
    # `traces` and `nodes` are leaves, neither may import the other: each replaces its own files.
    "a file replaced whole": (
        r"(part|partial|partly|temporary|making|unfinished)\.(replace|rename)\((path|target|self\._path)",
        {"nodes/contract/files.py", "traces/output_file.py"},
    ),
}


def _places(pattern: str) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if any(re.search(pattern, line) for line in path.read_text(encoding="utf-8").splitlines())
    }


@pytest.mark.parametrize("thing", PLACES)
def test_it_stands_in_one_place(thing: str) -> None:
    pattern, allowed = PLACES[thing]
    assert _places(pattern) == allowed


def test_no_program_compares_events_with_texts_of_its_own() -> None:
    names = "|".join(map(re.escape, EVENTS))
    compared = re.compile(rf'(\.name|event|kind) (==|!=|in) ?\(?"({names})"')
    assert not [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in SOURCES
        if path != Path(ROOT / "nodes/contract/events.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if compared.search(line)
    ]
