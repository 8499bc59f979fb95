"""One link of the sky: its bridge, its two ports and its carrier."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Container, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from operator import attrgetter
from typing import Protocol

from testbed.errors import LinkError, TestbedError
from testbed.kernel.namespace import FIRST_PORT_INDEX, NetworkNamespace
from testbed.network.link_end import PORT_MTU_BYTES, HostEnd, LinkEnd
from testbed.network.link_state import HELD_STATE, Direction, LinkState, OnContactEnd
from testbed.network.shapers.base import LinkPorts, Shaper
from testbed.network.shapers.super_packets import may_pass

CARRIER_WAIT_S = 3.0  # the kernel tells carriers of a crowd of new interfaces once a second
LARGEST_FRAME_BYTES = 1514

NUMBERS = ("rate_bit_s", "delay_s", "jitter_s", "loss")
CHAIN = ("good_to_bad", "bad_to_good", "bad_loss", "good_loss")
_numbers = attrgetter(*NUMBERS)

_port_index = itertools.count(FIRST_PORT_INDEX)  # never the same twice in one process, whatever the sky


class LinkOwner(Protocol):
    """The parts of a sky that a link needs; `Sky` has them."""

    namespace: NetworkNamespace
    shaper: Shaper

    @property
    def links(self) -> Mapping[str, SkyLink]:
        """The links that exist now, by name."""

    def set_links(self, requested: Mapping[str, tuple[LinkState, LinkState]]) -> None:
        """Write (down, up) of many links by name, and read them back."""

    def forget(self, link: SkyLink) -> None:
        """Drop a link that has closed itself."""


class SkyLink:
    """One link: a bridge and two ports in the sky, and one interface in each host. Made by `Sky.add_link`.

    A link that holds has a gate before each port, because the kernel drops what is parked for a port as
    soon as that goes down: the gates take the hosts' carrier away, and the ports stay up.

        purge   host --[ sat1 | br1 | gnd1 ]-- host
        hold    host --[ gsat1 | bsat1 | isat1 ]--[ sat1 | br1 | gnd1 ]--[ ignd1 | bgnd1 | ggnd1 ]-- host

    Args:
        number: makes the interface names in the sky: sat1 - br1 - gnd1.
        on_contact_end: what happens to packets inside whenever a direction goes down.

    Attributes:
        failure: the error that ended the link, which is down since then; None while all is well.
    """

    def __init__(
        self,
        sky: LinkOwner,
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
        self._senders: dict[Direction, HostEnd] = {}  # of super-packets; a board, or a gate, has none
        if (
            sky.shaper.takes_super_packets
            and on_contact_end is OnContactEnd.PURGE
            and isinstance(satellite, HostEnd)
            and isinstance(ground, HostEnd)
        ):
            self._senders = {Direction.DOWN: satellite, Direction.UP: ground}
        self.ports = LinkPorts(name, f"sat{number}", f"gnd{number}", super_packets=bool(self._senders))
        self.lock = threading.RLock()
        self._flooding = dict.fromkeys(Direction, True)
        self._whole = dict.fromkeys(Direction, False)  # whether TCP's super-packets pass
        self._passing: tuple[bool, bool] | None = None  # which directions `set` last left open
        self._closing = ExitStack()
        self._bridges = ExitStack()
        hosts = {self.ports.satellite: satellite, self.ports.ground: ground}
        with ExitStack() as bridges, ExitStack() as building:
            bridge = f"br{number}"
            _add_bridge(bridges, sky.namespace, bridge)
            if on_contact_end is OnContactEnd.HOLD:
                self.ends = {
                    _add_gate(building, bridges, sky.namespace, p, bridge, e): e for p, e in hosts.items()
                }
            else:
                self.ends = hosts
                for port, end in hosts.items():
                    _add_port(sky.namespace, port, bridge, end, super_packets=bool(self._senders))
                    building.callback(sky.namespace.delete, port)
            sky.shaper.attach(self.ports)
            building.callback(sky.shaper.detach, name)
            if on_contact_end is OnContactEnd.HOLD:
                for direction in Direction:
                    sky.shaper.apply(name, direction, HELD_STATE)
            self._closing, self._bridges = building.pop_all(), bridges.pop_all()

    def set(self, down: LinkState, up: LinkState) -> None:
        """Write both directions whole, then the carrier, and read all of it back.

        Args:
            down: satellite to ground.
            up: ground to satellite. The carrier is on while either direction is up; through a direction
                that is not, nothing passes, not even ARP. The link's `on_contact_end` replaces the state's.

        Raises:
            LinkError: the shaper holds something else than was requested; the carrier is then taken away.
        """
        requested = {way: self._with_end(state) for way, state in zip(Direction, (down, up), strict=True)}
        carrier = down.up or up.up
        holds = self.on_contact_end is OnContactEnd.HOLD
        with self.lock:
            if carrier and self.failure is not None:
                raise self.failure
            try:
                if carrier and holds:
                    # Before held packets are released, so that they find the gate open.
                    self._set_carrier(True)
                # At the end of a contact the shaper comes first: it stops within 0.2 ms, a port in some 10.
                self.stop_super_packets(down, up)
                self._apply(requested, carrier)
                self.start_super_packets(down, up)
                if not (carrier and holds):
                    self._set_carrier(carrier)
            except BaseException:
                self.distrust()
                raise
            self._passing = down.up, up.up

    def goes_on_with(self, down: LinkState, up: LinkState) -> bool:
        """Return whether these states open and close nothing, so that only the shaper has work."""
        return down.up and up.up and self._passing == (True, True) and self.failure is None

    def stop_super_packets(self, down: LinkState, up: LinkState) -> None:
        """Let the hosts send single packets where a state wants it; before the shaper has the states."""
        for direction, state in zip(Direction, (down, up), strict=True):
            if self._whole[direction] and state.up and not may_pass(state):
                self._send_super_packets(direction, False)

    def start_super_packets(self, down: LinkState, up: LinkState) -> None:
        """Let the hosts send super-packets where the states allow it; after the shaper has the states."""
        states = dict(zip(Direction, (down, up), strict=True))
        for direction in self._senders:
            if not self._whole[direction] and may_pass(states[direction]):
                self._send_super_packets(direction, True)

    def _send_super_packets(self, direction: Direction, on: bool) -> None:
        """Switch them at the host that sends, and at the port where they leave for the other one.

        Without them a link is as exact, and slower. An end that has gone is noticed elsewhere.
        """
        with suppress(LinkError):
            self.sky.namespace.set_tcp_segmentation(self.ports.exit(direction), on)
            self._whole[direction] = on
            self._senders[direction].send_super_packets(on)

    def distrust(self) -> None:
        """Take the carrier away, since the shaper's state is unknown; the next `set` may recover."""
        self._passing = None
        with suppress(LinkError):
            self._set_carrier(False)

    def check(self) -> None:
        """Raise the error that has ended this link or its shaper."""
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
        """Fail if one of the ports is not among the interfaces `there`."""
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
        """Let the next `set` check the ports if another program has taken one down meanwhile.

        Args:
            up: the interfaces that were up a moment ago; if they include the ports, nothing is done.
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

    def _apply(self, requested: dict[Direction, LinkState], carrier: bool) -> None:
        for direction, state in requested.items():
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
        """Return the states (down, up) that the shaper holds. Raises LinkError if the ports disagree."""
        with self.lock:
            down, up = (self.sky.shaper.read_back(self.name, direction) for direction in Direction)
            if self.carrier() != (down.up or up.up):
                raise LinkError(f"link {self.name}: the ports and the shaper disagree whether it is up")
            return down, up

    def carrier(self) -> bool:
        """Return whether both ports are up, so that the hosts see a carrier."""
        return all(self.sky.namespace.is_up(port) for port in self.ends)

    def close(self) -> None:
        """Delete the bridge, its ports and the hosts' interfaces. May be called twice."""
        with self.lock:
            self.sky.forget(self)
            self._closing.close()
            self._bridges.close()

    def leave_bridges(self) -> None:
        """Leave it to the end of the sky to delete the bridge: the kernel takes 17 ms for each."""
        self._bridges.pop_all()

    def _set_carrier(self, up: bool) -> None:
        space = self.sky.namespace
        changed = [port for port in self.ends if space.is_up(port) != up]
        for port in changed:
            space.set_up(port, up)
        if not up:
            return
        # In the namespace's thread, so that no look has to wait for its turn.
        space.call(lambda: self._wait_for_carrier(changed))

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


def differences(requested: LinkState, held: LinkState) -> str:
    """Return how `held` differs from `requested` by more than rounding, as one line; empty if it does not.

    While down, only `up` and `on_contact_end` count. Rate, delay, jitter and loss are compared to 0.1 %
    (netem counts bytes per second and 1/2^32), the queue to one frame (netem counts frames).
    """
    if requested.up != held.up:
        return f"requested up={requested.up}, it is up={held.up}"
    if not requested.up:
        same = requested.on_contact_end is held.on_contact_end
        return "" if same else f"requested {requested.on_contact_end.value} at the contact's end, it does not"
    queue_off = held.queue_limit_bytes - requested.queue_limit_bytes
    if (
        _near(requested.rate_bit_s, held.rate_bit_s)
        and _near(requested.delay_s, held.delay_s)
        and _near(requested.jitter_s, held.jitter_s)
        and _near(requested.loss, held.loss)
        and requested.bursty_loss == held.bursty_loss
        and 0 <= queue_off < LARGEST_FRAME_BYTES
    ):
        return ""  # the common case; checked for every change, so without the slower text below
    wanted, found = (
        dict(zip(NUMBERS + CHAIN, _numbers(s) + _chain(s), strict=True)) for s in (requested, held)
    )
    wrong = [
        f"requested {name} {value}, it is {found[name]}"
        for name, value in wanted.items()
        if not _near(value, found[name])
    ]
    if not 0 <= queue_off < LARGEST_FRAME_BYTES:
        wrong.append(
            f"requested a queue of {requested.queue_limit_bytes} bytes, it is {held.queue_limit_bytes}"
        )
    return "; ".join(wrong)


def _near(requested: float, held: float) -> bool:
    off = abs(requested - held)
    return off <= 1e-6 or off <= 1e-3 * abs(requested)


def _chain(state: LinkState) -> tuple[float, ...]:
    chain = state.bursty_loss
    if chain is None:
        return (-1.0,) * len(CHAIN)
    return tuple(getattr(chain, name) for name in CHAIN)


def _add_bridge(building: ExitStack, space: NetworkNamespace, bridge: str) -> None:
    space.add_bridge(bridge)
    building.callback(space.delete, bridge)


def _add_gate(
    building: ExitStack, bridges: ExitStack, space: NetworkNamespace, port: str, bridge: str, end: LinkEnd
) -> str:
    """Add a port with a gate before it, and return the gate's name."""
    gate, gate_bridge, inner = f"g{port}", f"b{port}", f"i{port}"
    _add_bridge(bridges, space, gate_bridge)
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


def _add_port(
    space: NetworkNamespace, port: str, bridge: str, end: LinkEnd, *, super_packets: bool = False
) -> None:
    end.add_port(space, port, next(_port_index), super_packets=super_packets)
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
    """Return whether the bridge forwards through a port; True at once if its end's interface is down."""
    if space.is_ready(port) and space.is_forwarding(port):
        return True
    end_up, _ = end.look(space, port)
    return not end_up and space.is_up(port)
