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
    # All other files are replaced whole, by one of the two writers; these grow, or lie in a new folder.
    "a file written in place": (
        r"(?<!part)(?<!temporary)(?<!unfinished)\.write_(text|bytes)\(|savefig\((?!part|temporary|unfinished|text|data)"
        r"|(?<!part)(?<!temporary)\.open\((.*, )?\"[wxa]b?\"",
        {
            "nodes/board/child.py",  # a log
            "nodes/board/files.py",  # a file that is fetched in parts
            "nodes/contract/files.py",
            "nodes/lab/eo_mini/__main__.py",  # a data set in a new folder, as in the next two
            "nodes/lab/eo_mini/build.py",
            "nodes/lab/eo_mini/first_light.py",
            "nodes/onboard/confidence.py",  # within `replacing`
            "nodes/transfer/outbox.py",  # a new folder, renamed when it is complete
            "testbed/machine/control_group.py",  # the kernel's files
            "testbed/boards/deploy/bundle.py",  # a folder under another name
            "testbed/boards/echo_probe.py",  # measurements, line by line
            "testbed/boards/machine_network/changes.py",  # kernel switches
            "testbed/boards/machine_network/journal.py",
            "testbed/boards/ssh.py",  # a file on a board
            "testbed/cli/terminal/streams.py",  # the null device
            "testbed/kernel/namespace_thread.py",  # kernel switches
            "testbed/machine/uml.py",  # a guest's own folder
            "testbed/measure/probe.py",  # measurements, line by line
            "testbed/mqtt/broker.py",  # logs, and configurations in a run's folder
            "testbed/mqtt/management.py",  # events, line by line
            "testbed/network/programs.py",  # logs
            "testbed/network/shapers/nfqueue/hook.py",  # kernel switches
            "testbed/run/parts/figures.py",  # a log
            "traces/output_file.py",
            "testbed/run/programs/images.py",  # parts of an image, in a new folder
        },
    ),
    # `traces` and `nodes` are leaves, neither may import the other: each replaces its own files.
    "a file replaced whole": (
        r"(part|partial|partly|temporary|making|unfinished)\.(replace|rename)\((path|place|target|self\._path)",
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
