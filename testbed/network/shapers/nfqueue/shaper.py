"""The nfqueue shaper: links played by a process of ours, with packets parked in the kernel.

Needs no sch_netem, is exact at contact edges and gives an idle link no burst credit.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgpack

from testbed.errors import LinkError, ShaperDiedError
from testbed.kernel.namespace import NetworkNamespace
from testbed.network.link_state import Direction, LinkState
from testbed.network.shapers.base import LinkPorts
from testbed.network.shapers.nfqueue.hook import add_rules, call_iptables_on_bridges, find_hook

START_WITHIN_S = 60.0  # starting Python takes seconds on a starved virtual machine
ANSWER_WITHIN_S = 5.0
STATES_AT_ONCE = 200  # some 20 kB, which fits into any socket buffer


class NfqueueShaper:
    """Plays all links of a sky in one process.

    Args:
        sky_netns_path: path of the sky's namespace.
        seed: of random loss; each link and direction derives its own from it and its name.

    Attributes:
        hook: how packets get into the queues: "nft" (everything, ARP too), or "iptables-nft" or
            "iptables-legacy" (IPv4 and IPv6; ARP passes at once while the link is up).
        realtime: whether the process has real-time priority.

    Raises CapabilityError when this machine has no NFQUEUE, naming what to install.
    """

    name = "nfqueue"
    can_hold = True

    def __init__(self, sky_netns_path: str, seed: int = 0) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._queues: dict[tuple[str, Direction], int] = {}
        self._numbers = itertools.count(1)
        self._without_rule: dict[str, dict[str, int]] = {}  # queues by port, of each new link
        self._rules_lock = threading.Lock()
        self._death: str | None = None
        self._closing = ExitStack()
        with ExitStack() as building:
            self._sky = building.enter_context(NetworkNamespace.enter(sky_netns_path, "sky"))
            self.hook = find_hook()
            call_iptables_on_bridges(self._sky, self.hook != "nft")
            self._stderr = building.enter_context(tempfile.TemporaryFile())
            self._process = self._start(building)
            self._control.settimeout(START_WITHIN_S)
            self.realtime = bool(self._receive()["realtime"])
            self._control.settimeout(ANSWER_WITHIN_S)
            self._closing = building.pop_all()

    @property
    def pid(self) -> int:
        """Process id of the process that plays the links."""
        return self._process.pid

    def how(self) -> str:
        """Return the hook, and whether the process that plays the links has real-time priority."""
        return f"{self.hook}, {'real-time' if self.realtime else 'no real-time'} priority"

    def attach(self, ports: LinkPorts) -> None:
        """Take charge of a link; both directions start down."""
        for direction in Direction:
            queue = next(self._numbers)
            seed = zlib.crc32(f"{self._seed}/{ports.link}/{direction.value}".encode())
            self._ask("attach", ports.link, direction, queue=queue, seed=seed)
            self._queues[ports.link, direction] = queue
        entries = {ports.entry(direction): self._queues[ports.link, direction] for direction in Direction}
        self._without_rule[ports.link] = entries

    def make_ready(self) -> None:
        """Send the packets of new links to their queues: one program for all, which takes 3 ms to start.

        Until a link's first state it has no carrier, so that nothing passes by its queues.
        """
        if not self._without_rule:
            return
        with self._rules_lock:
            added = dict(self._without_rule)
            entries = {port: queue for link in added.values() for port, queue in link.items()}
            if entries:
                add_rules(self._sky, self.hook, entries)
            for link in added:
                self._without_rule.pop(link, None)

    def detach(self, link: str) -> None:
        """Let go of a link that is being deleted; does nothing for one that is unknown."""
        self._without_rule.pop(link, None)
        for direction in Direction:
            if self._queues.pop((link, direction), None) is not None:
                with suppress(LinkError):  # a dead process plays nothing
                    self._ask("detach", link, direction)

    def apply(self, link: str, direction: Direction, state: LinkState) -> LinkState:
        """Write `state` whole; rate and delay act at once on what still waits to be sent."""
        (held,) = self.apply_all([(link, direction, state)])
        return held

    def apply_all(self, requested: Sequence[tuple[str, Direction, LinkState]]) -> list[LinkState]:
        """Write many states, each whole, with one message and one answer for every STATES_AT_ONCE of them."""
        self.make_ready()
        held = []
        for first in range(0, len(requested), STATES_AT_ONCE):
            held += self._apply_some(requested[first : first + STATES_AT_ONCE])
        return held

    def _apply_some(self, requested: Sequence[tuple[str, Direction, LinkState]]) -> list[LinkState]:
        rows = [state.to_row() for _, _, state in requested]
        keys = [(link, direction.value) for link, direction, _ in requested]
        reply = self._order({"do": "apply", "states": list(zip(keys, rows, strict=True))})
        if error := reply.get("error"):
            raise LinkError(f"the nfqueue process could not apply a state: {error}")
        return [
            state if row == tuple(held) else LinkState.from_row(held)
            for (_, _, state), row, held in zip(requested, rows, reply["states"], strict=True)
        ]

    def read_back(self, link: str, direction: Direction) -> LinkState:
        """Return the state that the process holds."""
        return LinkState.from_json(self._ask("read", link, direction))

    def counters(self, link: str, direction: Direction) -> dict[str, float]:
        """Return counters of packets, and the lateness of their releases in seconds.

        The names are those of `model.Counters`, then inside (now), p50_s, p99_s and worst_s (lateness), and
        kernel_dropped (packets that never reached the process).
        """
        return self._ask("counters", link, direction, queue=self._queues[link, direction])

    def queues_met(self, link: str, direction: Direction) -> list[tuple[float, float]]:
        """Return what the probes met since the last call, the latest 17 minutes of it."""
        return [(at_s, size_bytes) for at_s, size_bytes in self._ask("queues_met", link, direction)["met"]]

    def check(self) -> None:
        """Raise ShaperDiedError if the process has ended."""
        if self._death is None and self._process.poll() is not None:
            self._death = self._describe_death()
        if self._death is not None:
            raise ShaperDiedError(self._death)

    def close(self) -> None:
        """End the process; the kernel drops what it had parked. May be called twice."""
        if self._death is None:
            self._death = "the nfqueue shaper is closed"
        self._closing.close()

    def _start(self, building: ExitStack) -> subprocess.Popen[bytes]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = building.enter_context(ours)
        with theirs:
            arguments = [sys.executable, "-m", "testbed.network.shapers.nfqueue.process"]
            arguments += ["--control-fd", str(theirs.fileno()), "--parent-pid", str(os.getpid())]
            process = self._sky.popen(
                arguments,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                start_new_session=True,  # Ctrl-C is for the run, which closes us in its order
                env=_environment(),
            )
        building.callback(_end, process)
        return process

    def _ask(self, do: str, link: str, direction: Direction, **more: Any) -> dict[str, Any]:
        reply = self._order({"do": do, "link": link, "direction": direction.value, **more})
        if error := reply.get("error"):
            raise LinkError(f"link {link} {direction.value}: the nfqueue process could not {do}: {error}")
        return reply

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self.check()
            try:
                self._control.send(msgpack.packb(order))
            except OSError:
                self._fail()
            return self._receive()

    def _receive(self) -> dict[str, Any]:
        try:
            packed = self._control.recv(1 << 17)
        except TimeoutError:
            raise LinkError(
                f"the nfqueue process (pid {self.pid}) did not answer within {self._control.gettimeout()} s"
            ) from None
        except OSError:
            packed = b""
        if not packed:
            self._fail()
        reply: dict[str, Any] = msgpack.unpackb(packed)
        return reply

    def _fail(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._death = self._describe_death()
        raise ShaperDiedError(self._death)

    def _describe_death(self) -> str:
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace").strip().splitlines()
        why = f": {said[-1]}" if said else ""
        return (
            f"the nfqueue process ended (status {self._process.returncode}){why}; its links drop every packet"
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # nothing to save: what it parked is dropped either way
    process.wait()


def _environment() -> dict[str, str]:
    """Return our environment, with which the child finds this package and no file hides a module."""
    package_parent = str(Path(__file__).resolve().parents[4])
    path = os.pathsep.join([package_parent, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
