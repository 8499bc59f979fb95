"""A run of real hosts, link, brokers and programs, with faults on request."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import random
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from PIL import Image

from nodes.clocks.timescale import Timescale
from nodes.contract.events import Dropped, Expired, FrameRefused, SendRefused
from nodes.models import COMPACT, REGULAR
from testbed.mqtt.accounts import Account
from testbed.mqtt.broker import Broker, TcpListener, UnixListener
from testbed.mqtt.broker_watch import BrokerWatch
from testbed.mqtt.management import ManagementPlane
from testbed.network.clock import RealClock
from testbed.network.emulation import EmulatedNetwork
from testbed.network.link_state import DOWN_STATE
from testbed.network.player import Player
from testbed.network.programs import Program, spawn
from testbed.run.folder import RunFolder
from testbed.run.plan import MQTT_PORT, RunPlan
from testbed.scenario.model import Frame, GroundStation, Link, Satellite, Scenario
from tests.support.waiting import wait_for
from traces.trace_file import read_trace

TRACE = """# spaceverse-trace 2
# satellite: S
# station: G
# start_utc: 2018-01-20T00:00:00Z
# end_s: 100000.0
# made_by: a test
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
0.0,1,{rate},500000.0,0.008,0.008,0.0,0.0
"""
DISK_BYTES = 96 << 20
SIDE_PX = 400
CAPTURED_PAYLOADS = 300
WAIT_S = 240.0
LOST = (
    FrameRefused,
    SendRefused,
    Dropped,
    Expired,
)  # a frame that does not arrive ends with one of these


def noise_frames(folder: Path, count: int, random_state: int, side_px: int = SIDE_PX) -> list[Frame]:
    """Return incompressible images, of about 200 kB each at 400 pixels a side."""
    drawn = np.random.default_rng(random_state)
    frames = []
    for number in range(count):
        path = folder / f"n{number:03}.jpg"
        pixels = drawn.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, quality=95)
        frames.append(Frame(frame=path.stem, image=path, prompt="is there a dam?", truth="no", capture_s=0.0))
    return frames


class FaultyRun:
    """One satellite that sends all images to one station; every fault is a method.

    Args:
        folder: folder of all files.
        count: number of images.
        rate_bit_s: rate of the link.
        seed: seed of the images and of the faults' random choices.
    """

    def __init__(self, folder: Path, count: int, rate_bit_s: float, seed: int) -> None:
        self._stack = ExitStack()
        self._random = random.Random(seed)  # noqa: S311 - drawn faults, not secrets
        trace_path = folder / "pass.csv"
        trace_path.write_text(TRACE.format(rate=rate_bit_s))
        self.frames = {frame.frame: frame for frame in noise_frames(folder, count, seed)}
        satellite = Satellite(
            name="S", model=str(COMPACT), frames=tuple(self.frames.values()), accept_confidence=1.0
        )
        scenario = Scenario(
            name="faults",
            satellites=(satellite,),
            stations=(GroundStation(name="G", model=str(REGULAR)),),
            links=(Link(satellite="S", station="G", follows=trace_path),),
        )
        self._trace = read_trace(trace_path)
        run_folder = RunFolder.create(folder, "faults")
        sockets = folder / "s"
        sockets.mkdir()
        self.plan = RunPlan(scenario, {scenario.links[0].name: self._trace}, run_folder, sockets)
        self._link = scenario.links[0]
        self.programs: dict[str, Program] = {}
        self.payloads: deque[tuple[str, bytes]] = deque(maxlen=CAPTURED_PAYLOADS)
        self.seen: dict[Path, str] = {}  # sha256 of each image that was complete on the ground

    def __enter__(self) -> FaultyRun:
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _build(self) -> None:
        self.plan.write_inputs()
        for disk in (self.plan.inbox, self.outbox):
            disk.mkdir()
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(disk)], check=True
            )
            self._stack.callback(subprocess.run, ["umount", "--lazy", str(disk)], check=True)
        self._build_network()
        self.broker = self._start_brokers()
        self._stack.callback(self._stop_programs)
        for node in self.plan.node_names:
            self.start(node)
        self._listen()
        start_s = time.monotonic() + 0.2
        self.plane.start_nodes(Timescale.starting(start_s))
        self._start_s = start_s
        self._play()

    def _build_network(self) -> None:
        network = self._stack.enter_context(EmulatedNetwork())
        self.hosts = {name: network.add_host(name) for name in self.plan.node_names}
        self.link = network.add_link(
            "S",
            "G",
            interface=self.plan.interface(self._link),
            addresses=(
                f"{self.plan.address(self._link, ground=False)}/30",
                f"{self.plan.address(self._link, ground=True)}/30",
            ),
        )
        network.start()

    def _start_brokers(self) -> Broker:
        logs, plan = self.plan.folder.logs, self.plan
        management = Broker(
            logs,
            [UnixListener(plan.management_socket)],
            name="management",
            popen=spawn,
            accounts=plan.management_accounts,
        )
        station = Broker(
            logs,
            [
                TcpListener(plan.address(self._link, ground=True), MQTT_PORT),
                UnixListener(plan.broker_socket("G")),
            ],
            name="g-broker",
            popen=partial(spawn, netns_pid=self.hosts["G"].pid),
            accounts=plan.broker_accounts("G"),
        )
        for broker in (management, station):
            self._stack.enter_context(broker)
        self.plane = ManagementPlane(plan.management_socket, plan.folder.events, plan.run_account)
        self._stack.callback(self.plane.close)
        self.watch = BrokerWatch(station, self.plane.report)
        return station

    def _play(self) -> None:
        self._player = Player(RealClock(self._start_s), {self.link: self._trace}, lambda change: None)
        self._stack.callback(self._player.stop)
        self._player.start()

    def _listen(self) -> None:
        """Hear what satellites send, so that it can be said again."""

        def keep(_: Client, __: object, message: MQTTMessage) -> None:
            if message.topic.startswith("spaceverse/down/"):
                self.payloads.append((message.topic, bytes(message.payload)))

        client = self.client("listener", self.plan.ground_accounts["G"])
        client.on_message = keep
        client.on_connect = lambda c, *_: c.subscribe("spaceverse/down/#")

    def client(self, client_id: str, account: Account | None) -> Client:
        """A stranger, or somebody with an account, at the station's broker."""
        client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, transport="unix")
        client.reconnect_delay_set(1, 1)
        if account is not None:
            client.username_pw_set(account.username, account.password)
        client.connect_async(str(self.plan.broker_socket("G")), 1)
        client.loop_start()
        self._stack.callback(client.loop_stop)
        self._stack.callback(client.disconnect)
        return client

    @property
    def outbox(self) -> Path:
        return self.plan.config_path("S").parent / "outbox"

    def start(self, node: str) -> None:
        """Start a node's program in its host."""
        self.programs[node] = Program(
            node,
            self.plan.node_command(node),
            log=self.plan.log_path(node),
            netns_pid=self.hosts[node].pid,
        )

    def _stop_programs(self) -> None:
        for program in self.programs.values():
            program.stop(0.5)

    # Observation

    def look(self) -> None:
        """Restart a dead broker, check the programs as a run does, and note the images that arrived."""
        self.watch.look()
        for program in self.programs.values():
            program.check(started=True)
        for data in self.plan.inbox.glob("*/*/data"):
            # An answered image is truncated when space is needed.
            if data not in self.seen and data.stat().st_size > 0:
                self.seen[data] = hashlib.sha256(data.read_bytes()).hexdigest()

    def wait(self, for_s: float) -> None:
        """Observe for some seconds."""
        until_s = time.monotonic() + for_s
        while time.monotonic() < until_s:
            self.look()
            time.sleep(0.05)

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Observe until `condition` holds; fail after WAIT_S."""
        what = f"{what} (logs: {self.plan.folder.logs})"
        wait_for(condition, what, WAIT_S, every_s=0.05, meanwhile=self.look)

    def under_way(self) -> bool:
        """Return whether an image has arrived in part."""
        return any(self.plan.inbox.glob("*/*/part"))

    def lost(self) -> dict[str, str]:
        """Return the reasons of the frames that were reported as lost, by frame."""
        events = self.plane.seen(*LOST)
        return {str(record.frame): str(record.event.fields().get("reason")) for record in events}

    def settled(self) -> bool:
        """Return whether every frame has arrived or was reported as lost."""
        self.look()
        expected = {name: self.sha256(name) for name in self.frames}
        arrived, lost = set(self.seen.values()), self.lost()
        return all(sha256 in arrived or name in lost for name, sha256 in expected.items())

    def sha256(self, frame: str) -> str:
        return hashlib.sha256(self.frames[frame].image.read_bytes()).hexdigest()

    # Faults

    def kill_satellite(self) -> None:
        self._kill("S")

    def kill_ground(self) -> None:
        self._kill("G")

    def kill_broker(self) -> None:
        pid = self.broker.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.wait(0.1)

    def cut_link(self) -> None:
        self._player.stop()
        self.link.set(DOWN_STATE, DOWN_STATE)
        self.wait(self._random.uniform(0.2, 2.0))
        self._play()

    def corrupt_chunk(self) -> None:
        """Damage a stored chunk of an unfinished item, on the ground or on board."""
        if self._random.random() < 0.5 or not self._corrupt_inbox():
            self._corrupt_outbox()

    def fill_disk(self) -> None:
        disk = self._random.choice([self.plan.inbox, self.outbox])
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 16)):
                pass
        self.wait(self._random.uniform(0.5, 2.0))
        filler.unlink()

    def repeat_and_reorder(self) -> None:
        captured = list(self.payloads)
        chosen = self._random.sample(captured, min(60, len(captured))) * 2
        self._random.shuffle(chosen)
        client = self.client(
            f"by-hand-{time.monotonic_ns()}",
            self.plan.satellite_accounts[self._link.satellite, self._link.station],
        )
        for topic, payload in chosen:
            client.publish(topic, payload, qos=0)
        self.wait(0.5)

    FAULTS = (
        kill_satellite,
        kill_ground,
        kill_broker,
        cut_link,
        corrupt_chunk,
        fill_disk,
        repeat_and_reorder,
    )

    def _kill(self, node: str) -> None:
        process = self.programs[node].process
        process.kill()
        process.wait()
        time.sleep(self._random.uniform(0.0, 0.5))
        self.start(node)

    def _corrupt_inbox(self) -> bool:
        for part in self.plan.inbox.glob("*/*/part"):
            with contextlib.suppress(OSError), (part.parent / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # otherwise it might be completed meanwhile
                return _damage(part, self._random)
        return False

    def _corrupt_outbox(self) -> bool:
        stored = sorted(self.outbox.glob("pending/*/data"))
        return bool(stored) and _damage(self._random.choice(stored), self._random)


def _damage(path: Path, drawn: random.Random) -> bool:
    try:
        with path.open("r+b") as file:
            size_bytes = file.seek(0, os.SEEK_END)
            if size_bytes == 0:
                return False
            file.seek(drawn.randrange(size_bytes))
            file.write(b"damaged!")
            file.truncate(size_bytes)
    except FileNotFoundError:  # removed meanwhile
        return False
    return True


Fault = Callable[[FaultyRun], Any]
