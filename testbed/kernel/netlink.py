"""Netlink messages: how they are laid out, sent, acknowledged and answered; see netlink(7)."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
ATTRIBUTE = struct.Struct("=HH")  # length with these 4 bytes, number; then the payload, to a multiple of 4
NLM_F_REQUEST, NLM_F_ACK, NLM_F_ECHO, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x8, 0x10, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
ANSWER_BYTES = 1 << 16
ANSWER_WITHIN_S = 5.0
AT_ONCE = 128  # requests in one system call: more acknowledgements than twice as many do not fit a socket
_ERROR = struct.Struct("=i")

Request = tuple[int, int, bytes]  # type, flags, body


def messages(data: bytes | bytearray, end: int | None = None) -> Iterator[tuple[int, int, int, int, int]]:
    """Each message in data[:end]: where its body begins and ends; its type, flags and sequence number."""
    at, end = 0, len(data) if end is None else end
    while at + HEADER.size <= end:
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
        yield at + HEADER.size, at + length, kind, flags, sequence
        at += max(length, HEADER.size) + 3 & ~3


def attribute_places(data: bytes, at: int, end: int) -> dict[int, tuple[int, int]]:
    """Where the payload of each netlink attribute in data[at:end] begins and ends, by its number."""
    found = {}
    while at + ATTRIBUTE.size <= end:
        length, number = ATTRIBUTE.unpack_from(data, at)
        if length < ATTRIBUTE.size:
            break
        found[number & 0x3FFF] = (at + ATTRIBUTE.size, at + length)
        at += length + 3 & ~3
    return found


def message(kind: int, flags: int, number: int, body: bytes) -> bytes:
    """Return a message with its header, to a multiple of 4 bytes."""
    return padded(HEADER.pack(HEADER.size + len(body), kind, flags, number, 0) + body)


def attribute(number: int, payload: bytes) -> bytes:
    """Return an attribute with its header, to a multiple of 4 bytes."""
    return padded(ATTRIBUTE.pack(ATTRIBUTE.size + len(payload), number) + payload)


def padded(data: bytes) -> bytes:
    """Return data to a multiple of 4 bytes."""
    return data + bytes(-len(data) % 4)


class NetlinkSocket:
    """A socket for requests, of the namespace of the thread that makes it; any thread may use it.

    Args:
        protocol: the family of messages, such as socket.NETLINK_ROUTE.

    Attributes:
        socket: for messages that the kernel sends by itself.
    """

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self.socket.settimeout(ANSWER_WITHIN_S)
        self._lock = threading.Lock()
        self._sequence = itertools.count(1)

    def acknowledged(self, requests: Sequence[Request]) -> list[int]:
        """Send requests, many in one system call; return the error number of each, 0 for one that was done.

        The kernel carries out each, also after one that fails. Raises OSError if it does not answer.
        """
        with self._lock:
            return [
                error
                for first in range(0, len(requests), AT_ONCE)
                for error in self._acknowledged(requests[first : first + AT_ONCE])
            ]

    def do(self, requests: Sequence[Request]) -> None:
        """Have requests carried out as `acknowledged`. Raises OSError of the first that failed."""
        for error in self.acknowledged(requests):
            if error:
                raise OSError(error, os.strerror(error))

    def ask(self, kind: int, body: bytes) -> bytes:
        """Return the body of the one answer to a question. Raises OSError."""
        with self._lock:
            number = self._send_question(kind, NLM_F_REQUEST, body)
            while True:
                for its_body, its_kind, _ in self._answers(number):
                    _raise_if_error(its_kind, its_body)
                    return its_body

    def dump(self, kind: int, body: bytes) -> tuple[list[bytes], bool]:
        """Return the bodies of all answers to a question, and whether nothing changed between them.

        Raises OSError.
        """
        found: list[bytes] = []
        whole = True
        with self._lock:
            number = self._send_question(kind, NLM_F_REQUEST | NLM_F_DUMP, body)
            while True:
                for its_body, its_kind, flags in self._answers(number):
                    whole = whole and not flags & NLM_F_DUMP_INTR
                    if its_kind == NLMSG_DONE:
                        return found, whole
                    _raise_if_error(its_kind, its_body)
                    found.append(its_body)

    def close(self) -> None:
        """Close the socket. May be called twice."""
        self.socket.close()

    def _acknowledged(self, requests: Sequence[Request]) -> list[int]:
        numbers = [next(self._sequence) for _ in requests]
        batch = (
            message(kind, flags | NLM_F_REQUEST | NLM_F_ACK, number, body)
            for number, (kind, flags, body) in zip(numbers, requests, strict=True)
        )
        self.socket.send(b"".join(batch))
        errors: dict[int, int] = {}
        while len(errors) < len(numbers):
            data = self.socket.recv(ANSWER_BYTES)
            for at, _, kind, _, number in messages(data):
                if kind == NLMSG_ERROR and numbers[0] <= number <= numbers[-1]:
                    errors[number] = -_ERROR.unpack_from(data, at)[0]
        return [errors[number] for number in numbers]

    def _send_question(self, kind: int, flags: int, body: bytes) -> int:
        number = next(self._sequence)
        self.socket.send(message(kind, flags, number, body))
        return number

    def _answers(self, to: int) -> Iterator[tuple[bytes, int, int]]:
        """Return body, type and flags of the next messages that answer a question; there may be none."""
        data = self.socket.recv(ANSWER_BYTES)
        for at, end, kind, flags, number in messages(data):
            if number == to:
                yield data[at:end], kind, flags


def _raise_if_error(kind: int, body: bytes) -> None:
    if kind == NLMSG_ERROR and (error := -_ERROR.unpack_from(body)[0]):
        raise OSError(error, os.strerror(error))
