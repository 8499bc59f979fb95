"""A stranger at the address of the run: it passes on what it is told, and records it."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress

from testbed.mqtt.certificates import Certificate

BLOCK_BYTES = 65536


class Stranger:
    """A TCP server on loopback that forwards each connection to `upstream`; with a certificate it speaks TLS.

    Args:
        port: where it listens.
        upstream: port of the MQTT broker that it forwards to.
        certificate: what it shows; None for no TLS.
        newest: newest TLS version that it speaks.
        upstream_tls: whether it speaks TLS with `upstream`, like a man in the middle.

    Attributes:
        heard: all bytes that it was told, after decryption.
        calls: number of connections so far.
    """

    def __init__(
        self,
        port: int,
        upstream: int,
        certificate: Certificate | None = None,
        *,
        newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
        upstream_tls: bool = False,
    ) -> None:
        self.heard = bytearray()
        self.calls = 0
        self._upstream, self._upstream_tls = upstream, upstream_tls
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.maximum_version = newest
            self._context.load_cert_chain(certificate.certificate, certificate.key)
        self._open: list[socket.socket] = []
        self._door = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the address."""
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._thread.join()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _listen(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            self.calls += 1
            self._open.append(near)
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with suppress(OSError):
            if self._context is not None:
                near = self._context.wrap_socket(near, server_side=True)
                self._open.append(near)
            far = socket.create_connection(("127.0.0.1", self._upstream), 5)
            far.settimeout(None)
            if self._upstream_tls:
                trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                trusting.check_hostname = False
                trusting.verify_mode = ssl.CERT_NONE
                far = trusting.wrap_socket(far)
            self._open.append(far)
            threading.Thread(target=self._pass_on, args=(far, near, None), daemon=True).start()
            self._pass_on(near, far, self.heard)

    def _pass_on(self, source: socket.socket, target: socket.socket, record: bytearray | None) -> None:
        with suppress(OSError):
            while block := source.recv(BLOCK_BYTES):
                if record is not None:
                    record += block
                target.sendall(block)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
