"""Ground end of a transfer as a process without a model: `ground_end.py SOCKET INBOX [USER PASSWORD]`."""

import json
import sys
import threading
from pathlib import Path

from nodes.contract.config import BrokerAddress, MqttAccess
from nodes.contract.events import Event
from nodes.transfer.inbox import Inbox
from nodes.transfer.station import StationLink

lock = threading.Lock()


def report(event: Event, *, monotonic_s: float | None = None) -> None:
    with lock:
        line = {"event": event.event_name, "monotonic_s": monotonic_s, **event.fields()}
        print(json.dumps(line), flush=True)


access = MqttAccess(username=sys.argv[3], password=sys.argv[4]) if len(sys.argv) > 3 else None
StationLink(
    name="Ground",
    broker=BrokerAddress(unix_socket=Path(sys.argv[1]), access=access),
    inbox=Inbox(Path(sys.argv[2])),
    report=report,
    on_complete=lambda item: None,
).run()
