"""Errors of this package; the text of each is one line that says what is wrong, where, and what to do.

    NodeError
    ├── ModelError (ValueError)             a model cannot be used; exit code 2
    │   └── ServerUnavailableError          its server is unreachable or overloaded; a retry may succeed
    ├── ImageError (ValueError)             an image cannot be used; exit code 2
    ├── DataError (ValueError)              a data set cannot be read
    ├── ConfidenceError (ValueError)        a confidence network cannot be trained or read
    ├── PayloadError (ValueError)           a message of regions is malformed
    ├── PartError (ValueError)              a policy, a model or regions failed about one frame; exit code 2
    ├── AskError (RuntimeError)             `spaceverse ask`: the model failed to answer; exit code 1
    └── WithdrawnError                      a frame cannot be worked on now, and will be asked again

Errors of a single package are defined where they are raised:

    ValueError
    ├── ConfigError                         nodes.contract.config: invalid configuration file
    ├── MalformedError                      nodes.transfer.messages: malformed transfer message
    └── SplitError                          nodes.lab.eo_mini.gates: the folder holds no split of eo-mini
    RuntimeError
    ├── FileError                           nodes.board.files: a fetched file differs from the requested one
    ├── SensorError                         nodes.sensors.reading: a power sensor cannot be read
    ├── ChronyError                         nodes.clocks.chrony: chrony gives no clock offset
    └── SourceError                         nodes.lab.eo_mini.packages: imagery cannot be fetched or differs
    OSError
    ├── NoRoomError                         nodes.transfer.senders.space: no space for an item at present
    ├── GoneError                           nodes.transfer.inbox_item: an item's files were removed
    └── OutboxError                         nodes.transfer.outbox: an item cannot be stored or read
        └── TransientOutboxError            nodes.transfer.outbox: the same may succeed later
    Exception
    ├── ModelUnavailableError               nodes.runtime.program: the model did not load
    ├── RefusedTaskError                    nodes.transfer.uplink.satellite: a task cannot be carried out
    └── ReplyError                          nodes.vlm.bounded_http: a reply is too large, or in another form
"""

from __future__ import annotations


class NodeError(Exception):
    """Base of the errors below."""


class ModelError(NodeError, ValueError):
    """A model that cannot be used."""

    exit_code = 2


class ServerUnavailableError(ModelError):
    """The server cannot be reached, takes too long, or replies 429 or 5xx; a retry may succeed.

    Attributes:
        retry_after_s: For how long the server asks not to be asked again; 0 if it does not say.
    """

    def __init__(self, text: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class ImageError(NodeError, ValueError):
    """An image that cannot be used."""

    exit_code = 2


class DataError(NodeError, ValueError):
    """A data set that cannot be read; the text names the file."""


class ConfidenceError(NodeError, ValueError):
    """A confidence network that cannot be trained or read."""


class PayloadError(NodeError, ValueError):
    """A message of regions that is malformed, or whose images do not fit it."""


class PartError(NodeError, ValueError):
    """The failure of one part of the work on a frame.

    Attributes:
        part: The part, as `nodes.contract.events.FailedPart` names it.
        reason: The error.
        where: File, line and function that raised it; None if unknown.
    """

    exit_code = 2

    def __init__(self, part: str, reason: str, where: str | None = None) -> None:
        super().__init__(f"{part}{f' {where}' if where else ''}: {reason}")
        self.part, self.reason, self.where = part, reason, where


class WithdrawnError(NodeError):
    """A frame whose image is not there at present; it is asked again when it is."""


class AskError(NodeError, RuntimeError):
    """The model was loaded but failed to answer."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its class if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
