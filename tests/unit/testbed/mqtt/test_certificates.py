"""Certificates of a run: their names, lifetime and issuer."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509

from testbed.mqtt.certificates import (
    VALIDITY,
    Authority,
    Certificate,
    authority_pem,
    new_authority,
    read_authority,
)


def handshake(server: Certificate, trusted: Path, host: str) -> None:
    """Connect over TLS to `host`, trusting one authority only. Raises ssl.SSLError."""
    offers = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    offers.load_cert_chain(server.certificate, server.key)
    asks = ssl.create_default_context(cafile=str(trusted))
    near, far = socket.socketpair()

    def serve() -> None:
        with far:
            try:
                offers.wrap_socket(far, server_side=True).close()
            except OSError:
                return  # the client's side of the handshake is the one that counts

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with near, asks.wrap_socket(near, server_hostname=host):
            pass
    finally:
        thread.join()


@pytest.mark.parametrize("host", ["10.0.0.1", "fd00::1", "station.example"])
def test_a_certificate_is_valid_for_each_of_its_addresses_and_no_other(tmp_path: Path, host: str) -> None:
    authority = Authority(tmp_path / "tls")
    issued = authority.issue("g", ["10.0.0.1", "fd00::1", "station.example"])
    handshake(issued, authority.certificate, host)
    for stranger in ("10.0.0.2", "fd00::2", "other.example"):
        with pytest.raises(ssl.SSLCertVerificationError, match=r"[Ii][Pp] address|[Hh]ostname"):
            handshake(issued, authority.certificate, stranger)


def test_another_runs_authority_does_not_vouch_for_it(tmp_path: Path) -> None:
    issued = Authority(tmp_path / "one").issue("g", ["10.0.0.1"])
    other = Authority(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(issued, other.certificate, "10.0.0.1")


def test_it_expires_and_cannot_sign_and_its_key_is_private(tmp_path: Path) -> None:
    name = "station-" * 10
    issued = Authority(tmp_path / "tls").issue(name, ["10.0.0.1"])
    certificate = x509.load_pem_x509_certificate(issued.certificate.read_bytes())
    left = certificate.not_valid_after_utc - datetime.now(timezone.utc)
    assert VALIDITY - timedelta(minutes=5) < left <= VALIDITY
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert issued.key.stat().st_mode & 0o777 == 0o600
    assert issued.certificate.name == f"{name}.pem", "a long name is cut in the certificate only"


def test_an_authority_is_kept_as_text(tmp_path: Path) -> None:
    kept = authority_pem(new_authority("authority of a test"))
    again = Authority(tmp_path / "again", read_authority(kept))
    first = Authority(tmp_path / "first", read_authority(kept))
    handshake(again.issue("g", ["10.0.0.1"]), first.certificate, "10.0.0.1")
    with pytest.raises(ValueError):
        read_authority(b"something else")
