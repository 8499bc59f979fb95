"""Satellite end of a transfer as a process, until delivery: `satellite_end.py OUTBOX PORT IMAGE`."""

import sys
import threading
from pathlib import Path

from nodes.contract.config import Station
from nodes.contract.events import Delivered, Event
from nodes.runtime.contact import CarrierWatch
from nodes.transfer.downlink import Downlink
from nodes.transfer.flow_control import chunk_size_bytes
from nodes.transfer.outbox import Outbox

RATE_BIT_S = 1e9
delivered = threading.Event()


def report(event: Event, *, monotonic_s: float | None = None) -> None:
    if isinstance(event, Delivered):
        delivered.set()


outbox = Outbox(Path(sys.argv[1]), "sat", chunk_size_bytes(RATE_BIT_S))
outbox.add_image("large", Path(sys.argv[3]), {"prompt": "what?"})
station = Station(name="Ground", host="127.0.0.1", port=int(sys.argv[2]))
downlink = Downlink(
    satellite="Sat",
    stations={station: CarrierWatch(None)},
    outbox=outbox,
    rate_bit_s=RATE_BIT_S,
    report=report,
)
downlink.start()
while not delivered.wait(0.1):
    if downlink.failure is not None:
        raise downlink.failure
downlink.stop()
downlink.join(5)
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(peak.split()[1])
