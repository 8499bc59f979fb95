"""A ground program whose model is behind a server, with a management plane to listen to."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from testbed.mqtt.broker import Broker, UnixListener
from testbed.network.programs import spawn
from tests.support.nodes.ends import Recorder


class AskingGround(Recorder):
    """A ground program that asks the server at `url`, and what it reports.

    Args:
        folder: where the brokers' sockets are, and the inbox will be.
        url: the server, without its path.
        options: further fields of its configuration.
    """

    def __init__(self, folder: Path, url: str, **options: object) -> None:
        super().__init__()
        self.inbox = folder / "inbox"
        plane = folder / "management.sock"
        self._management = Broker(folder, [UnixListener(plane)], name="management", popen=spawn)
        self._management.start()
        self._client = Client(CallbackAPIVersion.VERSION2, transport="unix")
        self._client.on_message = lambda *a: self.events.append(json.loads(a[2].payload))
        self._client.connect(str(plane))
        self._client.subscribe("spaceverse/event/+", 1)
        self._client.loop_start()
        config = {
            "name": "Ground",
            "management": {"unix_socket": str(plane)},
            "broker": {"unix_socket": str(folder / "broker.sock")},
            "model": f"openai:{url}/v1",
            "inbox": str(self.inbox),
            **options,
        }
        path = folder / "ground.json"
        path.write_text(json.dumps(config))
        self.process = spawn([sys.executable, "-m", "nodes.ground", "--config", str(path)])

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._client.disconnect()
        self._client.loop_stop()
        self._management.stop()
