"""Writes netems through one raw netlink socket, and reads back what the kernel holds.

One change is one message of about 170 bytes.  NLM_F_ECHO makes the kernel answer it with the qdisc as it is
after the change, so reading back needs no second question; and since a netem is written in the very bytes
that the kernel describes it with, comparing is one comparison of bytes.  Many changes go out in one system
call, and their answers come in by another.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

from testbed.kernel.datagrams import DatagramReader
from testbed.kernel.netlink import (
    ATTRIBUTE,
    HEADER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_ECHO,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute_places,
    messages,
)
from testbed.network.shapers.netem.parameters import TCA_NETEM_PRNG_SEED, NetemParameters

AT_ONCE = 32  # messages of one system call; their answers fit in a socket's usual 212,992 bytes
ANSWER_BYTES = 1 << 12  # several times what the kernel answers to one

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
NLM_F_REPLACE, NLM_F_CREATE = 0x100, 0x400
TCA_KIND, TCA_OPTIONS, TCA_STATS2 = 1, 2, 7
TCA_STATS_BASIC, TCA_STATS_QUEUE, TCA_STATS_PKT64 = 1, 3, 8
TC_H_ROOT = 0xFFFFFFFF
SOL_NETLINK, NETLINK_EXT_ACK, NETLINK_CAP_ACK, NLMSGERR_ATTR_MSG = 270, 11, 10, 1
NLM_F_ACK_TLVS = 0x200

_Came = TypeVar("_Came")
_TCMSG = struct.Struct("=BxxxiIII")  # tcmsg: family, interface index, handle, parent, info
_LENGTH = struct.Struct("=H")
# Both of these, the attribute of the kind, and length and number of the options, which follow: so it is in
# what is written and in what the kernel answers.
_BEFORE_OPTIONS = struct.Struct("=IHHII BxxxiIII 12s HH")
_OPTIONS_AT = _BEFORE_OPTIONS.size
# Since Linux 6.6 what the kernel holds ends with the seed of its random numbers, which it draws itself.
_SEED_BYTES = 12
_SEED_BEGINS = ATTRIBUTE.pack(_SEED_BYTES, TCA_NETEM_PRNG_SEED)


class Netem(NamedTuple):
    """A netem to be written as the root qdisc of an interface.

    Args:
        interface: its number.
        parameters: all of it.
        anew: a new netem, which throws away the old root and all that it held; else the netem that is
            there is changed, and keeps its packets.
    """

    interface: int
    parameters: NetemParameters
    anew: bool = False


class _Answer(NamedTuple):
    """A message of the kernel's: its type, where in the buffer it begins and ends, its flags."""

    kind: int
    begin: int
    end: int
    flags: int


class QdiscSocket:
    """The netlink messages that netem needs, in the network namespace of the thread that makes it.

    Every method raises OSError with the kernel's own words. Not thread-safe.
    """

    kind = ATTRIBUTE.pack(10, TCA_KIND) + b"netem\0\0\0"

    def __init__(self) -> None:
        self._socket = _open_netlink()
        self._answer = bytearray(AT_ONCE * ANSWER_BYTES)
        self._answers = DatagramReader(self._socket, self._answer, ANSWER_BYTES)
        self._sequence = 0
        self._handle = 0

    def write(self, netems: Sequence[Netem]) -> list[NetemParameters | OSError]:
        """Write netems; return for each what the kernel then holds, or why it refused."""
        held: list[NetemParameters | OSError] = []
        for first in range(0, len(netems), AT_ONCE):
            held += self._write(netems[first : first + AT_ONCE])
        return held

    def _write(self, netems: Sequence[Netem]) -> list[NetemParameters | OSError]:
        options = [netem.parameters.options() for netem in netems]
        first = self._sequence + 1
        self._socket.send(b"".join(map(self._message, netems, options)))
        if len(netems) == 1:
            return [self._held(self._receive(first), netems[0].parameters, options[0])]
        held: dict[int, NetemParameters | OSError] = {}
        while len(held) < len(netems):
            for begin, end in _unless_silent(self._answers.read):
                sequence, answer = self._answer_in(begin, end)
                if first <= sequence < first + len(netems):
                    n = sequence - first
                    held[n] = self._held(answer, netems[n].parameters, options[n])
        return [held[n] for n in range(len(netems))]

    def _message(self, netem: Netem, options: bytes) -> bytes:
        flags, handle = NLM_F_REQUEST | NLM_F_ECHO, 0
        if netem.anew:
            # A handle that is new to the kernel is what makes it replace the qdisc and not change it.
            self._handle = self._handle % 0x7FFF + 1
            flags, handle = flags | NLM_F_CREATE | NLM_F_REPLACE, self._handle << 16
        self._sequence += 1
        size = len(options)
        header = _OPTIONS_AT + size, RTM_NEWQDISC, flags, self._sequence, 0
        tcmsg = socket.AF_UNSPEC, netem.interface, handle, TC_H_ROOT, 0
        before = _BEFORE_OPTIONS.pack(*header, *tcmsg, self.kind, ATTRIBUTE.size + size, TCA_OPTIONS)
        return before + options

    def _held(self, answer: _Answer, wanted: NetemParameters, options: bytes) -> NetemParameters | OSError:
        """Return the netem that the kernel holds, according to its answer."""
        kind, at, end, flags = answer
        if kind == NLMSG_ERROR:
            refusal = _refusal(self._body(at, end), flags)
            return refusal or OSError(errno.ENOMSG, "the kernel did not say what it holds")
        if _are_at(self._answer, at + _OPTIONS_AT, options):
            return wanted
        try:  # it is another netem, or the kernel puts it into other bytes
            return _parameters(self._body(at, end))
        except OSError as error:
            return error

    def get(self, index: int) -> NetemParameters:
        """Return the root netem of an interface."""
        return _parameters(self._ask(RTM_GETQDISC, NLM_F_ECHO, index, RTM_NEWQDISC))

    def roots(self, expected: Mapping[int, NetemParameters] | None = None) -> dict[int, NetemParameters]:
        """Return the root netem of every interface of the namespace that has one, by interface number.

        One that is as expected is known by its bytes, in a fraction of the time that decoding takes.
        """
        found, expected = {}, expected or {}
        for index, answer in self.root_messages().items():
            wanted = expected.get(index)
            if (
                wanted is not None
                and answer.startswith(self.kind, _TCMSG.size)
                and _are_at(answer, _OPTIONS_AT - HEADER.size, wanted.options())
            ):
                found[index] = wanted
                continue
            with suppress(OSError):  # the root is no netem
                found[index] = _parameters(answer)
        return found

    def root_messages(self) -> dict[int, bytes]:
        """Return the root qdiscs of any kind as the kernel sends them, by interface number."""
        self._request(RTM_GETQDISC, NLM_F_DUMP, 0, parent=0)
        found: dict[int, bytes] = {}
        while True:
            for begin, end, kind, flags, sequence in messages(self._answer, self._receive_some()):
                if sequence != self._sequence:
                    continue
                body = bytes(self._answer[begin:end])
                if kind == NLMSG_ERROR:
                    _raise_error(body, flags)
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    return found
                _, index, _, parent, _ = _TCMSG.unpack_from(body)
                if parent == TC_H_ROOT:
                    found[index] = body

    def counters(self, index: int) -> dict[str, float]:
        """Return the kernel's counters of an interface's root qdisc (TCA_STATS2, gen_stats.h)."""
        answer = self._ask(RTM_GETQDISC, NLM_F_ECHO, index, RTM_NEWQDISC)
        _parameters(answer)  # raises if it is no netem of ours that counts
        begin, end = attribute_places(answer, _TCMSG.size, len(answer))[TCA_STATS2]
        counted = attribute_places(answer, begin, end)
        size_bytes, packets = struct.unpack_from("=QI", answer, counted[TCA_STATS_BASIC][0])
        if TCA_STATS_PKT64 in counted:
            (packets,) = struct.unpack_from("=Q", answer, counted[TCA_STATS_PKT64][0])
        inside, _, dropped = struct.unpack_from("=III", answer, counted[TCA_STATS_QUEUE][0])
        return {"delivered": packets, "delivered_bytes": size_bytes, "dropped": dropped, "inside": inside}

    def delete(self, index: int) -> None:
        """Remove the root qdisc; one that is not there, or whose interface has gone, is no error."""
        try:
            self._ask(RTM_DELQDISC, NLM_F_ACK, index, NLMSG_ERROR)
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ENOENT, errno.EINVAL):
                raise

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _request(self, kind: int, flags: int, index: int, parent: int = TC_H_ROOT) -> None:
        self._sequence += 1
        length = HEADER.size + _TCMSG.size
        self._socket.send(
            HEADER.pack(length, kind, NLM_F_REQUEST | flags, self._sequence, 0)
            + _TCMSG.pack(socket.AF_UNSPEC, index, 0, parent, 0)
        )

    def _ask(self, kind: int, flags: int, index: int, answer_kind: int) -> bytes:
        """Ask about the root qdisc of an interface; the body of the answer."""
        self._request(kind, flags, index)
        while True:
            got_kind, at, end, got_flags = self._receive(self._sequence)
            if got_kind == NLMSG_ERROR:
                _raise_error(self._body(at, end), got_flags)
            if got_kind == answer_kind:
                return self._body(at, end)

    def _body(self, at: int, end: int) -> bytes:
        return bytes(self._answer[at + HEADER.size : end])

    def _receive(self, sequence: int) -> _Answer:
        """Put the answer to one message into `_answer`."""
        while True:
            got_sequence, answer = self._answer_in(0, self._receive_some())
            if got_sequence == sequence:
                return answer

    def _answer_in(self, begin: int, end: int) -> tuple[int, _Answer]:
        """Return sequence number and answer of one datagram."""
        length, kind, flags, sequence, _ = HEADER.unpack_from(self._answer, begin)
        at = begin
        if kind == RTM_DELQDISC and begin + length < end:
            # What replaces a qdisc is told behind what it replaces.
            at = begin + (length + 3 & ~3)
            length, kind, flags, _, _ = HEADER.unpack_from(self._answer, at)
        return sequence, _Answer(kind, at, at + length, flags)

    def _receive_some(self) -> int:
        """Put what comes next at the beginning of `_answer`; its size, bytes."""
        return _unless_silent(lambda: self._socket.recv_into(self._answer))


def _are_at(answer: bytes | bytearray, at: int, options: bytes) -> bool:
    """Return whether an answer's options, which begin at `at`, are these; the kernel may add a seed."""
    (length,) = _LENGTH.unpack_from(answer, at - ATTRIBUTE.size)
    more = length - ATTRIBUTE.size - len(options)
    return answer.startswith(options, at) and (
        more == 0 or (more == _SEED_BYTES and answer.startswith(_SEED_BEGINS, at + len(options)))
    )


def _unless_silent(receive: Callable[[], _Came]) -> _Came:
    try:
        return receive()
    except BlockingIOError:
        raise OSError(errno.ENOMSG, "the kernel did not answer") from None


def _open_netlink() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    netlink.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)  # the kernel says in words why it refuses
    netlink.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
    netlink.bind((0, 0))
    # The reply is already queued when send() returns; a timeout would only add a poll().
    netlink.setblocking(False)
    return netlink


def _raise_error(body: bytes, flags: int) -> None:
    if (refusal := _refusal(body, flags)) is not None:
        raise refusal


def _refusal(body: bytes, flags: int) -> OSError | None:
    """Return the error in an NLMSG_ERROR, or None if it is an acknowledgement."""
    (code,) = struct.unpack_from("=i", body)
    if code == 0:
        return None
    said = ""
    if flags & NLM_F_ACK_TLVS:
        words = attribute_places(body, 4 + HEADER.size, len(body))
        begin, end = words.get(NLMSGERR_ATTR_MSG, (0, 0))
        said = body[begin:end].rstrip(b"\0").decode(errors="replace")
    return OSError(-code, said or os.strerror(-code))


def _parameters(answer: bytes) -> NetemParameters:
    found = attribute_places(answer, _TCMSG.size, len(answer))
    begin, end = found.get(TCA_KIND, (0, 0))
    kind = answer[begin:end].rstrip(b"\0")
    if kind != b"netem":
        raise OSError(errno.ENOENT, f"the root qdisc is {kind.decode() or 'absent'}, not netem")
    begin, end = found[TCA_OPTIONS]
    return NetemParameters.from_options(answer[begin:end])
