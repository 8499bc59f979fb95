"""paho-mqtt clients as this project uses them."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TypeVar

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from nodes.contract.config import BrokerAddress, MqttAccess

UNIX_PORT = 1  # paho requires a positive port, also for a Unix socket


AnyClient = TypeVar("AnyClient", bound=Client)


def make_client(client_id: str, broker: BrokerAddress, session: str | None = None) -> Client:
    """Return a client with a clean session.

    Args:
        client_id: MQTT client id, for brokers without accounts.
        broker: the broker, with this program's account.
        session: name of a second session of the same account; None for the first.

    Raises:
        OSError: the authority holds no certificate.
    """
    return make_client_of(Client, client_id, broker, session)


def make_client_of(
    kind: type[AnyClient], client_id: str, broker: BrokerAddress, session: str | None = None
) -> AnyClient:
    """Return a client of one class, as `make_client`."""
    client = kind(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=True,
        transport="unix" if broker.unix_socket is not None else "tcp",
    )
    access = broker.access
    identify(client, access if access is None or session is None else access.second(session))
    if broker.has_authority:
        client.tls_set_context(tls_context(broker.ca_file, broker.ca_pem))
    return client


def identify(client: Client, access: MqttAccess | None) -> None:
    """Set the account of a client."""
    if access is not None:
        client.username_pw_set(access.username, access.password)


def tls_context(ca_file: Path | None, ca_pem: str | None = None) -> ssl.SSLContext:
    """Return a TLS context that trusts this authority alone. Raises OSError for an unusable authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which verifies certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # both ends are this project's
    try:
        context.load_verify_locations(cafile=ca_file, cadata=ca_pem)
    except OSError as error:  # ssl.SSLError is one
        what = "ca_pem" if ca_file is None else f"ca_file {ca_file}"
        raise OSError(f"{what}: {error.strerror or error}") from error
    return context


def start(client: Client, broker: BrokerAddress, keepalive_s: int) -> None:
    """Start paho's thread: it connects, and reconnects within a second whenever the broker is back."""
    client.reconnect_delay_set(min_delay=1, max_delay=1)
    if broker.unix_socket is not None:
        client.connect_async(str(broker.unix_socket), UNIX_PORT, keepalive=keepalive_s)
    else:
        client.connect_async(str(broker.host), broker.port, keepalive=keepalive_s)
    client.loop_start()
