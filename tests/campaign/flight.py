"""A run of two satellites and two stations, into which faults are injected while it flies, and its judgement.

Faults are aimed at the first satellite, A, at its links and at the stations. B has to get all its answers,
whatever happens. Every fault ends by itself, so that A's frames can arrive, too, unless a fault destroyed
the only copy of their bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from PIL import Image

from nodes.contract.events import EventRecord, LinkChanged
from nodes.data import FIRST_LIGHT
from nodes.models import COMPACT
from testbed.run.plan import KEPT_MODELS
from testbed.scenario.model import read_frames
from tests.support.child_processes import descendants_with
from tests.support.faulty_run import noise_frames
from tests.support.faulty_server import faulty_server
from tests.support.footprint import Footprint
from tests.support.injected_run import HEADER, POLICY, Ended, processes_of, run, small_disk

VICTIM, OTHER = "A", "B"
STATIONS = "G", "H"
UP = "0.0,1,{rate},500000.0,0.008,0.008,0.0,0.0\n"
RATE_BIT_S = 2e6
DISK_BYTES = 24 << 20  # of the inbox, and of A's outbox
SIDE_PX = 220
FIRST_CAPTURE_S, VICTIM_EVERY_S, OTHER_EVERY_S = 0.5, 1.0, 2.0
ON_BOARD_EVERY = 6  # the compact model answers each sixth frame
FIRST_FAULT_S = 2.0
RECOVERY_S = 14.0  # of contact after the last fault
PAUSE_S = (0.2, 1.0)  # between two faults


@dataclass(frozen=True)
class Fault:
    """One class of fault.

    Args:
        name: what it is.
        inject: does it, and undoes it again where it would stay.
        costs: whether frames of the victim may be lost by it, each with its cause.
        repeats: whether a frame may be asked and answered twice, both times alike.
        lasts_s: about how long it takes.
        own_models: whether the run needs a process of models of its own; runs of a test session share one.
    """

    name: str
    inject: Callable[[Flight], None]
    costs: bool = False
    repeats: bool = False
    lasts_s: float = 1.0
    own_models: bool = False


@dataclass
class Flight:
    """A run in flight, as faults see it.

    Attributes:
        folder: folder of all files.
        drawn: source of every random choice.
        done: names of the faults that were injected, in order.
        troubles: what went wrong with the injection itself.
        outage: what the model's server does instead of answering; "" for nothing.
        kept_models: socket of the models that are not this run's; "" for none.
    """

    folder: Path
    drawn: random.Random
    frames: dict[str, Path] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    outage: str = ""
    kept_models: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def run_folder(self) -> Path:
        """Folder of the run."""
        (made,) = (self.folder / "runs").iterdir()
        return made

    @property
    def inbox(self) -> Path:
        """The stations' inbox."""
        return self.run_folder / "inbox"

    @property
    def outbox(self) -> Path:
        """The victim's outbox."""
        return self.run_folder / "nodes" / VICTIM.lower() / "outbox"

    def config(self, node: str) -> dict[str, Any]:
        """Return the configuration of a node."""
        found: dict[str, Any] = json.loads(
            (self.run_folder / "nodes" / node.lower() / "config.json").read_text()
        )
        return found

    def pids(self, what: str) -> list[int]:
        """Return the processes of a node, of a broker ("management", "g-broker") or of all probes."""
        if what == "probes":
            return [pid for log in self.run_folder.glob("logs/*-probe-*.jsonl") for pid in processes_of(log)]
        broker = self.run_folder / "logs" / f"{what}.conf"
        path = broker if broker.exists() else self.run_folder / "nodes" / what.lower() / "config.json"
        return processes_of(path)

    def children(self, words: str) -> list[int]:
        """Return the processes of the run, which is in this process, whose command line has some words."""
        return descendants_with(words)

    def station(self) -> str:
        """Draw a station."""
        return self.drawn.choice(STATIONS)

    def wait(self, least_s: float, most_s: float | None = None) -> None:
        """Wait, or until the run has ended."""
        self.ended.wait(least_s if most_s is None else self.drawn.uniform(least_s, most_s))

    def signal(self, what: str, number: int) -> None:
        """Send a signal to all processes of something."""
        for pid in self.pids(what):
            with _may_be_gone():
                os.kill(pid, number)

    def in_host(self, node: str, *command: str) -> str:
        """Run a command in the network namespace of a node."""
        pids = self.pids(node)
        if not pids:
            return ""
        whole = ["nsenter", "--target", str(pids[0]), "--net", *command]
        return subprocess.run(whole, capture_output=True, text=True, check=False).stdout

    @contextmanager
    def client(self, broker: str | None) -> Iterator[Client]:
        """Connect with the victim's own account: to a station's broker, or for None to the management."""
        of_victim = self.config(VICTIM)
        if broker is None:
            address = of_victim["management"]
            socket, access = address["unix_socket"], address["access"]
        else:
            socket = self.config(broker)["broker"]["unix_socket"]
            (access,) = (s["access"] for s in of_victim["stations"] if s["name"] == broker)
        client = Client(CallbackAPIVersion.VERSION2, client_id=access["username"], transport="unix")
        client.username_pw_set(access["username"], access["password"])
        client.reconnect_delay_set(1, 1)
        client.connect(str(socket), 1)
        client.loop_start()
        try:
            yield client
        finally:
            client.disconnect()
            client.loop_stop()

    def answers(self, prompt: str, image: bytes) -> str:
        """Behave as the model's server, and note what it was asked."""
        with Image.open(io.BytesIO(image)) as shown:
            self.asked.append((prompt, _pixels(shown)))
        return self.outage or prompt


def _pixels(image: Image.Image) -> str:
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


class _may_be_gone:  # noqa: N801 - a context manager
    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, ProcessLookupError | FileNotFoundError)


def fly(folder: Path, faults: list[Fault], seed: str) -> tuple[Flight, list[str]]:
    """Run with these faults, one after the other; return (the flight, what was wrong)."""
    flight = Flight(folder, random.Random(seed))  # noqa: S311 - seeded so that a failure can be repeated
    length_s = FIRST_FAULT_S + sum(fault.lasts_s + sum(PAUSE_S) / 2 for fault in faults) + RECOVERY_S
    injecting = threading.Thread(target=_inject, args=(flight, faults), daemon=True)
    begun = threading.Event()

    def at_event(record: EventRecord) -> None:
        if isinstance(record.event, LinkChanged) and record.event.up and not begun.is_set():
            begun.set()
            injecting.start()

    with ExitStack() as stack:
        footprint = stack.enter_context(Footprint())
        name = footprint.mark_name
        os.environ[name] = footprint.environment[name]
        stack.callback(os.environ.pop, name)
        server = stack.enter_context(faulty_server(flight.answers))
        if any(fault.own_models for fault in faults):
            flight.kept_models = os.environ.get(KEPT_MODELS, "")
            stack.enter_context(pytest.MonkeyPatch.context()).delenv(KEPT_MODELS, raising=False)

        def at_step(text: str) -> None:
            if text.startswith("building"):  # hosts see what is mounted before they are made
                for disk in (flight.inbox, flight.outbox):
                    stack.enter_context(small_disk(disk, str(DISK_BYTES)))

        scenario = _scenario(flight, length_s, server)
        try:
            ended = run(scenario, folder, at_step=at_step, at_event=at_event)
        finally:
            flight.ended.set()
        if begun.is_set():
            injecting.join(30)
        wrong = [*flight.troubles, *judge(flight, faults, ended)]
        wrong += [f"left behind: {kind}: {remains}" for kind, remains in footprint.left_behind().items()]
    return flight, wrong


def _inject(flight: Flight, faults: list[Fault]) -> None:
    flight.wait(FIRST_FAULT_S)
    for fault in faults:
        if flight.ended.is_set():
            flight.troubles.append(f"the run ended before {fault.name}")
            return
        begun_s = time.monotonic()
        try:
            fault.inject(flight)
        except Exception as error:
            flight.troubles.append(f"{fault.name} could not be injected: {type(error).__name__}: {error}")
        flight.done.append(fault.name)
        flight.wait(fault.lasts_s - (time.monotonic() - begun_s))
        flight.wait(*PAUSE_S)


def _scenario(flight: Flight, length_s: float, server: str) -> dict[str, Any]:
    """Return the scenario as JSON; a frame's prompt names the frame, so that the server knows it."""
    folder = flight.folder
    (folder / "mine.py").write_text(POLICY)
    last_s = length_s - RECOVERY_S + 1
    (known,) = read_frames(FIRST_LIGHT, [0.0])
    satellites, links = [], []
    for satellite, every_s in ((VICTIM, VICTIM_EVERY_S), (OTHER, OTHER_EVERY_S)):
        names = [f"{satellite.lower()}{number}" for number in range(int(last_s / every_s))]
        images = folder / satellite
        images.mkdir()
        made = noise_frames(images, len(names), flight.drawn.randrange(1 << 30), SIDE_PX)
        frames = []
        for number, (name, noise) in enumerate(zip(names, made, strict=True)):
            image, prompt = noise.image, f"send: {name}"
            if number % ON_BOARD_EVERY == 1:
                image, prompt = known.image, known.prompt
            flight.frames[name] = image
            frames.append(
                {
                    "frame": name, "image": str(image), "truth": "yes", "prompt": prompt,
                    "capture_s": FIRST_CAPTURE_S + number * every_s,
                }
            )  # fmt: skip
        policy = str(folder / "mine.py")
        satellites.append({"name": satellite, "model": str(COMPACT), "policy": policy, "frames": frames})
        # Each prefers another station.
        for station in STATIONS if satellite == VICTIM else reversed(STATIONS):
            trace = folder / f"{satellite}-{station}.csv"
            head = HEADER.format(end_s=length_s).replace("satellite: S", f"satellite: {satellite}")
            trace.write_text(head.replace("station: G", f"station: {station}") + UP.format(rate=RATE_BIT_S))
            links.append({"satellite": satellite, "station": station, "follows": str(trace)})
    return {
        "name": "campaign", "satellites": satellites, "links": links, "grace_s": 10.0,
        "boards": str(folder / "boards.toml"),
        "stations": [{"name": station, "model": server} for station in STATIONS],
    }  # fmt: skip


# Judgement


def judge(flight: Flight, faults: list[Fault], ended: Ended) -> list[str]:
    """Return everything that is wrong about a run that has ended."""
    if ended.results is None:
        return [f"no results.json: {ended.errors or ended.output[-500:]}"]
    wrong = [f"a traceback: {ended.errors}"] if "Traceback" in ended.errors + ended.output else []
    wrong += _tracebacks(flight)
    wrong += _agreement(ended)
    wrong += _frames(flight, faults, ended.results)
    wrong += _images(flight, faults)
    return wrong


def _tracebacks(flight: Flight) -> list[str]:
    logs = sorted((flight.run_folder / "logs").glob("*.log"))
    return [f"a traceback in {log.name}" for log in logs if b"Traceback" in log.read_bytes()]


def _agreement(ended: Ended) -> list[str]:
    assert ended.results is not None
    verdict = ended.results["verdict"]
    wrong = []
    if ended.code != verdict["exit_code"]:
        wrong.append(f"exit code {ended.code}, and {verdict['exit_code']} in results.json")
    if ended.first_line != verdict["headline"]:
        wrong.append(f"first line {ended.first_line!r}, and {verdict['headline']!r} in results.json")
    if (ended.code == 0) != (verdict["status"] == "passed"):
        wrong.append(f"exit code {ended.code} and status {verdict['status']}")
    return wrong


def _frames(flight: Flight, faults: list[Fault], results: dict[str, Any]) -> list[str]:
    """Every frame has its answer, or is named with its cause where a fault may have cost it."""
    causes = {frame: cause["reason"] for cause in results["verdict"]["causes"] for frame in cause["frames"]}
    shown = {frame["frame"]: frame for frame in results["frames"]}
    may_lose = sum(fault.costs for fault in faults)  # each destroys what there is of one frame
    wrong = [f"frame {name} is not in results.json" for name in flight.frames.keys() - shown.keys()]
    for name, frame in shown.items():
        if frame["answer"] is not None and name not in causes:
            if frame["answered_by"] == "ground" and frame["answer"] != "yes":
                wrong.append(f"frame {name} has the answer {frame['answer']!r}")
            continue
        reason = causes.get(name)
        if reason is None:
            wrong.append(f"frame {name} has no answer, without a word")
        elif name.startswith(OTHER.lower()):
            wrong.append(f"frame {name} of the other satellite: {reason}")
        elif not may_lose:
            wrong.append(f"frame {name} was lost, although no fault destroyed it: {reason}")
    failed = {name for name in shown if name in causes}
    if len(failed) > may_lose > 0:
        wrong.append(f"{len(failed)} frames were lost, and {may_lose} destroyed")
    if (results["verdict"]["exit_code"] == 0) == bool(failed):
        wrong.append(f"exit code {results['verdict']['exit_code']} with {len(failed)} frames that failed")
    return wrong


def _images(flight: Flight, faults: list[Fault]) -> list[str]:
    """No image was altered, and none was answered twice without a fault that may do that."""
    wrong = []
    pixels = {}
    for name, path in flight.frames.items():
        with Image.open(path) as image:
            pixels[name] = _pixels(image)
    asked = Counter(prompt.partition(": ")[2] for prompt, _ in flight.asked if ": " in prompt)
    for prompt, seen in flight.asked:
        name = prompt.partition(": ")[2]
        if name in pixels and seen != pixels[name]:
            wrong.append(f"the model saw another image than that of {name}")
    answered: dict[str, list[str]] = {}
    for line in (flight.run_folder / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "answered":
            answered.setdefault(event["frame"], []).append(event["answer"])
    wrong += [f"{name} has different answers" for name, texts in answered.items() if len(set(texts)) > 1]
    if not any(fault.repeats for fault in faults):
        wrong += [f"{name} was answered {len(t)} times" for name, t in answered.items() if len(t) > 1]
        wrong += [f"the model was asked {n} times about {name}" for name, n in asked.items() if n > 1]
    return wrong
