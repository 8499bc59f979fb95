"""What the kernel answers to a netem that was written: recorded from Linux 6.1, and as it is since Linux 6.6.

Since 6.6 netem_dump (net/sched/sch_netem.c) ends with TCA_NETEM_PRNG_SEED, which the kernel draws itself
where none was given; where 64-bit numbers have to be aligned, an empty TCA_NETEM_PAD may stand before it.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from testbed.network.link_state import GilbertElliott, LinkState
from testbed.network.shapers.netem import socket as qdisc_socket
from testbed.network.shapers.netem.parameters import NetemParameters
from testbed.network.shapers.netem.socket import Netem, QdiscSocket

CHAIN = GilbertElliott.of(0.1, 5)
WRITTEN = {
    "plain": NetemParameters.of(LinkState(True, 20e6, 0.01, loss=0.01, queue_bytes=100_000)),
    "bursty": NetemParameters.of(
        LinkState(True, 80e9, 0.02, jitter_s=0.005, bursty_loss=CHAIN, queue_bytes=100_000)
    ),
}
# Header, tcmsg, kind, options, TCA_HW_OFFLOAD, statistics.
RECORDED = {
    "plain": (
        "100100002400000002000000b2020000000000000100000000000100ffffffff020000000a0001006e6574656d00000070000200"
        "5a62020054000000295c8f020000000000000000000000000c000a0080969800000000000c000b00000000000000000010000100"
        "0000000000000000000000000c00030000000000000000000c000400000000000000000014000600a02526000000000000000000"
        "0000000005000c00000000000400090038000700040006001400010000000000000000000000000000000000040006001800030000"
        "000000000000000000000000000000000000002c00030000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000"
    ),
    "bursty": (
        "300100002400000003000000b2020000000000000100000000000100ffffffff020000000a0001006e6574656d00000094000200"
        "b4c40400498502000000000000000000000000002d3101000c000a00002d3101000000000c000b00404b4c000000000010000100"
        "0000000000000000000000000c00030000000000000000000c00040000000000000000000c00080000e40b540200000014000600"
        "ffffffff0000000000000000000000001800050014000200065bb00533333333000000000000000005000c000000000038000700"
        "040006001400010000000000000000000000000000000000040006001800030000000000000000000000000000000000000000002c"
        "00030000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    ),
}
OPTIONS_LENGTH_AT = 16 + 20 + 12
SEED = struct.pack("=HHQ", 12, 14, 0x1122334455667788)
PAD = struct.pack("=HH", 4, 9)


def answered(name: str, after_options: bytes = b"") -> bytes:
    """The recorded answer to message 1, with more at the end of its options."""
    answer = bytearray.fromhex(RECORDED[name])
    struct.pack_into("=I", answer, 8, 1)
    (length,) = struct.unpack_from("=H", answer, OPTIONS_LENGTH_AT)
    struct.pack_into("=H", answer, OPTIONS_LENGTH_AT, length + len(after_options))
    end = OPTIONS_LENGTH_AT + length
    answer[end:end] = after_options
    struct.pack_into("=I", answer, 0, len(answer))
    return bytes(answer)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The other end of the socket that a QdiscSocket opens."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.setblocking(False)
    monkeypatch.setattr(qdisc_socket, "_open_netlink", lambda: theirs)
    with ours, theirs:
        yield ours


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("after_options", [b"", SEED, PAD + SEED], ids=["6.1", "6.6", "6.6, aligned"])
def test_what_was_written_is_known_again(kernel: socket.socket, name: str, after_options: bytes) -> None:
    kernel.send(answered(name, after_options))
    assert QdiscSocket().write([Netem(1, WRITTEN[name])]) == [WRITTEN[name]]
    sent = kernel.recv(1 << 16)
    assert WRITTEN[name].options() in sent
    assert WRITTEN[name].options() in answered(name)  # the kernel's order of attributes is ours


@pytest.mark.parametrize("after_options", [b"", SEED, PAD + SEED])
def test_another_netem_is_told_from_it(kernel: socket.socket, after_options: bytes) -> None:
    kernel.send(answered("bursty", after_options))
    assert QdiscSocket().write([Netem(1, WRITTEN["plain"])]) == [WRITTEN["bursty"]]


def test_more_than_a_seed_behind_what_was_written_counts(kernel: socket.socket) -> None:
    """Bursty loss that somebody else's tc has added comes behind the rate as well."""
    chain = WRITTEN["bursty"].options()[-24:]
    kernel.send(answered("plain", chain + SEED))
    (held,) = QdiscSocket().write([Netem(1, WRITTEN["plain"])])
    assert held == WRITTEN["plain"]._replace(chain=WRITTEN["bursty"].chain)


@pytest.mark.parametrize("after_options", [b"", SEED])
def test_a_dump_with_a_seed_is_read(kernel: socket.socket, after_options: bytes) -> None:
    kernel.send(answered("plain", after_options))
    kernel.send(struct.pack("=IHHIIi", 20, qdisc_socket.NLMSG_DONE, 2, 1, 0, 0))  # as recorded: of lo
    assert QdiscSocket().roots() == {1: WRITTEN["plain"]}


@pytest.mark.parametrize("after_options", [b"", SEED])
@pytest.mark.parametrize("expected", RECORDED)
def test_a_dump_is_read_whatever_was_expected(
    kernel: socket.socket, expected: str, after_options: bytes
) -> None:
    kernel.send(answered("bursty", after_options))
    kernel.send(struct.pack("=IHHIIi", 20, qdisc_socket.NLMSG_DONE, 2, 1, 0, 0))
    assert QdiscSocket().roots({1: WRITTEN[expected], 2: WRITTEN[expected]}) == {1: WRITTEN["bursty"]}


def test_answers_that_come_together_are_told_apart(kernel: socket.socket) -> None:
    refused = struct.pack("=IHHIIi16s", 36, qdisc_socket.NLMSG_ERROR, 0, 2, 0, -errno.ENOENT, b"")
    last = bytearray(answered("bursty", SEED))
    struct.pack_into("=I", last, 8, 3)
    stale = struct.pack("=IHHIIi16s", 36, qdisc_socket.NLMSG_ERROR, 0, 77, 0, -errno.EPERM, b"")
    for answer in (stale, answered("plain"), refused, bytes(last)):
        kernel.send(answer)
    first, second, third = QdiscSocket().write(
        [Netem(1, WRITTEN[name]) for name in ("plain", "plain", "bursty")]
    )
    assert (first, third) == (WRITTEN["plain"], WRITTEN["bursty"])
    assert isinstance(second, OSError)
    assert second.errno == errno.ENOENT


def test_an_answer_that_does_not_come_or_is_too_long_is_an_error(kernel: socket.socket) -> None:
    two = [Netem(1, WRITTEN["plain"])] * 2
    kernel.send(answered("plain"))
    with pytest.raises(OSError, match="the kernel did not answer"):
        QdiscSocket().write(two)
    kernel.send(bytes(qdisc_socket.ANSWER_BYTES + 1))
    with pytest.raises(OSError, match="longer than 4096 bytes"):
        QdiscSocket().write(two)


@pytest.mark.parametrize("after_options", [b"", SEED])
def test_counters_are_found_behind_a_seed(kernel: socket.socket, after_options: bytes) -> None:
    kernel.send(answered("plain", after_options))
    counted = QdiscSocket().counters(1)
    assert counted == {"delivered": 0, "delivered_bytes": 0, "dropped": 0, "inside": 0}


def test_a_refusal_is_an_error_with_its_number(kernel: socket.socket) -> None:
    kernel.send(struct.pack("=IHHIIi16s", 36, qdisc_socket.NLMSG_ERROR, 0, 1, 0, -errno.ENOENT, b""))
    (refused,) = QdiscSocket().write([Netem(1, WRITTEN["plain"])])
    assert isinstance(refused, OSError)
    assert refused.errno == errno.ENOENT
