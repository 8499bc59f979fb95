"""MQTT topics of a run, and names as they appear in them.

The topics of a satellite and its ground station (the last six) are at each ground station's broker, which is
reached over the emulated link. All others are at the management broker, which is never shaped. Functions take
a slug; with ANY in its place they return the filter for all nodes.

    topic                      from        payload
    event(NODE)                node        JSON, nodes/contract/events.py
    CONTROL                    run         JSON, nodes/contract/messages.py, retained
    contact(NODE)              run         JSON: contact by station, retained
    orders(NODE)               run         JSON, nodes/contract/messages.py: tasks for satellites, retained
    clock_question(NODE)       node        a random word
    clock_answer(NODE)         run         JSON, nodes/contract/messages.py
    idleness(NODE)             node        JSON, nodes/contract/messages.py: what the node has to do
    QUESTION                   run         JSON, nodes/contract/messages.py: are you idle?
    STATE                      run         JSON, nodes/contract/messages.py: for a live page, retained
    HEARTBEAT                  run         JSON: the run's name
    board_state(BOARD)         agent       JSON, nodes/contract/board.py, retained; also the agent's last will
    board_assignment(BOARD)    run         JSON, nodes/contract/board.py, retained; empty: stop the node
    board_request(BOARD)       agent       JSON, nodes/contract/board.py: one piece of a file
    board_piece(BOARD, ...)    run         bytes
    down(SATELLITE)            satellite   manifests and chunks, nodes/transfer/messages.py
    express(SATELLITE)         satellite   answers and heartbeats
    up(SATELLITE)              ground      replies to both
    tasks_up(SATELLITE)        ground      manifests and chunks of tasks
    tasks_down(SATELLITE)      satellite   replies to them
    HELLO                      ground      greeting after each connection, to every satellite
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

ANY = "+"

_ROOT = "spaceverse"

CONTROL = f"{_ROOT}/control"
QUESTION = f"{_ROOT}/question"
HEARTBEAT = f"{_ROOT}/heartbeat"
STATE = f"{_ROOT}/state"
HELLO = f"{_ROOT}/up"

TASKS = "tasks"
"""Last part of the topics of tasks, in both directions."""
EXPRESS = "express"
"""Name of the session for answers and heartbeats, beside the one for images."""
BOARDS = "boards"
"""Name of the run's session with the agents of boards."""
EVENTS = "events"
"""First part of the names of the run's sessions for the events of single nodes."""
AGENT = "agent"
"""Name of an agent's session for assignments and files, beside the one for events."""

_EVENT = f"{_ROOT}/event"
_CONTACT = f"{_ROOT}/contact"
_ORDERS = f"{_ROOT}/orders"
_IDLENESS = f"{_ROOT}/idleness"
_CLOCK_QUESTION = f"{_ROOT}/clock/ask"
_CLOCK_ANSWER = f"{_ROOT}/clock/answer"
_BOARD = f"{_ROOT}/board"
_DOWN = f"{_ROOT}/down"

DOWN_TREE = f"{_DOWN}/#"
UP_TREE = f"{HELLO}/#"


def slug(name: str) -> str:
    """Return a name as it appears in topics and file names: lower case, letters, digits and hyphens only.

    Accents are removed. A name without Latin letters and digits gets a name made of its hash.
    """
    letters = (sign for sign in unicodedata.normalize("NFKD", name) if not unicodedata.combining(sign))
    hyphenated = re.sub(r"[^a-z0-9]+", "-", "".join(letters).lower()).strip("-")
    digest = hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()
    return hyphenated or f"name-{digest[:8]}"


def event(node: str) -> str:
    """Return the topic of a node's events."""
    return f"{_EVENT}/{node}"


def contact(node: str) -> str:
    """Return the topic on which the run announces a node's contacts."""
    return f"{_CONTACT}/{node}"


def orders(node: str) -> str:
    """Return the topic on which the run hands tasks for satellites to a ground program."""
    return f"{_ORDERS}/{node}"


def idleness(node: str) -> str:
    """Return the topic on which a node tells what it has to do."""
    return f"{_IDLENESS}/{node}"


def clock_question(node: str) -> str:
    """Return the topic on which a node asks for the run's time."""
    return f"{_CLOCK_QUESTION}/{node}"


def clock_answer(node: str) -> str:
    """Return the topic on which the run answers a node's clock questions."""
    return f"{_CLOCK_ANSWER}/{node}"


def board_state(board: str) -> str:
    """Return the topic of a board agent's state."""
    return f"{_BOARD}/{board}/state"


def board_assignment(board: str) -> str:
    """Return the topic of a board's assignment."""
    return f"{_BOARD}/{board}/assignment"


def board_request(board: str) -> str:
    """Return the topic on which a board's agent requests pieces of files."""
    return f"{_BOARD}/{board}/want"


def board_piece(board: str, digest: str, offset: int) -> str:
    """Return the topic of one piece of a file: its SHA-256 and its offset in bytes."""
    return f"{_BOARD}/{board}/piece/{digest}/{offset}"


def board_pieces(board: str) -> str:
    """Return the filter for every piece that is sent to a board."""
    return f"{_BOARD}/{board}/piece/#"


def piece_of(topic: str) -> tuple[str, int] | None:
    """Return SHA-256 and offset from the topic of a piece; None for another topic."""
    digest, _, offset = topic.partition("/piece/")[2].partition("/")
    return (digest, int(offset)) if offset.isdecimal() else None


def down(satellite: str) -> str:
    """Return the topic of a satellite's manifests and chunks; `express` lies below it."""
    return f"{_DOWN}/{satellite}"


def down_tree(satellite: str) -> str:
    """Return the filter for everything that lies below `down`."""
    return f"{down(satellite)}/#"


def express(satellite: str) -> str:
    """Return the topic of a satellite's answers and heartbeats."""
    return f"{down(satellite)}/{EXPRESS}"


def up(satellite: str) -> str:
    """Return the topic of the ground's replies to a satellite."""
    return f"{HELLO}/{satellite}"


def tasks_up(satellite: str) -> str:
    """Return the topic of a satellite's tasks, on their way up."""
    return f"{up(satellite)}/{TASKS}"


def tasks_down(satellite: str) -> str:
    """Return the topic of a satellite's replies to its tasks."""
    return f"{down(satellite)}/{TASKS}"


def node_of(topic: str) -> str:
    """Return the slug in a topic of this module; an empty string where the topic has none."""
    levels = topic.split("/")
    position = 3 if topic.startswith((f"{_CLOCK_QUESTION}/", f"{_CLOCK_ANSWER}/")) else 2
    return levels[position] if len(levels) > position else ""
