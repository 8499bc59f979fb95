"""Tasks for satellites, as the run hands them to a ground program."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from paho.mqtt.client import Client, MQTTMessage

from nodes.contract import topics
from nodes.contract.messages import Order, read_orders


class ToldOrders:
    """Passes on all tasks that were handed over so far: retained, from the run alone.

    Args:
        client: of the management plane.
        slug: this node's name in topics.
    """

    def __init__(self, client: Client, slug: str) -> None:
        self._client = client
        self._topic = topics.orders(slug)
        self._take: Callable[[list[Order]], None] | None = None

    def watch(self, take: Callable[[list[Order]], None]) -> None:
        """Set what takes them, at each announcement; to be called before the management plane is opened."""
        self._take = take
        self._client.message_callback_add(self._topic, self._on_message)

    def connected(self) -> None:
        """Subscribe; to be called after each connection."""
        if self._take is not None:
            self._client.subscribe(self._topic, qos=1)

    def _on_message(self, _: Client, __: object, message: MQTTMessage) -> None:
        if self._take is not None:
            with contextlib.suppress(
                ValueError
            ):  # only the run may write there; its next message will be whole
                self._take(read_orders(message.payload))
