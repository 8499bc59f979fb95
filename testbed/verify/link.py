"""The link that `spaceverse verify` measures, its two hosts, and the prober between them."""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from testbed.errors import TestbedError
from testbed.kernel.namespace import NetworkNamespace
from testbed.kernel.packet_socket import open_probe_tap
from testbed.kernel.timestamps import arrival_ns, stamp_arrivals
from testbed.network.emulation import EmulatedNetwork
from testbed.network.link_state import DOWN_STATE, LinkState
from testbed.network.shapers.base import Shaper
from testbed.network.sky import Sky
from testbed.verify.probe import PORT, open_socket

if TYPE_CHECKING:
    from typing_extensions import Self

SATELLITE, GROUND = "10.67.0.1", "10.67.0.2"
TCP_PORT = 47772
INTERFACE = "link0"
TICK_S = 0.1
READY_WITHIN_S = 10.0  # a starved guest's hosts notice their carrier late
SETTLE_S = 0.05  # the first packets of a contact are measured separately
CHUNK_BYTES = 1 << 18
FILE_BYTES = 1 << 26
READER_PRIORITY = 30  # below the prober's and the shaper's
FAST_WINDOW_BYTES = 1_000_000
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33

Integers = npt.NDArray[np.int64]
Tick = Callable[[], None]


@dataclass(frozen=True)
class Stream:
    """Packets that went one way.

    Args:
        frame_bytes: size of each Ethernet frame.
        sent_ns: int64[n], CLOCK_REALTIME when packet i was sent.
        sequence: int64[m], which packets arrived, in the order of arrival.
        arrived_ns: int64[m], CLOCK_REALTIME when.
    """

    frame_bytes: int
    sent_ns: Integers
    sequence: Integers
    arrived_ns: Integers

    @property
    def lost(self) -> int:
        """Packets that were sent and did not arrive."""
        return len(self.sent_ns) - len(self.sequence)

    @property
    def reordered(self) -> int:
        """Packets that arrived after one that was sent later (RFC 4737, section 3.3)."""
        if not len(self.sequence):
            return 0
        return int(np.sum(self.sequence < np.maximum.accumulate(self.sequence)))


@dataclass(frozen=True)
class Probed:
    """The result of one order to the prober.

    Args:
        rtt_ns: int64[n, 6], CLOCK_REALTIME of each RTT probe: sent by the satellite, arrived at the ground,
            sent back, arrived at the satellite; then left the satellite, and left the ground, as their
            kernels say (see `testbed.verify.probe`). 0 where it did not come that far.
        down, up: streams, None where none was ordered.
    """

    rtt_ns: Integers
    down: Stream | None
    up: Stream | None

    @property
    def answered_ns(self) -> Integers:
        """The RTT probes that came back."""
        back: Integers = self.rtt_ns[self.rtt_ns[:, 3] > 0]
        return back

    @property
    def lost(self) -> int:
        """RTT probes that did not come back."""
        return len(self.rtt_ns) - len(self.answered_ns)


def required_stream(stream: Stream | None) -> Stream:
    """Return a stream that was ordered. Raises ValueError if it was not."""
    if stream is None:
        raise ValueError("this stream was not ordered from the prober")
    return stream


def rtt_s(probes_ns: Integers) -> npt.NDArray[np.float64]:
    """Return round-trip times as programs see them, seconds: from send call to arrival, and back."""
    return (probes_ns[:, 1] - probes_ns[:, 0] + probes_ns[:, 3] - probes_ns[:, 2]) / 1e9


def link_rtt_s(probes_ns: Integers) -> npt.NDArray[np.float64]:
    """Return round-trip times of the link itself, seconds: between the hosts' kernels, there and back.

    Where a kernel gave no stamp of leaving, the send call's counts, which makes it longer.
    """
    left = np.where(probes_ns[:, 4:6] > 0, probes_ns[:, 4:6], probes_ns[:, 0:3:2])
    return (probes_ns[:, 1] - left[:, 0] + probes_ns[:, 3] - left[:, 1]) / 1e9


class MeasuredLink(ABC):
    """A link between two hosts, with any shaper; subclasses implement `set`. A context manager.

    Args:
        satellite, ground: namespaces of the hosts, whose addresses are SATELLITE and GROUND; closed with it.
        tick: called about ten times a second while something is measured; an exception ends it.
    """

    name = "verify"
    sky: Sky | None = None
    shapes_arp = True
    interfaces = (INTERFACE, INTERFACE)  # the satellite's end and the ground's

    def __init__(
        self, satellite: NetworkNamespace, ground: NetworkNamespace, tick: Tick = lambda: None
    ) -> None:
        self.satellite, self.ground = satellite, ground
        self._tick = tick
        self._closing = ExitStack()
        for host in (satellite, ground):
            self._closing.enter_context(host)
        try:
            self._prober = self._start_prober()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the prober and leave the hosts. May be called twice."""
        self._closing.close()

    @abstractmethod
    def set(self, down: LinkState, up: LinkState) -> None:
        """Write both directions."""

    @abstractmethod
    def check(self) -> None:
        """Raise if the link's shaper has ended."""

    def fresh(self, down: LinkState, up: LinkState | None = None) -> None:
        """Set the link, after taking it down: what was on it is gone, and both hosts have their carrier."""
        self.set(DOWN_STATE, DOWN_STATE)
        self.set(down, up or down)
        give_up_s = time.monotonic() + READY_WITHIN_S
        ends = tuple(zip((self.satellite, self.ground), self.interfaces, strict=True))
        while not all(host.is_ready(interface) for host, interface in ends):
            if time.monotonic() > give_up_s:
                raise TestbedError(f"a host has no carrier {READY_WITHIN_S:g} s after the link came up")
            self.wait(0.01)
        self.wait(SETTLE_S)

    def wait(self, for_s: float) -> None:
        """Sleep, calling `tick`."""
        end_s = time.monotonic() + for_s
        while (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(TICK_S, left_s))
            self._tick()

    def probe(self, during: Callable[[], None] | None = None, **order: Any) -> Probed:
        """Give the prober an order (see `Prober.play`) and wait for its record.

        Args:
            during: called once the order was given; it makes the link's changes.
            **order: the order, see `Prober.play`.
        """
        if self._prober.stdin is None or self._prober.stdout is None:
            raise TestbedError("the prober has no pipes")
        self._prober.stdin.write(json.dumps({"rtt_s": 0, "real_time": True, **order}).encode() + b"\n")
        self._prober.stdin.flush()
        if during is not None:
            during()
        with selectors.DefaultSelector() as selector:
            selector.register(self._prober.stdout, selectors.EVENT_READ)
            while not selector.select(TICK_S):
                self._tick()
                self.check()
        line = self._prober.stdout.readline()
        if not line:
            raise TestbedError(f"verify's prober ended with status {self._prober.wait()}")
        lengths = json.loads(line)
        raw = self._prober.stdout.read(8 * sum(lengths))
        rtt_ns, *columns = np.split(np.frombuffer(raw, dtype=np.int64), np.cumsum(lengths)[:-1])
        streams = {
            name: Stream(order[name]["frame_bytes"], *(columns.pop(0) for _ in range(3)))
            for name in ("down", "up")
            if name in order
        }
        return Probed(rtt_ns.reshape(-1, 6), streams.get("down"), streams.get("up"))

    @contextmanager
    def connection(self, window_bytes: int = 0) -> Iterator[tuple[socket.socket, socket.socket]]:
        """Open a TCP connection through the link: the satellite's socket and the ground's.

        Args:
            window_bytes: receive buffer; 0 leaves it to the kernel.
        """
        with ExitStack() as stack:
            listener = stack.enter_context(self.ground.call(lambda: socket.create_server((GROUND, TCP_PORT))))
            if window_bytes:
                listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, window_bytes)
            listener.settimeout(10)
            sender = stack.enter_context(self.satellite.call(socket.socket))
            sender.settimeout(10)
            sender.connect((GROUND, TCP_PORT))
            receiver = stack.enter_context(listener.accept()[0])
            receiver.settimeout(TICK_S)
            stamp_arrivals(receiver)
            for end in (sender, receiver):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Reset at the end: what is still queued shall not be sent on.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            yield sender, receiver

    def pump(self, for_s: float, window_bytes: int) -> npt.NDArray[np.float64]:
        """Send by TCP as fast as it goes; float64[n, 2]: seconds, bytes received in order by then.

        The seconds are the kernel's, of the arrival of the last byte that was received (SO_TIMESTAMPNS).
        What waits before the link is the whole window, and half as much in the sender's buffer: see `_fill`.
        No program copies the bytes, neither here (MSG_TRUNC) nor there (sendfile): a guest's processor has
        more to do than it can when its machine is busy.
        """
        received, total = [], 0
        buffer = bytearray(CHUNK_BYTES)
        with self.connection(window_bytes) as (sender, receiver):
            _fill(sender, window_bytes)
            _wake_seldom(sender, receiver, window_bytes)
            stop = threading.Event()
            pumping = threading.Thread(target=_send_until, args=(sender, stop), daemon=True)
            pumping.start()
            begin_s = next_tick_s = time.monotonic()
            begin_wall_s = time.clock_gettime(time.CLOCK_REALTIME)
            _in_real_time(True)
            try:
                while (now_s := time.monotonic()) < begin_s + for_s:
                    if now_s >= next_tick_s:
                        next_tick_s = now_s + TICK_S
                        self._tick()
                    with suppress(BlockingIOError):  # nothing for TICK_S
                        size_bytes, ancillary, _, _ = receiver.recvmsg_into([buffer], 64, socket.MSG_TRUNC)
                        total += size_bytes
                        received.append((arrival_ns(ancillary) / 1e9 - begin_wall_s, total))
            finally:
                _in_real_time(False)
                stop.set()
                receiver.close()
                with suppress(OSError):  # reset by the other end already
                    sender.shutdown(socket.SHUT_RDWR)
                pumping.join()
        return np.array(received, dtype=np.float64).reshape(-1, 2)

    def _start_prober(self) -> subprocess.Popen[bytes]:
        hosts = (self.satellite, self.ground)
        with ExitStack() as stack:
            ends = [stack.enter_context(host.call(open_socket)) for host in hosts]
            taps = [
                stack.enter_context(host.call(lambda name=name: open_probe_tap(name, PORT)))  # type: ignore[misc]
                for host, name in zip(hosts, self.interfaces, strict=True)
            ]
            fds, tap_fds = ([str(end.fileno()) for end in sockets] for sockets in (ends, taps))
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "testbed.verify.probe"),
                    *("--fds", *fds, "--taps", *tap_fds, "--addresses", SATELLITE, GROUND),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[int(fd) for fd in fds + tap_fds],
                start_new_session=True,  # Ctrl-C is for this process, which ends the prober
                env=_environment(),
            )
        self._closing.callback(_end, process)
        return process


class LinkUnderTest(MeasuredLink):
    """A link in a network of its own: anonymous namespaces, a prober and a shaper, which all end with it.

    Args:
        shaper: "nfqueue", "netem", "auto", or a function that makes one, as for `Sky`.
        tick: as for `MeasuredLink`.
    """

    sky: Sky

    def __init__(self, shaper: str | Callable[[str], Shaper], tick: Tick = lambda: None) -> None:
        with ExitStack() as building:
            self._network = building.enter_context(EmulatedNetwork(shaper))
            self.sky = self._network.sky
            satellite, ground = (self._network.add_namespace(end) for end in ("satellite", "ground"))
            for host in (satellite, ground):
                _silence(host)
            self._link = self._network.join(
                self.name, satellite, ground, interface=INTERFACE, addresses=(SATELLITE, GROUND)
            )
            # By iptables ARP cannot be queued: it passes at once while the link is up.
            self.shapes_arp = getattr(self.sky.shaper, "hook", "nft") == "nft"
            super().__init__(satellite, ground, tick)
            building.pop_all()

    def set(self, down: LinkState, up: LinkState) -> None:
        """Write both directions and read them back."""
        self._link.set(down, up)

    def check(self) -> None:
        """Raise ShaperDiedError if the link's shaper has ended."""
        self.sky.check()

    def close(self) -> None:
        """End the prober, the link, its sky and its hosts."""
        try:
            self._network.close()
        finally:
            super().close()


def _silence(host: NetworkNamespace) -> None:
    """Disable IPv6, whose chatter at the beginning of a contact would disturb a slow link's probes."""
    for scope in ("all", "default"):
        if host.read_sysctl(f"ipv6/conf/{scope}/disable_ipv6") is not None:
            host.write_sysctl(f"ipv6/conf/{scope}/disable_ipv6", "1")


def _fill(sender: socket.socket, window_bytes: int) -> None:
    """Let a whole window wait before the link, so that the link is measured and not who fills it.

    CUBIC leaves slow start when the queue begins to grow (HyStart, RFC 9406). The queue is then so short that
    the link idles whenever a guest's one processor does something else for a moment. Reno doubles until the
    window is full, and the kernel sends on from the sender's buffer (its limit counts twice its contents)
    while no program runs. TCP_NODELAY would fill the rest of the window with frames that are not full.
    """
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    if window_bytes:
        sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 3 * window_bytes // 2)


def _wake_seldom(sender: socket.socket, receiver: socket.socket, window_bytes: int) -> None:
    """Let the kernel wait for TICK_S and send whole chunks: with Python's timeouts each call would be two.

    The receiver of a fast flow waits for a 64th of its window: on a slow machine, waking up for each frame
    takes more time than carrying it, and would be measured instead of the link.
    """
    for end in (sender, receiver):
        end.settimeout(None)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@qq", 0, round(TICK_S * 1e6)))
    if window_bytes >= FAST_WINDOW_BYTES:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, window_bytes // 64)


def _in_real_time(wanted: bool) -> None:
    """Give this thread real-time priority, or take it away.

    In a guest whose processor a fast link keeps busy, an ordinary thread would leave the whole window unread.
    """
    policy = os.SCHED_FIFO if wanted else os.SCHED_OTHER
    with suppress(OSError):  # not allowed everywhere
        os.sched_setscheduler(0, policy, os.sched_param(READER_PRIORITY if wanted else 0))


def _send_until(sender: socket.socket, stop: threading.Event) -> None:
    with (
        suppress(OSError),  # the other end resets the connection to end this
        os.fdopen(os.memfd_create("zeros"), "wb") as zeros,
    ):
        zeros.truncate(FILE_BYTES)
        while not stop.is_set():
            sent_bytes = 0
            while sent_bytes < FILE_BYTES:
                sent_bytes += os.sendfile(
                    sender.fileno(), zeros.fileno(), sent_bytes, FILE_BYTES - sent_bytes
                )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _environment() -> dict[str, str]:
    """Return our environment, with which the child finds this package and no file hides a module."""
    package_parent = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([package_parent, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
