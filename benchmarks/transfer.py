"""Compare the transfer protocol with two ways of plain MQTT on the same played links, in one run.

    sudo python benchmarks/transfer.py                            every link; about 12 minutes
    sudo python benchmarks/transfer.py --link 20M/5ms             one link
    sudo python benchmarks/transfer.py --repeat 3                 the median of three by goodput
    sudo python benchmarks/transfer.py --link 2M/300ms --full     with all 50 MB, 200 s per way

Each way uses a new pair of hosts, the same trace and the same number of bytes. `iperf3` sends them over one
TCP connection with the kernel's default congestion control. `chunks` is nodes.transfer. `one message` is a
single MQTT publication of QoS 1 by paho. `bridge` is a mosquitto on the satellite that queues messages and
bridges them to the station's broker; it receives messages of 256 KiB with QoS 1. All ways except iperf3 also
send a heartbeat every 0.5 s.

Time counts from AOS to the last byte at the ground. Goodput is payload divided by the time of sending, which
starts with the first byte for iperf3 and `chunks`, and with AOS for the two others, whose first byte is
unknown. Delays are one-way.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from nodes.contract.config import BrokerAddress, Station
from nodes.contract.events import Event, SendFinished
from nodes.runtime.contact import CarrierWatch
from nodes.transfer.downlink import Downlink
from nodes.transfer.flow_control import chunk_size_bytes
from nodes.transfer.inbox import Inbox
from nodes.transfer.outbox import Outbox
from nodes.transfer.station import StationLink
from testbed.mqtt.broker import Broker, TcpListener, UnixListener
from testbed.network.clock import RealClock
from testbed.network.emulation import EmulatedNetwork
from testbed.network.programs import spawn
from traces.trace import Trace, TraceHeader

SATELLITE, GROUND, INTERFACE = "10.66.0.1", "10.66.0.2", "link0"
FULL_BYTES = 50_000_000
ABOUT_S = 20.0
AOS_S = 1.0
HEARTBEAT_S = 0.5
BRIDGED_BYTES = 256 * 1024
TCP_SHARE = 1448 / 1514  # payload of a full Ethernet frame of TCP with time stamps
BOUND_SHARE, BOUND_FIRST_BYTE_S, BOUND_HEARTBEAT_S = 0.95, 0.2, 0.3
WAYS = ("iperf3", "chunks", "one message", "bridge")


@dataclass(frozen=True)
class PlayedLink:
    """A link of constant rate and delay, optionally with three gaps in its contact."""

    rate_bit_s: float
    delay_s: float
    gaps: bool = False

    @property
    def name(self) -> str:
        base = f"{self.rate_bit_s / 1e6:g}M/{self.delay_s * 1e3:g}ms"
        return f"{base}/gaps" if self.gaps else base

    def size_bytes(self, full: bool) -> int:
        """Return the number of bytes to send: 50 MB, or on a slow link those of about 20 s."""
        return FULL_BYTES if full else min(FULL_BYTES, int(self.rate_bit_s / 8 * ABOUT_S))

    def patience_s(self, size_bytes: int) -> float:
        """Return the time limit of one way: three times the time at the link's rate, plus 30 s."""
        return 30.0 + 3 * size_bytes * 8 / self.rate_bit_s

    def trace(self, size_bytes: int) -> Trace:
        """Return a trace with contact from AOS_S on, and three gaps of 3 s if the link has gaps."""
        quarter_s = size_bytes * 8 / self.rate_bit_s / 4
        edges = [(0.0, False), (AOS_S, True)]
        if self.gaps:
            for number in range(3):
                gap_s = AOS_S + (number + 1) * quarter_s + number * 3.0
                edges += [(gap_s, False), (gap_s + 3.0, True)]
        time_s = np.array([t for t, _ in edges])
        up = np.array([u for _, u in edges])
        rate, delay = np.where(up, self.rate_bit_s, 0.0), np.where(up, self.delay_s, 0.0)
        none = np.zeros_like(time_s)
        header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "benchmarks/transfer.py")
        end_s = AOS_S + self.patience_s(size_bytes) + 30
        return Trace(header, time_s, up, up, rate, rate, delay, delay, none, none, end_s=end_s)


LINKS = [PlayedLink(r * 1e6, d / 1e3) for r in (2, 20, 100) for d in (5, 300)] + [
    PlayedLink(20e6, 0.03, True)
]


@dataclass
class Outcome:
    """Results of one way on one link; values are None if nothing arrived."""

    link: str
    way: str
    size_bytes: int
    delivered: bool
    time_s: float | None = None
    goodput_bit_s: float | None = None
    share_of_iperf3: float | None = None
    aos_to_first_byte_s: float | None = None
    again_bytes: int | None = None
    resent_bytes: int | None = None
    largest_window_bytes: int | None = None
    heartbeats: int = 0
    heartbeat_median_s: float | None = None
    heartbeat_worst_s: float | None = None


class Ends:
    """Two hosts, the played link between them, and the processes in the hosts."""

    def __init__(self, stack: ExitStack, link: PlayedLink, size_bytes: int) -> None:
        self.network = network = stack.enter_context(EmulatedNetwork())
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="transfer-")))
        self.satellite, self.ground = network.add_host("s"), network.add_host("g")
        addresses = (f"{SATELLITE}/24", f"{GROUND}/24")
        self.played = network.add_link("s", "g", interface=INTERFACE, addresses=addresses)
        network.start()
        self.stack, self.link, self.size_bytes = stack, link, size_bytes
        self.image = self.folder / "image"
        self.image.write_bytes(os.urandom(size_bytes))
        self.messages: list[dict[str, Any]] = []
        self._changed = threading.Condition()

    def start_broker(self, config: list[str], host: Any, name: str) -> None:
        """Start the mosquitto of a baseline, which accepts messages of any size."""
        path = self.folder / f"{name}.conf"
        common = ["allow_anonymous true", "persistence false", "user root", "set_tcp_nodelay true"]
        path.write_text("\n".join([*config, *common, "max_queued_messages 100000"]) + "\n")
        log = self.stack.enter_context((self.folder / f"{name}.log").open("wb"))
        process = spawn(["mosquitto", "-c", str(path)], netns_pid=host.pid, stdout=log, stderr=log)
        self.stack.callback(_end, process)
        time.sleep(0.3)

    def start_end(self, role: str, host: Any) -> subprocess.Popen[bytes]:
        """Start this file in one of the hosts; its output is collected in `messages`."""
        command = [sys.executable, __file__, "--role", role, "--folder", str(self.folder)]
        command += ["--rate", str(self.link.rate_bit_s)]
        process = spawn(command, netns_pid=host.pid, stdout=subprocess.PIPE)
        self.stack.callback(_end, process)
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        self.wait_for(lambda m: m["event"] == "ready" and m["role"] == role, 30)
        return process

    def play(self) -> None:
        """Start the trace and set `aos_s` (CLOCK_MONOTONIC)."""
        start_s = time.monotonic() + 0.2
        self.aos_s = start_s + AOS_S
        self.stack.callback(self.network.stop)
        self.network.play({self.played.name: self.link.trace(self.size_bytes)}, RealClock(start_s))

    def wait_for(self, matches: Callable[[dict[str, Any]], bool], within_s: float) -> dict[str, Any] | None:
        """Return the first message for which `matches` is true, or None after `within_s`."""
        until_s = time.monotonic() + within_s
        with self._changed:
            while True:
                message = next((m for m in self.messages if matches(m)), None)
                left_s = until_s - time.monotonic()
                if message is not None or left_s <= 0:
                    return message
                self._changed.wait(min(left_s, 0.5))

    def sent_bytes(self) -> int:
        """Return the bytes that left the satellite's interface, as Ethernet frames."""
        statistics_json = self.satellite.run(["ip", "-j", "-s", "link", "show", INTERFACE]).stdout
        return int(json.loads(statistics_json)[0]["stats64"]["tx"]["bytes"])

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._changed:
                self.messages.append(json.loads(line))
                self._changed.notify_all()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_iperf3(ends: Ends) -> Outcome:
    """Send the bytes over one TCP connection; gaps do not break it, so they show TCP's back-off."""
    server = spawn(["iperf3", "-s", "-1", "--forceflush"], netns_pid=ends.ground.pid, stdout=subprocess.PIPE)
    ends.stack.callback(_end, server)
    assert server.stdout is not None
    while b"listening" not in server.stdout.readline():
        pass
    ends.play()
    time.sleep(max(0.0, ends.aos_s + 0.2 - time.monotonic()))
    patience_s = ends.link.patience_s(ends.size_bytes)
    command = ["timeout", str(int(patience_s)), "iperf3", "-c", GROUND, "-n", str(ends.size_bytes), "-J"]
    client = spawn(command, netns_pid=ends.satellite.pid, stdout=subprocess.PIPE)
    ends.stack.callback(_end, client)
    text = client.communicate()[0]
    outcome = Outcome(ends.link.name, "iperf3", ends.size_bytes, client.returncode == 0)
    if outcome.delivered:
        total = json.loads(text)["end"]["sum_received"]
        outcome.time_s, outcome.goodput_bit_s = total["seconds"], total["bits_per_second"]
    return outcome


def run_chunks(ends: Ends) -> Outcome:
    """Send the image by nodes.transfer, with both ends as in the programs, over a run's broker."""
    listeners: list[TcpListener | UnixListener] = [
        TcpListener(GROUND),
        UnixListener(ends.folder / "socket"),
    ]
    popen = partial(spawn, netns_pid=ends.ground.pid)
    ends.stack.enter_context(Broker(ends.folder / "broker", listeners, popen=popen))
    ends.start_end("chunks-ground", ends.ground)
    ends.start_end("chunks-satellite", ends.satellite)
    outcome = _arrival(ends, "chunks")
    if outcome.delivered:
        finished = ends.wait_for(lambda m: m["event"] == "send_finished", 5)
        assert finished is not None
        outcome.resent_bytes = finished["resent_chunks"] * chunk_size_bytes(ends.link.rate_bit_s)
        outcome.largest_window_bytes = finished["largest_window_bytes"]
    return outcome


def run_one_message(ends: Ends) -> Outcome:
    """Send the image as one MQTT message of QoS 1; paho keeps its session and repeats it after a cut."""
    ends.start_broker([f"listener 1883 {GROUND}"], ends.ground, "station")
    ends.start_end("plain-ground", ends.ground)
    ends.start_end("message-satellite", ends.satellite)
    return _arrival(ends, "one message")


def run_bridge(ends: Ends) -> Outcome:
    """Send the image in pieces to a mosquitto on the satellite, which bridges them to the station."""
    ends.start_broker([f"listener 1883 {GROUND}"], ends.ground, "station")
    bridge = [
        "listener 1883 127.0.0.1",
        "connection station",
        f"address {GROUND}:1883",
        "topic # out 1",
        "cleansession false",
        "restart_timeout 1",
        "keepalive_interval 15",
    ]
    ends.start_broker(bridge, ends.satellite, "satellite")
    ends.start_end("plain-ground", ends.ground)
    ends.start_end("bridge-satellite", ends.satellite)
    return _arrival(ends, "bridge")


def _arrival(ends: Ends, way: str) -> Outcome:
    before = ends.sent_bytes()
    ends.play()
    patience_s = AOS_S + ends.link.patience_s(ends.size_bytes)
    received = ends.wait_for(lambda m: m["event"] == "received" and m["sha256_ok"], patience_s)
    outcome = Outcome(ends.link.name, way, ends.size_bytes, received is not None)
    first = ends.wait_for(lambda m: m["event"] == "received_first", 0)
    if first is not None:
        outcome.aos_to_first_byte_s = first["monotonic_s"] - ends.aos_s
    time.sleep(2 * ends.link.delay_s + 0.3)  # the last acknowledgements
    outcome.again_bytes = max(0, int((ends.sent_bytes() - before) * TCP_SHARE) - ends.size_bytes)
    if received is not None:
        outcome.time_s = received["monotonic_s"] - ends.aos_s
        started = ends.wait_for(lambda m: m["event"] == "send_started", 0)
        begin_s = ends.aos_s if started is None else started["monotonic_s"]
        outcome.goodput_bit_s = ends.size_bytes * 8 / (received["monotonic_s"] - begin_s)
    until_s = received["monotonic_s"] if received is not None else float("inf")
    delays_s = [
        m["delay_s"]
        for m in ends.messages
        if m["event"] == "heartbeat" and ends.aos_s < m["monotonic_s"] - m["delay_s"] < until_s
    ]
    outcome.heartbeats = len(delays_s)
    if delays_s:
        outcome.heartbeat_median_s, outcome.heartbeat_worst_s = statistics.median(delays_s), max(delays_s)
    return outcome


# Programs that run in the hosts.


def tell(event: str, *, monotonic_s: float | None = None, **fields: object) -> None:
    """Print one line for the benchmark."""
    at_s = time.monotonic() if monotonic_s is None else monotonic_s
    line = json.dumps({"event": event, "monotonic_s": at_s, **fields}) + "\n"
    os.write(sys.stdout.fileno(), line.encode())


def tell_event(event: Event, *, monotonic_s: float | None = None) -> None:
    """Print one event of nodes.transfer for the benchmark."""
    tell(event.event_name, monotonic_s=monotonic_s, **event.fields())


def chunks_ground(folder: Path, _: float) -> None:
    """Run the ground end of nodes.transfer."""
    broker = BrokerAddress(unix_socket=folder / "socket")
    link = StationLink(
        name="G",
        broker=broker,
        inbox=Inbox(folder / "inbox"),
        report=tell_event,
        on_complete=lambda item: None,
    )
    link.start()
    tell("ready", role="chunks-ground")
    link.join()


def chunks_satellite(folder: Path, rate_bit_s: float) -> None:
    """Run the satellite end of nodes.transfer, with the image in its outbox."""
    outbox = Outbox(folder / "outbox", "s", chunk_size_bytes(rate_bit_s))
    outbox.add_image("image", folder / "image", {"prompt": "?"})

    def report(event: Event, *, monotonic_s: float | None = None) -> None:
        finished = isinstance(event, SendFinished)
        extra = {"largest_window_bytes": link.window.largest_bytes} if finished else {}
        tell(event.event_name, monotonic_s=monotonic_s, **event.fields(), **extra)

    link = Downlink(
        satellite="S",
        stations={Station(name="G", host=GROUND): CarrierWatch(INTERFACE)},
        outbox=outbox,
        rate_bit_s=rate_bit_s,
        report=report,
        heartbeat_s=HEARTBEAT_S,
    )
    link.start()
    tell("ready", role="chunks-satellite")
    link.join()


def plain_ground(folder: Path, _: float) -> None:
    """Receive plain MQTT: pieces with their number in front, and heartbeats."""
    image = (folder / "image").read_bytes()
    size_bytes, sha256 = len(image), hashlib.sha256(image).digest()
    del image
    pieces: dict[int, bytes] = {}

    def on_message(_: mqtt.Client, __: object, message: mqtt.MQTTMessage) -> None:
        at_s = time.monotonic()
        if message.topic == "heartbeat":
            delay_s = at_s - struct.unpack("d", message.payload)[0]
            tell("heartbeat", monotonic_s=at_s, delay_s=delay_s)
            return
        if not pieces:
            tell("received_first", monotonic_s=at_s)
        pieces.setdefault(struct.unpack_from("I", message.payload)[0], bytes(message.payload[4:]))
        if sum(map(len, pieces.values())) == size_bytes:
            whole = b"".join(pieces[number] for number in sorted(pieces))
            tell("received", monotonic_s=at_s, sha256_ok=hashlib.sha256(whole).digest() == sha256)

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="ground", clean_session=False)
    client.on_message = on_message
    client.connect(GROUND)
    client.subscribe([("image", 1), ("heartbeat", 0)])
    client.loop_start()
    tell("ready", role="plain-ground")
    signal.pause()


def message_satellite(folder: Path, _: float) -> None:
    """Publish one message of QoS 1 before the contact; paho sends it after connecting."""
    _publish(folder, GROUND, FULL_BYTES, "message-satellite")


def bridge_satellite(folder: Path, _: float) -> None:
    """Publish pieces with QoS 1 to the broker on board."""
    _publish(folder, "127.0.0.1", BRIDGED_BYTES, "bridge-satellite")


def _publish(folder: Path, broker: str, piece_bytes: int, role: str) -> None:
    image = (folder / "image").read_bytes()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=role, clean_session=False)
    client.reconnect_delay_set(min_delay=1, max_delay=1)
    client.connect_async(broker, keepalive=60)
    for number in range(-(-len(image) // piece_bytes)):
        piece = image[number * piece_bytes : (number + 1) * piece_bytes]
        client.publish("image", struct.pack("I", number) + piece, qos=1)
    client.loop_start()
    tell("ready", role=role)
    while True:
        time.sleep(HEARTBEAT_S)
        if client.is_connected():
            client.publish("heartbeat", struct.pack("d", time.monotonic()), qos=0)


ROLES: dict[str, Callable[[Path, float], None]] = {
    "chunks-ground": chunks_ground,
    "chunks-satellite": chunks_satellite,
    "plain-ground": plain_ground,
    "message-satellite": message_satellite,
    "bridge-satellite": bridge_satellite,
}
RUNS = dict(zip(WAYS, (run_iperf3, run_chunks, run_one_message, run_bridge), strict=True))


def measure(
    link: PlayedLink, ways: list[str], full: bool, repeats: int, advance: Callable[[str], None]
) -> list[Outcome]:
    """Return the outcomes of all ways on one link, run one after the other; of repeats the median each."""
    runs: dict[str, list[Outcome]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way in ways:
            advance(f"{link.name}: {way}")
            with ExitStack() as stack:
                runs[way].append(RUNS[way](Ends(stack, link, link.size_bytes(full))))
    outcomes = [
        sorted(found, key=lambda o: o.goodput_bit_s or 0.0)[len(found) // 2] for found in runs.values()
    ]
    iperf3 = next((o.goodput_bit_s for o in outcomes if o.way == "iperf3"), None)
    for outcome in outcomes:
        if iperf3 is not None and outcome.goodput_bit_s is not None:
            outcome.share_of_iperf3 = outcome.goodput_bit_s / iperf3
    return outcomes


def missed(outcomes: list[Outcome]) -> list[str]:
    """Return a description of each bound that the protocol missed."""
    problems = []
    links = {link.name: link for link in LINKS}
    for o in outcomes:
        if o.way != "chunks":
            continue
        link = links[o.link]
        first_byte_s = 4 * link.delay_s + BOUND_FIRST_BYTE_S  # two round trips
        if not o.delivered:
            problems.append(f"{o.link}: not delivered")
        if not link.gaps and o.share_of_iperf3 is not None and o.share_of_iperf3 < BOUND_SHARE:
            problems.append(f"{o.link}: {o.share_of_iperf3:.1%} of iperf3's goodput (>= {BOUND_SHARE:.0%})")
        if o.aos_to_first_byte_s is not None and o.aos_to_first_byte_s > first_byte_s:
            problems.append(
                f"{o.link}: AOS to first byte {o.aos_to_first_byte_s:.2f} s (<= {first_byte_s:.2f} s)"
            )
        wait_s = None if o.heartbeat_worst_s is None else o.heartbeat_worst_s - link.delay_s
        if link.rate_bit_s == 2e6 and wait_s is not None and wait_s > BOUND_HEARTBEAT_S:
            problems.append(f"{o.link}: a heartbeat waited {wait_s:.2f} s (<= {BOUND_HEARTBEAT_S} s)")
        window = 3 * (o.largest_window_bytes or 0)
        if link.gaps and o.resent_bytes is not None and o.resent_bytes > window:
            problems.append(f"{o.link}: {o.resent_bytes} bytes resent over three gaps (<= {window})")
    return problems


def table(outcomes: list[Outcome]) -> Table:
    """Return a table with a row per way and link."""
    result = Table(title=f"the same number of bytes on the same link; load {os.getloadavg()[0]:.1f}")
    headings = (
        "link",
        "way",
        "MB",
        "delivered",
        "time, s",
        "goodput, Mbit/s",
        "of iperf3",
        "AOS to 1st byte, s",
    )
    for heading in (*headings, "overhead, kB", "chunks resent, kB", "heartbeat median / worst, s"):
        result.add_column(heading, justify="left" if heading in headings[:2] else "right")
    for o in outcomes:
        beats = "-"
        if o.heartbeat_worst_s is not None:
            beats = f"{o.heartbeat_median_s:.2f} / {o.heartbeat_worst_s:.2f} ({o.heartbeats})"
        result.add_row(
            o.link,
            o.way,
            f"{o.size_bytes / 1e6:g}",
            "yes" if o.delivered else "NO",
            _number(o.time_s, 1, ".1f"),
            _number(o.goodput_bit_s, 1e6, ".2f"),
            _number(o.share_of_iperf3, 0.01, ".1f", " %"),
            _number(o.aos_to_first_byte_s, 1, ".2f"),
            _number(o.again_bytes, 1e3, ".0f"),
            _number(o.resent_bytes, 1e3, ".0f"),
            beats,
        )
    return result


def _number(value: float | None, unit: float, form: str, suffix: str = "") -> str:
    return "-" if value is None else f"{value / unit:{form}}{suffix}"


def main() -> int:
    """Measure and print; return 1 if a bound was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [link.name for link in LINKS]
    parser.add_argument("--link", action="append", choices=names, help="link; repeat it for several (all)")
    parser.add_argument("--way", action="append", choices=WAYS, help="way; repeat it for several (all)")
    full_mb = f"{FULL_BYTES / 1e6:g} MB"
    parser.add_argument("--full", action="store_true", help=f"send {full_mb} on slow links, too")
    parser.add_argument("--repeat", type=int, default=1, help="how often each way is run (1)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    for hidden in ("--role", "--folder", "--rate"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role:
        ROLES[arguments.role](Path(arguments.folder), float(arguments.rate))
        return 0
    if os.geteuid() != 0:
        print("root is required: sudo python benchmarks/transfer.py", file=sys.stderr)
        return 2
    links = [link for link in LINKS if not arguments.link or link.name in arguments.link]
    ways = [way for way in WAYS if not arguments.way or way in arguments.way]
    outcomes: list[Outcome] = []
    with shown_progress(len(links) * len(ways) * arguments.repeat) as advance:
        for link in links:
            outcomes += measure(link, ways, arguments.full, arguments.repeat, advance)
    problems = missed(outcomes)
    if arguments.json:
        print(json.dumps({"outcomes": [asdict(o) for o in outcomes], "missed": problems}, indent=2))
    else:
        console = Console(width=170)
        console.print(table(outcomes))
        console.print("bounds kept" if not problems else "bounds MISSED:\n  " + "\n  ".join(problems))
    return 1 if problems else 0


@contextmanager
def shown_progress(total: int) -> Iterator[Callable[[str], None]]:
    """Show a progress bar on stderr; call the yielded function before each part."""
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total)
        done = iter(range(total + 1))

        def advance(part: str) -> None:
            progress.update(task, description=part, completed=next(done))

        yield advance


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
