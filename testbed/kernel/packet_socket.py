"""A packet socket at an interface of a host: what the kernel sends and receives there, with its own stamps.

The kernel stamps a frame that leaves when it hands the frame to the interface, and one that arrives when it
receives it (CLOCK_REALTIME both, SO_TIMESTAMPNS): no program has to wake up for either.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from testbed.errors import InputError
from testbed.kernel.namespace import NetworkNamespace
from testbed.verify.probe import arrival_ns

if TYPE_CHECKING:
    from typing_extensions import Self

ETH_P_ALL = 3
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35
BUFFER_BYTES = 1 << 24
LONGEST_BYTES = 65536
WAKE_S = 0.1
ETHERNET = 1  # pcap's number of the link type


def packet_socket(space: NetworkNamespace, interface: str) -> socket.socket:
    """All frames of one interface of a host, stamped."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        made.bind((interface, ETH_P_ALL))
        return made

    return space.call(make)


class Recording:
    """Writes the frames of one interface to a pcap file while it is entered.

    Args:
        path: the file; written beside its name, and moved there at the end.

    Raises InputError if it cannot be written.
    """

    def __init__(self, space: NetworkNamespace, interface: str, path: Path) -> None:
        self._path, self._partial = path, path.with_name(path.name + ".partial")
        self._stopping = threading.Event()
        self._write, self._close = _pcap_writer(self._partial)
        self._tap = packet_socket(space, interface)
        self._tap.settimeout(WAKE_S)
        self._thread = threading.Thread(target=self._record, name=f"recording {path.name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._tap.close()
        self._close()
        if error is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)

    def _record(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                while True:
                    octets, ancillary, _, _ = self._tap.recvmsg(LONGEST_BYTES, 64)
                    self._write(octets, arrival_ns(ancillary))


def _pcap_writer(path: Path) -> tuple[Callable[[bytes, int], None], Callable[[], None]]:
    """scapy's writer of raw frames with nanoseconds: (write, close)."""
    from scapy.utils import RawPcapWriter  # a second to import

    try:
        writer: Any = RawPcapWriter(str(path), linktype=ETHERNET, nano=True)
    except OSError as error:
        raise InputError(f"capture {path}: cannot be written: {error.strerror}") from error
    writer.write_header(None)

    def write(octets: bytes, at_ns: int) -> None:
        writer.write_packet(octets, sec=at_ns // 10**9, usec=at_ns % 10**9)

    return write, writer.close
