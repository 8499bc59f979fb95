"""What a node's TLS accepts: stations and runs prove their name by the given authority, over TLS 1.3."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
import trustme

from nodes.contract.config import BrokerAddress
from nodes.runtime.mqtt import make_client, tls_context

AUTHORITY = trustme.CA()
PEM = AUTHORITY.cert_pem.bytes().decode()


def handshake(
    issued: trustme.LeafCert, host: str, newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
) -> str | None:
    """The TLS version that a node and a server with this certificate agree on. Raises ssl.SSLError."""
    offers = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    offers.maximum_version = newest
    issued.configure_cert(offers)
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
        with near, tls_context(None, PEM).wrap_socket(near, server_hostname=host) as connection:
            return connection.version()
    finally:
        thread.join()


@pytest.mark.parametrize("host", ["10.0.0.1", "fd00::1", "desk.example"])
def test_the_right_certificate_is_accepted(host: str) -> None:
    assert handshake(AUTHORITY.issue_cert(host), host) == "TLSv1.3"


@pytest.mark.parametrize("host", ["10.0.0.1", "fd00::1", "desk.example"])
def test_a_certificate_for_another_name_is_refused(host: str) -> None:
    issued = AUTHORITY.issue_cert("10.0.0.2", "fd00::2", "other.example", common_name=host)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"[Ii][Pp] address|[Hh]ostname"):
        handshake(issued, host)


def test_a_certificate_of_another_authority_is_refused() -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        handshake(trustme.CA().issue_cert("10.0.0.1"), "10.0.0.1")


def test_an_older_version_of_tls_is_refused() -> None:
    with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|protocol version"):
        handshake(AUTHORITY.issue_cert("10.0.0.1"), "10.0.0.1", ssl.TLSVersion.TLSv1_2)


@pytest.mark.parametrize("authority", ["ca_pem", "ca_file"])
def test_a_client_with_an_authority_uses_tls(tmp_path: Path, authority: str) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(PEM)
    given = {"ca_pem": PEM} if authority == "ca_pem" else {"ca_file": path}
    client = make_client("a", BrokerAddress.model_validate({"host": "10.0.0.1", **given}))
    assert client._ssl and client._ssl_context is not None
    assert len(client._ssl_context.get_ca_certs()) == 1, "and trusts no other"
    assert not make_client("a", BrokerAddress(host="10.0.0.1"))._ssl


@pytest.mark.parametrize(
    "fields", [{"unix_socket": "/run/x", "ca_pem": PEM}, {"host": "a", "ca_pem": PEM, "ca_file": "/ca.pem"}]
)
def test_an_address_has_one_authority_and_a_unix_socket_none(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="ca_file"):
        BrokerAddress.model_validate(fields)
