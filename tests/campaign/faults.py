"""Classes of faults that a campaign draws from; each ends by itself.

The clock of the machine is not stepped: it is everybody's. What a clock of its own does to a node is in
tests/integration/nodes/test_own_clock.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodes.contract import topics
from tests.campaign.flight import OTHER, STATIONS, VICTIM, Fault, Flight
from tests.support.injected_run import fill
from tests.support.nodes.odd_messages import odd_event, odd_transfer

FAULTS: list[Fault] = []
Inject = Callable[[Flight], None]
BURST = 60  # messages


def fault(
    *, costs: bool = False, repeats: bool = False, lasts_s: float = 1.0, own_models: bool = False
) -> Callable[[Inject], Inject]:
    """Add a class of fault; see `Fault`."""

    def add(inject: Inject) -> Inject:
        name = inject.__name__.replace("_", " ")
        FAULTS.append(Fault(name, inject, costs, repeats, lasts_s, own_models))
        return inject

    return add


# Processes that stand still


def _stand_still(flight: Flight, *whats: str, most_s: float = 4.0) -> None:
    for what in whats:
        flight.signal(what, signal.SIGSTOP)
    try:
        flight.wait(0.5, most_s)
    finally:
        for what in whats:
            flight.signal(what, signal.SIGCONT)


@fault(lasts_s=3)
def satellite_stands_still(flight: Flight) -> None:
    _stand_still(flight, VICTIM)


@fault(lasts_s=3)
def ground_program_stands_still(flight: Flight) -> None:
    _stand_still(flight, flight.station())


@fault(lasts_s=3)
def station_broker_stands_still(flight: Flight) -> None:
    _stand_still(flight, f"{flight.station().lower()}-broker")


@fault(lasts_s=3)
def management_broker_stands_still(flight: Flight) -> None:
    _stand_still(flight, "management", most_s=3.0)


@fault(lasts_s=3)
def station_is_away(flight: Flight) -> None:
    station = flight.station()
    _stand_still(flight, station, f"{station.lower()}-broker", most_s=6.0)


@fault(lasts_s=3)
def probes_stand_still(flight: Flight) -> None:
    _stand_still(flight, "probes")


@fault(lasts_s=3)
def all_nodes_stand_still(flight: Flight) -> None:
    _stand_still(flight, VICTIM, OTHER, *STATIONS)


# Processes that die


def _kill(flight: Flight, what: str) -> None:
    flight.signal(what, signal.SIGKILL)


@fault()
def station_broker_is_killed(flight: Flight) -> None:
    _kill(flight, f"{flight.station().lower()}-broker")


@fault(lasts_s=3)
def station_broker_is_killed_three_times(flight: Flight) -> None:
    station = flight.station()
    for _ in range(3):
        _kill(flight, f"{station.lower()}-broker")
        flight.wait(0.3, 1.2)


@fault(repeats=True)
def management_broker_is_killed(flight: Flight) -> None:
    _kill(flight, "management")


@fault()
def brokers_are_all_killed(flight: Flight) -> None:
    for station in STATIONS:
        _kill(flight, f"{station.lower()}-broker")


@fault(repeats=True, lasts_s=5)
def satellite_is_killed(flight: Flight) -> None:
    _kill(flight, VICTIM)


@fault(repeats=True, lasts_s=5)
def ground_program_is_killed(flight: Flight) -> None:
    _kill(flight, flight.station())


@fault(repeats=True, lasts_s=5)
def ground_programs_are_all_killed(flight: Flight) -> None:
    for station in STATIONS:
        _kill(flight, station)


@fault(repeats=True, lasts_s=5)
def station_is_killed_with_its_broker(flight: Flight) -> None:
    station = flight.station()
    _kill(flight, station)
    _kill(flight, f"{station.lower()}-broker")


@fault()
def probe_is_killed(flight: Flight) -> None:
    pids = flight.pids("probes")
    if pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(flight.drawn.choice(pids), signal.SIGKILL)


@fault()
def stand_in_of_a_host_is_killed(flight: Flight) -> None:
    for pid in flight.children("sleep infinity"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@fault(repeats=True, lasts_s=5, own_models=True)
def models_of_the_run_are_killed(flight: Flight) -> None:
    kept = flight.children(flight.kept_models) if flight.kept_models else []
    for pid in set(flight.children("nodes.vlm.shared")).difference(kept):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@fault(repeats=True, lasts_s=5)
def what_forks_the_programs_is_killed(flight: Flight) -> None:
    for pid in flight.children("testbed.forks.server"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# Files of the outbox


def _drawn_file(flight: Flight, folder: Path, pattern: str) -> Path | None:
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    return flight.drawn.choice(found) if found else None


def _flip(path: Path | None, drawn: random.Random) -> None:
    if path is None:
        return
    with contextlib.suppress(OSError), path.open("r+b") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        if size_bytes:
            position = file.seek(drawn.randrange(size_bytes))
            byte = file.read(1)
            file.seek(position)
            file.write(bytes([byte[0] ^ 0x55]))


def _cut(path: Path | None, drawn: random.Random) -> None:
    if path is not None:
        with contextlib.suppress(OSError):
            os.truncate(path, drawn.randrange(max(1, path.stat().st_size)))


def _remove(path: Path | None) -> None:
    if path is not None:
        path.unlink(missing_ok=True)


def _spoil(flight: Flight, folder: Path, pattern: str) -> None:
    """Flip a byte of a file, cut it or remove it."""
    path = _drawn_file(flight, folder, pattern)
    how = flight.drawn.choice((_flip, _cut, None))
    if how is None:
        _remove(path)
    else:
        how(path, flight.drawn)


@fault(costs=True)
def outbox_data_is_flipped(flight: Flight) -> None:
    _flip(_drawn_file(flight, flight.outbox, "pending/*/data"), flight.drawn)


@fault(costs=True)
def outbox_data_is_cut(flight: Flight) -> None:
    _cut(_drawn_file(flight, flight.outbox, "pending/*/data"), flight.drawn)


@fault(costs=True)
def outbox_data_is_removed(flight: Flight) -> None:
    _remove(_drawn_file(flight, flight.outbox, "pending/*/data"))


@fault(costs=True)
def outbox_digests_are_spoilt(flight: Flight) -> None:
    _spoil(flight, flight.outbox, "pending/*/digests")


@fault(costs=True)
def outbox_manifest_is_spoilt(flight: Flight) -> None:
    _spoil(flight, flight.outbox, "pending/*/manifest")


@fault(costs=True)
def outbox_item_is_removed(flight: Flight) -> None:
    path = _drawn_file(flight, flight.outbox, "pending/*/manifest")
    if path is not None:
        shutil.rmtree(path.parent, ignore_errors=True)


@fault()
def released_items_are_spoilt(flight: Flight) -> None:
    _spoil(flight, flight.outbox, "released/*")


@fault()
def outbox_has_strays(flight: Flight) -> None:
    for folder in ("pending", "released", "refused"):
        with contextlib.suppress(FileExistsError):
            (flight.outbox / folder / f"stray {flight.drawn.randrange(1000)}").mkdir()


# Files of the inbox; what lies there unfinished, the satellite has as well


def _unfinished(flight: Flight, name: str, how: Callable[[Path, random.Random], None] | None) -> None:
    """Spoil a file of an unfinished item, under its lock: it is not completed meanwhile."""
    path = _drawn_file(flight, flight.inbox, f"{VICTIM.lower()}/*/{name}")
    if path is None:
        return
    with contextlib.suppress(OSError), (path.parent / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if how is None:
            _remove(path)
        else:
            how(path, flight.drawn)


@fault()
def inbox_part_is_flipped(flight: Flight) -> None:
    _unfinished(flight, "part", _flip)


@fault()
def inbox_part_is_cut(flight: Flight) -> None:
    _unfinished(flight, "part", _cut)


@fault()
def inbox_part_is_removed(flight: Flight) -> None:
    _unfinished(flight, "part", None)


@fault()
def inbox_digests_are_flipped(flight: Flight) -> None:
    _unfinished(flight, "digests", _flip)


@fault()
def inbox_digests_are_removed(flight: Flight) -> None:
    _unfinished(flight, "digests", None)


def _unanswered(flight: Flight) -> Path | None:
    """Draw a complete item of which the answer has not been reported; wait a little for one."""
    until_s = time.monotonic() + 3.0
    while time.monotonic() < until_s and not flight.ended.is_set():
        found = sorted(flight.inbox.glob(f"{VICTIM.lower()}/*/unanswered"))
        found = [path.with_name("data") for path in found if path.with_name("data").exists()]
        if found:
            return flight.drawn.choice(found)
        flight.wait(0.01)
    return None


def _complete(flight: Flight, how: Callable[[Path, random.Random], None] | None) -> None:
    """Spoil a complete item, before it is answered if there is one: the satellite sends it again."""
    path = _unanswered(flight) or _drawn_file(flight, flight.inbox, f"{VICTIM.lower()}/*/data")
    if how is None:
        _remove(path)
    else:
        how(path, flight.drawn)


@fault()
def inbox_data_is_flipped(flight: Flight) -> None:
    _complete(flight, _flip)


@fault()
def inbox_data_is_cut(flight: Flight) -> None:
    _complete(flight, _cut)


@fault()
def inbox_data_is_removed(flight: Flight) -> None:
    _complete(flight, None)


@fault(repeats=True, lasts_s=6)
def complete_items_are_cut_while_the_model_is_away(flight: Flight) -> None:
    flight.outage = "server says 500"
    try:
        flight.wait(2.0, 3.0)
        for path in sorted(flight.inbox.glob(f"{VICTIM.lower()}/*/unanswered")):
            _cut(path.with_name("data"), flight.drawn)
        flight.wait(0.5, 1.0)
    finally:
        flight.outage = ""


@fault(costs=True)
def inbox_item_is_removed(flight: Flight) -> None:
    path = _drawn_file(flight, flight.inbox, f"{VICTIM.lower()}/*/manifest")
    if path is not None:
        shutil.rmtree(path.parent, ignore_errors=True)


@fault()
def inbox_has_strays(flight: Flight) -> None:
    for folder in (flight.inbox, flight.inbox / VICTIM.lower()):
        folder.mkdir(exist_ok=True)
        (folder / f"stray {flight.drawn.randrange(1000)}").write_bytes(b"?")


# Disks and limits


def _full(flight: Flight, disk: Path) -> None:
    fill(disk)
    try:
        flight.wait(0.5, 2.0)
    finally:
        (disk / "filler").unlink(missing_ok=True)


@fault(lasts_s=2)
def inbox_disk_is_full(flight: Flight) -> None:
    _full(flight, flight.inbox)


@fault(lasts_s=2)
def outbox_disk_is_full(flight: Flight) -> None:
    _full(flight, flight.outbox)


def _read_only(flight: Flight, disk: Path) -> None:
    # Writers keep the disk from becoming read-only: it is tried for a second.
    until_s = time.monotonic() + 1.0
    command = ["mount", "-o", "remount,ro", str(disk)]
    while subprocess.run(command, capture_output=True, check=False).returncode:
        if time.monotonic() > until_s:
            return
    try:
        flight.wait(0.5, 2.0)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


@fault(lasts_s=2)
def inbox_disk_is_read_only(flight: Flight) -> None:
    _read_only(flight, flight.inbox)


@fault(lasts_s=2)
def outbox_disk_is_read_only(flight: Flight) -> None:
    _read_only(flight, flight.outbox)


def _limited(flight: Flight, node: str, limit: int, value: int) -> None:
    before = {}
    for pid in flight.pids(node):
        with contextlib.suppress(OSError):
            before[pid] = resource.prlimit(pid, limit)
            resource.prlimit(pid, limit, (value, before[pid][1]))
    try:
        flight.wait(0.5, 2.0)
    finally:
        for pid, limits in before.items():
            with contextlib.suppress(OSError):
                resource.prlimit(pid, limit, limits)


@fault(lasts_s=2)
def satellite_has_no_descriptors(flight: Flight) -> None:
    _limited(flight, VICTIM, resource.RLIMIT_NOFILE, 8)


@fault(lasts_s=2)
def ground_program_has_no_descriptors(flight: Flight) -> None:
    _limited(flight, flight.station(), resource.RLIMIT_NOFILE, 8)


# Links


def _interfaces(flight: Flight) -> list[str]:
    return [str(station["interface"]) for station in flight.config(VICTIM)["stations"]]


@fault(lasts_s=2)
def link_is_set_down(flight: Flight) -> None:
    interface = flight.drawn.choice(_interfaces(flight))
    flight.in_host(VICTIM, "ip", "link", "set", interface, "down")
    try:
        flight.wait(0.3, 2.0)
    finally:
        flight.in_host(VICTIM, "ip", "link", "set", interface, "up")


@fault(lasts_s=2)
def links_are_all_set_down(flight: Flight) -> None:
    for interface in _interfaces(flight):
        flight.in_host(VICTIM, "ip", "link", "set", interface, "down")
    try:
        flight.wait(0.3, 2.0)
    finally:
        for interface in _interfaces(flight):
            flight.in_host(VICTIM, "ip", "link", "set", interface, "up")


@fault(lasts_s=2)
def address_is_flushed(flight: Flight) -> None:
    interface = flight.drawn.choice(_interfaces(flight))
    words = flight.in_host(VICTIM, "ip", "-o", "-4", "address", "show", "dev", interface).split()
    if "inet" not in words:
        return
    address = words[words.index("inet") + 1]
    flight.in_host(VICTIM, "ip", "address", "flush", "dev", interface)
    try:
        flight.wait(0.3, 2.0)
    finally:
        flight.in_host(VICTIM, "ip", "address", "add", address, "dev", interface)


def _filtered(flight: Flight, chain: str, *rule: str) -> None:
    command = ["iptables-nft" if shutil.which("iptables-nft") else "iptables"]
    flight.in_host(VICTIM, *command, "-I", chain, *rule)
    try:
        flight.wait(0.5, 3.0)
    finally:
        flight.in_host(VICTIM, *command, "-D", chain, *rule)


@fault(lasts_s=2)
def packets_are_lost(flight: Flight) -> None:
    _filtered(flight, "INPUT", "-m", "statistic", "--mode", "random", "--probability", "0.3", "-j", "DROP")


@fault(lasts_s=2)
def uplink_is_mute(flight: Flight) -> None:
    _filtered(flight, "INPUT", "-j", "DROP")


@fault(lasts_s=2)
def downlink_is_mute(flight: Flight) -> None:
    _filtered(flight, "OUTPUT", "-j", "DROP")


@fault(lasts_s=2)
def connections_are_reset(flight: Flight) -> None:
    _filtered(flight, "OUTPUT", "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")


# Somebody with the victim's account


@fault(lasts_s=2)
def satellite_sends_odd_events(flight: Flight) -> None:
    with flight.client(None) as client:
        for number in range(BURST):

            def envelope(sequence: int = number) -> dict[str, Any]:
                return {"node": VICTIM, "monotonic_s": time.monotonic(), "sequence": 10**15 + sequence}

            client.publish(topics.event(VICTIM.lower()), odd_event(flight.drawn, envelope), qos=0)
        flight.wait(0.3)


@fault(lasts_s=2)
def satellite_answers_for_the_other(flight: Flight) -> None:
    with flight.client(None) as client:
        for name in flight.frames:
            if name.startswith(OTHER.lower()):
                line = (
                    f'{{"event": "answered", "node": "{VICTIM}", "monotonic_s": {time.monotonic()}, '
                    f'"frame": "{name}", "answer": "forged", "answered_by": "satellite", "confidence": 1.0}}'
                )
                client.publish(topics.event(VICTIM.lower()), line, qos=0)
        flight.wait(0.3)


@fault(lasts_s=2)
def satellite_sends_deep_nesting(flight: Flight) -> None:
    deep = b'{"a":' * 100_000
    with flight.client(None) as client:
        client.publish(topics.event(VICTIM.lower()), deep, qos=0)
        client.publish(f"{topics.event(OTHER.lower())}", deep, qos=0)  # not its own topic
        flight.wait(0.3)


@fault(lasts_s=2)
def satellite_sends_odd_items(flight: Flight) -> None:
    with flight.client(flight.station()) as client:
        for _ in range(BURST):
            topic, payload = odd_transfer(flight.drawn, VICTIM.lower())
            client.publish(topic, payload, qos=0)
        flight.wait(0.3)


@fault(lasts_s=2)
def satellite_sends_items_of_the_other(flight: Flight) -> None:
    with flight.client(flight.station()) as client:
        for _ in range(BURST):
            topic, payload = odd_transfer(flight.drawn, OTHER.lower())
            client.publish(topic, payload, qos=0)
        flight.wait(0.3)


@fault(lasts_s=2)
def satellite_sends_a_body_above_the_limit(flight: Flight) -> None:
    for station in STATIONS:
        with contextlib.suppress(OSError), flight.client(station) as client:
            client.publish(topics.down(VICTIM.lower()), bytes(3_000_000), qos=0)
            flight.wait(0.2)


@fault(lasts_s=3)
def satellite_floods_a_station(flight: Flight) -> None:
    until_s = time.monotonic() + 2.0
    with flight.client(flight.station()) as client:
        while time.monotonic() < until_s and not flight.ended.is_set():
            for _ in range(20):
                topic, payload = odd_transfer(flight.drawn, VICTIM.lower())
                client.publish(topic, payload, qos=0)
            flight.wait(0.02)


@fault(lasts_s=3)
def stranger_opens_connections(flight: Flight) -> None:
    path = str(flight.config(flight.station())["broker"]["unix_socket"])
    opened = []
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                connection = socket.socket(socket.AF_UNIX)
                opened.append(connection)
                connection.settimeout(0.1)
                connection.connect(path)
        flight.wait(0.5, 2.0)
    finally:
        for connection in opened:
            connection.close()


# The machine and the model's server


@fault(lasts_s=3)
def processors_are_busy(flight: Flight) -> None:
    code = "import time; until = time.monotonic() + 3\nwhile time.monotonic() < until: pass"
    busy = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(os.cpu_count() or 1)]
    flight.wait(2.0)
    for process in busy:
        process.kill()
        process.wait()


@fault(repeats=True, lasts_s=4)
def model_server_fails_for_a_while(flight: Flight) -> None:
    flight.outage = "server says 500"
    try:
        flight.wait(1.0, 3.0)
    finally:
        flight.outage = ""


@fault(repeats=True, lasts_s=4)
def model_server_closes_connections(flight: Flight) -> None:
    flight.outage = "server closes"
    try:
        flight.wait(1.0, 3.0)
    finally:
        flight.outage = ""
