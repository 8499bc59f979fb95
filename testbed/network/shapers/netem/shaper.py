"""Shapes links with the kernel's netem, written and read back through one raw netlink socket.

A packet of direction D leaves the sky at the port `ports.exit(D)`; a netem is that port's root qdisc and
plays all of D: loss, the queue (`limit`), serialisation (`rate`), propagation (`delay`).

    entry port -> bridge -> exit port [ netem: loss -> limit -> rate -> delay ] -> veth -> the other end

Why one netem, with the rate inside: it keeps the order of packets when the delay falls (a netem without
rate does not), and it gives an idle link no credit (HTB and TBF do).  Its limit: queued
packets keep the schedule that they got on entry; a change of rate or delay acts on later packets.

Why raw netlink: many changes are one system call, and the kernel answers each with the qdisc as it is after
the change, so reading back is free and exact (see `socket` beside this module; `parameters` has the kernel's
units).  A long-lived `tc -batch` costs more, answers in prose, is a process that can die, and resets
parameters that a `change` does not name. Here the whole state is in every message.

A closed direction is a new netem with limit 0, which drops everything; taking its place throws away what the
old one held, so that nothing of one contact is delivered in the next.

netem cannot hold packets for the next contact, since they keep their schedule: that raises CapabilityError.
Its loss has no seed that can be relied on (TCA_NETEM_PRNG_SEED came with Linux 6.6).
"""

from __future__ import annotations

import errno
import math
import os
import platform
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from testbed.errors import CapabilityError, LinkError, TestbedError
from testbed.kernel.namespace import NetworkNamespace
from testbed.machine.resources import raise_if_short
from testbed.network.link_state import Direction, LinkState, OnContactEnd
from testbed.network.shapers.base import LinkPorts
from testbed.network.shapers.netem.parameters import CLOSED, NetemParameters
from testbed.network.shapers.netem.socket import Netem, QdiscSocket

CHECK_EVERY_S = 0.5
CANNOT_HOLD = (
    "netem cannot hold packets for the next contact, since its packets keep their schedule. "
    "Use the nfqueue shaper, or on_contact_end purge"
)


class NetemShaper:
    """A `testbed.network.shapers.base.Shaper` that plays every link of one sky with the kernel's netem.

    Args:
        sky_netns_path: a path of the sky's network namespace that can be opened, such as /proc/<pid>/ns/net.

    Raises:
        CapabilityError: this kernel has no netem; the text names the fix.
        LinkError: the namespace cannot be entered.
    """

    name = "netem"
    can_hold = False
    takes_super_packets = False
    socket_class = QdiscSocket  # a benchmark has another, for kernels without netem

    def __init__(self, sky_netns_path: str) -> None:
        self._sky = NetworkNamespace.enter(sky_netns_path, "sky")
        self._kernel = self._sky.call(self.socket_class)
        self._interface: dict[tuple[str, Direction], tuple[str, int]] = {}
        self._written: dict[tuple[str, Direction], NetemParameters] = {}
        self._lock = threading.Lock()
        self._checked_s = -math.inf
        try:
            self._try_out()
        except BaseException:
            self.close()
            raise

    def how(self) -> str:
        """Return the kernel's release: its sch_netem plays the links."""
        return f"Linux {platform.release()}"

    def attach(self, ports: LinkPorts) -> None:
        """Put a closed netem on both ports, so that nothing passes. Raises LinkError."""
        with self._lock:
            keys = [(ports.link, direction) for direction in Direction]
            if any(key in self._interface for key in keys):
                raise LinkError(f"link {ports.link} is attached already; a link's name is used once in a sky")
            for key in keys:
                port = ports.exit(key[1])
                index = self._sky.read(port).index
                (held,) = self._kernel.write([Netem(index, CLOSED, anew=True)])
                if (failure := self._failure(key, port, CLOSED, held)) is not None:
                    raise failure
                self._interface[key] = (port, index)

    def make_ready(self) -> None:
        """Do nothing: `attach` has done all."""

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
        return self.apply_all([(link, direction, state)])[0]

    def apply_all(self, requested: Sequence[tuple[str, Direction, LinkState]]) -> list[LinkState]:
        """Write many states whole, compare each with what the kernel then holds of it, and return those.

        One system call writes many. One that is refused keeps none of the others from being written.
        """
        if any(not state.up and state.on_contact_end is OnContactEnd.HOLD for _, _, state in requested):
            raise CapabilityError(CANNOT_HOLD)
        with self._lock:
            places = [self._port((link, direction)) for link, direction, _ in requested]
            wanted = [NetemParameters.of(state) for _, _, state in requested]
            answers = self._kernel.write(
                [
                    # A changed netem keeps its packets; so a contact ends with a new one, which has none.
                    Netem(index, new, new == CLOSED and self._written[link, direction] != CLOSED)
                    for (link, direction, _), (_, index), new in zip(requested, places, wanted, strict=True)
                ]
            )
            failures = [
                self._failure((link, direction), port, new, answer)
                for (link, direction, _), (port, _), new, answer in zip(
                    requested, places, wanted, answers, strict=True
                )
            ]
        for failure in failures:
            if failure is not None:
                raise failure
        return [parameters.state() for parameters in wanted]  # which the kernel holds, to the last bit

    def read_back(self, link: str, direction: Direction) -> LinkState:
        """Return the state that the kernel holds; queue_bytes in whole 1514-byte frames."""
        with self._lock:
            port, index = self._port((link, direction))
            try:
                return self._kernel.get(index).state()
            except OSError as error:
                raise LinkError(
                    f"link {link} {direction.value}: netem on {port} is not there: {error}"
                ) from error

    def counters(self, link: str, direction: Direction) -> dict[str, float]:
        """Return the kernel's counters of the netem since the last contact began.

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

    def queues_met(self, link: str, direction: Direction) -> None:
        """Return None: netem tells no queue of a single packet, and its backlog holds what propagates too."""

    def check(self) -> None:
        """Raise LinkError if a netem is not what was last written to it; looks every `CHECK_EVERY_S` at most.

        Somebody else's `tc` in the sky is the way there: an idle link would not be noticed otherwise.
        """
        with self._lock:
            if not self._interface or time.monotonic() < self._checked_s + CHECK_EVERY_S:
                return
            roots = self._kernel.roots(
                {index: self._written[key] for key, (_, index) in self._interface.items()}
            )
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

    def _failure(
        self, key: tuple[str, Direction], port: str, wanted: NetemParameters, held: NetemParameters | OSError
    ) -> LinkError | None:
        """Return the error if the kernel holds something else; otherwise remember the parameters."""
        if held == wanted:
            self._written[key] = wanted
            return None
        where = f"link {key[0]} {key[1].value}"
        if isinstance(held, OSError):
            return LinkError(f"{where}: netem on {port} was refused: {held}")
        return LinkError(f"{where}: wrote {wanted} to {port}, the kernel holds {held}")

    def _try_out(self) -> None:
        """Put a netem on the namespace's own loopback and take it away. Raises CapabilityError."""
        index = self._sky.read("lo").index
        (held,) = self._kernel.write([Netem(index, CLOSED, anew=True)])
        if isinstance(held, OSError):
            if held.errno == errno.ENOENT:
                raise CapabilityError(no_netem()) from None
            raise held
        self._kernel.delete(index)


def netem_lack() -> str | None:
    """Return why netem does not work here, or None; it is tried on the loopback of a new namespace.

    Raises:
        TestbedError: this machine is out of descriptors, memory or processes, and nothing could be tried.
    """
    try:
        with NetworkNamespace.create("probe") as namespace:
            NetemShaper(namespace.path).close()
    except TestbedError as error:
        raise_if_short(error)
        return "not probed without root" if os.geteuid() != 0 else str(error).split(";")[0]
    except OSError as error:
        raise_if_short(error)
        return f"the kernel refused: {error}"
    return None


def no_netem() -> str:
    """Return the message for a user whose kernel has no netem."""
    return f"this kernel ({platform.release()}) has no sch_netem; fix it with: {netem_fix()}, or use nfqueue"


def netem_fix() -> str:
    """Return the command that installs netem on this machine."""
    release, distribution = platform.release(), Path("/etc/os-release")
    if any(Path(f"/lib/modules/{release}").glob("kernel/net/sched/sch_netem.ko*")):
        return "modprobe sch_netem"
    if distribution.exists() and "ubuntu" in distribution.read_text().lower():
        return f"apt-get install linux-modules-extra-{release}"
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return f"apt-get install linux-image-{architecture} && reboot"
