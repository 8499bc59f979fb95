"""A link between a board and a ground station's host, with the board's own delay taken out of it."""

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
    """Plugs an attached board into the sky; what `testbed.network.player.Player` plays. It starts down.

    Args:
        attachment: of the board, attached.
        sky: where the link lives.
        name: how reports call it.
        host_path: the ground host's network namespace, such as /proc/PID/ns/net.
        interface: what the link is called there.
        board_address: the board's IPv4 address on the link; ignored if it is attached by route.
        on_contact_end: what becomes of the packets inside.

    Attributes:
        path: what was measured of the board's own way.

    Raises BoardRefusedError when the board does not answer, LinkError when the link cannot be made; it then
    leaves nothing.
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
        """Where it lives."""
        return self._sky

    def set(self, down: LinkState, up: LinkState) -> None:
        """Write both directions and whether packets pass, and read them back; see `SkyLink.set`."""
        self.sky_link.set(down, up)
        if (up.up or down.up) and not self._up:
            self._greet()
        self._up = up.up or down.up

    def check(self) -> None:
        """Raise ShaperDiedError if what plays the link has ended, LinkError if an end has vanished."""
        self.sky_link.check()

    def states(self) -> tuple[LinkState, LinkState]:
        """(down, up) as held by whatever plays the link."""
        return self.sky_link.states()

    def compensated(self, trace: Trace) -> Trace:
        """The trace to play, so that board and link together follow `trace`. Raises BoardRefusedError."""
        return compensated(trace, self.path, self.attachment.board.name)

    def close(self) -> None:
        """Take the link away; the attachment stays."""
        self.sky_link.close()

    @property
    def _port(self) -> str:
        return next(port for port, end in self.sky_link.ends.items() if end is self.attachment)

    def _measure(self) -> BoardPath:
        """From the board's port while that is up and the ground's is not, so that nothing else passes."""
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
        """Tell the board where the ground is, at the begin of each contact.

        A radio link has no ARP. A board that had something to send while nobody answered would ask at its
        next whole second of asking, and up to 1 s of the contact would be lost (see ContactLink.introduce).
        """
        ground, board = self.attachment.ground, Endpoint(self.path.mac, self.board_address)
        if self.attachment.next_hop is None:
            with suppress(OSError):  # its NIC has just lost its link; then there is nobody to tell
                self._sky.namespace.call(lambda: _greet(self._port, board, ground))

    def _introduce(self, end: HostEnd) -> None:
        """Give the ground its address, the board's largest packet, and the way to the board."""
        with NetworkNamespace.enter(end.namespace_path, f"of {end.interface}") as host:
            host.set_mtu(end.interface, self.attachment.mtu_bytes)
            host.add_address(end.interface, self.attachment.ground.address, PREFIX_LENGTH)
            host.add_route(end.interface, f"{self.board_address}/32")
            host.add_neighbour(end.interface, self.board_address, self.path.mac)


def _greet(port: str, board: Endpoint, ground: Endpoint) -> None:
    with Wire(port) as wire:
        wire.greet(board, ground)


def ground_endpoint(address: str) -> Endpoint:
    """The ground's end, with an Ethernet address that follows from its IPv4 address."""
    octets = [int(part) for part in address.split(".")]
    return Endpoint("02:00:" + bytes(octets).hex(":"), address)
