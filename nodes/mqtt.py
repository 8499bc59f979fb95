"""paho-mqtt clients as this project uses them."""

from __future__ import annotations

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from nodes.config import BrokerAddress

UNIX_PORT = 1  # paho wants a positive port, also where there is none


def make_client(client_id: str, broker: BrokerAddress) -> Client:
    """A client with a clean session, for this kind of address."""
    return Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=True,
        transport="unix" if broker.unix_socket is not None else "tcp",
    )


def start(client: Client, broker: BrokerAddress, keepalive_s: int) -> None:
    """Run paho's thread: it connects, and again within a second whenever the broker comes back."""
    client.reconnect_delay_set(min_delay=1, max_delay=1)
    if broker.unix_socket is not None:
        client.connect_async(str(broker.unix_socket), UNIX_PORT, keepalive=keepalive_s)
    else:
        client.connect_async(str(broker.host), broker.port, keepalive=keepalive_s)
    client.loop_start()
