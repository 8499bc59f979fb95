"""A paho client for a process that may have thousands of open files."""

from __future__ import annotations

import selectors
from contextlib import suppress

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTErrorCode


class PolledClient(mqtt.Client):
    """A client whose thread waits by poll(2).

    paho's own thread waits by select(2), which refuses descriptors from 1,024 on: such a client would lose
    each of its connections as soon as it has it. Without TLS.
    """

    def _loop(self, timeout: float = 1.0) -> MQTTErrorCode:
        """Wait for something to read or to write, and do it; paho's threads call this again and again."""
        opened, woken = self._sock, self._sockpairR
        if opened is None or woken is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.want_write() else 0)
        with selectors.PollSelector() as selector:
            try:
                selector.register(opened, wanted)
            except ValueError:  # another thread has closed it
                return MQTTErrorCode.MQTT_ERR_CONN_LOST
            selector.register(woken, selectors.EVENT_READ)
            ready = {key.fileobj: events for key, events in selector.select(timeout)}
        outcome = MQTTErrorCode.MQTT_ERR_SUCCESS
        if ready.get(opened, 0) & selectors.EVENT_READ:
            outcome = self.loop_read()
        if woken in ready:  # another thread has queued a message
            with suppress(BlockingIOError):
                woken.recv(10_000)
        writable = woken in ready or ready.get(opened, 0) & selectors.EVENT_WRITE
        if writable and outcome == MQTTErrorCode.MQTT_ERR_SUCCESS and self._sock is not None:
            outcome = self.loop_write()
        if outcome != MQTTErrorCode.MQTT_ERR_SUCCESS or self._sock is None:
            return outcome
        return self.loop_misc()
