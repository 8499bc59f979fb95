"""Writes the frames of one interface to a pcap file, with the kernel's own timestamps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

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
        path: the file; it is written under another name and renamed at the end.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, space: NetworkNamespace, interface: str, path: Path) -> None:
        self._path, self._partial = path, path.with_name(path.name + ".partial")
        self._stopping = threading.Event()
        self._write, self._close = _pcap_writer(self._partial)
        self._tap = packet_socket(space, interface)
        self._tap.settimeout(WAKE_S)
        self._thread = threading.Thread(target=self._record, name=f"capture {path.name}", daemon=True)

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
                    octets, ancillary, _, _ = self._tap.recvmsg(LONGEST_BYTES, ANCILLARY_BYTES)
                    self._write(octets, arrival_ns(ancillary))


def _pcap_writer(path: Path) -> tuple[Callable[[bytes, int], None], Callable[[], None]]:
    """Return scapy's writer of raw frames with nanoseconds, as functions (write, close)."""
    from scapy.utils import RawPcapWriter  # a second to import

    try:
        writer: Any = RawPcapWriter(str(path), linktype=ETHERNET, nano=True)
    except OSError as error:
        raise InputError(f"capture {path}: cannot be written: {error.strerror}") from error
    writer.write_header(None)

    def write(octets: bytes, at_ns: int) -> None:
        writer.write_packet(octets, sec=at_ns // 10**9, usec=at_ns % 10**9)

    return write, writer.close
