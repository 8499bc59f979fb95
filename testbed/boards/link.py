"""A link between a board and the host of a ground station, compensated for the delay of the board's path."""

from __future__ import annotations

from contextlib import ExitStack, suppress

from testbed.boards.attachment import Attachment
from testbed.boards.inventory import RouteAttachment
from testbed.boards.path import BoardPath, compensated, measure
from testbed.boards.wire import Endpoint, Wire
from testbed.kernel.namespace import NetworkNamespace
from testbed.network.link_end import HostEnd
from testbed.network.link_state import LinkState, OnContactEnd
from testbed.network.sky import Sky
from traces.trace import Trace

PREFIX_LENGTH = 30
ANSWER_WITHIN_S = 10.0


class BoardLink:
    """A link of an attached board through the sky, for `testbed.network.player.Player`; initially down.

    Args:
        attachment: The attachment of the board, attached already.
        sky: The sky that holds the link.
        name: Name of the link in reports.
        host_path: Network namespace of the ground host, such as /proc/PID/ns/net.
        interface: Name of the link's interface on the ground host.
        board_address: IPv4 address of the board on the link; ignored if it is attached by route.
        on_contact_end: Treatment of the packets in flight at the end of a contact.

    Attributes:
        path: The measured path between the sky and the board.

    Raises:
        BoardRefusedError: the board does not answer. Nothing is left behind.
        LinkError: the link cannot be created. Nothing is left behind.
    """

    def __init__(
        self,
        attachment: Attachment,
        sky: Sky,
        name: str,
        *,
        host_path: str,
        interface: str,
        board_address: str,
        on_contact_end: OnContactEnd = OnContactEnd.PURGE,
    ) -> None:
        self.name = name
        self.attachment = attachment
        self._sky = sky
        self._up = False
        attach = attachment.board.attach
        self.board_address = attach.address if isinstance(attach, RouteAttachment) else board_address
        end = HostEnd(host_path, interface, attachment.ground.mac)
        with ExitStack() as building:
            self.sky_link = sky.add_link(name, attachment, end, on_contact_end)
            building.callback(self.sky_link.close)
            self.path = self._measure()
            self._introduce(end)
            building.pop_all()

    @property
    def sky(self) -> Sky:
        """The sky that holds the link."""
        return self._sky

    def set(self, down: LinkState, up: LinkState) -> None:
        """Set the state of both directions and read it back; see `SkyLink.set`."""
        self.sky_link.set(down, up)
        if (up.up or down.up) and not self._up:
            self._greet()
        self._up = up.up or down.up

    def check(self) -> None:
        """Check that the link still works.

        Raises:
            ShaperDiedError: the shaper has ended.
            LinkError: an end of the link has vanished.
        """
        self.sky_link.check()

    def states(self) -> tuple[LinkState, LinkState]:
        """Return the states (down, up) that the shaper holds."""
        return self.sky_link.states()

    def compensated(self, trace: Trace) -> Trace:
        """Return the trace to play so that the board's path and the link together follow `trace`.

        Raises:
            BoardRefusedError: the board's path is slower than the trace.
        """
        return compensated(trace, self.path, self.attachment.board.name)

    def close(self) -> None:
        """Remove the link; the attachment stays."""
        self.sky_link.close()

    @property
    def _port(self) -> str:
        return next(port for port, end in self.sky_link.ends.items() if end is self.attachment)

    def _measure(self) -> BoardPath:
        """Measure from the board's port while the ground's port is down, so that nothing else passes."""
        space = self._sky.namespace
        port, hop = self._port, self.attachment.next_hop
        space.set_up(port, True)
        try:
            return space.call(
                lambda: measure(
                    port,
                    self.attachment.ground,
                    self.board_address,
                    self.attachment.mtu_bytes,
                    mac=None if hop is None else hop.mac,
                    patience_s=ANSWER_WITHIN_S,
                )
            )
        finally:
            space.set_up(port, False)

    def _greet(self) -> None:
        """Tell the board the Ethernet address of the ground at the start of each contact.

        A radio link has no ARP. A board that tried to send before the contact repeats its ARP request only
        once a second, so up to 1 s of the contact would be lost (see ContactLink.introduce).
        """
        ground, board = self.attachment.ground, Endpoint(self.path.mac, self.board_address)
        if self.attachment.next_hop is None:
            with suppress(OSError):  # the board's NIC has just lost its link
                self._sky.namespace.call(lambda: _greet(self._port, board, ground))

    def _introduce(self, end: HostEnd) -> None:
        """Set the address of the ground's end, the MTU of the board, and the route to the board."""
        with NetworkNamespace.enter(end.namespace_path, f"of {end.interface}") as host:
            host.set_mtu(end.interface, self.attachment.mtu_bytes)
            host.add_address(end.interface, self.attachment.ground.address, PREFIX_LENGTH)
            host.add_route(end.interface, f"{self.board_address}/32")
            host.add_neighbour(end.interface, self.board_address, self.path.mac)


def _greet(port: str, board: Endpoint, ground: Endpoint) -> None:
    with Wire(port) as wire:
        wire.announce(board, ground)


def ground_endpoint(address: str) -> Endpoint:
    """Return the ground's end of a link, with an Ethernet address derived from its IPv4 address."""
    octets = [int(part) for part in address.split(".")]
    return Endpoint("02:00:" + bytes(octets).hex(":"), address)
