"""Accounts at a broker, as mosquitto's password file and access control list.

A node writes its own topics only, and reads only the topics addressed to it. Each run generates fresh
passwords; they are stored in files that only their owner can read.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from nodes.contract import topics
from nodes.contract.config import session_name
from nodes.contract.events import RUN

ITERATIONS = 101  # mosquitto 2.0's own default; the passwords are 192 random bits, so that guessing is vain
SALT_BYTES = 12
PASSWORD_BYTES = 24
PAGES_MAX = 16  # that are open at once; of more, the first gives way
EVENT_SESSIONS_MAX = 256  # of more nodes, some share a session: each costs a descriptor at both ends


@dataclass(frozen=True)
class Account:
    """A user of a broker, with the topics (MQTT filters) that it may write and read.

    The broker takes the user name for the client id. `sessions` names further sessions of the same account,
    which may be open at the same time (nodes/contract/config.py, session_name).
    """

    username: str
    writes: tuple[str, ...]
    reads: tuple[str, ...]
    sessions: tuple[str, ...] = ()
    password: str = field(default_factory=lambda: secrets.token_urlsafe(PASSWORD_BYTES), repr=False)

    @property
    def usernames(self) -> list[str]:
        """The user name of each session, the first session's first."""
        return [self.username, *(session_name(self.username, session) for session in self.sessions)]

    def to_json(self) -> dict[str, str]:
        """Return the value of `access` in a node's configuration."""
        return {"username": self.username, "password": self.password}


def satellite_account(slug: str) -> Account:
    """Return the account of a satellite at a station's broker."""
    return Account(
        slug,
        writes=(topics.down(slug), topics.down_tree(slug)),
        reads=(topics.HELLO, topics.up(slug), topics.tasks_up(slug)),
        sessions=(topics.EXPRESS,),
    )


def ground_account(slug: str) -> Account:
    """Return the account of a ground station's program at its own broker."""
    return Account(
        slug,
        writes=(topics.HELLO, topics.UP_TREE),
        reads=(topics.DOWN_TREE,),
        sessions=(topics.EXPRESS,),
    )


def node_account(slug: str) -> Account:
    """Return the account of a node at the management broker."""
    return Account(
        slug,
        writes=(topics.event(slug), topics.idleness(slug), topics.clock_question(slug)),
        reads=(
            topics.CONTROL,
            topics.QUESTION,
            topics.clock_answer(slug),
            topics.contact(slug),
            topics.orders(slug),
        ),
    )


def board_account(slug: str, password: str) -> Account:
    """Return the account of a board's agent; its password is the same in every run."""
    node = node_account(slug)
    from_run = (topics.board_assignment(slug), topics.board_pieces(slug), topics.HEARTBEAT)
    return Account(
        slug,
        writes=(topics.board_state(slug), topics.board_request(slug), *node.writes),
        reads=(*from_run, *node.reads),
        sessions=(topics.AGENT,),
        password=password,
    )


def event_sessions(nodes: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of the run's sessions for events, each with the slugs of its nodes.

    A broker drops what exceeds a session's queue: alone in its session, a node can lose its own events only.
    """
    sessions: dict[str, list[str]] = {}
    for number, node in enumerate(nodes):
        sessions.setdefault(f"{topics.EVENTS}.{nodes[number % EVENT_SESSIONS_MAX]}", []).append(node)
    return sessions


def run_account(nodes: Sequence[str] = ()) -> Account:
    """Return the account of the run at the management broker; no node's slug has capital letters.

    Args:
        nodes: slugs of the nodes whose events have sessions of their own.
    """
    return Account(
        "RUN",
        writes=(
            topics.CONTROL,
            topics.QUESTION,
            topics.clock_answer(topics.ANY),
            topics.contact(topics.ANY),
            topics.orders(topics.ANY),
            topics.HEARTBEAT,
            topics.event(RUN),
            topics.STATE,
            topics.board_assignment(topics.ANY),
            topics.board_pieces(topics.ANY),
        ),
        reads=(
            topics.event(topics.ANY),
            topics.idleness(topics.ANY),
            topics.clock_question(topics.ANY),
            topics.board_state(topics.ANY),
            topics.board_request(topics.ANY),
        ),
        sessions=(topics.BOARDS, *event_sessions(nodes)),
    )


def page_account() -> Account:
    """Return the account of live pages at the management broker: it reads what happens, and writes nothing.

    Each open page has a session of its own.
    """
    return Account(
        "PAGE",
        writes=(),
        reads=(topics.event(topics.ANY), topics.STATE),
        sessions=tuple(map(str, range(1, PAGES_MAX))),
    )


def password_lines(accounts: Sequence[Account]) -> str:
    """Return mosquitto_passwd(1)'s file: `user:$7$iterations$salt$hash`, PBKDF2 with SHA-512."""
    lines = []
    for account in accounts:
        salt = os.urandom(SALT_BYTES)
        digest = hashlib.pbkdf2_hmac("sha512", account.password.encode(), salt, ITERATIONS)
        salt_text, digest_text = (base64.b64encode(raw).decode() for raw in (salt, digest))
        hashed = f"$7${ITERATIONS}${salt_text}${digest_text}"
        lines += [f"{username}:{hashed}\n" for username in account.usernames]
    return "".join(lines)


def acl_lines(accounts: Sequence[Account]) -> str:
    """Return mosquitto's acl_file; it rejects topics that it does not name (mosquitto.conf(5))."""
    lines = []
    for account in accounts:
        permissions = [f"topic write {topic}\n" for topic in account.writes]
        permissions += [f"topic read {topic}\n" for topic in account.reads]
        for username in account.usernames:
            lines += [f"user {username}\n", *permissions]
    return "".join(lines)
