"""One NFQUEUE of the kernel, read and answered through raw netlink."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import NamedTuple

from testbed.kernel.netlink import ATTRIBUTE, NLM_F_REQUEST, NetlinkSocket, Request, attribute, message
from testbed.network.shapers.super_packets import MTU_BYTES

ETHERNET_HEADER_BYTES = 14

# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_queue.h
NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
SO_RCVBUFFORCE = 33
NFNL_SUBSYS_QUEUE = 3
PACKET, VERDICT, CONFIG, VERDICT_BATCH = 0, 1, 2, 3
NFQA_VERDICT_HDR, NFQA_TIMESTAMP, NFQA_PAYLOAD, NFQA_CAP_LEN, NFQA_SKB_INFO = 2, 4, 10, 13, 14
NFQA_CFG_CMD, NFQA_CFG_PARAMS, NFQA_CFG_QUEUE_MAXLEN, NFQA_CFG_MASK, NFQA_CFG_FLAGS = 1, 2, 3, 4, 5
NFQA_CFG_F_GSO, NFQA_SKB_GSO = 1 << 2, 1 << 1
NFQNL_CFG_CMD_BIND, NFQNL_COPY_PACKET = 1, 2
NF_DROP, NF_ACCEPT = 0, 1
_SUBSYSTEM = NFNL_SUBSYS_QUEUE << 8
PACKET_TYPE = _SUBSYSTEM | PACKET
FIRST_ATTRIBUTE = 20  # after nlmsghdr and nfgenmsg; the kernel puts NFQA_PACKET_HDR there

# A limit, not an allocation: about 6,000 packets that wait to be read. Of a flood that this process cannot
# read in time the kernel drops what is more, and counts it, rather than let the whole link fall behind.
RECEIVE_BUFFER_BYTES = 8 << 20
KERNEL_QUEUE_PACKETS = 100_000

# Of each packet the kernel gives the length, whatever its protocol, and its first bytes. One is the least;
# super-packets need the headers of IP and TCP. IPv6 with a header between them counts as without.
HEAD_BYTES, HEADERS_BYTES = 1, 54
IPV6_BYTES, TCP_BYTES, TCP_OFFSET_AT = 40, 20, 12

_TYPE, _U32 = struct.Struct("=H"), struct.Struct(">I")
_STAMP, _NFGENMSG = struct.Struct(">QQ"), struct.Struct(">BBH")


class _Places(NamedTuple):
    """Where the attributes of a packet's message are; 0 for one that is missing.

    NFQA_CAP_LEN is missing where the payload is the whole packet.
    """

    size_at: int
    stamp_at: int
    info_at: int
    payload_at: int
    payload_bytes: int

    def hold(self, buffer: bytearray) -> bool:
        """Return whether a message of the same length has its attributes at the same places.

        The payload is the last one, so that its place tells which of the others are there.
        """
        return (
            ATTRIBUTE.unpack_from(buffer, self.payload_at) == (self.payload_bytes + 4, NFQA_PAYLOAD)
            and (not self.size_at or ATTRIBUTE.unpack_from(buffer, self.size_at) == (8, NFQA_CAP_LEN))
            and (not self.info_at or ATTRIBUTE.unpack_from(buffer, self.info_at) == (8, NFQA_SKB_INFO))
            and (not self.stamp_at or ATTRIBUTE.unpack_from(buffer, self.stamp_at) == (20, NFQA_TIMESTAMP))
        )


class PacketQueue:
    """One NFQUEUE of the namespace that this process is in.

    Attributes:
        whole: whether super-packets come as they are; else the kernel cuts them up.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._about = _NFGENMSG.pack(socket.AF_UNSPEC, 0, number)
        self.whole = False
        self._netlink = NetlinkSocket(NETLINK_NETFILTER)
        self._socket = self._netlink.socket
        try:
            self._bind()
        except BaseException:
            self._socket.close()
            raise
        self._buffer = bytearray(1 << 16)
        self._places: dict[int, _Places] = {}  # by length of a message

    def _bind(self) -> None:
        self._socket.bind((0, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        try:
            self._netlink.do(
                [
                    self._config(attribute(NFQA_CFG_CMD, struct.pack(">BxH", NFQNL_CFG_CMD_BIND, 0))),
                    self._config(_whole(on=False)),  # a super-packet that slips in is cut up and shaped
                    self._config(attribute(NFQA_CFG_QUEUE_MAXLEN, struct.pack(">I", KERNEL_QUEUE_PACKETS))),
                ]
            )
        except OSError as error:
            raise OSError(error.errno, f"NFQUEUE {self.number}: {error.strerror}") from error
        # With this the kernel drops and counts packets when the buffer is full; without it reading fails.
        self._socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor, so that epoll can wait for packets."""
        return self._socket.fileno()

    def pass_whole(self, on: bool) -> None:
        """Let super-packets come as they are, or have them cut up; from the next one on."""
        self.whole = on
        kind, _, body = self._config(_whole(on=on))
        self._socket.send(message(kind, NLM_F_REQUEST, 0, body))

    def read(self) -> tuple[int, int, float, int] | None:
        """Return the next packet, or None if there is none.

        Returns:
            Packet id, size of the frame in bytes with its Ethernet header, CLOCK_REALTIME of its arrival
            in the sky in seconds (0.0 if the kernel did not stamp it), and the number of packets that it
            stands for: more than 1 in a super-packet, whose size has the headers of each.
        """
        buffer = self._buffer
        while True:
            try:
                length = self._socket.recv_into(buffer)
            except BlockingIOError:
                return None
            if _TYPE.unpack_from(buffer, 4)[0] == PACKET_TYPE:
                break
            # NLMSG_ERROR: a verdict on packets that the kernel has dropped with their port, as it should.
        places = self._find(length)
        arrived_s = 0.0
        if places.stamp_at:
            seconds, microseconds = _STAMP.unpack_from(buffer, places.stamp_at + 4)
            arrived_s = seconds + microseconds * 1e-6
        packet_id = _U32.unpack_from(buffer, FIRST_ATTRIBUTE + 4)[0]
        if places.size_at:
            size_bytes = _U32.unpack_from(buffer, places.size_at + 4)[0]
        else:
            size_bytes = places.payload_bytes
        packets = 1
        if places.info_at and _U32.unpack_from(buffer, places.info_at + 4)[0] & NFQA_SKB_GSO:
            headers_bytes = _headers_bytes(buffer, places.payload_at + 4, places.payload_bytes)
            packets = max(1, -(-(size_bytes - headers_bytes) // (MTU_BYTES - headers_bytes)))
            size_bytes += (packets - 1) * (headers_bytes + ETHERNET_HEADER_BYTES)
        return packet_id, size_bytes + ETHERNET_HEADER_BYTES, arrived_s, packets

    def accept_up_to(self, packet_id: int) -> None:
        """Release every parked packet up to `packet_id`."""
        self._send_verdict(VERDICT_BATCH, NF_ACCEPT, packet_id)

    def drop_up_to(self, packet_id: int) -> None:
        """Drop every parked packet up to `packet_id`."""
        self._send_verdict(VERDICT_BATCH, NF_DROP, packet_id)

    def drop(self, packet_ids: list[int]) -> None:
        """Drop these parked packets and no others, in one system call."""
        self._socket.send(b"".join(self._verdict(VERDICT, NF_DROP, packet_id) for packet_id in packet_ids))

    def close(self) -> None:
        """Unbind; the kernel drops what is parked."""
        self._socket.close()

    def _send_verdict(self, kind: int, verdict: int, packet_id: int) -> None:
        self._socket.send(self._verdict(kind, verdict, packet_id))

    def _verdict(self, kind: int, verdict: int, packet_id: int) -> bytes:
        header = attribute(NFQA_VERDICT_HDR, struct.pack(">II", verdict, packet_id))
        return message(_SUBSYSTEM | kind, NLM_F_REQUEST, 0, self._about + header)

    def _config(self, attributes: bytes) -> Request:
        return _SUBSYSTEM | CONFIG, 0, self._about + attributes

    def _find(self, length: int) -> _Places:
        """Return where the attributes are in the message."""
        places = self._places.get(length)
        if places is None or not places.hold(self._buffer):
            places = self._places[length] = _find_attributes(self._buffer, length)
        return places


def kernel_drops(queue_number: int) -> dict[str, int]:
    """Return the packets of a queue that never reached this process; nfnetlink_queue.c, seq_show()."""
    for line in Path("/proc/self/net/netfilter/nfnetlink_queue").read_text().splitlines():
        fields = line.split()
        if int(fields[0]) == queue_number:
            return {"kernel_dropped": int(fields[5]) + int(fields[6])}
    return {"kernel_dropped": 0}


def _whole(*, on: bool) -> bytes:
    """Return the attributes that let super-packets come whole, with their headers, or cut up."""
    flag = NFQA_CFG_F_GSO if on else 0
    return (
        attribute(NFQA_CFG_PARAMS, struct.pack(">IB", HEADERS_BYTES if on else HEAD_BYTES, NFQNL_COPY_PACKET))
        + attribute(NFQA_CFG_FLAGS, struct.pack(">I", flag))
        + attribute(NFQA_CFG_MASK, struct.pack(">I", NFQA_CFG_F_GSO))
    )


def _headers_bytes(buffer: bytearray, at: int, length: int) -> int:
    """Return the size of the headers of IP and TCP, of which the first bytes are there."""
    ip_bytes = IPV6_BYTES if buffer[at] >> 4 == 6 else (buffer[at] & 0xF) * 4
    offset_at = ip_bytes + TCP_OFFSET_AT
    return ip_bytes + (TCP_BYTES if offset_at >= length else (buffer[at + offset_at] >> 4) * 4)


def _find_attributes(buffer: bytearray, length: int) -> _Places:
    at, size_at, stamp_at, info_at, payload_at, payload_bytes = FIRST_ATTRIBUTE, 0, 0, 0, 0, 0
    while at + 4 <= length:
        attribute_length, kind = ATTRIBUTE.unpack_from(buffer, at)
        if kind == NFQA_CAP_LEN:
            size_at = at
        elif kind == NFQA_TIMESTAMP:
            stamp_at = at
        elif kind == NFQA_SKB_INFO:
            info_at = at
        elif kind == NFQA_PAYLOAD:
            payload_at, payload_bytes = at, attribute_length - 4
        at += max(4, attribute_length + 3 & ~3)
    if not payload_at:
        raise ValueError("a packet came without its first bytes")
    return _Places(size_at, stamp_at, info_at, payload_at, payload_bytes)
