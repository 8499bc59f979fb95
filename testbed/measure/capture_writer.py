"""Writes the frames of one interface to a pcap file, with the kernel's own timestamps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nodes.contract.files import replacing
from testbed.errors import InputError
from testbed.kernel.namespace import NetworkNamespace
from testbed.kernel.packet_socket import packet_socket
from testbed.kernel.timestamps import ANCILLARY_BYTES, arrival_ns

if TYPE_CHECKING:
    from typing_extensions import Self

LONGEST_BYTES = 65536
WAKE_S = 0.1
ETHERNET = 1  # the link type's number in pcap files


class CaptureWriter:
    """Context manager that writes the frames of one interface to a pcap file.

    Args:
        space: the host's network namespace.
        interface: the interface's name there.
        path: the file; it appears when the block ends without an error.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, space: NetworkNamespace, interface: str, path: Path) -> None:
        self._space, self._interface, self._path = space, interface, path
        self._stopping = threading.Event()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self._path))
            self._write, close = _pcap_writer(temporary, self._path)
            stack.callback(close)
            self._tap = stack.enter_context(packet_socket(self._space, self._interface))
            self._tap.settimeout(WAKE_S)
            name = f"capture {self._path.name}"
            self._thread = threading.Thread(target=self._record, name=name, daemon=True)
            self._thread.start()
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._open.__exit__(kind, error, trace)

    def _record(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                while True:
                    octets, ancillary, _, _ = self._tap.recvmsg(LONGEST_BYTES, ANCILLARY_BYTES)
                    self._write(octets, arrival_ns(ancillary))


def _pcap_writer(temporary: Path, path: Path) -> tuple[Callable[[bytes, int], None], Callable[[], None]]:
    """Return scapy's writer of raw frames with nanoseconds, as functions (write, close)."""
    from scapy.utils import RawPcapWriter  # a second to import

    try:
        writer: Any = RawPcapWriter(str(temporary), linktype=ETHERNET, nano=True)
    except OSError as error:
        raise InputError(f"capture {path}: cannot be written: {error.strerror}") from error
    writer.write_header(None)

    def write(octets: bytes, at_ns: int) -> None:
        writer.write_packet(octets, sec=at_ns // 10**9, usec=at_ns % 10**9)

    return write, writer.close
