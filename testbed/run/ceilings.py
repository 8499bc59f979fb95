"""What a run needs of this machine, against what the machine has: memory, descriptors, cores.

The constants were measured with runs of 3 and 12 satellites; the sum was 9 % above what the processes had in
memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from nodes.contract.files import IMAGE_FORMATS
from nodes.contract.models.memory import available_memory_bytes
from nodes.contract.models.options import CPU
from nodes.contract.models.weights import weight_bytes, weights_of
from testbed.machine.resources import allow_descriptors, usable_cores
from testbed.run.model_relay import server_of
from testbed.scenario.model import GroundNode, Satellite, Scenario
from traces.trace import Trace

MB = 1_000_000
RUN_BYTES = 110 * MB
NODE_BYTES = 32 * MB  # of its own: it shares as much with the others, which are forks of one process
PROBE_BYTES = 8 * MB  # of one end
BROKER_BYTES = 3 * MB
MODELS_BYTES = 155 * MB  # what the processes of the models share: torch, transformers
MODEL_BYTES = 160 * MB  # of one of them, without its weights
PIXEL_BYTES = 9  # of an image while it is decoded
MOST_PIXELS = 100 * MB  # of a larger image the header alone is read (nodes/vlm/image.py)

RUN_DESCRIPTORS, HOST_DESCRIPTORS = 60, 4
BROKER_DESCRIPTORS = 3  # of a station's broker, for each satellite

LINKS_PER_CORE = 25  # 60 on two busy cores began contacts up to 222 ms late
NFQUEUE_BIT_S = 600e6  # of one link in single packets, 95 % of a core
CHANGES_PER_S = 2000.0  # take 15 % (nfqueue) to 24 % (netem) of a core


@dataclass(frozen=True)
class Needs:
    """What a run needs at least.

    Args:
        memory_bytes: memory of all processes, with each node decoding its largest image.
        descriptors: open files of the run's own process.
        broker_descriptors: open files of the station's broker that needs most.
        links: number of emulated links.
        changes_per_s: changes of all links' states in a real second, on average.
        rate_bit_s: largest rate of a direction of a link to a station, in real time: others carry no more.
    """

    memory_bytes: int
    descriptors: int
    broker_descriptors: int
    links: int
    changes_per_s: float
    rate_bit_s: float = 0.0


def needs_of(scenario: Scenario, traces: Mapping[str, Trace], boards: Collection[str] = ()) -> Needs:
    """Return what a run needs of this machine.

    Args:
        scenario: what is run.
        traces: the trace of each link.
        boards: names of the satellites that are boards, whose programs run elsewhere.
    """
    satellites = [satellite for satellite in scenario.satellites if satellite.name not in boards]
    nodes: list[Satellite | GroundNode] = [*satellites, *scenario.receivers]
    hosts = len(satellites) + len(scenario.ground_nodes)
    shared = {node.name: _satellites_of(scenario, node.name) for node in scenario.receivers}
    pixels = {satellite.name: _largest_pixels(satellite) for satellite in scenario.satellites}
    decoded = sum(pixels[satellite.name] for satellite in satellites)
    for seen in shared.values():
        decoded += max((pixels[satellite] for satellite in seen), default=0)
    models = {(node.model, node.options.loading) for node in nodes if server_of(node.model) is None}
    memory = RUN_BYTES + NODE_BYTES * len(nodes) + PIXEL_BYTES * decoded
    memory += BROKER_BYTES * (1 + len(shared))
    ways = 0 if scenario.mission_control is None else len(satellites)
    memory += 2 * PROBE_BYTES * (len(scenario.probed_links) + ways * (scenario.probe is True))
    memory += MODELS_BYTES * bool(models)
    memory += sum(
        MODEL_BYTES + round(weight_bytes(options) * weights_of(Path(model))) * (options.kind == CPU)
        for model, options in models
    )
    return Needs(
        memory,
        RUN_DESCRIPTORS + HOST_DESCRIPTORS * hosts,
        RUN_DESCRIPTORS + BROKER_DESCRIPTORS * max(map(len, shared.values())),
        sum(link.ends[0] not in boards for link in scenario.network_links),
        _changes_per_s(list(traces.values())) * scenario.speed,
        max((_rate_bit_s(traces[link.name]) for link in scenario.links if link.name in traces), default=0.0)
        * scenario.speed,
    )


def _satellites_of(scenario: Scenario, receiver: str) -> list[str]:
    return [s.name for s in scenario.satellites if receiver in scenario.receivers_of(s.name)]


def ceilings(scenario: Scenario, traces: Mapping[str, Trace], boards: Collection[str] = ()) -> list[str]:
    """Return a line for everything of which this machine may have too little.

    The limit of open files is raised as far as the run needs it.

    Args:
        scenario: what is run.
        traces: the trace of each link.
        boards: names of the satellites that are boards.
    """
    needs, cores = needs_of(scenario, traces, boards), usable_cores()
    lines = []
    free_bytes = available_memory_bytes()
    if free_bytes is not None and needs.memory_bytes > free_bytes:
        lines.append(
            f"this run needs about {needs.memory_bytes / 1e9:.1f} GB of memory, and "
            f"{free_bytes / 1e9:.1f} GB are free: use fewer nodes, smaller images or smaller models"
        )
    descriptors = max(needs.descriptors, needs.broker_descriptors)
    if descriptors > (allowed := allow_descriptors(descriptors)):
        lines.append(
            f"this run needs about {descriptors} open files in one process, and {allowed} are possible: "
            "use fewer nodes, or raise the limit (ulimit -Hn)"
        )
    if needs.links > LINKS_PER_CORE * cores:
        lines.append(
            f"{needs.links} links on {cores} cores: beyond {LINKS_PER_CORE} a core, contacts may begin late; "
            "use fewer links, or more cores"
        )
    if needs.changes_per_s > CHANGES_PER_S:
        lines.append(
            f"the links change {needs.changes_per_s:.0f} times a second in all; up to {CHANGES_PER_S:.0f} "
            "were measured: use traces with fewer rows"
        )
    if needs.rate_bit_s > NFQUEUE_BIT_S and scenario.shaper != "netem" and scenario.speed > 1:
        lines.append(
            f"at speed {scenario.speed:g} a link has up to {needs.rate_bit_s / 1e6:.0f} Mbit/s of real "
            f"traffic; nfqueue carries about {NFQUEUE_BIT_S / 1e6:.0f}: use a lower speed, or netem"
        )
    return lines


def _largest_pixels(satellite: Satellite) -> int:
    return max((_pixels(path) for path in {frame.image for frame in satellite.frames}), default=0)


def _pixels(path: Path) -> int:
    """Return the number of pixels that decoding an image takes; 0 for one that will be refused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large ones
            with Image.open(path, formats=IMAGE_FORMATS) as image:  # reads the header
                pixels = image.width * image.height
    except Exception:  # Pillow's decoders raise many types for damaged bytes
        return 0
    return pixels if pixels <= MOST_PIXELS else 0


def _rate_bit_s(trace: Trace) -> float:
    return float(max(trace.down_bit_s.max(initial=0.0), trace.up_bit_s.max(initial=0.0)))


def _changes_per_s(traces: list[Trace]) -> float:
    """Return the mean number of rows that all links play in a second of the longest trace."""
    longest_s = max((trace.end_s for trace in traces), default=0.0)
    return sum(len(trace) for trace in traces) / longest_s if longest_s else 0.0
