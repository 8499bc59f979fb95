"""The emulated network: hosts, the sky between them, links, player and probes, made and removed together.

EmulatedNetwork     any number of hosts and links; used by `run`, `replay`, `verify`, tests, benchmarks
EmulatedLink        one link between a satellite and a ground station, for scripts and notebooks
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from testbed.errors import InputError, TestbedError
from testbed.forks.forks import Forks
from testbed.kernel.namespace import NetworkNamespace
from testbed.machine.processor_load import ProcessorLoad
from testbed.machine.stop_request import signals_held
from testbed.measure.fidelity import WAYS, LinkFidelity
from testbed.measure.probe import PORT
from testbed.measure.requested import Way
from testbed.network.clock import Clock, RealClock
from testbed.network.link import SkyLink
from testbed.network.link_end import HostEnd
from testbed.network.link_probe import LinkProbe, ProbeEnd
from testbed.network.link_state import Direction, LinkState, OnContactEnd
from testbed.network.player import Change, PlayedLink, Player, states_of, unplayable
from testbed.network.programs import Program
from testbed.network.shapers.base import Shaper
from testbed.network.sky import Sky
from testbed.network.traffic import TrafficMonitor, busy_intervals
from traces.trace import Trace, TraceHeader
from traces.trace_file import read_trace

if TYPE_CHECKING:
    from typing_extensions import Self

    from testbed.network.contact_link import ContactLink
    from testbed.network.hosts import EmulatedHost, HostNetwork

ShaperChoice = str | Shaper | Callable[[str], Shaper] | None
INTERFACE = "link0"
TICK_S = 0.05
LEAD_S = 0.05  # between `start` and scenario second 0
CONSTANT_LENGTH_S = 10 * 365.25 * 86_400  # of the trace that stands for a link that stays as it is


class EmulatedNetwork:
    """Hosts and the links between them; a context manager that removes all it made.

    A host is a Mininet host (`add_host`) or a bare network namespace (`add_namespace`) for measurements that
    need no process there. Links start down; `play` makes them follow traces.

    Args:
        shaper: "auto", "nfqueue", "netem", a `Shaper`, a function that makes one from the path of the sky's
            namespace, or None for "auto".
        check_stop: called between the steps of building; an exception that it raises ends them.

    Attributes:
        sky: the namespace that holds the links, and their shaper.
        hosts: Mininet hosts by name.
        links: links by name. A link made elsewhere, such as a board's, is added by assignment.
        player: makes the links follow their traces; None before `play`.
        probes: probe programs that were started.
        forks: forks Python programs in Mininet hosts; None starts each by itself.

    Raises:
        CapabilityError: not root, or this machine has no such shaper.
        InputError: there is no shaper of that name.
        LinkError: the sky could not be made.
    """

    def __init__(
        self, shaper: ShaperChoice = "auto", *, check_stop: Callable[[], None] = lambda: None
    ) -> None:
        self.hosts: dict[str, EmulatedHost] = {}
        self.links: dict[str, PlayedLink] = {}
        self.probes: list[Program] = []
        self.player: Player | None = None
        self.forks: Forks | None = None
        self.addresses: dict[str, str] = {}
        self._check_stop = check_stop
        self._mininet: HostNetwork | None = None
        self._closing = ExitStack()
        with ExitStack() as building:
            self._namespaces = building.enter_context(ExitStack())  # outlive the links that end in them
            self.sky = building.enter_context(Sky(shaper))
            self._closing = building.pop_all()

    @property
    def shaper_text(self) -> str:
        """The shaper's name and how it works here, for records."""
        return f"{self.sky.shaper.name} ({self.sky.shaper.how()})"

    def add_host(self, name: str, *, node_name: str | None = None) -> EmulatedHost:
        """Add a Mininet host.

        Args:
            name: unique in this network.
            node_name: Mininet's name for it, which its default interface names begin with; h0, h1, ... if
                None.
        """
        # Mininet is slow to import.
        from testbed.network.hosts import EmulatedHost, HostNetwork, end_programs_of

        self._check_stop()
        if name in self.hosts:
            raise InputError(f"there are two hosts named {name!r}; give each host its own name")
        if self._mininet is None:
            self._mininet = self._closing.enter_context(HostNetwork())
            self._closing.callback(self.sky.remove_links)
            self._closing.callback(lambda: end_programs_of(list(self.hosts.values())))
        node = self._mininet.addHost(node_name or f"h{len(self.hosts)}")
        host = self.hosts[name] = EmulatedHost(name, node, self.addresses)
        return host

    def add_namespace(self, name: str) -> NetworkNamespace:
        """Add a bare host: a network namespace without a process of its own."""
        self._check_stop()
        return self._namespaces.enter_context(NetworkNamespace.create(name))

    def add_link(
        self,
        satellite: str,
        ground: str,
        *,
        name: str | None = None,
        interface: str | None = None,
        addresses: tuple[str, str] | None = None,
        addresses6: tuple[str, str] | None = None,
        on_contact_end: OnContactEnd | str = OnContactEnd.PURGE,
        **options: Any,
    ) -> ContactLink:
        """Add a link between two Mininet hosts; it starts down.

        Args:
            satellite: name of the host at the satellite's end.
            ground: name of the host at the ground's end.
            name: of the link; both hosts' node names if None.
            interface: name of the interface at both ends; Mininet's default names if None.
            addresses: IPv4 addresses with prefix length at the satellite and the ground: "10.0.0.1/24".
            addresses6: likewise IPv6.
            on_contact_end: whether packets inside are lost ("purge") or held when a contact ends.
            options: for `ContactLink`.
        """
        from testbed.network.contact_link import ContactLink  # Mininet is slow to import

        self._check_stop()
        if self._mininet is None or not {satellite, ground} <= self.hosts.keys():
            raise InputError(f"a link joins {satellite!r} and {ground!r}; add both hosts before it")
        for number in (0, 1):
            parameters = options.setdefault(f"params{number + 1}", {})
            if addresses is not None:
                parameters["ip"] = addresses[number]
            if addresses6 is not None:
                parameters["ip6"] = addresses6[number]
            if interface is not None:
                options[f"intfName{number + 1}"] = interface
        link: ContactLink = self._mininet.addLink(
            self.hosts[satellite].node,
            self.hosts[ground].node,
            cls=ContactLink,
            sky=self.sky,
            link_name=name,
            on_contact_end=on_contact_end,
            **options,
        )
        self.links[link.name] = link
        for host, address in zip((satellite, ground), addresses or (), strict=False):
            self.addresses.setdefault(host, address.partition("/")[0])
        return link

    def join(
        self,
        name: str,
        satellite: NetworkNamespace,
        ground: NetworkNamespace,
        *,
        interface: str = INTERFACE,
        addresses: tuple[str, str] | None = None,
        on_contact_end: OnContactEnd = OnContactEnd.PURGE,
    ) -> SkyLink:
        """Add a link between two bare hosts; it starts down.

        Args:
            name: of the link.
            satellite: the host at the satellite's end.
            ground: the host at the ground's end.
            interface: name of the interface at both ends.
            addresses: IPv4 addresses at both ends, in a /24. Each end then knows the other's Ethernet
                address: a radio link has no ARP.
            on_contact_end: what happens to packets inside when a contact ends.
        """
        self._check_stop()
        link = self.sky.add_link(
            name, HostEnd(satellite.path, interface), HostEnd(ground.path, interface), on_contact_end
        )
        self.links[name] = link
        if addresses is not None:
            ends = tuple(zip((satellite, ground), addresses, strict=True))
            for space, address in ends:
                space.add_address(interface, address, 24)
            for (space, _), (other, address) in (ends, ends[::-1]):
                space.add_neighbour(interface, address, other.read(interface).mac)
        return link

    def start(self) -> None:
        """Configure the Mininet hosts; call it once all their links are there."""
        self._check_stop()
        if self._mininet is not None:
            self._mininet.start()
        self.sky.shaper.make_ready()

    def play(
        self,
        traces: Mapping[str, Trace],
        clock: Clock | None = None,
        on_change: Callable[[Change], None] | None = None,
    ) -> Player:
        """Make links follow traces until `stop`, in a thread of its own.

        Args:
            traces: what each link follows, by the link's name.
            clock: scenario time; its second 0 is now if None.
            on_change: called in the player's thread after every change; an exception ends the play.
        """
        self.stop()
        followed = {self.links[name]: trace for name, trace in traces.items()}
        self.player = Player(clock or RealClock(), followed, on_change)
        self._closing.callback(self.player.stop)
        self.player.start()
        return self.player

    def stop(self) -> None:
        """Stop following traces and take those links down. May be called twice."""
        if self.player is not None:
            self.player.stop()

    def start_program(self, name: str, host: str, command: Sequence[str], log: Path) -> Program:
        """Start a program in a Mininet host, as a fork where `forks` can."""
        its, forks = self.hosts[host], self.forks
        if forks is None:
            return Program(name, command, log=log, netns_pid=its.pid)
        return Program(name, command, log=log, start=partial(its.fork, forks))

    def start_probe(self, name: str, host: str, command: Sequence[str], log: Path) -> Program:
        """Start a probe program in a Mininet host; `check` then fails if it has ended."""
        program = self.start_program(name, host, command, log)
        self._watch([program])
        return program

    def probe_link(
        self, link: str, ends: tuple[str, str], trace: Trace, folder: Path, port: int = PORT
    ) -> LinkProbe:
        """Start the probes at both ends of a link between Mininet hosts.

        Args:
            link: the link's name.
            ends: names of the hosts at the satellite's end and the ground's.
            trace: what the link follows.
            folder: gets probe-satellite.jsonl and probe-ground.jsonl, and what the probes print.
            port: UDP port at both ends; links that share a host need different ones.
        """
        satellite, ground = (
            ProbeEnd(
                self.hosts[host].pid,
                self.hosts[host].address,
                folder / f"probe-{end}.jsonl",
                folder / f"probe-{end}.log",
            )
            for end, host in zip(("satellite", "ground"), ends, strict=True)
        )
        probe = LinkProbe(link, trace, satellite, ground, port)
        self._watch(probe.programs)
        return probe

    def stop_probes(self) -> None:
        """End the probe programs, side by side. May be called twice."""
        for program in self.probes:
            program.ask_to_stop()
        for program in self.probes:
            program.stop()

    def check(self) -> None:
        """Raise what has gone wrong: with a link, its shaper, the player, or a probe."""
        self.check_links()
        for program in self.probes:
            program.check(started=True)

    def check_links(self) -> None:
        """Raise what has gone wrong with a link, its shaper or the player."""
        self.sky.check()
        if self.player is not None and self.player.error is not None:
            raise self.player.error

    def take_ended_probes(self) -> list[Program]:
        """Return the probe programs that have ended since the last call, and watch them no longer."""
        ended = [program for program in self.probes if program.ending() is not None]
        for program in ended:
            self.probes.remove(program)
            program.stop()
        return ended

    def counters(self, link: str) -> dict[str, dict[str, float]]:
        """Return the shaper's counters of a link, by direction."""
        counted: dict[str, dict[str, float]] = self.sky.counters()["links"][link]
        return counted

    def queues_met(self, link: str) -> dict[Way, list[tuple[float, float]]] | None:
        """Return what the probes of a link met in each direction since the last call, see `Shaper`."""
        met = {way: self.sky.shaper.queues_met(link, Direction(way)) for way in WAYS}
        return {way: seen for way, seen in met.items() if seen is not None} or None

    def close(self) -> None:
        """Stop playing, end programs, and remove links, hosts and the sky. May be called twice."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _watch(self, programs: Iterable[Program]) -> None:
        if not self.probes:
            self._closing.callback(self.stop_probes)
        self.probes += programs


@dataclass(frozen=True)
class _Playing:
    """The parts of a link that is being played and measured."""

    clock: RealClock
    probe: LinkProbe | None
    load: ProcessorLoad
    queues_met: dict[Way, list[tuple[float, float]]] = field(
        default_factory=lambda: {way: [] for way in WAYS}
    )


class EmulatedLink:
    """One emulated link with a host at each end, for scripts and notebooks; a context manager.

        with EmulatedLink("pass.csv") as link:
            link.ground.popen("iperf3 -s")
            link.satellite.popen("iperf3 -c {ground} -t 60")
            link.play()
            print(link.fidelity())

    A constant link has its state from the beginning to the end. A link that follows a trace stands still in
    the state of the trace's first contact, so that programs can be tried, until `play` or `start`.
    Everything is removed at the end of the block, also after an exception or Ctrl-C: programs, hosts, link.

    Args:
        follows: a trace, its file, or a constant state; a pair of states is (down, up), where down is
            satellite to ground.
        shaper: "auto", "nfqueue" or "netem".
        probe: measure the link beside the programs, for `fidelity`; adds up to 1 % of traffic.
        on_contact_end: whether packets inside are lost ("purge") or held ("hold") when a contact ends.
        addresses: IPv4 addresses of the satellite and the ground station.
        on_change: called after every change of the link, in a thread of its own.

    Attributes:
        satellite, ground: the hosts.
        network: the network of both.
        trace: the trace that the link follows.

    Raises:
        InputError: the trace cannot be read or played.
        CapabilityError: on entering, when not root or when this machine has no such shaper.
    """

    network: EmulatedNetwork
    satellite: EmulatedHost
    ground: EmulatedHost

    def __init__(
        self,
        follows: Trace | str | Path | LinkState | tuple[LinkState, LinkState],
        *,
        shaper: ShaperChoice = "auto",
        probe: bool = True,
        on_contact_end: OnContactEnd | str = OnContactEnd.PURGE,
        addresses: tuple[str, str] = ("10.66.0.1", "10.66.0.2"),
        on_change: Callable[[Change], None] | None = None,
    ) -> None:
        self._states: tuple[LinkState, LinkState] | None = None
        if isinstance(follows, LinkState):
            follows = (follows, follows)
        if isinstance(follows, tuple):
            self._states = follows
            self.trace = _constant_trace(*follows)
            self.name = "constant"
        else:
            self.trace = follows if isinstance(follows, Trace) else read_trace(follows)
            self.name = "trace" if isinstance(follows, Trace) else Path(follows).stem
        if not self.trace.contacts():
            raise InputError(f"{self.name}: the link is never up, so nothing could pass")
        if (fault := unplayable(self.trace)) is not None:
            raise InputError(f"{self.name}: the trace cannot be played: {fault}")
        self._shaper, self._probe, self._on_change = shaper, probe, on_change
        self._on_contact_end, self._addresses = on_contact_end, addresses
        self._closing = ExitStack()
        self._playing: _Playing | None = None
        self._open = False

    def __enter__(self) -> Self:
        if self._open:
            raise TestbedError("this emulated link is in use; make another one")
        try:
            with signals_held():
                self._build()
                self._open = True
                if self._states is not None:
                    self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def time_s(self) -> float:
        """Scenario time, seconds: 0 at `start`, or at the beginning of a constant link."""
        return self._now().clock.now_s()

    def play(self, for_s: float | None = None) -> None:
        """Follow the trace from its second 0 and wait for its end; a constant link only waits.

        Args:
            for_s: return after this many seconds, though the trace goes on; needed for a constant link.
        """
        if self._states is None:
            self.start()
        elif for_s is None:
            raise InputError("a constant link has no end: give the seconds to wait, such as play(10)")
        self.wait(for_s)

    def start(self) -> None:
        """Follow the trace from its second 0 on, and return at once."""
        self._check_open()
        if self._states is not None:
            raise InputError("a constant link follows no trace; it is up already")
        self._begin()

    def wait(self, for_s: float | None = None) -> None:
        """Wait for the end of the trace, or for a number of seconds. Raises what has gone wrong."""
        playing = self._now()
        end_s = self.trace.end_s if for_s is None else min(self.trace.end_s, playing.clock.now_s() + for_s)
        while (left_s := end_s - playing.clock.now_s()) > 0:
            self.network.check()
            time.sleep(min(TICK_S, left_s))
        self.network.check()

    def fidelity(self) -> LinkFidelity:
        """Return requested against measured delay and rate so far, as a run's record has it.

        Probes that met traffic of the hosts' programs are compared with the delay and the queue that they
        met, if the shaper tells it.
        """
        playing = self._now()
        if playing.probe is None:
            raise InputError("this link is not probed; make it with probe=True")
        busy = busy_intervals(
            self._traffic.readings, self.trace, playing.clock.start_monotonic_s, playing.probe.records
        )
        for way, met in (self.network.queues_met(self.name) or {}).items():
            playing.queues_met[way] += met
        return playing.probe.fidelity(
            shaper=self.network.shaper_text,
            start_monotonic_s=playing.clock.start_monotonic_s,
            trace_name=self.name,
            busy=busy,
            queues_met=playing.queues_met,
            load=playing.load.record(),
            counters=self.network.counters(self.name),
        )

    def close(self) -> None:
        """End programs and remove everything. May be called twice; the end of the block does it."""
        with signals_held():
            self._open, self._playing = False, None
            self._closing.close()

    def _build(self) -> None:
        self.network = network = self._closing.enter_context(EmulatedNetwork(self._shaper))
        self.satellite, self.ground = network.add_host("satellite"), network.add_host("ground")
        self._link = network.add_link(
            "satellite",
            "ground",
            name=self.name,
            interface=INTERFACE,
            addresses=(f"{self._addresses[0]}/24", f"{self._addresses[1]}/24"),
            on_contact_end=self._on_contact_end,
        )
        network.start()
        self._folder = Path(
            self._closing.enter_context(tempfile.TemporaryDirectory(prefix="spaceverse-link-"))
        )
        monitor = TrafficMonitor(self.satellite.pid, self.ground.pid, INTERFACE)
        self._traffic = self._closing.enter_context(monitor)
        rows = list(self.trace.rows())
        first = next((row for row in rows if row.both_up), None) or next(row for row in rows if row.up)
        self._link.set(*(self._states or states_of(first)))

    def _begin(self) -> None:
        """Let scenario second 0 come, and measure from then on."""
        with signals_held():
            self.network.stop()
            self.network.stop_probes()
            self.network.probes.clear()
            probe = None
            if self._probe:
                folder = Path(tempfile.mkdtemp(dir=self._folder))
                probe = self.network.probe_link(self.name, ("satellite", "ground"), self.trace, folder)
            lead_s = LEAD_S if self._states is None else 0.0
            clock = RealClock(time.monotonic() + lead_s)
            if self._states is None:
                self.network.play({self.name: self.trace}, clock, self._on_change)
            self._playing = _Playing(clock, probe, ProcessorLoad())

    def _check_open(self) -> None:
        if not self._open:
            raise TestbedError("this emulated link is closed; use it inside of its `with` block")

    def _now(self) -> _Playing:
        self._check_open()
        if self._playing is None:
            raise TestbedError("the trace is not being played yet; call play() or start() first")
        return self._playing


def _constant_trace(down: LinkState, up: LinkState) -> Trace:
    """Return the trace of a link that stays as it is."""
    if not (down.up and up.up):
        raise InputError("a constant link is up in both directions; give a trace for one that is not")
    return Trace(
        header=TraceHeader("satellite", "ground", datetime.now(timezone.utc), "a constant link"),
        end_s=CONSTANT_LENGTH_S,
        time_s=np.zeros(1),
        downlink_up=np.array([True]),
        uplink_up=np.array([True]),
        down_bit_s=np.array([down.rate_bit_s]),
        up_bit_s=np.array([up.rate_bit_s]),
        down_delay_s=np.array([down.delay_s]),
        up_delay_s=np.array([up.delay_s]),
        down_loss=np.array([_mean_loss(down)]),
        up_loss=np.array([_mean_loss(up)]),
    )


def _mean_loss(state: LinkState) -> float:
    return state.loss if state.bursty_loss is None else state.bursty_loss.mean_loss
