"""A node speaks for itself: the topic, which the broker guards, has to be that of the event's node."""

from __future__ import annotations

import pytest

from nodes.contract import topics
from nodes.contract.events import Captured
from testbed.mqtt.management import _read_event
from tests.support.records import record


def test_an_event_on_the_topic_of_another_node_is_refused() -> None:
    payload = record("Alpha One", Captured(frame="a", size_bytes=1), 1.0).to_line().encode()
    assert _read_event(payload, topics.event("alpha-one")).node == "Alpha One"
    for topic in (topics.event("b"), topics.event("alpha"), topics.clock_question("alpha-one2"), ""):
        with pytest.raises(ValueError, match="an event of another node: 'Alpha One'"):
            _read_event(payload, topic)
