"""Many datagrams by one system call: recvmmsg(2), for which Python has no name of its own."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from typing import ClassVar


class _Piece(ctypes.Structure):
    """struct iovec."""

    _fields_: ClassVar = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_: ClassVar = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("pieces", ctypes.POINTER(_Piece)),
        ("piece_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Message(ctypes.Structure):
    """struct mmsghdr: a header, and how many bytes came."""

    _fields_: ClassVar = [("header", _Header), ("length", ctypes.c_uint)]


class DatagramReader:
    """Reads datagrams into equal parts of a buffer.

    Args:
        source: a socket of datagrams that does not block.
        into: the buffer; it cannot be resized from here on.
        each_bytes: length of a part; a longer datagram is an error.
    """

    def __init__(self, source: socket.socket, into: bytearray, each_bytes: int) -> None:
        self._source, self._each_bytes = source, each_bytes
        self._count = len(into) // each_bytes
        self._pinned = (ctypes.c_char * len(into)).from_buffer(into)
        begin = ctypes.addressof(self._pinned)
        self._pieces = (_Piece * self._count)(
            *(_Piece(begin + n * each_bytes, each_bytes) for n in range(self._count))
        )
        self._messages = (_Message * self._count)()
        self._each = [(message, message.header) for message in self._messages]
        for n, (_, header) in enumerate(self._each):
            header.pieces, header.piece_count = ctypes.pointer(self._pieces[n]), 1
        self._receive = ctypes.CDLL(None, use_errno=True).recvmmsg

    def read(self) -> list[tuple[int, int]]:
        """Return where each received datagram begins and ends in the buffer; at least one.

        Raises BlockingIOError where none has, and OSError.
        """
        got = self._receive(self._source.fileno(), self._messages, self._count, socket.MSG_DONTWAIT, None)
        if got < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        found = []
        for n, (message, header) in enumerate(self._each[:got]):
            begin = n * self._each_bytes
            if header.flags & socket.MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, f"a datagram is longer than {self._each_bytes} bytes")
            found.append((begin, begin + message.length))
        return found
