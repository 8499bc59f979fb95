"""The sky: one anonymous network namespace in which every emulated link is a bridge with two ports.

    satellite host --veth--[ port | bridge | port ]--veth-- ground host

All shaping happens at the ports.  Nothing on the host machine is named, changed or left behind: the
namespace is held by file descriptors of this process, so the kernel removes it whenever the process ends.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from operator import attrgetter
from types import TracebackType
from typing import Any, Protocol

from testbed.errors import CapabilityError, InputError, LinkError, TestbedError
from testbed.kernel.namespace import FIRST_PORT_INDEX, IFF_UP, NetworkNamespace
from testbed.machine.capabilities import choose_shaper
from testbed.network.link_state import HELD_STATE, Direction, LinkState, OnContactEnd
from testbed.network.shapers.base import LinkPorts, Shaper

CARRIER_WAIT_S = 3.0  # the kernel tells carriers of a crowd of new interfaces once a second
# A look costs a slow processor milliseconds: at 0.1 s a guest carried 89.8 of 100 Mbit/s, at 0.25 s 96.8.
WATCH_EVERY_S = 0.25
LARGEST_FRAME_BYTES = 1514
PORT_MTU_BYTES = 65535  # the hosts say how large their packets are; the sky passes whatever they send

# At every AOS a host would otherwise ask for 1 s whether its own addresses are in use, before it uses them,
# and look for routers. Both ends of a link are known.
QUIET_IPV6 = {"accept_dad": "0", "dad_transmits": "0", "router_solicitations": "0"}

NUMBERS = ("rate_bit_s", "delay_s", "jitter_s", "loss")
CHAIN = ("good_to_bad", "bad_to_good", "bad_loss", "good_loss")
_numbers = attrgetter(*NUMBERS)

_port_index = itertools.count(FIRST_PORT_INDEX)  # never the same twice in one process, whatever the sky


class LinkEnd(Protocol):
    """Where one end of a link appears: in an emulated host (`HostEnd`), or at a board (testbed/boards)."""

    @property
    def interface(self) -> str:
        """The interface at that end, for messages."""

    def add_port(self, sky: NetworkNamespace, port: str, index: int) -> None:
        """Make interface `port`, numbered `index`, in the sky, so that it leads to that end; down.

        Raises LinkError, and then leaves nothing.
        """

    def look(self, sky: NetworkNamespace, port: str) -> tuple[bool, bool]:
        """Whether that end's own interface is up, and whether it has noticed its carrier."""


@dataclass(frozen=True, slots=True)
class HostEnd:
    """An interface in somebody's namespace, made with the link.

    Args:
        namespace_path: the namespace, as a path such as /proc/PID/ns/net.
        interface: the interface's name there.
        mac: its Ethernet address; None lets the kernel choose.
    """

    namespace_path: str
    interface: str
    mac: str | None = None

    def add_port(self, sky: NetworkNamespace, port: str, index: int) -> None:
        """Add a veth between the sky and the host."""
        sky.add_veth(
            port,
            peer_name=self.interface,
            peer_path=self.namespace_path,
            index=index,
            peer_mac=self.mac,
            mtu_bytes=PORT_MTU_BYTES,
        )
        try:
            sky.disable_super_packets(port)
            with NetworkNamespace.enter(self.namespace_path, f"of {self.interface}") as host:
                host.disable_super_packets(self.interface)
                for setting, value in QUIET_IPV6.items():
                    _set_if_known(host, f"ipv6/conf/{self.interface}/{setting}", value)
                host.set_up(self.interface, True)
        except BaseException:
            sky.delete(port)
            raise

    def look(self, sky: NetworkNamespace, port: str) -> tuple[bool, bool]:
        """Look from the sky into the host."""
        return sky.look_into(self.namespace_path, self.interface)


class Sky:
    """Owns the namespace, the links in it, and the shaper that makes them slow.

    Args:
        shaper: "nfqueue" or "netem" (CapabilityError if this machine cannot), a `Shaper`, a function that
            makes one from the sky's namespace path, or None for the better one that works here.
    """

    def __init__(self, shaper: str | Shaper | Callable[[str], Shaper] | None = None) -> None:
        self._links: dict[str, SkyLink] = {}
        self._numbers = itertools.count(1)
        self._closing = ExitStack()
        with ExitStack() as building:
            self.namespace = building.enter_context(NetworkNamespace.create("sky"))
            for family in ("ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"):
                _set_if_known(self.namespace, family, "0")
            _set_if_known(
                self.namespace, "ipv6/conf/default/disable_ipv6", "1"
            )  # bridges say nothing themselves
            self.shaper = _make_shaper(shaper, self.namespace.path)
            building.callback(self.shaper.close)
            self._failure: TestbedError | None = None
            self._closed = threading.Event()
            watcher = threading.Thread(target=self._watch, name="sky watch", daemon=True)
            watcher.start()
            building.callback(watcher.join)
            building.callback(self._closed.set)
            self._closing = building.pop_all()

    @property
    def netns_path(self) -> str:
        """Path of the sky's namespace, for setns or `nsenter --net=`."""
        return self.namespace.path

    @property
    def links(self) -> dict[str, SkyLink]:
        """The links that exist now, by name."""
        return dict(self._links)

    def add_link(
        self,
        name: str,
        satellite: LinkEnd,
        ground: LinkEnd,
        on_contact_end: OnContactEnd = OnContactEnd.PURGE,
    ) -> SkyLink:
        """Build a link between two ends; it starts down.

        Raises LinkError, and then leaves nothing; CapabilityError if the shaper cannot hold and is asked to.
        """
        if name in self._links:
            raise InputError(f"a link named {name!r} exists already; give each link its own link_name")
        if on_contact_end is OnContactEnd.HOLD and not self.shaper.can_hold:
            raise CapabilityError(
                f"link {name}: the {self.shaper.name} shaper cannot hold packets for the next contact; "
                "use the nfqueue shaper, or on_contact_end purge"
            )
        link = SkyLink(self, name, next(self._numbers), satellite, ground, on_contact_end)
        self._links[name] = link
        return link

    def set_links(self, asked: Mapping[str, tuple[LinkState, LinkState]]) -> None:
        """Write (down, up) of many links by name, and read them back; as `SkyLink.set` for each, and cheaper.

        Raises LinkError when what is held is not what was asked; whatever cannot be trusted is then down.
        """
        together = {}
        for name, states in asked.items():
            link = self._links.get(name)
            if link is None:
                raise LinkError(f"there is no link named {name!r} in this sky")
            if link.goes_on_with(*states):
                together[link] = states
            else:
                link.set(*states)
        if not together:
            return
        with ExitStack() as locks:
            for link in sorted(together, key=lambda link: link.number):  # in one order: two threads may come
                locks.enter_context(link.lock)
            self._set_together(together)

    def _set_together(self, asked: Mapping[SkyLink, tuple[LinkState, LinkState]]) -> None:
        orders = [
            (link.name, way, state)
            for link, states in asked.items()
            for way, state in zip(Direction, states, strict=True)
        ]
        try:
            held = self.shaper.apply_all(orders)
            for (name, way, state), found in zip(orders, held, strict=True):
                if wrong := differences(state, found):
                    raise LinkError(f"link {name} {way.value}: {wrong}")
        except BaseException:
            for link in asked:
                link.distrust()
            raise

    def check(self) -> None:
        """Raise what has gone wrong with any link: ShaperDiedError, or LinkError if one has lost an end."""
        if self._failure is not None:
            raise self._failure
        self.shaper.check()
        for link in self.links.values():
            if link.failure is not None:
                raise link.failure

    def counters(self) -> dict[str, Any]:
        """What became of the packets of every link, fit for JSON; it stands beside a run's results.

        {"shaper": name, "how": words, "links": {link: {"down": {...}, "up": {...}}}}, the innermost as
        the shaper's `counters` gives them. Raises LinkError.
        """
        return {
            "shaper": self.shaper.name,
            "how": self.shaper.how(),
            "links": {
                name: {way.value: dict(self.shaper.counters(name, way)) for way in Direction}
                for name in self.links
            },
        }

    def _watch(self) -> None:
        """Take links down that nothing plays any more, whoever else looks or does not."""
        while not self._closed.wait(WATCH_EVERY_S):
            try:
                self.shaper.check()
            except TestbedError as error:
                if self._closed.is_set():
                    return
                self._failure = error
                for link in self.links.values():
                    link.fail(error)
                return
            with suppress(LinkError):  # of a namespace that is being closed
                links = self.links.values()  # before what is there: one that is added meanwhile is not gone
                flags = self.namespace.flags()
                up = {port for port, its in flags.items() if its & IFF_UP}
                for link in links:
                    link.fail_without_ends(flags)
                    link.distrust_without_carrier(up)

    def forget(self, link: SkyLink) -> None:
        """Drop a link that has closed itself."""
        self._links.pop(link.name, None)

    def close(self) -> None:
        """Take down every link, end the shaper, and give back the namespace. May be called twice."""
        self._closed.set()
        with self._closing:
            for link in list(self._links.values()):
                self._closing.callback(link.close)

    def __enter__(self) -> Sky:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SkyLink:
    """One link: a bridge and two ports in the sky, and one interface in each host. Made by `Sky.add_link`.

    A link that holds has a gate before each port, because the kernel drops what is parked for a port as
    soon as that goes down: the gates take the hosts' carrier away, and the ports stay up.

        purge   host --[ sat1 | br1 | gnd1 ]-- host
        hold    host --[ gsat1 | bsat1 | isat1 ]--[ sat1 | br1 | gnd1 ]--[ ignd1 | bgnd1 | ggnd1 ]-- host

    Args:
        number: makes the interface names in the sky: sat1 - br1 - gnd1.
        on_contact_end: what becomes of the packets inside whenever a direction goes down.

    Attributes:
        failure: what ended the link, which is down since then; None while all is well.
    """

    def __init__(
        self,
        sky: Sky,
        name: str,
        number: int,
        satellite: LinkEnd,
        ground: LinkEnd,
        on_contact_end: OnContactEnd = OnContactEnd.PURGE,
    ) -> None:
        self.name = name
        self.number = number
        self.sky = sky
        self.on_contact_end = on_contact_end
        self.failure: TestbedError | None = None
        self.ports = LinkPorts(link=name, satellite=f"sat{number}", ground=f"gnd{number}")
        self.lock = threading.RLock()
        self._flooding = dict.fromkeys(Direction, True)
        self._passing: tuple[bool, bool] | None = None  # which directions `set` last left open
        self._closing = ExitStack()
        hosts = {self.ports.satellite: satellite, self.ports.ground: ground}
        with ExitStack() as building:
            bridge = f"br{number}"
            _add_bridge(building, sky.namespace, bridge)
            if on_contact_end is OnContactEnd.HOLD:
                self.ends = {_add_gate(building, sky.namespace, p, bridge, e): e for p, e in hosts.items()}
            else:
                self.ends = hosts
                for port, end in hosts.items():
                    _add_port(sky.namespace, port, bridge, end)
                    building.callback(sky.namespace.delete, port)
            sky.shaper.attach(self.ports)
            building.callback(sky.shaper.detach, name)
            if on_contact_end is OnContactEnd.HOLD:
                for direction in Direction:
                    sky.shaper.apply(name, direction, HELD_STATE)
            self._closing = building.pop_all()

    def set(self, down: LinkState, up: LinkState) -> None:
        """Write both directions whole, then the carrier, and read all of it back.

        Args:
            down: satellite to ground.
            up: ground to satellite. The carrier is on while either direction is up; through a direction
                that is not, nothing passes, ARP neither. `on_contact_end` of a state is the link's own.

        Raises LinkError when what is held is not what was asked; the carrier is then taken away.
        """
        asked = {way: self._with_end(state) for way, state in zip(Direction, (down, up), strict=True)}
        carrier = down.up or up.up
        holds = self.on_contact_end is OnContactEnd.HOLD
        with self.lock:
            if carrier and self.failure is not None:
                raise self.failure
            try:
                if carrier and holds:
                    self._set_carrier(True)  # before time goes on: what comes out must find the gate open
                # At the end of a contact the shaper comes first: it stops within 0.2 ms, a port in some 10.
                self._apply(asked, carrier)
                if not (carrier and holds):
                    self._set_carrier(carrier)
            except BaseException:
                self.distrust()
                raise
            self._passing = down.up, up.up

    def goes_on_with(self, down: LinkState, up: LinkState) -> bool:
        """Whether these states open and close nothing, so that the shaper alone has something to do."""
        return down.up and up.up and self._passing == (True, True) and self.failure is None

    def distrust(self) -> None:
        """Take the carrier away, since nobody knows what the shaper holds; the next `set` may mend it."""
        self._passing = None
        with suppress(LinkError):
            self._set_carrier(False)

    def check(self) -> None:
        """Raise what has ended this link or what plays it."""
        if self.failure is not None:
            raise self.failure
        self.sky.shaper.check()

    def fail(self, error: TestbedError) -> None:
        """Take the carrier away for good, because of `error`."""
        self.failure = self.failure or error
        self._passing = None
        for port in self.ends:
            with suppress(LinkError):  # it may be the very port that has gone
                self.sky.namespace.set_up(port, False)

    def fail_without_ends(self, there: Container[str]) -> None:
        """Fail if one of the ports is not among the interfaces that are there."""
        gone = [port for port in self.ends if port not in there]
        if gone and self.failure is None and self.name in self.sky.links:
            interface = self.ends[gone[0]].interface
            self.fail(
                LinkError(
                    f"link {self.name}: the interface {interface} at one end has vanished; "
                    "it was deleted, or its host ended. The link is down"
                )
            )

    def distrust_without_carrier(self, up: Container[str]) -> None:
        """Have the next `set` look at the ports, if somebody else has taken one down meanwhile.

        `up` is which interfaces were up a moment ago: where that raises no doubt there is none.
        """
        if all(port in up for port in self.ends):
            return
        with self.lock:
            if self._passing == (True, True) and not self.carrier():
                self._passing = None

    def _with_end(self, state: LinkState) -> LinkState:
        if state.up or state.on_contact_end is self.on_contact_end:
            return state
        return replace(state, on_contact_end=self.on_contact_end)

    def _apply(self, asked: dict[Direction, LinkState], carrier: bool) -> None:
        for direction, state in asked.items():
            if carrier and not state.up:
                self._set_flooding(direction, False)
            held = self.sky.shaper.apply(self.name, direction, state)
            if wrong := differences(state, held):
                raise LinkError(f"link {self.name} {direction.value}: {wrong}")
            if state.up:
                self._set_flooding(direction, True)

    def _set_flooding(self, direction: Direction, on: bool) -> None:
        if self._flooding[direction] != on:
            self.sky.namespace.set_flooding(self.ports.exit(direction), on)
            self._flooding[direction] = on

    def states(self) -> tuple[LinkState, LinkState]:
        """(down, up) as whatever plays them holds them now. Raises LinkError if the ports contradict them."""
        with self.lock:
            down, up = (self.sky.shaper.read_back(self.name, direction) for direction in Direction)
            if self.carrier() != (down.up or up.up):
                raise LinkError(f"link {self.name}: the ports and the shaper disagree whether it is up")
            return down, up

    def carrier(self) -> bool:
        """Whether both ports are up, so that the hosts see a carrier."""
        return all(self.sky.namespace.is_up(port) for port in self.ends)

    def close(self) -> None:
        """Delete the bridge, its ports and the hosts' interfaces. May be called twice."""
        with self.lock:
            self.sky.forget(self)
            self._closing.close()

    def _set_carrier(self, up: bool) -> None:
        space = self.sky.namespace
        changed = [port for port in self.ends if space.is_up(port) != up]
        for port in changed:
            space.set_up(port, up)
        if not up:
            return
        space.call(lambda: self._wait_for_carrier(changed))  # there, so that each look is no turn of its own

    def _wait_for_carrier(self, changed: Sequence[str]) -> None:
        """Wait until packets pass the ports and both ends have noticed their carrier."""
        space, give_up_s = self.sky.namespace, time.monotonic() + CARRIER_WAIT_S
        for port in changed:
            while not _forwards(space, port, self.ends[port]):
                if time.monotonic() > give_up_s:
                    raise LinkError(
                        f"link {self.name}: port {port} does not forward {CARRIER_WAIT_S} s after it came up"
                    )
                time.sleep(0.0002)
        for port in changed:
            _wait_for_end(space, port, self.ends[port], give_up_s)


def differences(asked: LinkState, held: LinkState) -> str:
    """How `held` differs from `asked` by more than rounding, as one line; empty if it does not.

    While down only that matters, and what becomes of the packets inside. The rest is compared to 0.1 % (netem
    counts bytes per second and 1/2^32), the queue to one frame (netem counts frames).
    """
    if asked.up != held.up:
        return f"asked for up={asked.up}, it is up={held.up}"
    if not asked.up:
        same = asked.on_contact_end is held.on_contact_end
        return "" if same else f"asked to {asked.on_contact_end.value} at the end, it does not"
    queue_off = held.queue_limit_bytes - asked.queue_limit_bytes
    if (
        _near(asked.rate_bit_s, held.rate_bit_s)
        and _near(asked.delay_s, held.delay_s)
        and _near(asked.jitter_s, held.jitter_s)
        and _near(asked.loss, held.loss)
        and asked.bursty_loss == held.bursty_loss
        and 0 <= queue_off < LARGEST_FRAME_BYTES
    ):
        return ""  # so nearly every time, and looked at for every change: the words below take longer
    wanted, found = (dict(zip(NUMBERS + CHAIN, _numbers(s) + _chain(s), strict=True)) for s in (asked, held))
    wrong = [
        f"asked for {name} {value}, it is {found[name]}"
        for name, value in wanted.items()
        if not _near(value, found[name])
    ]
    if not 0 <= queue_off < LARGEST_FRAME_BYTES:
        wrong.append(f"asked for a queue of {asked.queue_limit_bytes} bytes, it is {held.queue_limit_bytes}")
    return "; ".join(wrong)


def _near(asked: float, held: float) -> bool:
    off = abs(asked - held)
    return off <= 1e-6 or off <= 1e-3 * abs(asked)


def _chain(state: LinkState) -> tuple[float, ...]:
    chain = state.bursty_loss
    if chain is None:
        return (-1.0,) * len(CHAIN)
    return tuple(getattr(chain, name) for name in CHAIN)


def _add_bridge(building: ExitStack, space: NetworkNamespace, bridge: str) -> None:
    space.add_bridge(bridge)
    building.callback(space.delete, bridge)


def _add_gate(building: ExitStack, space: NetworkNamespace, port: str, bridge: str, end: LinkEnd) -> str:
    """Add a port with a gate before it, and the gate's name."""
    gate, gate_bridge, inner = f"g{port}", f"b{port}", f"i{port}"
    _add_bridge(building, space, gate_bridge)
    _add_port(space, gate, gate_bridge, end)
    building.callback(space.delete, gate)
    space.add_veth(port, peer_name=inner, peer_path=space.path, mtu_bytes=PORT_MTU_BYTES)
    building.callback(space.delete, port)
    space.set_mtu(inner, PORT_MTU_BYTES)
    for name, master in ((port, bridge), (inner, gate_bridge)):
        space.disable_super_packets(name)
        space.plug(name, master)
        space.set_up(name, True)
    return gate


def _add_port(space: NetworkNamespace, port: str, bridge: str, end: LinkEnd) -> None:
    end.add_port(space, port, next(_port_index))
    try:
        space.plug(port, bridge)
    except BaseException:
        space.delete(port)
        raise


def _wait_for_end(space: NetworkNamespace, port: str, end: LinkEnd, give_up_s: float) -> None:
    """Wait until an end has noticed its carrier; until then it drops what it sends.

    One whose own interface was taken down is not waited for.
    """
    while time.monotonic() < give_up_s:
        up, ready = end.look(space, port)
        if ready or not up:
            return
        time.sleep(0.0001)


def _forwards(space: NetworkNamespace, port: str, end: LinkEnd) -> bool:
    """Whether the bridge lets packets through a port; at once if its end's own interface was taken down."""
    if space.is_ready(port) and space.is_forwarding(port):
        return True
    end_up, _ = end.look(space, port)
    return not end_up and space.is_up(port)


def _set_if_known(space: NetworkNamespace, name: str, value: str) -> None:
    if space.read_sysctl(name) is not None:
        space.write_sysctl(name, value)


def _make_shaper(shaper: str | Shaper | Callable[[str], Shaper] | None, netns_path: str) -> Shaper:
    if shaper is None or isinstance(shaper, str):
        shaper = choose_shaper(shaper)
    return shaper(netns_path) if callable(shaper) else shaper
