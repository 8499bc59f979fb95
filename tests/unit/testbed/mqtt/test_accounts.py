"""Each account may use the topics of its own node only, in both directions, for all topics that there are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from paho.mqtt.client import topic_matches_sub

from nodes.contract import topics
from testbed.mqtt.accounts import (
    EVENT_SESSIONS_MAX,
    Account,
    board_account,
    event_sessions,
    ground_account,
    node_account,
    page_account,
    run_account,
    satellite_account,
)

NODE_SAYS = {topics.event, topics.clock_question}
NODE_HEARS = {topics.contact, topics.clock_answer, topics.orders}
SATELLITE_HEARS = {topics.up, topics.tasks_up}
AGENT_SAYS = {topics.board_state, topics.board_request}
SATELLITE_SAYS = {topics.down, topics.express, topics.tasks_down}
AGENT_HEARS = {topics.board_assignment, lambda slug: topics.board_piece(slug, "ab", 0)}
OF_A_NODE = NODE_SAYS | NODE_HEARS | AGENT_SAYS | AGENT_HEARS | SATELLITE_SAYS | SATELLITE_HEARS
COMMON = {
    topics.STATE,
    topics.CONTROL,
    topics.HEARTBEAT,
    topics.HELLO,
    "$SYS/broker/uptime",
    "spaceverse/else",
    "else",
}
ALL = COMMON | {topics.event("run")} | {name(slug) for name in OF_A_NODE for slug in ("a", "b", "express")}
Names = set[Callable[[str], str]]


def of(names: Names, *slugs: str) -> set[str]:
    return {name(slug) for name in names for slug in slugs}


def allowed(filters: tuple[str, ...]) -> set[str]:
    return {topic for topic in ALL if any(topic_matches_sub(pattern, topic) for pattern in filters)}


EVERY = "a", "b", "express"
ACCOUNTS: dict[str, tuple[Account, set[str], set[str]]] = {
    "satellite": (satellite_account("a"), of(SATELLITE_SAYS, "a"), {topics.HELLO, *of(SATELLITE_HEARS, "a")}),
    "ground": (
        ground_account("g"),
        {topics.HELLO, *of(SATELLITE_HEARS, *EVERY)},
        of(SATELLITE_SAYS, *EVERY),
    ),
    "node": (node_account("a"), of(NODE_SAYS, "a"), {topics.CONTROL, *of(NODE_HEARS, "a")}),
    "board": (
        board_account("a", "secret"),
        of(NODE_SAYS | AGENT_SAYS, "a"),
        {topics.CONTROL, topics.HEARTBEAT, *of(NODE_HEARS | AGENT_HEARS, "a")},
    ),
    "run": (
        run_account(),
        {
            topics.CONTROL,
            topics.HEARTBEAT,
            topics.STATE,
            topics.event("run"),
            *of(NODE_HEARS | AGENT_HEARS, *EVERY),
        },
        {topics.event("run"), *of(NODE_SAYS | AGENT_SAYS, *EVERY)},
    ),
    "page": (page_account(), set(), {topics.STATE, topics.event("run"), *of({topics.event}, *EVERY)}),
}


@pytest.mark.parametrize("name", ACCOUNTS)
def test_an_account_writes_and_reads_its_own_topics_only(name: str) -> None:
    account, writes, reads = ACCOUNTS[name]
    assert allowed(account.writes) == writes
    assert allowed(account.reads) == reads


def test_accounts_have_passwords_of_their_own() -> None:
    passwords = {node_account("a").password for _ in range(3)}
    assert len(passwords) == 3 and min(map(len, passwords)) >= 32
    assert node_account("a").password not in repr(node_account("a"))


def test_each_node_has_a_session_for_its_events_and_thousands_share_some() -> None:
    assert event_sessions(["boards", "a"]) == {"events.boards": ["boards"], "events.a": ["a"]}
    assert run_account(["boards", "a"]).usernames == [
        "RUN",
        "RUN.boards",
        "RUN.events.boards",
        "RUN.events.a",
    ]
    nodes = [f"sat-{number}" for number in range(1000)]
    sessions = event_sessions(nodes)
    assert len(sessions) == EVENT_SESSIONS_MAX
    assert sorted(node for own in sessions.values() for node in own) == sorted(nodes)
