"""The nfqueue shaper: links played by a process of ours, with packets parked in the kernel.

Needs no sch_netem, is exact at contact edges and gives an idle link no burst credit.
"""

from __future__ import annotations

import itertools
import os
import threading
import zlib
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from typing import Any

from testbed.errors import LinkError
from testbed.kernel.namespace import NetworkNamespace
from testbed.network.link_state import DOWN_STATE, Direction, LinkState
from testbed.network.shapers.base import LinkPorts
from testbed.network.shapers.nfqueue.hook import add_rules, call_iptables_on_bridges, find_hook
from testbed.network.shapers.nfqueue.player_process import PlayerProcess

STATES_AT_ONCE = 200  # some 20 kB, which fits into any socket buffer


class NfqueueShaper:
    """Plays the links of a sky in one process, or in several that share them.

    Args:
        sky_netns_path: path of the sky's namespace.
        seed: of random loss; each link and direction derives its own from it and its name.
        processes: most processes; each further link starts one until then. By default half as many as there
            are processors, since the kernel needs as much time again to send and to receive the packets.

    Attributes:
        hook: how packets get into the queues: "nft" (everything, ARP too), or "iptables-nft" or
            "iptables-legacy" (IPv4 and IPv6; ARP passes at once while the link is up).

    Raises CapabilityError when this machine has no NFQUEUE, naming what to install.
    """

    name = "nfqueue"
    can_hold = True
    takes_super_packets = True

    def __init__(self, sky_netns_path: str, seed: int = 0, processes: int | None = None) -> None:
        self._seed = seed
        self._most = processes or max(1, (os.cpu_count() or 1) // 2)
        self._processes: list[PlayerProcess] = []
        self._players: dict[str, PlayerProcess] = {}  # of each link
        self._queues: dict[tuple[str, Direction], int] = {}
        self._numbers = itertools.count(1)
        self._without_rule: dict[str, dict[str, int]] = {}  # queues by port, of each new link
        self._rules_lock = threading.Lock()
        self._closing = ExitStack()
        with ExitStack() as building:
            self._sky = building.enter_context(NetworkNamespace.enter(sky_netns_path, "sky"))
            self.hook = find_hook()
            call_iptables_on_bridges(self._sky, self.hook != "nft")
            self._processes.append(building.enter_context(closing(PlayerProcess(self._sky))))
            self._closing = building.pop_all()

    @property
    def pid(self) -> int:
        """Process id of the first process that plays links."""
        return self._processes[0].pid

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the processes that play links."""
        return tuple(process.pid for process in self._processes)

    @property
    def realtime(self) -> bool:
        """Whether the processes have real-time priority."""
        return all(process.realtime for process in self._processes)

    def how(self) -> str:
        """Return the hook, and whether the process that plays the links has real-time priority."""
        return f"{self.hook}, {'real-time' if self.realtime else 'no real-time'} priority"

    def attach(self, ports: LinkPorts) -> None:
        """Take charge of a link; both directions start down."""
        process = self._players[ports.link] = self._process_of_new()
        process.links += 1
        for direction in Direction:
            queue = next(self._numbers)
            seed = zlib.crc32(f"{self._seed}/{ports.link}/{direction.value}".encode())
            more = {"queue": queue, "seed": seed, "super_packets": ports.super_packets}
            self._ask("attach", ports.link, direction, **more)
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
        if (process := self._players.get(link)) is None:
            return
        process.links -= 1
        for direction in Direction:
            if self._queues.pop((link, direction), None) is not None:
                with suppress(LinkError):  # a dead process plays nothing
                    self._ask("detach", link, direction)
        del self._players[link]

    def apply(self, link: str, direction: Direction, state: LinkState) -> LinkState:
        """Write `state` whole; rate and delay act at once on what still waits to be sent."""
        (held,) = self.apply_all([(link, direction, state)])
        return held

    def apply_all(self, requested: Sequence[tuple[str, Direction, LinkState]]) -> list[LinkState]:
        """Write many states, each whole, with one message and one answer for every STATES_AT_ONCE of them."""
        self.make_ready()
        held: list[LinkState] = [DOWN_STATE] * len(requested)
        for process in self._processes:
            its = [n for n, (link, _, _) in enumerate(requested) if self._player_of(link) is process]
            for first in range(0, len(its), STATES_AT_ONCE):
                some = its[first : first + STATES_AT_ONCE]
                found = self._apply_some(process, [requested[n] for n in some])
                for number, state in zip(some, found, strict=True):
                    held[number] = state
        return held

    def _apply_some(
        self, process: PlayerProcess, requested: Sequence[tuple[str, Direction, LinkState]]
    ) -> list[LinkState]:
        rows = [state.to_row() for _, _, state in requested]
        keys = [(link, direction.value) for link, direction, _ in requested]
        reply = process.order({"do": "apply", "states": list(zip(keys, rows, strict=True))})
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
        """Raise ShaperDiedError if a process has ended."""
        for process in self._processes:
            process.check()

    def close(self) -> None:
        """End the processes; the kernel drops what they had parked. May be called twice."""
        self._closing.close()

    def _ask(self, do: str, link: str, direction: Direction, **more: Any) -> dict[str, Any]:
        reply = self._player_of(link).order({"do": do, "link": link, "direction": direction.value, **more})
        if error := reply.get("error"):
            raise LinkError(f"link {link} {direction.value}: the nfqueue process could not {do}: {error}")
        return reply

    def _player_of(self, link: str) -> PlayerProcess:
        try:
            return self._players[link]
        except KeyError:
            raise LinkError(f"link {link}: the nfqueue shaper does not play it") from None

    def _process_of_new(self) -> PlayerProcess:
        """Return the process for another link: the one with the fewest, or a new one while there may be."""
        fewest = min(self._processes, key=lambda process: process.links)
        if fewest.links == 0 or len(self._processes) == self._most:
            return fewest
        self._processes.append(self._closing.enter_context(closing(PlayerProcess(self._sky))))
        return self._processes[-1]
