"""Who may do what at a broker: accounts, mosquitto's password file and its access control list.

A node writes its own topics only, and reads only what is meant for it. The passwords are made anew for every
run and lie in files that only their owner can read.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

ITERATIONS = 101  # mosquitto 2.0's own default; the passwords are 192 random bits, so that guessing is vain
SALT_BYTES = 12
PASSWORD_BYTES = 24


@dataclass(frozen=True)
class Account:
    """A user of a broker, with the topics (MQTT filters) that it may write and read."""

    username: str
    writes: tuple[str, ...]
    reads: tuple[str, ...]
    password: str = field(default_factory=lambda: secrets.token_urlsafe(PASSWORD_BYTES), repr=False)

    def to_json(self) -> dict[str, str]:
        """As a node's configuration has it under `access`."""
        return {"username": self.username, "password": self.password}


def satellite_account(slug: str) -> Account:
    """A satellite at a station's broker."""
    return Account(
        slug,
        writes=(f"spaceverse/down/{slug}", f"spaceverse/down/{slug}/#"),
        reads=("spaceverse/up", f"spaceverse/up/{slug}"),
    )


def ground_account(slug: str) -> Account:
    """A ground program at its own station's broker."""
    return Account(slug, writes=("spaceverse/up", "spaceverse/up/#"), reads=("spaceverse/down/#",))


def node_account(slug: str) -> Account:
    """A node on the management plane."""
    return Account(
        slug,
        writes=(f"spaceverse/event/{slug}", f"spaceverse/clock/ask/{slug}"),
        reads=("spaceverse/control", f"spaceverse/clock/answer/{slug}", f"spaceverse/contact/{slug}"),
    )


def board_account(slug: str, password: str) -> Account:
    """A board's agent on the management plane; its password is the board's own, the same in every run."""
    board = f"spaceverse/board/{slug}"
    return Account(
        slug,
        writes=(f"{board}/state", f"{board}/want", *node_account(slug).writes),
        reads=(f"{board}/assignment", f"{board}/piece/#", "spaceverse/heartbeat", *node_account(slug).reads),
        password=password,
    )


def run_account() -> Account:
    """The run itself on the management plane; a node's slug never has a capital letter."""
    return Account(
        "RUN",
        writes=(
            "spaceverse/control",
            "spaceverse/clock/answer/+",
            "spaceverse/contact/+",
            "spaceverse/heartbeat",
            "spaceverse/board/+/assignment",
            "spaceverse/board/+/piece/#",
        ),
        reads=(
            "spaceverse/event/+",
            "spaceverse/clock/ask/+",
            "spaceverse/board/+/state",
            "spaceverse/board/+/want",
        ),
    )


def password_lines(accounts: Sequence[Account]) -> str:
    """mosquitto_passwd(1)'s file: `user:$7$iterations$salt$hash`, PBKDF2 with SHA-512."""
    lines = []
    for account in accounts:
        salt = os.urandom(SALT_BYTES)
        digest = hashlib.pbkdf2_hmac("sha512", account.password.encode(), salt, ITERATIONS)
        salt_text, digest_text = (base64.b64encode(raw).decode() for raw in (salt, digest))
        lines.append(f"{account.username}:$7${ITERATIONS}${salt_text}${digest_text}\n")
    return "".join(lines)


def acl_lines(accounts: Sequence[Account]) -> str:
    """mosquitto's acl_file; what it does not name is refused (mosquitto.conf(5))."""
    lines = []
    for account in accounts:
        lines.append(f"user {account.username}\n")
        lines += [f"topic write {topic}\n" for topic in account.writes]
        lines += [f"topic read {topic}\n" for topic in account.reads]
    return "".join(lines)
