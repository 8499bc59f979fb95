"""Shapes links with the kernel's netem, written and read back through one raw netlink socket.

A packet of direction D leaves the sky at the port `ports.exit(D)`; a netem is that port's root qdisc and
plays all of D: loss, the queue (`limit`), serialisation (`rate`), propagation (`delay`).

    entry port -> bridge -> exit port [ netem: loss -> limit -> rate -> delay ] -> veth -> the other end

Why one netem, with the rate inside: it keeps the order of packets when the delay falls (a netem without
rate does not), and it gives an idle link no credit (HTB and TBF do).  What netem cannot do: packets that are
queued keep the schedule they got on entry when rate or delay change; a change acts on what enters after it.

Why raw netlink: one change is one message of about 120 bytes and one system call, and with NLM_F_ECHO the
kernel answers with the qdisc as it is after the change, so reading back is free and exact.  A long-lived
`tc -batch` costs about the same, but answers in prose, is a process that can die, and hides what `change`
leaves out (tc resets what is not named).  Here the whole state is in every message.

Numbers, in the kernel's units (include/uapi/linux/pkt_sched.h, net/sched/sch_netem.c):
    rate   whole bytes per second, 64 bits beyond 34 Gbit/s; counts skb bytes, which at the exit port are the
           Ethernet frame with its 14-byte header and without FCS, as `LinkState` counts
    delay  nanoseconds (TCA_NETEM_LATENCY64); jitter too (TCA_NETEM_JITTER64): without a distribution
           table netem draws uniformly, and with a rate it keeps the order of packets
    loss   share of 2^32 - 1; bursts by netem's own Gilbert-Elliott chain, which starts anew in the good
           state with every change (net/sched/sch_netem.c, get_loss_clg), so that a change cuts a burst off
    limit  packets, those in propagation included: rate x (delay + jitter) + the queue, both in full-size
           frames of 1514 bytes.  A flood of small packets fills it with fewer bytes than were asked for.
A closed direction is a new netem with limit 0, which drops everything; taking its place throws away what the
old one held, so that nothing of one contact is delivered in the next.

What netem cannot do is refused with a CapabilityError: it cannot hold what is inside for the next contact
(time goes on for packets that are in it, whatever its rate), and its loss has no seed that can be relied on
(TCA_NETEM_PRNG_SEED came with Linux 6.6).
"""

from __future__ import annotations

import errno
import math
import os
import platform
import socket
import struct
import threading
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from testbed.errors import CapabilityError, LinkError
from testbed.kernel import NetworkNamespace
from testbed.link_state import DOWN_STATE, Direction, GilbertElliott, LinkState, OnContactEnd
from testbed.shaper import LinkPorts

FRAME_BYTES = 1514  # Ethernet header and 1500 bytes; what `limit` takes a packet to be
CHECK_EVERY_S = 0.5
DUMP_WORTH = 8  # a dump of that many interfaces costs as much as one answer by itself

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_ECHO = 0x1, 0x4, 0x8
NLM_F_REPLACE, NLM_F_CREATE, NLM_F_DUMP = 0x100, 0x400, 0x300
TCA_KIND, TCA_OPTIONS, TCA_STATS2 = 1, 2, 7
TCA_STATS_BASIC, TCA_STATS_QUEUE, TCA_STATS_PKT64 = 1, 3, 8
TCA_NETEM_LOSS, TCA_NETEM_RATE, TCA_NETEM_RATE64 = 5, 6, 8
TCA_NETEM_LATENCY64, TCA_NETEM_JITTER64 = 10, 11
NETEM_LOSS_GE = 2
TC_H_ROOT = 0xFFFFFFFF
SOL_NETLINK, NETLINK_EXT_ACK, NETLINK_CAP_ACK, NLMSGERR_ATTR_MSG = 270, 11, 10, 1

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_TCMSG = struct.Struct("=BxxxiIII")  # tcmsg: family, interface index, handle, parent, info
_QOPT = struct.Struct("=IIIIII")  # tc_netem_qopt: latency (ticks), limit, loss, gap, duplicate, jitter
_RATE = struct.Struct("=IiIi")  # tc_netem_rate: rate, packet overhead, cell size, cell overhead
_PLAIN = struct.Struct(
    "=IIIIII HHq HHq HHIiIi"
)  # a tc_netem_qopt and the three attributes that are always there
_GEMODEL = struct.Struct("=IIII")  # tc_netem_gemodel: p, r, h, k1 (1 - h and k1 are the losses)
_ATTRIBUTE = struct.Struct("=HH")
_U32, _U64, _S64 = struct.Struct("=I"), struct.Struct("=Q"), struct.Struct("=q")

_NETEM_KIND = _ATTRIBUTE.pack(10, TCA_KIND) + b"netem\0\0\0"  # 10 bytes, padded to 12
_UNUSED = 0
_TICK_NS = 64  # the unit of tc_netem_qopt.latency; LATENCY64, sent beside it, decides
_FULL = 2**32 - 1


class NetemParameters(NamedTuple):
    """One netem in the kernel's units; what is written and what is read back compare exactly.

    Args:
        rate_byte_s: bytes per second; 0 is no rate limit, which only a closed netem has.
        delay_ns: nanoseconds.
        loss: share of 2^32 - 1.
        limit: packets; 0 drops everything and means that the direction is closed.
        jitter_ns: nanoseconds.
        chain: p, r, h and k1 of netem's Gilbert-Elliott loss, shares of 2^32 - 1; None for plain loss.
    """

    rate_byte_s: int
    delay_ns: int
    loss: int
    limit: int
    jitter_ns: int = 0
    chain: tuple[int, int, int, int] | None = None

    @classmethod
    def of(cls, state: LinkState) -> NetemParameters:
        """The netem that plays `state`."""
        if not state.up:
            return CLOSED
        rate_byte_s = max(1, round(state.rate_bit_s / 8))
        delay_ns, jitter_ns = round(state.delay_s * 1e9), round(state.jitter_s * 1e9)
        waiting = math.ceil(state.queue_limit_bytes / FRAME_BYTES)
        limit = min(_flying(rate_byte_s, delay_ns + jitter_ns) + waiting, _FULL)
        chain = None
        if (ge := state.bursty_loss) is not None:
            shares = (ge.good_to_bad, ge.bad_to_good, 1 - ge.bad_loss, ge.good_loss)
            chain = (_share(shares[0]), _share(shares[1]), _share(shares[2]), _share(shares[3]))
        return cls(rate_byte_s, delay_ns, _share(state.loss), limit, jitter_ns, chain)

    def state(self) -> LinkState:
        """The state that this netem plays; its queue_bytes come in whole 1514-byte frames."""
        if self.limit == 0:
            return DOWN_STATE
        waiting = self.limit - _flying(self.rate_byte_s, self.delay_ns + self.jitter_ns)
        bursty_loss = None
        if self.chain is not None:
            p, r, h, k1 = (share / _FULL for share in self.chain)
            bursty_loss = GilbertElliott(p, r, 1 - h, k1)
        return LinkState(
            up=True,
            rate_bit_s=8.0 * self.rate_byte_s,
            delay_s=self.delay_ns / 1e9,
            loss=self.loss / _FULL,
            queue_bytes=max(1, waiting) * FRAME_BYTES,
            jitter_s=self.jitter_ns / 1e9,
            bursty_loss=bursty_loss,
        )

    def options(self) -> bytes:
        """TCA_OPTIONS of a netem: every field that netem has a memory for, so that nothing old stays."""
        packed = [
            _PLAIN.pack(
                min(self.delay_ns // _TICK_NS, _FULL),
                self.limit,
                self.loss,
                _UNUSED,
                _UNUSED,
                min(self.jitter_ns // _TICK_NS, _FULL),
                *(12, TCA_NETEM_LATENCY64, self.delay_ns),
                *(12, TCA_NETEM_JITTER64, self.jitter_ns),
                *(20, TCA_NETEM_RATE, min(self.rate_byte_s, _FULL), 0, 0, 0),
            )
        ]
        if self.rate_byte_s > _FULL:
            packed.append(_attribute(TCA_NETEM_RATE64, struct.pack("=Q", self.rate_byte_s)))
        if self.chain is not None:  # without it the kernel goes back to plain loss
            packed.append(_attribute(TCA_NETEM_LOSS, _attribute(NETEM_LOSS_GE, _GEMODEL.pack(*self.chain))))
        return b"".join(packed)

    @classmethod
    def from_options(cls, options: bytes) -> NetemParameters:
        """Decode the TCA_OPTIONS of a netem as the kernel sends them."""
        ticks, limit, loss, _, _, jitter_ticks = _QOPT.unpack_from(options)
        found = _places(options, _QOPT.size, len(options))
        delay_ns, jitter_ns, rate, chain = ticks * _TICK_NS, jitter_ticks * _TICK_NS, 0, None
        if TCA_NETEM_RATE64 in found:
            (rate,) = _U64.unpack_from(options, found[TCA_NETEM_RATE64][0])
        elif TCA_NETEM_RATE in found:
            (rate,) = _U32.unpack_from(options, found[TCA_NETEM_RATE][0])
        if TCA_NETEM_LATENCY64 in found:
            (delay_ns,) = _S64.unpack_from(options, found[TCA_NETEM_LATENCY64][0])
        if TCA_NETEM_JITTER64 in found:
            (jitter_ns,) = _S64.unpack_from(options, found[TCA_NETEM_JITTER64][0])
        if TCA_NETEM_LOSS in found:
            chains = _places(options, *found[TCA_NETEM_LOSS])
            if NETEM_LOSS_GE in chains:
                chain = _GEMODEL.unpack_from(options, chains[NETEM_LOSS_GE][0])
        return cls(rate, delay_ns, loss, limit, jitter_ns, chain)


def _flying(rate_byte_s: int, delay_ns: int) -> int:
    """Full-size frames that are in propagation at most."""
    return -(-rate_byte_s * delay_ns // (10**9 * FRAME_BYTES))


def _share(probability: float) -> int:
    return round(probability * _FULL)


CANNOT_HOLD = (
    "netem cannot hold packets for the next contact: in it time goes on. "
    "Use the nfqueue shaper, or on_contact_end purge"
)
CLOSED = NetemParameters(rate_byte_s=0, delay_ns=0, loss=_FULL, limit=0)


class NetemShaper:
    """A `testbed.shaper.Shaper` that plays every link of one sky with the kernel's netem.

    Args:
        sky_netns_path: a path of the sky's network namespace that can be opened, such as /proc/<pid>/ns/net.

    Raises:
        CapabilityError: this kernel has no netem; the text names the mend.
        LinkError: the namespace cannot be entered.
    """

    name = "netem"
    can_hold = False

    def __init__(self, sky_netns_path: str) -> None:
        self._sky = NetworkNamespace.enter(sky_netns_path, "sky")
        self._kernel = self._sky.call(QdiscSocket)
        self._interface: dict[tuple[str, Direction], tuple[str, int]] = {}
        self._written: dict[tuple[str, Direction], NetemParameters] = {}
        self._lock = threading.Lock()
        self._checked_s = -math.inf
        try:
            self._kernel.try_out(self._sky.read("lo").index)
        except BaseException:
            self.close()
            raise

    def how(self) -> str:
        """The kernel's release: its sch_netem plays the links."""
        return f"Linux {platform.release()}"

    def attach(self, ports: LinkPorts) -> None:
        """Put a closed netem on both ports, so that nothing passes. Raises LinkError."""
        with self._lock:
            for direction in Direction:
                key = (ports.link, direction)
                if key in self._interface:
                    raise LinkError(
                        f"link {ports.link} is attached already; a link's name is used once in a sky"
                    )
                port = ports.exit(direction)
                index = self._sky.read(port).index
                try:
                    held = self._kernel.replace(index, CLOSED)
                except OSError as error:
                    raise LinkError(f"link {ports.link}: netem on {port} was refused: {error}") from error
                self._compare(key, port, CLOSED, held)
                self._interface[key] = (port, index)

    def detach(self, link: str) -> None:
        """Take the link's netems off its ports."""
        with self._lock:
            for direction in Direction:
                if (held := self._interface.pop((link, direction), None)) is not None:
                    self._kernel.delete(held[1])

    def apply(self, link: str, direction: Direction, state: LinkState) -> LinkState:
        """Write the whole state, compare it with what the kernel then holds, and return that.

        Raises CapabilityError for a state that netem cannot play.
        """
        if not state.up and state.on_contact_end is OnContactEnd.HOLD:
            raise CapabilityError(CANNOT_HOLD)
        wanted = NetemParameters.of(state)
        with self._lock:
            key = (link, direction)
            port, index = self._port(key)
            # A changed netem keeps its packets, a replaced one does not: replace at the end of a contact.
            closes = wanted == CLOSED and self._written[key] != CLOSED
            try:
                held = self._kernel.replace(index, wanted) if closes else self._kernel.change(index, wanted)
            except OSError as error:
                raise LinkError(
                    f"link {link} {direction.value}: netem on {port} was refused: {error}"
                ) from error
            self._compare(key, port, wanted, held)
        return held.state()

    def apply_all(self, asked: Sequence[tuple[str, Direction, LinkState]]) -> list[LinkState]:
        """Write many states whole, and return each as the kernel then holds it.

        Many are written with one system call and read back with one dump, which costs each of them a third
        of what `apply` does.
        """
        if len(asked) * DUMP_WORTH < len(self._interface) or not all(state.up for _, _, state in asked):
            return [self.apply(*one) for one in asked]
        with self._lock:
            places = [self._port((link, direction)) for link, direction, _ in asked]
            wanted = {place[1]: NetemParameters.of(one[2]) for place, one in zip(places, asked, strict=True)}
            try:
                held = self._kernel.change_all(wanted)
            except OSError as error:
                raise LinkError(f"netem was refused on one of {len(asked)} links: {error}") from error
            for (link, direction, _), (port, index) in zip(asked, places, strict=True):
                self._compare((link, direction), port, wanted[index], held.get(index))
        return [held[index].state() for _, index in places]

    def read_back(self, link: str, direction: Direction) -> LinkState:
        """The state as the kernel holds it now; queue_bytes in whole 1514-byte frames."""
        with self._lock:
            port, index = self._port((link, direction))
            try:
                return self._kernel.get(index).state()
            except OSError as error:
                raise LinkError(
                    f"link {link} {direction.value}: netem on {port} is not there: {error}"
                ) from error

    def counters(self, link: str, direction: Direction) -> dict[str, float]:
        """What the kernel counts of the netem since the last contact began.

        delivered, delivered_bytes; dropped (by loss or by the full queue: netem does not tell them apart);
        inside (queued or flying now).
        """
        with self._lock:
            port, index = self._port((link, direction))
            try:
                return self._kernel.counters(index)
            except OSError as error:
                raise LinkError(
                    f"link {link} {direction.value}: netem on {port} is not there: {error}"
                ) from error

    def check(self) -> None:
        """Raise LinkError if a netem is not what was last written to it; looks every `CHECK_EVERY_S` at most.

        Somebody else's `tc` in the sky is the way there: an idle link would not be noticed otherwise.
        """
        with self._lock:
            if not self._interface or time.monotonic() < self._checked_s + CHECK_EVERY_S:
                return
            roots = self._kernel.roots()
            for key, (port, index) in self._interface.items():
                held = roots.get(index)
                if held != self._written[key]:
                    found = "it is not there" if held is None else f"it holds {held}"
                    raise LinkError(
                        f"link {key[0]} {key[1].value}: netem on {port} was changed from outside: {found}, "
                        f"{self._written[key]} was written"
                    )
            self._checked_s = time.monotonic()

    def close(self) -> None:
        """Take the netems off the ports that are still there; these then carry packets unshaped."""
        with self._lock:
            for _, index in self._interface.values():
                self._kernel.delete(index)
            self._interface.clear()
            self._kernel.close()
            self._sky.close()

    def _port(self, key: tuple[str, Direction]) -> tuple[str, int]:
        try:
            return self._interface[key]
        except KeyError:
            raise LinkError(f"link {key[0]} is not attached to the netem shaper") from None

    def _compare(
        self, key: tuple[str, Direction], port: str, wanted: NetemParameters, held: NetemParameters | None
    ) -> None:
        if held != wanted:
            raise LinkError(
                f"link {key[0]} {key[1].value}: wrote {wanted} to {port}, the kernel holds {held}"
            )
        self._written[key] = wanted


class QdiscSocket:
    """The netlink messages that netem needs, in the network namespace of the thread that makes it.

    Every method raises OSError with the kernel's own words. Not thread-safe.
    """

    def __init__(self) -> None:
        self._socket = _open_netlink()
        self._sequence = 0
        self._handle = 0

    def replace(self, index: int, parameters: NetemParameters) -> NetemParameters:
        """Make a new root netem on an interface, throwing away the old root and all that it held."""
        # A handle that is new to the kernel is what makes it replace the qdisc and not change it.
        self._handle = self._handle % 0x7FFF + 1
        return self._write(NLM_F_CREATE | NLM_F_REPLACE, index, self._handle << 16, parameters)

    def try_out(self, index: int) -> None:
        """Put a netem on an interface and take it away. Raises CapabilityError if the kernel has none."""
        try:
            self.replace(index, CLOSED)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise CapabilityError(no_netem()) from None
            raise
        self.delete(index)

    def change(self, index: int, parameters: NetemParameters) -> NetemParameters:
        """Change the root netem of an interface; what it holds stays. Fails if the root is no netem."""
        return self._write(0, index, 0, parameters)

    def change_all(self, wanted: Mapping[int, NetemParameters]) -> dict[int, NetemParameters]:
        """Change the root netems of many interfaces, and read back what the kernel then holds of each.

        Args:
            wanted: by interface number.

        One system call writes them, acknowledged once, since the kernel works in order and stops for nothing;
        then one dump of the namespace says what each of them holds. A refusal is raised after all were
        written; an interface whose root is no netem is not in the answer.
        """
        writes = []
        for index, parameters in wanted.items():
            self._sequence += 1
            body = _TCMSG.pack(socket.AF_UNSPEC, index, 0, TC_H_ROOT, 0) + _NETEM_KIND
            options = parameters.options()
            length = _HEADER.size + len(body) + _ATTRIBUTE.size + len(options)
            writes += [
                _HEADER.pack(length, RTM_NEWQDISC, NLM_F_REQUEST, self._sequence, 0),
                body,
                _ATTRIBUTE.pack(_ATTRIBUTE.size + len(options), TCA_OPTIONS),
                options,
            ]
        self._socket.send(b"".join(writes))
        return self.roots(wanted)

    def get(self, index: int) -> NetemParameters:
        """The root netem of an interface."""
        return _parameters(self._ask(RTM_GETQDISC, NLM_F_ECHO, _root(index), RTM_NEWQDISC))

    def roots(self, indices: Container[int] | None = None) -> dict[int, NetemParameters]:
        """The root netem of every interface of the namespace that has one, by interface number.

        Args:
            indices: look at these interfaces only.

        Raises what the kernel refused before, of messages that asked for no acknowledgement.
        """
        found = {}
        for index, answer in self.root_messages(indices).items():
            with suppress(OSError):  # the root is no netem
                found[index] = _parameters(answer)
        return found

    def root_messages(self, indices: Container[int] | None = None) -> dict[int, bytes]:
        """The same, of whatever kind the root qdiscs are, as the kernel sends them."""
        self._sequence += 1
        length, flags = _HEADER.size + _TCMSG.size, NLM_F_REQUEST | NLM_F_DUMP
        header = _HEADER.pack(length, RTM_GETQDISC, flags, self._sequence, 0)
        self._socket.send(header + _TCMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
        found: dict[int, bytes] = {}
        refusal: OSError | None = None
        while True:
            for kind, sequence, answer, flags in _messages(self._socket.recv(1 << 17)):
                if kind == NLMSG_ERROR:
                    refusal = refusal or _refusal(answer, flags)
                if sequence == self._sequence and kind in (NLMSG_DONE, NLMSG_ERROR):
                    if refusal is not None:
                        raise refusal
                    return found
                if kind == RTM_NEWQDISC and sequence == self._sequence:
                    _, index, _, parent, _ = _TCMSG.unpack_from(answer)
                    if parent == TC_H_ROOT and (indices is None or index in indices):
                        found[index] = answer

    def counters(self, index: int) -> dict[str, float]:
        """What the kernel counts of the root qdisc of an interface (TCA_STATS2, gen_stats.h)."""
        answer = self._ask(RTM_GETQDISC, NLM_F_ECHO, _root(index), RTM_NEWQDISC)
        _parameters(answer)  # raises if it is no netem of ours that counts
        counted = dict(_attributes(dict(_attributes(answer[_TCMSG.size :]))[TCA_STATS2]))
        size_bytes, packets = struct.unpack_from("=QI", counted[TCA_STATS_BASIC])
        if TCA_STATS_PKT64 in counted:
            (packets,) = struct.unpack_from("=Q", counted[TCA_STATS_PKT64])
        inside, _, dropped = struct.unpack_from("=III", counted[TCA_STATS_QUEUE])
        return {"delivered": packets, "delivered_bytes": size_bytes, "dropped": dropped, "inside": inside}

    def delete(self, index: int) -> None:
        """Remove the root qdisc; one that is not there, or whose interface has gone, is no error."""
        try:
            self._ask(RTM_DELQDISC, 0, _root(index), None)
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ENOENT, errno.EINVAL):
                raise

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _write(self, flags: int, index: int, handle: int, parameters: NetemParameters) -> NetemParameters:
        body = (
            _root(index, handle)
            + _attribute(TCA_KIND, b"netem\0")
            + _attribute(TCA_OPTIONS, parameters.options())
        )
        return _parameters(self._ask(RTM_NEWQDISC, flags | NLM_F_ECHO, body, RTM_NEWQDISC))

    def _ask(self, kind: int, flags: int, body: bytes, answer_kind: int | None) -> bytes:
        """Send one request; return the body of its answer (empty without `answer_kind`)."""
        self._sequence += 1
        if answer_kind is None:
            flags |= NLM_F_ACK  # an answer says by itself that it was done, and costs no second message
        self._socket.send(
            _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | flags, self._sequence, 0) + body
        )
        while True:
            for got_kind, sequence, got_body, got_flags in _messages(self._socket.recv(65536)):
                if sequence != self._sequence:
                    continue
                if got_kind == answer_kind:
                    return got_body
                if got_kind == NLMSG_ERROR:
                    _raise_error(got_body, got_flags)
                    return b""


def no_netem() -> str:
    """What to tell a user whose kernel has no netem."""
    return (
        f"this kernel ({platform.release()}) has no sch_netem; mend it with: {netem_mend()}, or use nfqueue"
    )


def netem_mend() -> str:
    """The command that gives this machine a netem."""
    release, distribution = platform.release(), Path("/etc/os-release")
    if any(Path(f"/lib/modules/{release}").glob("kernel/net/sched/sch_netem.ko*")):
        return "modprobe sch_netem"
    if distribution.exists() and "ubuntu" in distribution.read_text().lower():
        return f"apt-get install linux-modules-extra-{release}"
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return f"apt-get install linux-image-{architecture} && reboot"


def _open_netlink() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    netlink.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)  # the kernel says in words why it refuses
    netlink.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
    netlink.bind((0, 0))
    netlink.settimeout(5)  # the kernel answers before send() returns; silence would be a bug, not a wait
    return netlink


def _root(index: int, handle: int = 0) -> bytes:
    return _TCMSG.pack(socket.AF_UNSPEC, index, handle, TC_H_ROOT, 0)


def _attribute(kind: int, data: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + bytes(-len(data) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[length + (-length % 4) :]


def _places(data: bytes, at: int, end: int) -> dict[int, tuple[int, int]]:
    """Where the payload of each attribute in data[at:end] begins and ends; nothing is copied."""
    found = {}
    while at + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            break
        found[kind & 0x3FFF] = (at + 4, at + length)
        at += length + 3 & ~3
    return found


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes, int]]:
    while len(data) >= _HEADER.size:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
        yield kind, sequence, data[_HEADER.size : length], flags
        data = data[length + (-length % 4) :]


def _raise_error(body: bytes, flags: int) -> None:
    if (refusal := _refusal(body, flags)) is not None:
        raise refusal


def _refusal(body: bytes, flags: int) -> OSError | None:
    """What an NLMSG_ERROR says; None if it is an acknowledgement."""
    (code,) = struct.unpack_from("=i", body)
    if code == 0:
        return None
    words = dict(_attributes(body[4 + _HEADER.size :])) if flags & 0x200 else {}
    said = words.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
    return OSError(-code, said or os.strerror(-code))


def _parameters(answer: bytes) -> NetemParameters:
    found = _places(answer, _TCMSG.size, len(answer))
    begin, end = found.get(TCA_KIND, (0, 0))
    kind = answer[begin:end].rstrip(b"\0")
    if kind != b"netem":
        raise OSError(errno.ENOENT, f"the root qdisc is {kind.decode() or 'absent'}, not netem")
    begin, end = found[TCA_OPTIONS]
    return NetemParameters.from_options(answer[begin:end])
